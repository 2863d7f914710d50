//! The naming rule: which pattern, action and resource a documented path becomes. `spec/catalog.md` states it.

use crate::catalog::import::Doubt;
use crate::catalog::import::words::capture_name;
use crate::catalog::target::{Target, decoded};
use crate::token::Path;

/// A segment of a documented path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// In the catalog's canonical spelling.
    Literal(String),
    /// A capture between fixed text, which may be empty.
    Capture { before: String, name: String, after: String },
    /// The rest of the path.
    Rest(String),
}

/// A path taken apart.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) pieces: Vec<Piece>,
    pub(super) doubts: Vec<(Doubt, String)>,
}

/// What a path is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The segments before `read` or `write`.
    pub(super) noun: Vec<String>,
    /// The verb that the path itself ends with.
    pub(super) verb: Option<String>,
    /// The last segment, if it is literal and holds no verb.
    pub(super) last: Option<String>,
    /// The template of the resource.
    pub(super) resource: String,
    /// The segments of the resource.
    pub(super) depth: usize,
}

/// Takes a documented path apart. The error says what a route cannot express.
pub(super) fn parsed(path: &str, slashes: &[String]) -> Result<Parsed, &'static str> {
    // URI templates end with the query, which no route matches by.
    let path = path.find("{?").or_else(|| path.find("{&")).map_or(path, |at| &path[..at]);
    if path.contains(['?', '#']) {
        return Err("a route does not match by query");
    }
    if path.len() > Target::PATH_BYTES_MAX || path.matches('/').count() > Target::SEGMENTS_MAX {
        return Err("no request has such a long path");
    }
    let mut parsed = Parsed { pieces: Vec::new(), doubts: Vec::new() };
    let inner = path.trim_start_matches('/').strip_suffix('/').unwrap_or(path.trim_start_matches('/'));
    let segments: Vec<&str> = if inner.is_empty() { Vec::new() } else { inner.split('/').collect() };
    for (i, segment) in segments.iter().enumerate() {
        let piece = parsed.piece(segment, i + 1 == segments.len(), slashes)?;
        parsed.pieces.push(piece);
    }
    Ok(parsed)
}

impl Parsed {
    fn piece(&mut self, segment: &str, is_last: bool, slashes: &[String]) -> Result<Piece, &'static str> {
        let Some((before, rest)) = segment.split_once('{') else {
            return match segment.contains('}') {
                true => Err("a brace stands alone"),
                false => canonical(segment).map(Piece::Literal).ok_or("the edge refuses such a segment"),
            };
        };
        let (inner, after) = rest.rsplit_once('}').ok_or("a brace stands alone")?;
        // `{path*}`, `{proxy+}`, `{+name}`, `{path:.*}` take slashes in one framework or another.
        let (bare, regex) = inner.split_once(':').filter(|(name, _)| !name.contains('}')).unwrap_or((inner, ""));
        let name = bare.trim_matches(['*', '+', '?']);
        let joined = name.contains(['{', '}']);
        if joined {
            self.doubts.push((Doubt::Joined, format!("`{segment}`")));
        }
        let named = self.unused(capture_name(name));
        let is_bare = before.is_empty() && after.is_empty();
        let greedy = name != bare.trim_end_matches('?') || [".*", ".+", "/"].iter().any(|some| regex.contains(some));
        let said = greedy || slashes.iter().any(|own| own == name);
        let known = name.to_ascii_lowercase().ends_with("path");
        if !joined && is_last && is_bare && (said || known) {
            return Ok(Piece::Rest(named));
        }
        if !joined && said {
            self.doubts.push((Doubt::Slashes, format!("`{name}`")));
        }
        let fixed = || Some((canonical(&format!("{before}x"))?, canonical(&format!("x{after}"))?));
        let (before, after) = fixed().ok_or("the edge refuses such a segment")?;
        let before = before.strip_suffix('x').unwrap_or_default().to_owned();
        let after = after.strip_prefix('x').unwrap_or_default().to_owned();
        Ok(Piece::Capture { before, name: named, after })
    }

    fn unused(&self, name: String) -> String {
        let used = |name: &str| self.pieces.iter().any(|piece| piece.name() == Some(name));
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        std::iter::once(name.clone()).chain(numbered).find(|name| !used(name)).unwrap_or(name)
    }
}

fn canonical(segment: &str) -> Option<String> {
    let target = Target::parse(&format!("/{segment}")).ok().filter(|target| target.query().is_none())?;
    target.path().strip_prefix('/').filter(|path| !path.is_empty() && !path.contains('/')).map(str::to_owned)
}

