//! The revocation log.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::revocation::{Entry, Target};
use crate::store::StoreError;

/// What is to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRevocation {
    /// What it kills.
    pub target: Target,
    /// The last moment that anything it could kill is valid.
    pub forget_after: Timestamp,
    /// When.
    pub at: Timestamp,
    /// A client's own name for this request: the same key is the same revocation, however often it is sent.
    pub idempotency_key: Option<Box<str>>,
}

/// The log as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its head.
    pub head: u64,
    /// Every entry that still matters, in order.
    pub entries: Vec<Entry>,
}

/// The log. Append-only: there is no way to take an entry back.
#[async_trait]
pub trait Revocations: Send + Sync {
    /// Appends an entry. `seq` order is commit order, without gaps: whoever read up to `n` never later finds a new entry at or below `n`.
    ///
    /// A block or holder that is revoked already for at least as long, and an idempotency key that was used, answer the
    /// first such entry and append nothing. The other targets append each time, because writs may have been minted in between.
    ///
    /// With its entry, a revoked user is suspended, and `everything` is stopped (see [`Stops`](crate::store::Stops)).
    async fn revoke(&self, revocation: &NewRevocation, event: &Change) -> Result<Entry, StoreError>;

    /// The log's head: 0 when nothing was ever revoked.
    async fn revocation_head(&self) -> Result<u64, StoreError>;

    /// Entries after `seq`, in order, at most `limit`.
    async fn revocations_after(&self, seq: u64, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// The head and every entry that still matters at `at`, of one moment.
    async fn revocation_snapshot(&self, at: Timestamp) -> Result<Snapshot, StoreError>;

    /// Returns when the log may have grown beyond `seq`, or after a while: a hint, to be followed by a read.
    async fn revocation_hint(&self, seq: u64) -> Result<(), StoreError>;
}
