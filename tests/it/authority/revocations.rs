//! Revoking: what dies, when the receipt comes, and what it says.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use writ::clock::Clock as _;
use writ::key::{KeyPair, PublicKey};
use writ::revocation::{Receipt, RevocationSet};
use writ::token::hop::{Narrowing, NewHop, delegate};
use writ::token::{Chain, Hop, Limits, RawToken, RootKeys, verify};

use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAuthority, TestEdge, keyring, random, start};

for_every_backend!(
    a_receipt_comes_when_every_edge_has_acknowledged,
    a_silent_edge_is_waited_for_until_no_lease_can_hold,
    revoking_twice_is_one_entry_and_a_repeated_request_the_same_receipt,
    a_receipt_is_the_same_text_for_ever_wherever_it_is_asked_for,
    a_receipt_that_cannot_be_given_yet_is_pending_and_never_done,
    a_target_kills_what_was_minted_before_it_and_nothing_else,
    a_disabled_agent_and_a_removed_grant_take_their_writs_with_them,
    a_rotated_root_key_signs_once_every_edge_knows_it,
    a_compromised_root_key_is_trusted_by_no_edge_after_its_receipt,
);

fn public_key(value: &Value) -> PublicKey {
    value.as_str().unwrap().parse().unwrap()
}

/// The receipt's text as `spec/authority.md` defines it, built from its JSON.
fn signed_text(receipt: &Value) -> String {
    let at = |name: &str| receipt[name].as_u64().unwrap().to_string();
    let text = |name: &str| receipt[name].as_str().unwrap().to_owned();
    let reached = match receipt.get("seq") {
        Some(seq) => format!("seq {seq}"),
        None => format!("settings {}", receipt["settings"]),
    };
    let mut lines = format!(
        "writ receipt v1\nissuer {}\nkey {}\n{reached}\ntarget {}\ncommitted {}\ngiven {}\nelapsed_ms {}\nbound_ms {}\n",
        text("issuer"),
        text("key"),
        text("target"),
        at("committed"),
        at("given"),
        at("elapsed_ms"),
        at("bound_ms"),
    );
    for edge in receipt["edges"].as_array().unwrap() {
        let word = |name: &str| edge[name].as_str().unwrap().to_owned();
        lines += &format!("edge {} {} {} {}\n", word("edge"), word("key"), word("how"), edge["at"]);
    }
    lines
}

#[track_caller]
fn assert_signed(test: &TestAuthority, receipt: &Value) {
    use base64::Engine as _;
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(receipt["signature"].as_str().unwrap());
    let signature: [u8; 64] = signature.unwrap().try_into().unwrap();
    assert_eq!(public_key(&receipt["key"]), test.authority.public_key());
    assert!(test.authority.public_key().verifies(signed_text(receipt).as_bytes(), &signature));
}

async fn a_receipt_comes_when_every_edge_has_acknowledged(database: &Database) {
    let test = start(database).await;
    let (one, two) = (test.edge("edge-1").await, test.edge("edge-2").await);
    let _one = one.follow();
    let (_, version) = two.catch_up().await;
    let revoking = test.post("/v1/revocations", json!({ "target": "agent:default/planner", "reason": "a test" }));
    tokio::pin!(revoking);
    // The clock stands still: no lease ends, so only the second edge's word can end the wait.
    let entry = loop {
        tokio::select! {
            early = &mut revoking => panic!("a receipt before edge-2 knew: {early:?}"),
            told = two.feed(Some(0), Some(version), 100) => match told.unwrap().log.entries.pop() {
                None => {}
                Some(entry) => break entry,
            },
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut revoking).await.is_err(), "told is not acknowledged");
    two.feed(Some(entry.seq), Some(version), 0).await.unwrap();
    let receipt = revoking.await.ok();
    assert_signed(&test, &receipt);
    assert_eq!((&receipt["seq"], &receipt["target"]), (&json!(1), &json!("agent:default/planner")));
    assert_eq!((&receipt["bound_ms"], &receipt["committed"]), (&json!(1050), &json!(test.clock.now().millis())));
    let edges: Vec<_> = receipt["edges"].as_array().unwrap().iter().map(|e| (&e["edge"], &e["how"])).collect();
    let acknowledged = json!("acknowledged");
    assert_eq!(edges, [(&json!("edge-1"), &acknowledged), (&json!("edge-2"), &acknowledged)]);

    let listed = test.get("/v1/revocations").await.ok();
    assert_eq!((&listed["head"], &listed["entries"][0]["seq"]), (&json!(1), &json!(1)));
    assert_eq!(test.get("/v1/revocations/1").await.ok()["target"], "agent:default/planner");
    test.get("/v1/revocations/2").await.refused(404, "not_found");
    test.get("/v1/revocations/0").await.refused(404, "not_found");
}

