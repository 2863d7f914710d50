//! What this edge knows: the revocation set, the lease on it, and the settings. The only place that holds them.
//!
//! Requests read, the follower writes. Nothing here waits, and each check reads the clock at the moment of use: a process
//! that was stopped for a while finds its lease ended, whatever it was doing.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::catalog::{Catalog, Listed};
use crate::clock::{Clock, Monotonic, Timestamp};
use crate::edge::lend::OnLoan;
use crate::edge::streams::{CutReason, StreamGuard, Streams};
use crate::id::TenantName;
use crate::policy::limit::Limits;
use crate::policy::permit::{Cleared, NotClear, Permit};
use crate::policy::rules::{Offered, RuleBook};
use crate::revocation::{Lease, LiveToken, NotLive, OutOfSequence, RevocationSet, Statement, Target};
use crate::token::verify::{Expected, current};
use crate::token::{Chain, HeldToken, RootKeys};
use crate::wire::{FeedReply, OfferedService, Settings};

/// What an edge knows of its authority's mind.
pub struct Knowledge {
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
    settings: ArcSwapOption<KnownSettings>,
    streams: Arc<Streams>,
}

#[derive(Debug)]
struct Known {
    /// Everything ever learnt is kept until it can be forgotten: an authority that forgets a revocation revives nothing.
    set: RevocationSet,
    /// Whether the log and the settings were told since the start, or since they were lost.
    told: bool,
    lease: Lease,
    clock: ClockCheck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClockCheck {
    Right,
    Skewed,
}

/// The settings, checked.
#[derive(Debug)]
pub struct KnownSettings {
    /// Grows with every change.
    pub version: u64,
    /// Whose writs are accepted, and as which deployment.
    pub expected: Expected,
    /// The root keys that are trusted.
    pub root_keys: RootKeys,
    /// The services of every tenant.
    pub catalog: Catalog,
    /// The policies of every tenant.
    pub rules: RuleBook,
    /// The limits of those that have some.
    limits: HashMap<TenantName, Limits>,
}

impl KnownSettings {
    /// A tenant's limits; `None` without any.
    pub fn limits(&self, tenant: &TenantName) -> Option<&Limits> {
        self.limits.get(tenant)
    }
}

/// A request whose credential may be used now, and the guard under which it then runs.
pub type UnderWay = (Cleared<Arc<OnLoan>>, StreamGuard);

/// An answer that does not continue what is known. The edge stops serving and asks for everything anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discontinuity {
    /// Entries are missing, repeated or out of order.
    #[error(transparent)]
    Sequence(#[from] OutOfSequence),
    /// The log is shorter than it was.
    #[error("the log's head went back from {known} to {head}")]
    Regression {
        /// What is known.
        known: u64,
        /// What the authority says.
        head: u64,
    },
    /// More is stated than there is.
    #[error("the log is stated up to {upto}, beyond its head {head}")]
    BeyondHead {
        /// Up to where it is stated.
        upto: u64,
        /// What the authority says.
        head: u64,
    },
    /// The settings' version went back, or they are for somebody else.
    #[error("the settings are not this edge's next: {0}")]
    Settings(&'static str),
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Something is revoked that was not.
    pub revocations: bool,
    /// A credential among it.
    pub credentials: bool,
    /// There are other settings.
    pub settings: bool,
}

impl Knowledge {
    /// An edge that knows nothing yet, and so admits nothing.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            known: RwLock::new(Known {
                set: RevocationSet::for_log(),
                told: false,
                lease: Lease::none(),
                clock: ClockCheck::Right,
            }),
            settings: ArcSwapOption::empty(),
            streams: Arc::default(),
        }
    }

    /// The settings; `None` before the first answer.
    pub fn settings(&self) -> Option<Arc<KnownSettings>> {
        self.settings.load_full()
    }

    /// The open requests.
    pub const fn streams(&self) -> &Arc<Streams> {
        &self.streams
    }

    /// From a held token to a live one: under a lease that holds now, and not revoked.
    pub fn admit(&self, held: HeldToken) -> Result<LiveToken, NotLive> {
        let known = self.read();
        known.usable()?;
        known.set.admit(held, &known.lease, self.clock.monotonic())
    }

    /// Whether a chain is still live. Only [`clear`](Self::clear) opens the way to a credential; this spares it the walk.
    pub fn check(&self, chain: &Chain) -> Result<(), NotLive> {
        let known = self.read();
        known.usable()?;
        known.set.check(chain, &known.lease, self.clock.monotonic())
    }

    /// The second check, directly before `credential` is used, and the guard under which the request then runs.
    ///
    /// The request is registered first and checked then: a revocation that comes in between finds it and cuts it, so
    /// that none is both unseen by the cut and unaware of the entry.
    pub fn clear(&self, permit: Permit, credential: Option<Arc<OnLoan>>) -> Result<UnderWay, (Permit, NotClear)> {
        let chain = permit.token().held().token().chain().clone();
        let guard = self.streams.open(&permit, credential.as_deref());
        if let Err(not_live) = self.still_current(&chain) {
            return Err((permit, not_live.into()));
        }
        let rules = self.settings().and_then(|settings| settings.rules.of(&chain.authority().tenant).ok());
        let Some(rules) = rules else { return Err((permit, NotClear::PolicyChanged)) };
        let known = self.read();
        if let Err(not_live) = known.usable() {
            return Err((permit, not_live.into()));
        }
        let cleared = permit.clear(credential, &known.set, &known.lease, &rules, self.clock.monotonic());
        cleared.map(|cleared| (cleared, guard))
    }

    /// By the settings of now, not those of when the request came.
    fn still_current(&self, chain: &Arc<Chain>) -> Result<(), NotLive> {
        let settings = self.settings().ok_or(NotLive::NoLease)?;
        let current = current(chain, &settings.root_keys, &settings.expected, self.clock.now());
        current.map(drop).map_err(NotLive::NotCurrent)
    }

    /// Whether the lease holds now. Asked again at every write to an upstream.
    pub fn lease_holds(&self) -> bool {
        let known = self.read();
        known.usable().is_ok() && known.lease.holds(self.clock.monotonic())
    }

    /// How long the lease still holds; zero without one.
    pub fn lease_left(&self) -> Duration {
        let known = self.read();
        match known.usable() {
            Ok(()) => known.lease.left(self.clock.monotonic()),
            Err(_) => Duration::ZERO,
        }
    }

    /// How much of the log is known without a gap: 0 at the start and after a loss.
    pub fn seq(&self) -> u64 {
        self.read().set.seq()
    }

    /// Whether log and settings are to be told anew: at the start and after a loss.
    pub fn is_lost(&self) -> bool {
        !self.read().told
    }

    /// How many revocations are held.
    pub fn revocations(&self) -> usize {
        self.read().set.len()
    }

    /// The version of the settings; `None` before the first answer.
    pub fn settings_version(&self) -> Option<u64> {
        self.settings.load().as_ref().map(|settings| settings.version)
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many entries are taken in before requests are looked at again: well below a millisecond's worth.
const TAKEN_AT_ONCE: usize = 256;

/// What the follower does. Nobody else writes.
impl Knowledge {
    /// Takes in what an answer says, and cuts what it kills. The lease is not renewed by this.
    pub(super) async fn learn(&self, reply: &FeedReply, expected: &Expected) -> Result<Learned, Discontinuity> {
        let settings = self.next_settings(reply.settings.as_ref(), expected)?;
        let stated = &reply.log;
        self.continues(stated, reply.head)?;
        self.take_in(stated).await;
        let learned = Learned {
            revocations: !stated.is_empty(),
            credentials: stated.entries.iter().any(|entry| matches!(entry.target, Target::Credential(..))),
            settings: settings.is_some(),
        };
        // Whatever opens from now on is checked against what was just taken in.
        if learned.revocations && !self.streams.is_empty() {
            // By what is new alone: what was known before has cut what it kills.
            self.streams.cut_revoked(&RevocationSet::of(stated));
        }
        if let Some(settings) = settings {
            let settings = Arc::new(settings);
            self.settings.store(Some(settings.clone()));
            self.cut_ended();
            // Whatever opens from now on is compared with these policies.
            self.streams.cut_forbidden(&settings.rules, self.clock.now()).await;
        }
        Ok(learned)
    }

    fn continues(&self, stated: &Statement, head: u64) -> Result<(), Discontinuity> {
        let known = self.seq();
        if head < known {
            return Err(Discontinuity::Regression { known, head });
        }
        stated.continues(known)?;
        if stated.upto > head {
            return Err(Discontinuity::BeyondHead { upto: stated.upto, head });
        }
        Ok(())
    }

    /// In small steps: requests are looked at in between.
    async fn take_in(&self, stated: &Statement) {
        for blocks in stated.blocks.chunks(TAKEN_AT_ONCE) {
            self.write().set.add_blocks(blocks);
            tokio::task::yield_now().await;
        }
        for entries in stated.entries.chunks(TAKEN_AT_ONCE) {
            self.write().set.add_entries(entries);
            tokio::task::yield_now().await;
        }
        let mut known = self.write();
        known.set.reach(stated.upto);
        known.told = true;
    }

    fn next_settings(
        &self,
        next: Option<&Settings>,
        expected: &Expected,
    ) -> Result<Option<KnownSettings>, Discontinuity> {
        let Some(next) = next else {
            return match self.settings_version() {
                Some(_) => Ok(None),
                None => Err(Discontinuity::Settings("none came")),
            };
        };
        if next.issuer != expected.issuer || next.audience != expected.audience {
            return Err(Discontinuity::Settings("they are for another issuer or audience"));
        }
        // After a loss the authority's word counts as it stands, also where it was restored from an older copy.
        let known = self.settings_version().filter(|_| !self.is_lost());
        if known.is_some_and(|known| next.version < known) {
            return Err(Discontinuity::Settings("their version went back"));
        }
        let listed =
            |offered: &OfferedService| Listed { tenant: offered.tenant.clone(), service: offered.service.clone() };
        let services = next.services.iter().map(listed);
        let policies = next.policies.iter().map(|offered| Offered {
            tenant: &offered.tenant,
            version: offered.version,
            outdates: offered.outdates,
            json: &offered.document,
        });
        // Reading a set takes milliseconds: once, not with each change of something else.
        let rules = match self.settings() {
            Some(known) => known.rules.next(policies),
            None => RuleBook::default().next(policies),
        };
        Ok(Some(KnownSettings {
            version: next.version,
            expected: expected.clone(),
            root_keys: next.root_keys.clone(),
            catalog: Catalog::new(services).map_err(|_| Discontinuity::Settings("two services have one name"))?,
            rules,
            limits: next.limits.iter().map(|known| (known.tenant.clone(), known.limits.clone())).collect(),
        }))
    }

    /// Renews the lease by an answer to a request sent at `sent`: only if everything up to `head` is known.
    ///
    /// Call it once what the answer killed is gone: a lease says that the edge acts on all it knows.
    pub(super) fn renew(&self, sent: Monotonic, length: Duration, head: u64) -> bool {
        let mut known = self.write();
        if !known.told || known.set.seq() < head || known.usable().is_err() {
            return false;
        }
        known.lease = known.lease.or_later(Lease::granted(sent, length));
        known.lease.holds(self.clock.monotonic())
    }

    /// Compares the authority's wall clock, somewhere within `round_trip` ago, with the own. Skewed, the edge has no lease.
    pub(super) fn check_clock(&self, authority: Timestamp, round_trip: Duration, skew_max: Duration) -> bool {
        let own = self.clock.now();
        let apart = own.since(authority).max(authority.since(own));
        let right = apart <= skew_max.saturating_add(round_trip);
        let mut known = self.write();
        known.clock = if right { ClockCheck::Right } else { ClockCheck::Skewed };
        if !right {
            known.lease = Lease::none();
            drop(known);
            self.streams.cut_all(&CutReason::LeaseEnded);
        }
        right
    }

    /// Stops serving until everything was told anew: what came did not continue what is known. What was revoked stays so.
    pub(super) fn lose(&self) {
        {
            let mut known = self.write();
            known.told = false;
            known.set.reach(0);
            known.lease = Lease::none();
        }
        self.streams.cut_all(&CutReason::LeaseEnded);
    }

    fn cut_ended(&self) {
        if let Some(settings) = self.settings() {
            self.streams.cut_ended(&settings.root_keys, &settings.expected, self.clock.now());
        }
    }

    /// Cuts the requests whose writ has ended, and all of them once the lease has.
    pub(super) fn sweep(&self) {
        if self.streams.is_empty() {
            return;
        }
        if self.lease_holds() {
            self.cut_ended();
        } else {
            self.streams.cut_all(&CutReason::LeaseEnded);
        }
    }

    /// Drops some of the revocations that can affect nothing that is valid at `now` or later.
    pub(super) fn forget_some(&self, now: Timestamp) {
        self.write().set.forget_some(now);
    }
}

impl Known {
    fn usable(&self) -> Result<(), NotLive> {
        match (self.clock, self.told) {
            (ClockCheck::Skewed, _) => Err(NotLive::ClockSkew),
            (ClockCheck::Right, false) => Err(NotLive::NoLease),
            (ClockCheck::Right, true) => Ok(()),
        }
    }
}
