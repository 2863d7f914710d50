//! Limits: how much of each count an edge may hold. The store counts; an edge's word is taken for what it has spent.

use std::time::Duration;

use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{LimitName, TenantName};
use crate::policy::limit::{Ask, Limit, Limits};
use crate::store::{CountedSoFar, Drawing, Edge};
use crate::wire::{ASKS_MAX, LimitsReply, LimitsRequest};

/// How far an edge's wall clock may be from this one's before its window is none: an edge that is further apart has no lease.
const SKEW_MAX: Duration = Duration::from_secs(60);
/// The longest key of a count in bytes: the longest name of a user, and what stands before it.
const KEY_BYTES_MAX: usize = 264;
/// The most counts that are listed at once.
const LISTED_MAX: u32 = 1000;

/// A count, with the limit as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountStatus {
    /// The limit.
    pub limit: Limit,
    /// Its count for one key in one window.
    pub count: CountedSoFar,
}

impl Authority {
    /// Answers what an edge asks of counts.
    pub async fn allot(&self, edge: &Edge, request: &LimitsRequest) -> Result<LimitsReply, AuthorityError> {
        let sound = |ask: &Ask| {
            ask.is_sound() && ask.bucket.key.len() <= KEY_BYTES_MAX && !ask.bucket.key.contains(char::is_control)
        };
        if request.asks.len() > ASKS_MAX || !request.asks.iter().all(sound) {
            return Err(AuthorityError::Malformed("the questions about limits do not fit".into()));
        }
        // The limits as they are in the store now: a bound that was lowered counts at once.
        let published = self.refreshed().await?;
        let now = self.now();
        let mut drawings = Vec::with_capacity(request.asks.len());
        let mut places = Vec::with_capacity(request.asks.len());
        for (place, ask) in request.asks.iter().enumerate() {
            let limits = published.limits(&ask.bucket.tenant);
            let limit = limits.and_then(|limits| limits.named(&ask.bucket.limit));
            let Some(limit) = limit.filter(|limit| is_current(limit, ask, now)) else { continue };
            drawings.push(Drawing {
                ask: ask.clone(),
                holder: format!("{}/{}/{}", edge.name, request.process, ask.holding).into(),
                seq: request.seq,
                max: limit.max(),
                ends: limit.window().end(ask.bucket.start),
            });
            places.push(place);
        }
        let mut answers = vec![None; request.asks.len()];
        if !drawings.is_empty() {
            for (place, answer) in places.into_iter().zip(self.store.allot(&drawings).await?) {
                answers[place] = answer;
            }
        }
        Ok(LimitsReply { answers })
    }

    /// A tenant's limits.
    pub async fn limits(&self, tenant: &TenantName) -> Result<Limits, AuthorityError> {
        Ok(self.refreshed().await?.limits(tenant).cloned().unwrap_or_default())
    }

    /// A tenant's limits with what is used of each now, by limit and key: of those that anybody has asked for.
    pub async fn limit_counts(
        &self,
        tenant: &TenantName,
        name: Option<&LimitName>,
    ) -> Result<Vec<CountStatus>, AuthorityError> {
        let published = self.refreshed().await?;
        let Some(limits) = published.limits(tenant) else { return Ok(Vec::new()) };
        let counts = self.store.limit_counts(tenant, name, self.now(), LISTED_MAX).await?;
        let status = |count: CountedSoFar| {
            let limit = limits.named(&count.limit).filter(|limit| *limit.counted() == *count.counted)?;
            Some(CountStatus { limit: limit.clone(), count })
        };
        Ok(counts.into_iter().filter_map(status).collect())
    }
}

/// Whether the question is about this limit as it is, in a window that the edge can be in.
fn is_current(limit: &Limit, ask: &Ask, now: Timestamp) -> bool {
    let start = ask.bucket.start;
    let end = limit.window().end(start);
    *limit.counted() == *ask.bucket.counted
        && limit.window().start(start) == start
        && start <= now.after(SKEW_MAX)
        && end > now.before(SKEW_MAX)
}