async fn a_silent_edge_is_waited_for_until_no_lease_can_hold(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    edge.catch_up().await;
    let revoking = test.post("/v1/revocations", json!({ "target": "tenant:acme" }));
    tokio::pin!(revoking);
    // Until the entry is there the clock stands still, so that the wait begins at a known moment.
    while test.store.revocation_head().await.unwrap() == 0 {
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut revoking).await.is_err());
    }
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut revoking).await.is_err());
    test.clock.advance(Duration::from_millis(1050));
    assert!(
        tokio::time::timeout(Duration::from_millis(200), &mut revoking).await.is_err(),
        "the bound itself is too early"
    );
    test.clock.advance(Duration::from_millis(1));
    let receipt = revoking.await.ok();
    assert_signed(&test, &receipt);
    assert_eq!(receipt["edges"][0]["how"], "lease_ended");
    assert!(receipt["elapsed_ms"].as_u64().unwrap() > 1050);
    // An edge that was removed may still have its lease: it is waited for all the same.
    edge.catch_up().await;
    test.delete("/v1/edges/edge-1").await.ok();
    let receipt = test.let_time_pass(test.post("/v1/revocations", json!({ "target": "tenant:acme" }))).await.ok();
    assert_eq!((&receipt["edges"][0]["edge"], &receipt["edges"][0]["how"]), (&json!("edge-1"), &json!("lease_ended")));
}

async fn revoking_twice_is_one_entry_and_a_repeated_request_the_same_receipt(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let token = test.writ(&agent, "notes:read:team").await;
    let body = json!({ "token": token, "idempotency_key": "one" });
    let first = test.post("/v1/revocations", body.clone()).await.ok();
    assert_eq!(test.post("/v1/revocations", body).await.ok(), first, "the answer was lost and asked for again");
    let again = test.post("/v1/revocations", json!({ "token": token })).await.ok();
    assert_eq!(again, first);
    let other = test.post("/v1/revocations", json!({ "target": "tenant:acme", "idempotency_key": "one" })).await;
    other.refused(409, "key_reused");
    // Expired long ago: still not an error.
    let expired = test.writ(&agent, "notes:read:team").await;
    test.clock.advance(Duration::from_secs(100_000));
    test.post("/v1/revocations", json!({ "token": expired })).await.ok();
    assert_eq!(test.get("/v1/revocations").await.ok()["head"], 2);
}

async fn a_receipt_is_the_same_text_for_ever_wherever_it_is_asked_for(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let following = edge.follow();
    let body = json!({ "target": "tenant:acme", "idempotency_key": "one" });
    let first = test.post("/v1/revocations", body.clone()).await;
    assert_eq!(first.headers["content-type"], "application/json");
    drop(following);
    // Another edge, another time, a process without a memory of it: what was given stands.
    test.edge("edge-2").await;
    test.clock.advance(Duration::from_secs(5));
    let another = test.beside(keyring(&test.kek, &[])).await;
    assert_eq!(another.post("/v1/revocations", body).await.text, first.text);
    for process in [&test, &another] {
        let asked = process.get("/v1/revocations/1/receipt").await;
        assert_eq!((asked.status, asked.text), (200, first.text.clone()));
    }
    let receipt = Receipt::parse(&first.text).unwrap();
    assert_eq!(receipt.check(&test.authority.public_key()), Ok(()));
    assert_eq!(receipt.to_json(), first.text);
    test.get("/v1/revocations/2/receipt").await.refused(404, "not_found");
    test.get("/v1/revocations/0/receipt").await.refused(404, "not_found");
}

async fn a_receipt_that_cannot_be_given_yet_is_pending_and_never_done(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    edge.catch_up().await;
    // The client goes away while its revocation waits for a lease.
    {
        let revoking = test.post("/v1/revocations", json!({ "target": "tenant:acme" }));
        tokio::pin!(revoking);
        while test.store.revocation_head().await.unwrap() == 0 {
            assert!(tokio::time::timeout(Duration::from_millis(5), &mut revoking).await.is_err());
        }
    }
    // The clock stands still, so no lease ends, and the edge says nothing.
    let pending = test.get("/v1/revocations/1/receipt").await;
    assert_eq!((pending.status, &pending.json), (202, &json!({ "seq": 1, "status": "pending" })));
    assert_eq!(test.store.owed(1).await.unwrap().receipt, None);
    let receipt = test.let_time_pass(test.get("/v1/revocations/1/receipt")).await.ok();
    assert_signed(&test, &receipt);
    assert_eq!(receipt["edges"][0]["how"], "lease_ended");
}

