//! What waits for the writer: bounded, in order, taken in groups.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::audit::{Event, Head, Verdict};
use crate::edge::journal::JournalError;
use crate::edge::journal::recover::Note;

/// The most bytes of event text that are written together: bounds how long the first of a group waits for the last.
const GROUP_BYTES_MAX: usize = 1 << 20;

/// How long what nobody waits for may wait for others to be written with.
const LINGER: Duration = Duration::from_millis(5);

/// One event on its way to the disk.
pub(super) struct Waiting {
    /// Its JSON text.
    pub(super) text: Vec<u8>,
    pub(super) note: Note,
    pub(super) room: Room,
    pub(super) reply: Option<oneshot::Sender<Result<Head, JournalError>>>,
}

/// How much of the limits an event may use.
#[derive(Clone, Copy)]
pub(super) enum Room {
    /// A denial. It leaves room: otherwise whoever sends requests that are refused, for which nobody has to hold a token, would
    /// have all others refused as well.
    Denied,
    /// Another decision: a new call that can still be refused.
    New,
    /// The outcome of a call that was let through: it has room that decisions cannot take up.
    Owed,
}

impl Room {
    /// `limit`, with what is kept free for outcomes or without what is kept free for permits.
    pub(super) const fn of(self, limit: u64) -> u64 {
        match self {
            Self::Denied => limit - limit / 4,
            Self::New => limit,
            Self::Owed => limit.saturating_add(limit / 4).saturating_add(1 << 16),
        }
    }
}

impl Waiting {
    pub(super) fn new(
        event: &Event,
        reply: Option<oneshot::Sender<Result<Head, JournalError>>>,
    ) -> Result<Self, JournalError> {
        let text = event.json();
        if text.len() > Event::TEXT_BYTES_MAX {
            return Err(JournalError::TooLong);
        }
        let room = match event {
            Event::Decision(decision) if decision.verdict == Verdict::Denied => Room::Denied,
            Event::Decision(_) | Event::Change(_) => Room::New,
            Event::Outcome(_) => Room::Owed,
        };
        Ok(Self { text, note: Note::of(event), room, reply })
    }

    pub(super) fn answer(self, result: Result<Head, JournalError>) {
        if let Some(reply) = self.reply {
            // Whoever asked may have gone.
            let _ = reply.send(result);
        }
    }
}

pub(super) struct Queue {
    pending: Mutex<Pending>,
    filled: Condvar,
    records_max: usize,
}

struct Pending {
    waiting: VecDeque<Waiting>,
    /// For how many of them somebody waits.
    awaited: usize,
    closed: bool,
    /// What waits is to be written by the thread, now.
    urgent: bool,
    /// What waits is to be written by the thread, soon, unless others do.
    lingering: bool,
}

impl Queue {
    pub(super) fn new(records_max: usize) -> Self {
        let pending = Pending { waiting: VecDeque::new(), awaited: 0, closed: false, urgent: false, lingering: false };
        Self { pending: Mutex::new(pending), filled: Condvar::new(), records_max }
    }

    /// Takes in `waiting`, and answers for how many of those in line somebody waits.
    pub(super) fn push(&self, waiting: Waiting) -> Result<usize, JournalError> {
        let mut pending = self.pending();
        if pending.closed {
            return Err(JournalError::Stopped);
        }
        if pending.waiting.len() as u64 >= waiting.room.of(self.records_max as u64) {
            return Err(JournalError::Busy);
        }
        pending.awaited += usize::from(waiting.reply.is_some());
        pending.waiting.push_back(waiting);
        Ok(pending.awaited)
    }

    /// Wakes the thread that waits for a group. Whoever pushes does this, or writes what waits, or lets it linger.
    pub(super) fn wake(&self) {
        self.pending().urgent = true;
        self.filled.notify_one();
    }

    /// Has the thread write what waits in a moment, unless others do meanwhile.
    pub(super) fn linger(&self) {
        if !std::mem::replace(&mut self.pending().lingering, true) {
            self.filled.notify_one();
        }
    }

    /// Waits until there is a group to write; `false` once the queue is closed and empty.
    pub(super) fn wait(&self) -> bool {
        let mut pending = self.pending();
        loop {
            if pending.closed || (pending.urgent && !pending.waiting.is_empty()) {
                pending.urgent = false;
                return !pending.waiting.is_empty();
            }
            pending.urgent = false;
            if pending.lingering {
                let still = |pending: &mut Pending| !pending.closed && !pending.urgent;
                let waited = self.filled.wait_timeout_while(pending, LINGER, still);
                pending = waited.unwrap_or_else(PoisonError::into_inner).0;
                pending.lingering = false;
                // Others may have written it meanwhile.
                pending.urgent = true;
            } else {
                pending = self.filled.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Whether somebody waits for something in line.
    pub(super) fn is_awaited(&self) -> bool {
        self.pending().awaited > 0
    }

    /// Whether nothing is in line.
    pub(super) fn is_empty(&self) -> bool {
        self.pending().waiting.is_empty()
    }

    /// The next group; empty while nothing waits.
    pub(super) fn take(&self) -> Vec<Waiting> {
        let mut pending = self.pending();
        let mut bytes = 0;
        let mut fits = |waiting: &Waiting| {
            bytes += waiting.text.len();
            bytes <= GROUP_BYTES_MAX
        };
        let count = pending.waiting.iter().map(&mut fits).take_while(|fits| *fits).count().max(1);
        let count = count.min(pending.waiting.len());
        let group: Vec<_> = pending.waiting.drain(..count).collect();
        pending.awaited -= group.iter().filter(|waiting| waiting.reply.is_some()).count();
        group
    }

    /// Takes nothing more in. What waits is still taken out.
    pub(super) fn close(&self) {
        self.pending().closed = true;
        self.filled.notify_one();
    }

    /// Closes, and drops what waits: whoever asked is told that the journal stopped.
    pub(super) fn abandon(&self) {
        let mut pending = self.pending();
        pending.closed = true;
        pending.awaited = 0;
        pending.waiting.clear();
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
