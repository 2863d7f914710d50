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

/// Where the log and the catalog are, of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// The revocation log's head: 0 when nothing was ever revoked.
    pub revocation_seq: u64,
    /// The catalog's version.
    pub catalog_version: u64,
    /// How often edges joined or were removed.
    pub edge_version: u64,
    /// The server that answered: a failover, or a connection to another server, changes it.
    pub server: ServerId,
}

/// Names one run of one database server; 0 where there is no server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerId(pub u64);

/// The log. Append-only: there is no way to take an entry back.
#[async_trait]
pub trait Revocations: Send + Sync {
    /// Appends an entry. `seq` order is commit order, without gaps: whoever read up to `n` never later finds a new entry at or below `n`.
    ///
    /// An idempotency key that was used answers its entry and appends nothing; so does, without a key, a block or holder that
    /// is revoked already for at least as long. The other targets append each time, because writs may have been minted in
    /// between, and a key each time it is new, because it must find its own entry again.
    ///
    /// With its entry, a revoked user is suspended, and `everything` is stopped (see [`Stops`](crate::store::Stops)).
    async fn revoke(&self, revocation: &NewRevocation, event: &Change) -> Result<Entry, StoreError>;

    /// The log's head: 0 when nothing was ever revoked.
    async fn revocation_head(&self) -> Result<u64, StoreError>;

    /// Entries after `seq`, in order, at most `limit`.
    async fn revocations_after(&self, seq: u64, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// Both heads, of one moment.
    async fn heads(&self) -> Result<Heads, StoreError>;

    /// The entries after `seq` and up to `upto` that still matter at `at`, in order, at most `limit`. With a head that was
    /// read before, none of them can come later.
    async fn live_revocations(&self, seq: u64, upto: u64, at: Timestamp, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// The latest entry of each of `targets` that has one, whether or not it still matters, in no order. By an index: the
    /// log's length does not matter.
    async fn latest_revocations(&self, targets: &[Target]) -> Result<Vec<Entry>, StoreError>;

    /// Removes entries, records of issued writs, and counts of limits that can affect nothing any more: whose time has been over for an hour
    /// by the clock of the database itself. Some thousands at most; answers how many. Of what still matters, nobody can
    /// remove anything in this way, whatever their own clock says.
    async fn forget_over(&self) -> Result<u64, StoreError>;

    /// Returns when the log may have grown beyond `seq`, or after a while: a hint, to be followed by a read.
    async fn revocation_hint(&self, seq: u64) -> Result<(), StoreError>;
}
