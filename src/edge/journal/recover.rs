//! Opening a journal: what is on disk is read in full, checked, and cut back to its last whole record.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::audit::event::UsedProof;
use crate::audit::{ChainError, Event, Head, Record, Source, Verdict};
use crate::clock::Timestamp;
use crate::edge::journal::recent::Recent;
use crate::edge::journal::segment::{self, Line, Lines, Segment};
use crate::edge::journal::ship::{Place, Shipping, Watermark};
use crate::edge::journal::{OpenError, State};
use crate::id::RequestId;

/// What the journal must remember of an event.
#[derive(Clone, Debug)]
pub(super) struct Note {
    opens: Option<RequestId>,
    closes: Option<RequestId>,
    proof: Option<UsedProof>,
}

/// What the journal remembers of the events in it.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Requests that were allowed and have no outcome yet, with the place of the decision.
    open: HashMap<RequestId, u64>,
    /// Those whose outcome was not shipped yet: a power cut may still take it back.
    closed: VecDeque<Closed>,
}

#[derive(Debug)]
struct Closed {
    request: RequestId,
    decided: u64,
    ended: u64,
}

impl Note {
    pub(super) fn of(event: &Event) -> Self {
        match event {
            Event::Decision(decision) => Self {
                opens: (decision.verdict == Verdict::Allowed).then_some(decision.request),
                closes: None,
                proof: decision.proof.clone(),
            },
            Event::Outcome(outcome) => Self { opens: None, closes: Some(outcome.request), proof: None },
            Event::Change(_) => Self { opens: None, closes: None, proof: None },
        }
    }
}

impl Notes {
    /// Takes note of the record at `seq`, the newest of `segment`.
    pub(super) fn take(&mut self, note: &Note, seq: u64, segment: &mut Segment) {
        if let Some(request) = note.opens {
            self.open.insert(request, seq);
        }
        if let Some(request) = note.closes
            && let Some(decided) = self.open.remove(&request)
        {
            self.closed.push_back(Closed { request, decided, ended: seq });
        }
        if let Some(proof) = &note.proof {
            segment.proofs_until = segment.proofs_until.max(proof.until);
        }
        segment.last_seq = seq;
    }

    /// The requests that are open, in the order of their decisions.
    pub(super) fn open_requests(&self) -> Vec<RequestId> {
        let mut open: Vec<_> = self.open.iter().map(|(request, seq)| (*seq, *request)).collect();
        open.sort_unstable();
        open.into_iter().map(|(_, request)| request).collect()
    }

    /// The requests that were decided before `seq` and whose outcome is not there, or could still be lost.
    pub(super) fn unsettled_before(&self, seq: u64) -> Vec<RequestId> {
        let open = self.open.iter().map(|(request, decided)| (*request, *decided));
        let closed = self.closed.iter().map(|closed| (closed.request, closed.decided));
        open.chain(closed).filter(|(_, decided)| *decided < seq).map(|(request, _)| request).collect()
    }

    /// Forgets the outcomes that the authority has.
    pub(super) fn settle(&mut self, shipped_seq: u64) {
        while self.closed.front().is_some_and(|closed| closed.ended <= shipped_seq) {
            self.closed.pop_front();
        }
    }
}

/// What is on disk.
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) state: State,
    pub(super) shipping: Shipping,
    pub(super) used_proofs: Vec<UsedProof>,
    pub(super) torn_bytes: u64,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}

/// Makes `dir` and takes it for this process, until the file is dropped or the process dies.
pub(super) fn lock(dir: &Path) -> Result<File, OpenError> {
    segment::make_dir(dir).map_err(io_error(dir))?;
    let path = dir.join("lock");
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// Reads and checks everything in `dir`, and cuts off a torn end.
pub(super) fn scan(dir: &Path, source: &Source, stored: Option<&Head>, now: Timestamp) -> Result<Found, OpenError> {
    let watermark = Watermark::read(dir)?;
    let noted = watermark.as_ref().map(|watermark| watermark.shipped.clone());
    let mut scan = Scan {
        dir,
        source,
        dropped: noted.clone().unwrap_or_else(Head::empty),
        // What the authority says it has counts more than what it once said.
        shipped: stored.cloned().or_else(|| noted.clone()).unwrap_or_else(Head::empty),
        anchors: noted.into_iter().chain(stored.cloned()).collect(),
        head: watermark.is_none().then(Head::empty),
        shipped_to: None,
        state: State { segments: Vec::new(), notes: Notes::default(), recent: Recent::default(), unshipped_bytes: 0 },
        proofs: Vec::new(),
        torn_bytes: 0,
        now,
    };
    for request in watermark.into_iter().flat_map(|watermark| watermark.open) {
        scan.state.notes.open.insert(request, 0);
    }
    let firsts = segment::list(dir).map_err(io_error(dir))?;
    for (i, first_seq) in firsts.iter().enumerate() {
        scan.segment(*first_seq, if i + 1 == firsts.len() { Position::Last } else { Position::Inner })?;
    }
    scan.finish()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Inner,
    Last,
}

struct Scan<'a> {
    dir: &'a Path,
    source: &'a Source,
    /// Heads that the chain is known to have had, from elsewhere than the segments.
    anchors: Vec<Head>,
    /// Up to here, records may have been dropped.
    dropped: Head,
    /// Up to here, the authority has them.
    shipped: Head,
    /// Where the chain ends so far; `None` before the first record, when earlier ones were shipped and dropped.
    head: Option<Head>,
    /// Behind the last record that was shipped, once it was seen.
    shipped_to: Option<Place>,
    state: State,
    proofs: Vec<UsedProof>,
    torn_bytes: u64,
    now: Timestamp,
}

