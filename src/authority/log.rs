//! The authority's own copy of the revocation log, and the wake-up call for whoever waits for news.

use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::revocation::{RevocationSet, Target, Use};
use crate::store::{Store, StoreError};
use crate::wire::ENTRIES_MAX;

/// How far log and settings are known to have grown. A hint for those who wait, never an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The log's head.
    pub(super) seq: u64,
    /// The settings' version.
    pub(super) settings: u64,
}

/// A copy of the log that is caught up with the store before it is asked.
pub(super) struct RevocationLog {
    set: RwLock<RevocationSet>,
    news: watch::Sender<News>,
}

impl RevocationLog {
    pub(super) async fn load(store: &dyn Store, now: Timestamp, settings: u64) -> Result<Self, StoreError> {
        let snapshot = store.revocation_snapshot(now).await?;
        let seq = snapshot.head;
        let set = RevocationSet::from_snapshot(seq, snapshot.entries);
        Ok(Self { set: RwLock::new(set), news: watch::Sender::new(News { seq, settings }) })
    }

    /// Reads what is new in the store. After it, everything that was committed before the call is known.
    pub(super) async fn catch_up(&self, store: &dyn Store) -> Result<u64, StoreError> {
        loop {
            let known = self.known();
            let entries = store.revocations_after(known, ENTRIES_MAX).await?;
            let last = entries.len() < ENTRIES_MAX as usize;
            {
                let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
                for entry in entries {
                    // Another caller may have brought it meanwhile.
                    if entry.seq > set.seq() {
                        set.apply(entry).map_err(|_| StoreError::Corrupt { table: "revocations" })?;
                    }
                }
            }
            if last {
                let seq = self.known();
                self.grown_to(seq);
                return Ok(seq);
            }
        }
    }

    /// How much of the log is known.
    pub(super) fn known(&self) -> u64 {
        self.set.read().unwrap_or_else(PoisonError::into_inner).seq()
    }

    /// What of a use is revoked, as far as the log is known: catch up first.
    pub(super) fn revokes_use(&self, used: Use<'_>) -> Option<Target> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).revokes_use(used)
    }

    /// Drops what can no longer affect anything.
    pub(super) fn forget(&self, now: Timestamp) {
        self.set.write().unwrap_or_else(PoisonError::into_inner).forget(now);
    }

    /// Wakes whoever waits for the log.
    pub(super) fn grown_to(&self, seq: u64) {
        self.news.send_if_modified(|news| {
            let grown = seq > news.seq;
            news.seq = news.seq.max(seq);
            grown
        });
    }

    /// Wakes whoever waits for the settings.
    pub(super) fn settings_changed(&self, version: u64) {
        self.news.send_if_modified(|news| {
            let grown = version > news.settings;
            news.settings = news.settings.max(version);
            grown
        });
    }

    /// To wait for news.
    pub(super) fn subscribe(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }
}