impl Piece {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Capture { name, .. } | Self::Rest(name) => Some(name),
        }
    }

    /// As a route's path writes it.
    fn pattern(&self) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Capture { before, name, after } => format!("{before}{{{name}}}{after}"),
            Self::Rest(name) => format!("{{*{name}}}"),
        }
    }

    /// The same without the name.
    fn shape(&self) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Capture { before, after, .. } => format!("{before}{{}}{after}"),
            Self::Rest(_) => "{*}".to_owned(),
        }
    }

    /// As a resource writes it.
    fn resource(&self) -> Option<String> {
        match self {
            Self::Literal(text) => {
                Path::from_segments([decoded(text).as_bytes()]).ok().map(|path| path.as_str().to_owned())
            }
            Self::Capture { name, .. } => Some(format!("{{{name}}}")),
            Self::Rest(name) => Some(format!("{{*{name}}}")),
        }
    }
}

/// The route's path.
pub(super) fn pattern(pieces: &[Piece]) -> String {
    pieces.iter().fold(String::new(), |path, piece| path + "/" + &piece.pattern())
        + if pieces.is_empty() { "/" } else { "" }
}

/// The route's path without the names of captures.
pub(super) fn shape(pieces: &[Piece]) -> String {
    pieces.iter().fold(String::new(), |path, piece| path + "/" + &piece.shape())
}

/// Whether the last segment is literal words joined by dots: `/conversations.list`.
pub(super) fn is_call(pieces: &[Piece]) -> bool {
    let is_word = |word: &str| word.starts_with(|c: char| c.is_ascii_alphabetic());
    matches!(pieces.last(), Some(Piece::Literal(text)) if text.contains('.') && text.split('.').all(is_word))
}

/// What a path is called. `calls` says that the API names calls in the path, as [`is_call`] sees.
pub(super) fn names(pieces: &[Piece], calls: bool) -> Option<Names> {
    let mut pieces = pieces.to_vec();
    let verb = taken_verb(&mut pieces, calls);
    let captures = |piece: &Piece| piece.name().is_some();
    let behind = pieces.iter().rposition(captures).map_or(0, |k| k + 1);
    let (noun, resource) = if behind < pieces.len() || behind == 0 {
        (&pieces[behind..], &pieces[..behind])
    } else {
        let trailing = pieces.iter().rposition(|piece| !captures(piece)).map_or(0, |last| last + 1);
        let first = pieces[..trailing].iter().rposition(captures).map_or(0, |k| k + 1);
        (&pieces[first..trailing], &pieces[..])
    };
    let mut noun: Vec<String> = noun.iter().filter_map(|piece| literal(piece).map(str::to_owned)).collect();
    // `/users('{id}')` says its noun in the segment of the capture.
    if let Some(Piece::Capture { before, .. }) = resource.last().filter(|_| behind == pieces.len()) {
        let word = before.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        noun.extend(Some(word.to_owned()).filter(|word| !word.is_empty()));
    }
    let last = verb.is_none().then(|| pieces.last().and_then(literal).map(str::to_owned)).flatten();
    let template: Vec<String> = resource.iter().map(Piece::resource).collect::<Option<_>>()?;
    let resource = if template.is_empty() { "/".to_owned() } else { template.join("/") };
    Some(Names { noun, verb, last, resource, depth: template.len() })
}

fn literal(piece: &Piece) -> Option<&str> {
    if let Piece::Literal(text) = piece { Some(text) } else { None }
}

