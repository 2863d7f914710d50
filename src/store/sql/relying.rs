//! Relying services.

use async_trait::async_trait;

use super::SqlStore;
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{RelyingName, TenantName};
use crate::key::PublicKey;
use crate::store::database::{Row, read_all, read_first, text, time};
use crate::store::{RelyingService, RelyingServices, StoreError};

fn relying_service(row: &mut Row) -> Result<RelyingService, StoreError> {
    Ok(RelyingService {
        tenant: row.parse()?,
        name: row.parse()?,
        key: row.parse()?,
        audience: row.parse()?,
        created: row.time()?,
    })
}

#[async_trait]
impl RelyingServices for SqlStore {
    async fn add_relying(&self, service: &RelyingService, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("a relying service of that name or key");
        write.change(
            "INSERT INTO relying_service (tenant, name, key, audience, created) VALUES ($1, $2, $3, $4, $5)",
            vec![
                text(&service.tenant),
                text(&service.name),
                text(&service.key),
                text(&service.audience),
                time(service.created),
            ],
        );
        write.commit(service.created, event).await
    }

    async fn relying(&self, tenant: &TenantName) -> Result<Vec<RelyingService>, StoreError> {
        let sql = "SELECT tenant, name, key, audience, created FROM relying_service WHERE tenant = $1 ORDER BY name";
        read_all(self.read(sql, vec![text(tenant)]).await?, "relying_service", relying_service)
    }

    async fn relying_by_key(&self, key: &PublicKey) -> Result<Option<RelyingService>, StoreError> {
        let sql = "SELECT tenant, name, key, audience, created FROM relying_service WHERE key = $1";
        read_first(self.read(sql, vec![text(key)]).await?, "relying_service", relying_service)
    }

    async fn remove_relying(
        &self,
        tenant: &TenantName,
        name: &RelyingName,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let sql = "DELETE FROM relying_service WHERE tenant = $1 AND name = $2 RETURNING name";
        if !write.finds(sql, vec![text(tenant), text(name)]).await? {
            return Err(StoreError::NotFound("relying service"));
        }
        write.commit(at, event).await
    }
}
