//! Group commit: calls that come while a transaction is under way share the next one. Each call is still all or nothing, and is
//! answered after its commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::store::StoreError;

/// Calls of one kind, on their way to the database.
pub(super) struct Together<T, R> {
    /// The most calls in one transaction: who needs the same rows waits for one of them.
    at_most: usize,
    waiting: Mutex<Waiting<T, R>>,
}

struct Waiting<T, R> {
    calls: Vec<Call<T, R>>,
    /// Whether somebody takes the calls to the database.
    running: bool,
}

struct Call<T, R> {
    item: T,
    answer: oneshot::Sender<Result<R, StoreError>>,
}

impl<T: Clone + Send + Sync + 'static, R: Send + 'static> Together<T, R> {
    pub(super) fn new(at_most: usize) -> Self {
        Self { at_most, waiting: Mutex::new(Waiting { calls: Vec::new(), running: false }) }
    }

    /// Has `item` done by `run`, with the others that are waiting by then. `run` does all of its items in one transaction, or
    /// none, and answers for each in their order.
    pub(super) async fn call<F>(
        self: &Arc<Self>,
        item: T,
        run: impl Fn(Arc<[T]>) -> F + Send + 'static,
    ) -> Result<R, StoreError>
    where
        F: Future<Output = Result<Vec<R>, StoreError>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting();
            waiting.calls.push(Call { item, answer });
            !std::mem::replace(&mut waiting.running, true)
        };
        if first {
            // A task of its own: whoever came first may go away while others still wait.
            let runner = Runner { together: Arc::clone(self), ended: false };
            tokio::spawn(runner.run(run));
        }
        answered.await.unwrap_or_else(|_| Err(StoreError::Unknown("a shared transaction was given up".into())))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<T, R>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls of the next transaction, without those that nobody waits for; `None` if there are none, and then nobody
    /// takes any until the next call comes.
    fn next(&self) -> Option<Vec<Call<T, R>>> {
        let mut waiting = self.waiting();
        waiting.calls.retain(|call| !call.answer.is_closed());
        let count = waiting.calls.len().min(self.at_most);
        waiting.running = count > 0;
        waiting.running.then(|| waiting.calls.drain(..count).collect())
    }
}

/// Takes calls to the database until none is left.
struct Runner<T: Clone + Send + Sync + 'static, R: Send + 'static> {
    together: Arc<Together<T, R>>,
    ended: bool,
}

impl<T: Clone + Send + Sync + 'static, R: Send + 'static> Runner<T, R> {
    async fn run<F>(mut self, run: impl Fn(Arc<[T]>) -> F + Send)
    where
        F: Future<Output = Result<Vec<R>, StoreError>> + Send,
    {
        // Many are woken by the same news: whoever calls before the transaction begins shares it.
        tokio::task::yield_now().await;
        while let Some(calls) = self.together.next() {
            let (items, answers): (Vec<T>, Vec<_>) = calls.into_iter().map(|call| (call.item, call.answer)).unzip();
            let items: Arc<[T]> = items.into();
            match run(Arc::clone(&items)).await {
                Ok(results) => {
                    answers.into_iter().zip(results).for_each(|(answer, result)| drop(answer.send(Ok(result))))
                }
                Err(error) if items.len() > 1 && is_of_one(&error) => {
                    for (answer, item) in answers.into_iter().zip(items.iter()) {
                        let alone = run([item.clone()].into()).await;
                        drop(answer.send(alone.and_then(|results| results.into_iter().next().ok_or_else(no_answer))));
                    }
                }
                Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(repeated(&error))))),
            }
        }
        self.ended = true;
    }
}

impl<T: Clone + Send + Sync + 'static, R: Send + 'static> Drop for Runner<T, R> {
    fn drop(&mut self) {
        // It panicked, or the runtime ends. Those who wait are told by the end of their channels.
        if !self.ended {
            let mut waiting = self.together.waiting();
            waiting.running = false;
            waiting.calls.clear();
        }
    }
}

/// Whether one item can be the reason, so that the others can be done without it. Nothing was written then.
fn is_of_one(error: &StoreError) -> bool {
    match error {
        StoreError::Conflict(_) | StoreError::NotFound(_) | StoreError::Overtaken | StoreError::Failed(_) => true,
        StoreError::Unavailable(_)
        | StoreError::Unknown(_)
        | StoreError::Corrupt { .. }
        | StoreError::TooNew
        | StoreError::TooOld => false,
    }
}

