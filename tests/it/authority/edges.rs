//! What edges are told, what they are lent, and what they are not believed.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use writ::audit::{Checkpoint, Event, Head, Record, Source};
use writ::edge::channel::ChannelError;
use writ::id::RequestId;
use writ::key::sha256;
use writ::revocation::Statement;
use writ::token::chain::ProofCovers;
use writ::token::proof::{self, ProvenRequest};
use writ::wire::{AuditReceipt, AuditShipment, FeedReply, FeedRequest, JoinReply, JoinRequest, LendReply, LendRequest};

use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAuthority, TestEdge, WITHIN, notes_service, random, start};

for_every_backend!(
    an_edge_joins_once_and_is_told_everything,
    news_come_at_once,
    a_live_writ_is_lent_its_credential_and_it_is_recorded,
    nothing_is_lent_for_a_writ_that_is_not_good_for_it,
    a_shipment_counts_once_and_only_for_its_own_edge,
    a_removed_edge_is_a_stranger,
);

#[track_caller]
fn code<T: std::fmt::Debug>(answer: Result<T, ChannelError>) -> (u16, String) {
    match answer {
        Err(ChannelError::Refused { status, refusal }) => (status.as_u16(), refusal.code.into()),
        other => panic!("not a signed refusal: {other:?}"),
    }
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.into())
}

async fn lend(edge: &TestEdge, token: &str) -> Result<LendReply, ChannelError> {
    let service = "notes".parse().unwrap();
    let request = LendRequest { token: token.into(), service, request: RequestId::from_bytes([7; 16]) };
    edge.channel.call("/v1/edge/lend", &request, WITHIN).await
}

async fn an_edge_joins_once_and_is_told_everything(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    let ticket = test.ticket("edge-1").await;
    assert_eq!((&*ticket.issuer, ticket.authority_key), (test.issuer.as_str(), test.authority.public_key()));
    let request = || JoinRequest {
        secret: ticket.secret.0.expose().clone(),
        origin: "https://edge-1.example".into(),
        nonce: false,
    };
    let (edge, late) = (test.stranger(), test.stranger());
    let reply: JoinReply = edge.channel.call("/v1/edge/join", &request(), WITHIN).await.unwrap();
    assert_eq!((reply.name.as_str(), reply.audience.as_str()), ("edge-1", "main"));
    let again = late.channel.call::<_, JoinReply>("/v1/edge/join", &request(), WITHIN).await;
    assert_eq!(code(again), refusal(404, "ticket_refused"));

    let told = edge.feed(None, None, 0).await.unwrap();
    assert_eq!((told.head, told.log, told.lease_ms, told.now), (0, Statement::nothing(0), 1000, test.clock_now()));
    let settings = told.settings.unwrap();
    assert_eq!(settings.services.len(), 1);
    assert_eq!(settings.services[0].service.name().as_str(), "notes");
    assert_eq!(settings.root_keys.keys.len(), 1);
    let nothing_new = edge.feed(Some(0), Some(settings.version), 0).await.unwrap();
    assert_eq!((nothing_new.log, nothing_new.settings), (Statement::nothing(0), None));
    let listed = test.get("/v1/edges").await.ok();
    assert_eq!((&listed[0]["name"], &listed[0]["acknowledged_seq"]), (&json!("edge-1"), &json!(0)));
    assert_eq!(listed[0]["leased"], true);
}

async fn news_come_at_once(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let (_, version) = edge.catch_up().await;
    let waiting = edge.feed(Some(0), Some(version), 500);
    let revoking = async { test.post("/v1/revocations", json!({ "target": "tenant:acme" })).await };
    let (told, _) = tokio::join!(
        async {
            let told = waiting.await.unwrap();
            edge.feed(Some(told.head), Some(version), 0).await.unwrap();
            told
        },
        revoking
    );
    let entries = told.log.entries;
    assert_eq!((told.head, entries.len(), entries[0].target.to_string()), (1, 1, "tenant:acme".into()));

    let waiting = edge.feed(Some(1), Some(version), 500);
    let (told, _) = tokio::join!(waiting, test.put("/v1/services/notes", notes_service()));
    assert!(told.unwrap().settings.unwrap().version > version);
}

