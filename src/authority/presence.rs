//! What each edge was last heard to know, and until when it may act on it. In memory, of this process alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::{Monotonic, Timestamp};
use crate::id::EdgeName;
use crate::key::PublicKey;
use crate::store::Edge;
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

/// What the edges were last heard to know.
pub(super) struct Presence {
    heard: Mutex<HashMap<PublicKey, Heard>>,
    /// Every key that was lately found registered, and when last.
    registered: Mutex<HashMap<PublicKey, (EdgeName, Monotonic)>>,
    changed: watch::Sender<()>,
}

impl Default for Presence {
    fn default() -> Self {
        Self { heard: Mutex::default(), registered: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Presence {
    /// An edge stated what it knows. The last statement counts: an edge that started anew knows nothing again.
    pub(super) fn hear(&self, edge: &Edge, request: &FeedRequest, at: Timestamp) {
        self.change(|heard| {
            let known = heard.entry(edge.key).or_insert_with(|| Heard {
                name: edge.name.clone(),
                seq: 0,
                settings: 0,
                at,
                lease_until: Monotonic::from_origin(Duration::ZERO),
            });
            known.seq = request.known;
            known.settings = request.settings.unwrap_or(0);
            known.at = at;
        });
        self.changed.send_replace(());
    }

    /// An edge is about to be told that its lease holds, at the latest until then.
    pub(super) fn lend_until(&self, edge: &Edge, until: Monotonic) {
        self.change(|heard| {
            if let Some(known) = heard.get_mut(&edge.key) {
                known.lease_until = known.lease_until.max(until);
            }
        });
    }

    /// These edges were found registered. What is heard of no others, and whose leases are over, is forgotten.
    pub(super) fn found(&self, edges: &[Edge], now: Monotonic, window: Duration) {
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        registered.extend(edges.iter().map(|edge| (edge.key, (edge.name.clone(), now))));
        registered.retain(|_, (_, last)| now.since(*last) <= window);
        self.change(|heard| heard.retain(|key, known| now < known.lease_until || registered.contains_key(key)));
    }

    /// Every key that was found registered within the window: another replica may have given it a lease.
    pub(super) fn lately_registered(&self, now: Monotonic, window: Duration) -> Vec<(PublicKey, EdgeName)> {
        let registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = registered.iter().filter(|(_, (_, last))| now.since(*last) <= window);
        lately.map(|(key, (name, _))| (*key, name.clone())).collect()
    }

    /// What is known of the edge with this key.
    pub(super) fn of(&self, key: &PublicKey) -> Option<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Every key that may still act on a lease from this process, registered or not.
    pub(super) fn leased(&self, now: Monotonic) -> Vec<(PublicKey, EdgeName)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let leased = heard.iter().filter(|(_, known)| now < known.lease_until);
        leased.map(|(key, known)| (*key, known.name.clone())).collect()
    }

    /// To wait for the next statement.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    fn change(&self, how: impl FnOnce(&mut HashMap<PublicKey, Heard>)) {
        how(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
