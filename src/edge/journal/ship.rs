//! Handing records to the authority: batches from memory or disk, and the watermark of what it has.

use std::io;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::audit::{ChainError, Head, Record};
use crate::edge::journal::segment::{self, Line, Lines, Segment};
use crate::edge::journal::{Durability, JournalError, OpenError, Shared};
use crate::id::RequestId;

/// Behind a record: a segment, by its first place, and a byte in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) bytes: u64,
}

/// The next records of the chain, as they stand in the journal.
#[derive(Debug, Default)]
pub struct Batch {
    texts: Vec<Bytes>,
    bytes: usize,
    head: Option<Head>,
}

impl Batch {
    /// Each record's JSON text.
    pub fn texts(&self) -> &[Bytes] {
        &self.texts
    }

    /// Where the chain ends with the last of them; `None` where there is none.
    pub const fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Whether it holds so many records, or about so many bytes. Never without any.
    pub fn is_full(&self, records_max: usize, bytes_max: usize) -> bool {
        self.texts.len() >= records_max.max(1) || self.bytes >= bytes_max.max(1)
    }

    /// The records, read.
    pub fn records(&self) -> serde_json::Result<Vec<Record>> {
        self.texts.iter().map(|text| serde_json::from_slice(text)).collect()
    }

    pub(super) fn push(&mut self, text: Bytes, head: Head) {
        self.bytes += text.len();
        self.texts.push(text);
        self.head = Some(head);
    }
}

/// How far the authority has the chain.
pub(super) struct Shipping {
    shipped: Head,
    /// What of it the watermark says.
    noted: u64,
    place: Place,
    /// Up to here the disk has it.
    synced: Place,
    /// The end of the batch that was read last: most often the next that the authority has.
    read: Option<BatchEnd>,
}

struct BatchEnd {
    head: Head,
    place: Place,
}

impl Shipping {
    pub(super) const fn from(shipped: Head, place: Place) -> Self {
        Self { noted: shipped.seq, shipped, place, synced: place, read: None }
    }
}

/// What is kept of the segments that were dropped.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watermark {
    /// The authority has everything up to here.
    pub(super) shipped: Head,
    /// Requests whose decision was dropped and whose outcome the authority does not have yet.
    pub(super) open: Vec<RequestId>,
}

const WATERMARK: &str = "shipped";

/// How many records the watermark may lag behind. An edge that was killed ships so many once more, where the authority does
/// not tell it that it has them.
const NOTED_EVERY: u64 = 16_384;

impl Watermark {
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = dir.join(WATERMARK);
        match std::fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(watermark) => Ok(Some(watermark)),
                Err(error) => Err(OpenError::Io { path, source: error.into() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(OpenError::Io { path, source }),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        segment::replace(dir, WATERMARK, &serde_json::to_vec(self)?)
    }
}

/// Records in order from a place, each checked to follow the one before it.
struct Reading<'a> {
    shared: &'a Shared,
    segments: Vec<Segment>,
    head: Head,
    place: Place,
    lines: Option<Lines>,
}

impl Reading<'_> {
    /// The text of the next record that was written in full; `None` at the end.
    fn next(&mut self) -> Result<Option<Bytes>, JournalError> {
        loop {
            let lines = match &mut self.lines {
                Some(lines) => lines,
                None => {
                    let Some(segment) = self.segments.iter().find(|s| s.first_seq == self.place.segment) else {
                        return Ok(None);
                    };
                    let path = segment.path(&self.shared.dir);
                    self.lines.insert(Lines::open(&path, self.place.bytes, segment.bytes).map_err(read_error)?)
                }
            };
            match lines.next().map_err(read_error)? {
                Some(Line::Record(record, end)) => {
                    record.follows(&self.head).map_err(JournalError::Damaged)?;
                    self.head = record.head();
                    self.place.bytes = end;
                    return Ok(Some(Bytes::copy_from_slice(lines.text())));
                }
                Some(Line::Torn(_)) => {
                    return Err(JournalError::Damaged(ChainError::Changed(self.head.seq + 1)));
                }
                None => {
                    self.lines = None;
                    let Some(next) = self.segments.iter().find(|s| s.first_seq > self.place.segment) else {
                        return Ok(None);
                    };
                    self.place = Place { segment: next.first_seq, bytes: 0 };
                }
            }
        }
    }
}

fn read_error(error: io::Error) -> JournalError {
    JournalError::Read(Arc::new(error))
}

fn write_error(error: io::Error) -> JournalError {
    JournalError::Write(Arc::new(error))
}