async fn a_live_writ_is_lent_its_credential_and_it_is_recorded(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    let edge = test.edge("edge-1").await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let token = test.writ(&agent, "notes:read:team").await;
    let lent = lend(&edge, &token).await.unwrap();
    assert_eq!((lent.credential.as_str(), lent.version, lent.keep_ms), ("notes-key", 1, 30_000));
    assert_eq!(lent.secret.0.expose(), "secret-of-notes");

    test.post("/v1/credentials/notes-key/rotate", json!({ "secret": "the-next-secret" })).await.ok();
    let lent = lend(&edge, &token).await.unwrap();
    assert_eq!((lent.version, lent.secret.0.expose().as_str()), (2, "the-next-secret"));

    let log = test.get("/v1/audit?source=authority&limit=1000").await;
    for secret in ["secret-of-notes", "the-next-secret", &token[..40], &test.operator] {
        assert!(!log.text.contains(secret), "a secret stands in the audit log");
    }
    let lendings = log.json.as_array().unwrap().iter().filter(|r| r["record"]["event"]["action"] == "credential.lend");
    let lendings: Vec<_> = lendings.collect();
    assert_eq!(lendings.len(), 2);
    assert_eq!(lendings[0]["record"]["event"]["actor"], json!({ "kind": "edge", "name": "edge-1" }));
    let credentials = test.get("/v1/credentials").await;
    assert!(!credentials.text.contains("secret-of-notes") && !credentials.text.contains("the-next-secret"));
    assert_eq!(credentials.json[0]["presented"], json!({ "kind": "header", "name": "x-api-key" }));

    // Never longer than the writ it is lent for.
    test.clock.advance(Duration::from_secs(890));
    assert_eq!(lend(&edge, &token).await.unwrap().keep_ms, 10_000);
}

async fn nothing_is_lent_for_a_writ_that_is_not_good_for_it(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    let edge = test.edge("edge-1").await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    test.post("/v1/grants", json!({ "agent": "planner", "capabilities": ["mail:read:team"] })).await.ok();
    let token = test.writ(&agent, "notes:read:team").await;
    let refused = refusal(401, "writ_refused");
    assert_eq!(code(lend(&edge, "nonsense").await), refused);
    assert_eq!(code(lend(&edge, &token[1..]).await), refused);
    let mail = test.writ(&agent, "mail:read:team").await;
    assert_eq!(code(lend(&edge, &mail).await), refused);

    // Another tenant's agent, whatever its writ says, gets nothing of this tenant's.
    let key = writ::key::KeyPair::from_seed(&random());
    test.post("/v1/agents?tenant=acme", json!({ "name": "spy", "key": key.public() })).await.ok();
    let grant = json!({ "agent": "spy", "capabilities": ["notes:read:team"] });
    test.post("/v1/grants?tenant=acme", grant).await.ok();
    let spy = crate::support::authority::TestAgent { client_id: "acme/spy".into(), key: key.into() };
    let foreign = test.writ(&spy, "notes:read:team").await;
    assert_eq!(code(lend(&edge, &foreign).await), refusal(403, "no_credential"));

    // A credential of each user's own: none for a writ without a user.
    let mut service = notes_service();
    service["credential_per"] = json!("user");
    test.put("/v1/services/notes", service).await.ok();
    assert_eq!(code(lend(&edge, &token).await), refusal(403, "no_credential"));
    test.put("/v1/services/notes", notes_service()).await.ok();
    lend(&edge, &token).await.unwrap();
    test.delete("/v1/credentials/notes-key").await.ok();
    assert_eq!(code(lend(&edge, &token).await), refusal(403, "no_credential"));
    test.notes("secret-of-notes").await;

    // Revoked: at once, whatever the edge knows.
    let revoking = test.post("/v1/revocations", json!({ "token": token }));
    test.let_time_pass(revoking).await.ok();
    assert_eq!(code(lend(&edge, &token).await), refused);
    let expired = test.writ(&agent, "notes:read:team").await;
    lend(&edge, &expired).await.unwrap();
    test.clock.advance(Duration::from_secs(1000));
    assert_eq!(code(lend(&edge, &expired).await), refused);
}

