//! Settings files: read once, checked once, refused with the name of the key to change.
//!
//! What a file says (private, `deny_unknown_fields`) is apart from what a process is given (public, already checked).

pub mod authority;
pub mod client;
pub mod edge;
pub mod identity;
pub mod journal;
pub mod saml;
pub mod sign_in;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why the settings are refused. One sentence that names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, misses a key, or has one that nobody knows.
    #[error("{path}: {message}")]
    Form {
        /// Which file.
        path: PathBuf,
        /// What the parser says, with line and key.
        message: String,
    },
    /// A value is outside of its range.
    #[error("{key} {rule}, got {got}")]
    Value {
        /// The key, with its table: `edge.listen`.
        key: &'static str,
        /// What it must be: `must be between 1 and 3600`.
        rule: &'static str,
        /// What it is.
        got: String,
    },
}

/// A certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Reads a settings file. Relative paths in it are for the caller to resolve against the file's folder.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, path)
}

/// Reads the text of the settings file at `path`.
fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::Form { path: path.to_owned(), message: error.to_string() })
}
