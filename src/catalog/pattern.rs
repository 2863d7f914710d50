//! The paths and resources that a route declares: literal segments and `{captures}`.

use std::fmt;
use std::str::FromStr;

use crate::catalog::target::{Target, decoded, without_trailing_slash};
use crate::id::shown;
use crate::token::Path;
use crate::token::capability::{InvalidPath, PathWriter};

/// What a route's path looks like: `/calendars/{calendar}/events`, `/files/{*rest}`.
///
/// A literal segment matches itself byte by byte, `{name}` one segment, `v{name}:run` one segment between fixed text, `{*name}`
/// one or more up to the end. A trailing slash makes no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

/// How a route's resource is made from what its path captured: `calendars/{calendar}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// What a name of a template stands for.
pub(super) enum Captured<'a> {
    /// Segments of a path in its canonical spelling.
    Spelled(&'a str),
    /// The text of one segment.
    Plain(&'a str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// In its canonical spelling.
    Literal(Box<str>),
    One(Box<str>),
    /// A capture between fixed text, in its canonical spelling; only in patterns.
    Between(Box<str>, Box<str>, Box<str>),
    Rest(Box<str>),
}

/// A text that is not a pattern or a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// No leading slash.
    #[error("it must begin with `/`")]
    Form,
    /// A literal segment that no request's path has, because normalisation refuses or respells it.
    #[error(
        "`{0}` can never match: write the segment percent-encoded as `spec/catalog.md` says, without `.`, `..` or `;`"
    )]
    Literal(String),
    /// A brace out of place, or a name that is not one.
    #[error(
        "`{0}` is not a capture: a segment is written `{{name}}`, `{{*name}}`, or one `{{name}}` with text before it and text without letter or digit first behind it, the name from a-z, 0-9 and `_`, beginning with a letter"
    )]
    Capture(String),
    /// A name twice.
    #[error("`{0}` is captured twice")]
    Repeated(String),
    /// `{*name}` before the end.
    #[error("`{{*{0}}}` must be the last segment")]
    RestNotLast(String),
    /// A template uses what its pattern does not capture, or in the other form.
    #[error("`{0}` is not captured by the route's path")]
    NotCaptured(String),
    /// A literal of a template is not a segment of a resource.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// More than the 64 segments or 4096 bytes of a request's path.
    #[error(
        "it is longer than the {} segments or {} bytes of a request's path",
        Target::SEGMENTS_MAX,
        Target::PATH_BYTES_MAX
    )]
    TooLong,
}

impl Pattern {
    /// Whether the path has a capture of one segment, or of the rest, of this name.
    pub(super) fn captures(&self, name: &str) -> bool {
        self.0.iter().any(|part| part.name() == Some(name))
    }

    /// The names of its captures, from the left.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(Part::name)
    }

    /// The text around each capture that has some: the shape of the path above, what is before, what is behind.
    pub(super) fn fixed_text(&self) -> impl Iterator<Item = (String, &str, &str)> {
        self.0.iter().enumerate().filter_map(|(i, part)| match part {
            Part::Between(before, _, after) => Some((shape(&self.0[..i]), &**before, &**after)),
            _ => None,
        })
    }

    /// Whether it matches a path in its canonical spelling, without a trailing slash.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut segments = path.split('/').skip(1);
        for part in &self.0 {
            let fits = match (part, segments.next()) {
                (Part::Rest(_), Some(_)) => return true,
                (part, Some(segment)) => part.matches(segment),
                (_, None) => false,
            };
            if !fits {
                return false;
            }
        }
        segments.next().is_none()
    }

    /// Of two patterns that match the same path, whether this one says it more exactly where they first differ.
    pub(super) fn is_closer(&self, other: &Self) -> bool {
        let mut differ = self.0.iter().zip(&other.0).map(|(own, other)| own.looseness().cmp(&other.looseness()));
        differ.find(|order| order.is_ne()).is_some_and(std::cmp::Ordering::is_lt)
    }

    /// The pattern without the names of its captures: two patterns of one shape match the same paths.
    pub(super) fn shape(&self) -> String {
        shape(&self.0)
    }
}

impl Template {
    /// Checks that `pattern` captures every name of the template, in the same form, or that it names one of `arguments`.
    pub(super) fn check(&self, pattern: &Pattern, arguments: &[&str]) -> Result<(), InvalidPattern> {
        for part in &self.0 {
            let captured = |other: &Part| match (part, other) {
                (Part::One(name), Part::Between(_, own, _)) => name == own,
                _ => part == other,
            };
            let is_argument = matches!(part, Part::One(name) if arguments.contains(&&**name));
            if !matches!(part, Part::Literal(_)) && !is_argument && !pattern.0.iter().any(captured) {
                return Err(InvalidPattern::NotCaptured(part.to_string()));
            }
        }
        Ok(())
    }

