//! Everything that is revoked, as far as the log is known, and the step from a held token to a live one.

use std::collections::HashMap;

use crate::clock::{Monotonic, Timestamp};
use crate::id::BlockId;
use crate::key::PublicKey;
use crate::revocation::entry::{Entry, Target};
use crate::revocation::lease::Lease;
use crate::revocation::loan::Use;
use crate::token::{Chain, HeldToken, TokenError};

/// Every entry of the log up to `seq` that still matters. A lookup does not depend on how many there are.
// The standard hasher is keyed: ids are chosen by holders, who must not be able to make them collide.
#[derive(Debug, Default)]
pub struct RevocationSet {
    seq: u64,
    blocks: HashMap<BlockId, Timestamp>,
    holders: HashMap<PublicKey, Timestamp>,
    /// Targets that kill what was minted before the entry: the latest entry wins.
    epochs: HashMap<Target, Epoch>,
}

#[derive(Debug)]
struct Epoch {
    seq: u64,
    forget_after: Timestamp,
}

/// A held token, no part of which is revoked as of `seq`, seen under a valid lease. Only [`RevocationSet::admit`] makes one.
#[derive(Debug)]
pub struct LiveToken {
    held: HeldToken,
    seq: u64,
}

impl LiveToken {
    /// The token and its proof.
    pub const fn held(&self) -> &HeldToken {
        &self.held
    }

    /// The chain.
    pub fn chain(&self) -> &Chain {
        self.held.token().chain()
    }

    /// How much of the revocation log was known when it was admitted.
    pub const fn seq(&self) -> u64 {
        self.seq
    }
}

/// Why a token is not live.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLive {
    /// Nobody can say now what is revoked. A 503, and never an answer about the token.
    #[error("the revocation feed is not fresh: try again once the edge has reached its authority")]
    NoLease,
    /// This machine's clock and the authority's differ so much that no expiry can be judged. A 503, as above.
    #[error("the edge's clock differs from its authority's: set it right (NTP), then try again")]
    ClockSkew,
    /// Its time, or that of its root key, has ended since it was verified.
    #[error("no longer valid: {0}")]
    NotCurrent(TokenError),
    /// Something in the chain is revoked.
    #[error("revoked: {0}")]
    Revoked(Box<Target>),
}

/// A delta that does not continue what is known: entries are missing, repeated or out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the feed does not continue at {known}: got entry {got}")]
pub struct OutOfSequence {
    /// The last entry that is known.
    pub known: u64,
    /// The entry that came.
    pub got: u64,
}

impl RevocationSet {
    /// The set of a snapshot: the entries that still matter of a log whose head is `seq`.
    pub fn from_snapshot(seq: u64, entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut set = Self::default();
        for entry in entries {
            set.insert(entry.target, entry.seq, entry.forget_after);
        }
        set.seq = seq;
        set
    }

    /// Adds the next entry of the log.
    pub fn apply(&mut self, entry: Entry) -> Result<(), OutOfSequence> {
        if self.seq.checked_add(1) != Some(entry.seq) {
            return Err(OutOfSequence { known: self.seq, got: entry.seq });
        }
        self.seq = entry.seq;
        self.insert(entry.target, entry.seq, entry.forget_after);
        Ok(())
    }

    /// Keeps what `older` revokes, too: a snapshot of an authority that lost a part of its log revives nothing.
    pub fn keep(&mut self, older: Self) {
        for (id, forget_after) in older.blocks {
            self.insert(Target::Block(id), 0, forget_after);
        }
        for (key, forget_after) in older.holders {
            self.insert(Target::Holder(key), 0, forget_after);
        }
        for (target, epoch) in older.epochs {
            self.insert(target, epoch.seq, epoch.forget_after);
        }
    }

