//! JSON bodies, read so strictly that no other parser can read them differently.
//!
//! Own code because `serde_json` keeps either the exact text of a number or the refusal of repeated keys, not both; the
//! tests hold it against `serde_json` and a second parser. Never guesses: what is unclear is an error.

mod parse;
mod pointer;

use std::fmt;

use crate::catalog::body::BadBody;

pub(super) use pointer::same_but_for_case;
pub use pointer::{InvalidPointer, Pointer};
pub(super) use pointer::{Part, Unfit, index};

/// A parsed JSON document: its keys in order, its numbers as they were written.
///
/// Takes up to about 16 times the bytes of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body(Node);

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A number, as it was written.
    Number(Box<str>),
    /// A string, unescaped.
    String(Box<str>),
    /// An array.
    Array(Vec<Node>),
    /// An object; no key twice.
    Object(Vec<(Box<str>, Node)>),
}

impl Body {
    /// The deepest nesting of arrays and objects.
    pub const DEPTH_MAX: usize = 32;

    /// Parses a whole document of at most `bytes_max` bytes.
    pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Self, BadBody> {
        if bytes.len() > bytes_max {
            return Err(BadBody::TooLong(bytes_max));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| BadBody::Syntax(error.valid_up_to()))?;
        parse::document(text).map(Self)
    }

    /// The whole document.
    pub const fn root(&self) -> &Node {
        &self.0
    }

    /// The text to forward, written from the parsed form: no space, keys in order, numbers as they were written.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(true) => f.write_str("true"),
            Self::Boolean(false) => f.write_str("false"),
            Self::Number(text) => f.write_str(text),
            Self::String(text) => write_string(f, text),
            Self::Array(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    item.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (i, (key, value)) in members.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    write_string(f, key)?;
                    f.write_str(":")?;
                    value.fmt(f)?;
                }
                f.write_str("}")
            }
        }
    }
}

