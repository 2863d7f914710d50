//! How a text that somebody else chose is shown to a person: it can neither move the cursor nor turn the line around.

use std::fmt;

use crate::id::is_deceptive;

/// The most characters of a text that are shown.
pub const CHARS_MAX: usize = 256;

/// Shows a text in one line: control and direction characters escaped as `\u{…}`, cut after [`CHARS_MAX`] characters.
///
/// What it shows is never ambiguous: a backslash is doubled.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for (count, (at, c)) in self.0.char_indices().enumerate() {
            if count == CHARS_MAX {
                return write!(f, "… ({} more bytes)", self.0.len() - at);
            }
            match c {
                '\\' => f.write_str("\\\\")?,
                c if is_deceptive(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_would_deceive_is_shown_as_what_it_is() {
        assert_eq!(Shown("a\n\u{1b}[2J\u{202e}b\\u{a}").to_string(), r"a\u{a}\u{1b}[2J\u{202e}b\\u{a}");
        assert_eq!(Shown("Zoë 日本").to_string(), "Zoë 日本");
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = Shown(&"é".repeat(10_240)).to_string();
        assert!(shown.ends_with("… (19968 more bytes)") && shown.chars().count() < 300);
    }

    proptest! {
        #[test]
        fn nothing_shown_is_deceptive_and_two_short_texts_are_never_shown_alike(left: String, right: String) {
            let (shown_left, shown_right) = (Shown(&left).to_string(), Shown(&right).to_string());
            prop_assert!(!shown_left.chars().any(is_deceptive));
            prop_assert_eq!(left == right, shown_left == shown_right);
        }
    }
}