    /// How much of the log is known.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// How many entries are held.
    pub fn len(&self) -> usize {
        self.blocks.len() + self.holders.len() + self.epochs.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the entries that can no longer affect anything.
    pub fn forget(&mut self, now: Timestamp) {
        self.blocks.retain(|_, forget_after| *forget_after >= now);
        self.holders.retain(|_, forget_after| *forget_after >= now);
        self.epochs.retain(|_, epoch| epoch.forget_after >= now);
    }

    /// From a held token to a live one.
    pub fn admit(&self, held: HeldToken, lease: &Lease, now: Monotonic) -> Result<LiveToken, NotLive> {
        self.check(held.token().chain(), lease, now)?;
        Ok(LiveToken { held, seq: self.seq })
    }

    /// Whether a chain is still live.
    pub fn check(&self, chain: &Chain, lease: &Lease, now: Monotonic) -> Result<(), NotLive> {
        if !lease.holds(now) {
            return Err(NotLive::NoLease);
        }
        match self.revokes(chain) {
            Some(target) => Err(NotLive::Revoked(Box::new(target))),
            None => Ok(()),
        }
    }

    /// Whether a service and its credential may still be used by a chain: asked directly before the credential is used.
    pub fn check_use(&self, used: Use<'_>, lease: &Lease, now: Monotonic) -> Result<(), NotLive> {
        self.check(used.chain, lease, now)?;
        match self.revokes_beyond_chain(used) {
            Some(target) => Err(NotLive::Revoked(Box::new(target))),
            None => Ok(()),
        }
    }

    /// What of a use is revoked, if anything: its chain, its service, its credential. Asked of every open request.
    pub fn revokes_use(&self, used: Use<'_>) -> Option<Target> {
        self.revokes(used.chain).or_else(|| self.revokes_beyond_chain(used))
    }

    fn revokes_beyond_chain(&self, used: Use<'_>) -> Option<Target> {
        if self.epochs.is_empty() {
            return None;
        }
        let authority = used.chain.authority();
        let service = Target::Service(authority.tenant.clone(), used.service.clone());
        if self.kills(&service, authority.epoch) {
            return Some(service);
        }
        let loan = used.loan?;
        let credential = Target::Credential(authority.tenant.clone(), loan.credential.clone());
        self.kills(&credential, loan.epoch).then_some(credential)
    }

    fn kills(&self, target: &Target, epoch: u64) -> bool {
        self.epochs.get(target).is_some_and(|entry| entry.seq > epoch)
    }

    /// What of `chain` is revoked, if anything. Says nothing about a service or a credential: see [`Self::revokes_use`].
    pub fn revokes(&self, chain: &Chain) -> Option<Target> {
        // Every block and every holder, not only the last: revoking a parent kills what was derived from it.
        if let Some(id) = chain.block_ids().find(|id| self.blocks.contains_key(id)) {
            return Some(Target::Block(id));
        }
        if let Some(key) = chain.holders().find(|key| self.holders.contains_key(key)) {
            return Some(Target::Holder(key));
        }
        if self.epochs.is_empty() {
            return None;
        }
        let authority = chain.authority();
        let tenant = &authority.tenant;
        let subject = authority.subject.iter().map(|subject| Target::Subject(tenant.clone(), subject.clone()));
        let session = authority.session.iter().map(|session| Target::Session(tenant.clone(), session.clone()));
        let acting = authority
            .subject
            .iter()
            .map(|subject| Target::Acting(tenant.clone(), authority.agent.clone(), subject.clone()));
        [Target::Everything, Target::Tenant(tenant.clone()), Target::Agent(tenant.clone(), authority.agent.clone())]
            .into_iter()
            .chain(subject)
            .chain(session)
            .chain(acting)
            .chain(authority.grants.iter().map(|id| Target::Grant(*id)))
            .find(|target| self.kills(target, authority.epoch))
    }

    fn insert(&mut self, target: Target, seq: u64, forget_after: Timestamp) {
        match target {
            Target::Block(id) => {
                let known = self.blocks.entry(id).or_insert(forget_after);
                *known = forget_after.max(*known);
            }
            Target::Holder(key) => {
                let known = self.holders.entry(key).or_insert(forget_after);
                *known = forget_after.max(*known);
            }
            Target::Subject(..)
            | Target::Session(..)
            | Target::Agent(..)
            | Target::Acting(..)
            | Target::Grant(_)
            | Target::Service(..)
            | Target::Credential(..)
            | Target::Tenant(_)
            | Target::Everything => {
                let known = self.epochs.entry(target).or_insert(Epoch { seq, forget_after });
                known.seq = seq.max(known.seq);
                known.forget_after = forget_after.max(known.forget_after);
            }
        }
    }
}