impl Shared {
    fn shipping(&self) -> MutexGuard<'_, Shipping> {
        // It is changed last and at once, when everything before has succeeded.
        self.shipping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self, shipping: &Shipping) -> Reading<'_> {
        let segments = self.state().segments.clone();
        Reading { shared: self, segments, head: shipping.shipped.clone(), place: shipping.place, lines: None }
    }

    pub(super) fn read_batch(&self, records_max: usize, bytes_max: usize) -> Result<Batch, JournalError> {
        let mut shipping = self.shipping();
        let (batch, place) = self.state().recent.take(shipping.shipped.seq, records_max, bytes_max);
        let (batch, place) = match place {
            Some(place) => (batch, place),
            None => self.read_back(&shipping, records_max, bytes_max)?,
        };
        let Some(head) = batch.head.clone() else { return Ok(batch) };
        let segments = self.state().segments.clone();
        self.sync_to(&mut shipping, &segments, place)?;
        shipping.read = Some(BatchEnd { head, place });
        Ok(batch)
    }

    fn read_back(
        &self,
        shipping: &Shipping,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<(Batch, Place), JournalError> {
        let mut reading = self.reading(shipping);
        let mut batch = Batch::default();
        while !batch.is_full(records_max, bytes_max) {
            let Some(text) = reading.next()? else { break };
            batch.push(text, reading.head.clone());
        }
        Ok((batch, reading.place))
    }

    /// Where `head` stands in what is not marked as shipped; `None` where this chain does not have it.
    fn read_to(&self, shipping: &Shipping, head: &Head) -> Result<Option<BatchEnd>, JournalError> {
        let mut reading = self.reading(shipping);
        while reading.head.seq < head.seq {
            if reading.next()?.is_none() {
                return Ok(None);
            }
        }
        let Reading { head: found, place, .. } = reading;
        Ok((found == *head).then_some(BatchEnd { head: found, place }))
    }

    /// Waits until the disk has everything up to `end`.
    fn sync_to(&self, shipping: &mut Shipping, segments: &[Segment], end: Place) -> Result<(), JournalError> {
        if self.settings.durability == Durability::Disk || end <= shipping.synced {
            return Ok(());
        }
        let mut synced = end;
        for segment in segments.iter().filter(|s| (shipping.synced.segment..=end.segment).contains(&s.first_seq)) {
            let file = std::fs::File::open(segment.path(&self.dir)).map_err(read_error)?;
            file.sync_data().map_err(read_error)?;
            synced = Place { segment: segment.first_seq, bytes: segment.bytes };
        }
        shipping.synced = synced.max(end);
        Ok(())
    }

    pub(super) fn mark_shipped(&self, head: &Head) -> Result<(), JournalError> {
        let mut shipping = self.shipping();
        let diverged = || JournalError::Diverged(head.seq);
        if head.seq < shipping.shipped.seq {
            // The answer to an earlier shipment, overtaken by a later one.
            return Ok(());
        }
        let BatchEnd { place, .. } = match shipping.read.take().filter(|end| end.head == *head) {
            Some(end) => end,
            None => self.read_to(&shipping, head)?.ok_or_else(diverged)?,
        };
        let dropped = self.droppable(head.seq, place);
        // Before anything is dropped: what it does not speak of must still be there.
        if !dropped.is_empty() || head.seq - shipping.noted.min(head.seq) >= NOTED_EVERY {
            self.note(&mut shipping, head, dropped.len()).map_err(write_error)?;
        }
        let mut state = self.state();
        let shipped_bytes = bytes_between(&state.segments, shipping.place, place);
        state.unshipped_bytes = state.unshipped_bytes.saturating_sub(shipped_bytes);
        drop(state);
        shipping.shipped = head.clone();
        shipping.place = place;
        for segment in dropped {
            remove(&segment.path(&self.dir)).map_err(write_error)?;
            self.state().segments.remove(0);
        }
        Ok(())
    }

    /// Has the watermark say all that was shipped, for an end in good order.
    pub(super) fn note_shipped(&self) -> io::Result<()> {
        let mut shipping = self.shipping();
        if shipping.noted == shipping.shipped.seq {
            return Ok(());
        }
        let shipped = shipping.shipped.clone();
        self.note(&mut shipping, &shipped, 0)
    }

    /// Has the watermark say `shipped`, and the requests that were decided in the oldest `dropped` segments or before, and have
    /// no outcome yet.
    fn note(&self, shipping: &mut Shipping, shipped: &Head, dropped: usize) -> io::Result<()> {
        let open = {
            let state = self.state();
            let first_kept = state.segments.get(dropped).map_or(0, |segment| segment.first_seq);
            state.notes.unsettled_before(first_kept)
        };
        Watermark { shipped: shipped.clone(), open }.write(&self.dir)?;
        shipping.noted = shipped.seq;
        Ok(())
    }

    /// The oldest segments that are shipped in full and hold no proof that could still be replayed, never the last one.
    fn droppable(&self, shipped_seq: u64, place: Place) -> Vec<Segment> {
        let now = self.clock.now();
        let mut state = self.state();
        state.notes.settle(shipped_seq);
        let older = state.segments.split_last().map_or(&[][..], |(_, older)| older);
        let done = |s: &&Segment| s.last_seq <= shipped_seq && s.first_seq < place.segment && s.proofs_until < now;
        older.iter().take_while(done).copied().collect()
    }
}

/// How many bytes of the chain's lines lie between two places.
fn bytes_between(segments: &[Segment], from: Place, to: Place) -> u64 {
    let between = segments.iter().filter(|segment| (from.segment..to.segment).contains(&segment.first_seq));
    (between.map(|segment| segment.bytes).sum::<u64>() + to.bytes).saturating_sub(from.bytes)
}

/// Removes a file; that it is gone already, because an earlier attempt stopped half way, is no error.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
