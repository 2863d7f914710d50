//! What of a request no argument reads: allowed, noted or denied, as the route says; and the same key in another place, which a
//! server that mixes query and body could take for an argument.

use crate::catalog::argument::{BadArgument, Named, Source, Sources};
use crate::catalog::json::{Node, Part, index, same_but_for_case};
use crate::catalog::route::{Call, Route, Unknown};
use crate::catalog::target::may_be_read_as;

/// The most names in the notes of one operation.
const NAMES_MAX: usize = 8;

/// A note for what is ignored; an error where the route is closed.
pub(super) fn notes(route: &Route, call: &Call, from: Sources<'_>) -> Result<Vec<Box<str>>, BadArgument> {
    let mut notes = Vec::new();
    if route.unknown_query != Unknown::Allow {
        let unread = from.target.pairs().filter(|pair| !reads(call, |source| is_query(source, &pair.key)));
        told(route.unknown_query, "query parameter", unread.map(|pair| pair.key.into_owned()), &mut notes)?;
    }
    if route.unknown_body != Unknown::Allow {
        if let Some(form) = from.form {
            let unread = form.fields().filter(|pair| !reads(call, |source| is_form(source, &pair.key)));
            told(route.unknown_body, "form field", unread.map(|pair| pair.key.into_owned()), &mut notes)?;
        }
        if let Some(root) = from.root {
            let mut unread = Vec::new();
            members(root, &pointers(call), &mut String::new(), &mut unread);
            told(route.unknown_body, "member", unread.into_iter(), &mut notes)?;
        }
    }
    Ok(notes)
}

fn told(
    unknown: Unknown,
    what: &'static str,
    mut names: impl Iterator<Item = String>,
    notes: &mut Vec<Box<str>>,
) -> Result<(), BadArgument> {
    if unknown == Unknown::Deny {
        return names.next().map_or(Ok(()), |name| Err(BadArgument::Unknown(what, Named::of(&name))));
    }
    for name in names {
        if notes.len() == NAMES_MAX {
            notes.push("further ones were ignored".into());
            break;
        }
        notes.push(format!("ignored: the {what} {}", Named::of(&name)).into());
    }
    Ok(())
}

/// Refuses a key of the query that could be taken for an argument of the body, and the other way round: some frameworks have one
/// table of parameters for both.
pub(super) fn elsewhere(call: &Call, from: Sources<'_>) -> Result<(), BadArgument> {
    for rule in &call.arguments {
        let ambiguous = rule.sources.iter().any(|source| match source {
            Source::Json(pointer) => match pointer.parts() {
                [Part::One(key), ..] => in_query(call, from, key),
                _ => false,
            },
            Source::Form(key) => in_query(call, from, key),
            Source::Query(key) => in_body(call, from, key),
            Source::Path(_) | Source::Header(_) => false,
        });
        if ambiguous {
            return Err(BadArgument::Ambiguous(rule.name.clone()));
        }
    }
    Ok(())
}

fn in_query(call: &Call, from: Sources<'_>, key: &str) -> bool {
    from.target.pairs().any(|pair| may_be_read_as(&pair.key, key) && !reads(call, |source| is_query(source, &pair.key)))
}

fn in_body(call: &Call, from: Sources<'_>, key: &str) -> bool {
    let in_form = from.form.is_some_and(|form| {
        form.fields().any(|pair| may_be_read_as(&pair.key, key) && !reads(call, |source| is_form(source, &pair.key)))
    });
    let is_top = |source: &Source, name: &str| match source {
        Source::Json(pointer) => matches!(pointer.parts(), [Part::One(first), ..] if **first == *name),
        _ => false,
    };
    in_form
        || match from.root {
            Some(Node::Object(members)) => members
                .iter()
                .any(|(name, _)| same_but_for_case(name, key) && !reads(call, |source| is_top(source, name))),
            _ => false,
        }
}

fn reads(call: &Call, is: impl Fn(&Source) -> bool) -> bool {
    call.arguments.iter().flat_map(|rule| &rule.sources).any(is)
}

fn is_query(source: &Source, key: &str) -> bool {
    matches!(source, Source::Query(own) if **own == *key)
}

fn is_form(source: &Source, key: &str) -> bool {
    matches!(source, Source::Form(own) if **own == *key)
}

fn pointers(call: &Call) -> Vec<&[Part]> {
    let sources = call.arguments.iter().flat_map(|rule| &rule.sources);
    let parts = sources.filter_map(|source| match source {
        Source::Json(pointer) => Some(pointer.parts()),
        _ => None,
    });
    parts.collect()
}

/// Adds each place on the way of `pointers` that none of them goes to. What a pointer ends at is read whole.
fn members(node: &Node, pointers: &[&[Part]], at: &mut String, unread: &mut Vec<String>) {
    let mut step = |name: &str, node: &Node, fits: &dyn Fn(&Part) -> bool| {
        let rest: Vec<&[Part]> = pointers
            .iter()
            .filter_map(|parts| parts.split_first().filter(|(first, _)| fits(first)).map(|(_, rest)| rest))
            .collect();
        let length = at.len();
        at.push('/');
        at.push_str(name);
        if rest.is_empty() {
            unread.push(at.clone());
        } else if rest.iter().all(|rest| !rest.is_empty()) {
            members(node, &rest, at, unread);
        }
        at.truncate(length);
    };
    match node {
        Node::Object(all) => {
            for (name, node) in all {
                step(name, node, &|part| matches!(part, Part::One(own) if **own == **name));
            }
        }
        Node::Array(items) => {
            for (i, node) in items.iter().enumerate() {
                let fits = |part: &Part| match part {
                    Part::Every => true,
                    Part::One(own) => index(own) == Some(i),
                };
                step(&i.to_string(), node, &fits);
            }
        }
        // In place of what a pointer goes through.
        _ => unread.push(if at.is_empty() { "/".to_owned() } else { at.clone() }),
    }
}
