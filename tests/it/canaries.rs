//! Secrets stay in: what the whole suite wrote is searched for every secret that it gave to a vault, in every spelling.
//!
//! Under `scripts/test` the folders of the tests stay, with their logs, journals, databases, metrics and core files, and so does
//! what callers were told; Postgres adds a dump of each of its databases when it ends, and the output of the tests lies beside.
//! When all are done, the ignored test here looks through it. What other people's programs keep, and what a test writes for a
//! program to read, lies elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use tempfile::TempDir;
use writ::clock::{Clock as _, SystemClock};

/// Shorter ones would be found in what is none.
const LENGTH_MIN: usize = 12;

/// Where everything stays, if it does.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says so")]
fn kept() -> Option<PathBuf> {
    std::env::var_os("WRIT_TESTS_KEEP").map(PathBuf::from)
}

/// A folder for what writ's own programs write, which is searched when all tests are done.
pub(crate) fn folder() -> TempDir {
    match kept() {
        Some(kept) => tempfile::Builder::new().disable_cleanup(true).tempdir_in(kept).unwrap(),
        None => TempDir::new().unwrap(),
    }
}

/// From now on `secret` must stand nowhere.
pub(crate) fn canary(secret: &str) {
    assert!(secret.len() >= LENGTH_MIN, "a longer secret can be searched for");
    if let Some(kept) = kept() {
        let line = format!("{}\n", hex::encode(secret));
        let list = kept.with_extension("canaries");
        fs::OpenOptions::new().create(true).append(true).open(list).unwrap().write_all(line.as_bytes()).unwrap();
    }
}

/// What somebody was told stays as well: an answer, an error, what a command printed.
pub(crate) fn told(what: &str) {
    if let Some(kept) = kept() {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(kept.join("told")).unwrap();
        file.write_all(format!("{what}\n").as_bytes()).unwrap();
    }
}

/// Secrets, in the spellings in which they could get out.
pub(crate) struct Search {
    automaton: AhoCorasick,
    /// Of each pattern: the secret, and how it is spelled.
    meanings: Vec<(String, &'static str)>,
}

/// What was looked through.
#[derive(Debug, Default)]
struct Seen {
    files: usize,
    bytes: u64,
    found: Vec<String>,
}

impl Search {
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns = Vec::new();
        let mut meanings = Vec::new();
        for secret in secrets {
            for (how, spelling) in spellings(secret) {
                patterns.push(spelling);
                meanings.push((secret.to_owned(), how));
            }
        }
        Self { automaton: AhoCorasick::new(patterns).unwrap(), meanings }
    }

    /// Everything below `folder` that holds one of them.
    pub(crate) fn found_in(&self, folder: &Path) -> Vec<String> {
        self.through(folder).found
    }

    fn through(&self, folder: &Path) -> Seen {
        let (mut seen, mut folders) = (Seen::default(), vec![folder.to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    self.read(&entry.path(), &mut seen);
                }
            }
        }
        seen
    }

    fn read(&self, path: &Path, seen: &mut Seen) {
        // What a running program took away meanwhile holds nothing any more.
        let Ok(file) = fs::File::open(path) else { return };
        seen.files += 1;
        seen.bytes += file.metadata().unwrap().len();
        let whats: BTreeSet<_> = self
            .automaton
            .stream_find_iter(file)
            .map(|found| &self.meanings[found.unwrap_or_else(|error| panic!("{}: {error}", path.display())).pattern()])
            .collect();
        let lines = whats.iter().map(|(secret, how)| format!("{secret} ({how}) stands in {}", path.display()));
        seen.found.extend(lines);
    }
}

