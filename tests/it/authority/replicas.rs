//! Two processes of one installation over one store. What one does, the other must not contradict, not even for a moment.

use std::time::Duration;

use serde_json::json;
use writ::edge::channel::ChannelError;
use writ::id::RequestId;
use writ::wire::{LendReply, LendRequest};

use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAuthority, TestEdge, WITHIN, keyring, notes_service, start};

for_every_backend!(
    what_one_process_revoked_the_other_lends_for_no_more,
    what_one_process_disabled_gets_nothing_from_the_other,
    an_edge_of_one_process_hears_what_the_other_revoked,
    a_receipt_of_one_process_counts_what_the_other_heard,
    an_edge_that_nobody_hears_is_waited_for_by_every_process,
    a_receipt_that_one_process_owed_is_given_by_another,
    a_catalog_change_at_one_process_reaches_the_edges_of_the_other,
    an_assertion_counts_at_one_process_only,
    a_root_key_retired_at_one_process_signs_at_none,
);

async fn two(database: &Database) -> (TestAuthority, TestAuthority) {
    let one = start(database).await;
    let two = one.beside(keyring(&one.kek, &[])).await;
    (one, two)
}

async fn lend(edge: &TestEdge, token: &str) -> Result<LendReply, ChannelError> {
    let service = "notes".parse().unwrap();
    let request = LendRequest { token: token.into(), service, request: RequestId::from_bytes([7; 16]) };
    edge.channel.call("/v1/edge/lend", &request, WITHIN).await
}

async fn what_one_process_revoked_the_other_lends_for_no_more(database: &Database) {
    let (one, two) = two(database).await;
    one.notes("secret-of-notes").await;
    let edge = one.edge("edge-1").await;
    let beside = two.reached_by(&edge);
    let (agent, _) = one.granted("planner", "notes:read:team").await;
    let token = one.writ(&agent, "notes:read:team").await;
    lend(&beside, &token).await.unwrap();
    // Committed, and nothing more: neither hint nor poll has told the other process.
    let revoking = one.post("/v1/revocations", json!({ "token": token }));
    tokio::pin!(revoking);
    while one.store.revocation_head().await.unwrap() == 0 {
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut revoking).await.is_err());
    }
    let Err(ChannelError::Refused { refusal, .. }) = lend(&beside, &token).await else { panic!("lent") };
    assert_eq!(&*refusal.code, "writ_refused");
    one.let_time_pass(revoking).await.ok();
}

async fn what_one_process_disabled_gets_nothing_from_the_other(database: &Database) {
    let (one, two) = two(database).await;
    let (agent, _) = one.granted("planner", "notes:read:team").await;
    two.writ(&agent, "notes:read:team").await;
    one.post("/v1/agents/planner/disable", json!(null)).await.ok();
    assert_eq!(two.token(&agent, "notes:read:team").await.status, 401);
}

async fn an_edge_of_one_process_hears_what_the_other_revoked(database: &Database) {
    let (one, two) = two(database).await;
    let edge = one.edge("edge-1").await;
    let (head, version) = edge.catch_up().await;
    let waiting = edge.feed(Some(head), Some(version), 500);
    let revoking = two.post("/v1/revocations", json!({ "target": "tenant:acme" }));
    let (told, receipt) = tokio::join!(waiting, two.let_time_pass(revoking));
    receipt.ok();
    let known = told.unwrap();
    // Whether it waited for it or asked again: an answer after the commit has it.
    let entries = match known.log.entries {
        entries if !entries.is_empty() => entries,
        _ => edge.feed(Some(head), Some(version), 0).await.unwrap().log.entries,
    };
    assert_eq!(entries[0].target.to_string(), "tenant:acme");
}

async fn a_receipt_of_one_process_counts_what_the_other_heard(database: &Database) {
    let (one, two) = two(database).await;
    let (here, there) = (one.edge("edge-1").await, one.edge("edge-2").await);
    let beside = two.reached_by(&there);
    beside.catch_up().await;
    let _following = (here.follow(), beside.follow());
    // The clock stands still: no lease ends, so only the edges' own words can end the wait.
    for target in ["tenant:acme", "tenant:other"] {
        let receipt = one.post("/v1/revocations", json!({ "target": target })).await.ok();
        let how: Vec<_> = receipt["edges"].as_array().unwrap().iter().map(|edge| &edge["how"]).collect();
        assert_eq!(how, ["acknowledged", "acknowledged"]);
    }
    let receipt = one.post("/v1/keys/1/retire", json!(null)).await.ok();
    assert_eq!(receipt["edges"][1]["how"], "acknowledged", "settings, too");
}

