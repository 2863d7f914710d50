//! Read or write, against Google's word: its discovery documents name the OAuth scopes of every method.
//!
//! Only documents count in which at least half of the methods by GET have a read-only scope: elsewhere its lack says nothing. There, a
//! method that a read-only scope opens is a read, and one that has scopes but none such is a write, with two exceptions: a verb of
//! which a quarter or more are opened by one (what reads a policy or tests a permission), and `get…` and `list…` by GET (Google guards
//! many by a stronger scope, because what they read is secret). Of everything else there is no oracle.

use std::collections::BTreeMap;

use serde_json::Value;
use writ::catalog::import::{Access, Imported, import};

use super::wanted;

/// A method of a discovery document.
struct Method {
    id: String,
    http: String,
    read_only: bool,
    scoped: bool,
}

impl Method {
    fn verb(&self) -> &str {
        self.id.rsplit('.').next().unwrap()
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    right: usize,
    /// Reads taken for writes, by method and verb: an agent is denied, or asks for more.
    safe: BTreeMap<String, usize>,
    /// Writes taken for reads.
    unsafe_side: BTreeMap<String, usize>,
    no_oracle: usize,
}

impl Tally {
    pub(super) fn accuracy(&self) -> f64 {
        let wrong: usize = self.safe.values().chain(self.unsafe_side.values()).sum();
        self.right as f64 / (self.right + wrong) as f64
    }

    /// Whether no write was taken for a read.
    pub(super) fn is_safe(&self) -> bool {
        self.unsafe_side.is_empty()
    }
}

fn is_read_only(scope: &str) -> bool {
    let name = scope.rsplit('/').next().unwrap();
    ["readonly", "read-only", "read_only"].iter().any(|word| name.contains(word)) || name.ends_with(".read")
}

fn methods(resource: &Value, found: &mut Vec<Method>) {
    let below = |key: &str| resource[key].as_object().into_iter().flatten().map(|(_, value)| value);
    for method in below("methods") {
        let scopes: Vec<&str> = method["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let text = |key: &str| method[key].as_str().unwrap().to_owned();
        let read_only = scopes.iter().any(|scope| is_read_only(scope));
        found.push(Method { id: text("id"), http: text("httpMethod"), read_only, scoped: !scopes.is_empty() });
    }
    below("resources").for_each(|inner| methods(inner, found));
}

/// Whether the document is of an API that is still there.
pub(super) fn has_methods(document: &Value) -> bool {
    let mut found = Vec::new();
    methods(document, &mut found);
    !found.is_empty()
}

/// Compares what was imported with what the documents say.
pub(super) fn judged(documents: &[(Value, Imported)]) -> Tally {
    let mut careful = Vec::new();
    let mut tally = Tally::default();
    for (document, imported) in documents {
        let mut found = Vec::new();
        methods(document, &mut found);
        let gets = || found.iter().filter(|method| method.http == "GET");
        if gets().count() > 0 && 2 * gets().filter(|method| method.read_only).count() >= gets().count() {
            careful.push((found, imported));
        } else {
            tally.no_oracle += found.len();
        }
    }
    // Of each verb: how many there are, and how many of them a read-only scope opens.
    let mut verbs: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for method in careful.iter().flat_map(|(methods, _)| methods) {
        let verb = verbs.entry(method.verb().to_owned()).or_default();
        *verb = (verb.0 + 1, verb.1 + usize::from(method.read_only));
    }
    for (methods, imported) in careful {
        // A method with an upload has several paths, all of one access.
        let access: BTreeMap<&str, Access> =
            imported.mapped.iter().filter_map(|mapped| Some((mapped.operation.as_deref()?, mapped.access))).collect();
        for method in &methods {
            let plain = method.http == "GET" && (method.verb().starts_with("get") || method.verb().starts_with("list"));
            let (all, opened) = verbs[method.verb()];
            let is_write = method.scoped && !plain && 4 * opened < all;
            let key = format!("{} {}", method.http, method.verb());
            match (method.read_only, is_write, access[method.id.as_str()]) {
                (false, false, _) => tally.no_oracle += 1,
                (true, _, Access::Read) | (false, true, Access::Write) => tally.right += 1,
                (true, _, Access::Write) => *tally.safe.entry(key).or_default() += 1,
                (false, true, Access::Read) => *tally.unsafe_side.entry(key).or_default() += 1,
            }
        }
    }
    tally
}

pub(super) fn with_import(document: Value) -> (Value, Imported) {
    let imported = import(document.to_string().as_bytes(), &wanted("google")).unwrap();
    (document, imported)
}

#[test]
fn in_a_few_documents_of_google_every_miss_is_on_the_safe_side() {
    let documents: Value = serde_json::from_str(include_str!("google.json")).unwrap();
    let documents: Vec<_> = documents.as_object().unwrap().values().cloned().map(with_import).collect();
    let tally = judged(&documents);
    assert_eq!(tally.unsafe_side, BTreeMap::new());
    assert!(tally.right >= 150, "{tally:?}");
    for (_, imported) in &documents {
        let unmapped =
            imported.notes.iter().filter(|note| note.doubt == writ::catalog::import::Doubt::Unmapped).count();
        assert_eq!(unmapped, 0);
    }
}
