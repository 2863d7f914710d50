//! What a writ allows: an action on a resource of a service. Covers everything below, segment by segment.

use std::fmt;
use std::str::FromStr;

use crate::id::{InvalidName, ServiceName, text_form};
use crate::small::{Few, Text};

/// A `/`-separated path of an action or a resource. The empty path, written `/`, is the root and covers every path.
///
/// A segment is 1 to 128 bytes of RFC 3986 `unreserved` characters, `@`, `+`, `,`, `=` or upper-case percent escapes of
/// any other byte, and is neither `.` nor `..`. Compared byte by byte: no case folding, no Unicode normalisation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Text);

/// A text that is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// A segment is empty, `.`, `..`, or has a character that must be percent-encoded.
    #[error("a path segment is empty, `.` or `..`, or holds a character that must be percent-encoded")]
    Segment,
    /// More than [`Path::SEGMENTS_MAX`] segments, or a segment over [`Path::SEGMENT_BYTES_MAX`] bytes.
    #[error(
        "a path has more than {} segments or a segment of more than {} bytes",
        Path::SEGMENTS_MAX,
        Path::SEGMENT_BYTES_MAX
    )]
    TooLong,
}

impl Path {
    /// The most segments of a path.
    pub const SEGMENTS_MAX: usize = 16;
    /// The longest segment in bytes, in its percent-encoded form.
    pub const SEGMENT_BYTES_MAX: usize = 128;

    /// The path that covers every path.
    pub fn root() -> Self {
        Self(Text::default())
    }

    /// The path of raw segments (not percent-encoded): each byte that may not stand in a segment is escaped.
    pub fn from_segments<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, InvalidPath> {
        let mut path = PathWriter::default();
        segments.into_iter().for_each(|segment| path.push(segment));
        path.finish()
    }

    /// Whether this path is `other` or stands above it.
    pub fn covers(&self, other: &Self) -> bool {
        match other.0.strip_prefix(&*self.0) {
            Some(rest) => self.0.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// The segments, from the top; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// The root, each path above this one from the top, and this path itself.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        let inner = self.0.match_indices('/').map(|(at, _)| &self.0[..at]);
        let whole = (!self.0.is_empty()).then_some(&*self.0);
        std::iter::once("/").chain(inner).chain(whole)
    }

    /// The text form: `/` for the root, otherwise the segments without a leading slash.
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }

    fn checked(text: &str) -> Result<Self, InvalidPath> {
        let mut count = 0;
        for segment in text.split('/') {
            count += 1;
            if segment.len() > Self::SEGMENT_BYTES_MAX || count > Self::SEGMENTS_MAX {
                return Err(InvalidPath::TooLong);
            }
            if matches!(segment, "" | "." | "..") || !is_canonical(segment.as_bytes()) {
                return Err(InvalidPath::Segment);
            }
        }
        Ok(Self(text.into()))
    }
}

/// A path in the making, from raw segments.
#[derive(Default)]
pub(crate) struct PathWriter {
    text: Few<u8, 256>,
    has_empty: bool,
}

impl PathWriter {
    /// Appends a segment: each byte that may not stand in one is escaped.
    pub(crate) fn push(&mut self, segment: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        if !self.text.is_empty() {
            self.text.push(b'/');
        }
        for byte in segment {
            if is_plain(*byte) {
                self.text.push(*byte);
            } else {
                let [high, low] = [byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]);
                self.text.extend([b'%', high, low]);
            }
        }
        self.has_empty |= segment.is_empty();
    }

    /// The path, which has at least one segment.
    pub(crate) fn finish(self) -> Result<Path, InvalidPath> {
        match std::str::from_utf8(&self.text) {
            Ok(text) if !self.has_empty => Path::checked(text),
            _ => Err(InvalidPath::Segment),
        }
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'@' | b'+' | b',' | b'=')
}

/// Plain bytes, and escapes only of bytes that need one: so that a segment has one spelling.
fn is_canonical(mut bytes: &[u8]) -> bool {
    let digit = |b: u8| char::from(b).to_digit(16).filter(|_| !b.is_ascii_lowercase());
    loop {
        bytes = match bytes {
            [] => return true,
            [b'%', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) if !u8::try_from(high * 16 + low).is_ok_and(is_plain) => rest,
                _ => return false,
            },
            [byte, rest @ ..] if is_plain(*byte) => rest,
            _ => return false,
        };
    }
}

