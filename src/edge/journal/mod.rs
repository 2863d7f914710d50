//! The edge's audit journal: what it decided, on its own disk before anything is forwarded, until the authority has it.
//!
//! A directory of append-only segments of [`Record`](crate::audit::Record)s, one JSON object per line, in one hash chain. `append` answers once
//! the kernel has the bytes (or the disk, see [`Durability`]); when it answers with an error, the call must not happen.

mod queue;
mod recent;
mod recover;
mod segment;
mod ship;
mod writer;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::audit::event::UsedProof;
use crate::audit::{ChainError, Event, Finish, Head, Outcome, Source};
use crate::clock::Clock;
pub use crate::config::journal::{Durability, JournalSettings as Settings};
use crate::edge::journal::queue::{Queue, Waiting};
use crate::edge::journal::recent::Recent;
use crate::edge::journal::recover::Notes;
use crate::edge::journal::segment::{Disk, Segment};
pub use crate::edge::journal::ship::Batch;
use crate::edge::journal::ship::Shipping;
use crate::edge::journal::writer::{Desk, Writer};
use crate::id::RequestId;

/// The journal of one edge. Cheap to clone; the last one dropped writes what is queued and unlocks the directory.
#[derive(Clone)]
pub struct Journal(Arc<Owner>);

/// What a journal found when it was opened.
#[derive(Debug)]
pub struct Recovered {
    /// Where the chain ends now.
    pub head: Head,
    /// Proofs that were used and whose replay would still be in time.
    pub used_proofs: Vec<UsedProof>,
    /// Requests that were allowed and whose outcome nobody wrote: `unknown` is written for each.
    pub unfinished: Vec<RequestId>,
    /// How many bytes of a torn last write were cut off.
    pub torn_bytes: u64,
}

/// Why a record was not written, or not shipped. Fail closed: the call it is about must not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk is slower than the requests. May be retried.
    #[error("too many decisions wait for the journal's disk: try again, or give the edge a faster disk")]
    Busy,
    /// The disk has not taken it in time. It may yet be written. May be retried.
    #[error("the journal's disk did not take a decision within {} s: try again, or give the edge a disk that answers", .0.as_secs())]
    Late(Duration),
    /// The authority has not taken records for long.
    #[error("the journal holds {0} bytes that the authority has not taken: reconnect the edge, or raise the limit")]
    Full(u64),
    /// The event is longer than [`Event::TEXT_BYTES_MAX`].
    #[error("the event is longer than {max} bytes and cannot be recorded", max = Event::TEXT_BYTES_MAX)]
    TooLong,
    /// Nothing of it was kept. May be retried.
    #[error("the journal cannot be written ({0}): free space on its disk or repair it")]
    Write(Arc<io::Error>),
    /// What the disk holds is not known any more, or the journal was closed.
    #[error("the journal has stopped after a failed write: repair its disk and restart the edge")]
    Stopped,
    /// A segment cannot be read back.
    #[error("the journal cannot be read ({0}): repair its disk")]
    Read(Arc<io::Error>),
    /// A segment was changed on disk since it was written.
    #[error("the journal was changed on disk: {0}")]
    Damaged(ChainError),
    /// The authority has other records under this edge's name.
    #[error(
        "the authority's records of this edge differ from its journal at {0}: another edge uses this name, or the directory \
         was restored; join again under a new name with an empty journal directory"
    )]
    Diverged(u64),
}

/// Why a journal does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("journal directory `{0}` is in use by another edge: give each edge its own")]
    Locked(PathBuf),
    /// Written by another edge.
    #[error("journal directory `{dir}` belongs to `{found}`: give each edge its own")]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// Whose records it has.
        found: Source,
    },
    /// The chain breaks elsewhere than in a torn last write.
    #[error(
        "`{path}` does not continue at byte {at} ({why}): keep it as evidence and start with an empty journal directory"
    )]
    Broken {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// What breaks.
        why: ChainError,
    },
    /// The authority's copy of the chain ends before the first record that is left here.
    #[error(
        "the authority has this edge's records up to {stored}, and `{dir}` begins at {first}: the authority lost some; join \
         again under a new name with an empty journal directory"
    )]
    Gone {
        /// The directory.
        dir: PathBuf,
        /// The authority's last record.
        stored: u64,
        /// The first one here.
        first: u64,
    },
    /// A file cannot be used.
    #[error("cannot use `{path}`: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Owns the writer's thread.
struct Owner {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// What the callers, the writer and the shipper share.
struct Shared {
    dir: PathBuf,
    source: Source,
    settings: Settings,
    clock: Arc<dyn Clock>,
    queue: Queue,
    heads: watch::Sender<Head>,
    state: Mutex<State>,
    shipping: Mutex<Shipping>,
    _lock: File,
}

struct State {
    /// Oldest first; the last is written to.
    segments: Vec<Segment>,
    notes: Notes,
    recent: Recent,
    unshipped_bytes: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; were it so, its numbers are still each true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Opens the journal of `source` in `dir`, which is created if need be, and continues its chain.
    ///
    /// `stored` is where the authority's copy of the chain ends, if that is known: a journal that lost its end, or its
    /// disk, continues from there. Writes an unknown outcome for every request that a dead process left open.
    pub fn open(
        dir: &Path,
        source: Source,
        stored: Option<&Head>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(Disk::Real, dir, source, stored, clock, settings)
    }

