//! Wakes those who wait for the revocation log to grow, or for a call of another process. Only a hint: the database is the truth.

use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::store::Call;

/// What this process has heard.
pub(super) struct Hint {
    /// Where the log ends.
    end: watch::Sender<u64>,
    calls: broadcast::Sender<Call>,
}

/// How long a waiter waits at most: a lost notification costs no more than this.
const WAIT_MAX: Duration = Duration::from_millis(250);
/// How many calls wait for a slow listener before it is told that it missed some.
const CALLS_KEPT: usize = 64;

impl Hint {
    pub(super) fn new() -> Self {
        Self { end: watch::Sender::new(0), calls: broadcast::Sender::new(CALLS_KEPT) }
    }

    /// The log has grown at least to `seq`.
    pub(super) fn grew(&self, seq: u64) {
        self.end.send_if_modified(|known| {
            let more = seq > *known;
            *known = seq.max(*known);
            more
        });
    }

    /// The log ends at `seq`, even if more was heard before: another database took over.
    pub(super) fn ends(&self, seq: u64) {
        self.end.send_replace(seq);
    }

    /// Returns when the log is known to reach beyond `seq`, or after a while.
    pub(super) async fn beyond(&self, seq: u64) {
        let mut heard = self.end.subscribe();
        // Both endings mean the same to the caller: look at the log.
        let _ = tokio::time::timeout(WAIT_MAX, heard.wait_for(|known| *known > seq)).await;
    }

    /// A process called.
    pub(super) fn call(&self, call: Call) {
        // Without listeners there is nobody to tell.
        let _ = self.calls.send(call);
    }

    /// To hear the calls from now on.
    pub(super) fn calls(&self) -> broadcast::Receiver<Call> {
        self.calls.subscribe()
    }
}
