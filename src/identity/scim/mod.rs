//! SCIM 2.0 (RFC 7643, RFC 7644) without HTTP and without a store: schemas, resources, paths, filters, changes. Pure.
//!
//! A resource is a JSON object that [`resource::accepted`] has made: known attributes in the spelling of their schema, of the
//! right type, none of them empty. Never holds a password: one that is sent is dropped.

pub mod address;
mod filter;
mod patch;
mod path;
mod projection;
mod resource;
mod schema;
mod schemas;
mod text;

pub use filter::{Filter, Narrow};
pub use patch::Patch;
pub use projection::Projection;
pub use resource::accepted;
pub use schema::{Kind, Model, Mutability, Sort};
pub use schemas::{GROUP, USER, discovery};
pub use text::parse;

/// An object.
pub type Resource = serde_json::Map<String, serde_json::Value>;

/// The URNs of messages (RFC 7644 section 8.2).
pub mod urn {
    /// A list.
    pub const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
    /// A search.
    pub const SEARCH: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
    /// A change.
    pub const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
    /// An error.
    pub const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
}

/// What is wrong with a request (RFC 7644 section 3.12, table 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not JSON, or not of the message's structure.
    InvalidSyntax,
    /// A filter that does not parse, or compares what cannot be compared.
    InvalidFilter,
    /// A path that does not parse, or names nothing in the schemas.
    InvalidPath,
    /// A path that names nothing in this resource.
    NoTarget,
    /// A value of the wrong type, or a required one that is missing.
    InvalidValue,
    /// A read-only attribute.
    Mutability,
    /// More results than are looked through.
    TooMany,
}

impl Fault {
    /// The `scimType`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidSyntax => "invalidSyntax",
            Self::InvalidFilter => "invalidFilter",
            Self::InvalidPath => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::InvalidValue => "invalidValue",
            Self::Mutability => "mutability",
            Self::TooMany => "tooMany",
        }
    }
}

/// A request that is refused: what is wrong with it, in a sentence for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    /// The kind.
    pub fault: Fault,
    /// The sentence.
    pub detail: String,
}

impl Refused {
    /// A refusal.
    pub fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into() }
    }
}
