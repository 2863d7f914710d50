//! JSON Pointer (RFC 6901), and a look-up that refuses what another parser could take for the same key.

use std::fmt;
use std::str::FromStr;

use super::Node;

/// Where in a document values stand. Written `/order/items/0/amount`, or `/to/*/email` for every element of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<Part>);

/// One step of a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::catalog) enum Part {
    /// A member of an object, or by its index an element of an array.
    One(Box<str>),
    /// Every element of an array.
    Every,
}

/// A text that is not a pointer to something inside a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a JSON Pointer is written `/amount`, `/order/amount` or `/to/*/email` for every element, with at most 16 parts, and `~0` for `~` and `~1` for `/`"
)]
pub struct InvalidPointer;

/// Why the values of a pointer cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::catalog) enum Unfit {
    /// A key differs from a looked-up one in case only: parsers exist that take either for the other.
    Clash,
    /// What must be an array is none, or one of its elements has no such member.
    Shape,
}

impl Pointer {
    const PARTS_MAX: usize = 16;

    /// Points to a member of the document.
    pub fn member(name: &str) -> Self {
        Self(vec![Part::One(name.into())])
    }

    /// The same; where it points to one place, every element of the array there.
    pub(in crate::catalog) fn every_element(mut self) -> Self {
        if !self.is_several() {
            self.0.push(Part::Every);
        }
        self
    }

    /// Whether it can point to several values.
    pub(in crate::catalog) fn is_several(&self) -> bool {
        self.0.contains(&Part::Every)
    }

    pub(in crate::catalog) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The values this points to in `root`, in the order of the document; `None` if it points to nothing.
    ///
    /// An array whose every element is meant may be empty, and each of its elements must have the rest.
    pub(in crate::catalog) fn find<'a>(&self, root: &'a Node) -> Result<Option<Vec<&'a Node>>, Unfit> {
        let mut found = Vec::new();
        Ok(collect(&self.0, root, &mut found)?.then_some(found))
    }
}

/// Whether there is something to point to.
fn collect<'a>(parts: &[Part], node: &'a Node, found: &mut Vec<&'a Node>) -> Result<bool, Unfit> {
    let next = match (parts.split_first(), node) {
        (None, _) => {
            found.push(node);
            return Ok(true);
        }
        (Some((Part::One(name), rest)), Node::Object(members)) => member(members, name)?.map(|node| (node, rest)),
        (Some((Part::One(name), rest)), Node::Array(items)) => {
            index(name).and_then(|index| items.get(index)).map(|node| (node, rest))
        }
        (Some((Part::One(_), _)), _) => None,
        (Some((Part::Every, rest)), Node::Array(items)) => {
            for item in items {
                if !collect(rest, item, found)? {
                    return Err(Unfit::Shape);
                }
            }
            return Ok(true);
        }
        (Some((Part::Every, _)), _) => return Err(Unfit::Shape),
    };
    next.map_or(Ok(false), |(node, rest)| collect(rest, node, found))
}

fn member<'a>(members: &'a [(Box<str>, Node)], name: &str) -> Result<Option<&'a Node>, Unfit> {
    let mut found = None;
    for (key, value) in members {
        if **key == *name {
            found = Some(value);
        } else if same_but_for_case(key, name) {
            return Err(Unfit::Clash);
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

pub(in crate::catalog) fn index(part: &str) -> Option<usize> {
    let canonical = part == "0" || (!part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit()));
    canonical.then(|| part.parse().ok()).flatten()
}

impl FromStr for Pointer {
    type Err = InvalidPointer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.strip_prefix('/').ok_or(InvalidPointer)?.split('/');
        let part = |part| if part == "*" { Some(Part::Every) } else { unescaped(part).map(Part::One) };
        let parts = parts.map(part).collect::<Option<Vec<_>>>().ok_or(InvalidPointer)?;
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
        self.0.iter().try_for_each(|part| match part {
            Part::One(name) => write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")),
            Part::Every => f.write_str("/*"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Body;
    use super::*;

    fn find_all(pointer: &str, text: &str) -> Result<Option<Vec<String>>, Unfit> {
        let body = Body::parse(text.as_bytes(), 1000).unwrap();
        let found = pointer.parse::<Pointer>().unwrap().find(body.root())?;
        Ok(found.map(|nodes| nodes.into_iter().map(Node::to_string).collect()))
    }

    fn find(pointer: &str, text: &str) -> Result<Option<String>, Unfit> {
        Ok(find_all(pointer, text)?.map(|nodes| nodes.join(" ")))
    }

    #[test]
    fn a_star_means_every_element_and_none_may_be_odd() {
        let to = |text: &str| find_all("/to/*/email", text);
        let two = Ok(Some(vec!["\"a\"".to_owned(), "\"b\"".to_owned()]));
        assert_eq!(to(r#"{"to":[{"email":"a"},{"name":"x","email":"b"}]}"#), two);
        assert_eq!(to(r#"{"to":[]}"#), Ok(Some(vec![])));
        assert_eq!(to("{}"), Ok(None));
        for odd in [
            r#"{"to":{"email":"a"}}"#,
            r#"{"to":"a"}"#,
            r#"{"to":null}"#,
            r#"{"to":[{"email":"a"},{}]}"#,
            r#"{"to":[{"email":"a"},"b"]}"#,
            r#"{"to":[{"email":"a"},null]}"#,
            r#"{"to":[[{"email":"a"}]]}"#,
        ] {
            assert_eq!(to(odd), Err(Unfit::Shape), "{odd}");
        }
        assert_eq!(to(r#"{"to":[{"email":"a"},{"Email":"b"}]}"#), Err(Unfit::Clash));
        let nested = r#"{"a":[{"b":[1,2]},{"b":[]},{"b":[3]}]}"#;
        assert_eq!(find_all("/a/*/b/*", nested), Ok(Some(vec!["1".to_owned(), "2".to_owned(), "3".to_owned()])));
        assert_eq!(find_all("/*", "[1]"), Ok(Some(vec!["1".to_owned()])));
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
            assert_eq!(find("/amount", text), Err(Unfit::Clash), "{text}");
        }
        assert_eq!(find("/risk", "{\"ri\u{17f}k\":1}"), Err(Unfit::Clash));
        assert_eq!(find("/risk", "{\"ris\u{212a}\":1}"), Err(Unfit::Clash));
        assert_eq!(find("/order/amount", r#"{"Order":{"amount":1}}"#), Err(Unfit::Clash));
        assert_eq!(find("/amount", r#"{"amounts":1,"amount":2}"#), Ok(Some("2".to_owned())));
    }

    #[test]
    fn a_pointer_has_one_text_form() {
        for text in ["/", "/a", "/a/0/b~0c~1d", "//", "/a/*", "/a/*/b", "/a/**"] {
            assert_eq!(text.parse::<Pointer>().unwrap().to_string(), text);
        }
        for text in ["", "a", "/~", "/~2", "/a~", &"/a".repeat(17)] {
            assert_eq!(text.parse::<Pointer>(), Err(InvalidPointer), "{text}");
        }
    }
}