/// How `secret` could stand somewhere, each once.
fn spellings(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = secret.as_bytes();
    let percent = |kept: fn(&u8) -> bool, lower: bool| {
        let one = |byte: &u8| match (kept(byte), lower) {
            (true, _) => char::from(*byte).to_string(),
            (false, true) => format!("%{byte:02x}"),
            (false, false) => format!("%{byte:02X}"),
        };
        bytes.iter().map(one).collect::<String>()
    };
    let json = serde_json::to_vec(secret).unwrap();
    let mut spellings = vec![
        ("as it is", bytes.to_vec()),
        ("reversed", bytes.iter().rev().copied().collect()),
        ("hex", hex::encode(bytes).into_bytes()),
        ("upper hex", hex::encode_upper(bytes).into_bytes()),
        ("URL-encoded", percent(u8::is_ascii_alphanumeric, false).into_bytes()),
        ("URL-encoded, in lower case", percent(u8::is_ascii_alphanumeric, true).into_bytes()),
        ("URL-encoded in full", percent(|_| false, false).into_bytes()),
        ("JSON", json[1..json.len() - 1].to_vec()),
        ("UTF-16", secret.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a list of numbers", format!("{bytes:?}").trim_matches(['[', ']']).as_bytes().to_vec()),
        (
            "a list of numbers, packed",
            serde_json::to_string(bytes).unwrap().trim_matches(['[', ']']).as_bytes().to_vec(),
        ),
    ];
    // What stands before it shifts it by 0, 1 or 2 bytes; the groups that are its alone are looked for.
    for skipped in 0..3 {
        let whole = &bytes[skipped..];
        let whole = &whole[..whole.len() / 3 * 3];
        spellings.push(("base64", STANDARD_NO_PAD.encode(whole).into_bytes()));
        spellings.push(("base64url", URL_SAFE_NO_PAD.encode(whole).into_bytes()));
    }
    let mut known = BTreeSet::new();
    spellings.retain(|(_, spelling)| known.insert(spelling.clone()));
    spellings
}

#[test]
fn a_secret_that_stands_anywhere_is_found_in_every_spelling() {
    let secret = "canary/plan+ted?~\"0123";
    let search = Search::new([secret, "another-canary-of-none"]);
    let mut planted: Vec<(String, Vec<u8>)> =
        spellings(secret).into_iter().map(|(how, spelling)| (how.to_owned(), spelling)).collect();
    assert!(planted.len() > 12, "{planted:?}");
    for before in ["", "u", "us"] {
        planted.push((format!("base64 of `{before}:…`"), STANDARD_NO_PAD.encode(format!("{before}{secret}x")).into()));
    }
    for (how, spelling) in planted {
        let dir = TempDir::new().unwrap();
        let below = dir.path().join("edge/journal");
        fs::create_dir_all(&below).unwrap();
        // Across the border of what is read at once.
        for filled in [0, 64 * 1024 - 5] {
            let text = [&vec![b'.'; filled], spelling.as_slice(), b"\n"].concat();
            fs::write(below.join("1"), text).unwrap();
            let found = search.found_in(dir.path());
            assert!(!found.is_empty() && found.iter().all(|line| line.contains(secret)), "{how}, {filled}: {found:?}");
        }
        fs::write(below.join("1"), &spelling[..spelling.len() / 3]).unwrap();
        assert_eq!(search.found_in(dir.path()), [""; 0], "{how}");
    }
}

#[test]
fn a_secret_in_a_database_is_found_even_where_it_was_deleted_from() {
    let (secret, dir) = ("canary-of-a-row-8812", TempDir::new().unwrap());
    let database = rusqlite::Connection::open(dir.path().join("writ.db")).unwrap();
    database.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE notes (text TEXT)").unwrap();
    database.execute("INSERT INTO notes VALUES (?1)", [format!("the key is {secret}.")]).unwrap();
    assert!(!Search::new([secret]).found_in(dir.path()).is_empty());
    database.execute("DELETE FROM notes", []).unwrap();
    assert!(!Search::new([secret]).found_in(dir.path()).is_empty());
}

/// The files of `kind` that lie there.
fn files(kept: &Path, kind: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(kept).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|found| found == kind)).collect()
}

/// Databases are dumped when the tests have ended, by whoever ran them. Answers how many servers' were.
fn until_dumped(kept: &Path) -> usize {
    let begun = SystemClock.monotonic();
    while !files(kept, "dumping").is_empty() {
        assert!(SystemClock.monotonic().since(begun) < Duration::from_secs(600), "Postgres is still being dumped");
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let failed: Vec<_> = files(kept, "failed").iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(failed.is_empty(), "a server was not dumped: {}", failed.join("\n"));
    files(kept, "sql").iter().filter(|dump| fs::metadata(dump).unwrap().len() > 0).count()
}

#[test]
#[ignore = "when everything else is done: scripts/test"]
fn no_secret_stands_in_anything_that_the_tests_wrote() {
    let kept = kept().expect("WRIT_TESTS_KEEP names the folder: run scripts/test");
    assert!(until_dumped(&kept) > 0, "no database of Postgres was dumped");
    let listed = fs::read_to_string(kept.with_extension("canaries")).unwrap();
    let secrets: BTreeSet<String> =
        listed.lines().map(|line| String::from_utf8(hex::decode(line).unwrap()).unwrap()).collect();
    let search = Search::new(secrets.iter().map(String::as_str));
    let seen = search.through(&kept);
    assert!(secrets.len() >= 5 && seen.files >= 200, "{} secrets and {} files are not all", secrets.len(), seen.files);
    assert!(seen.found.is_empty(), "{}", seen.found.join("\n"));
    println!(
        "secrets: {} canaries in {} spellings stand nowhere in {} files ({} MB)",
        secrets.len(),
        search.meanings.len(),
        seen.files,
        seen.bytes >> 20
    );
}
