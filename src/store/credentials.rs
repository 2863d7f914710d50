//! Sealed credentials.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{CredentialName, Subject, TenantName};
use crate::store::StoreError;
use crate::vault::{CredentialKind, Sealed};

/// Names a credential: shared by a tenant, or one user's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialKey {
    /// The tenant.
    pub tenant: TenantName,
    /// The name that services refer to.
    pub name: CredentialName,
    /// The user, for a credential of which each user has their own.
    pub subject: Option<Subject>,
}

/// A credential as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRecord {
    /// Its name.
    pub key: CredentialKey,
    /// How it is presented.
    pub kind: CredentialKind,
    /// The secret, sealed for exactly this key and version.
    pub sealed: Sealed,
    /// 1, 2, 3: grows with every rotation, and never starts again for a name that was removed.
    pub version: u32,
    /// When this version was stored.
    pub updated: Timestamp,
    /// The revocation log's head at that moment, by the store: a later entry for the credential kills this version.
    pub stored_epoch: u64,
}

/// Credentials.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The version that the next `put_credential` of this name must carry: 1 for a name never used.
    async fn next_credential_version(&self, key: &CredentialKey) -> Result<u32, StoreError>;

    /// Stores a version, with the log's head of this very transaction as its `stored_epoch` whatever is given. Another
    /// version than the next one is a conflict and changes nothing.
    async fn put_credential(&self, credential: &CredentialRecord, event: &Change) -> Result<(), StoreError>;

    /// Removes a credential. Its version numbers are not used again.
    async fn remove_credential(&self, key: &CredentialKey, at: Timestamp, event: &Change) -> Result<(), StoreError>;

    /// A tenant's credentials by name and user.
    async fn credentials(&self, tenant: &TenantName) -> Result<Vec<CredentialRecord>, StoreError>;

    /// The current version of one credential.
    async fn credential(&self, key: &CredentialKey) -> Result<Option<CredentialRecord>, StoreError>;

    /// Up to `limit` credentials of the installation that are not wrapped under key-encryption key `kek`.
    async fn credentials_not_under(&self, kek: &str, limit: u32) -> Result<Vec<CredentialRecord>, StoreError>;

    /// Replaces sealed secrets by the same ones wrapped anew; a credential that changed meanwhile is left alone. Answers how many were replaced.
    async fn rewrap_credentials(
        &self,
        credentials: &[CredentialRecord],
        at: Timestamp,
        event: &Change,
    ) -> Result<u32, StoreError>;
}
