//! How the authority comes to know that no edge serves what was ended, and the receipt that it then gives, once for all.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use crate::authority::presence::Word;
use crate::authority::{Authority, AuthorityError};
use crate::clock::{Monotonic, Timestamp};
use crate::revocation::Entry;
use crate::revocation::receipt::{EdgeOutcome, Outcome, Reached, Receipt};
use crate::store::{Call, Owed, OwedEdge, StoreError};

/// How often the clocks are looked at while nothing is heard.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much longer than the bound somebody who asks for a receipt is kept waiting.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many moments at which the log had grown are remembered.
const HEADS_MAX: usize = 1024;

/// A receipt as it is kept and answered: JSON, byte for byte the same for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptText(Box<str>);

impl ReceiptText {
    /// The text.
    pub fn into_string(self) -> String {
        self.0.into_string()
    }
}

/// Counts a receipt that is waited for, however the wait ends.
struct Pending<'a>(&'a Gauge);

impl<'a> Pending<'a> {
    fn one(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// That no edge serves it.
enum Proven {
    /// By a receipt that was given already.
    Given(Box<str>),
    /// By what is known now.
    Now(Box<Receipt>),
}

/// What was ended, and since when at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// What every edge must have reached.
    pub(super) reached: Reached,
    /// A revocation target, or a root key.
    pub(super) target: String,
    /// When it was committed, by the wall clock of whoever committed it.
    pub(super) committed: Timestamp,
    /// A moment of this process at or after the commit.
    pub(super) since: Monotonic,
}

/// When this process knew how far the log went. The earlier a commit is known, the sooner no lease from before it holds.
#[derive(Default)]
pub(super) struct Growth(Mutex<VecDeque<(u64, Monotonic)>>);

impl Growth {
    /// At `now` the log is known to reach `head`.
    pub(super) fn reached(&self, head: u64, now: Monotonic) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.back().is_some_and(|(known, _)| *known >= head) {
            return;
        }
        if heads.len() >= HEADS_MAX {
            // A later moment for an entry is right too, only longer to wait from.
            heads.pop_front();
        }
        heads.push_back((head, now));
    }

    /// The log went back: what was known of it is of another one.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The first moment at which this process knew of the entry at `seq`; `now` if it knows only now.
    fn since(&self, seq: u64, now: Monotonic) -> Monotonic {
        let heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heads.iter().find(|(head, _)| *head >= seq).map_or(now, |(_, at)| *at)
    }
}

impl Authority {
    /// The receipt for a committed entry: the one that was given, or, once no edge can serve what it kills, a new one.
    ///
    /// Any replica may give it, whoever committed the entry; of two who do, the first stays.
    pub(super) async fn receipt_for(&self, entry: &Entry) -> Result<ReceiptText, AuthorityError> {
        let since = self.growth.since(entry.seq, self.clock.monotonic());
        self.log.grown_to(entry.seq);
        let target = entry.target.to_string();
        let ended = Ended { reached: Reached::Log(entry.seq), target, committed: entry.at, since };
        let given = async {
            let _pending = Pending::one(&self.metrics.receipts_pending);
            match self.proven(&ended).await? {
                Proven::Given(receipt) => Ok(receipt),
                Proven::Now(receipt) => {
                    let kept = self.store.add_receipt(entry.seq, &receipt.to_json()).await?;
                    self.metrics.time_to_revoke.observe(self.clock.monotonic().since(since).as_secs_f64());
                    Ok(kept)
                }
            }
        };
        given.await.map(ReceiptText).map_err(|source| AuthorityError::Unproven { seq: entry.seq, source })
    }

    /// The receipt for a change of the settings. It is not kept: each such call is a change of its own.
    pub(super) async fn receipt_for_settings(&self, ended: &Ended) -> Result<ReceiptText, AuthorityError> {
        Ok(match self.proven(ended).await? {
            Proven::Given(receipt) => ReceiptText(receipt),
            Proven::Now(receipt) => ReceiptText(receipt.to_json().into()),
        })
    }