    /// The names that it needs.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(Part::name)
    }

    /// The resource, where `capture` gives what a name stands for.
    pub(super) fn resource<'a>(&'a self, capture: impl Fn(&str) -> Option<Captured<'a>>) -> Result<Path, InvalidPath> {
        if self.0.is_empty() {
            return Ok(Path::root());
        }
        let mut path = PathWriter::default();
        for part in &self.0 {
            let spelled = match part {
                Part::Literal(text) => text,
                Part::One(name) | Part::Between(_, name, _) | Part::Rest(name) => {
                    match capture(name).ok_or(InvalidPath::Segment)? {
                        Captured::Spelled(text) => text,
                        Captured::Plain(text) => {
                            path.push(text.as_bytes());
                            continue;
                        }
                    }
                }
            };
            spelled.split('/').for_each(|segment| path.push(decoded(segment).as_bytes()));
        }
        path.finish()
    }
}

fn shape(parts: &[Part]) -> String {
    let parts = parts.iter().map(|part| match part {
        Part::Literal(text) => text.clone().into(),
        Part::One(_) => "{}".to_owned(),
        Part::Between(before, _, after) => format!("{before}{{}}{after}"),
        Part::Rest(_) => "{*}".to_owned(),
    });
    parts.fold(String::new(), |text, part| text + "/" + &part)
}

fn parts(text: &str) -> Result<Vec<Part>, InvalidPattern> {
    if text.len() > Target::PATH_BYTES_MAX {
        return Err(InvalidPattern::TooLong);
    }
    let parts: Vec<Part> = text.split('/').map(part).collect::<Result<_, _>>()?;
    if parts.len() > Target::SEGMENTS_MAX {
        return Err(InvalidPattern::TooLong);
    }
    for (i, part) in parts.iter().enumerate() {
        let Some(name) = part.name() else { continue };
        if parts[..i].iter().any(|other| other.name() == Some(name)) {
            return Err(InvalidPattern::Repeated(name.to_owned()));
        }
        if matches!(part, Part::Rest(_)) && i + 1 < parts.len() {
            return Err(InvalidPattern::RestNotLast(name.to_owned()));
        }
    }
    Ok(parts)
}

fn part(text: &str) -> Result<Part, InvalidPattern> {
    if !text.contains(['{', '}']) {
        return Ok(Part::Literal(text.into()));
    }
    let wrong = || InvalidPattern::Capture(shown(text));
    let (before, rest) = text.split_once('{').ok_or_else(wrong)?;
    let (inner, after) = rest.split_once('}').ok_or_else(wrong)?;
    let name = inner.strip_prefix('*').unwrap_or(inner);
    let is_name = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_name || before.contains('}') || after.contains(['{', '}']) {
        return Err(wrong());
    }
    match (inner.starts_with('*'), before.is_empty() && after.is_empty()) {
        (true, true) => Ok(Part::Rest(name.into())),
        (false, true) => Ok(Part::One(name.into())),
        // Text that began with a letter, a digit or `%` could end a capture inside an escape.
        (false, false) if !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '%') => {
            Ok(Part::Between(before.into(), name.into(), after.into()))
        }
        _ => Err(wrong()),
    }
}

impl Part {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::One(name) | Self::Between(_, name, _) | Self::Rest(name) => Some(name),
        }
    }

    fn matches(&self, segment: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *segment,
            Self::Between(before, _, after) => is_between(segment, before, after),
            Self::One(_) | Self::Rest(_) => !segment.is_empty(),
        }
    }

    /// A literal before a capture with fixed text, the longest first, before a bare capture.
    const fn looseness(&self) -> usize {
        match self {
            Self::Literal(_) => 0,
            Self::Between(before, _, after) => usize::MAX - before.len() - after.len(),
            Self::One(_) | Self::Rest(_) => usize::MAX,
        }
    }
}

/// Whether a segment is something between two texts.
pub(super) fn is_between(segment: &str, before: &str, after: &str) -> bool {
    segment.len() > before.len() + after.len() && segment.starts_with(before) && segment.ends_with(after)
}

