//! What each edge was last heard to know, and until when it may act on it: what this process heard, and what others recorded.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Monotonic, Timestamp};
use crate::id::EdgeName;
use crate::key::PublicKey;
use crate::revocation::receipt::Reached;
use crate::store::{Acknowledged, Edge, OwedEdge, Standing};
use crate::wire::FeedRequest;

/// What is known of one edge, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Its name.
    pub name: EdgeName,
    /// The log as far as it acknowledged it.
    pub seq: u64,
    /// The settings' version it acknowledged.
    pub settings: u64,
    /// When it was last heard.
    pub at: Timestamp,
    /// The latest end of any lease that this process gave it.
    pub lease_until: Monotonic,
}

impl Heard {
    const fn acknowledged(&self) -> Acknowledged {
        Acknowledged { seq: self.seq, settings: self.settings }
    }
}

/// What an edge's word is worth for a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It stated that it knows.
    Acknowledged,
    /// It has not said so.
    Nothing,
    /// It was removed so long before that no lease of it was left.
    NoLease,
}

/// What the edges were last heard to know.
pub(super) struct Presence {
    known: Mutex<Known>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct Known {
    heard: HashMap<PublicKey, Heard>,
    /// What was recorded of edges that follow other processes.
    recorded: HashMap<PublicKey, Acknowledged>,
    /// The edges that are gone, and when this process first knew it.
    gone: HashMap<PublicKey, Monotonic>,
}

impl Default for Presence {
    fn default() -> Self {
        Self { known: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Presence {
    /// An edge stated what it knows. The last statement counts: an edge that started anew knows nothing again.
    pub(super) fn hear(&self, edge: &Edge, request: &FeedRequest, at: Timestamp) {
        {
            let mut known = self.known();
            let heard = known.heard.entry(edge.key).or_insert_with(|| Heard {
                name: edge.name.clone(),
                seq: 0,
                settings: 0,
                at,
                lease_until: Monotonic::from_origin(Duration::ZERO),
            });
            heard.seq = request.known;
            heard.settings = request.settings.unwrap_or(0);
            heard.at = at;
        }
        self.changed.send_replace(());
    }

    /// An edge is about to be told that its lease holds, at the latest until then.
    pub(super) fn lend_until(&self, edge: &Edge, until: Monotonic) {
        if let Some(heard) = self.known().heard.get_mut(&edge.key) {
            heard.lease_until = heard.lease_until.max(until);
        }
    }

    /// These edges were found in the store, registered or lately gone. Of others nothing is remembered.
    pub(super) fn found(&self, edges: &[OwedEdge], now: Monotonic) {
        let mut known = self.known();
        let Known { heard, recorded, gone } = &mut *known;
        let standing: HashMap<_, _> = edges.iter().map(|edge| (edge.key, edge.standing)).collect();
        heard.retain(|key, _| standing.contains_key(key));
        *recorded = edges.iter().map(|edge| (edge.key, edge.recorded)).collect();
        gone.retain(|key, _| standing.get(key) == Some(&Standing::Gone));
        for edge in edges.iter().filter(|edge| edge.standing == Standing::Gone) {
            gone.entry(edge.key).or_insert(now);
        }
    }

    /// Whether the edge with this key has acknowledged that much, or can have had no lease at `since`.
    pub(super) fn word(&self, key: &PublicKey, reached: Reached, since: Monotonic, bound: Duration) -> Word {
        let known = self.known();
        let reaches = |acknowledged: Acknowledged| match reached {
            Reached::Log(seq) => acknowledged.seq >= seq,
            Reached::Settings(version) => acknowledged.settings >= version,
        };
        let acknowledged = known.heard.get(key).is_some_and(|heard| reaches(heard.acknowledged()))
            || known.recorded.get(key).copied().is_some_and(reaches);
        match known.gone.get(key) {
            _ if acknowledged => Word::Acknowledged,
            Some(gone) if since.since(*gone) > bound => Word::NoLease,
            _ => Word::Nothing,
        }
    }

    /// The log went back: what was acknowledged is of another one.
    pub(super) fn forget_acknowledged(&self) {
        let mut known = self.known();
        known.recorded.clear();
        for heard in known.heard.values_mut() {
            (heard.seq, heard.settings) = (0, 0);
        }
    }

    /// Whether the edge with this key may have a lease from this process.
    pub(super) fn follows(&self, key: &PublicKey, now: Monotonic) -> bool {
        self.known().heard.get(key).is_some_and(|heard| now < heard.lease_until)
    }

    /// How many edges may have a lease from this process.
    pub(super) fn leased(&self, now: Monotonic) -> usize {
        self.known().heard.values().filter(|heard| now < heard.lease_until).count()
    }

    /// What edges acknowledged that goes beyond `shared`.
    pub(super) fn beyond(&self, shared: &HashMap<PublicKey, Acknowledged>) -> Vec<(PublicKey, Acknowledged)> {
        let known = self.known();
        let heard = known.heard.iter().map(|(key, heard)| (*key, heard.acknowledged()));
        heard
            .filter(|(key, acknowledged)| {
                let shared = shared.get(key).copied().unwrap_or_default();
                acknowledged.seq > shared.seq || acknowledged.settings > shared.settings
            })
            .collect()
    }

    /// What is known of the edge with this key.
    pub(super) fn of(&self, key: &PublicKey) -> Option<Heard> {
        self.known().heard.get(key).cloned()
    }

    /// To wait for the next statement.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
