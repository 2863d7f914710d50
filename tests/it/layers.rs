//! The rooms of `src/` and which of them may know which. Imports run strictly downwards.
//!
//! A new room is a new word in [`LEVELS`]; a new arrow between rooms is a change of it, and the commit says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. Rooms on one level do not know each other, except on the ground, where `id`, `key`, `secret`, `clock`
/// and `small` are the words everything is said in.
const LEVELS: &[&[&str]] = &[
    &["clock", "id", "key", "secret", "small"],
    &["token"],
    &["revocation"],
    &["catalog", "vault", "audit"],
    // What a policy may name is made from the catalog.
    &["policy"],
    &["config", "wire", "store", "dial", "telemetry"],
    // Asks providers by `dial`, on the terms that `config` checked.
    // A listener has the patience of `dial` with a peer that takes nothing.
    &["identity", "listen"],
    &["authority", "edge"],
    &["console"],
    &["cli"],
];

/// Rooms that do no I/O: they read no clock, no environment, no file and no socket, and build without the feature `server`.
const PURE: &[&str] =
    &["clock", "id", "key", "secret", "small", "token", "revocation", "policy", "catalog", "vault", "audit", "wire"];

const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "tokio::",
    "hyper::",
    "axum::",
    "SystemTime",
    "Instant::now",
];

fn level(room: &str) -> usize {
    LEVELS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("`{room}` is a new room: give it a level in tests/it/layers.rs"))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// Each source file with its room and its text, comments removed; `lib.rs` and `main.rs` are no rooms.
fn files() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    paths
        .into_iter()
        .filter_map(|path| {
            let first = path.strip_prefix(&src).unwrap().components().next().unwrap();
            let room = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (room != "lib" && room != "main").then_some((room, path, code))
        })
        .collect()
}

/// The rooms that `code` names after `crate::`, alone or in braces.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (i, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            rooms.insert(word(&list[i..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
            None => {
                rooms.insert(word(rest));
            }
        }
    }
    rooms
}

#[test]
fn imports_run_downwards() {
    let mut wrong = Vec::new();
    for (room, path, code) in files() {
        for named in rooms_named(&code) {
            let ground = level(&room) == 0 && LEVELS[0].contains(&named.as_str());
            if named != room && !ground && level(&named) >= level(&room) {
                wrong.push(format!("{}: `{room}` imports `{named}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not run downwards:\n{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_touch_nothing_outside() {
    let mut wrong = Vec::new();
    let is_pure =
        |(room, path, _): &(String, PathBuf, String)| PURE.contains(&room.as_str()) && !path.ends_with("tests.rs");
    for (room, path, code) in files().into_iter().filter(is_pure) {
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        for word in IMPURE.iter().filter(|word| code.contains(**word)) {
            wrong.push(format!("{}: `{room}` uses `{word}`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "pure rooms that are not:\n{}", wrong.join("\n"));
}

#[test]
fn the_edge_knows_neither_store_nor_authority_nor_identity() {
    for (_, path, code) in files().into_iter().filter(|(room, ..)| room == "edge") {
        let named = rooms_named(&code);
        for room in ["store", "authority", "identity"] {
            assert!(!named.contains(room), "{} names `{room}`", path.display());
        }
    }
}

#[test]
fn the_import_reader_sees_braces_and_paths() {
    let code = "use crate::{token::{a, b}, vault};\nlet x = crate::audit::Event;";
    assert_eq!(rooms_named(code).into_iter().collect::<Vec<_>>(), ["audit", "token", "vault"]);
}
