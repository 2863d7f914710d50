//! Whether any edge used a credential for what was revoked: its own records, compared with the log and the receipts.
//!
//! Measured, not assumed. The figure is 0, or something is broken: then it is logged with the record that shows it.

use std::collections::HashMap;
use std::time::Duration;

use crate::audit::{Decision, Event, Injected, Record, Source};
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::RequestId;
use crate::revocation::{Entry, Receipt, Target};
use crate::store::AuditQuery;

/// How far an edge's clock may be ahead of the authority's: an edge that is further off has no lease (`spec/wire.md`).
const CLOCKS_APART_MAX: Duration = Duration::from_secs(30);

/// A credential that was used although it must not have been.
#[derive(Debug)]
pub(super) struct Injection {
    request: RequestId,
    record: u64,
    entry: u64,
}

impl Injection {
    pub(super) fn report(&self, source: &Source) {
        let Self { request, record, entry } = self;
        tracing::error!(%source, %request, record, entry, "a credential was used for what was revoked");
    }
}

/// What was looked up already, for the records of one shipment.
#[derive(Default)]
struct Asked {
    /// Entries of the log, by what they are for; of those that concern calls seen so far.
    latest: HashMap<Target, Option<Entry>>,
    /// When the receipt for an entry was given.
    given: HashMap<u64, Option<Timestamp>>,
}

impl Authority {
    /// The calls among `records` that used a credential although the edge knew the entry that ends them, or although a
    /// receipt for it had been given before the call was decided.
    pub(super) async fn injections(
        &self,
        source: &Source,
        records: &[Record],
    ) -> Result<Vec<Injection>, AuthorityError> {
        let mut decided: HashMap<RequestId, (Timestamp, Box<Decision>)> = HashMap::new();
        let (mut asked, mut found) = (Asked::default(), Vec::new());
        for record in records {
            match record.read() {
                Ok(Event::Decision(decision)) => drop(decided.insert(decision.request, (record.at, decision))),
                Ok(Event::Outcome(outcome)) if outcome.injected_at_seq.is_some() => {
                    let request = outcome.request;
                    let decision = match decided.remove(&request) {
                        Some(decision) => Some(decision),
                        None => self.decision(source, request).await?,
                    };
                    let Some((at, decision)) = decision else { continue };
                    let Some(injected) = Injected::of(&decision, &outcome) else { continue };
                    let entry = self.wronged(injected, at, &mut asked).await?;
                    found.extend(entry.map(|entry| Injection { request, record: record.seq, entry }));
                }
                // An event of another version is looked at by that one.
                Ok(Event::Outcome(_) | Event::Change(_)) | Err(_) => {}
            }
        }
        Ok(found)
    }

    /// The entry that should have kept a call that was decided at `at` from its credential.
    async fn wronged(
        &self,
        injected: Injected<'_>,
        at: Timestamp,
        asked: &mut Asked,
    ) -> Result<Option<u64>, AuthorityError> {
        let targets = injected.targets();
        let unknown: Vec<Target> =
            targets.iter().filter(|target| !asked.latest.contains_key(target)).cloned().collect();
        let latest = self.store.latest_revocations(&unknown).await?;
        asked.latest.extend(unknown.into_iter().map(|target| (target, None)));
        asked.latest.extend(latest.into_iter().map(|entry| (entry.target.clone(), Some(entry))));
        for target in &targets {
            let Some(entry) = asked.latest.get(target).and_then(Option::as_ref) else { continue };
            if !injected.ended_by(entry) {
                continue;
            }
            let given = match asked.given.get(&entry.seq) {
                Some(given) => *given,
                None => {
                    let given = self.receipt_given(entry.seq).await?;
                    asked.given.insert(entry.seq, given);
                    given
                }
            };
            if injected.knew(entry) || given.is_some_and(|given| at > given.after(CLOCKS_APART_MAX)) {
                return Ok(Some(entry.seq));
            }
        }
        Ok(None)
    }

    /// The decision about a request whose outcome came in a later shipment.
    async fn decision(
        &self,
        source: &Source,
        request: RequestId,
    ) -> Result<Option<(Timestamp, Box<Decision>)>, AuthorityError> {
        let query = AuditQuery {
            source: Some(source.clone()),
            request: Some(request.to_string().into()),
            limit: 10,
            ..AuditQuery::default()
        };
        let records = self.store.audit(&query).await?;
        Ok(records.into_iter().find_map(|(_, record)| match record.read() {
            Ok(Event::Decision(decision)) => Some((record.at, decision)),
            _ => None,
        }))
    }

    /// When the receipt for the entry at `seq` was given, if it was.
    async fn receipt_given(&self, seq: u64) -> Result<Option<Timestamp>, AuthorityError> {
        let receipt = self.store.owed(seq).await?.receipt;
        Ok(receipt.and_then(|receipt| Receipt::parse(&receipt).ok()).map(|receipt| receipt.given))
    }
}
