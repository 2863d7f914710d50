//! How a command ends when it does not succeed: one sentence that says what to do next, and an exit code.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// A refused or failed command.
///
/// Not an `Error` itself, so that `?` turns every error into one.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

/// Refused, denied, failed.
pub(crate) const REFUSED: u8 = 1;
/// The command line itself is wrong. Also what clap exits with.
pub(crate) const USAGE: u8 = 2;

impl Failure {
    /// The command was understood, and it was refused or failed.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: REFUSED }
    }

    /// The command line does not say enough, or contradicts itself.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: USAGE }
    }

    /// Ends with `code` and says nothing: whoever decided has said it.
    pub(crate) const fn silent(code: u8) -> Self {
        Self { message: String::new(), code }
    }

    /// The same, with another exit code.
    pub(crate) fn exiting(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Puts what was being done before the sentence.
    pub(crate) fn during(self, what: impl fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), code: self.code }
    }

    /// The sentence; empty when nothing is to be said.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            // Many errors repeat their source in their own message.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = inner.source();
        }
        Self::new(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_failure_tells_the_whole_chain_once() {
        let failure = Failure::from(Outer(std::io::Error::other("inner")));
        assert_eq!(failure.message(), "outer: inner");
        assert_eq!(failure.during("while reading").message(), "while reading: outer: inner");
    }
}
