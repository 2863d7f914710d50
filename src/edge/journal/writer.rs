//! The one place that writes: takes what waits in groups, chains it, writes it at once, and answers.
//!
//! Whoever has something to write does it where it stands, and what others put there meanwhile with it: handing a record to
//! a thread and waiting for its answer costs more than writing it. The thread writes what may wait for a disk, and, a few
//! milliseconds later, what nobody waits for and nobody took along.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use crate::audit::{Event, Head, Record};
use crate::edge::journal::queue::Waiting;
use crate::edge::journal::segment::{self, Disk, Segment, Tail};
use crate::edge::journal::ship::Place;
use crate::edge::journal::{Durability, JournalError, OpenError, Shared};

/// The writer, and who may use it when.
pub(super) struct Desk {
    shared: Arc<Shared>,
    writer: Mutex<Writer>,
    /// A write took long: the disk is busy, and only the thread waits for it.
    slow: AtomicBool,
}

/// How long a write to the kernel's memory may take before the disk counts as busy.
const SLOW: Duration = Duration::from_millis(2);
/// How many groups one caller writes for others before the thread takes over.
const GROUPS_MAX: usize = 8;

impl Desk {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer) -> Self {
        Self { shared, writer: Mutex::new(writer), slow: AtomicBool::new(false) }
    }

    /// Queues `waiting`, and sees to it that it is written.
    pub(super) fn put(&self, waiting: Waiting) -> Result<(), JournalError> {
        let awaited = waiting.reply.is_some();
        self.shared.queue.push(waiting)?;
        let at_once = self.shared.settings.durability == Durability::Process && !self.slow.load(Ordering::Relaxed);
        if at_once && !awaited {
            self.shared.queue.linger();
        } else if !(at_once && self.wrote_all()) {
            self.shared.queue.wake();
        }
        Ok(())
    }

    /// Writes what waits, unless somebody else does. `false` if the thread must go on.
    fn wrote_all(&self) -> bool {
        // Whoever holds the writer looks here once more after letting go, so nothing waits unseen.
        for _ in 0..GROUPS_MAX {
            if self.shared.queue.is_empty() {
                return true;
            }
            let mut writer = match self.writer.try_lock() {
                Ok(writer) => writer,
                Err(TryLockError::WouldBlock) => return true,
                Err(TryLockError::Poisoned(_)) => {
                    self.shared.queue.abandon();
                    return true;
                }
            };
            if writer.segment_is_full() {
                return false;
            }
            if self.write_next(&mut writer) > SLOW {
                self.slow.store(true, Ordering::Relaxed);
                return false;
            }
        }
        false
    }

    /// Writes for those who may not wait for the disk, until the queue is closed and empty.
    pub(super) fn run(&self) {
        while self.shared.queue.wait() {
            match self.write_group() {
                None => return,
                Some(Ok(took)) if took <= SLOW => self.slow.store(false, Ordering::Relaxed),
                Some(_) => {}
            }
        }
    }

    /// Writes what waits so far, for whoever is about to read it.
    pub(super) fn settle(&self) {
        if !self.shared.queue.is_empty() {
            self.write_group();
        }
    }

    /// Writes one group, and waits for the disk where it must. `None` once nothing is written any more.
    fn write_group(&self) -> Option<Result<Duration, JournalError>> {
        let mut writer = self.writer()?;
        if let Err(error) = writer.rotate() {
            self.shared.queue.take().into_iter().for_each(|waiting| waiting.answer(Err(error.clone())));
            return Some(Err(error));
        }
        Some(Ok(self.write_next(&mut writer)))
    }

    fn write_next(&self, writer: &mut Writer) -> Duration {
        let began = self.shared.clock.monotonic();
        writer.write(self.shared.queue.take());
        self.shared.clock.monotonic().since(began)
    }

    /// Nothing is written any more after a panic in the middle of it: nobody knows what the disk has.
    fn writer(&self) -> Option<MutexGuard<'_, Writer>> {
        self.writer.lock().inspect_err(|_| self.shared.queue.abandon()).ok()
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Disk,
    /// The end of the last segment; `None` once what the disk holds is not known any more.
    tail: Option<Box<dyn Tail>>,
    head: Head,
}

/// What of a group is to be written.
struct Group {
    lines: Vec<u8>,
    head: Head,
    accepted: Vec<Accepted>,
}

struct Accepted {
    waiting: Waiting,
    record: Record,
    /// Where its line ends among those of the group.
    end: u64,
}

impl Writer {
    pub(super) fn open(shared: Arc<Shared>, disk: Disk) -> Result<Self, OpenError> {
        let path = segment::path(&shared.dir, shared.state().segments.last().map_or(1, |segment| segment.first_seq));
        let open = || {
            let tail = disk.tail(&path)?;
            segment::sync_dir(&shared.dir)?;
            Ok(tail)
        };
        let tail = open().map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let head = shared.heads.borrow().clone();
        Ok(Self { shared, disk, tail: Some(tail), head })
    }

