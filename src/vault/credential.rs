//! The kinds of static credential, and how each is applied to a request.

use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// How a secret is presented to the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CredentialKind {
    /// `Authorization: Bearer <secret>`.
    Bearer,
    /// A header of this name with the secret as its value.
    Header {
        /// The header's name, lower case.
        name: Box<str>,
    },
    /// `Authorization: Basic`, the secret being the password.
    Basic {
        /// The user name; without a colon.
        username: Box<str>,
    },
    /// A query parameter of this name.
    Query {
        /// The parameter's name.
        name: Box<str>,
    },
}

/// A credential that cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredential {
    /// Empty, too long, or with characters that could break out of a header.
    #[error("the secret is empty, longer than 8192 bytes, or holds a control or non-ASCII character")]
    Secret,
    /// A header name that is not one, or that writ itself must control.
    #[error("`{0}` cannot carry a credential: use the header that the service documents, such as `x-api-key`")]
    Header(Box<str>),
    /// A user name with a colon or control character.
    #[error("the user name is empty or holds a colon or a control character")]
    Username,
    /// A parameter name outside of RFC 3986 `unreserved`.
    #[error("the query parameter's name must be 1 to 64 unreserved characters")]
    Parameter,
}

/// A secret that an edge holds in memory for the calls it permits.
#[derive(Debug)]
pub struct Lent {
    /// How it is presented.
    pub kind: CredentialKind,
    /// The secret.
    pub secret: Secret<String>,
    /// Which version of the credential it is.
    pub version: u32,
}

/// What to add to a request. Sensitive header values are marked so that no `Debug` shows them.
#[derive(Debug)]
pub enum Apply {
    /// Set this header.
    Header(HeaderName, HeaderValue),
    /// Append this pair to the query, already percent-encoded.
    Query(Secret<String>),
}

impl CredentialKind {
    /// Checks that this kind with `secret` can be stored and applied.
    pub fn check(&self, secret: &str) -> Result<(), InvalidCredential> {
        let _ = secret;
        todo!()
    }
}

impl Lent {
    /// What to add to the request.
    pub fn apply(&self) -> Result<Apply, InvalidCredential> {
        todo!()
    }

    /// Every spelling of the secret that an upstream might echo: raw, base64, percent-encoded, and the header value as sent.
    pub fn spellings(&self) -> Vec<Secret<Vec<u8>>> {
        todo!()
    }
}