/// Whether a request's path can have this segment, so spelled.
fn is_canonical(segment: &str) -> bool {
    let path = format!("/{segment}");
    !segment.is_empty()
        && !segment.contains(['?', '/'])
        && Target::parse(&path).is_ok_and(|target| target.query().is_none() && target.path() == path)
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = without_trailing_slash(text).strip_prefix('/').ok_or(InvalidPattern::Form)?;
        if text == "/" {
            return Ok(Self(Vec::new()));
        }
        let parts = parts(inner)?;
        for part in &parts {
            let canonical = match part {
                Part::Literal(literal) => is_canonical(literal),
                // As if an `x` had been captured: fixed text has no escape that a capture could complete.
                Part::Between(before, _, after) => is_canonical(&format!("{before}x{after}")),
                Part::One(_) | Part::Rest(_) => true,
            };
            if !canonical {
                return Err(InvalidPattern::Literal(shown(&part.to_string())));
            }
        }
        Ok(Self(parts))
    }
}

impl FromStr for Template {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "/" {
            return Ok(Self(Vec::new()));
        }
        let parts = parts(text)?;
        for part in &parts {
            match part {
                Part::Literal(literal) => drop(literal.parse::<Path>()?),
                Part::Between(..) => return Err(InvalidPattern::Capture(part.to_string())),
                Part::One(_) | Part::Rest(_) => {}
            }
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::One(name) => write!(f, "{{{name}}}"),
            Self::Between(before, name, after) => write!(f, "{before}{{{name}}}{after}"),
            Self::Rest(name) => write!(f, "{{*{name}}}"),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        for (i, part) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { "/" } else { "" })?;
            part.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_literals_and_captures() {
        for text in [
            "/",
            "/a",
            "/a/{b}/c",
            "/a/{*rest}",
            "/{a}/{b}",
            "/a%20b/:x@y",
            "/a/{b}:undelete",
            "/{a}.json/@{b}",
            "/n('{b}')",
        ] {
            let pattern: Pattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
        }
        assert_eq!("/a/".parse::<Pattern>(), "/a".parse());
    }

    #[test]
    fn a_pattern_that_cannot_match_or_capture_is_refused() {
        for text in ["", "a", "//", "/a//b", "/a/../b", "/.", "/a b", "/%61", "/%2f", "/a;b", "/a?b", "/é", "/a#"] {
            assert!(
                matches!(text.parse::<Pattern>(), Err(InvalidPattern::Literal(_) | InvalidPattern::Form)),
                "{text}"
            );
        }
        for text in [
            "/{}", "/{*}", "/{b}c", "/{{b}}", "/{b", "/b}", "/{B}", "/{1}", "/{a b}", "/{a}{b}", "/{**a}", "/{a*}",
            "/a{*b}", "/{*a}:b", "/{a}:{b}", "/{a}%20", "/{a}9", "/}{a}", "/{a}:}",
        ] {
            assert!(matches!(text.parse::<Pattern>(), Err(InvalidPattern::Capture(_))), "{text}");
        }
        for text in ["/{a}?b", "/ {a}", "/%zz{a}", "/{a};v", "/%6{a}"] {
            assert!(matches!(text.parse::<Pattern>(), Err(InvalidPattern::Literal(_))), "{text}");
        }
        assert_eq!("/{a}/{a}:b".parse::<Pattern>(), Err(InvalidPattern::Repeated("a".into())));
        assert_eq!("/{a}/{a}".parse::<Pattern>(), Err(InvalidPattern::Repeated("a".into())));
        assert_eq!("/{*a}/b".parse::<Pattern>(), Err(InvalidPattern::RestNotLast("a".into())));
        assert_eq!("/a".repeat(65).parse::<Pattern>(), Err(InvalidPattern::TooLong));
    }

    #[test]
    fn a_template_takes_decoded_segments() {
        let template: Template = "calendars/{calendar}/{*rest}".parse().unwrap();
        let resource = template
            .resource(|name| Some(Captured::Spelled(if name == "rest" { "a:b/%C3%A9" } else { "x%2By" })))
            .unwrap();
        assert_eq!(resource.as_str(), "calendars/x+y/a%3Ab/%C3%A9");
        assert_eq!("/".parse::<Template>().unwrap().resource(|_| None).unwrap(), Path::root());
    }

    #[test]
    fn a_template_uses_only_what_its_path_captures() {
        let check =
            |template: &str, pattern: &str| template.parse::<Template>().unwrap().check(&pattern.parse().unwrap(), &[]);
        assert_eq!(check("a/{b}", "/x/{b}"), Ok(()));
        assert_eq!(check("a/{b}", "/x/{c}"), Err(InvalidPattern::NotCaptured("{b}".into())));
        assert_eq!(check("a/{b}", "/x/{*b}"), Err(InvalidPattern::NotCaptured("{b}".into())));
        assert_eq!(check("a/{b}", "/x/{b}:run"), Ok(()));
        for text in ["", "a//b", "/a", "a/", "a:b", "a b", "..", "%41", "a{b}", "{b}.c"] {
            assert!(text.parse::<Template>().is_err(), "{text}");
        }
    }
}
