//! Policy sets of tenants: every version that ever was, the newest of which counts.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{Group, OperatorName, TenantName};
use crate::policy::limit::Limits;
use crate::store::StoreError;

/// A policy set that is to become its tenant's newest.
#[derive(Clone, Debug)]
pub struct NewPolicies<'a> {
    /// Whose.
    pub tenant: &'a TenantName,
    /// The JSON text of a checked document.
    pub document: &'a str,
    /// The groups that it asks for, each once, and whether who joins it may do less.
    pub groups: Vec<(Group, bool)>,
    /// Its limits, which become the tenant's.
    pub limits: &'a Limits,
    /// Who wrote it.
    pub author: &'a OperatorName,
    /// The catalog's version that it was checked with.
    pub checked: u64,
}

/// A version of a tenant's policy set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPolicies {
    /// Whose.
    pub tenant: TenantName,
    /// 1 for a tenant's first, then one more each time.
    pub version: u64,
    /// The first version that asks for no group that the ones up to this do not: a writ that was minted under an earlier one
    /// may lack a group.
    pub outdates: u64,
    /// The JSON text of a document.
    pub document: Box<str>,
    /// Who wrote it.
    pub author: OperatorName,
    /// When.
    pub at: Timestamp,
}

/// Policy sets.
#[async_trait]
pub trait Policies: Send + Sync {
    /// Adds a version, which counts from then on, and with it its limits; answers it, and the catalog's new version.
    ///
    /// `Overtaken`, and nothing changed, if the catalog is no longer at the version that it was checked with.
    async fn put_policies(
        &self,
        new: &NewPolicies<'_>,
        at: Timestamp,
        event: &Change,
    ) -> Result<(StoredPolicies, u64), StoreError>;

    /// The newest version of every tenant that has one, by tenant, all of one moment.
    async fn policies(&self) -> Result<Vec<StoredPolicies>, StoreError>;

    /// A tenant's versions before `before`, the newest first, at most `limit`.
    async fn policy_history(
        &self,
        tenant: &TenantName,
        before: u64,
        limit: u32,
    ) -> Result<Vec<StoredPolicies>, StoreError>;
}
