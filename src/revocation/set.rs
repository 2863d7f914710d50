//! Everything that is revoked, as far as the log is known, and the step from a held token to a live one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Monotonic, Timestamp};
use crate::id::GrantId;
use crate::revocation::entry::{Entry, Target};
use crate::revocation::lease::Lease;
use crate::revocation::loan::Use;
use crate::revocation::shards::{Kind, Name, Shards};
use crate::revocation::statement::{DeadBlock, ForgetAfter, OutOfSequence, Statement};
use crate::token::{Chain, HeldToken, TokenError};

/// Every entry of the log up to `seq` that still matters. A lookup does not depend on how many there are.
#[derive(Debug)]
pub struct RevocationSet {
    seq: u64,
    shards: Shards,
    /// Names what this set holds now, among all sets of this process: another one with every entry that is added.
    state: u64,
}

/// The states of all sets: no two ever share one, and 0 is none.
static STATES: AtomicU64 = AtomicU64::new(1);

fn new_state() -> u64 {
    STATES.fetch_add(1, Ordering::Relaxed)
}

/// How many tables a set for a whole log has. At ten million entries each is 90 kB: to grow or look through one takes a
/// fraction of a millisecond.
const SHARDS: usize = 4096;

/// For a few entries: the smallest set there is.
impl Default for RevocationSet {
    fn default() -> Self {
        Self::with_shards(1)
    }
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

impl RevocationSet {
    /// A set that is to hold a whole log, of ten million entries or more.
    pub fn for_log() -> Self {
        Self::with_shards(SHARDS)
    }

    fn with_shards(count: usize) -> Self {
        Self { seq: 0, shards: Shards::new(count), state: new_state() }
    }

    /// The set of one statement.
    pub fn of(statement: &Statement) -> Self {
        let mut set = Self::default();
        set.add_blocks(&statement.blocks);
        set.add_entries(&statement.entries);
        set.reach(statement.upto);
        set
    }

    /// Takes in what continues the log. Anything else changes nothing.
    pub fn apply(&mut self, statement: &Statement) -> Result<(), OutOfSequence> {
        statement.continues(self.seq)?;
        self.add_blocks(&statement.blocks);
        self.add_entries(&statement.entries);
        self.reach(statement.upto);
        Ok(())
    }

    /// Adds blocks. They count from now on, whatever else of their statement is still to come.
    pub fn add_blocks(&mut self, blocks: &[DeadBlock]) {
        for block in blocks {
            self.shards.add_block(*block);
        }
        self.state = new_state();
    }

    /// Adds entries. They count from now on, whatever else of their statement is still to come.
    pub fn add_entries(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.add(entry);
        }
        self.state = new_state();
    }

