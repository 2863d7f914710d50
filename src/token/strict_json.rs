//! JSON objects without duplicate names: two parsers would each see another value.

use std::borrow::Cow;
#[cfg(feature = "server")]
use std::collections::BTreeMap;
use std::fmt;

#[cfg(feature = "server")]
use serde::de::DeserializeOwned;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object where it lies, no name twice: what is looked at for every request is not copied. As [`Object`] but for that.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Reads exactly one object and nothing after it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let text = self.get(name)?;
        match text.strip_prefix('"')?.strip_suffix('"')? {
            plain if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
            _ => serde_json::from_str(text).ok().map(Cow::Owned),
        }
    }

    /// A whole number, written as one: neither `1.0` nor `1e0`.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        serde_json::from_str(self.get(name)?).ok()
    }

    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        serde_json::from_str(self.get(name)?).ok()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether its names are exactly `names`.
    pub(crate) fn has_exactly(&self, names: &[&str]) -> bool {
        self.0.len() == names.len() && names.iter().all(|name| self.has(name))
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.get())
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Without escapes it is borrowed.
        #[derive(serde::Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                let mut names: Vec<&str> = members.iter().map(|(name, _): &(Cow<'de, str>, _)| &**name).collect();
                names.sort_unstable();
                if names.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(M::Error::custom("a name stands twice"));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// An object, no name twice. The objects within it are checked when they are read.
#[cfg(feature = "server")]
#[derive(Debug, Default)]
pub(crate) struct Object(BTreeMap<String, Box<RawValue>>);

#[cfg(feature = "server")]
impl Object {
    /// Reads exactly one object and nothing after it.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.value(name)
    }

    /// A whole number, written as one: neither `1.0` nor `1e0`.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.value(name)
    }

    /// Seconds since 1970. A fraction, which is allowed (RFC 7519 section 2), is cut off.
    pub(crate) fn seconds(&self, name: &str) -> Option<i64> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let text = self.0.get(name)?.get();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        if digits(whole) && digits(fraction) { whole.parse().ok() } else { None }
    }

    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        self.value(name)
    }

    /// An array of texts.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.value(name)
    }

    /// An array of objects.
    pub(crate) fn objects(&self, name: &str) -> Option<Vec<Self>> {
        self.value(name)
    }

    /// Whether it is `true`, and nothing that could be taken for it.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.value(name) == Some(true)
    }

    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        self.value(name)
    }

    /// How many names it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Its names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn value<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }
}

#[cfg(feature = "server")]
impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Members(members) = Members::deserialize(deserializer)?;
        Ok(Self(members.into_iter().map(|(name, value)| (name.into_owned(), value.to_owned())).collect()))
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1} x"#,
            r#"{"a":1,}"#,
            r#"{'a':1}"#,
            "\u{feff}{}",
            "{/**/}",
            "[]",
            "",
            r#"{"a":NaN}"#,
        ] {
            assert!(Object::parse(text.as_bytes()).is_none(), "{text}");
            assert!(Members::parse(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_none());
        assert!(Members::parse(b"{\"a\":\"\xff\"}").is_none());
        let nested = br#"{"o":{"a":1,"a":2}}"#;
        assert!(Object::parse(nested).unwrap().object("o").is_none());
        assert!(Members::parse(nested).unwrap().object("o").is_none());
    }

    proptest! {
        #[test]
        fn where_it_lies_an_object_reads_as_its_copy_does(
            names in proptest::collection::vec(r#"[ab"\\é]{0,2}"#, 0..4),
            values in proptest::collection::vec(any_value(), 4),
            spoilt in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let members = names.iter().zip(&values).map(|(name, value)| format!("{}: {value}", json!(name)));
            let mut text = format!("{{ {} }}", members.collect::<Vec<_>>().join(",")).into_bytes();
            if let Some((at, byte)) = spoilt {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let (lying, copied) = (Members::parse(&text), Object::parse(&text));
            prop_assert_eq!(lying.is_some(), copied.is_some());
            let (Some(lying), Some(copied)) = (lying, copied) else { return Ok(()) };
            let names: Vec<&str> = copied.0.keys().map(String::as_str).collect();
            prop_assert!(lying.has_exactly(&names) && !lying.has("missing"));
            for name in names {
                prop_assert_eq!(lying.text(name).map(Cow::into_owned), copied.text(name));
                prop_assert_eq!(lying.integer(name), copied.integer(name));
                prop_assert_eq!(lying.object(name).is_some(), copied.object(name).is_some());
            }
        }
    }

    fn any_value() -> impl Strategy<Value = String> {
        prop_oneof![
            r#"[a"\\/é\u0001]{0,3}"#.prop_map(|text| json!(text).to_string()),
            Just(r#""\u0061\ud83d\ude00""#.to_owned()),
            Just(r#""\ud83d""#.to_owned()),
            (-2i64..2).prop_map(|number| number.to_string()),
            prop::sample::select(
                &["1.0", "1e0", "-0", "01", "true", "null", "[1]", r#"{"a":"b"}"#, r#"{"a":1,"a":1}"#][..]
            )
            .prop_map(str::to_owned),
        ]
    }

    #[test]
    fn numbers_are_not_coerced() {
        let object = Object::parse(br#"{"a":1,"b":1.0,"c":1e0,"d":"1","e":9223372036854775808}"#).unwrap();
        assert_eq!(object.integer("a"), Some(1));
        for name in ["b", "c", "d", "e", "missing"] {
            assert_eq!(object.integer(name), None, "{name}");
        }
        assert_eq!(object.text("a"), None);
    }

    #[test]
    fn seconds_lose_their_fraction_and_are_written_in_digits() {
        let object = Object::parse(
            br#"{"a":1,"b":1.99,"c":1e0,"d":"1","e":9223372036854775808,"f":-1,"g":-0.5,"h":1.5e3,"i":null}"#,
        );
        let object = object.unwrap();
        assert_eq!((object.seconds("a"), object.seconds("b")), (Some(1), Some(1)));
        for name in ["c", "d", "e", "f", "g", "h", "i", "missing"] {
            assert_eq!(object.seconds(name), None, "{name}");
        }
    }
}
