//! Policy sets: checked with the tenant's services before they are stored, and in force at every edge before the answer.

use serde_json::json;

use crate::audit::Actor;
use crate::authority::keys::Published;
use crate::authority::receipt::{Ended, ReceiptText};
use crate::authority::{Authority, AuthorityError, change_with};
use crate::catalog::Service;
use crate::id::{OperatorName, ServiceName, TenantName};
use crate::policy::limit::Limits;
use crate::policy::rules::set::GroupUse;
use crate::policy::rules::{Document, Facts, Finding, InvalidSet, PolicySet, Rules, Schema, Severity};
use crate::revocation::receipt::Reached;
use crate::store::{NewPolicies, StoreError, StoredPolicies};

/// How often a change is checked again because another one came first.
pub(super) const ATTEMPTS: usize = 8;
/// The most versions of a history that are answered at once.
pub const HISTORY_MAX: u32 = 100;

/// A set that was stored, and the proof that every edge has it.
#[derive(Debug)]
pub struct PutPolicies {
    /// The version it has.
    pub version: u64,
    /// The receipt for the change of the settings.
    pub receipt: ReceiptText,
}

impl Authority {
    /// Makes `document` the tenant's set. Returns once no edge acts on another: each has it, or its lease ran out.
    ///
    /// An invalid set changes nothing.
    pub async fn put_policies(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        document: &Document,
    ) -> Result<PutPolicies, AuthorityError> {
        // Expect safety: the form of a document holds text, numbers and lists only.
        let json = serde_json::to_string(document).expect("a document's form is JSON");
        let set = PolicySet::parse(document.clone())?;
        let limits: Vec<_> = document.limit.iter().map(|limit| format!("{}: {limit}", limit.name())).collect();
        let sha256 = hex::encode(crate::key::sha256(json.as_bytes()));
        let detail = json!({ "policies": set.policies().len(), "limits": limits, "sha256": sha256 });
        let event = change_with(Actor::Operator(by.clone()), "policy.put", tenant, Some(tenant), detail);
        let groups: Vec<_> =
            set.groups().iter().map(|(group, used)| (group.clone(), *used == GroupUse::Forbids)).collect();
        let mut attempts = 1;
        let (stored, settings) = loop {
            let published = self.refreshed().await?;
            self.check_policies(&set, &published.services_of(tenant), &document.limit)?;
            let new = NewPolicies {
                tenant,
                document: &json,
                groups: groups.clone(),
                limits: &document.limit,
                author: by,
                checked: published.version,
            };
            match self.store.put_policies(&new, self.now(), &event).await {
                Err(StoreError::Overtaken) if attempts < ATTEMPTS => attempts += 1,
                done => break done?,
            }
        };
        let since = self.clock.monotonic();
        self.reload().await?;
        let target = format!("policy:{tenant}@{}", stored.version);
        let ended = Ended { reached: Reached::Settings(settings), target, committed: stored.at, since };
        Ok(PutPolicies { version: stored.version, receipt: self.receipt_for_settings(&ended).await? })
    }

    /// A tenant's set in force: the stored one, or the built-in one as version 0.
    pub async fn policies(&self, tenant: &TenantName) -> Result<Option<StoredPolicies>, AuthorityError> {
        Ok(self.store.policy_history(tenant, u64::MAX, 1).await?.pop())
    }

    /// One version of a tenant's set.
    pub async fn policies_at(&self, tenant: &TenantName, version: u64) -> Result<StoredPolicies, AuthorityError> {
        let found = self.store.policy_history(tenant, version.saturating_add(1), 1).await?.pop();
        Ok(found.filter(|found| found.version == version).ok_or(StoreError::NotFound("version of the policy set"))?)
    }

    /// A tenant's versions before `before`, the newest first; at most [`HISTORY_MAX`].
    pub async fn policy_history(
        &self,
        tenant: &TenantName,
        before: u64,
    ) -> Result<Vec<StoredPolicies>, AuthorityError> {
        Ok(self.store.policy_history(tenant, before, HISTORY_MAX).await?)
    }

    /// Refuses a set that cannot be compiled or does not fit the services.
    pub(super) fn check_policies(
        &self,
        set: &PolicySet,
        services: &[Service],
        limits: &Limits,
    ) -> Result<(), AuthorityError> {
        Rules::compile(0, 0, set.clone())?;
        let schema = self.schema(services, limits);
        schema.check_limits(limits)?;
        match schema.findings(set).into_iter().find(|finding| finding.severity == Severity::Error) {
            None => Ok(()),
            Some(Finding { line, policy, message, .. }) => {
                Err(InvalidSet { policy: Some(policy), line: Some(line), message: message.into() }.into())
            }
        }
    }

    /// What policies may name, given the tenant's services and the limits that count with them.
    fn schema(&self, services: &[Service], limits: &Limits) -> Schema {
        Schema::of(services, Facts { claims: self.providers.policy_claims(), limits: Facts::limits_of(limits) })
    }

    /// What is to be said about a document, without storing it. An error where it is no set at all.
    pub async fn dry_run(&self, tenant: &TenantName, document: &Document) -> Result<Vec<Finding>, AuthorityError> {
        let set = PolicySet::parse(document.clone())?;
        Rules::compile(0, 0, set.clone())?;
        let published = self.refreshed().await?;
        let schema = self.schema(&published.services_of(tenant), &document.limit);
        schema.check_limits(&document.limit)?;
        Ok(schema.findings(&set))
    }

    /// Refuses a change of a service that the tenant's set does not fit: `service` is what it becomes, `None` if it goes.
    /// Answers the version of the set that was looked at.
    pub(super) async fn policies_fit(
        &self,
        tenant: &TenantName,
        name: &ServiceName,
        service: Option<&Service>,
    ) -> Result<u64, AuthorityError> {
        let published = self.refreshed().await?;
        let Some(stored) = published.policies_of(tenant) else { return Ok(0) };
        let rules = published.rules.of(tenant)?;
        let mut services = published.services_of(tenant);
        services.retain(|known| known.name() != name);
        services.extend(service.cloned());
        let limits = published.limits(tenant).cloned().unwrap_or_default();
        self.check_policies(rules.set(), &services, &limits).map_err(|error| match error {
            AuthorityError::Policy(invalid) => AuthorityError::PolicyNeedsService(name.clone(), invalid),
            other => other,
        })?;
        Ok(stored.version)
    }
}

impl Published {
    /// The stored set of a tenant.
    pub(super) fn policies_of(&self, tenant: &TenantName) -> Option<&StoredPolicies> {
        self.policies.iter().find(|stored| stored.tenant == *tenant)
    }
}

impl From<InvalidSet> for AuthorityError {
    fn from(invalid: InvalidSet) -> Self {
        Self::Policy(Box::new(invalid))
    }
}
