//! JSON Pointer (RFC 6901), and a look-up that refuses what another parser could take for the same key.

use std::fmt;
use std::str::FromStr;

use super::Node;

/// Where in a document a value stands. Written `/order/items/0/amount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<Box<str>>);

/// A text that is not a pointer to something inside a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a JSON Pointer is written `/amount` or `/order/amount`, with at most 16 parts, and `~0` for `~` and `~1` for `/`"
)]
pub struct InvalidPointer;

/// The document holds a key that differs from a looked-up one in case only: parsers exist that take either for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash;

impl Pointer {
    const PARTS_MAX: usize = 16;

    /// Points to a member of the document.
    pub fn member(name: &str) -> Self {
        Self(vec![name.into()])
    }

    /// The value this points to in `root`; `None` if there is none.
    pub fn find<'a>(&self, root: &'a Node) -> Result<Option<&'a Node>, Clash> {
        let mut node = root;
        for part in &self.0 {
            let found = match node {
                Node::Object(members) => member(members, part)?,
                Node::Array(items) => index(part).and_then(|index| items.get(index)),
                _ => None,
            };
            let Some(found) = found else { return Ok(None) };
            node = found;
        }
        Ok(Some(node))
    }
}

fn member<'a>(members: &'a [(Box<str>, Node)], name: &str) -> Result<Option<&'a Node>, Clash> {
    let mut found = None;
    for (key, value) in members {
        if **key == *name {
            found = Some(value);
        } else if same_but_for_case(key, name) {
            return Err(Clash);
        }
    }
    Ok(found)
}

/// Whether a parser that ignores case would take `a` for `b`: Go's does, `ſ` for `s` and the Kelvin sign for `k` included.
pub(in crate::catalog) fn same_but_for_case(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    let folded =
        |text: &str| text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect::<String>();
    folded(a) == folded(b)
}

fn index(part: &str) -> Option<usize> {
    let canonical = part == "0" || (!part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit()));
    canonical.then(|| part.parse().ok()).flatten()
}

impl FromStr for Pointer {
    type Err = InvalidPointer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.strip_prefix('/').ok_or(InvalidPointer)?.split('/');
        let parts = parts.map(unescaped).collect::<Option<Vec<_>>>().ok_or(InvalidPointer)?;
        if parts.len() > Self::PARTS_MAX || text.len() > 1024 {
            return Err(InvalidPointer);
        }
        Ok(Self(parts))
    }
}

fn unescaped(part: &str) -> Option<Box<str>> {
    let mut pieces = part.split('~');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        text.push(match piece.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        text.push_str(&piece[1..]);
    }
    Some(text.into())
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| write!(f, "/{}", part.replace('~', "~0").replace('/', "~1")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Body;
    use super::*;

    fn find(pointer: &str, text: &str) -> Result<Option<String>, Clash> {
        let body = Body::parse(text.as_bytes(), 1000).unwrap();
        let found = pointer.parse::<Pointer>().unwrap().find(body.root())?.map(Node::to_string);
        Ok(found)
    }

    #[test]
    fn a_pointer_walks_objects_and_arrays() {
        let text = r#"{"a":{"b/c":[{"~":1},2]},"":3}"#;
        assert_eq!(find("/a/b~1c/0/~0", text), Ok(Some("1".to_owned())));
        assert_eq!(find("/a/b~1c/1", text), Ok(Some("2".to_owned())));
        assert_eq!(find("/", text), Ok(Some("3".to_owned())));
        for absent in ["/b", "/a/b", "/a/b~1c/2", "/a/b~1c/01", "/a/b~1c/+1", "/a/b~1c/-", "/a/b~1c/0/~0/x"] {
            assert_eq!(find(absent, text), Ok(None), "{absent}");
        }
    }

    #[test]
    fn a_key_that_differs_in_case_only_is_a_clash() {
        for text in
            [r#"{"amount":1,"Amount":2}"#, r#"{"AMOUNT":2}"#, r#"{"order":{},"amouNt":2}"#, "{\"\\u0041mount\":2}"]
        {
            assert_eq!(find("/amount", text), Err(Clash), "{text}");
        }
        assert_eq!(find("/risk", "{\"ri\u{17f}k\":1}"), Err(Clash));
        assert_eq!(find("/risk", "{\"ris\u{212a}\":1}"), Err(Clash));
        assert_eq!(find("/order/amount", r#"{"Order":{"amount":1}}"#), Err(Clash));
        assert_eq!(find("/amount", r#"{"amounts":1,"amount":2}"#), Ok(Some("2".to_owned())));
    }

    #[test]
    fn a_pointer_has_one_text_form() {
        for text in ["/", "/a", "/a/0/b~0c~1d", "//"] {
            assert_eq!(text.parse::<Pointer>().unwrap().to_string(), text);
        }
        for text in ["", "a", "/~", "/~2", "/a~", &"/a".repeat(17)] {
            assert_eq!(text.parse::<Pointer>(), Err(InvalidPointer), "{text}");
        }
    }
}
