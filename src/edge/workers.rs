//! One thread for each processor, with its own connections to callers and to services: a request never changes its thread.
//!
//! A runtime that moves tasks between threads wakes a second thread for most of what a proxy waits for; that cost more than
//! everything an edge decides. Following, shipping and lending go on in the runtime that started the edge.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dial::Dialer;
use crate::edge::proxy::Upstreams;
use crate::edge::turns::Turns;

/// The threads that serve. Dropping them ends at once what still runs there.
pub(super) struct Workers(Vec<Thread>);

struct Thread {
    worker: Arc<Worker>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// One of the threads.
pub(super) struct Worker {
    handle: Handle,
    connections: AtomicUsize,
    pub(super) upstreams: Arc<Upstreams>,
}

/// A connection's place on its worker.
pub(super) struct Seat(Arc<Worker>);

impl Workers {
    /// Starts `count` threads, or as many as there are processors. Each calls `before_waiting` when it has nothing else to do.
    pub(super) fn start(
        count: Option<usize>,
        dialer: &Dialer,
        turns: &Arc<Turns>,
        before_waiting: impl Fn() + Clone + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let count = count.map_or_else(|| std::thread::available_parallelism().map(usize::from), Ok).unwrap_or(1);
        (0..count.max(1))
            .map(|_| Thread::start(Upstreams::new(dialer.clone(), turns.clone()), before_waiting.clone()))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// To be handed to every listener.
    pub(super) fn workers(&self) -> Arc<[Arc<Worker>]> {
        self.0.iter().map(|thread| thread.worker.clone()).collect()
    }
}

impl Thread {
    fn start(upstreams: Upstreams, before_waiting: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(before_waiting).build()?;
        let (stop, handle) = (CancellationToken::new(), runtime.handle().clone());
        let stopped = stop.clone();
        let serve = move || {
            runtime.block_on(stopped.cancelled());
            // A name that is being resolved would be waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("writ-edge".to_owned()).spawn(serve)?;
        let worker = Arc::new(Worker { handle, connections: AtomicUsize::new(0), upstreams: Arc::new(upstreams) });
        Ok(Self { worker, stop, thread: Some(thread) })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for thread in &self.0 {
            thread.stop.cancel();
        }
        for thread in &mut self.0 {
            // So that nobody finds a request under way after the edge has ended. One that panicked has ended too.
            let _ = thread.thread.take().map(JoinHandle::join);
        }
    }
}

impl Worker {
    /// A place on the worker that has the fewest connections.
    pub(super) fn seat(workers: &[Arc<Self>]) -> Option<Seat> {
        let worker = workers.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed))?;
        worker.connections.fetch_add(1, Ordering::Relaxed);
        Some(Seat(worker.clone()))
    }
}

impl Seat {
    /// The connections to services that are used from here.
    pub(super) fn upstreams(&self) -> Arc<Upstreams> {
        self.0.upstreams.clone()
    }

    /// Runs a connection here, and counts it until it ends.
    pub(super) fn run(self, open: &mut JoinSet<()>, connection: impl Future<Output = ()> + Send + 'static) {
        let handle = self.0.handle.clone();
        open.spawn_on(
            async move {
                connection.await;
                drop(self);
            },
            &handle,
        );
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
