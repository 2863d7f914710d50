//! Forms, `application/x-www-form-urlencoded`: read once by the rules of a query, forwarded as they were read.

use std::borrow::Cow;

use crate::catalog::body::BadBody;
use crate::catalog::target::{Pair, encode_pair, is_method_override, next_byte, pairs};

/// A parsed form, in the one spelling that is forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form(String);

impl Form {
    /// The most fields.
    pub const FIELDS_MAX: usize = 1024;

    /// Parses a whole form.
    ///
    /// `&` alone separates, `+` is a space, escapes are two hexadecimal digits of UTF-8, every field has a name and a `=`. A field
    /// `_method` is dropped, as in a query.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadBody> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadBody::Form("it is not ASCII"))?;
        let mut form = String::with_capacity(text.len());
        for (i, field) in text.split('&').enumerate() {
            if i == Self::FIELDS_MAX {
                return Err(BadBody::Form("it has more than 1024 fields"));
            }
            let (key, value) = field.split_once('=').ok_or(BadBody::Form("a field is written `name=value`"))?;
            let (key, value) = (plain(key)?, plain(value)?);
            if key.is_empty() || key.chars().any(char::is_control) {
                return Err(BadBody::Form("a field has no name, or a control character in it"));
            }
            if !is_method_override(&key) {
                encode_pair(&mut form, &key, Some(&value));
            }
        }
        Ok(Self(form))
    }

    /// The form as it is forwarded.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The decoded fields, in order, repeated names included.
    pub fn fields(&self) -> impl Iterator<Item = Pair<'_>> {
        pairs(&self.0)
    }

    #[cfg(test)]
    fn values(&self) -> Vec<(String, String)> {
        self.fields().map(|pair| (pair.key.into_owned(), pair.value.unwrap_or_default().into_owned())).collect()
    }
}

/// The text that a name or value stands for.
fn plain(raw: &str) -> Result<Cow<'_, str>, BadBody> {
    // What every serialiser escapes; some readers take `;` for a separator.
    if raw.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'#' | b'\\' | b';' | b'=' | b'"')) {
        return Err(BadBody::Form("a character in it must be percent-encoded"));
    }
    if !raw.contains(['%', '+']) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while !rest.is_empty() {
        let plus = rest[0] == b'+';
        let (byte, after) = next_byte(rest).ok_or(BadBody::Form("`%` is not followed by two hexadecimal digits"))?;
        bytes.push(if plus { b' ' } else { byte });
        rest = after;
    }
    let text = String::from_utf8(bytes).map_err(|_| BadBody::Form("it does not decode to UTF-8"))?;
    // Text may have line breaks; a reader in C would end at a zero byte.
    if text.contains('\0') { Err(BadBody::Form("it holds an encoded zero byte")) } else { Ok(Cow::Owned(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Form, BadBody> {
        Form::parse(text.as_bytes())
    }

    #[test]
    fn a_form_is_read_as_a_query_is_and_written_in_one_spelling() {
        let form = parse("to=a%40b.c&n=1+2%2B3&%74o=x&text=a%0D%0Ab&e=&_method=DELETE&_Method=x").unwrap();
        let expected = [("to", "a@b.c"), ("n", "1 2+3"), ("to", "x"), ("text", "a\r\nb"), ("e", "")];
        assert_eq!(form.values(), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(form.text(), "to=a@b.c&n=1%202%2B3&to=x&text=a%0D%0Ab&e=");
    }

    #[test]
    fn what_readers_of_forms_disagree_about_is_refused() {
        for text in [
            "",
            "a",
            "a&b=1",
            "a=1&",
            "&a=1",
            "a=1&&b=2",
            "=1",
            "a=1;b=2",
            "a=b=c",
            "a=%zz",
            "a=%4",
            "a=%",
            "a=%ff",
            "a=%c0%af",
            "a=%ed%a0%80",
            "a=%00",
            "a%0a=1",
            "a=é",
            "a=b c",
            "a=b\nc",
            "a=\"b\"",
            "a=#",
            "a=\\",
            "\u{feff}a=1",
        ] {
            assert!(matches!(parse(text), Err(BadBody::Form(_))), "{text:?}");
        }
        assert!(matches!(Form::parse(b"a=\xff"), Err(BadBody::Form(_))));
        assert!(parse(&vec!["a=1"; 1024].join("&")).is_ok());
        assert!(parse(&vec!["a=1"; 1025].join("&")).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::catalog::tests::cases()))]

        // Failure: another parser reads the forwarded form otherwise than it was authorised.
        #[test]
        fn an_independent_parser_reads_what_was_authorised(
            text in "((a|b|%61|to%5B%5D|[!-~]|%[0-9A-Fa-f]{2}|\\+){1,4}=(a|b|%e9|%C3%A9|[!-~]|%[0-9A-Fa-f]{2}|\\+){0,6}&?){0,4}",
        ) {
            let Ok(form) = parse(&text) else { return Ok(()) };
            let read: Vec<(String, String)> =
                url::form_urlencoded::parse(form.text().as_bytes()).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
            prop_assert_eq!(&read, &form.values(), "{}", form.text());
            prop_assert!(form.text().is_empty() || parse(form.text()).as_ref() == Ok(&form));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Form::parse(&bytes);
        }
    }
}
