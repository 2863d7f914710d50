//! Services of the catalog.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{ServiceName, TenantName};
use crate::store::StoreError;

/// Every service of an installation at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCatalog {
    /// Grows with every change of a service, a credential or a root key (edges drop what they were lent when it does);
    /// 0 for an installation where nothing was ever changed.
    pub version: u64,
    /// Each service as the JSON text of a checked `catalog::Service`.
    pub services: Vec<(TenantName, ServiceName, Box<str>)>,
}

/// Services.
#[async_trait]
pub trait CatalogStore: Send + Sync {
    /// Adds a service or replaces the one of that name; answers the catalog's new version.
    /// A service name belongs to one tenant of the installation: taken by another tenant, it is a conflict.
    /// `policies` is the version of the tenant's policy set that it fits, 0 without one: `Overtaken` if that is another.
    async fn put_service(
        &self,
        tenant: &TenantName,
        name: &ServiceName,
        json: &str,
        policies: u64,
        at: Timestamp,
        event: &Change,
    ) -> Result<u64, StoreError>;

    /// Removes a service; answers the catalog's new version. `policies` as with [`put_service`](Self::put_service).
    async fn remove_service(
        &self,
        tenant: &TenantName,
        name: &ServiceName,
        policies: u64,
        at: Timestamp,
        event: &Change,
    ) -> Result<u64, StoreError>;

    /// The whole catalog, by tenant and name, all of one moment.
    async fn catalog(&self) -> Result<StoredCatalog, StoreError>;

    /// The catalog's version.
    async fn catalog_version(&self) -> Result<u64, StoreError>;
}
