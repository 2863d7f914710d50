//! The one thread that writes: takes what waits in groups, chains it, writes it at once, and answers.

use std::io;
use std::sync::Arc;

use crate::audit::{Event, Head, Record};
use crate::edge::journal::queue::Waiting;
use crate::edge::journal::segment::{self, Disk, Segment, Tail};
use crate::edge::journal::{Durability, JournalError, OpenError, Shared};

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
    accepted: Vec<(Waiting, Head)>,
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

    /// Writes what is queued, until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(group) = self.shared.queue.take() {
            self.write(group);
        }
    }

    /// Writes one event before the thread runs.
    pub(super) fn write_at_start(&mut self, event: &Event) -> Result<(), JournalError> {
        let (reply, mut written) = tokio::sync::oneshot::channel();
        self.write(vec![Waiting::new(event, Some(reply))?]);
        written.try_recv().unwrap_or(Err(JournalError::Stopped)).map(drop)
    }

    fn write(&mut self, waiting: Vec<Waiting>) {
        if let Err(error) = self.rotate() {
            return waiting.into_iter().for_each(|waiting| waiting.answer(Err(error.clone())));
        }
        let group = self.chain(waiting);
        if group.accepted.is_empty() {
            return;
        }
        match self.put(&group.lines) {
            Ok(()) => self.publish(group),
            // Said here too: nobody waits for an outcome.
            Err(error) => {
                tracing::error!(%error, dir = %self.shared.dir.display(), records = group.accepted.len(), "journal not written");
                group.accepted.into_iter().for_each(|(waiting, _)| waiting.answer(Err(error.clone())));
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
            group.accepted.push((waiting, record.head()));
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
        let mut state = self.shared.state();
        let state = &mut *state;
        if let Some(segment) = state.segments.last_mut() {
            segment.bytes += group.lines.len() as u64;
            for (waiting, head) in &group.accepted {
                state.notes.take(&waiting.note, head.seq, segment);
            }
        }
        state.unshipped_bytes += group.lines.len() as u64;
        self.head = group.head;
        self.shared.heads.send_replace(self.head.clone());
        for (waiting, head) in group.accepted {
            waiting.answer(Ok(head));
        }
    }

    /// Begins a new segment when the last one is full.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let full = self.shared.state().segments.last().is_some_and(|s| s.bytes >= self.shared.settings.segment_bytes);
        if !full {
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

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue.abandon();
    }
}
