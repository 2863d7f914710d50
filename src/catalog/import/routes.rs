//! Operations become routes: each has its own access, equal ones are merged, and no two claim the same request.

use std::collections::{BTreeMap, HashMap, HashSet};

use matchit::Router;

use crate::catalog::import::access::{Access, Clues, Exception, access, rpc_access};
use crate::catalog::import::document::Described;
use crate::catalog::import::naming::{self, Names, Parsed, Piece};
use crate::catalog::import::{Doubt, Mapped, Note};
use crate::catalog::load::{self, FixedText};
use crate::catalog::pattern::{Pattern, Template};
use crate::catalog::spec::RouteSpec;
use crate::token::Path;

#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) routes: Vec<RouteSpec>,
    pub(super) mapped: Vec<Mapped>,
    pub(super) notes: Vec<Note>,
}

/// One operation on its way to a route.
struct Row {
    method: String,
    pattern: String,
    shape: String,
    action: String,
    resource: String,
    /// The path, as the description writes it.
    path: String,
    access: Access,
}

/// Makes routes of `operations` for a service at `host`.
pub(super) fn made(operations: Vec<Described>, host: &str) -> Made {
    let mut made = Made::default();
    let mut parsed: Vec<(Described, Parsed)> = Vec::with_capacity(operations.len());
    for operation in operations {
        match supported(&operation.method).and_then(|()| naming::parsed(&operation.path, &operation.slashes)) {
            Ok(taken_apart) => parsed.push((operation, taken_apart)),
            Err(why) => made.note(Doubt::Unmapped, &operation, why),
        }
    }
    demote(&mut parsed);
    let calls = 2 * parsed.iter().filter(|(_, parsed)| naming::is_call(&parsed.pieces)).count() > parsed.len();

    let mut rows: Vec<Row> = Vec::with_capacity(parsed.len());
    for (operation, parsed) in parsed {
        for (doubt, about) in &parsed.doubts {
            made.note(*doubt, &operation, about);
        }
        match row(&operation, &parsed.pieces, calls, host, &mut made) {
            Ok(new) => rows.extend(new),
            Err(why) => made.note(Doubt::Unmapped, &operation, &why),
        }
    }
    let rows = made.told_apart(rows);
    made.merge(rows);
    made
}

/// Whether a route can have the method.
fn supported(method: &str) -> Result<(), &'static str> {
    load::methods(&[method.into()], "").map_err(|_| "a route cannot have this method")
}

/// A capture that takes the rest is kept only where every operation has it so: it must not swallow what is documented below it.
fn demote(parsed: &mut [(Described, Parsed)]) {
    let mut single: HashSet<String> = HashSet::new();
    for (_, parsed) in &*parsed {
        for (i, piece) in parsed.pieces.iter().enumerate() {
            if matches!(piece, Piece::Capture { .. }) {
                single.insert(naming::shape(&parsed.pieces[..i]));
            }
        }
    }
    for (_, parsed) in parsed {
        let Some((Piece::Rest(name), above)) = parsed.pieces.split_last() else { continue };
        let (name, is_single) = (name.clone(), single.contains(&naming::shape(above)));
        let about = format!("`{name}`");
        parsed.doubts.push((if is_single { Doubt::Slashes } else { Doubt::Rest }, about));
        if is_single {
            parsed.pieces.pop();
            parsed.pieces.push(Piece::Capture { before: String::new(), name, after: String::new() });
        }
    }
}

/// The row of an operation; of a call, which any method makes, one for each of both usual methods.
fn row(operation: &Described, pieces: &[Piece], calls: bool, host: &str, made: &mut Made) -> Result<Vec<Row>, String> {
    let names = naming::names(pieces, calls).ok_or("a segment is too long for a capability")?;
    let (pattern, shape) = (naming::pattern(pieces), naming::shape(pieces));
    let is_call = calls && naming::is_call(pieces);
    let (access, exception) = decided(operation, &names, &shape, is_call, host);
    match &exception {
        Some(Exception::Does(word)) => made.note(Doubt::UnsafeRead, operation, &format!("`{word}`")),
        Some(Exception::Reads(why)) => made.note(Doubt::ReviewedRead, operation, &format!("`{why}`")),
        None => {}
    }
    if let Some(server) = &operation.elsewhere {
        made.note(Doubt::Elsewhere, operation, server);
    }
    if names.depth > Path::SEGMENTS_MAX {
        made.note(Doubt::TooDeep, operation, "");
    }
    let action = action(&names, &operation.method, access)?;
    let parsed: Pattern = pattern.parse().map_err(|error| format!("{error}"))?;
    let template: Template = names.resource.parse().map_err(|error| format!("{error}"))?;
    template.check(&parsed, &[]).map_err(|error| error.to_string())?;
    let (path, name) = (operation.path.clone().into(), operation.name.clone().map(String::into_boxed_str));
    made.mapped.push(Mapped { method: operation.method.clone().into(), path, operation: name, access });
    let row = |method: &str| Row {
        method: method.to_owned(),
        pattern: pattern.clone(),
        shape: shape.clone(),
        action: action.clone(),
        resource: names.resource.clone(),
        path: operation.path.clone(),
        access,
    };
    let any = is_call && matches!(&*operation.method, "GET" | "POST");
    Ok(if any { vec![row("GET"), row("POST")] } else { vec![row(&operation.method)] })
}

