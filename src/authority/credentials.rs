//! Credentials: sealed when they come, lent to edges, never shown.

use serde_json::json;

use crate::audit::Actor;
use crate::authority::{Authority, AuthorityError, change_with, keys};
use crate::clock::Timestamp;
use crate::id::{OperatorName, TenantName};
use crate::secret::Secret;
use crate::store::{CredentialKey, CredentialRecord, StoreError};
use crate::vault::{CredentialKind, Sealed};

/// A credential without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialMetadata {
    /// Its name.
    pub key: CredentialKey,
    /// How it is presented.
    pub kind: CredentialKind,
    /// Its version.
    pub version: u32,
    /// When this version was stored.
    pub updated: Timestamp,
    /// The key-encryption key that it is wrapped under.
    pub kek: Box<str>,
}

impl From<CredentialRecord> for CredentialMetadata {
    fn from(record: CredentialRecord) -> Self {
        let CredentialRecord { key, kind, sealed, version, updated, stored_epoch: _ } = record;
        Self { key, kind, version, updated, kek: sealed.kek }
    }
}

impl Authority {
    /// Stores a credential, or the next version of it with a kind of its own.
    pub async fn put_credential(
        &self,
        by: &OperatorName,
        key: CredentialKey,
        kind: CredentialKind,
        secret: &Secret<String>,
    ) -> Result<CredentialMetadata, AuthorityError> {
        self.store_credential(by, "credential.put", key, kind, secret).await
    }

    /// Stores the next version of a credential that exists, of the same kind. Edges drop what they were lent.
    pub async fn rotate_credential(
        &self,
        by: &OperatorName,
        key: CredentialKey,
        secret: &Secret<String>,
    ) -> Result<CredentialMetadata, AuthorityError> {
        let current = self.store.credential(&key).await?.ok_or(StoreError::NotFound("credential"))?;
        self.store_credential(by, "credential.rotate", key, current.kind, secret).await
    }

    async fn store_credential(
        &self,
        by: &OperatorName,
        action: &str,
        key: CredentialKey,
        kind: CredentialKind,
        secret: &Secret<String>,
    ) -> Result<CredentialMetadata, AuthorityError> {
        kind.check(secret.expose())?;
        let version = self.store.next_credential_version(&key).await?;
        let unsealed = Sealed { kek: "".into(), wrapped_key: "".into(), ciphertext: "".into() };
        let mut record =
            CredentialRecord { key, kind, sealed: unsealed, version, updated: self.now(), stored_epoch: 0 };
        let name = keys::credential_record(&record.key);
        record.sealed = self.keyring.seal(&keys::credential_binding(&record, &name), secret.expose().as_bytes())?;
        let detail = json!({ "version": version, "subject": record.key.subject, "presented": record.kind });
        let event =
            change_with(Actor::Operator(by.clone()), action, &record.key.name, Some(&record.key.tenant), detail);
        self.store.put_credential(&record, &event).await?;
        self.reload().await?;
        Ok(record.into())
    }

    /// Removes a credential. Edges drop what they were lent.
    pub async fn remove_credential(&self, by: &OperatorName, key: &CredentialKey) -> Result<(), AuthorityError> {
        let detail = json!({ "subject": key.subject });
        let event = change_with(Actor::Operator(by.clone()), "credential.remove", &key.name, Some(&key.tenant), detail);
        self.store.remove_credential(key, self.now(), &event).await?;
        self.reload().await
    }

    /// A tenant's credentials, without their secrets.
    pub async fn credentials(&self, tenant: &TenantName) -> Result<Vec<CredentialMetadata>, AuthorityError> {
        Ok(self.store.credentials(tenant).await?.into_iter().map(Into::into).collect())
    }
}