/// What an edge that followed the log knows.
async fn set_of(edge: &TestEdge) -> RevocationSet {
    let told = edge.feed(None, None, 0).await.unwrap();
    assert_eq!(told.log.upto, told.head);
    RevocationSet::of(&told.log)
}

async fn chain(test: &TestAuthority, token: &str) -> Chain {
    let keys = test.get("/v1/keys").await.ok();
    let trusted: Vec<_> = keys["root_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| json!({ "id": key["id"], "key": key["key"], "until": null }))
        .collect();
    let keys: RootKeys = serde_json::from_value(json!({ "keys": trusted })).unwrap();
    let limits = Limits::default();
    verify(&RawToken::parse(token, &limits).unwrap(), &keys, &limits).unwrap()
}

async fn a_target_kills_what_was_minted_before_it_and_nothing_else(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let _following = edge.follow();
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let key = KeyPair::from_seed(&random());
    test.post("/v1/agents?tenant=acme", json!({ "name": "other", "key": key.public() })).await.ok();
    test.post("/v1/grants?tenant=acme", json!({ "agent": "other", "capabilities": ["notes:read:team"] })).await.ok();
    let other = crate::support::authority::TestAgent { client_id: "acme/other".into(), key: key.into() };

    let old = chain(&test, &test.writ(&agent, "notes:read:team").await).await;
    let foreign = chain(&test, &test.writ(&other, "notes:read:team").await).await;
    test.post("/v1/revocations", json!({ "target": "tenant:default" })).await.ok();
    let new = chain(&test, &test.writ(&agent, "notes:read:team").await).await;
    let set = set_of(&edge).await;
    assert!(set.revokes(&old).is_some(), "older writs of the tenant die");
    assert!(set.revokes(&foreign).is_none(), "other tenants' live");
    assert!(set.revokes(&new).is_none(), "what is minted after a new decision lives");

    test.post("/v1/revocations", json!({ "target": "everything" })).await.refused(400, "unconfirmed");
    assert!(set_of(&edge).await.revokes(&foreign).is_none());
    test.post("/v1/revocations", json!({ "target": "everything", "confirm": true })).await.ok();
    let set = set_of(&edge).await;
    for chain in [&old, &foreign, &new] {
        assert!(set.revokes(chain).is_some());
    }
}

async fn a_disabled_agent_and_a_removed_grant_take_their_writs_with_them(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let _following = edge.follow();
    let (one, grant) = test.granted("one", "notes:read:team").await;
    let (two, _) = test.granted("two", "notes:read:team").await;
    let of_one = chain(&test, &test.writ(&one, "notes:read:team").await).await;
    let of_two = chain(&test, &test.writ(&two, "notes:read:team").await).await;

    let receipt = test.delete(&format!("/v1/grants/{grant}")).await.ok();
    assert_signed(&test, &receipt);
    assert_eq!(receipt["target"], format!("grant:{grant}"));
    let set = set_of(&edge).await;
    assert!(set.revokes(&of_one).is_some() && set.revokes(&of_two).is_none());
    test.delete(&format!("/v1/grants/{grant}")).await.refused(404, "not_found");
    assert_eq!(test.token(&one, "notes:read:team").await.status, 400);

    let first = test.post("/v1/agents/two/disable", json!(null)).await.ok();
    assert_eq!(first["target"], "agent:default/two");
    assert!(set_of(&edge).await.revokes(&of_two).is_some());
    let again = test.post("/v1/agents/two/disable", json!(null)).await.ok();
    assert_eq!(again["seq"], first["seq"], "twice is not an error");
    test.post("/v1/agents/nobody/disable", json!(null)).await.refused(404, "not_found");
}

async fn a_rotated_root_key_signs_once_every_edge_knows_it(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let before = edge.feed(None, None, 0).await.unwrap().settings.unwrap();
    for overlap_s in [0, 1, 604_801] {
        test.post("/v1/keys", json!({ "overlap_s": overlap_s })).await.refused(400, "overlap");
    }
    let added = test.post("/v1/keys", json!({ "overlap_s": 60 })).await.ok();
    assert_eq!(added["id"], 2);
    let settings = edge.feed(Some(0), Some(before.version), 0).await.unwrap().settings.unwrap();
    assert_eq!(settings.root_keys.keys.iter().map(|key| key.id).collect::<Vec<_>>(), [1, 2]);
    let signer = async || chain(&test, &test.writ(&agent, "notes:read:team").await).await.root_key_id();
    assert_eq!(signer().await, 1, "published first");
    test.clock.advance(Duration::from_secs(60));
    assert_eq!(signer().await, 2, "then it signs");
    let old = settings.root_keys.keys[0].until.unwrap();
    assert_eq!(
        old.secs(),
        crate::support::authority::START.secs() + 60 + 86_400,
        "the old one counts for what it signed"
    );
    assert_eq!(settings.root_keys.keys[1].until, None);
    // Its end is past: no edge is told of it any more, whatever its clock says.
    test.clock.advance(Duration::from_secs(86_400));
    let settings = edge.feed(None, None, 0).await.unwrap().settings.unwrap();
    assert_eq!(settings.root_keys.keys.iter().map(|key| key.id).collect::<Vec<_>>(), [2]);
}

async fn a_compromised_root_key_is_trusted_by_no_edge_after_its_receipt(database: &Database) {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let token = test.writ(&agent, "notes:read:team").await;
    let following = edge.follow();
    let receipt = test.post("/v1/keys/1/retire", json!(null)).await.ok();
    assert_signed(&test, &receipt);
    assert_eq!((&receipt["target"], &receipt["edges"][0]["how"]), (&json!("root-key/1"), &json!("acknowledged")));
    drop(following);
    let settings = edge.feed(None, None, 0).await.unwrap().settings.unwrap();
    assert_eq!(settings.root_keys.keys.iter().map(|key| key.id).collect::<Vec<_>>(), [2]);
    assert_eq!(receipt["settings"], settings.version);
    assert_eq!(chain(&test, &test.writ(&agent, "notes:read:team").await).await.root_key_id(), 2);
    test.post("/v1/keys/7/retire", json!(null)).await.refused(404, "not_found");
    // Tokens of the old key can still be shown to be revoked.
    test.let_time_pass(test.post("/v1/revocations", json!({ "token": token }))).await.ok();
}

#[tokio::test]
async fn a_token_shows_any_of_its_blocks_and_no_other() {
    let test = start(&Database::sqlite().await).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let parent = test.writ(&agent, "notes:read:team").await;
    let limits = Limits::default();
    let hop = NewHop {
        holder: KeyPair::from_seed(&random()).public(),
        id: writ::id::BlockId::from_bytes([7; 16]),
        expires: test.clock.now().after(Duration::from_secs(60)),
        not_before: None,
        agent: None,
        narrowing: Narrowing::default(),
    };
    let child = delegate(&RawToken::parse(&parent, &limits).unwrap(), &agent.key, &hop, &random(), &limits).unwrap();
    let receipt = test.post("/v1/revocations", json!({ "token": child.text() })).await.ok();
    assert_eq!(
        receipt["target"],
        format!("block:{}", Hop::id_of(&agent.key.public(), hop.id, &hop.holder)),
        "the last holder's block, minted offline and never seen"
    );
    let root = chain(&test, &parent).await.authority().id;
    let receipt = test.post("/v1/revocations", json!({ "token": child.text(), "block": root })).await.ok();
    assert_eq!(receipt["target"], format!("block:{root}"));
    let foreign = "00".repeat(16);
    test.post("/v1/revocations", json!({ "token": child.text(), "block": foreign })).await.refused(400, "malformed");
    test.post("/v1/revocations", json!({ "token": "forged" })).await.refused(403, "invalid_token");
    assert_eq!(test.get("/v1/revocations").await.ok()["head"], 2, "nothing else was appended");
}

#[tokio::test]
async fn what_is_no_revocation_changes_nothing() {
    let test = start(&Database::sqlite().await).await;
    for body in [
        json!({}),
        json!({ "target": "planet:earth" }),
        json!({ "target": "tenant:acme", "token": "x" }),
        json!({ "target": "tenant:acme", "block": "00".repeat(16) }),
        json!({ "block": "00".repeat(16) }),
        json!({ "target": "tenant:acme", "reason": "a\u{1b}[2J" }),
        json!({ "target": "tenant:acme", "reason": "a".repeat(257) }),
        json!({ "target": "tenant:acme", "idempotency_key": "" }),
        json!({ "target": "tenant:acme", "undo": true }),
        json!([]),
    ] {
        test.post("/v1/revocations", body).await.refused(400, "malformed");
    }
    for path in [
        "/v1/revocations?limit=0",
        "/v1/revocations?limit=1001",
        "/v1/revocations?after=-1",
        "/v1/revocations?x=1",
        "/v1/revocations/one",
    ] {
        test.get(path).await.refused(400, "malformed");
    }
    test.call(Method::POST, "/v1/revocations", None).await.refused(415, "media_type");
    assert_eq!(test.get("/v1/revocations").await.ok()["head"], 0);
}