    fn open_on(
        disk: Disk,
        dir: &Path,
        source: Source,
        stored: Option<&Head>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<(Self, Recovered), OpenError> {
        let lock = recover::lock(dir)?;
        let found = recover::scan(dir, &source, stored, clock.now())?;
        let unfinished = found.state.notes.open_requests();
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            source,
            settings,
            clock,
            queue: Queue::new(settings.queue_records_max),
            heads: watch::Sender::new(found.head.clone()),
            state: Mutex::new(found.state),
            shipping: Mutex::new(found.shipping),
            _lock: lock,
        });
        let mut writer = Writer::open(Arc::clone(&shared), disk)?;
        for request in &unfinished {
            writer
                .write_at_start(&unknown_outcome(*request))
                .map_err(|error| OpenError::Io { path: dir.to_owned(), source: io::Error::other(error) })?;
        }
        let head = shared.heads.borrow().clone();
        let desk = Arc::new(Desk::new(Arc::clone(&shared), writer));
        let thread = std::thread::Builder::new()
            .name("writ-journal".to_owned())
            .spawn({
                let desk = Arc::clone(&desk);
                move || desk.run()
            })
            .map_err(|source| OpenError::Io { path: dir.to_owned(), source })?;
        let recovered = Recovered { head, used_proofs: found.used_proofs, unfinished, torn_bytes: found.torn_bytes };
        Ok((Self(Arc::new(Owner { shared, desk, thread: Some(thread) })), recovered))
    }

    /// Writes `event` as the next record and answers where the chain then ends, once it is as durable as the settings say.
    ///
    /// It is written with what others append before this thread [waits](Self::before_waiting). A caller that goes away
    /// meanwhile does not take its record back, nor does one for whom it takes [too long](JournalError::Late).
    pub async fn append(&self, event: &Event) -> Result<Head, JournalError> {
        let (reply, written) = oneshot::channel();
        self.0.desk.put(Waiting::new(event, Some(reply))?)?;
        let timeout = self.0.shared.settings.write_timeout;
        let answered = tokio::time::timeout(timeout, written).await.map_err(|_| JournalError::Late(timeout))?;
        answered.unwrap_or(Err(JournalError::Stopped))
    }

    /// Writes `event` as one of the next records, without waiting: for the outcome of a call whose handler is dropped.
    pub fn submit(&self, event: &Event) -> Result<(), JournalError> {
        self.0.desk.put(Waiting::new(event, None)?)
    }

    /// What a thread that appends calls whenever it has nothing else to do. Where it is not called, the journal's own
    /// thread writes a few milliseconds later. It does not keep the journal open.
    pub fn before_waiting(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        let desk = Arc::downgrade(&self.0.desk);
        move || {
            if let Some(desk) = desk.upgrade() {
                desk.write_awaited();
            }
        }
    }

    /// Where the chain ends, and a way to wait until it grows.
    pub fn heads(&self) -> watch::Receiver<Head> {
        self.0.shared.heads.subscribe()
    }

    /// How many bytes no authority has taken yet.
    pub fn unshipped_bytes(&self) -> u64 {
        self.0.shared.state().unshipped_bytes
    }

    /// The next records that no authority has taken: up to `records_max` and about `bytes_max`, at least one if there is any.
    ///
    /// The disk has them before they are returned, so no power cut takes back what the authority has seen.
    pub async fn next_batch(&self, records_max: usize, bytes_max: usize) -> Result<Batch, JournalError> {
        let (desk, shared) = (Arc::clone(&self.0.desk), Arc::clone(&self.0.shared));
        blocking(move || {
            // What lingers is shipped too: an edge that ends has no later batch.
            desk.settle();
            shared.read_batch(records_max, bytes_max)
        })
        .await
    }

    /// Notes that the authority has everything up to `head`, and drops the segments that are no longer needed.
    pub async fn shipped(&self, head: Head) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.0.shared);
        blocking(move || shared.mark_shipped(&head)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(JournalError::Stopped))
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("dir", &self.0.shared.dir).finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing more to say: whoever waited for it got `Stopped`.
            let _ = thread.join();
        }
        if let Err(error) = self.shared.note_shipped() {
            tracing::warn!(%error, "what the authority has of the journal was not noted: it is shipped once more");
        }
    }
}

const fn unknown_outcome(request: RequestId) -> Event {
    Event::Outcome(Outcome {
        request,
        finish: Finish::Unknown,
        status: None,
        bytes_up: 0,
        bytes_down: 0,
        elapsed_ms: 0,
        injected_at_seq: None,
        credential_epoch: None,
    })
}
