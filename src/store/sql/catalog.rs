//! Services.

use async_trait::async_trait;

use super::SqlStore;
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{ServiceName, TenantName};
use crate::store::database::{Row, read_first, text};
use crate::store::{CatalogStore, StoreError, StoredCatalog};

#[async_trait]
impl CatalogStore for SqlStore {
    async fn put_service(
        &self,
        tenant: &TenantName,
        name: &ServiceName,
        json: &str,
        policies: u64,
        at: Timestamp,
        event: &Change,
    ) -> Result<u64, StoreError> {
        let mut write = self.write().await?;
        write.policies_are(tenant, policies).await?;
        let sql = "INSERT INTO service (name, tenant, json) VALUES ($1, $2, $3) ON CONFLICT (name) \
                   DO UPDATE SET json = excluded.json WHERE service.tenant = excluded.tenant RETURNING name";
        if !write.finds(sql, vec![text(name), text(tenant), text(json)]).await? {
            return Err(StoreError::Conflict("a service of that name"));
        }
        let version = write.catalog_changes();
        write.commit(at, event).await?;
        Ok(version)
    }

    async fn remove_service(
        &self,
        tenant: &TenantName,
        name: &ServiceName,
        policies: u64,
        at: Timestamp,
        event: &Change,
    ) -> Result<u64, StoreError> {
        let mut write = self.write().await?;
        write.policies_are(tenant, policies).await?;
        let sql = "DELETE FROM service WHERE name = $1 AND tenant = $2 RETURNING name";
        if !write.finds(sql, vec![text(name), text(tenant)]).await? {
            return Err(StoreError::NotFound("service"));
        }
        let version = write.catalog_changes();
        write.commit(at, event).await?;
        Ok(version)
    }

    async fn catalog(&self) -> Result<StoredCatalog, StoreError> {
        let sql = "SELECT h.catalog_version, s.tenant, s.name, s.json FROM heads h LEFT JOIN service s ON TRUE \
                   ORDER BY s.tenant, s.name";
        let mut catalog: Option<StoredCatalog> = None;
        for row in self.read(sql, Vec::new()).await? {
            let mut row = row.of("service");
            let version = row.int()?;
            let catalog = catalog.get_or_insert_with(|| StoredCatalog { version, services: Vec::new() });
            if !row.next_is_null() {
                catalog.services.push((row.parse()?, row.parse()?, row.text()?));
            }
        }
        catalog.ok_or(StoreError::Corrupt { table: "heads" })
    }

    async fn catalog_version(&self) -> Result<u64, StoreError> {
        let rows = self.read("SELECT catalog_version FROM heads WHERE one = 1", Vec::new()).await?;
        read_first(rows, "heads", Row::int)?.ok_or(StoreError::Corrupt { table: "heads" })
    }
}