async fn an_edge_that_nobody_hears_is_waited_for_by_every_process(database: &Database) {
    let (one, two) = two(database).await;
    let edge = one.edge("edge-1").await;
    let beside = two.reached_by(&edge);
    beside.catch_up().await;
    let revoking = one.post("/v1/revocations", json!({ "target": "tenant:acme" }));
    tokio::pin!(revoking);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut revoking).await.is_err());
    let receipt = one.let_time_pass(revoking).await.ok();
    assert_eq!(receipt["edges"][0]["how"], "lease_ended");
    // Removed at the other process, which alone gave it leases; and a third has only just started.
    beside.catch_up().await;
    two.delete("/v1/edges/edge-1").await.ok();
    let three = one.beside(keyring(&one.kek, &[])).await;
    let revoking = three.post("/v1/revocations", json!({ "target": "tenant:other" }));
    tokio::pin!(revoking);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut revoking).await.is_err());
    let receipt = three.let_time_pass(revoking).await.ok();
    assert_eq!((&receipt["edges"][0]["edge"], &receipt["edges"][0]["how"]), (&json!("edge-1"), &json!("lease_ended")));
    // Gone for longer than any lease: it is no edge any more, and nothing is waited for.
    let receipt = three.post("/v1/revocations", json!({ "target": "tenant:third" })).await.ok();
    assert_eq!(receipt["edges"], json!([]));
}

async fn a_receipt_that_one_process_owed_is_given_by_another(database: &Database) {
    let (mut one, two) = two(database).await;
    let edge = one.edge("edge-1").await;
    let (_, version) = edge.catch_up().await;
    let body = json!({ "target": "tenant:acme", "idempotency_key": "k" });
    {
        let owed = one.post("/v1/revocations", body.clone());
        tokio::pin!(owed);
        while one.store.revocation_head().await.unwrap() == 0 {
            assert!(tokio::time::timeout(Duration::from_millis(5), &mut owed).await.is_err());
        }
    }
    one.running.take().unwrap().shutdown().await;
    let beside = two.reached_by(&edge);
    let revoking = two.post("/v1/revocations", body);
    tokio::pin!(revoking);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut revoking).await.is_err(), "nobody knows yet");
    beside.feed(Some(1), Some(version), 0).await.unwrap();
    let receipt = revoking.await.ok();
    assert_eq!((&receipt["seq"], &receipt["edges"][0]["how"]), (&json!(1), &json!("acknowledged")));
    assert_eq!(two.get("/v1/revocations").await.ok()["head"], 1);
}

async fn a_catalog_change_at_one_process_reaches_the_edges_of_the_other(database: &Database) {
    let (one, two) = two(database).await;
    let edge = one.edge("edge-1").await;
    let (head, version) = edge.catch_up().await;
    two.put("/v1/services/notes", notes_service()).await.ok();
    let told = edge.feed(Some(head), Some(version), 0).await.unwrap();
    assert_eq!(told.settings.unwrap().services.len(), 1);
    assert_eq!(one.get("/v1/services").await.ok().as_array().unwrap().len(), 1);
}

async fn an_assertion_counts_at_one_process_only(database: &Database) {
    let (one, two) = two(database).await;
    let (agent, _) = one.granted("planner", "notes:read:team").await;
    let form = one.form(&agent, &[("scope", "notes:read:team")]);
    let proof = one.token_proof(&agent.key);
    one.token_with(&form, Some(&proof)).await.ok();
    assert_eq!(two.token_with(&form, Some(&two.token_proof(&agent.key))).await.status, 401);
    let fresh = two.form(&agent, &[("scope", "notes:read:team")]);
    assert_eq!(two.token_with(&fresh, Some(&proof)).await.json["error"], "invalid_dpop_proof");
}

async fn a_root_key_retired_at_one_process_signs_at_none(database: &Database) {
    use writ::token::inspect::inspect;
    use writ::token::{Limits, RawToken};
    let (one, two) = two(database).await;
    let (agent, _) = one.granted("planner", "notes:read:team").await;
    one.post("/v1/keys/1/retire", json!(null)).await.ok();
    let limits = Limits::default();
    let token = RawToken::parse(&two.writ(&agent, "notes:read:team").await, &limits).unwrap();
    assert_eq!(inspect(&token, &limits).unwrap().claims().root_key_id(), 2);
}
