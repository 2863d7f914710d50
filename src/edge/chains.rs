//! Chains that were verified in full, by the digest of their text: the same token is verified once. And their prefixes: a
//! token that goes on from blocks that were verified pays for its own.
//!
//! Holds no opinion about now: time, possession and revocation are looked at on every request.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::audit::event::{Told, Who};
use crate::token::prefix::{Prefix, PrefixDigest, verify_after};
use crate::token::{Chain, Limits, RootKeys, ShownToken, TokenDigest, TokenError};

/// A bounded memory of verified chains.
#[derive(Debug)]
pub(super) struct Chains {
    known: Memory<TokenDigest, Known>,
    prefixes: Memory<PrefixDigest, Prefix>,
    limits: Limits,
}

/// A verified chain, and what every record of its requests says of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) chain: Arc<Chain>,
    told: OnceLock<Told>,
}

impl Chains {
    /// Room for about `max` chains of tokens of up to a kB within `limits`, for fewer of longer ones, and for half as many prefixes.
    pub(super) fn new(max: usize, limits: Limits) -> Self {
        Self { known: Memory::new(max), prefixes: Memory::new(max / 2), limits }
    }

    /// What a token's text may cost.
    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The chain of `shown`: remembered, or verified now and then remembered. Of a token that does not verify nothing is remembered.
    pub(super) fn verified(&self, shown: &ShownToken, keys: &RootKeys) -> Result<Arc<Known>, TokenError> {
        let digest = shown.digest();
        if let Some(known) = self.known.recall(digest) {
            return Ok(known);
        }
        let raw = shown.clone().read()?;
        let verified = verify_after(&raw, keys, &self.limits, |digest| self.prefixes.recall(*digest))?;
        // What a chain holds in memory grows with its token, which a holder may make as long as the limit.
        let weight = raw.text().len().div_ceil(1024);
        for (digest, prefix) in verified.prefixes {
            self.prefixes.remember(digest, Kept { value: Arc::new(prefix), weight });
        }
        let known = Arc::new(Known { chain: verified.chain, told: OnceLock::new() });
        self.known.remember(digest, Kept { value: known.clone(), weight });
        Ok(known)
    }
}

/// What was not asked for lately makes room.
#[derive(Debug)]
struct Memory<K, V> {
    parts: Box<[RwLock<Part<K, V>>]>,
    /// Each part keeps up to two generations of this weight.
    generation_max: usize,
    hasher: RandomState,
}

const PARTS: usize = 16;

#[derive(Debug)]
struct Part<K, V> {
    young: HashMap<K, Kept<V>>,
    young_weight: usize,
    old: HashMap<K, Kept<V>>,
}

#[derive(Debug)]
struct Kept<V> {
    value: Arc<V>,
    weight: usize,
}

impl<V> Clone for Kept<V> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), weight: self.weight }
    }
}

impl<K: Copy + Eq + Hash, V> Memory<K, V> {
    fn new(max: usize) -> Self {
        let part = |_| RwLock::new(Part { young: HashMap::new(), young_weight: 0, old: HashMap::new() });
        let generation_max = (max / (2 * PARTS)).max(1);
        Self { parts: (0..PARTS).map(part).collect(), generation_max, hasher: RandomState::new() }
    }

    fn recall(&self, key: K) -> Option<Arc<V>> {
        let part = self.part(key);
        let kept = {
            let part = part.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(kept) = part.young.get(&key) {
                return Some(kept.value.clone());
            }
            part.old.get(&key)?.clone()
        };
        let value = kept.value.clone();
        self.remember(key, kept);
        Some(value)
    }

    fn remember(&self, key: K, kept: Kept<V>) {
        let mut part = self.part(key).write().unwrap_or_else(PoisonError::into_inner);
        if part.young_weight >= self.generation_max {
            part.old = std::mem::take(&mut part.young);
            part.young_weight = 0;
        }
        part.young_weight += kept.weight;
        if let Some(before) = part.young.insert(key, kept) {
            part.young_weight -= before.weight;
        }
    }

    fn part(&self, key: K) -> &RwLock<Part<K, V>> {
        &self.parts[usize::try_from(self.hasher.hash_one(key) % PARTS as u64).unwrap_or(0)]
    }
}

impl Known {
    /// Who stands behind its requests.
    pub(super) fn told(&self) -> Told {
        self.told.get_or_init(|| who(&self.chain).into()).clone()
    }
}

fn who(chain: &Chain) -> Who {
    let authority = chain.authority();
    Who {
        tenant: authority.tenant.clone(),
        subject: authority.subject.clone(),
        session: authority.session.clone(),
        agent: authority.agent.clone(),
        holders: chain.holders().collect(),
        called: chain.hops().iter().map(|hop| hop.agent.clone()).collect(),
        blocks: chain.block_ids().collect(),
        grants: authority.grants.clone(),
        token_sha256: hex::encode(chain.digest().0).into(),
        root_key_id: chain.root_key_id(),
        epoch: Some(authority.epoch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(value: u32, weight: usize) -> Kept<u32> {
        Kept { value: Arc::new(value), weight }
    }

    fn weight(memory: &Memory<u32, u32>) -> usize {
        let part = |part: &RwLock<Part<u32, u32>>| {
            let part = part.read().unwrap();
            part.young.values().chain(part.old.values()).map(|kept| kept.weight).sum::<usize>()
        };
        memory.parts.iter().map(part).sum()
    }

    #[test]
    fn what_is_asked_for_all_the_time_outlives_a_flood_and_the_flood_finds_no_room() {
        for each in [1, 8] {
            let memory = Memory::new(1024);
            memory.remember(u32::MAX, kept(7, 1));
            for flood in 0..100_000 {
                memory.remember(flood, kept(flood, each));
                if flood % (16 / u32::try_from(each).unwrap()) == 0 {
                    assert_eq!(memory.recall(u32::MAX).as_deref(), Some(&7), "{flood}");
                }
            }
            // A generation ends with the one that fills it.
            assert!(weight(&memory) <= 1024 + 2 * PARTS * each, "{}", weight(&memory));
            assert_eq!(memory.recall(0), None);
        }
    }
}