    /// Writes one event before anybody else can.
    pub(super) fn write_at_start(&mut self, event: &Event) -> Result<(), JournalError> {
        let (reply, mut written) = tokio::sync::oneshot::channel();
        self.rotate()?;
        self.write(vec![Waiting::new(event, Some(reply))?]);
        written.try_recv().unwrap_or(Err(JournalError::Stopped)).map(drop)
    }

    fn write(&mut self, waiting: Vec<Waiting>) {
        let group = self.chain(waiting);
        if group.accepted.is_empty() {
            return;
        }
        match self.put(&group.lines) {
            Ok(()) => self.publish(group),
            // Said here too: nobody waits for an outcome.
            Err(error) => {
                tracing::error!(%error, dir = %self.shared.dir.display(), records = group.accepted.len(), "journal not written");
                group.accepted.into_iter().for_each(|accepted| accepted.waiting.answer(Err(error.clone())));
            }
        }
    }

    /// Makes records of what has room, and answers what has none.
    fn chain(&self, waiting: Vec<Waiting>) -> Group {
        let now = self.shared.clock.now();
        let unshipped = self.shared.state().unshipped_bytes;
        let mut group =
            Group { lines: Vec::new(), head: self.head.clone(), accepted: Vec::with_capacity(waiting.len()) };
        for mut waiting in waiting {
            let text = std::mem::take(&mut waiting.text);
            let record = Record::of_text(&group.head, self.shared.source.clone(), now, text);
            let before = group.lines.len();
            // Writing JSON to memory does not fail, and a record has no map.
            let whole = serde_json::to_writer(&mut group.lines, &record).is_ok();
            group.lines.push(b'\n');
            let limit = self.shared.settings.unshipped_bytes_max;
            if !whole || unshipped + group.lines.len() as u64 > waiting.room.of(limit) {
                group.lines.truncate(before);
                waiting.answer(Err(JournalError::Full(limit)));
                continue;
            }
            group.head = record.head();
            group.accepted.push(Accepted { waiting, record, end: group.lines.len() as u64 });
        }
        group
    }

    /// Writes `lines` in full, or leaves the segment as it was, or stops for good.
    fn put(&mut self, lines: &[u8]) -> Result<(), JournalError> {
        let mut tail = self.tail.take().ok_or(JournalError::Stopped)?;
        let bytes = self.shared.state().segments.last().map_or(0, |segment| segment.bytes);
        if let Err(error) = tail.append(lines) {
            // Half a record must not stay: what is written next would follow it on the same line.
            if tail.cut(bytes).is_ok() {
                self.tail = Some(tail);
            }
            return Err(JournalError::Write(Arc::new(error)));
        }
        if self.shared.settings.durability == Durability::Disk
            && let Err(error) = tail.sync()
        {
            // After a failed sync nobody knows what the disk has, and a second sync may succeed without it.
            return Err(JournalError::Write(Arc::new(error)));
        }
        self.tail = Some(tail);
        Ok(())
    }

    fn publish(&mut self, group: Group) {
        let written = self.note(group.lines.len() as u64, group.accepted);
        self.head = group.head;
        self.shared.heads.send_replace(self.head.clone());
        written.into_iter().for_each(|(waiting, head)| waiting.answer(Ok(head)));
    }

    fn note(&self, bytes: u64, accepted: Vec<Accepted>) -> Vec<(Waiting, Head)> {
        let mut written = Vec::with_capacity(accepted.len());
        let mut state = self.shared.state();
        let state = &mut *state;
        let Some(segment) = state.segments.last_mut() else { return written };
        let begin = segment.bytes;
        for Accepted { waiting, record, end } in accepted {
            state.notes.take(&waiting.note, record.seq, segment);
            written.push((waiting, record.head()));
            state.recent.push(record, Place { segment: segment.first_seq, bytes: begin + end });
        }
        segment.bytes += bytes;
        state.unshipped_bytes += bytes;
        written
    }

    fn segment_is_full(&self) -> bool {
        self.shared.state().segments.last().is_some_and(|s| s.bytes >= self.shared.settings.segment_bytes)
    }

    /// Begins a new segment when the last one is full. Waits for the disk.
    fn rotate(&mut self) -> Result<(), JournalError> {
        if !self.segment_is_full() {
            return Ok(());
        }
        let first_seq = self.head.seq + 1;
        let tail = self.next_tail(first_seq).map_err(|error| JournalError::Write(Arc::new(error)))?;
        self.tail = Some(tail);
        self.shared.state().segments.push(Segment::empty(first_seq));
        Ok(())
    }

    fn next_tail(&mut self, first_seq: u64) -> io::Result<Box<dyn Tail>> {
        let tail = self.tail.as_mut().ok_or_else(|| io::Error::other(JournalError::Stopped))?;
        // Only the last segment may have lost its end in a power cut.
        tail.sync()?;
        let tail = self.disk.tail(&segment::path(&self.shared.dir, first_seq))?;
        segment::sync_dir(&self.shared.dir)?;
        Ok(tail)
    }
}
