//! JSON objects without duplicate names: two parsers would each see another value.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object, no name twice. The objects within it are checked when they are read.
#[derive(Debug, Default)]
pub(crate) struct Object(BTreeMap<String, Box<RawValue>>);

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
    #[cfg(feature = "server")]
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
    #[cfg(feature = "server")]
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<String>> {
        self.value(name)
    }

    /// An array of objects.
    #[cfg(feature = "server")]
    pub(crate) fn objects(&self, name: &str) -> Option<Vec<Self>> {
        self.value(name)
    }

    /// Whether it is `true`, and nothing that could be taken for it.
    #[cfg(feature = "server")]
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.value(name) == Some(true)
    }

    #[cfg(feature = "server")]
    pub(crate) fn boolean(&self, name: &str) -> Option<bool> {
        self.value(name)
    }

    /// How many names it has.
    #[cfg(feature = "server")]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Its names, sorted.
    #[cfg(feature = "server")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether its names are exactly `names`, which are sorted.
    pub(crate) fn has_exactly(&self, names: &[&str]) -> bool {
        self.0.keys().eq(names)
    }

    fn value<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object, M::Error> {
                let mut object = Object::default();
                while let Some((name, value)) = map.next_entry()? {
                    if object.0.insert(name, value).is_some() {
                        return Err(M::Error::custom("a name stands twice"));
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_none());
        let nested = Object::parse(br#"{"o":{"a":1,"a":2}}"#).unwrap();
        assert!(nested.object("o").is_none());
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

    #[cfg(feature = "server")]
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
