//! What a command prints. Text for people, with colour only on a terminal; JSON for scripts; remarks on standard error.

use std::fmt::{Display, Write as _};
use std::io::Write;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::cli::failure::{Failure, REFUSED};
use crate::id::is_deceptive;

/// Where a command's results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    form: Form,
}

/// For whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A person.
    Text,
    /// A script.
    Json,
}

impl Output {
    pub(crate) const fn new(form: Form) -> Self {
        Self { form }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// The result: `value` for scripts, `text` for people.
    pub(crate) fn result(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.form {
            Form::Json => self.raw(&serde_json::to_string_pretty(value)?),
            Form::Text => self.raw(&text()),
        }
    }

    /// One line of JSON, for a stream of results.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.raw(&serde_json::to_string(value)?)
    }

    /// Text in either form: what the command is asked for is text itself, such as a token.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Failure> {
        written(writeln!(anstream::stdout().lock(), "{text}"))
    }

    /// A remark that is no result: what to do next, where a file is.
    pub(crate) fn remark(&self, text: &str) {
        // Nobody reads standard error any more: nothing to be told.
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }
}

/// Says why a command failed.
pub(crate) fn complain(failure: &Failure) {
    if !failure.message().is_empty() {
        let _ = writeln!(anstream::stderr().lock(), "{} {}", error("error:"), plain(failure.message()));
    }
}

fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        // `writ … | head` is no failure worth a message.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::silent(REFUSED)),
        other => Ok(other?),
    }
}

/// `text` with every character escaped that could deceive a reader or steer a terminal.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_deceptive(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Like [`plain`], for what stands within one line.
pub(crate) fn plain_line(text: &str) -> String {
    plain(text).replace('\n', "\\n").replace('\t', "\\t")
}

fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// A heading, or what matters most in a line.
pub(crate) fn strong(text: impl Display) -> String {
    styled(Style::new().bold(), text)
}

/// What a reader may skip.
pub(crate) fn faint(text: impl Display) -> String {
    styled(Style::new().dimmed(), text)
}

/// Allowed, verified, alive.
pub(crate) fn good(text: impl Display) -> String {
    styled(AnsiColor::Green.on_default().bold(), text)
}

/// Denied, revoked, expired.
pub(crate) fn bad(text: impl Display) -> String {
    styled(AnsiColor::Red.on_default().bold(), text)
}

/// Not checked, about to end.
pub(crate) fn doubtful(text: impl Display) -> String {
    styled(AnsiColor::Yellow.on_default().bold(), text)
}

/// A command to type, or a name that the reader chose.
pub(crate) fn term(text: impl Display) -> String {
    styled(AnsiColor::Cyan.on_default(), text)
}

fn error(text: impl Display) -> String {
    bad(text)
}

/// Rows under a heading, each column as wide as its widest cell.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| plain_line(cell)).collect()).collect();
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heading[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<String>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![faint(line(heading.iter().map(|cell| (*cell).to_owned()).collect()))];
    lines.extend(rows.into_iter().map(line));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_escaped() {
        assert_eq!(plain_line("a\u{1b}[2J\u{202e}b\nc"), "a\\u{1b}[2J\\u{202e}b\\nc");
    }

    #[test]
    fn a_table_aligns_its_columns() {
        let rows = vec![vec!["a".to_owned(), "x".to_owned()], vec!["longer".to_owned(), "y".to_owned()]];
        let text = anstream::adapter::strip_str(&table(&["name", "b"], &rows)).to_string();
        assert_eq!(text, "name    b\na       x\nlonger  y");
    }
}
