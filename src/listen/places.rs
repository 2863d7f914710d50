//! Places for connections, as many as are allowed. When all are taken, whoever has waited longest without a request makes room:
//! a flood of connections that ask nothing keeps out nobody who does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How many connections there are, and which of them wait.
pub(crate) struct Places {
    max: usize,
    free: Arc<Semaphore>,
    taken: Mutex<HashMap<u64, Arc<Visitor>>>,
    last: AtomicU64,
    began: Instant,
}

/// A connection, as far as it matters whether it may be closed.
pub(crate) struct Visitor {
    began: Instant,
    /// Requests that are being answered.
    requests: AtomicUsize,
    /// Since when it has had none, in milliseconds since `began`.
    idle_since_ms: AtomicU64,
    told: AtomicBool,
    leave: Notify,
}

/// A connection's place; free again when this is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    id: u64,
    visitor: Arc<Visitor>,
    _slot: OwnedSemaphorePermit,
}

/// A request that is being answered. While there is one, its connection is not asked to make room.
pub(crate) struct Asking(Arc<Visitor>);

/// After how long those who made no room are looked at again: a request may have ended.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Which part of all connections is asked to go at once: looking for them costs a look at each.
const SHARE: usize = 16;

impl Places {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(max));
        Arc::new(Self { max, free, taken: Mutex::default(), last: AtomicU64::new(0), began: Instant::now() })
    }

    /// A place for a connection that has come. Waits as long as every other one has a request under way.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        loop {
            if let Ok(slot) = self.free.clone().try_acquire_owned() {
                return self.seat(slot);
            }
            self.shed();
            if let Ok(Ok(slot)) = tokio::time::timeout(LOOK_AGAIN, self.free.clone().acquire_owned()).await {
                return self.seat(slot);
            }
        }
    }

    /// Asks some of those who have waited longest without a request to go.
    pub(crate) fn shed(&self) {
        let taken = self.taken();
        let told = taken.values().filter(|visitor| visitor.told.load(Ordering::Relaxed)).count();
        let count = (self.max / SHARE).max(1).saturating_sub(told);
        // Read once: a key that changes while it is compared has no order.
        let since = |visitor: &Visitor| visitor.idle_since_ms.load(Ordering::Relaxed);
        let idle = taken.values().filter(|visitor| visitor.may_go());
        let mut idle: Vec<_> = idle.map(|visitor| (since(visitor), visitor)).collect();
        if count == 0 || idle.is_empty() {
            return;
        }
        if count < idle.len() {
            idle.select_nth_unstable_by_key(count, |(since, _)| *since);
            idle.truncate(count);
        }
        for (_, visitor) in idle {
            visitor.told.store(true, Ordering::Relaxed);
            visitor.leave.notify_one();
        }
    }

    fn seat(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Place {
        let visitor = Arc::new(Visitor {
            began: self.began,
            requests: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(ms(self.began.elapsed())),
            told: AtomicBool::new(false),
            leave: Notify::new(),
        });
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        self.taken().insert(id, visitor.clone());
        Place { places: self.clone(), id, visitor, _slot: slot }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, Arc<Visitor>>> {
        // Whole after a panic too: each step on it is one call.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Who has it.
    pub(crate) fn visitor(&self) -> Arc<Visitor> {
        self.visitor.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().remove(&self.id);
    }
}

impl Visitor {
    /// A request begins.
    pub(crate) fn asks(self: &Arc<Self>) -> Asking {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Asking(self.clone())
    }

    /// Returns when it must make room and has no request under way. Poll it where its requests begin: then none begins in between.
    pub(crate) async fn told_to_leave(&self) {
        loop {
            self.leave.notified().await;
            if self.requests.load(Ordering::Relaxed) == 0 {
                return;
            }
            self.told.store(false, Ordering::Relaxed);
        }
    }

    /// How long it has had no request; `None` while it has one.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        let since = Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed));
        let idle = self.requests.load(Ordering::Relaxed) == 0;
        idle.then(|| self.began.elapsed().saturating_sub(since))
    }

    /// Returns when it has had no request for so long. Poll it where its requests begin, as [`told_to_leave`](Self::told_to_leave).
    pub(crate) async fn idle_too_long(&self, most: Duration) {
        loop {
            let left = most.saturating_sub(self.idle_for().unwrap_or_default());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    fn may_go(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0 && !self.told.load(Ordering::Relaxed)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.idle_since_ms.store(ms(self.0.began.elapsed()), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn leaves(visitor: &Visitor) -> bool {
        tokio::time::timeout(Duration::ZERO, visitor.told_to_leave()).await.is_ok()
    }

    #[tokio::test]
    async fn who_has_waited_longest_makes_room_and_who_has_a_request_does_not() {
        let places = Places::new(3);
        let [first, second, third] = [places.take().await, places.take().await, places.take().await];
        let asking = first.visitor().asks();
        second.visitor().idle_since_ms.store(7, Ordering::Relaxed);
        third.visitor().idle_since_ms.store(5, Ordering::Relaxed);
        places.shed();
        assert!(leaves(&third.visitor).await && !leaves(&second.visitor).await && !leaves(&first.visitor).await);
        places.shed();
        assert!(!leaves(&second.visitor).await, "one is on its way out already");
        drop(third);
        drop(places.take().await);
        drop(asking);
        second.visitor().idle_since_ms.store(u64::MAX, Ordering::Relaxed);
        places.shed();
        assert!(leaves(&first.visitor).await, "its request has ended, and longer ago");
    }

    #[tokio::test]
    async fn a_request_that_begins_before_its_connection_goes_keeps_it() {
        let places = Places::new(1);
        let place = places.take().await;
        places.shed();
        let asking = place.visitor().asks();
        assert!(!leaves(&place.visitor).await);
        drop(asking);
        places.shed();
        assert!(leaves(&place.visitor).await);
    }

    #[tokio::test]
    async fn whoever_comes_waits_until_a_request_ends() {
        let places = Places::new(1);
        let place = places.take().await;
        let (visitor, asking) = (place.visitor(), place.visitor().asks());
        let next = tokio::spawn({
            let places = places.clone();
            async move { drop(places.take().await) }
        });
        assert!(tokio::time::timeout(5 * LOOK_AGAIN, visitor.told_to_leave()).await.is_err());
        assert!(!next.is_finished());
        drop(asking);
        visitor.told_to_leave().await;
        drop(place);
        next.await.unwrap();
    }
}