pub(super) fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && !matches!(byte, b'"' | b'\\' | 0x7f) {
            continue;
        }
        f.write_str(&text[written..at])?;
        written = at + 1;
        match byte {
            b'"' => f.write_str("\\\"")?,
            b'\\' => f.write_str("\\\\")?,
            _ => write!(f, "\\u{byte:04x}")?,
        }
    }
    f.write_str(&text[written..])?;
    f.write_str("\"")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Body, BadBody> {
        Body::parse(text.as_bytes(), 1 << 20)
    }

    #[test]
    fn a_repeated_key_is_refused_at_every_depth_and_in_every_spelling() {
        for text in [
            r#"{"amount":1,"amount":2}"#,
            r#"{"a":{"b":[{"c":1,"d":2,"c":1}]}}"#,
            r#"{"amount":1,"\u0061mount":2}"#,
            r#"{"":1,"":1}"#,
        ] {
            assert!(matches!(parse(text), Err(BadBody::DuplicateKey(_))), "{text}");
        }
        let many = |last: usize| {
            let keys: Vec<String> = (0..100).chain([last]).map(|i| format!("\"k{i}\":0")).collect();
            format!("{{{}}}", keys.join(","))
        };
        assert!(parse(&many(100)).is_ok());
        for last in [0, 15, 16, 17, 99] {
            assert!(matches!(parse(&many(last)), Err(BadBody::DuplicateKey(_))), "{last}");
        }
        assert!(parse(r#"{"a":{"a":1},"b":{"a":1}}"#).is_ok());
    }

    #[test]
    fn what_lenient_parsers_take_is_refused() {
        for text in [
            "",
            " ",
            "\u{feff}{}",
            "{} x",
            "{}{}",
            "{},",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\" 1}",
            "{\"a\":}",
            "{1:1}",
            "[1]//",
            "/**/1",
            "NaN",
            "Infinity",
            "-Infinity",
            "nan",
            "True",
            "nul",
            "nulll",
            "01",
            "-01",
            "-",
            "+1",
            ".5",
            "1.",
            "1.e2",
            "1e",
            "1e+",
            "0x1",
            "1_000",
            "--1",
            "1.2.3",
            "\"a",
            "\"\t\"",
            "\"\n\"",
            "\"\0\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\u+123\"",
            "\"\\U0041\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800x\"",
            "\"\\ud800\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\\ud800\"",
            "[",
            "{",
            "[[]",
            "{\"a\":[}",
            "]",
            "}",
            "\u{a0}1",
            "\u{c}1",
            "\u{2028}1",
            "\0",
            "1\0",
        ] {
            assert!(matches!(parse(text), Err(BadBody::Syntax(_))), "{text:?}");
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_refused() {
        for bytes in
            [b"\"\xff\"".as_slice(), b"\"\xc0\xaf\"", b"\"\xed\xa0\x80\"", b"\xff\xfe1\0", b"\0\x31", b"\"\xc3"]
        {
            assert!(matches!(Body::parse(bytes, 100), Err(BadBody::Syntax(_))), "{bytes:?}");
        }
    }

    #[test]
    fn nesting_and_size_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(32)).is_ok());
        assert_eq!(parse(&nested(33)), Err(BadBody::TooDeep));
        assert_eq!(parse(&"[".repeat(10_000)), Err(BadBody::TooDeep));
        assert_eq!(parse(&r#"{"a":"#.repeat(10_000)), Err(BadBody::TooDeep));
        assert!(Body::parse(b"[1]", 3).is_ok());
        assert_eq!(Body::parse(b"[1]", 2), Err(BadBody::TooLong(2)));
    }

    #[test]
    fn key_order_and_number_text_survive() {
        let text =
            r#"{"z":1.10,"a":[1e2,-0,1E+400,9007199254740993,18446744073709551616],"m":{"é":"\u2028\ud83d\ude00"}}"#;
        let expected =
            "{\"z\":1.10,\"a\":[1e2,-0,1E+400,9007199254740993,18446744073709551616],\"m\":{\"é\":\"\u{2028}😀\"}}";
        assert_eq!(parse(text).unwrap().to_string(), expected);
        assert_eq!(
            parse(" [ \"\\u0000\\u001f\\\"\\\\\\/\\b\\f\\n\\r\\t\\u007f\" , true , false , null , { } ] ")
                .unwrap()
                .to_string(),
            "[\"\\u0000\\u001f\\\"\\\\/\\u0008\\u000c\\u000a\\u000d\\u0009\\u007f\",true,false,null,{}]"
        );
    }

    pub(crate) fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            any::<i64>().prop_map(|value| value.to_string()),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
            "\"(a|\\\\n|\\\\u00[46][0-9a-f]|\\\\ud83d\\\\ude00|\\\\/|é){0,6}\"",
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = "\"([ab]|\\\\u0061|é){0,2}\"";
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" ,"))),
                proptest::collection::vec((key, inner), 0..4).prop_map(|members| {
                    let members: Vec<String> =
                        members.into_iter().map(|(key, value)| format!("{key}\n: {value}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    /// Up to the last bits: these parsers do not all round exactly.
    fn near(text: &str, read: Option<f64>) -> bool {
        let (Ok(exact), Some(read)) = (text.parse::<f64>(), read) else { return false };
        exact == read || (exact - read).abs() <= exact.abs() * 1e-15
    }

    fn same_as_serde(node: &Node, value: &serde_json::Value) -> bool {
        match (node, value) {
            (Node::Null, serde_json::Value::Null) => true,
            (Node::Boolean(a), serde_json::Value::Bool(b)) => a == b,
            (Node::Number(text), serde_json::Value::Number(b)) => near(text, b.as_f64()),
            (Node::String(a), serde_json::Value::String(b)) => **a == *b,
            (Node::Array(a), serde_json::Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_as_serde(a, b))
            }
            (Node::Object(a), serde_json::Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| b.get(&**key).is_some_and(|b| same_as_serde(value, b)))
            }
            _ => false,
        }
    }

    fn same_as_tinyjson(node: &Node, value: &tinyjson::JsonValue) -> bool {
        use tinyjson::JsonValue;
        match (node, value) {
            (Node::Null, JsonValue::Null) => true,
            (Node::Boolean(a), JsonValue::Boolean(b)) => a == b,
            (Node::Number(text), JsonValue::Number(b)) => near(text, Some(*b)),
            (Node::String(a), JsonValue::String(b)) => **a == *b,
            (Node::Array(a), JsonValue::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_as_tinyjson(a, b))
            }
            (Node::Object(a), JsonValue::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, value)| b.get(&**key).is_some_and(|b| same_as_tinyjson(value, b)))
            }
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::catalog::tests::cases()))]

        // Failure: another parser reads the forwarded body otherwise than the one that was authorised.
        #[test]
        fn two_independent_parsers_read_what_was_authorised(text in any_json()) {
            let Ok(body) = parse(&text) else { return Ok(()) };
            let forwarded = body.to_bytes();
            let value: serde_json::Value = serde_json::from_slice(&forwarded).unwrap();
            prop_assert!(same_as_serde(body.root(), &value), "{} / {}", body, value);
            let value: tinyjson::JsonValue = std::str::from_utf8(&forwarded).unwrap().parse().unwrap();
            prop_assert!(same_as_tinyjson(body.root(), &value), "{}", body);
            prop_assert_eq!(Body::parse(&forwarded, 1 << 20), Ok(body));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        // Failure: a document is taken that serde_json refuses, or refused for its syntax though serde_json takes it.
        #[test]
        fn a_mangled_document_is_json_for_us_exactly_if_it_is_for_serde(text in any_json(), at: proptest::sample::Index, byte: u8) {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let theirs = serde_json::from_slice::<serde_json::Value>(&bytes);
            match Body::parse(&bytes, 1 << 20) {
                Ok(body) => match theirs {
                    Ok(value) => prop_assert!(same_as_serde(body.root(), &value)),
                    // It keeps no text of a number and so refuses one that does not fit a float.
                    Err(error) => prop_assert!(error.to_string().starts_with("number out of range"), "{error}"),
                },
                // serde_json keeps the last of a repeated key.
                Err(BadBody::DuplicateKey(_)) => {}
                Err(error) => prop_assert!(theirs.is_err(), "{error}: {:?}", String::from_utf8_lossy(&bytes)),
            }
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Body::parse(&bytes, 1000);
        }
    }
}
