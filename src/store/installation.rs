//! The installation itself: its issuer, its keys, its operators.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::OperatorName;
use crate::key::PublicKey;
use crate::policy::Role;
use crate::store::StoreError;
use crate::vault::Sealed;

/// What `writ init` creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The issuer URL; never changes.
    pub issuer: Box<str>,
    /// A known text sealed under the key-encryption key: a wrong key is noticed at start.
    pub kek_check: Sealed,
    /// The key that signs what edges are told, receipts and checkpoints.
    pub authority_key: PublicKey,
    /// Its seed, sealed.
    pub authority_seed: Sealed,
    /// When it was created.
    pub created: Timestamp,
}

/// A root key pair: signs writs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKeyRecord {
    /// The id that stands in tokens; never reused.
    pub id: u32,
    /// The public half.
    pub key: PublicKey,
    /// The seed, sealed.
    pub seed: Sealed,
    /// When it was created.
    pub created: Timestamp,
    /// From when on it signs: later than `created`, so that every edge knows it first.
    pub signs_from: Timestamp,
    /// The last moment its tokens count, once it is retired.
    pub until: Option<Timestamp>,
}

/// Somebody who administers the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name.
    pub name: OperatorName,
    /// What it may do.
    pub role: Role,
    /// The person behind it, by the name under which that person signs in, where that was said.
    pub person: Option<OperatorName>,
    /// SHA-256 of the operator's secret (256 random bits, so a plain hash suffices).
    pub secret_sha256: [u8; 32],
    /// When it was added.
    pub created: Timestamp,
}

/// What came of removing an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorRemoval {
    /// Its secret counts no longer.
    Removed,
    /// It is the last one that may change anything, and stays.
    LastOne,
}

/// The installation's records.
#[async_trait]
pub trait Installations: Send + Sync {
    /// Creates the installation with its first root key and operator. A second call is a conflict and changes nothing.
    async fn install(
        &self,
        installation: &Installation,
        root: &RootKeyRecord,
        operator: &Operator,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError>;

    /// The installation, if there is one.
    async fn installation(&self) -> Result<Option<Installation>, StoreError>;

    /// Adds a root key. An id that was ever used is a conflict.
    async fn add_root_key(&self, root: &RootKeyRecord, at: Timestamp, event: &Change) -> Result<(), StoreError>;

    /// Ends a root key at `until`; a later call can only bring the end forward.
    async fn retire_root_key(&self, id: u32, until: Timestamp, at: Timestamp, event: &Change)
    -> Result<(), StoreError>;

    /// All root keys, retired ones included, by id.
    async fn root_keys(&self) -> Result<Vec<RootKeyRecord>, StoreError>;

    /// Adds an operator. A name or secret that exists is a conflict.
    async fn add_operator(&self, operator: &Operator, at: Timestamp, event: &Change) -> Result<(), StoreError>;

    /// All operators, by name.
    async fn operators(&self) -> Result<Vec<Operator>, StoreError>;

    /// Removes an operator, unless there is no other admin. `NotFound` if there is none of that name.
    async fn remove_operator(
        &self,
        name: &OperatorName,
        at: Timestamp,
        event: &Change,
    ) -> Result<OperatorRemoval, StoreError>;

    /// The operator with this secret's hash, if any.
    async fn operator_by_secret(&self, secret_sha256: &[u8; 32]) -> Result<Option<Operator>, StoreError>;

    /// Replaces the sealed seeds and the check value by ones wrapped under another key-encryption key.
    async fn rewrap_installation(
        &self,
        installation: &Installation,
        roots: &[RootKeyRecord],
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError>;
}
