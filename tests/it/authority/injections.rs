//! Calls that got a credential for what was revoked: counted, whichever way they show.

use std::time::Duration;

use serde_json::json;
use writ::audit::{Event, Head, Record, Source};
use writ::clock::Timestamp;
use writ::key::KeyPair;
use writ::wire::{AuditReceipt, AuditShipment};

use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAuthority, TestEdge, WITHIN, random, start};

for_every_backend!(
    a_call_by_an_edge_that_knew_the_revocation_is_counted_once,
    a_call_that_was_decided_after_the_receipt_is_counted,
    a_call_in_a_session_or_with_a_credential_that_was_ended_is_counted,
    what_is_not_revoked_is_not_counted,
);

/// An edge's chain, written by hand: what a broken edge would ship.
struct Chain {
    source: Source,
    records: Vec<Record>,
    holder: KeyPair,
    /// When the writ was minted, and when the credential was stored.
    epoch: u64,
    credential_epoch: u64,
}

impl Chain {
    fn new() -> Self {
        let holder = KeyPair::from_seed(&random());
        Self { source: "edge:edge-1".parse().unwrap(), records: Vec::new(), holder, epoch: 0, credential_epoch: 0 }
    }

    fn push(&mut self, at: Timestamp, event: serde_json::Value) {
        let head = self.records.last().map_or_else(Head::empty, Record::head);
        let event: Event = serde_json::from_value(event).unwrap();
        self.records.push(Record::after(&head, self.source.clone(), at, &event));
    }

    /// A call that used a credential when this much of the log was known.
    fn call(&mut self, at: Timestamp, known: u64) {
        let request = hex::encode(random::<16>());
        let who = json!({
            "tenant": "acme", "session": "s-1", "agent": "bot", "holders": [self.holder.public()],
            "blocks": ["07".repeat(16)], "grants": [], "token_sha256": "0".repeat(64), "root_key_id": 1, "epoch": self.epoch,
        });
        self.push(
            at,
            json!({
                "type": "decision", "request": request, "verdict": "allowed", "reason": "allowed", "who": who,
                "method": "GET", "path": "/notes/team", "credential": "notes-key", "revocation_seq": known,
                "what": { "service": "notes", "action": "read", "resource": "team" },
            }),
        );
        self.push(
            at,
            json!({
                "type": "outcome", "request": request, "finish": { "how": "completed" }, "bytes_up": 0, "bytes_down": 1,
                "elapsed_ms": 5, "injected_at_seq": known, "credential_epoch": self.credential_epoch,
            }),
        );
    }

    async fn ship(&self, edge: &TestEdge, from: usize) {
        let shipment = AuditShipment { records: self.records[from..].to_vec(), checkpoint: None };
        let receipt: AuditReceipt = edge.channel.call("/v1/edge/audit", &shipment, WITHIN).await.unwrap();
        assert_eq!(receipt.head, self.records.last().unwrap().head());
    }
}

fn counted(test: &TestAuthority) -> u64 {
    let page = test.authority.metrics_page();
    let line = page.lines().find(|line| line.starts_with("writ_injections_after_receipt_total ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn revoked(test: &TestAuthority, target: impl ToString) -> Timestamp {
    let receipt = test.let_time_pass(test.post("/v1/revocations", json!({ "target": target.to_string() }))).await.ok();
    Timestamp::from_millis(receipt["given"].as_i64().unwrap())
}

async fn a_call_by_an_edge_that_knew_the_revocation_is_counted_once(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let mut chain = Chain::new();
    chain.call(test.clock_now(), 0);
    revoked(&test, format!("holder:{}", chain.holder.public())).await;
    chain.ship(&edge, 0).await;
    assert_eq!(counted(&test), 0, "before the entry");
    chain.call(test.clock_now(), 1);
    // The outcome comes in a later shipment than the decision; and an answer is lost, so that it comes again.
    let outcome = chain.records.pop().unwrap();
    chain.ship(&edge, 2).await;
    chain.records.push(outcome);
    chain.ship(&edge, 3).await;
    assert_eq!(counted(&test), 1);
    chain.ship(&edge, 0).await;
    assert_eq!(counted(&test), 1);
}

async fn a_call_that_was_decided_after_the_receipt_is_counted(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let mut chain = Chain::new();
    let given = revoked(&test, format!("block:{}", "07".repeat(16))).await;
    chain.call(given.after(Duration::from_secs(30)), 0);
    chain.ship(&edge, 0).await;
    assert_eq!(counted(&test), 0, "the clocks may be that far apart");
    chain.call(given.after(Duration::from_millis(30_001)), 0);
    chain.ship(&edge, 2).await;
    assert_eq!(counted(&test), 1);
}

async fn a_call_in_a_session_or_with_a_credential_that_was_ended_is_counted(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let mut chain = Chain::new();
    revoked(&test, "session:acme/s-1").await;
    revoked(&test, "credential:acme/notes-key").await;
    // Minted and stored after both.
    (chain.epoch, chain.credential_epoch) = (2, 2);
    chain.call(test.clock_now(), 2);
    chain.ship(&edge, 0).await;
    assert_eq!(counted(&test), 0);
    (chain.epoch, chain.credential_epoch) = (2, 1);
    chain.call(test.clock_now(), 2);
    chain.ship(&edge, 2).await;
    assert_eq!(counted(&test), 1, "an older version of the credential");
    (chain.epoch, chain.credential_epoch) = (0, 2);
    chain.call(test.clock_now(), 2);
    chain.ship(&edge, 4).await;
    assert_eq!(counted(&test), 2, "a writ of the session");
}

async fn what_is_not_revoked_is_not_counted(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let mut chain = Chain::new();
    let other = KeyPair::from_seed(&random()).public();
    let given = revoked(&test, format!("holder:{other}")).await;
    revoked(&test, "tenant:other").await;
    chain.call(given.after(Duration::from_secs(3600)), 9);
    chain.ship(&edge, 0).await;
    assert_eq!(counted(&test), 0);
    let page = test.authority.metrics_page();
    assert!(page.contains("writ_time_to_revoke_seconds_count 2") && page.contains("writ_receipts_pending 0"), "{page}");
}
