//! Durable state. One method is one transaction, and every write carries its audit event.
//!
//! Two back ends, one conformance suite (`tests/it/store`). A sentence in a method's documentation is a test there.

use async_trait::async_trait;

pub mod agents;
pub mod audit;
pub mod catalog;
pub mod credentials;
pub mod edges;
pub mod installation;
pub mod revocations;

pub use agents::{Agent, AgentStatus, Agents, IssueContext, IssuedWrit};
pub use audit::{AuditLog, AuditQuery};
pub use catalog::{CatalogStore, StoredCatalog};
pub use credentials::{CredentialKey, CredentialRecord, Credentials};
pub use edges::{Edge, Edges, JoinTicket};
pub use installation::{Installation, Installations, Operator, RootKeyRecord};
pub use revocations::{NewRevocation, Revocations, Snapshot};

/// Everything an authority keeps.
pub trait Store:
    Health + Installations + Agents + CatalogStore + Credentials + Revocations + Edges + AuditLog + 'static
{
}

impl<T> Store for T where
    T: Health + Installations + Agents + CatalogStore + Credentials + Revocations + Edges + AuditLog + 'static
{
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Safe to retry: nothing was written.
    #[error("the database is unreachable: check `store.url` and that it runs")]
    Unavailable(#[source] BoxError),
    /// A thing of that name or key exists.
    #[error("{0} exists already")]
    Conflict(&'static str),
    /// No such thing.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// A stored row does not parse. A bug or tampering; never the caller's fault.
    #[error("corrupt row in {table}")]
    Corrupt {
        /// Where.
        table: &'static str,
    },
    /// The schema was written by a newer version of writ.
    #[error("the database was migrated by a newer writ: run that version, or restore a backup")]
    TooNew,
    /// Anything else the database said.
    #[error("the database refused: {0}")]
    Failed(#[source] BoxError),
}

/// An error of a driver.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether the store can serve.
#[async_trait]
pub trait Health: Send + Sync {
    /// Answers when a trivial query does.
    async fn ready(&self) -> Result<(), StoreError>;
}
