//! The ways in which an upstream may write a secret back: in a body, a header, an error page, a redirect.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Every spelling of `secret` that a common encoder produces, each once.
pub fn of(secret: &[u8]) -> Vec<Secret<Vec<u8>>> {
    let mut all = vec![Zeroizing::new(secret.to_vec())];
    let mut add = |spelling: String| all.push(Zeroizing::new(spelling.into_bytes()));
    for whole in [STANDARD.encode(secret), STANDARD_NO_PAD.encode(secret), URL_SAFE.encode(secret)] {
        add(whole);
    }
    add(URL_SAFE_NO_PAD.encode(secret));
    for before in 0..3 {
        base64_within(secret, before).into_iter().for_each(&mut add);
    }
    for case in [Case::Upper, Case::Lower] {
        add(secret.iter().fold(room(secret), |text, byte| case.append(text, "", *byte)));
        for kept in KEPT {
            for space in ["%20", "+"] {
                add(percent_encoded_except(secret, case, kept, space));
            }
        }
    }
    for escapes in ESCAPES {
        add(escaped(secret, escapes));
    }
    all.sort_by(|left, right| left.as_slice().cmp(right));
    all.dedup_by(|left, right| left.as_slice() == right.as_slice());
    all.iter_mut().map(|spelling| Secret::new(std::mem::take(&mut **spelling))).collect()
}

/// RFC 3986 `unreserved`.
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Percent-encoded as writ itself does it: all but `unreserved`, in upper case.
pub fn percent_encoded(bytes: &[u8]) -> String {
    percent_encoded_except(bytes, Case::Upper, KEPT[0], "%20")
}

/// Of the base64 of a text that has `secret` after `before` bytes (modulo 3) of something else: the characters that
/// depend on the secret alone, in both alphabets.
fn base64_within(secret: &[u8], before: usize) -> [String; 2] {
    let mut text = Zeroizing::new(vec![0; before]);
    text.reserve_exact(secret.len());
    text.extend_from_slice(secret);
    let (start, end) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
    [STANDARD_NO_PAD, URL_SAFE_NO_PAD].map(|engine| {
        let encoded = Zeroizing::new(engine.encode(&*text));
        encoded.get(start..end).unwrap_or_default().to_owned()
    })
}

#[derive(Clone, Copy)]
enum Case {
    Upper,
    Lower,
}

impl Case {
    fn append(self, mut text: String, before: &str, byte: u8) -> String {
        // Writing to a string does not fail.
        let _ = match self {
            Self::Upper => write!(text, "{before}{byte:02X}"),
            Self::Lower => write!(text, "{before}{byte:02x}"),
        };
        text
    }
}

/// What encoders leave as it is, beside letters and digits.
const KEPT: [&[u8]; 7] = [
    // RFC 3986, Go's QueryEscape, Python's quote_plus.
    b"-._~",
    // WHATWG forms.
    b"-._*",
    // encodeURIComponent.
    b"-._~!'()*",
    // Python's quote.
    b"-._~/",
    // Go's PathEscape.
    b"-._~$&+:=@",
    // encodeURI and what a query may hold.
    b"-._~!$&'()*+,;=:@/?",
    // The WHATWG query of a URL.
    b"-._~!$&()*+,;=:@/?[]\\^`{|}%",
];

/// Room for the longest escape of each byte: a string that grows leaves copies of the secret behind.
fn room(bytes: &[u8]) -> String {
    String::with_capacity(bytes.len() * "\\u0000".len())
}

fn percent_encoded_except(bytes: &[u8], case: Case, kept: &[u8], space: &str) -> String {
    bytes.iter().fold(room(bytes), |mut text, byte| match byte {
        b' ' => text + space,
        _ if byte.is_ascii_alphanumeric() || kept.contains(byte) => {
            text.push(char::from(*byte));
            text
        }
        _ => case.append(text, "%", *byte),
    })
}

type Escapes = &'static [(u8, &'static str)];

