//! One read for many who ask: each gets the result of a read that began after it asked, and shares it with all who asked
//! before that read began.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::store::StoreError;

/// Reads of one thing.
pub(super) struct Fresh<T>(Arc<Inner<T>>);

struct Inner<T> {
    read: Box<dyn Fn() -> BoxFuture<'static, Result<T, StoreError>> + Send + Sync>,
    counts: Mutex<Counts>,
    /// The last read that ended, by its number.
    ended: watch::Sender<(u64, Option<T>)>,
}

/// Reads are numbered 1, 2, 3, … and run one after another.
#[derive(Debug, Default)]
struct Counts {
    begun: u64,
    wanted: u64,
    running: bool,
}

impl<T: Clone + Send + Sync + 'static> Fresh<T> {
    pub(super) fn new<F>(read: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        Self(Arc::new(Inner {
            read: Box::new(move || Box::pin(read())),
            counts: Mutex::default(),
            ended: watch::Sender::new((0, None)),
        }))
    }

    /// What a read finds that begins after this call.
    pub(super) async fn read(&self) -> Result<T, StoreError> {
        let mut ended = self.0.ended.subscribe();
        let next = {
            let mut counts = self.0.counts();
            // The one that is under way may have looked already.
            let next = counts.begun + 1;
            counts.wanted = next;
            if !std::mem::replace(&mut counts.running, true) {
                // A task of its own: whoever asked first may go away while others still wait.
                tokio::spawn(Arc::clone(&self.0).run());
            }
            next
        };
        match ended.wait_for(|(number, _)| *number >= next).await {
            Ok(found) => found.1.clone().ok_or_else(|| StoreError::Unavailable("a shared read failed".into())),
            Err(_) => Err(StoreError::Unavailable("a shared read was given up".into())),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Inner<T> {
    async fn run(self: Arc<Self>) {
        // Many are woken by the same news: whoever asks before the read begins shares it.
        tokio::task::yield_now().await;
        while let Some(number) = self.begin() {
            let found = (self.read)().await;
            if let Err(error) = &found {
                tracing::warn!(%error, "the store does not answer");
            }
            self.ended.send_replace((number, found.ok()));
        }
    }

    /// The number of the read that is to begin now, if one is wanted.
    fn begin(&self) -> Option<u64> {
        let mut counts = self.counts();
        counts.running = counts.wanted > counts.begun;
        if counts.running {
            counts.begun += 1;
        }
        counts.running.then_some(counts.begun)
    }
}

impl<T> Inner<T> {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt as _;
    use tokio::sync::Semaphore;

    /// What is read is when the read began; it ends when it is let go.
    struct Slow {
        fresh: Fresh<u64>,
        /// Moves by one with each step of the test.
        time: Arc<AtomicU64>,
        reads: Arc<AtomicU64>,
        go: Arc<Semaphore>,
    }

    fn slow() -> Slow {
        let (time, reads, go) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default(), Arc::new(Semaphore::new(0)));
        let (clock, count, gate) = (time.clone(), reads.clone(), go.clone());
        let fresh = Fresh::new(move || {
            let began = clock.load(Ordering::SeqCst);
            count.fetch_add(1, Ordering::SeqCst);
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(began)
            }
        });
        Slow { fresh, time, reads, go }
    }

    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_read_that_began_before_the_question_is_never_its_answer() {
        let slow = slow();
        let first = slow.fresh.read();
        tokio::pin!(first);
        assert!((&mut first).now_or_never().is_none());
        settle().await;
        slow.time.store(7, Ordering::SeqCst);
        let second = slow.fresh.read();
        tokio::pin!(second);
        assert!((&mut second).now_or_never().is_none());
        slow.go.add_permits(1);
        assert_eq!(first.await.unwrap(), 0);
        settle().await;
        assert!((&mut second).now_or_never().is_none(), "answered by the read of before");
        slow.go.add_permits(1);
        assert_eq!(second.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn many_who_ask_while_one_read_is_under_way_share_the_next() {
        let slow = slow();
        let mut all: Vec<_> = (0..50).map(|_| Box::pin(slow.fresh.read())).collect();
        for (n, one) in all.iter_mut().enumerate() {
            assert!(one.now_or_never().is_none());
            if n == 0 {
                settle().await;
            }
        }
        slow.go.add_permits(10);
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(slow.reads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn whoever_goes_away_leaves_the_others_their_answer() {
        let slow = slow();
        let mut first = Box::pin(slow.fresh.read());
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        let second = slow.fresh.read();
        slow.go.add_permits(5);
        second.await.unwrap();
    }

    #[tokio::test]
    async fn a_read_that_fails_is_an_error_for_those_who_share_it_and_not_for_the_next() {
        let failing = Arc::new(AtomicU64::new(1));
        let fails = failing.clone();
        let fresh = Fresh::new(move || {
            let fails = fails.load(Ordering::SeqCst) == 1;
            async move { if fails { Err(StoreError::Unavailable("gone".into())) } else { Ok(()) } }
        });
        assert!(fresh.read().await.is_err());
        failing.store(0, Ordering::SeqCst);
        assert!(fresh.read().await.is_ok());
    }

    /// Whatever the order of questions and reads on real threads: no answer is older than its question.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_answer_is_older_than_its_question() {
        let time = Arc::new(AtomicU64::new(0));
        let clock = time.clone();
        let fresh = Arc::new(Fresh::new(move || {
            let found = clock.load(Ordering::SeqCst);
            async move {
                tokio::task::yield_now().await;
                Ok(found)
            }
        }));
        let asking = (0..8).map(|_| {
            let (fresh, time) = (fresh.clone(), time.clone());
            tokio::spawn(async move {
                for _ in 0..500 {
                    let asked = time.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(fresh.read().await.unwrap() >= asked);
                }
            })
        });
        for asking in asking.collect::<Vec<_>>() {
            asking.await.unwrap();
        }
    }
}