/// The same error for everyone who shared a transaction.
fn repeated(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(source) => StoreError::Unavailable(source.to_string().into()),
        StoreError::Unknown(source) => StoreError::Unknown(source.to_string().into()),
        StoreError::Failed(source) => StoreError::Failed(source.to_string().into()),
        StoreError::Conflict(what) => StoreError::Conflict(what),
        StoreError::NotFound(what) => StoreError::NotFound(what),
        StoreError::Corrupt { table } => StoreError::Corrupt { table },
        StoreError::Overtaken => StoreError::Overtaken,
        StoreError::TooNew => StoreError::TooNew,
        StoreError::TooOld => StoreError::TooOld,
    }
}

fn no_answer() -> StoreError {
    StoreError::Failed("a shared transaction answered for fewer than it was given".into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{FutureExt as _, join_all};
    use tokio::sync::Semaphore;

    use super::*;

    /// Runs that wait to be let go, and what each was given.
    #[derive(Clone)]
    struct Runs {
        together: Arc<Together<u32, u32>>,
        given: Arc<Mutex<Vec<Vec<u32>>>>,
        go: Arc<Semaphore>,
        /// Is refused by the database.
        bad: Option<u32>,
    }

    impl Runs {
        fn new(at_most: usize, bad: Option<u32>) -> Self {
            let together = Arc::new(Together::new(at_most));
            Self { together, given: Arc::default(), go: Arc::new(Semaphore::new(0)), bad }
        }

        async fn call(&self, item: u32) -> Result<u32, StoreError> {
            let runs = self.clone();
            let run = move |items: Arc<[u32]>| {
                let runs = runs.clone();
                async move {
                    runs.go.acquire().await.unwrap().forget();
                    runs.given.lock().unwrap().push(items.to_vec());
                    match runs.bad {
                        Some(bad) if items.contains(&bad) => Err(StoreError::Failed("bad".into())),
                        _ => Ok(items.iter().map(|item| item * 10).collect()),
                    }
                }
            };
            self.together.call(item, run).await
        }

        fn given(&self) -> Vec<Vec<u32>> {
            self.given.lock().unwrap().clone()
        }
    }

    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_comes_while_one_transaction_is_under_way_shares_the_next_and_each_gets_its_own_answer() {
        let runs = Runs::new(3, None);
        let mut first = Box::pin(runs.call(1));
        assert!((&mut first).now_or_never().is_none());
        settle().await;
        let mut others: Vec<_> = (2..=6).map(|item| Box::pin(runs.call(item))).collect();
        others.iter_mut().for_each(|other| assert!(other.now_or_never().is_none()));
        runs.go.add_permits(3);
        assert_eq!(first.await.unwrap(), 10);
        let answers: Vec<u32> = join_all(others).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [20, 30, 40, 50, 60]);
        assert_eq!(runs.given(), [vec![1], vec![2, 3, 4], vec![5, 6]]);
    }

    #[tokio::test]
    async fn what_the_database_refuses_is_refused_alone() {
        let runs = Runs::new(8, Some(2));
        runs.go.add_permits(100);
        let answers = join_all([1, 2, 3].map(|item| runs.call(item))).await;
        assert_eq!(runs.given(), [vec![1, 2, 3], vec![1], vec![2], vec![3]]);
        assert!(matches!(answers.as_slice(), [Ok(10), Err(StoreError::Failed(_)), Ok(30)]));
    }

    #[tokio::test]
    async fn whoever_goes_away_leaves_the_others_their_answer_and_is_not_done_if_it_was_not_begun() {
        let runs = Runs::new(8, None);
        let mut first = Box::pin(runs.call(1));
        assert!((&mut first).now_or_never().is_none());
        settle().await;
        let (mut second, mut third) = (Box::pin(runs.call(2)), Box::pin(runs.call(3)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop((first, second));
        runs.go.add_permits(2);
        assert_eq!(third.await.unwrap(), 30);
        assert_eq!(runs.given(), [vec![1], vec![3]]);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_for_those_who_share_it_and_not_for_the_next() {
        let together = Arc::new(Together::<u32, u32>::new(8));
        let runs = Arc::new(AtomicUsize::new(0));
        let run = || {
            let runs = runs.clone();
            move |items: Arc<[u32]>| {
                let first = runs.fetch_add(1, Ordering::SeqCst) == 0;
                async move { if first { panic!("of a test") } else { Ok(items.to_vec()) } }
            }
        };
        let (one, two) = tokio::join!(together.call(1, run()), together.call(2, run()));
        assert!(matches!((one, two), (Err(StoreError::Unknown(_)), Err(StoreError::Unknown(_)))));
        assert_eq!(together.call(3, run()).await.unwrap(), 3);
    }
}
