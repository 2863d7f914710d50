//! Whether any edge used a credential for what was revoked: its own records, compared with the log and the receipts.
//!
//! Measured, not assumed. The figure is 0, or something is broken: then it is logged with the record that shows it.

use std::collections::HashMap;
use std::time::Duration;

use crate::audit::event::{What, Who};
use crate::audit::{Decision, Event, Record, Source};
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

impl Authority {
    /// The calls among `records` that used a credential although the edge knew the entry that ends them, or although a
    /// receipt for it had been given before the call was decided.
    pub(super) async fn injections(
        &self,
        source: &Source,
        records: &[Record],
    ) -> Result<Vec<Injection>, AuthorityError> {
        let mut decided: HashMap<RequestId, (Timestamp, Box<Decision>)> = HashMap::new();
        let mut used = Vec::new();
        for record in records {
            match record.read() {
                Ok(Event::Decision(decision)) => drop(decided.insert(decision.request, (record.at, decision))),
                Ok(Event::Outcome(outcome)) => {
                    used.extend(outcome.injected_at_seq.map(|seq| (outcome.request, record.seq, seq)));
                }
                // An event of another version is looked at by that one.
                Ok(Event::Change(_)) | Err(_) => {}
            }
        }
        // One chain is asked for once, however many calls it made.
        let mut asked: HashMap<Box<str>, Vec<Entry>> = HashMap::new();
        let mut found = Vec::new();
        for (request, record, known) in used {
            if !decided.contains_key(&request) {
                decided.extend(self.decision(source, request).await?.map(|decision| (request, decision)));
            }
            let Some((at, decision)) = decided.get(&request) else { continue };
            let (Some(who), Some(what)) = (&decision.who, &decision.what) else { continue };
            let key = format!("{} {}", who.token_sha256, what.service).into_boxed_str();
            if !asked.contains_key(&key) {
                asked.insert(key.clone(), self.ended_by(who, what).await?);
            }
            for entry in asked.get(&key).into_iter().flatten() {
                if known >= entry.seq || self.receipted_before(entry.seq, *at).await? {
                    found.push(Injection { request, record, entry: entry.seq });
                    break;
                }
            }
        }
        Ok(found)
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

    /// The latest entry of each kind that ends what `who` does at a service. Of sessions and credentials the record says nothing.
    async fn ended_by(&self, who: &Who, what: &What) -> Result<Vec<Entry>, AuthorityError> {
        let mut targets: Vec<Target> = who.blocks.iter().copied().map(Target::Block).collect();
        targets.extend(who.holders.iter().copied().map(Target::Holder));
        targets.extend(who.subject.iter().map(|subject| Target::Subject(who.tenant.clone(), subject.clone())));
        let acting = |subject: &_| Target::Acting(who.tenant.clone(), who.agent.clone(), Clone::clone(subject));
        targets.extend(who.subject.iter().map(acting));
        targets.extend(who.grants.iter().copied().map(Target::Grant));
        targets.push(Target::Agent(who.tenant.clone(), who.agent.clone()));
        targets.push(Target::Service(who.tenant.clone(), what.service.clone()));
        targets.extend([Target::Tenant(who.tenant.clone()), Target::Everything]);
        let entries = self.store.latest_revocations(&targets).await?;
        if entries.is_empty() {
            return Ok(entries);
        }
        let epoch = match who.blocks.first() {
            Some(id) => self.store.issued(*id).await?.map(|writ| writ.epoch),
            None => None,
        };
        let ends = |entry: &Entry| match entry.target {
            Target::Block(_) | Target::Holder(_) => true,
            // What was minted later lives. Of a writ that is no longer on record, nothing can be said.
            _ => epoch.is_some_and(|epoch| epoch < entry.seq),
        };
        Ok(entries.into_iter().filter(ends).collect())
    }

    /// Whether the receipt for the entry at `seq` had certainly been given at `at`, by an edge's clock.
    async fn receipted_before(&self, seq: u64, at: Timestamp) -> Result<bool, AuthorityError> {
        let receipt = self.store.owed(seq).await?.receipt;
        let given = receipt.and_then(|receipt| Receipt::parse(&receipt).ok()).map(|receipt| receipt.given);
        Ok(given.is_some_and(|given| at > given.after(CLOCKS_APART_MAX)))
    }
}