impl FromStr for Path {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "/" { Ok(Self::root()) } else { Self::checked(text) }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

text_form!(Path);

/// An action on a resource of a service, and everything below both. Written `github:issues/read:repos/acme/web`.
///
/// The text form is also an OAuth scope token (RFC 6749 section 3.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// The service of the catalog.
    pub service: ServiceName,
    /// What may be done.
    pub action: Path,
    /// To what.
    pub resource: Path,
}

/// A text that is not a capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCapability {
    /// Not three parts.
    #[error(
        "a capability is written `service:action:resource`, for example `notes:read:team`; `/` stands for everything"
    )]
    Form,
    /// The first part.
    #[error(transparent)]
    Service(#[from] InvalidName),
    /// The second or third part.
    #[error(transparent)]
    Path(#[from] InvalidPath),
}

impl Capability {
    /// Whether every operation that `other` allows is allowed by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        self.service == other.service && self.action.covers(&other.action) && self.resource.covers(&other.resource)
    }
}

impl FromStr for Capability {
    type Err = InvalidCapability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let (Some(service), Some(action), Some(resource), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidCapability::Form);
        };
        Ok(Self { service: service.parse()?, action: action.parse()?, resource: resource.parse()? })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.service, self.action, self.resource)
    }
}

text_form!(Capability);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_path() -> impl Strategy<Value = Path> {
        proptest::collection::vec("[ab]{1,2}|%20", 0..4)
            .prop_map(|segments| if segments.is_empty() { Path::root() } else { segments.join("/").parse().unwrap() })
    }

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_covers_what_stands_below_it_and_nothing_that_merely_begins_alike() {
        assert!(path("issues").covers(&path("issues/read")));
        assert!(path("issues").covers(&path("issues")));
        assert!(!path("issues").covers(&path("issuesx")));
        assert!(!path("issues/read").covers(&path("issues")));
        assert!(path("/").covers(&path("anything/at/all")));
        assert!(!path("anything").covers(&path("/")));
    }

    #[test]
    fn a_segment_has_one_spelling() {
        for text in ["", "a//b", "a/", "/a", ".", "a/..", "a b", "%41", "%2f", "%2", "a:b", "é", "a\0"] {
            assert!(text.parse::<Path>().is_err(), "{text:?}");
        }
        assert_eq!(Path::from_segments([b"a b".as_slice(), b"\xc3\xa9/"]).unwrap(), path("a%20b/%C3%A9%2F"));
        assert!(Path::from_segments([b"..".as_slice()]).is_err());
    }

    #[test]
    fn the_prefixes_of_a_path_run_from_the_root_to_itself() {
        assert_eq!(path("a/b/c").prefixes().collect::<Vec<_>>(), ["/", "a", "a/b", "a/b/c"]);
        assert_eq!(path("/").prefixes().collect::<Vec<_>>(), ["/"]);
    }

    #[test]
    fn a_capability_has_three_parts() {
        for text in ["", "a", "a:b", "a:b:c:d", "A:b:c", "a::c", "a:b:"] {
            assert!(text.parse::<Capability>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn covering_is_having_it_among_the_prefixes(above in any_path(), below in any_path()) {
            prop_assert_eq!(above.covers(&below), below.prefixes().any(|p| p == above.as_str()));
        }

        #[test]
        fn paths_and_capabilities_round_trip(action in any_path(), resource in any_path()) {
            prop_assert_eq!(&action.to_string().parse::<Path>().unwrap(), &action);
            let capability = Capability { service: "s".parse().unwrap(), action, resource };
            prop_assert_eq!(capability.to_string().parse::<Capability>().unwrap(), capability);
        }

        #[test]
        fn raw_segments_survive_encoding(segments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..5)) {
            if let Ok(path) = Path::from_segments(segments.iter().map(Vec::as_slice)) {
                prop_assert_eq!(&path.to_string().parse::<Path>().unwrap(), &path);
                prop_assert_eq!(path.segments().count(), segments.len());
            }
        }
    }
}
