//! Counts of limits, and what edges hold of them.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::id::{LimitName, TenantName};
use crate::policy::limit::{Allotted, Ask, Limits};
use crate::store::StoreError;

/// A question of an edge, with what the authority adds to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// The question.
    pub ask: Ask,
    /// Whose holding it is: no two holdings of a count have one name.
    pub holder: Box<str>,
    /// Grows with every question about the holding.
    pub seq: u64,
    /// The bound of the limit.
    pub max: i64,
    /// When the count's window ends.
    pub ends: Timestamp,
}

/// How much of a count is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedSoFar {
    /// Which limit.
    pub limit: LimitName,
    /// What is counted: [`Limit::counted`](crate::policy::limit::Limit::counted).
    pub counted: Box<str>,
    /// Whose requests.
    pub key: Box<str>,
    /// When its window began.
    pub start: Timestamp,
    /// When its window ends.
    pub ends: Timestamp,
    /// What edges hold, spent or not.
    pub used: i64,
}

/// What tenants' limits are.
#[async_trait]
pub trait LimitSets: Send + Sync {
    /// Every tenant's limits, by tenant: those of its newest policy set.
    async fn limit_sets(&self) -> Result<Vec<(TenantName, Limits)>, StoreError>;
}

/// Counts of limits. Not audited: what was spent is in the records of the calls.
#[async_trait]
pub trait LimitCounts: Send + Sync {
    /// Answers questions of one edge by [`allot`](crate::policy::limit::allot), one answer for each, in one transaction. Any
    /// number of processes may at once: what all edges hold of a count never exceeds the bound by which it was handed out.
    ///
    /// `None` for a question that is not later than the last one about its holding: it changes nothing.
    async fn allot(&self, drawings: &[Drawing]) -> Result<Vec<Option<Allotted>>, StoreError>;

    /// A tenant's counts whose window has not ended at `at`, of one limit or all, by limit, key and window; at most `limit`.
    async fn limit_counts(
        &self,
        tenant: &TenantName,
        name: Option<&LimitName>,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<CountedSoFar>, StoreError>;
}
