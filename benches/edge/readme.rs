//! What README.md shows between its markers.

use std::fs;
use std::path::PathBuf;

/// The folder of this repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Puts `text` between the markers of `name`.
pub(crate) fn put(name: &str, text: &str) {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- bench:{name} -->"), format!("<!-- /bench:{name} -->"));
    let (before, rest) = readme.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    fs::write(path, format!("{before}{begin}\n{text}{end}{after}")).unwrap();
}

/// `2 processors (AMD EPYC), 22 November 2026`
pub(crate) fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1));
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let date = jiff::Timestamp::now().strftime("%-d %B %Y");
    format!("{count} processors ({}), {date}", model.unwrap_or("of an unknown kind"))
}