const ESCAPES: [Escapes; 8] = [
    // JSON: the least that is escaped, then also what PHP, Go, .NET and Ruby on Rails escape.
    &[(b'"', r#"\""#), (b'\\', r"\\")],
    &[(b'"', r#"\""#), (b'\\', r"\\"), (b'/', r"\/")],
    &[(b'"', r#"\""#), (b'\\', r"\\"), (b'<', r"\u003c"), (b'>', r"\u003e"), (b'&', r"\u0026")],
    &[
        (b'"', r"\u0022"),
        (b'\\', r"\\"),
        (b'<', r"\u003C"),
        (b'>', r"\u003E"),
        (b'&', r"\u0026"),
        (b'\'', r"\u0027"),
        (b'+', r"\u002B"),
        (b'`', r"\u0060"),
    ],
    // HTML and XML.
    &[(b'&', "&amp;"), (b'<', "&lt;"), (b'>', "&gt;")],
    &[(b'&', "&amp;"), (b'<', "&lt;"), (b'>', "&gt;"), (b'"', "&quot;"), (b'\'', "&#39;")],
    &[(b'&', "&amp;"), (b'<', "&lt;"), (b'>', "&gt;"), (b'"', "&#34;"), (b'\'', "&#39;")],
    &[(b'&', "&amp;"), (b'<', "&lt;"), (b'>', "&gt;"), (b'"', "&quot;"), (b'\'', "&#x27;")],
];

fn escaped(bytes: &[u8], escapes: Escapes) -> String {
    bytes.iter().fold(room(bytes), |mut text, byte| match escapes.iter().find(|(escaped, _)| escaped == byte) {
        Some((_, escape)) => text + escape,
        None => {
            text.push(char::from(*byte));
            text
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spellings(secret: &str) -> Vec<String> {
        of(secret.as_bytes()).iter().map(|s| String::from_utf8(s.expose().clone()).unwrap()).collect()
    }

    #[test]
    fn what_common_encoders_make_of_a_secret_is_a_spelling_of_it() {
        let known = spellings(r#"a?b/c+d "e\f<g>&h'~*"#);
        for spelling in [
            r#"a?b/c+d "e\f<g>&h'~*"#,
            // Both alphabets of base64.
            "YT9iL2MrZCAiZVxmPGc+Jmgnfio=",
            "YT9iL2MrZCAiZVxmPGc-Jmgnfio",
            // urllib.parse.quote(safe=''), quote, quote_plus; encodeURIComponent; the lower case of Java's old encoders.
            "a%3Fb%2Fc%2Bd%20%22e%5Cf%3Cg%3E%26h%27~%2A",
            "a%3Fb/c%2Bd%20%22e%5Cf%3Cg%3E%26h%27~%2A",
            "a%3Fb%2Fc%2Bd+%22e%5Cf%3Cg%3E%26h%27~%2A",
            "a%3Fb%2Fc%2Bd%20%22e%5Cf%3Cg%3E%26h'~*",
            "a%3fb%2fc%2bd%20%22e%5cf%3cg%3e%26h%27~%2a",
            // URLSearchParams.
            "a%3Fb%2Fc%2Bd+%22e%5Cf%3Cg%3E%26h%27%7E*",
            // json.dumps, json_encode, Go's encoding/json, System.Text.Json.
            r#"a?b/c+d \"e\\f<g>&h'~*"#,
            r#"a?b\/c+d \"e\\f<g>&h'~*"#,
            r#"a?b/c+d \"e\\f\u003cg\u003e\u0026h'~*"#,
            r"a?b/c\u002Bd \u0022e\\f\u003Cg\u003E\u0026h\u0027~*",
            // html.escape of Python, html/template of Go.
            r"a?b/c+d &quot;e\f&lt;g&gt;&amp;h&#x27;~*",
            r"a?b/c+d &#34;e\f&lt;g&gt;&amp;h&#39;~*",
            "613f622f632b642022655c663c673e2668277e2a",
        ] {
            assert!(known.iter().any(|known| known == spelling), "{spelling}\n{known:#?}");
        }
    }

    #[test]
    fn a_plain_secret_has_few_spellings() {
        assert!(spellings("sk_live_4eC39HqLyjWDarjtT1zdp7dc").len() <= 9);
    }

    proptest! {
        #[test]
        fn a_secret_within_a_longer_text_is_found_in_the_base64_of_the_whole(
            before: Vec<u8>, secret in "[ -~]{8,40}", after: Vec<u8>,
        ) {
            let text = [&before, secret.as_bytes(), &after].concat();
            for encoded in [STANDARD.encode(&text), STANDARD_NO_PAD.encode(&text), URL_SAFE.encode(&text)] {
                prop_assert!(spellings(&secret).iter().any(|spelling| encoded.contains(spelling.as_str())));
            }
        }

        #[test]
        fn every_spelling_is_at_least_as_long_as_a_secret_must_be(secret in "[ -~]{8,40}") {
            prop_assert!(spellings(&secret).iter().all(|spelling| spelling.len() >= 8));
        }
    }
}
