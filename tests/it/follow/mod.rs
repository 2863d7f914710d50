//! An edge and its authority over real sockets: the feed, the lease, open requests, lending, shipping, joining.
//!
//! The authority is a double that signs with a real key and that can be told to fail or lie in one way at a time. Failure is:
//! the edge believes a lie, serves longer than its lease, or acknowledges before what is revoked is gone. Not failure: a
//! lease that is lost too early.

mod double;
mod feed;
mod join;
mod lend;
mod real;
mod ship;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use writ::clock::{Clock, ManualClock};
use writ::dial::{AuthorityClient, TrustedRoots};
use writ::edge::channel::Channel;
use writ::edge::follow::{FollowLimits, Follower};
use writ::edge::knowledge::Knowledge;
use writ::edge::lend::{LendLimits, Lender};
use writ::policy::permit::{Permit, authorize};
use writ::revocation::{LiveToken, NotLive};
use writ::token::proof::{BearerRule, bear};
use writ::token::{HeldToken, RawToken};

use self::double::Double;
use crate::tokens::{accepted, at, authority, expected, minted, operation, pair};

/// The key by which the double knows the edge.
const EDGE: u8 = 0x77;

/// The edge's side, as far as it follows.
struct Edge {
    clock: Arc<ManualClock>,
    knowledge: Arc<Knowledge>,
    lender: Arc<Lender>,
    following: JoinHandle<()>,
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Edge {
    /// Follows `doubles`, each on failure of the one before.
    fn of(doubles: &[&Double]) -> Self {
        Self::with(doubles, FollowLimits::default(), LendLimits::default())
    }

    fn with(doubles: &[&Double], follow: FollowLimits, lend: LendLimits) -> Self {
        let clock = doubles[0].clock.clone();
        let channel = Arc::new(channel(doubles));
        let knowledge = Arc::new(Knowledge::new(clock.clone()));
        let lender = Arc::new(Lender::new(channel.clone(), clock.clone(), lend));
        let follower = Follower::new(channel, knowledge.clone(), lender.clone(), expected(), clock.clone(), follow);
        let following = tokio::spawn(follower.run());
        Self { clock, knowledge, lender, following }
    }

    /// Until it serves.
    async fn ready(&self) {
        eventually("a lease", || self.knowledge.lease_holds()).await;
    }

    fn admit(&self, token: &RawToken) -> Result<LiveToken, NotLive> {
        self.knowledge.admit(held(token, &self.clock))
    }

    fn permit(&self, token: &RawToken) -> Permit {
        authorize(
            self.admit(token).unwrap(),
            operation("notes:notes/read:team").into(),
            &writ::policy::rules::Rules::built_in(),
            writ::policy::Facts::at(self.clock.now()),
        )
        .unwrap()
    }
}

fn channel(doubles: &[&Double]) -> Channel {
    let client = |double: &&Double| AuthorityClient::new(double.url.parse().unwrap(), &TrustedRoots::web());
    Channel::new(
        Arc::new(pair(EDGE)),
        double::signing_key().public(),
        expected().issuer,
        doubles.iter().map(client).collect(),
        doubles[0].clock.clone(),
    )
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(at(10)))
}

/// A writ that anybody may present: possession is not what is tested here.
fn bearer() -> RawToken {
    minted(&writ::token::chain::Authority { holder: None, epoch: 0, ..authority() })
}

fn held(token: &RawToken, clock: &ManualClock) -> HeldToken {
    bear(accepted(token, clock.now()).unwrap(), BearerRule::Accept).unwrap()
}

/// Waits until it is so; a test that waits for long has failed.
async fn eventually(what: &str, so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for {what}");
}
