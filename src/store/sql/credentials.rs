//! Credentials.

use async_trait::async_trait;

use super::SqlStore;
use super::installation::sealed;
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::TenantName;
use crate::store::database::{Row, Value, count, json, read_all, read_first, text, time};
use crate::store::{CredentialKey, CredentialRecord, Credentials, StoreError};

/// The columns of a key. A shared credential has the empty subject, which no user can have.
fn key_params(key: &CredentialKey) -> Vec<Value> {
    let subject = key.subject.as_ref().map_or("", |subject| subject.as_str());
    vec![text(&key.tenant), text(&key.name), text(subject)]
}

fn credential(row: &mut Row) -> Result<CredentialRecord, StoreError> {
    let (tenant, name) = (row.parse()?, row.parse()?);
    let subject = match row.text()? {
        shared if shared.is_empty() => None,
        subject => Some(subject.parse().map_err(|_| row.corrupt())?),
    };
    Ok(CredentialRecord {
        key: CredentialKey { tenant, name, subject },
        kind: row.json()?,
        sealed: sealed(row)?,
        version: row.int()?,
        updated: row.time()?,
        stored_epoch: row.int()?,
    })
}

const SELECT_VERSION: &str = "SELECT version FROM credential_version WHERE tenant = $1 AND name = $2 AND subject = $3";

fn next_version(rows: Vec<Row>) -> Result<u32, StoreError> {
    let last = read_first(rows, "credential_version", Row::int::<u32>)?.unwrap_or(0);
    last.checked_add(1).ok_or(StoreError::Corrupt { table: "credential_version" })
}

#[async_trait]
impl Credentials for SqlStore {
    async fn next_credential_version(&self, key: &CredentialKey) -> Result<u32, StoreError> {
        next_version(self.read(SELECT_VERSION, key_params(key)).await?)
    }

    async fn put_credential(&self, credential: &CredentialRecord, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let next = next_version(write.query(SELECT_VERSION, key_params(&credential.key)).await?)?;
        if credential.version != next {
            return Err(StoreError::Conflict("another version of the credential"));
        }
        let mut params = key_params(&credential.key);
        params.push(count(next.into()));
        write.change(
            "INSERT INTO credential_version (tenant, name, subject, version) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant, name, subject) DO UPDATE SET version = excluded.version",
            params.clone(),
        );
        params.extend([
            json(&credential.kind)?,
            text(&credential.sealed.kek),
            text(&credential.sealed.wrapped_key),
            text(&credential.sealed.ciphertext),
            time(credential.updated),
            count(write.heads.revocation_seq),
        ]);
        write.change(
            "INSERT INTO credential (tenant, name, subject, version, kind, kek, wrapped_key, ciphertext, updated, stored_epoch) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (tenant, name, subject) DO UPDATE SET \
             version = excluded.version, kind = excluded.kind, kek = excluded.kek, wrapped_key = excluded.wrapped_key, \
             ciphertext = excluded.ciphertext, updated = excluded.updated, stored_epoch = excluded.stored_epoch",
            params,
        );
        write.catalog_changes();
        write.commit(credential.updated, event).await
    }

    async fn remove_credential(&self, key: &CredentialKey, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let sql = "DELETE FROM credential WHERE tenant = $1 AND name = $2 AND subject = $3 RETURNING version";
        if !write.finds(sql, key_params(key)).await? {
            return Err(StoreError::NotFound("credential"));
        }
        write.catalog_changes();
        write.commit(at, event).await
    }

    async fn credentials(&self, tenant: &TenantName) -> Result<Vec<CredentialRecord>, StoreError> {
        let sql = "SELECT tenant, name, subject, kind, kek, wrapped_key, ciphertext, version, updated, stored_epoch \
                   FROM credential WHERE tenant = $1 ORDER BY name, subject";
        read_all(self.read(sql, vec![text(tenant)]).await?, "credential", credential)
    }

    async fn credential(&self, key: &CredentialKey) -> Result<Option<CredentialRecord>, StoreError> {
        let sql = "SELECT tenant, name, subject, kind, kek, wrapped_key, ciphertext, version, updated, stored_epoch \
                   FROM credential WHERE tenant = $1 AND name = $2 AND subject = $3";
        read_first(self.read(sql, key_params(key)).await?, "credential", credential)
    }

    async fn credentials_not_under(&self, kek: &str, limit: u32) -> Result<Vec<CredentialRecord>, StoreError> {
        let sql = "SELECT tenant, name, subject, kind, kek, wrapped_key, ciphertext, version, updated, stored_epoch \
                   FROM credential WHERE kek <> $1 ORDER BY tenant, name, subject LIMIT $2";
        read_all(self.read(sql, vec![text(kek), count(limit.into())]).await?, "credential", credential)
    }

    async fn rewrap_credentials(
        &self,
        credentials: &[CredentialRecord],
        at: Timestamp,
        event: &Change,
    ) -> Result<u32, StoreError> {
        let mut write = self.write().await?;
        let mut replaced = 0;
        for credential in credentials {
            // A version is never used twice, so the same version is the same secret.
            let sql = "UPDATE credential SET kek = $5, wrapped_key = $6, ciphertext = $7 \
                       WHERE tenant = $1 AND name = $2 AND subject = $3 AND version = $4 RETURNING version";
            let mut params = key_params(&credential.key);
            params.extend([
                count(credential.version.into()),
                text(&credential.sealed.kek),
                text(&credential.sealed.wrapped_key),
                text(&credential.sealed.ciphertext),
            ]);
            replaced += u32::from(write.finds(sql, params).await?);
        }
        if replaced > 0 {
            write.commit(at, event).await?;
        }
        Ok(replaced)
    }
}
