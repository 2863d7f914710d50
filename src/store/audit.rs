//! The audit log: the authority's own chain, and what the edges shipped.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::{Change, Checkpoint, Head, Record, Source};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// Which records are wanted. Everything that is given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// One chain.
    pub source: Option<Source>,
    /// After this place of the chain (needs `source`).
    pub after_seq: Option<u64>,
    /// After this place of the whole log: what [`AuditLog::audit`] answered as the last position.
    pub after: Option<u64>,
    /// Written at or after this time.
    pub since: Option<Timestamp>,
    /// Written before this time.
    pub until: Option<Timestamp>,
    /// The agent of a decision, or the actor or object of a change.
    pub agent: Option<Box<str>>,
    /// The user of a decision.
    pub subject: Option<Box<str>>,
    /// The service of a decision.
    pub service: Option<Box<str>>,
    /// A request's decision and outcome.
    pub request: Option<Box<str>>,
    /// A block id in the chain of a decision, or the object of a change.
    pub block: Option<Box<str>>,
    /// `allowed` or `denied`.
    pub verdict: Option<Box<str>>,
    /// At most this many; 1 to 1000.
    pub limit: u32,
}

/// The audit log. No method changes or removes a record.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Appends to the authority's own chain an event that changes nothing else, such as a lending.
    async fn record(&self, at: Timestamp, event: &Change) -> Result<(), StoreError>;

    /// Appends what an edge shipped. Records that are there already are skipped, so a repeated shipment is harmless;
    /// one that neither is there nor continues the chain, or that differs from the one there, refuses the whole shipment
    /// as `Conflict` and appends nothing. Answers the chain's head.
    async fn append_audit(
        &self,
        source: &Source,
        records: &[Record],
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Head, StoreError>;

    /// Where a chain ends.
    async fn audit_head(&self, source: &Source) -> Result<Head, StoreError>;

    /// Records in the order in which the store got them, each with its position in the whole log.
    async fn audit(&self, query: &AuditQuery) -> Result<Vec<(u64, Record)>, StoreError>;

    /// Adds a checkpoint of the authority's own chain.
    async fn add_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError>;

    /// Every checkpoint of a chain, oldest first.
    async fn checkpoints(&self, source: &Source) -> Result<Vec<Checkpoint>, StoreError>;

    /// Every chain there is.
    async fn audit_sources(&self) -> Result<Vec<Source>, StoreError>;
}
