//! What this process remembers of its callers: the proofs that edges used, and the operator secrets that were wrong.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::authority::AuthorityError;
use crate::clock::{Monotonic, Timestamp};
use crate::id::{AgentName, Subject, TenantName};
use crate::token::proof::{Proof, ProofId};

/// The most proofs that are remembered at one time.
const PROOFS_MAX: usize = 262_144;
/// The most wrong operator secrets within one [`FAILURE_WINDOW`].
const FAILURES_MAX: u32 = 100;
const FAILURE_WINDOW: Duration = Duration::from_secs(1);
/// The most revocations of one user within one [`USER_WINDOW`]: each of them stays in the log for a day.
const USER_REVOCATIONS_MAX: u32 = 20;
const USER_WINDOW: Duration = Duration::from_secs(60);
/// How often it is written down which agents were seen.
const NOTE_EVERY: Duration = Duration::from_secs(60);
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

/// How often somebody lately showed a secret that nobody has.
#[derive(Default)]
pub(super) struct Failures(Mutex<Option<(Monotonic, u32)>>);

impl Failures {
    /// One more was wrong.
    pub(super) fn add(&self, now: Monotonic) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *failures = match *failures {
            Some((since, count)) if now.since(since) < FAILURE_WINDOW => Some((since, count.saturating_add(1))),
            _ => Some((now, 1)),
        };
    }

    /// Whether so many were wrong that none is looked at.
    pub(super) fn too_many(&self, now: Monotonic) -> bool {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.is_some_and(|(since, count)| count >= FAILURES_MAX && now.since(since) < FAILURE_WINDOW)
    }
}

/// Proofs of edges within their window, and failed logins.
///
/// Of one process: a proof can be replayed at another replica. That is harmless, because the messages are idempotent and the
/// answer's signature is over the proof's id, so an edge takes it for no other message.
pub(super) struct Seen {
    proofs: Mutex<HashMap<ProofId, Timestamp>>,
    /// Operators whose secret was wrong.
    pub(super) operators: Failures,
    /// Clients that provision whose secret was wrong.
    pub(super) provisioners: Failures,
    /// Agents whose enrolment code was wrong.
    pub(super) codes: Failures,
    users: Quota<(TenantName, Subject)>,
    agents: Mutex<AgentsSeen>,
}

/// When agents were seen here: those of this minute, which are to be written down, and when that was done last.
#[derive(Default)]
struct AgentsSeen {
    lately: HashMap<(TenantName, AgentName), Timestamp>,
    noted: Option<Monotonic>,
}

impl Default for Seen {
    fn default() -> Self {
        let users = Quota::new(USER_REVOCATIONS_MAX, USER_WINDOW);
        Self {
            proofs: Mutex::default(),
            operators: Failures::default(),
            provisioners: Failures::default(),
            codes: Failures::default(),
            users,
            agents: Mutex::default(),
        }
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

    /// An agent proved who it is.
    pub(super) fn agent(&self, tenant: &TenantName, agent: &AgentName, now: Timestamp) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), agent.clone());
        // Of more within a minute, some are not noted: nothing depends on it.
        if agents.lately.len() < COUNTED_MAX || agents.lately.contains_key(&key) {
            agents.lately.insert(key, now);
        }
    }

    /// When an agent was seen here, if that is not written down yet.
    pub(super) fn agent_seen(&self, tenant: &TenantName, agent: &AgentName) -> Option<Timestamp> {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.lately.get(&(tenant.clone(), agent.clone())).copied()
    }

    /// The agents to be noted, once a minute.
    pub(super) fn agents_to_note(&self, now: Monotonic) -> Vec<(TenantName, AgentName, Timestamp)> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.noted.is_some_and(|noted| now.since(noted) < NOTE_EVERY) {
            return Vec::new();
        }
        agents.noted = Some(now);
        agents.lately.drain().map(|((tenant, agent), at)| (tenant, agent, at)).collect()
    }

    /// Drops the proofs that could no longer be replayed.
    pub(super) fn forget(&self, now: Timestamp) {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until >= now);
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
    fn agents_are_noted_once_a_minute_by_the_latest_moment() {
        let (seen, at) = (Seen::default(), |s| Monotonic::from_origin(Duration::from_secs(s)));
        let (tenant, agent): (TenantName, AgentName) = ("acme".parse().unwrap(), "planner".parse().unwrap());
        seen.agent(&tenant, &agent, Timestamp::from_secs(1));
        seen.agent(&tenant, &agent, Timestamp::from_secs(2));
        assert_eq!(seen.agent_seen(&tenant, &agent), Some(Timestamp::from_secs(2)));
        assert_eq!(seen.agents_to_note(at(0)), [(tenant.clone(), agent.clone(), Timestamp::from_secs(2))]);
        seen.agent(&tenant, &agent, Timestamp::from_secs(3));
        assert_eq!(seen.agents_to_note(at(59)), []);
        assert_eq!(seen.agents_to_note(at(60)).len(), 1);
        assert_eq!(seen.agents_to_note(at(120)), []);
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
        let (failures, at) = (Failures::default(), |ms| Monotonic::from_origin(Duration::from_millis(ms)));
        for _ in 0..FAILURES_MAX {
            assert!(!failures.too_many(at(0)));
            failures.add(at(0));
        }
        assert!(failures.too_many(at(999)));
        assert!(!failures.too_many(at(1000)));
    }
}
