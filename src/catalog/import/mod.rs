//! A service's file from another's description of an API: OpenAPI 3, Swagger 2, a Google discovery document.
//!
//! `document -> operations -> pattern, action, resource -> service`. The rules are those of `spec/catalog.md`; what they leave
//! open is told, never guessed wide: an operation that is not certainly a read is a write.

mod access;
mod diff;
mod document;
mod google;
mod naming;
mod openapi;
mod routes;
mod words;

use std::fmt;

use serde::Serialize;

pub use access::Access;
pub use diff::{Change, changes};

use crate::catalog::origin::Upstream;
use crate::catalog::service::{CatalogError, CredentialPer, Service};
use crate::catalog::spec::ServiceSpec;
use crate::id::{CredentialName, ServiceName, is_deceptive, shown};

/// The longest description, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most operations of a description.
const OPERATIONS_MAX: usize = 16 * 1024;

/// What the description does not say.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The service's name.
    pub name: ServiceName,
    /// Where it is, instead of where the description says.
    pub upstream: Option<String>,
    /// The credential to inject.
    pub credential: Option<CredentialName>,
    /// Only operations whose path begins with one of these, segment by segment; none means all.
    pub only: Vec<String>,
}

/// A service made from a description, and what a person should look at.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The service, checked.
    pub service: Service,
    /// How many operations the description has, of those that were wanted.
    pub operations: usize,
    /// What each operation became, in the order of paths.
    pub mapped: Vec<Mapped>,
    /// What was not clear, each case once.
    pub notes: Vec<Note>,
}

/// An operation of the description and the access that its route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The method.
    pub method: Box<str>,
    /// The path, as the description writes it.
    pub path: Box<str>,
    /// The description's name for it.
    pub operation: Option<Box<str>>,
    /// Read or write.
    pub access: Access,
}

/// Something that was not clear, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// What kind of thing.
    pub doubt: Doubt,
    /// The method and path, as the description writes them.
    pub at: String,
    /// The words, host or other operation that it is about; may be empty.
    pub about: String,
}

/// What can be unclear about an operation. The order is that in which a person should read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// It has no route.
    Unmapped,
    /// Another operation has the same method and path but for names, and another action: the stricter one, or the first, is kept.
    Shadowed,
    /// Its method is safe but its name says that it does something: a write.
    UnsafeRead,
    /// Its method is not safe, but it is reviewed to change nothing: a read.
    ReviewedRead,
    /// The description has it at another server than the service's upstream.
    Elsewhere,
    /// A capture takes the rest of the path, slashes included.
    Rest,
    /// A capture may hold slashes; only a value without them has a route.
    Slashes,
    /// Several captures in one segment became one.
    Joined,
    /// The resource has more segments than a capability can name: requests are refused.
    TooDeep,
}

/// A description that no service can be made from. The user's to change.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Over [`DOCUMENT_BYTES_MAX`].
    #[error("the description is longer than {DOCUMENT_BYTES_MAX} bytes: import one without resolved references")]
    TooLong,
    /// YAML, or something else.
    #[error("the description is not JSON: convert YAML first, for example with `yq -o json`")]
    NotJson,
    /// JSON, but not the form of a description.
    #[error("the description does not have the form that it claims: {0}")]
    Malformed(#[source] serde_json::Error),
    /// None of the known kinds.
    #[error("this is no OpenAPI 3, Swagger 2 or Google discovery document")]
    UnknownKind,
    /// No absolute `https` address of the service.
    #[error("the description does not say where the service is: name it with `--upstream https://…`")]
    NoUpstream,
    /// Nothing to import.
    #[error("the description has no operation, or none below the paths asked for")]
    Empty,
    /// More than a service can have.
    #[error("{0} operations are more than a service can have: import a part of them with `--only /PATH`")]
    TooMany(usize),
    /// The service does not load. The loader's own words.
    #[error(transparent)]
    Service(#[from] CatalogError),
}

impl Doubt {
    /// What the cases of this kind have in common, as a heading.
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Unmapped => "have no route",
            Self::Shadowed => "are the same request as another operation",
            Self::UnsafeRead => "have a safe method but seem to do something: write",
            Self::ReviewedRead => "have an unsafe method but only read: read",
            Self::Elsewhere => "are at another server than the upstream",
            Self::Rest => "capture the rest of the path",
            Self::Slashes => "capture a value that may hold slashes, and match only values without",
            Self::Joined => "have several captures in a segment, which became one",
            Self::TooDeep => "name a resource too deep for a capability, and are refused",
        }
    }
}

impl Note {
    const TEXT_CHARS_MAX: usize = 512;

    /// Text of a description that may stand in a line: of bounded length, with nothing that deceives a reader.
    fn text(text: &str) -> String {
        text.chars().take(Self::TEXT_CHARS_MAX).map(|c| if is_deceptive(c) { ' ' } else { c }).collect()
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.at)?;
        if self.about.is_empty() { Ok(()) } else { write!(f, " ({})", self.about) }
    }
}

/// Makes a service from a description.
pub fn import(document: &[u8], wanted: &Wanted) -> Result<Imported, ImportError> {
    let description = document::read(document)?;
    let upstream = upstream(wanted.upstream.as_deref().or(description.upstream.as_deref()))?;
    let only = |path: &str| wanted.only.is_empty() || wanted.only.iter().any(|prefix| is_below(prefix, path));
    let operations: Vec<_> = description.operations.into_iter().filter(|operation| only(&operation.path)).collect();
    match operations.len() {
        0 => return Err(ImportError::Empty),
        OPERATIONS_MAX.. => return Err(ImportError::TooMany(operations.len())),
        _ => {}
    }
    let counted = operations.len();
    let unresolved = description.unresolved.iter().filter(|path| only(path)).map(|path| Note {
        doubt: Doubt::Unmapped,
        at: Note::text(path),
        about: "its reference leads to nothing in the document".to_owned(),
    });
    let host = upstream.origin().host().to_string();
    let routes::Made { routes, mapped, mut notes } = routes::made(operations, &host);
    if routes.is_empty() {
        return Err(ImportError::Empty);
    }
    if routes.len() > Service::ROUTES_MAX {
        return Err(ImportError::TooMany(counted));
    }
    notes.extend(unresolved);
    notes.sort();
    notes.dedup();
    let service = Service::try_from(ServiceSpec {
        name: wanted.name.clone(),
        allow_private: upstream.origin().host().is_loopback(),
        upstream: upstream.to_string().into(),
        credential: wanted.credential.clone(),
        credential_per: CredentialPer::Shared,
        origins: Vec::new(),
        routes,
    })?;
    if service.to_toml().len() > Service::FILE_BYTES_MAX {
        return Err(ImportError::TooMany(counted));
    }
    Ok(Imported { service, operations: counted, mapped, notes })
}

/// A checked upstream; what is missing or relative must be named by the user.
fn upstream(text: Option<&str>) -> Result<Upstream, ImportError> {
    let text = text.filter(|text| text.contains("://") && !text.contains('{')).ok_or(ImportError::NoUpstream)?;
    text.trim_end_matches('/').parse().map_err(|error| {
        ImportError::Service(CatalogError::Invalid {
            place: "the service".to_owned(),
            key: "upstream",
            problem: format!("`{}`: {error}", shown(text)),
        })
    })
}

/// Whether `path` is `prefix` or stands below it, segment by segment.
fn is_below(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_matches('/');
    let path = path.trim_start_matches('/');
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
