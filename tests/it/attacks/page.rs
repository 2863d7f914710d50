//! `spec/security.md` names tests that exist, and has a row for each known case.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The known cases. Numbers of a group may skip.
const CASES: &str = "\
    A1 A2 A4 A5 A6 A7 A8 A9 A10 A12 A13 A16 A17 A18 \
    B1 B2 B3 B4 B5 B6 B7 B9 B10 B11 B12 B13 B16 B17 B18 B20 B21 B22 B25 B26 B27 B28 B29 \
    C1 C2 C3 C4 C5 C7 C8 C9 C10 C11 C13 C14 C15 C17 C18 C19 C20 C21 C22 C24 \
    D1 D2 D4 D6 D7 \
    E1 E2 E3 E4 E5 E7 E8 E9 E10 E12 E13 E14 E15 E16 E18 E19 E21 E22 E24 E25 E26 E27 E28 E29 E30 E31 E33 \
    F1 F2 F3 F4 F6 F8 F10 F11 F12 F14 F15 F16 F18 F19 \
    G1 G2 G3 G4 G6 G9 \
    H1 H3 H4 H5 H7 H8 H10 H11 H13 H14 H15 \
    I1 I3 I4 I5 I7 I8 I9 I10 I11 I13 \
    J1 J2 J3 J5 J6 J8 J9 J11 J12 J13 \
    K1 K3 K4 K5 K6 K8 K9 K10 K11 K12 \
    L1 L2 L3 L4 L7 L8 \
    M1 M3 M4 M5 M6 M7 \
    N1 N2 N3 N4 N5 N7 N9 N10";

/// What a row without a test must begin with.
const EXCUSE: &str = "Not built:";

#[test]
fn the_security_page_names_tests_that_exist() {
    let page = fs::read_to_string(root().join("spec/security.md")).unwrap();
    let rows: Vec<[&str; 3]> = page.lines().filter_map(row).collect();
    let ids: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let expected: Vec<&str> = CASES.split_whitespace().collect();
    assert_eq!(ids, expected, "one row for each case, in order");

    let tests = tests();
    assert!(tests.len() > 500, "the tests are read: {}", tests.len());
    let mut wrong = Vec::new();
    for [id, case, shown] in rows {
        assert!(!case.is_empty(), "{id} says what the case is");
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).filter_map(reference).collect();
        let missing = named.iter().filter(|name| !exists(name, &tests));
        wrong.extend(missing.map(|name| format!("{id} names `{name}`, which does not exist")));
        if named.is_empty() && !shown.starts_with(EXCUSE) {
            wrong.push(format!("{id} names no test and does not say why"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_the_security_page_notices_what_is_not_there() {
    let tests = BTreeSet::from(["edge::path::sqlite::a", "b::c", "writ::d::e"].map(str::to_owned));
    for there in ["edge::path::a", "b::c", "writ::d::tests::e", "a-p-256-key-is-refused"] {
        assert!(exists(there, &tests), "{there}");
    }
    for missing in ["edge::a", "path::a", "b::d", "a-vector-that-nobody-wrote"] {
        assert!(reference(missing).is_some() && !exists(missing, &tests), "{missing}");
    }
    assert_eq!([reference("spec/token.md"), reference("Set-Cookie"), reference("bdh")], [None; 3]);
    assert_eq!(row("| A1 | a | `b::c` |"), Some(["A1", "a", "`b::c`"]));
    assert_eq!([row("| case | what | shown |"), row("| --- | --- | --- |"), row("A1")], [None; 3]);
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The cells of a row about a case.
fn row(line: &str) -> Option<[&str; 3]> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let [id, case, shown] = cells.try_into().ok()?;
    let number = id.strip_prefix(|group: char| group.is_ascii_uppercase())?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some([id, case, shown])
}

/// A test or a vector; other words in code style are neither.
fn reference(name: &str) -> Option<&str> {
    let kebab = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let vector = name.bytes().all(kebab) && name.bytes().filter(|byte| *byte == b'-').count() >= 2;
    (vector || name.contains("::") && !name.ends_with("::")).then_some(name)
}

fn exists(name: &str, tests: &BTreeSet<String>) -> bool {
    let Some((module, test)) = name.rsplit_once("::") else {
        return root().join("spec/vectors").join(format!("{name}.json")).is_file();
    };
    // The sources show a unit test's file, and not the module that it stands in there.
    let unit = name.starts_with("writ::").then(|| name.replace("::tests::", "::"));
    tests.contains(name)
        || unit.is_some_and(|unit| tests.contains(&unit))
        || ["sqlite", "on_sqlite"].iter().any(|store| tests.contains(&format!("{module}::{store}::{test}")))
}

/// The tests of this binary by its own word, and those of the library (`writ::…`) and of `tests/chaos` by their sources.
fn tests() -> BTreeSet<String> {
    let listed = Command::new(std::env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut tests: BTreeSet<String> =
        listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    read(&root().join("src"), "writ", &mut tests);
    read(&root().join("tests/chaos"), "chaos", &mut tests);
    tests
}

/// The tests in a folder: unit tests without the `tests` of their own module.
fn read(folder: &Path, module: &str, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let inner =
            if matches!(stem, "mod" | "tests" | "lib") { module.to_owned() } else { format!("{module}::{stem}") };
        if path.is_dir() {
            read(&path, &inner, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut after = text.split("#[test]").skip(1).chain(text.split("#[tokio::test").skip(1));
            tests.extend(after.by_ref().filter_map(name).map(|name| format!("{inner}::{name}")));
        }
    }
}

/// The name of the function that follows.
fn name(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("fn ")?;
    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
}
