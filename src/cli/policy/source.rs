//! Policies from files: a document in TOML, Cedar files, or a folder of them with `limits.toml`.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;

use super::stored;
use crate::cli::failure::Failure;
use crate::cli::files::read_text;
use crate::cli::operate::limit::limits_of;
use crate::cli::output::plain_line;
use crate::cli::remote::OperatorArgs;
use crate::policy::rules::{Document, Finding};

/// A document, and where its lines stand.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) document: Document,
    /// Where each file's text begins: the first line in the document, the file, and that line's number in the file.
    places: Vec<(usize, PathBuf, usize)>,
}

/// The file of a folder that holds its zone and limits.
const SETTINGS: &str = "limits.toml";
/// The most files of a folder.
const FILES_MAX: usize = 256;

impl Source {
    /// Reads all of `paths` into one document.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut source = Self::of_text("");
        let mut settings = toml::Table::new();
        for path in paths {
            if path.is_dir() {
                for file in inside(path)? {
                    source.add(&file, &read_text(&file)?, 1);
                }
                let file = path.join(SETTINGS);
                if file.is_file() {
                    settings.extend(table(&file, &read_text(&file)?)?);
                }
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                let text = read_text(path)?;
                let mut table = table(path, &text)?;
                if let Some(toml::Value::String(policy)) = table.remove("policy") {
                    let before = text.find(&policy).map_or(0, |at| text[..at].matches('\n').count());
                    source.add(path, &policy, before + 1);
                }
                settings.extend(table);
            } else {
                source.add(path, &read_text(path)?, 1);
            }
        }
        settings.insert("policy".to_owned(), toml::Value::String(source.document.policy.to_string()));
        source.document = Document::deserialize(toml::Value::Table(settings))
            .map_err(|error| Failure::from(error).during("the settings beside the policies"))?;
        Ok(source)
    }

    /// A text that is in no file.
    pub(super) fn of_text(text: &str) -> Self {
        Self { document: Document { policy: text.into(), ..Document::grants_decide() }, places: Vec::new() }
    }

    /// Reads `paths`, or where there are none, the set in force at the authority.
    pub(super) async fn read_or_stored(paths: &[PathBuf], operator: &OperatorArgs) -> Result<Self, Failure> {
        if !paths.is_empty() {
            return Self::read(paths);
        }
        let remote = operator.open()?;
        let document = stored::document(&remote, None).await?;
        // Those that count, also where they were stored before they stood in sets.
        let limit = limits_of(&remote).await?;
        Ok(Self { document: Document { limit, ..document }, places: Vec::new() })
    }

    fn add(&mut self, file: &Path, text: &str, line: usize) {
        let mut whole = self.document.policy.to_string();
        if !whole.is_empty() && !whole.ends_with('\n') {
            whole.push('\n');
        }
        self.places.push((whole.matches('\n').count() + 1, file.to_owned(), line));
        whole.push_str(text);
        self.document.policy = whole.into();
    }

    /// The file and line of a line of the document.
    pub(super) fn place(&self, line: usize) -> String {
        match self.places.iter().rev().find(|(first, ..)| *first <= line) {
            Some((first, file, within)) => format!("{}:{}", file.display(), within + line - first),
            None => format!("line {line}"),
        }
    }

    /// A finding in one line.
    pub(super) fn told(&self, finding: &Finding) -> String {
        let Finding { line, policy, message, .. } = finding;
        format!("{}: policy `{policy}`: {}", self.place(*line), plain_line(message))
    }

    /// The files of cases beside the policies.
    pub(super) fn cases_of(paths: &[PathBuf]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for path in paths {
            if path.is_dir() {
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
                let is_cases = |path: &PathBuf| path.to_string_lossy().ends_with(".test.toml");
                let mut inside: Vec<PathBuf> = entries.filter(is_cases).take(FILES_MAX).collect();
                inside.sort();
                found.extend(inside);
            } else {
                found.extend(Some(path.with_extension("test.toml")).filter(|path| path.is_file()));
            }
        }
        found
    }
}

fn inside(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let told = |error: std::io::Error| Failure::from(error).during(format!("cannot read {}", folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(told)? {
        let path = entry.map_err(told)?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            files.push(path);
        }
    }
    if files.is_empty() || files.len() > FILES_MAX {
        let problem = if files.is_empty() { "holds no `.cedar` file" } else { "holds more than 256 `.cedar` files" };
        return Err(Failure::new(format!("{} {problem}", folder.display())));
    }
    files.sort();
    Ok(files)
}

fn table(path: &Path, text: &str) -> Result<toml::Table, Failure> {
    toml::from_str(text).map_err(|error| Failure::from(error).during(path.display()))
}
