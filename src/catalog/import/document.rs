//! Which kind of description it is, and what all kinds have in common.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::catalog::import::{DOCUMENT_BYTES_MAX, ImportError, google, openapi};

/// A description, read.
#[derive(Debug)]
pub(super) struct Description {
    /// Where the service is, if it says so.
    pub(super) upstream: Option<String>,
    /// Its operations, by path and method.
    pub(super) operations: Vec<Described>,
    /// Paths that are only a reference, which leads nowhere in the document.
    pub(super) unresolved: Vec<String>,
}

/// One operation, as its description has it.
#[derive(Debug)]
pub(super) struct Described {
    /// Upper case.
    pub(super) method: String,
    /// With a leading slash.
    pub(super) path: String,
    /// The description's name for it: an `operationId`, or the id of a method.
    pub(super) name: Option<String>,
    /// The captures that may hold slashes, by their names in `path`.
    pub(super) slashes: Vec<String>,
    /// Another server that it is at.
    pub(super) elsewhere: Option<String>,
}

#[derive(Deserialize)]
struct Kind {
    openapi: Option<IgnoredAny>,
    swagger: Option<IgnoredAny>,
    #[serde(rename = "discoveryVersion")]
    discovery: Option<IgnoredAny>,
}

/// Reads a description of any kind. Nothing is fetched: a reference out of the document counts as absent.
pub(super) fn read(document: &[u8]) -> Result<Description, ImportError> {
    if document.len() > DOCUMENT_BYTES_MAX {
        return Err(ImportError::TooLong);
    }
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    if !document.trim_ascii_start().starts_with(b"{") {
        return Err(ImportError::NotJson);
    }
    match serde_json::from_slice(document).map_err(ImportError::Malformed)? {
        Kind { openapi: Some(_), .. } => openapi::read_3(document),
        Kind { swagger: Some(_), .. } => openapi::read_2(document),
        Kind { discovery: Some(_), .. } => google::read(document),
        _ => Err(ImportError::UnknownKind),
    }
}