fn decided(
    operation: &Described,
    names: &Names,
    shape: &str,
    is_call: bool,
    host: &str,
) -> (Access, Option<Exception>) {
    match names.verb.as_deref().filter(|_| is_call) {
        Some(verb) => {
            let access = rpc_access(verb);
            let does = access == Access::Write && operation.method == "GET";
            (access, does.then(|| Exception::Does(verb.to_owned())))
        }
        None => access(&Clues {
            method: &operation.method,
            verb: names.verb.as_deref(),
            last: names.last.as_deref(),
            name: operation.name.as_deref(),
            host,
            shape,
        }),
    }
}

/// Noun, `read` or `write`, and the verb: so that `issues/write` covers `issues/write/delete`.
fn action(names: &Names, method: &str, access: Access) -> Result<String, String> {
    let delete = (method == "DELETE").then_some("delete");
    let verb = names.verb.as_deref().filter(|verb| Some(*verb) != delete);
    let noun = names.noun.iter().map(|segment| crate::catalog::target::decoded(segment).into_owned());
    let rest = [Some(access.as_str()), delete, verb]
        .into_iter()
        .flatten()
        .map(|word| crate::catalog::target::decoded(word).into_owned());
    let segments: Vec<String> = noun.chain(rest).collect();
    let path = Path::from_segments(segments.iter().map(String::as_bytes)).map_err(|error| error.to_string())?;
    Ok(path.as_str().to_owned())
}

impl Made {
    fn note(&mut self, doubt: Doubt, operation: &Described, about: &str) {
        self.note_at(doubt, &format!("{} {}", operation.method, operation.path), about);
    }

    fn note_at(&mut self, doubt: Doubt, at: &str, about: &str) {
        let at = Note::text(at);
        self.notes.push(Note { doubt, at, about: Note::text(about) });
    }

    /// Drops rows whose requests another row claims: the loader would refuse the whole service.
    fn told_apart(&mut self, rows: Vec<Row>) -> Vec<Row> {
        let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
        let mut claimed: HashMap<(String, String), usize> = HashMap::new();
        let mut routers: BTreeMap<String, Router<()>> = BTreeMap::new();
        let mut fixed = FixedText::default();
        for row in rows {
            let key = (row.method.clone(), row.shape.clone());
            if let Some(&at) = claimed.get(&key) {
                self.same_request(&mut kept[at], row);
                continue;
            }
            let router = routers.entry(row.method.clone()).or_default();
            let clash = |with: String| format!("a request could be one for `{with}` as well");
            let claimed_text = row.pattern.parse().map_or(Ok(()), |pattern| fixed.claim(&row.method, &pattern));
            let inserted = claimed_text
                .map_err(clash)
                .and_then(|()| router.insert(row.pattern.clone(), ()).map_err(|error| error.to_string()));
            if let Err(why) = inserted {
                self.note_at(Doubt::Unmapped, &format!("{} {}", row.method, row.path), &why);
                continue;
            }
            claimed.insert(key, kept.len());
            kept.push(row);
        }
        kept
    }

    /// Two operations are one request: the stricter access is kept.
    fn same_request(&mut self, kept: &mut Row, new: Row) {
        if kept.action != new.action {
            let other = format!("{} {}", kept.method, kept.path);
            self.note_at(Doubt::Shadowed, &format!("{} {}", new.method, new.path), &other);
        }
        if kept.access == Access::Read && new.access == Access::Write {
            *kept = new;
        }
    }

    /// Rows with one path, action and resource are one route with several methods.
    fn merge(&mut self, rows: Vec<Row>) {
        let mut at: HashMap<(String, String), usize> = HashMap::new();
        for row in rows {
            let key = (row.pattern.clone(), row.action.clone());
            match at.get(&key).map(|&at| &mut self.routes[at]) {
                Some(route) if route.resource.as_deref() == Some(&*row.resource) && route.methods.len() < 16 => {
                    route.methods.push(row.method.into());
                }
                _ => {
                    at.insert(key, self.routes.len());
                    self.routes.push(RouteSpec {
                        methods: vec![row.method.into()],
                        path: row.pattern.into(),
                        action: Some(row.action.into()),
                        resource: Some(row.resource.into()),
                        ..RouteSpec::default()
                    });
                }
            }
        }
    }
}
