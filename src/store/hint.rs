//! Wakes those who wait for the revocation log to grow. Only a hint: the log in the database is the truth.

use std::time::Duration;

use tokio::sync::watch;

/// The log's end as far as this process has heard.
pub(super) struct Hint(watch::Sender<u64>);

/// How long a waiter waits at most: a lost notification costs no more than this.
const WAIT_MAX: Duration = Duration::from_millis(250);

impl Hint {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// The log has grown at least to `seq`.
    pub(super) fn grew(&self, seq: u64) {
        self.0.send_if_modified(|known| {
            let more = seq > *known;
            *known = seq.max(*known);
            more
        });
    }

    /// The log ends at `seq`, even if more was heard before: another database took over.
    pub(super) fn ends(&self, seq: u64) {
        self.0.send_replace(seq);
    }

    /// Returns when the log is known to reach beyond `seq`, or after a while.
    pub(super) async fn beyond(&self, seq: u64) {
        let mut heard = self.0.subscribe();
        // Both endings mean the same to the caller: look at the log.
        let _ = tokio::time::timeout(WAIT_MAX, heard.wait_for(|known| *known > seq)).await;
    }
}
