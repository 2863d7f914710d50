//! Chains that were verified in full, by the digest of their text: the same token is verified once.
//!
//! Holds no opinion about now: time, possession and revocation are looked at on every request.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use crate::token::{Chain, Limits, RawToken, RootKeys, TokenDigest, TokenError, verify};

/// A bounded memory of verified chains. What was not asked for lately makes room.
#[derive(Debug)]
pub(super) struct Chains {
    parts: Box<[RwLock<Part>]>,
    /// Each part keeps up to two generations of this size.
    generation_max: usize,
    hasher: RandomState,
    limits: Limits,
}

const PARTS: usize = 16;

#[derive(Debug, Default)]
struct Part {
    young: HashMap<TokenDigest, Arc<Chain>>,
    old: HashMap<TokenDigest, Arc<Chain>>,
}

impl Chains {
    /// Room for about `max` chains of tokens within `limits`.
    pub(super) fn new(max: usize, limits: Limits) -> Self {
        let parts = (0..PARTS).map(|_| RwLock::default()).collect();
        Self { parts, generation_max: (max / (2 * PARTS)).max(1), hasher: RandomState::new(), limits }
    }

    /// What a token's text may cost.
    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The chain of `raw`: remembered, or verified now and then remembered. A token that does not verify is not remembered.
    pub(super) fn verified(&self, raw: &RawToken, keys: &RootKeys) -> Result<Arc<Chain>, TokenError> {
        let digest = raw.digest();
        if let Some(chain) = self.known(digest) {
            return Ok(chain);
        }
        let chain = Arc::new(verify(raw, keys, &self.limits)?);
        self.remember(digest, chain.clone());
        Ok(chain)
    }

    fn known(&self, digest: TokenDigest) -> Option<Arc<Chain>> {
        let part = self.part(digest);
        let chain = {
            let part = part.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(chain) = part.young.get(&digest) {
                return Some(chain.clone());
            }
            part.old.get(&digest)?.clone()
        };
        self.remember(digest, chain.clone());
        Some(chain)
    }

    fn remember(&self, digest: TokenDigest, chain: Arc<Chain>) {
        let mut part = self.part(digest).write().unwrap_or_else(PoisonError::into_inner);
        if part.young.len() >= self.generation_max {
            part.old = std::mem::take(&mut part.young);
        }
        part.young.insert(digest, chain);
    }

    fn part(&self, digest: TokenDigest) -> &RwLock<Part> {
        &self.parts[usize::try_from(self.hasher.hash_one(digest) % PARTS as u64).unwrap_or(0)]
    }
}
