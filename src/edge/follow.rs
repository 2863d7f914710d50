//! Follows the revocation log of an authority and renews the lease: one request after the other, for as long as the edge runs.
//!
//! The order is the protocol (`spec/wire.md`): learn, cut, wait until what was cut is gone, renew the lease, and only then
//! send the next request, which is the acknowledgement.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::edge::channel::{Channel, ChannelError};
use crate::edge::knowledge::{Discontinuity, Knowledge};
use crate::edge::lend::Lender;
use crate::token::verify::Expected;
use crate::wire::refusal::LOG_WENT_BACK;
use crate::wire::{FeedReply, FeedRequest};

/// The path of the feed below the issuer's URL.
pub const FEED_PATH: &str = "/v1/edge/feed";

/// The limits of following.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowLimits {
    /// How long the authority may hold a request while there is nothing new.
    pub wait: Duration,
    /// The longest lease that is taken, whatever the authority grants.
    pub lease_max: Duration,
    /// How far the own wall clock may be from the authority's.
    pub skew_max: Duration,
    /// How long an answer may take beyond the wait, under a lease.
    pub answer: Duration,
    /// How long an answer may take while the edge is behind, and so has no lease to lose.
    pub behind: Duration,
    /// The longest pause after a failure.
    pub pause_max: Duration,
}

impl Default for FollowLimits {
    fn default() -> Self {
        Self {
            wait: Duration::from_millis(250),
            lease_max: Duration::from_millis(1000),
            skew_max: Duration::from_secs(30),
            answer: Duration::from_millis(300),
            behind: Duration::from_secs(10),
            pause_max: Duration::from_millis(250),
        }
    }
}

/// How often open requests are looked through for a writ, or a lease, that has ended.
const SWEEP: Duration = Duration::from_millis(20);
/// The first pause after a failure; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// How long a cut request may linger before it is reported.
const CUT_PATIENCE: Duration = Duration::from_millis(100);
/// How long an entry is kept beyond the last moment at which it matters: clocks differ.
const FORGET_MARGIN: Duration = Duration::from_secs(300);
const FORGET_EVERY: Duration = Duration::from_millis(250);

/// Why a round brought nothing.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the feed broke: {0}; asking for everything anew")]
    Lost(#[from] Discontinuity),
}

/// Follows one authority.
pub struct Follower {
    channel: Arc<Channel>,
    knowledge: Arc<Knowledge>,
    lender: Arc<Lender>,
    expected: Expected,
    clock: Arc<dyn Clock>,
    limits: FollowLimits,
}

impl Follower {
    /// A follower that writes to `knowledge`. `expected` is what the edge was told when it joined.
    pub fn new(
        channel: Arc<Channel>,
        knowledge: Arc<Knowledge>,
        lender: Arc<Lender>,
        expected: Expected,
        clock: Arc<dyn Clock>,
        limits: FollowLimits,
    ) -> Self {
        Self { channel, knowledge, lender, expected, clock, limits }
    }

    /// Follows until it is dropped. Failures are reported and tried again; meanwhile the lease runs out by itself.
    pub async fn run(self) {
        let knowledge = self.knowledge.clone();
        let sweeping = async move {
            loop {
                tokio::time::sleep(knowledge.lease_left().clamp(Duration::from_millis(1), SWEEP)).await;
                knowledge.sweep();
            }
        };
        // A task of its own: a long log that is taken in must not keep an ended lease open.
        let sweeper = Aborting(tokio::spawn(sweeping));
        self.follow().await;
        drop(sweeper);
    }

    async fn follow(&self) {
        let mut pause = PAUSE_MIN;
        let mut failing = false;
        let mut forgot = self.clock.monotonic();
        let mut behind = true;
        loop {
            match self.round(behind).await {
                Ok(reply) => {
                    behind = self.knowledge.seq() < reply.head;
                    if std::mem::take(&mut failing) {
                        tracing::info!("the revocation feed is back");
                    }
                    pause = PAUSE_MIN;
                    if self.clock.monotonic().since(forgot) >= FORGET_EVERY {
                        forgot = self.clock.monotonic();
                        // The authority's time as well: an own clock that runs ahead must not revive what is revoked.
                        self.knowledge.forget_some(reply.now.min(self.clock.now()).before(FORGET_MARGIN));
                    }
                }
                Err(error) => {
                    behind |= self.knowledge.is_lost();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "the revocation feed fails; the lease runs out unless it comes back");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.limits.pause_max);
                }
            }
            self.lender.purge();
        }
    }

    /// One request and all that follows from its answer.
    async fn round(&self, behind: bool) -> Result<Told, RoundError> {
        let request = FeedRequest {
            known: self.knowledge.seq(),
            settings: self.knowledge.settings_version().filter(|_| !self.knowledge.is_lost()),
            wait_ms: self.wait(),
        };
        let patient = behind && !self.knowledge.lease_holds();
        let timeout =
            if patient { self.limits.behind } else { Duration::from_millis(request.wait_ms) + self.limits.answer };
        let sent = self.clock.monotonic();
        let reply: FeedReply = match self.channel.call(FEED_PATH, &request, timeout).await {
            Ok(reply) => reply,
            Err(error) => return Err(self.failed(error)),
        };
        let round_trip = self.clock.monotonic().since(sent);
        if !self.knowledge.check_clock(reply.now, round_trip, self.limits.skew_max) {
            tracing::error!(authority = %reply.now, own = %self.clock.now(), "the clock of this machine is wrong: not serving until it is right");
        }
        let learned = match self.knowledge.learn(&reply, &self.expected).await {
            Ok(learned) => learned,
            Err(error) => {
                self.lose();
                return Err(error.into());
            }
        };
        if learned.settings || learned.credentials {
            self.lender.drop_all();
        }
        // Settings as well: a root key that counts no longer ends what hangs on it.
        if learned.revocations || learned.settings {
            self.wait_for_cuts().await;
        }
        let length = Duration::from_millis(reply.lease_ms).min(self.limits.lease_max);
        self.knowledge.renew(sent, length, reply.head);
        Ok(Told { now: reply.now, head: reply.head })
    }

    /// Half of the lease that is left at most, so that the answer comes in time to renew it.
    fn wait(&self) -> u64 {
        let wait = self.limits.wait.min(self.knowledge.lease_left() / 2);
        u64::try_from(wait.as_millis()).unwrap_or(0)
    }

    /// A signed answer that can't be read may say that something is revoked in a way this version does not know.
    ///
    /// A refusal renews nothing; one that says that the log went back is a regression like any other.
    fn failed(&self, error: ChannelError) -> RoundError {
        match &error {
            ChannelError::Form(_) => self.lose(),
            ChannelError::Refused { refusal, .. } if &*refusal.code == LOG_WENT_BACK => self.lose(),
            ChannelError::NoAuthority
            | ChannelError::Random
            | ChannelError::Call(_)
            | ChannelError::Unsigned(_)
            | ChannelError::Refused { .. } => {}
        }
        error.into()
    }

    fn lose(&self) {
        self.knowledge.lose();
        self.lender.drop_all();
    }

    /// However long it takes: until then there is no acknowledgement and no renewal, and the lease ends in time.
    async fn wait_for_cuts(&self) {
        let streams = self.knowledge.streams();
        if tokio::time::timeout(CUT_PATIENCE, streams.gone()).await.is_err() {
            tracing::error!("a revoked request does not end: not acknowledging until it does");
            streams.gone().await;
        }
    }
}

/// What an answer said besides.
struct Told {
    now: Timestamp,
    head: u64,
}

/// A task that ends with its owner.
struct Aborting(tokio::task::JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}
