//! What this process remembers of its callers: the proofs that edges used, and the operator secrets that were wrong.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::authority::AuthorityError;
use crate::clock::{Monotonic, Timestamp};
use crate::id::{Subject, TenantName};
use crate::token::proof::{Proof, ProofId};

/// The most proofs that are remembered at one time.
const PROOFS_MAX: usize = 262_144;
/// The most wrong operator secrets within one [`FAILURE_WINDOW`].
const FAILURES_MAX: u32 = 100;
const FAILURE_WINDOW: Duration = Duration::from_secs(1);
/// The most revocations of one user within one [`USER_WINDOW`]: each of them stays in the log for a day.
const USER_REVOCATIONS_MAX: u32 = 20;
const USER_WINDOW: Duration = Duration::from_secs(60);
/// The most that one [`Quota`] counts at one time.
const COUNTED_MAX: usize = 65_536;

/// How often each of many may do something within a window of time, at this process.
pub(super) struct Quota<K> {
    most: u32,
    window: Duration,
    counted: Mutex<HashMap<K, (Monotonic, u32)>>,
}

/// Why something is not counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// This one did it too often.
    Quota,
    /// Too many others are counted to count this one.
    Room,
}

impl<K: Eq + Hash> Quota<K> {
    pub(super) fn new(most: u32, window: Duration) -> Self {
        Self { most, window, counted: Mutex::default() }
    }

    /// Counts one more, unless that is too many.
    pub(super) fn count(&self, key: K, now: Monotonic) -> Result<(), Over> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |(since, _): &(Monotonic, u32)| now.since(*since) >= self.window;
        if counted.len() >= COUNTED_MAX {
            counted.retain(|_, one| !over(one));
        }
        if counted.len() >= COUNTED_MAX && !counted.contains_key(&key) {
            return Err(Over::Room);
        }
        let one = counted.entry(key).or_insert((now, 0));
        if over(one) {
            *one = (now, 0);
        }
        if one.1 >= self.most {
            return Err(Over::Quota);
        }
        one.1 += 1;
        Ok(())
    }
}

/// Proofs of edges within their window, and failed logins.
///
/// Of one process: a proof can be replayed at another replica. That is harmless, because the messages are idempotent and the
/// answer's signature is over the proof's id, so an edge takes it for no other message.
pub(super) struct Seen {
    proofs: Mutex<HashMap<ProofId, Timestamp>>,
    failures: Mutex<Option<(Monotonic, u32)>>,
    users: Quota<(TenantName, Subject)>,
}

impl Default for Seen {
    fn default() -> Self {
        let users = Quota::new(USER_REVOCATIONS_MAX, USER_WINDOW);
        Self { proofs: Mutex::default(), failures: Mutex::default(), users }
    }
}

impl Seen {
    /// Uses up a proof. When too many are remembered, refuses instead of forgetting one that could be replayed.
    pub(super) fn use_once(&self, proof: Proof, now: Timestamp) -> Result<(), AuthorityError> {
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if proofs.len() >= PROOFS_MAX {
            proofs.retain(|_, until| *until >= now);
        }
        if proofs.contains_key(&proof.id) {
            return Err(AuthorityError::Replayed);
        }
        if proofs.len() >= PROOFS_MAX {
            return Err(AuthorityError::Busy);
        }
        proofs.insert(proof.id, proof.replayable_until);
        Ok(())
    }

    /// Counts a revocation by a user, at this process; refuses one too many.
    pub(super) fn user_revokes(
        &self,
        tenant: &TenantName,
        user: &Subject,
        now: Monotonic,
    ) -> Result<(), AuthorityError> {
        self.users.count((tenant.clone(), user.clone()), now).map_err(|over| match over {
            Over::Quota => AuthorityError::TooOften,
            Over::Room => AuthorityError::Busy,
        })
    }

    /// Drops the proofs that could no longer be replayed.
    pub(super) fn forget(&self, now: Timestamp) {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until >= now);
    }

    /// An operator secret was wrong.
    pub(super) fn failed(&self, now: Monotonic) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures = match *failures {
            Some((since, count)) if now.since(since) < FAILURE_WINDOW => Some((since, count.saturating_add(1))),
            _ => Some((now, 1)),
        };
    }

    /// Whether so many were wrong lately that none is looked at.
    pub(super) fn too_many_failures(&self, now: Monotonic) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.is_some_and(|(since, count)| count >= FAILURES_MAX && now.since(since) < FAILURE_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_counts_once_as_long_as_it_could_be_replayed() {
        let seen = Seen::default();
        let proof = Proof { id: ProofId([1; 16]), replayable_until: Timestamp::from_secs(10) };
        assert!(seen.use_once(proof, Timestamp::from_secs(0)).is_ok());
        assert!(matches!(seen.use_once(proof, Timestamp::from_secs(10)), Err(AuthorityError::Replayed)));
        seen.forget(Timestamp::from_secs(11));
        assert!(seen.use_once(proof, Timestamp::from_secs(11)).is_ok());
    }

    #[test]
    fn each_is_counted_for_a_window_and_apart_from_others() {
        let (quota, at) = (Quota::new(2, Duration::from_secs(60)), |s| Monotonic::from_origin(Duration::from_secs(s)));
        assert_eq!([quota.count("a", at(0)), quota.count("a", at(59))], [Ok(()), Ok(())]);
        assert_eq!(quota.count("a", at(59)), Err(Over::Quota));
        assert_eq!([quota.count("b", at(59)), quota.count("a", at(60))], [Ok(()), Ok(())]);
    }

    #[test]
    fn wrong_secrets_are_limited_and_the_limit_passes() {
        let (seen, at) = (Seen::default(), |ms| Monotonic::from_origin(Duration::from_millis(ms)));
        for _ in 0..FAILURES_MAX {
            assert!(!seen.too_many_failures(at(0)));
            seen.failed(at(0));
        }
        assert!(seen.too_many_failures(at(999)));
        assert!(!seen.too_many_failures(at(1000)));
    }
}