async fn a_shipment_counts_once_and_only_for_its_own_edge(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let other = test.edge("edge-2").await;
    let source: Source = "edge:edge-1".parse().unwrap();
    let event = |n: u64| {
        let change =
            json!({ "type": "change", "actor": { "kind": "authority" }, "action": format!("n{n}"), "object": "x" });
        serde_json::from_value::<Event>(change).unwrap()
    };
    let first = Record::after(&Head::empty(), source.clone(), test.clock_now(), &event(1));
    let second = Record::after(&first.head(), source.clone(), test.clock_now(), &event(2));
    let checkpoint = Checkpoint::sign(source.clone(), second.head(), test.clock_now(), &edge.key);
    let ship = async |edge: &TestEdge, records: Vec<Record>, checkpoint: Option<Checkpoint>| {
        let shipment = AuditShipment { records, checkpoint };
        edge.channel.call::<_, AuditReceipt>("/v1/edge/audit", &shipment, WITHIN).await
    };
    assert_eq!(ship(&edge, vec![first.clone()], None).await.unwrap().head, first.head());
    for _ in 0..2 {
        let all = vec![first.clone(), second.clone()];
        assert_eq!(ship(&edge, all, Some(checkpoint.clone())).await.unwrap().head, second.head());
    }
    let stored = test.get("/v1/audit?source=edge:edge-1").await.ok();
    assert_eq!(stored.as_array().unwrap().len(), 2);
    assert_eq!(test.get("/v1/audit/checkpoints?source=edge:edge-1").await.ok().as_array().unwrap().len(), 1);

    let forked = Record::after(&first.head(), source.clone(), test.clock_now(), &event(3));
    assert_eq!(code(ship(&edge, vec![forked], None).await), refusal(409, "audit_conflict"));
    let gap = Record::after(&Head { seq: 5, ..second.head() }, source.clone(), test.clock_now(), &event(6));
    assert_eq!(code(ship(&edge, vec![gap], None).await), refusal(409, "audit_conflict"));
    let mut changed = second.clone();
    changed.at = test.clock_now().after(Duration::from_secs(1));
    assert_eq!(code(ship(&edge, vec![changed], None).await), refusal(400, "malformed"));
    assert_eq!(code(ship(&other, vec![first], None).await), refusal(400, "malformed"));
    let foreign = Checkpoint::sign(source, second.head(), test.clock_now(), &other.key);
    assert_eq!(code(ship(&edge, vec![], Some(foreign)).await), refusal(400, "malformed"));
    assert_eq!(test.get("/v1/audit?source=edge:edge-1").await.ok().as_array().unwrap().len(), 2);
}

async fn a_removed_edge_is_a_stranger(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    edge.catch_up().await;
    test.delete("/v1/edges/edge-1").await.ok();
    assert_eq!(code(edge.feed(None, None, 0).await), refusal(403, "unknown_edge"));
    test.delete("/v1/edges/edge-1").await.refused(404, "not_found");
    assert_eq!(code(test.stranger().feed(None, None, 0).await), refusal(403, "unknown_edge"));
}

#[tokio::test]
async fn a_ticket_ends_and_its_origin_is_checked() {
    let test = start(&Database::sqlite().await).await;
    let join = async |secret: &str, origin: &str| {
        let request = JoinRequest { secret: secret.into(), origin: origin.into(), nonce: false };
        test.stranger().channel.call::<_, JoinReply>("/v1/edge/join", &request, WITHIN).await
    };
    let ticket = test.ticket("edge-1").await;
    let secret = ticket.secret.0.expose();
    for origin in ["", "edge", "http://edge.example", "https://edge.example/path", "https://u@edge.example"] {
        assert_eq!(code(join(secret, origin).await), refusal(400, "malformed"), "{origin}");
    }
    assert_eq!(code(join("guess", "https://edge.example").await), refusal(404, "ticket_refused"));
    test.clock.advance(Duration::from_secs(3601));
    assert_eq!(code(join(secret, "https://edge.example").await), refusal(404, "ticket_refused"));
    // A taken origin is a conflict: one edge's proofs would be the other's.
    let fresh = test.ticket("edge-1").await;
    join(fresh.secret.0.expose(), "https://edge.example").await.unwrap();
    let second = test.ticket("edge-2").await;
    assert_eq!(code(join(second.secret.0.expose(), "https://edge.example").await), refusal(409, "conflict"));
    test.post("/v1/edges/tickets", json!({ "name": "edge-3", "audience": "other" }))
        .await
        .refused(400, "unknown_audience");
}