    /// The receipt for the entry at `seq`; `None` if it cannot be given within the time that a receipt takes at most.
    pub async fn receipt(&self, seq: u64) -> Result<Option<ReceiptText>, AuthorityError> {
        // An entry that has left the log may still have its receipt.
        if let Some(receipt) = self.owed(seq).await?.receipt {
            return Ok(Some(ReceiptText(receipt)));
        }
        let entry = self.revocation(seq).await?;
        let within = self.bound() + PATIENCE;
        tokio::time::timeout(within, self.receipt_for(&entry)).await.ok().transpose()
    }

    /// The longest that an edge can go on after a commit: the lease, and the allowance for clocks of different speed.
    pub(super) fn bound(&self) -> Duration {
        self.terms.lease + self.terms.drift
    }

    /// What the receipt for `seq` depends on. Which edges are gone, and since when, is remembered.
    pub(super) async fn owed(&self, seq: u64) -> Result<Owed, StoreError> {
        let owed = self.store.owed(seq).await?;
        self.presence.found(&owed.edges, self.clock.monotonic());
        Ok(owed)
    }

    /// Waits until no edge can serve what was ended: each has acknowledged it, or was silent for longer than any lease.
    ///
    /// Every lease that does not know of it was asked for before the commit (the feed reads the log after a request
    /// came), so it ends at most one lease later, by the edge's clock.
    async fn proven(&self, ended: &Ended) -> Result<Proven, StoreError> {
        // No entry has the place 0.
        let seq = if let Reached::Log(seq) = ended.reached { seq } else { 0 };
        let (mut heard, mut calls) = (self.presence.subscribe(), self.store.calls());
        // Read after the commit: every edge that got a lease before it is in there, removed ones included.
        let Owed { receipt, edges: mut waiting } = self.owed(seq).await?;
        if let Some(receipt) = receipt {
            return Ok(Proven::Given(receipt));
        }
        let mut edges = Vec::with_capacity(waiting.len());
        let mut asked = false;
        loop {
            heard.mark_unchanged();
            self.settle(ended, &mut waiting, &mut edges);
            if waiting.is_empty() {
                return Ok(Proven::Now(Box::new(self.signed(ended, edges))));
            }
            let now = self.clock.monotonic();
            if !asked && waiting.iter().any(|edge| !self.presence.follows(&edge.key, now)) {
                asked = true;
                self.store.want_acknowledged(&self.replica).await?;
            }
            tokio::select! {
                _ = heard.changed() => {}
                call = calls.recv() => if !matches!(call, Ok(Call::Wanted(_))) {
                    while calls.try_recv().is_ok() {}
                    if let Some(receipt) = self.owed(seq).await?.receipt {
                        return Ok(Proven::Given(receipt));
                    }
                },
                // Only bounds how late a test's or a suspended machine's clock is noticed.
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Moves the edges that can serve it no longer from `waiting` to `edges`.
    fn settle(&self, ended: &Ended, waiting: &mut Vec<OwedEdge>, edges: &mut Vec<EdgeOutcome>) {
        let over = self.clock.monotonic().since(ended.since) > self.bound();
        let at = self.now();
        waiting.retain(|edge| match self.presence.word(&edge.key, ended.reached, ended.since, self.bound()) {
            Word::NoLease => false,
            Word::Nothing if !over => true,
            word => {
                let how = if word == Word::Acknowledged { Outcome::Acknowledged } else { Outcome::LeaseEnded };
                edges.push(EdgeOutcome { edge: edge.name.clone(), key: edge.key, how, at });
                false
            }
        });
    }

    fn signed(&self, ended: &Ended, edges: Vec<EdgeOutcome>) -> Receipt {
        let (seq, settings) = match ended.reached {
            Reached::Log(seq) => (Some(seq), None),
            Reached::Settings(version) => (None, Some(version)),
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let given = self.now();
        // Whoever completes another one's receipt saw the entry later than it was committed.
        let elapsed = self.clock.monotonic().since(ended.since).max(given.since(ended.committed));
        Receipt {
            seq,
            settings,
            target: ended.target.clone(),
            committed: ended.committed,
            given,
            elapsed_ms: millis(elapsed),
            bound_ms: millis(self.bound()),
            edges,
            issuer: self.issuer().into(),
            key: self.key.public(),
            signature: String::new(),
        }
        .signed(&self.key)
    }
}