    /// Says that the log is known up to `seq`: once all of a statement was added, or 0 when it must be read anew. What was
    /// added stays: an authority that lost a part of its log revives nothing.
    pub const fn reach(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// How much of the log is known.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// How many entries are held.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the entries that can no longer affect anything.
    pub fn forget(&mut self, now: Timestamp) {
        self.shards.forget(now, self.shards.count());
    }

    /// The same for the next part of the set, so small that nobody waits for it. Called often, it comes round to all.
    pub fn forget_some(&mut self, now: Timestamp) {
        self.shards.forget(now, FORGET_AT_ONCE);
    }

    /// From a held token to a live one.
    pub fn admit(&self, held: HeldToken, lease: &Lease, now: Monotonic) -> Result<LiveToken, NotLive> {
        self.check(held.token().chain(), lease, now)?;
        Ok(LiveToken { held, seq: self.seq })
    }

    /// Whether a chain is still live. As long as nothing was added since it was last asked, this is one comparison.
    pub fn check(&self, chain: &Chain, lease: &Lease, now: Monotonic) -> Result<(), NotLive> {
        if !lease.holds(now) {
            return Err(NotLive::NoLease);
        }
        // A state is of one set and ends with the next entry: the note of another one counts for nothing.
        if chain.live_mark().is(self.state) {
            return Ok(());
        }
        match self.revokes(chain) {
            Some(target) => Err(NotLive::Revoked(Box::new(target))),
            None => {
                chain.live_mark().set(self.state);
                Ok(())
            }
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

    /// What of `chain` is revoked, if anything. Says nothing about a service or a credential: see [`Self::revokes_use`].
    pub fn revokes(&self, chain: &Chain) -> Option<Target> {
        // Every block and every holder, not only the last: revoking a parent kills what was derived from it.
        if let Some(id) = chain.block_ids().find(|id| self.shards.has_block(id)) {
            return Some(Target::Block(id));
        }
        if let Some(key) = chain.holders().find(|key| self.seq_of(Kind::Holder, [b"", key.as_bytes(), b""]).is_some()) {
            return Some(Target::Holder(key));
        }
        let authority = chain.authority();
        let tenant = &authority.tenant;
        let agent = &authority.agent;
        let kills = |kind, parts: [&str; 3]| {
            self.seq_of(kind, parts.map(str::as_bytes)).is_some_and(|seq| seq > authority.epoch)
        };
        if kills(Kind::Everything, [""; 3]) {
            return Some(Target::Everything);
        }
        if kills(Kind::Tenant, [tenant.as_str(), "", ""]) {
            return Some(Target::Tenant(tenant.clone()));
        }
        if kills(Kind::Agent, [tenant.as_str(), agent.as_str(), ""]) {
            return Some(Target::Agent(tenant.clone(), agent.clone()));
        }
        if let Some(subject) = &authority.subject {
            if kills(Kind::Subject, [tenant.as_str(), subject.as_str(), ""]) {
                return Some(Target::Subject(tenant.clone(), subject.clone()));
            }
            if kills(Kind::Acting, [tenant.as_str(), agent.as_str(), subject.as_str()]) {
                return Some(Target::Acting(tenant.clone(), agent.clone(), subject.clone()));
            }
        }
        if let Some(session) = &authority.session
            && kills(Kind::Session, [tenant.as_str(), session.as_str(), ""])
        {
            return Some(Target::Session(tenant.clone(), session.clone()));
        }
        let killed = |id: &&GrantId| {
            self.seq_of(Kind::Grant, [b"", id.as_bytes(), b""]).is_some_and(|seq| seq > authority.epoch)
        };
        authority.grants.iter().find(killed).map(|id| Target::Grant(*id))
    }

    fn revokes_beyond_chain(&self, used: Use<'_>) -> Option<Target> {
        let authority = used.chain.authority();
        let tenant = &authority.tenant;
        let seq_of = |kind, name: &str| self.seq_of(kind, [tenant.as_str(), name, ""].map(str::as_bytes));
        if seq_of(Kind::Service, used.service.as_str()).is_some_and(|seq| seq > authority.epoch) {
            return Some(Target::Service(tenant.clone(), used.service.clone()));
        }
        let loan = used.loan?;
        let seq = seq_of(Kind::Credential, loan.credential.as_str())?;
        (seq > loan.epoch).then(|| Target::Credential(tenant.clone(), loan.credential.clone()))
    }

    fn seq_of(&self, kind: Kind, parts: [&[u8]; 3]) -> Option<u64> {
        self.shards.seq_of(Name(kind, parts))
    }

    fn add(&mut self, entry: &Entry) {
        let (seq, forget_after) = (entry.seq, ForgetAfter::from(entry.forget_after));
        let mut add = |kind, parts: [&str; 3]| {
            self.shards.add_name(Name(kind, parts.map(str::as_bytes)), seq, forget_after);
        };
        match &entry.target {
            Target::Subject(tenant, name) => add(Kind::Subject, [tenant.as_str(), name.as_str(), ""]),
            Target::Session(tenant, name) => add(Kind::Session, [tenant.as_str(), name.as_str(), ""]),
            Target::Agent(tenant, name) => add(Kind::Agent, [tenant.as_str(), name.as_str(), ""]),
            Target::Acting(tenant, agent, name) => add(Kind::Acting, [tenant.as_str(), agent.as_str(), name.as_str()]),
            Target::Service(tenant, name) => add(Kind::Service, [tenant.as_str(), name.as_str(), ""]),
            Target::Credential(tenant, name) => add(Kind::Credential, [tenant.as_str(), name.as_str(), ""]),
            Target::Tenant(tenant) => add(Kind::Tenant, [tenant.as_str(), "", ""]),
            Target::Everything => add(Kind::Everything, [""; 3]),
            Target::Block(id) => self.shards.add_block(DeadBlock { id: *id, forget_after }),
            Target::Holder(key) => {
                self.shards.add_name(Name(Kind::Holder, [b"", key.as_bytes(), b""]), seq, forget_after);
            }
            Target::Grant(id) => {
                self.shards.add_name(Name(Kind::Grant, [b"", id.as_bytes(), b""]), seq, forget_after);
            }
        }
    }
}

/// How many tables are looked through at once.
const FORGET_AT_ONCE: usize = 16;
