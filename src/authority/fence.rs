//! Whether the database that this process reads is still the one that commits, and how long a lease may be because of it.
//!
//! After a failover with a partition an authority may still be connected to the old primary, whose log no longer grows. Where
//! commits wait for a standby, such a primary commits no more: a standby that took over confirms nothing. So a lease ends, at
//! the latest, one lease after the start of the last commit that was confirmed, which was before any other server took over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::authority::Authority;
use crate::clock::{Clock, Monotonic};
use crate::store::{Fence, ServerId, Store, StoreError};

/// What is known of the database's place among its standbys.
#[derive(Debug, Default)]
pub(super) struct Fencing(Mutex<Primary>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Primary {
    /// Nothing yet.
    #[default]
    Unknown,
    /// This server waits for no standby: it counts as the primary for as long as it answers.
    Alone(ServerId),
    /// This server was the primary after this moment.
    Confirmed(ServerId, Monotonic),
}

impl Fencing {
    /// Asks the database. Takes as long as the database does.
    pub(super) async fn prove(&self, store: &dyn Store, clock: &dyn Clock) -> Result<(), StoreError> {
        // Before the commit begins: a moment at which no other server can have taken over yet.
        let begun = clock.monotonic();
        let known = match store.fence().await? {
            Fence::Confirmed(server) => Primary::Confirmed(server, begun),
            Fence::Alone(server) => Primary::Alone(server),
        };
        let before = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), known);
        match (before, known) {
            (Primary::Confirmed(..), Primary::Alone(_)) => {
                tracing::warn!("the database no longer waits for a standby: a failover is not safe any more");
            }
            (Primary::Unknown, Primary::Alone(_)) => tracing::info!("the database waits for no standby"),
            (Primary::Unknown | Primary::Alone(_), Primary::Confirmed(..)) => {
                tracing::info!("commits wait for a standby: leases are fenced against a failover");
            }
            _ => {}
        }
        Ok(())
    }

    /// How much of `lease` may be granted to who asked at `asked`, on a head that `read_at` answered: it ends at most `lease`
    /// after the last proof began.
    ///
    /// A proof of one server says nothing of another: during a failover some connections may be to the old one still.
    fn lease(&self, lease: Duration, asked: Monotonic, read_at: ServerId) -> Duration {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Primary::Alone(server) if server == read_at => lease,
            Primary::Confirmed(server, begun) if server == read_at => lease.saturating_sub(asked.since(begun)),
            Primary::Unknown | Primary::Alone(_) | Primary::Confirmed(..) => Duration::ZERO,
        }
    }
}

impl Authority {
    /// How long the lease of an edge is whose request came at `asked`, in milliseconds.
    ///
    /// The edge counts from when it sent the request, which was before.
    pub(super) fn lease_ms(&self, asked: Monotonic, read_at: ServerId) -> u64 {
        u64::try_from(self.fencing.lease(self.terms.lease, asked, read_at).as_millis()).unwrap_or(u64::MAX)
    }

    /// Proves again and again that the database is the primary, until told to stop.
    pub(super) fn spawn_fencing(self: &Arc<Self>) -> JoinHandle<()> {
        let authority = Arc::clone(self);
        tokio::spawn(async move {
            let mut stopping = authority.stopping.subscribe();
            let prove = async {
                loop {
                    // Nothing to say: the lease that shrinks says it, and the upkeep reports a store that does not answer.
                    let _ = authority.fencing.prove(&*authority.store, &*authority.clock).await;
                    tokio::time::sleep(authority.terms.lease / 4).await;
                }
            };
            tokio::select! {
                () = prove => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_one_lease_after_the_last_proof_began() {
        let at = |ms| Monotonic::from_origin(Duration::from_millis(ms));
        let lease = Duration::from_millis(1000);
        let known = |primary| Fencing(Mutex::new(primary));
        let (this, other) = (ServerId(1), ServerId(2));
        assert_eq!(known(Primary::Unknown).lease(lease, at(0), this), Duration::ZERO);
        assert_eq!(known(Primary::Alone(this)).lease(lease, at(9000), this), lease);
        let confirmed = known(Primary::Confirmed(this, at(500)));
        for (asked, left) in [(400, 1000), (500, 1000), (750, 750), (1499, 1), (1500, 0), (9000, 0)] {
            assert_eq!(confirmed.lease(lease, at(asked), this), Duration::from_millis(left), "{asked}");
        }
        // The head was read at another server than the one that proved itself: neither's word counts for the other.
        assert_eq!(confirmed.lease(lease, at(500), other), Duration::ZERO);
        assert_eq!(known(Primary::Alone(this)).lease(lease, at(500), other), Duration::ZERO);
    }
}
