//! Services that may ask whether a writ is active.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AudienceName, RelyingName, TenantName};
use crate::key::PublicKey;
use crate::store::StoreError;

/// A registered relying service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelyingService {
    /// The tenant whose writs it may ask about.
    pub tenant: TenantName,
    /// Its name, unique in the tenant.
    pub name: RelyingName,
    /// Its public key, unique among relying services.
    pub key: PublicKey,
    /// The deployment whose writs it may ask about.
    pub audience: AudienceName,
    /// When it was registered.
    pub created: Timestamp,
}

/// Relying services.
#[async_trait]
pub trait RelyingServices: Send + Sync {
    /// Registers a relying service. A name or key that exists is a conflict.
    async fn add_relying(&self, service: &RelyingService, event: &Change) -> Result<(), StoreError>;

    /// A tenant's relying services, by name.
    async fn relying(&self, tenant: &TenantName) -> Result<Vec<RelyingService>, StoreError>;

    /// The relying service that holds this key.
    async fn relying_by_key(&self, key: &PublicKey) -> Result<Option<RelyingService>, StoreError>;

    /// Removes a relying service. `NotFound` if there is none of that name.
    async fn remove_relying(
        &self,
        tenant: &TenantName,
        name: &RelyingName,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError>;
}