#[tokio::test]
async fn an_edge_that_knows_more_than_there_is_gets_no_lease() {
    let test = start(&Database::sqlite().await).await;
    let edge = test.edge("edge-1").await;
    let (head, version) = edge.catch_up().await;
    assert_eq!(code(edge.feed(Some(head + 1), Some(version), 0).await), refusal(503, "log_went_back"));
    assert_eq!(code(edge.feed(Some(head), Some(version + 1), 0).await), refusal(503, "log_went_back"));
}

/// Sends a message of an edge with exactly this proof.
async fn with_proof(test: &TestAuthority, path: &str, proofs: &[&str], body: &str) -> (u16, bool) {
    let mut headers = HeaderMap::new();
    for proof in proofs {
        headers.append("dpop", HeaderValue::from_str(proof).unwrap());
    }
    let reply = test.raw(Method::POST, path, headers, body.to_owned()).await;
    (reply.status, reply.headers.contains_key("writ-signature"))
}

#[tokio::test]
async fn a_message_without_its_own_fresh_proof_is_not_heard() {
    let test = start(&Database::sqlite().await).await;
    let edge = test.edge("edge-1").await;
    let body = serde_json::to_string(&FeedRequest { known: 0, settings: None, wait_ms: 0 }).unwrap();
    let prove = |path: &str, method: &str, body: Option<&str>| {
        let url = format!("{}{path}", test.issuer);
        let body_sha256 = body.map(|body| sha256(body.as_bytes()));
        let request = ProvenRequest { method, url: &url, query: None, body_sha256 };
        let covers = ProofCovers { query: false, body: body.is_some() };
        proof::make(&edge.key, &request, None, covers, None, &random(), test.clock_now())
    };
    let feed = "/v1/edge/feed";
    let good = prove(feed, "POST", Some(&body));
    assert_eq!(with_proof(&test, feed, &[&good], &body).await, (200, true));
    assert_eq!(with_proof(&test, feed, &[&good], &body).await, (401, true), "a replay");
    assert_eq!(with_proof(&test, feed, &[], &body).await, (401, false));
    let (one, two) = (prove(feed, "POST", Some(&body)), prove(feed, "POST", Some(&body)));
    assert_eq!(with_proof(&test, feed, &[&one, &two], &body).await, (401, false));
    assert_eq!(with_proof(&test, feed, &["x"], &body).await, (401, false));
    assert_eq!(with_proof(&test, feed, &[&prove("/v1/edge/lend", "POST", Some(&body))], &body).await, (401, false));
    assert_eq!(with_proof(&test, feed, &[&prove(feed, "GET", Some(&body))], &body).await, (401, false));
    assert_eq!(with_proof(&test, feed, &[&prove(feed, "POST", None)], &body).await, (401, true), "no `bdh`");
    let other = prove(feed, "POST", Some("{}"));
    assert_eq!(with_proof(&test, feed, &[&other], &body).await, (401, true), "another body");
    let stale = prove(feed, "POST", Some(&body));
    test.clock.advance(Duration::from_secs(31));
    assert_eq!(with_proof(&test, feed, &[&stale], &body).await, (401, false));
    for path in ["/v1/edge/lend", "/v1/edge/audit", "/v1/edge/join"] {
        assert_eq!(with_proof(&test, path, &[], "{}").await, (401, false));
    }
}

#[tokio::test]
async fn a_malformed_message_is_refused_and_signed() {
    let test = start(&Database::sqlite().await).await;
    let edge = test.edge("edge-1").await;
    for body in [
        json!({}),
        json!([]),
        json!({ "known": null, "settings": null, "wait_ms": -1 }),
        json!({ "known": 0, "settings": 0, "wait_ms": 0, "more": 1 }),
    ] {
        let answer = edge.channel.call::<_, FeedReply>("/v1/edge/feed", &body, WITHIN).await;
        assert_eq!(code(answer), refusal(400, "malformed"), "{body}");
    }
    let long = json!({ "token": "a".repeat(70_000), "service": "notes", "request": RequestId::from_bytes([0; 16]) });
    let answer = edge.channel.call::<_, LendReply>("/v1/edge/lend", &long, WITHIN).await;
    assert_eq!(code(answer), refusal(413, "too_large"));
}