impl Scan<'_> {
    fn segment(&mut self, first_seq: u64, position: Position) -> Result<(), OpenError> {
        let path = segment::path(self.dir, first_seq);
        let mut segment = Segment::empty(first_seq);
        let mut lines = Lines::open(&path, 0, u64::MAX).map_err(io_error(&path))?;
        while let Some(line) = lines.next().map_err(io_error(&path))? {
            match line {
                Line::Record(record, end) => self.record(&record, &mut segment, &path, end)?,
                Line::Torn(at) => {
                    let next = segment.last_seq + 1;
                    self.cut(&path, at, &mut lines, position, next)?;
                    break;
                }
            }
        }
        let continues = match &self.head {
            Some(head) => head.seq == segment.last_seq,
            None => segment.last_seq <= self.dropped.seq,
        };
        if !continues {
            return Err(OpenError::Broken { path, at: 0, why: ChainError::Broken(first_seq) });
        }
        self.state.unshipped_bytes += segment.bytes;
        self.state.segments.push(segment);
        Ok(())
    }

    fn record(&mut self, record: &Record, segment: &mut Segment, path: &Path, end: u64) -> Result<(), OpenError> {
        if record.source != *self.source {
            return Err(OpenError::Foreign { dir: self.dir.to_owned(), found: record.source.clone() });
        }
        let at = segment.bytes;
        let broken = |why| OpenError::Broken { path: path.to_owned(), at, why };
        let before = match &self.head {
            Some(head) => head.clone(),
            None => self.before_first(record).ok_or_else(|| broken(ChainError::Broken(record.seq)))?,
        };
        record.follows(&before).map_err(broken)?;
        if record.seq != segment.last_seq + 1 {
            return Err(broken(ChainError::Broken(record.seq)));
        }
        if self.anchors.iter().any(|anchor| anchor.seq == record.seq && anchor.hash != record.hash) {
            return Err(broken(ChainError::Truncated(record.seq)));
        }
        let note = Note::of(&record.read().map_err(broken)?);
        self.state.notes.take(&note, record.seq, segment);
        self.proofs.extend(note.proof.filter(|proof| proof.until >= self.now));
        segment.bytes = end;
        if record.seq == self.shipped.seq {
            self.shipped_to = Some(Place { segment: segment.first_seq, bytes: end });
        }
        self.head = Some(record.head());
        Ok(())
    }

    /// What stood before the first record that is left. Only what was shipped may be gone, and the hash of the last
    /// record that was shipped vouches for all before it.
    fn before_first(&self, record: &Record) -> Option<Head> {
        let head = Head { seq: record.seq.checked_sub(1)?, hash: record.previous.clone() };
        let gone_was_shipped = head.seq < self.dropped.seq || head == self.dropped;
        gone_was_shipped.then_some(head)
    }

    /// Cuts off a write that did not end: the last lines of the last segment, none of which is a whole record.
    fn cut(
        &mut self,
        path: &PathBuf,
        at: u64,
        lines: &mut Lines,
        position: Position,
        seq: u64,
    ) -> Result<(), OpenError> {
        let broken = || OpenError::Broken { path: path.clone(), at, why: ChainError::Changed(seq) };
        if position == Position::Inner {
            return Err(broken());
        }
        while let Some(line) = lines.next().map_err(io_error(path))? {
            if let Line::Record(..) = line {
                return Err(broken());
            }
        }
        let file = OpenOptions::new().write(true).open(path).map_err(io_error(path))?;
        self.torn_bytes = file.metadata().map_err(io_error(path))?.len().saturating_sub(at);
        file.set_len(at).map_err(io_error(path))
    }

    fn finish(mut self) -> Result<Found, OpenError> {
        let mut head = self.head.take().unwrap_or_else(|| self.dropped.clone());
        self.state.notes.settle(self.shipped.seq);
        if self.head_was_lost(&head) {
            self.continue_from_shipped()?;
            head = self.shipped.clone();
        }
        if self.state.segments.is_empty() {
            self.state.segments.push(Segment::empty(head.seq.saturating_add(1)));
        }
        let first_seq = self.state.segments[0].first_seq;
        if first_seq > self.shipped.seq.saturating_add(1) {
            return Err(OpenError::Gone { dir: self.dir.to_owned(), stored: self.shipped.seq, first: first_seq });
        }
        let place = self.shipped_to.unwrap_or(Place { segment: first_seq, bytes: 0 });
        let shipped_bytes = self.state.segments.iter().map(|segment| match segment.first_seq.cmp(&place.segment) {
            Ordering::Less => segment.bytes,
            Ordering::Equal => place.bytes,
            Ordering::Greater => 0,
        });
        self.state.unshipped_bytes = self.state.unshipped_bytes.saturating_sub(shipped_bytes.sum());
        Ok(Found {
            head,
            shipping: Shipping::from(self.shipped, place),
            used_proofs: self.proofs,
            torn_bytes: self.torn_bytes,
            state: self.state,
        })
    }

    /// Whether the disk lost the end of what the authority has. Nothing of it is left to be shipped then.
    fn head_was_lost(&self, head: &Head) -> bool {
        head.seq < self.shipped.seq
    }

    fn continue_from_shipped(&mut self) -> Result<(), OpenError> {
        let open = self.state.notes.unsettled_before(u64::MAX);
        Watermark { shipped: self.shipped.clone(), open }.write(self.dir).map_err(io_error(self.dir))?;
        for segment in self.state.segments.drain(..) {
            let path = segment.path(self.dir);
            std::fs::remove_file(&path).map_err(io_error(&path))?;
        }
        self.state.unshipped_bytes = 0;
        Ok(())
    }
}
