//! Which proofs were used. Each counts once for as long as it is in time; a full memory refuses rather than forgets.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::clock::Timestamp;
use crate::token::proof::{Proof, ProofId};

/// Why a proof is not accepted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unclaimable {
    /// It was used before.
    #[error("the proof was used before: make a new one, with its own `jti`, for every request")]
    Used,
    /// Too many proofs are in time at once. Forgetting one would let it be used again.
    #[error("the edge remembers as many proofs as it can: try again in a few seconds")]
    Full,
}

/// The proofs that were used and could be used again, in parts that do not wait for each other.
#[derive(Debug)]
pub(super) struct UsedProofs {
    parts: Box<[Mutex<Part>]>,
    part_max: usize,
    // Keyed: a holder who could choose the part could fill it alone.
    hasher: RandomState,
}

const PARTS: usize = 16;

#[derive(Debug, Default)]
struct Part {
    until: HashMap<ProofId, Timestamp>,
    /// The same, by the second in which they end.
    ending: BTreeMap<i64, Vec<ProofId>>,
}

impl UsedProofs {
    /// Room for about `max` proofs.
    pub(super) fn new(max: usize) -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { parts, part_max: max.div_ceil(PARTS).max(1), hasher: RandomState::new() }
    }

    /// Uses up a proof: of any number of callers with the same one, exactly one succeeds.
    pub(super) fn claim(&self, proof: Proof, now: Timestamp) -> Result<(), Unclaimable> {
        let mut part = self.part(&proof.id);
        part.forget(now);
        if part.until.contains_key(&proof.id) {
            return Err(Unclaimable::Used);
        }
        if part.until.len() >= self.part_max {
            return Err(Unclaimable::Full);
        }
        part.remember(proof);
        Ok(())
    }

    /// Remembers a proof that was used before the edge was started, whatever the room.
    pub(super) fn restore(&self, proof: Proof) {
        self.part(&proof.id).remember(proof);
    }

    fn part(&self, id: &ProofId) -> std::sync::MutexGuard<'_, Part> {
        let at = usize::try_from(self.hasher.hash_one(id) % PARTS as u64).unwrap_or(0);
        // A part is whole at every step: nothing below a lock can stop half way.
        self.parts[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    fn remember(&mut self, proof: Proof) {
        let until = self.until.entry(proof.id).or_insert(proof.replayable_until);
        *until = proof.replayable_until.max(*until);
        self.ending.entry(proof.replayable_until.secs()).or_default().push(proof.id);
    }

    fn forget(&mut self, now: Timestamp) {
        // Whole seconds that are over: the one that is running may hold proofs that are still in time.
        while let Some(second) = self.ending.first_entry().filter(|second| *second.key() < now.secs()) {
            for id in second.remove() {
                if self.until.get(&id).is_some_and(|until| until.secs() < now.secs()) {
                    self.until.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(id: u64, until_s: i64) -> Proof {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&id.to_le_bytes());
        Proof { id: ProofId(bytes), replayable_until: Timestamp::from_secs(until_s) }
    }

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_proof_is_used_once_while_it_is_in_time() {
        let used = UsedProofs::new(1000);
        assert_eq!(used.claim(proof(1, 30), at(0)), Ok(()));
        for now in [0, 10, 30] {
            assert_eq!(used.claim(proof(1, 30), at(now)), Err(Unclaimable::Used), "{now}");
        }
        assert_eq!(used.claim(proof(2, 30), at(0)), Ok(()));
    }

    #[test]
    fn a_full_memory_refuses_and_forgets_nothing_that_is_in_time() {
        let used = UsedProofs::new(PARTS * 4);
        let claimed: Vec<u64> = (0..1000).filter(|id| used.claim(proof(*id, 30), at(0)).is_ok()).collect();
        assert_eq!(claimed.len(), PARTS * 4);
        assert!((1000..1100).all(|id| used.claim(proof(id, 30), at(1)) == Err(Unclaimable::Full)));
        assert!(claimed.iter().all(|id| used.claim(proof(*id, 30), at(30)) == Err(Unclaimable::Used)));
        assert_eq!(used.claim(proof(2000, 60), at(31)), Ok(()));
    }

    #[test]
    fn memory_is_given_back_once_proofs_are_out_of_time() {
        let used = UsedProofs::new(1_000_000);
        (0..1000).for_each(|id| used.claim(proof(id, 30), at(0)).unwrap());
        (1000..2000).for_each(|id| used.claim(proof(id, 90), at(60)).unwrap());
        let kept: usize = used.parts.iter().map(|part| part.lock().unwrap().until.len()).sum();
        assert_eq!(kept, 1000);
        let listed: usize = used.parts.iter().map(|part| part.lock().unwrap().ending.len()).sum();
        assert!(listed <= PARTS);
    }

    #[test]
    fn a_proof_from_before_a_restart_stays_used() {
        let used = UsedProofs::new(16);
        used.restore(proof(1, 30));
        assert_eq!(used.claim(proof(1, 30), at(5)), Err(Unclaimable::Used));
    }

    #[test]
    fn of_many_at_once_one_succeeds() {
        let used = UsedProofs::new(1000);
        let wins = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for id in 0..100 {
                        if used.claim(proof(id, 30), at(0)).is_ok() {
                            wins.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(wins.into_inner(), 100);
    }
}
