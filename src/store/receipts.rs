//! Receipts as they were given, and the edges that a receipt has to wait for.

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::id::EdgeName;
use crate::key::PublicKey;
use crate::store::StoreError;

/// What the receipt for one entry of the log depends on, of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// The receipt, if it was given.
    pub receipt: Option<Box<str>>,
    /// Every edge that may have a lease, by name and key.
    pub edges: Vec<OwedEdge>,
}

/// An edge that may have a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedEdge {
    /// Its name.
    pub name: EdgeName,
    /// Its key.
    pub key: PublicKey,
    /// Whether it is registered.
    pub standing: Standing,
    /// What it acknowledged to a process that recorded it.
    pub recorded: Acknowledged,
}

/// How much an edge stated that it knows and acts on. It stays true: whatever lease it gets later, it knows that much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The revocation log up to here.
    pub seq: u64,
    /// The settings of this version, or a later one.
    pub settings: u64,
}

/// What one process says to all others of its installation. May get lost: nothing but speed depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The process of this id owes a receipt, and edges that it must hear of follow others.
    Wanted(Box<str>),
    /// Something was recorded of what edges acknowledged.
    Recorded,
}

/// Whether an edge is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Registered,
    /// It was removed, or its key replaced, within the last day: it gets no lease, and may still have one.
    Gone,
}

/// Receipts. Append-only: what was given stays as it is.
#[async_trait]
pub trait Receipts: Send + Sync {
    /// The receipt for the entry at `seq` if there is one, and every edge that is registered or was within the last day.
    async fn owed(&self, seq: u64) -> Result<Owed, StoreError>;

    /// Keeps the receipt for the entry at `seq`, unless there is one. Answers what is kept: the first stays for ever.
    async fn add_receipt(&self, seq: u64, receipt: &str) -> Result<Box<str>, StoreError>;

    /// Records what edges acknowledged, in one statement, and says so to every process. What was recorded never shrinks.
    async fn record_acknowledged(&self, edges: &[(PublicKey, Acknowledged)]) -> Result<(), StoreError>;

    /// Asks every process to record what its edges acknowledged, for the process of this id.
    async fn want_acknowledged(&self, by: &str) -> Result<(), StoreError>;

    /// What processes say from now on, this one included.
    fn calls(&self) -> broadcast::Receiver<Call>;
}
