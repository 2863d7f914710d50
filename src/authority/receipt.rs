//! Receipts: the authority's signed word that no edge serves what was revoked, and how it comes to know that.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::OnceCell;

use crate::authority::presence::Heard;
use crate::authority::{Authority, AuthorityError};
use crate::clock::{Monotonic, Timestamp};
use crate::id::EdgeName;
use crate::key::{KeyPair, PublicKey};

/// How many receipts are kept for clients that ask again.
const KEPT_MAX: usize = 4096;
/// How often the clocks are looked at while nothing is heard.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What every edge must have reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// This place of the revocation log.
    Log(u64),
    /// This version of the settings.
    Settings(u64),
}

/// A signed statement: from now on no edge serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What every edge has reached, or was cut off from.
    pub reached: Reached,
    /// What was ended: a revocation target, or `root-key/<id>`.
    pub target: String,
    /// When it was committed.
    pub committed: Timestamp,
    /// How each edge came to it, by name.
    pub edges: Vec<EdgeOutcome>,
    /// How long that took, from commit.
    pub elapsed: Duration,
    /// How long it can take at most.
    pub bound: Duration,
    /// The issuer.
    pub issuer: Box<str>,
    /// The authority's key.
    pub key: PublicKey,
    /// Its signature over [`Receipt::signed_text`], base64url.
    pub signature: String,
}

/// How one edge came to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EdgeOutcome {
    /// The edge's name.
    pub edge: EdgeName,
    /// The edge's key.
    pub key: PublicKey,
    /// How.
    pub how: Outcome,
    /// When that was known.
    pub at: Timestamp,
}

/// Why an edge no longer serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It stated that it knows, and that what hung on it is cut.
    Acknowledged,
    /// It was silent for so long that no lease of it can hold.
    LeaseEnded,
}

impl Outcome {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::LeaseEnded => "lease_ended",
        }
    }
}

impl Receipt {
    /// The text that is signed: one line for each fact, none of which can hold a line break. `spec/authority.md` defines it.
    pub fn signed_text(&self) -> String {
        use std::fmt::Write as _;
        let (what, n) = match self.reached {
            Reached::Log(seq) => ("seq", seq),
            Reached::Settings(version) => ("settings", version),
        };
        let mut text = format!(
            "writ receipt v1\nissuer {}\n{what} {n}\ntarget {}\ncommitted {}\nelapsed_ms {}\nbound_ms {}\n",
            self.issuer,
            self.target,
            self.committed.millis(),
            self.elapsed.as_millis(),
            self.bound.as_millis(),
        );
        for EdgeOutcome { edge, key, how, at } in &self.edges {
            let _ = writeln!(text, "edge {edge} {key} {} {}", how.as_str(), at.millis());
        }
        text
    }

    /// Whether the signature is `key`'s.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(&self.signature).ok().and_then(|bytes| bytes.try_into().ok());
        signature.is_some_and(|signature| key.verifies(self.signed_text().as_bytes(), &signature))
    }

    fn sign(mut self, key: &KeyPair) -> Self {
        self.signature = URL_SAFE_NO_PAD.encode(key.sign(self.signed_text().as_bytes()));
        self
    }
}

/// Receipts by idempotency key, for clients that lost the answer. In memory: after a restart the same key still finds the
/// same log entry, and gets a new receipt for it.
#[derive(Default)]
pub(super) struct Receipts {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_key: HashMap<String, Arc<OnceCell<Receipt>>>,
    /// Their keys, oldest first.
    order: VecDeque<String>,
}

impl Receipts {
    /// The place of the receipt for `key`; the oldest give way.
    pub(super) fn place(&self, key: &str) -> Arc<OnceCell<Receipt>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { by_key, order } = &mut *kept;
        if let Some(place) = by_key.get(key) {
            return Arc::clone(place);
        }
        if order.len() >= KEPT_MAX {
            let oldest = order.pop_front();
            oldest.and_then(|oldest| by_key.remove(&oldest));
        }
        order.push_back(key.to_owned());
        Arc::clone(by_key.entry(key.to_owned()).or_default())
    }
}

impl Heard {
    const fn has(&self, reached: Reached) -> bool {
        match reached {
            Reached::Log(seq) => self.seq >= seq,
            Reached::Settings(version) => self.settings >= version,
        }
    }
}

impl Authority {
    /// Waits until no edge can serve `target`: each has acknowledged it, or was silent for longer than any lease.
    ///
    /// `since` is a moment at or after the commit. Every lease that does not know of it was asked for before the commit (the
    /// feed reads the log after a request came), so it ends at most one lease later, by the edge's clock.
    pub(super) async fn proven(
        &self,
        reached: Reached,
        target: String,
        committed: Timestamp,
        since: Monotonic,
    ) -> Result<Receipt, AuthorityError> {
        let bound = self.terms.lease + self.terms.drift;
        let mut heard = self.presence.subscribe();
        // Read after the commit. A removed edge may still have a lease, from here or, seen lately, from another replica.
        let mut waiting = self.registered_or_leased().await?;
        let mut edges = Vec::with_capacity(waiting.len());
        loop {
            heard.mark_unchanged();
            let over = self.clock.monotonic().since(since) > bound;
            let at = self.now();
            waiting.retain(|(key, edge)| {
                let known = self.presence.of(key).is_some_and(|heard| heard.has(reached));
                if known || over {
                    let how = if known { Outcome::Acknowledged } else { Outcome::LeaseEnded };
                    edges.push(EdgeOutcome { edge: edge.clone(), key: *key, how, at });
                }
                !known && !over
            });
            if waiting.is_empty() {
                break;
            }
            // The sleep only bounds how late a test's or a suspended machine's clock is noticed.
            tokio::select! {
                _ = heard.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        edges.sort();
        let receipt = Receipt {
            reached,
            target,
            committed,
            edges,
            elapsed: self.clock.monotonic().since(since),
            bound,
            issuer: self.issuer().into(),
            key: self.key.public(),
            signature: String::new(),
        };
        Ok(receipt.sign(&self.key))
    }

    async fn registered_or_leased(&self) -> Result<Vec<(PublicKey, EdgeName)>, AuthorityError> {
        let mut all: Vec<_> = self.registered().await?.into_iter().map(|edge| (edge.key, edge.name)).collect();
        let now = self.clock.monotonic();
        all.extend(self.presence.lately_registered(now, self.registered_window()));
        all.extend(self.presence.leased(now));
        all.sort();
        all.dedup_by_key(|(key, _)| *key);
        Ok(all)
    }
}
