//! Chains that were verified in full, by the digest of their text: the same token is verified once.
//!
//! Holds no opinion about now: time, possession and revocation are looked at on every request.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::audit::event::{Told, Who};
use crate::token::{Chain, Limits, RootKeys, ShownToken, TokenDigest, TokenError, verify};

/// A bounded memory of verified chains. What was not asked for lately makes room.
#[derive(Debug)]
pub(super) struct Chains {
    parts: Box<[RwLock<Part>]>,
    /// Each part keeps up to two generations of this size.
    generation_max: usize,
    hasher: RandomState,
    limits: Limits,
}

/// A verified chain, and what every record of its requests says of it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) chain: Arc<Chain>,
    told: OnceLock<Told>,
}

const PARTS: usize = 16;

#[derive(Debug, Default)]
struct Part {
    young: HashMap<TokenDigest, Arc<Known>>,
    old: HashMap<TokenDigest, Arc<Known>>,
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

    /// The chain of `shown`: remembered, or verified now and then remembered. A token that does not verify is not remembered.
    pub(super) fn verified(&self, shown: &ShownToken, keys: &RootKeys) -> Result<Arc<Known>, TokenError> {
        let digest = shown.digest();
        if let Some(known) = self.known(digest) {
            return Ok(known);
        }
        let chain = verify(&shown.clone().read()?, keys, &self.limits)?;
        let known = Arc::new(Known { chain: Arc::new(chain), told: OnceLock::new() });
        self.remember(digest, known.clone());
        Ok(known)
    }

    fn known(&self, digest: TokenDigest) -> Option<Arc<Known>> {
        let part = self.part(digest);
        let known = {
            let part = part.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = part.young.get(&digest) {
                return Some(known.clone());
            }
            part.old.get(&digest)?.clone()
        };
        self.remember(digest, known.clone());
        Some(known)
    }

    fn remember(&self, digest: TokenDigest, known: Arc<Known>) {
        let mut part = self.part(digest).write().unwrap_or_else(PoisonError::into_inner);
        if part.young.len() >= self.generation_max {
            part.old = std::mem::take(&mut part.young);
        }
        part.young.insert(digest, known);
    }

    fn part(&self, digest: TokenDigest) -> &RwLock<Part> {
        &self.parts[usize::try_from(self.hasher.hash_one(digest) % PARTS as u64).unwrap_or(0)]
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
