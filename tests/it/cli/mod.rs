//! The real binary, from outside: what it prints and how it exits.

mod dev;
mod offline;
mod revoke;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Standard output of a command that must have succeeded, without its last line break.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout.trim_end().to_owned()
    }

    /// JSON of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// The one sentence of a command that must have failed with `code`, and printed no result.
    #[track_caller]
    pub(crate) fn refused(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "a refused command has no result");
        assert!(self.stderr.starts_with("error: "), "{}", self.stderr);
        self.stderr.trim_end().to_owned()
    }
}

/// The binary with nothing of this process's environment but the search path.
pub(crate) fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_writ"));
    command.args(args).current_dir(dir).env_clear().stdin(Stdio::null());
    if let Some(path) = std::option_env!("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Runs `writ` in `dir`.
pub(crate) fn writ(dir: &Path, args: &[&str]) -> Finished {
    finished(command(dir, args).output().unwrap())
}

/// Runs `writ` in `dir` with `input` on its standard input.
pub(crate) fn writ_reading(dir: &Path, args: &[&str], input: &str) -> Finished {
    let mut child =
        command(dir, args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    finished(child.wait_with_output().unwrap())
}

pub(crate) fn finished(output: std::process::Output) -> Finished {
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
