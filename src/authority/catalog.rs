//! Services of the catalog: checked when they are stored, offered to every edge from then on.

use serde_json::json;

use crate::audit::Actor;
use crate::authority::policy::ATTEMPTS;
use crate::authority::{Authority, AuthorityError, change_with};
use crate::catalog::Service;
use crate::id::{OperatorName, ServiceName, TenantName};
use crate::store::StoreError;

impl Authority {
    /// Adds a service or replaces the one of that name. Answers the catalog's new version.
    pub async fn put_service(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        service: &Service,
    ) -> Result<u64, AuthorityError> {
        // Expect safety: the form of a service holds text, numbers, booleans and lists only.
        let json = serde_json::to_string(service).expect("a service's form is JSON");
        let detail = json!({ "upstream": service.upstream().to_string(), "credential": service.credential() });
        let event = change_with(Actor::Operator(by.clone()), "service.put", service.name(), Some(tenant), detail);
        let mut attempts = 1;
        let version = loop {
            let policies = self.policies_fit(tenant, service.name(), Some(service)).await?;
            match self.store.put_service(tenant, service.name(), &json, policies, self.now(), &event).await {
                Err(StoreError::Overtaken) if attempts < ATTEMPTS => attempts += 1,
                done => break done?,
            }
        };
        self.reload().await?;
        Ok(version)
    }

    /// Removes a service. Answers the catalog's new version.
    pub async fn remove_service(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        name: &ServiceName,
    ) -> Result<u64, AuthorityError> {
        let event = change_with(Actor::Operator(by.clone()), "service.remove", name, Some(tenant), json!({}));
        let mut attempts = 1;
        let version = loop {
            let policies = self.policies_fit(tenant, name, None).await?;
            match self.store.remove_service(tenant, name, policies, self.now(), &event).await {
                Err(StoreError::Overtaken) if attempts < ATTEMPTS => attempts += 1,
                done => break done?,
            }
        };
        self.reload().await?;
        Ok(version)
    }

    /// A tenant's services by name.
    pub async fn services(&self, tenant: &TenantName) -> Result<Vec<Service>, AuthorityError> {
        Ok(self.refreshed().await?.services_of(tenant))
    }

    /// One service of a tenant.
    pub async fn service(&self, tenant: &TenantName, name: &ServiceName) -> Result<Service, AuthorityError> {
        let published = self.refreshed().await?;
        Ok(published.service(tenant, name).cloned().ok_or(StoreError::NotFound("service"))?)
    }
}
