//! Audit: what edges ship, and what operators read.

use crate::audit::{Checkpoint, Event, Record, Source};
use crate::authority::{Authority, AuthorityError};
use crate::store::{AuditQuery, Edge, StoreError};
use crate::wire::{AuditReceipt, AuditShipment};

/// The most records in one shipment.
const RECORDS_MAX: usize = 10_000;

impl Authority {
    /// Stores the next records of an edge's journal, exactly once however often they come.
    pub async fn take_shipment(&self, edge: &Edge, shipment: &AuditShipment) -> Result<AuditReceipt, AuthorityError> {
        let edge = &self.edge(&edge.key).await?;
        let source = Source::Edge(edge.name.clone());
        if shipment.records.len() > RECORDS_MAX {
            return Err(AuthorityError::Malformed(format!("ship at most {RECORDS_MAX} records at once")));
        }
        // An edge speaks for its own chain only.
        if shipment.records.iter().any(|record| record.source != source) {
            return Err(AuthorityError::Malformed(format!("every record must be of source `{source}`")));
        }
        for record in &shipment.records {
            record.is_whole().map_err(|error| AuthorityError::Malformed(error.to_string()))?;
            if record.event.get().len() > Event::TEXT_BYTES_MAX {
                return Err(AuthorityError::Malformed(format!("record {} is too long", record.seq)));
            }
        }
        if let Some(checkpoint) = &shipment.checkpoint {
            if checkpoint.source != source || checkpoint.key != edge.key {
                return Err(AuthorityError::Malformed("the checkpoint is not of this edge's own chain and key".into()));
            }
            checkpoint.verify().map_err(|error| AuthorityError::Malformed(error.to_string()))?;
        }
        // What is stored already was compared when it came first.
        let stored = self.store.audit_head(&source).await?.seq;
        let news = shipment.records.partition_point(|record| record.seq <= stored);
        let injections = self.injections(&source, &shipment.records[news..]).await?;
        let _turn = self.appending.lock().await;
        match self.store.append_audit(&source, &shipment.records, shipment.checkpoint.as_ref()).await {
            Err(StoreError::Conflict(_)) => Err(AuthorityError::AuditConflict),
            head => {
                let head = head?;
                for injection in &injections {
                    injection.report(&source);
                    self.metrics.injections_after_receipt.inc();
                }
                Ok(AuditReceipt { head })
            }
        }
    }

    /// Records that match, each with its position in the whole log.
    pub async fn audit(&self, query: &AuditQuery) -> Result<Vec<(u64, Record)>, AuthorityError> {
        Ok(self.store.audit(query).await?)
    }

    /// Every chain there is.
    pub async fn audit_sources(&self) -> Result<Vec<Source>, AuthorityError> {
        Ok(self.store.audit_sources().await?)
    }

    /// The signed heads of a chain, oldest first.
    pub async fn checkpoints(&self, source: &Source) -> Result<Vec<Checkpoint>, AuthorityError> {
        Ok(self.store.checkpoints(source).await?)
    }
}

/// A query that a store would refuse.
pub fn check_query(query: &AuditQuery) -> Result<(), AuthorityError> {
    if !(1..=1000).contains(&query.limit) {
        return Err(AuthorityError::Malformed("`limit` must be between 1 and 1000".into()));
    }
    if query.after_seq.is_some() && query.source.is_none() {
        return Err(AuthorityError::Malformed("`after_seq` needs `source`: places count within one chain".into()));
    }
    if !matches!(query.verdict.as_deref(), None | Some("allowed" | "denied")) {
        return Err(AuthorityError::Malformed("`verdict` must be `allowed` or `denied`".into()));
    }
    Ok(())
}
