//! Edges, and the tickets by which they join.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AudienceName, EdgeName};
use crate::key::PublicKey;
use crate::store::{ServerId, StoreError};

/// A registered edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Its name, unique in the installation.
    pub name: EdgeName,
    /// The key it proves in every message.
    pub key: PublicKey,
    /// The deployment it belongs to.
    pub audience: AudienceName,
    /// The origin at which agents reach it: the `htu` of their proofs.
    pub origin: Box<str>,
    /// Whether it demands its own nonce in every proof, so that it can share its origin with other edges.
    pub nonce: bool,
    /// When it joined.
    pub joined: Timestamp,
}

/// A one-time right to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTicket {
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
    /// The name the edge will have.
    pub name: EdgeName,
    /// The deployment it will belong to.
    pub audience: AudienceName,
    /// The last moment it can be used.
    pub expires: Timestamp,
}

/// All edges, and as of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// How often edges had joined or been removed.
    pub version: u64,
    /// The server that answered.
    pub server: ServerId,
    /// By name.
    pub edges: Vec<Edge>,
}

/// Edges.
#[async_trait]
pub trait Edges: Send + Sync {
    /// Adds a ticket; it replaces an unused one for the same name.
    async fn add_join_ticket(&self, ticket: &JoinTicket, at: Timestamp, event: &Change) -> Result<(), StoreError>;

    /// The ticket with this secret's hash, if it can still be used at `at`.
    async fn join_ticket(&self, secret_sha256: &[u8; 32], at: Timestamp) -> Result<Option<JoinTicket>, StoreError>;

    /// Uses up a ticket and registers the edge, in one transaction; a ticket that is used or expired is `NotFound`.
    ///
    /// An edge of that name is replaced: its old key counts no longer. An origin that another edge has is a conflict unless both demand their own nonces.
    async fn join_edge(&self, secret_sha256: &[u8; 32], edge: &Edge, event: &Change) -> Result<(), StoreError>;

    /// All edges.
    async fn registered(&self) -> Result<Registered, StoreError>;

    /// Removes an edge: its key counts no longer.
    async fn remove_edge(&self, name: &EdgeName, at: Timestamp, event: &Change) -> Result<(), StoreError>;
}
