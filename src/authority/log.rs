//! The authority's own copy of the revocation log, packed, to answer edges from; and the wake-up call for whoever waits.
//!
//! Only a copy: that it is caught up with a head that was read from the store is for its reader to see to.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::{Mutex, watch};

use crate::authority::packed::Packed;
use crate::clock::Timestamp;
use crate::revocation::Statement;
use crate::store::{Store, StoreError};

/// How many rows are read from the store at once.
const ROWS: u32 = 4096;

/// How far log and settings are known to have grown. A hint for those who wait, never an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The log's head.
    pub(super) seq: u64,
    /// The settings' version.
    pub(super) settings: u64,
}

/// A copy of the log.
pub(super) struct RevocationLog {
    packed: RwLock<Packed>,
    /// Who reads from the store: one at a time.
    reader: Mutex<()>,
    news: watch::Sender<News>,
}

impl RevocationLog {
    pub(super) async fn load(store: &dyn Store, now: Timestamp, settings: u64) -> Result<Self, StoreError> {
        let news = watch::Sender::new(News { seq: 0, settings });
        let log = Self { packed: RwLock::default(), reader: Mutex::default(), news };
        let head = store.heads().await?.revocation_seq;
        log.catch_up(store, head, now).await?;
        Ok(log)
    }

    /// Reads what is missing up to `head`, a head that the store has answered.
    pub(super) async fn catch_up(&self, store: &dyn Store, head: u64, now: Timestamp) -> Result<(), StoreError> {
        if self.known() != head {
            let _reading = self.reader.lock().await;
            while self.known() < head {
                let after = self.known();
                let entries = store.live_revocations(after, head, now, ROWS).await?;
                let last = entries.last().map_or(after, |entry| entry.seq);
                let whole = entries.len() < ROWS as usize;
                let upto = if whole { head } else { last };
                self.packed.write().unwrap_or_else(PoisonError::into_inner).append(entries, upto);
            }
        }
        self.grown_to(head);
        Ok(())
    }

    /// Begins anew: the log in the store went back, and is another one.
    pub(super) async fn forget_all(&self) {
        let _reading = self.reader.lock().await;
        *self.packed.write().unwrap_or_else(PoisonError::into_inner) = Packed::default();
        self.news.send_modify(|news| news.seq = 0);
    }

    /// How much of the log is known.
    pub(super) fn known(&self) -> u64 {
        self.packed().known()
    }

    /// What comes after `after`, as far as it is known, and one page of it at most.
    pub(super) fn page(&self, after: u64) -> Statement {
        self.packed().page(after)
    }

    /// Drops some of what can no longer affect anything.
    pub(super) fn forget_some(&self, now: Timestamp) {
        self.packed.write().unwrap_or_else(PoisonError::into_inner).forget_some(now);
    }

    fn packed(&self) -> RwLockReadGuard<'_, Packed> {
        self.packed.read().unwrap_or_else(PoisonError::into_inner)
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
