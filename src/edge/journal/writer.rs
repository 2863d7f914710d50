//! The one place that writes: takes what waits in groups, chains it, writes it at once, and answers.
//!
//! A thread that serves writes where it stands, once for all its requests that have come so far, before it waits for more:
//! handing a record to another thread and waiting for its answer costs more than writing it. The journal's own thread writes
//! what may wait for a disk, and, a few milliseconds later, what nobody took along.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use bytes::Bytes;

use crate::audit::{Event, Head, Record};
use crate::edge::journal::queue::Waiting;
use crate::edge::journal::recent::Written;
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
/// How many may wait for a thread that serves to write them together.
const TOGETHER_MAX: usize = 32;
/// About what a line has beside the event.
const LINE_BYTES: usize = 256;

impl Desk {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer) -> Self {
        Self { shared, writer: Mutex::new(writer), slow: AtomicBool::new(false) }
    }

    /// Queues `waiting`, and sees to it that it is written: when [`Self::write_awaited`] is called, or soon.
    pub(super) fn put(&self, waiting: Waiting) -> Result<(), JournalError> {
        let is_awaited = waiting.reply.is_some();
        let awaited = self.shared.queue.push(waiting)?;
        if self.waits_for_the_disk() {
            self.shared.queue.wake();
        } else if is_awaited && awaited >= TOGETHER_MAX {
            self.write_all();
        } else {
            self.shared.queue.linger();
        }
        Ok(())
    }

    /// Writes what waits, if somebody waits for it.
    pub(super) fn write_awaited(&self) {
        // What waits for the disk is under way.
        if self.shared.queue.is_awaited() && !self.waits_for_the_disk() {
            self.write_all();
        }
    }

    fn waits_for_the_disk(&self) -> bool {
        self.shared.settings.durability == Durability::Disk || self.slow.load(Ordering::Relaxed)
    }

    fn write_all(&self) {
        if !self.wrote_all() {
            self.shared.queue.wake();
        }
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
            if self.write_groups().is_none() {
                return;
            }
        }
    }

    /// Writes what waits so far, for whoever is about to read it.
    pub(super) fn settle(&self) {
        if !self.shared.queue.is_empty() {
            self.write_groups();
        }
    }

    /// Writes a group, and another one while somebody waits: who came while the writer was taken relies on it.
    fn write_groups(&self) -> Option<()> {
        loop {
            if let Ok(took) = self.write_group()?
                && took <= SLOW
            {
                self.slow.store(false, Ordering::Relaxed);
            }
            if !self.shared.queue.is_awaited() {
                return Some(());
            }
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
    /// Where the chain ends with it.
    head: Head,
    /// Where its line begins and ends among those of the group.
    line: Range<usize>,
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
        let room = waiting.iter().map(|waiting| waiting.text.len() + LINE_BYTES).sum();
        let mut group = Group {
            lines: Vec::with_capacity(room),
            head: self.head.clone(),
            accepted: Vec::with_capacity(waiting.len()),
        };
        let limit = self.shared.settings.unshipped_bytes_max;
        for waiting in waiting {
            let begin = group.lines.len();
            let head = Record::write_after(&group.head, &self.shared.source, now, &waiting.text, &mut group.lines);
            let line = begin..group.lines.len();
            group.lines.push(b'\n');
            if unshipped + group.lines.len() as u64 > waiting.room.of(limit) {
                group.lines.truncate(begin);
                waiting.answer(Err(JournalError::Full(limit)));
                continue;
            }
            group.head = head.clone();
            group.accepted.push(Accepted { waiting, head, line });
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
        let Group { lines, head, accepted } = group;
        let answered = self.note(lines.into(), accepted);
        self.head = head;
        self.shared.heads.send_replace(self.head.clone());
        answered.into_iter().for_each(|(waiting, head)| waiting.answer(Ok(head)));
    }

    /// Takes note of what was written, and answers for what somebody waits.
    fn note(&self, lines: Bytes, accepted: Vec<Accepted>) -> Vec<(Waiting, Head)> {
        let mut answered = Vec::with_capacity(accepted.len());
        let mut state = self.shared.state();
        let state = &mut *state;
        let Some(segment) = state.segments.last_mut() else { return answered };
        let begin = segment.bytes;
        for Accepted { waiting, head, line } in accepted {
            state.notes.take(&waiting.note, head.seq, segment);
            if waiting.reply.is_some() {
                answered.push((waiting, head.clone()));
            }
            let behind = Place { segment: segment.first_seq, bytes: begin + line.end as u64 + 1 };
            state.recent.push(Written { text: lines.slice(line), head, behind });
        }
        segment.bytes += lines.len() as u64;
        state.unshipped_bytes += lines.len() as u64;
        answered
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