/// Takes the verb off the end: `:undelete` behind a segment, a segment `$everything`, the last word of a call.
fn taken_verb(pieces: &mut Vec<Piece>, calls: bool) -> Option<String> {
    let is_call = calls && is_call(pieces);
    match pieces.last_mut()? {
        Piece::Capture { after, .. } => {
            let verb = after.strip_prefix(':').filter(|verb| !verb.is_empty())?.to_owned();
            after.clear();
            Some(verb)
        }
        Piece::Literal(text) if is_call => {
            let words: Vec<String> = text.split('.').map(str::to_owned).collect();
            let (verb, nouns) = words.split_last()?;
            pieces.pop();
            pieces.extend(nouns.iter().cloned().map(Piece::Literal));
            Some(verb.clone())
        }
        Piece::Literal(text) => {
            let (before, verb) = text.rsplit_once([':', '$']).filter(|(_, verb)| !verb.is_empty())?;
            let (before, verb) = (before.to_owned(), verb.to_owned());
            if before.is_empty() {
                pieces.pop();
            } else {
                *text = before;
            }
            Some(verb)
        }
        Piece::Rest(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> (String, String) {
        let parsed = parsed(path, &[]).unwrap();
        let names = names(&parsed.pieces, true).unwrap();
        let verb = names.verb.map(|verb| format!(" {verb}")).unwrap_or_default();
        (pattern(&parsed.pieces), format!("{}{verb} on {}", names.noun.join("/"), names.resource))
    }

    #[test]
    fn a_path_is_named_by_what_stands_behind_its_last_capture() {
        for (path, expected_pattern, expected) in [
            ("/repos/{owner}/{repo}/issues", "", "issues on repos/{owner}/{repo}"),
            ("/repos/{owner}/{repo}/issues/{number}", "", "issues on repos/{owner}/{repo}/issues/{number}"),
            ("/repos/{owner}/{repo}", "", "repos on repos/{owner}/{repo}"),
            ("/user/repos", "", "user/repos on /"),
            ("/user/repos/", "/user/repos", "user/repos on /"),
            ("/", "", " on /"),
            ("/{bucket}", "", " on {bucket}"),
            ("/{a}/{b}", "", " on {a}/{b}"),
            ("/a/b/{x}/{y}", "", "a/b on a/b/{x}/{y}"),
            ("/a/{x}/b/c/{y}/{z}", "", "b/c on a/{x}/b/c/{y}/{z}"),
            (
                "/repos/{owner}/contents/{path}",
                "/repos/{owner}/contents/{*path}",
                "contents on repos/{owner}/contents/{*path}",
            ),
            ("/v1/notes/{noteId}:undelete", "/v1/notes/{note_id}:undelete", "v1/notes undelete on v1/notes/{note_id}"),
            ("/v1/notes:search", "", "v1/notes search on /"),
            ("/v1/a/{x}/notes:search", "", "notes search on v1/a/{x}"),
            ("/fhir/Patient/{id}/$everything", "", "fhir/Patient everything on fhir/Patient/{id}"),
            ("/conversations.list", "", "conversations list on /"),
            ("/admin.users.session.reset", "", "admin/users/session reset on /"),
            ("/odata/Users('{id}')", "", "odata/Users on odata/{id}"),
            ("/2010/Accounts/{Sid}.json", "/2010/Accounts/{sid}.json", "2010/Accounts on 2010/Accounts/{sid}"),
            ("/compare/{base}...{head}", "/compare/{base_head}", "compare on compare/{base_head}"),
            ("/a b/{x}", "", ""),
            ("/a%20b/{x}", "/a%20b/{x}", "a%20b on a%20b/{x}"),
            ("/x/{id}/y/{id}", "/x/{id}/y/{id_2}", "y on x/{id}/y/{id_2}"),
            ("/files{?limit,page}", "/files", "files on /"),
        ] {
            if expected.is_empty() {
                assert!(parsed(path, &[]).is_err(), "{path}");
                continue;
            }
            let expected_pattern = if expected_pattern.is_empty() { path } else { expected_pattern };
            assert_eq!(named(path), (expected_pattern.to_owned(), expected.to_owned()), "{path}");
        }
    }

    #[test]
    fn what_a_route_cannot_express_is_refused() {
        for path in ["/a//b", "/a;v={x}", "/a/../b", "/a?b=c", "/a#b", "/{a", "/a}", "/a/{b}?c", "/é", "/a\\b"] {
            assert!(parsed(path, &[]).is_err(), "{path}");
        }
        assert!(parsed(&"/{a}".repeat(65), &[]).is_err());
    }

    #[test]
    fn a_capture_takes_slashes_only_at_the_end() {
        let of = |path: &str, slashes: &[&str]| {
            let slashes: Vec<String> = slashes.iter().map(|name| (*name).to_owned()).collect();
            let parsed = parsed(path, &slashes).unwrap();
            (pattern(&parsed.pieces), parsed.doubts.len())
        };
        assert_eq!(of("/git/ref/{ref}", &["ref"]), ("/git/ref/{*ref}".to_owned(), 0));
        assert_eq!(of("/git/ref/{ref}", &[]), ("/git/ref/{ref}".to_owned(), 0));
        assert_eq!(of("/commits/{ref}/status", &["ref"]), ("/commits/{ref}/status".to_owned(), 1));
        assert_eq!(of("/files/{name+}", &[]), ("/files/{*name}".to_owned(), 0));
        assert_eq!(of("/v1/{+name}:cancel", &[]), ("/v1/{name}:cancel".to_owned(), 1));
        assert_eq!(of("/v1/{name:.*}", &[]), ("/v1/{*name}".to_owned(), 0));
        assert_eq!(of("/v1/{version:[0-9.]+}", &[]), ("/v1/{version}".to_owned(), 0));
    }
}
