//! Agents over time: keys that are replaced, agents that are disabled and come back, and agents that register themselves.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use writ::clock::Clock as _;
use writ::key::{KeyPair, sha256};
use writ::token::chain::ProofCovers;
use writ::token::inspect::inspect;
use writ::token::proof::{self, ProvenRequest};
use writ::token::{Limits, RawToken};

use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, TestAgent, TestAuthority, WITHIN, jws, random, start};

for_every_backend!(
    a_replaced_key_counts_for_the_overlap_and_no_longer,
    a_key_that_is_replaced_at_once_takes_its_writs_along,
    an_agent_replaces_its_own_key_by_proving_both,
    an_enabled_agent_is_issued_writs_and_its_old_ones_stay_dead,
    agents_are_described_and_say_when_they_were_last_seen,
    an_agent_registers_itself_with_a_code_once,
    a_code_that_does_not_count_registers_nobody,
);

const SCOPE: &str = "notes:read:team";
const OWN_KEY: &str = "/v1/agent/key";
const ENROL: &str = "/v1/agent/enrol";

fn key() -> Arc<KeyPair> {
    Arc::new(KeyPair::from_seed(&random()))
}

fn with(agent: &TestAgent, key: &Arc<KeyPair>) -> TestAgent {
    TestAgent { client_id: agent.client_id.clone(), key: Arc::clone(key) }
}

#[track_caller]
fn refused(reply: Reply, error: &str) {
    assert_eq!(reply.json["error"], error, "{}", reply.text);
}

/// The key that a writ is bound to.
fn holder(token: &str) -> writ::key::PublicKey {
    let limits = Limits::default();
    let unverified = inspect(&RawToken::parse(token, &limits).unwrap(), &limits).unwrap();
    unverified.claims().holder().unwrap()
}

/// An assertion that says by which key it is.
fn naming_its_key(test: &TestAuthority, agent: &TestAgent) -> Vec<(String, String)> {
    let now = test.clock.now().secs();
    let claims = json!({
        "iss": agent.client_id, "sub": agent.client_id, "aud": test.issuer, "exp": now + 60, "jti": hex::encode(random::<16>()),
    });
    let assertion = jws(&agent.key, &json!({ "alg": "EdDSA", "kid": agent.key.public() }), &claims);
    let mut form = test.form(agent, &[("scope", SCOPE)]);
    form.retain(|(name, _)| name != "client_assertion");
    form.push(("client_assertion".into(), assertion));
    form
}

async fn a_replaced_key_counts_for_the_overlap_and_no_longer(database: &Database) {
    let test = start(database).await;
    let (old, _) = test.granted("planner", SCOPE).await;
    let new = with(&old, &key());
    refused(test.token(&new, SCOPE).await, "invalid_client");
    let body = json!({ "key": new.key.public(), "overlap_s": 600 });
    let told = test.post("/v1/agents/planner/keys", body.clone()).await.ok();
    assert_eq!((&told["key"], &told["keys_before"][0]["key"]), (&json!(new.key.public()), &json!(old.key.public())));
    assert_eq!(test.post("/v1/agents/planner/keys", body).await.ok(), told, "again changes nothing");

    for agent in [&old, &new] {
        assert_eq!(holder(&test.writ(agent, SCOPE).await), agent.key.public());
        let form = naming_its_key(&test, agent);
        test.token_with(&form, Some(&test.token_proof(&agent.key))).await.ok();
        // Each proves its own: whoever has one of them alone does not become the other.
        let other = if Arc::ptr_eq(&agent.key, &old.key) { &new } else { &old };
        let form = test.form(agent, &[("scope", SCOPE)]);
        refused(test.token_with(&form, Some(&test.token_proof(&other.key))).await, "invalid_dpop_proof");
    }
    let writ = test.writ(&old, SCOPE).await;

    test.clock.advance(Duration::from_millis(600_001));
    refused(test.token(&old, SCOPE).await, "invalid_client");
    let form = naming_its_key(&test, &old);
    refused(test.token_with(&form, Some(&test.token_proof(&old.key))).await, "invalid_client");
    let mut form = test.form(&old, &[("token", &writ)]);
    form.retain(|(name, _)| name != "grant_type");
    refused(test.oauth("/oauth/revoke", &form, None).await, "invalid_client");
    test.writ(&new, SCOPE).await;
    assert_eq!(test.get("/v1/agents/planner").await.ok()["keys_before"], json!([]));
    test.post("/v1/agents", json!({ "name": "other", "key": old.key.public() })).await.refused(409, "conflict");
    let long = json!({ "key": key().public(), "overlap_s": 604_801 });
    test.post("/v1/agents/planner/keys", long).await.refused(400, "malformed");
    test.post("/v1/agents/nobody/keys", json!({ "key": key().public() })).await.refused(404, "not_found");
}

async fn a_key_that_is_replaced_at_once_takes_its_writs_along(database: &Database) {
    let test = start(database).await;
    let (old, _) = test.granted("planner", SCOPE).await;
    test.writ(&old, SCOPE).await;
    let new = with(&old, &key());
    let both = json!({ "key": new.key.public(), "now": true, "overlap_s": 1 });
    test.post("/v1/agents/planner/keys", both).await.refused(400, "malformed");
    let receipt = test.post("/v1/agents/planner/keys", json!({ "key": new.key.public(), "now": true })).await.ok();
    assert_eq!(receipt["target"], format!("holder:{}", old.key.public()));
    refused(test.token(&old, SCOPE).await, "invalid_client");
    test.writ(&new, SCOPE).await;
    assert_eq!(test.get("/v1/revocations").await.ok()["entries"].as_array().unwrap().len(), 1);
}

/// What an agent sends that asks for `new` in place of the key `old`; `by` signs for the new one.
fn own_body(test: &TestAuthority, old: &KeyPair, new: &KeyPair, by: &KeyPair) -> String {
    let url = format!("{}{OWN_KEY}", test.issuer);
    let body_sha256 = Some(sha256(old.public().to_string().as_bytes()));
    let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256 };
    let covers = ProofCovers { query: false, body: true };
    let proof = proof::make(by, &request, None, covers, None, &random(), test.clock.now());
    json!({ "key": new.public(), "proof": proof, "overlap_s": 60 }).to_string()
}

async fn own_key(test: &TestAuthority, by: &KeyPair, body: String) -> Reply {
    let proof = test.body_proof(by, OWN_KEY, body.as_bytes());
    test.json_with_proofs(OWN_KEY, body, &[&proof]).await
}

async fn an_agent_replaces_its_own_key_by_proving_both(database: &Database) {
    let test = start(database).await;
    let (old, _) = test.granted("planner", SCOPE).await;
    let (new, third, stranger) = (with(&old, &key()), key(), key());
    let body = || own_body(&test, &old.key, &new.key, &new.key);
    // Only the new key's word, only the old one's, one for somebody else's key, a stranger's, none, and not for this body.
    own_key(&test, &new.key, body()).await.refused(401, "invalid_dpop_proof");
    let by_old = own_body(&test, &old.key, &new.key, &old.key);
    own_key(&test, &old.key, by_old).await.refused(401, "invalid_dpop_proof");
    let for_another = own_body(&test, &stranger, &new.key, &new.key);
    own_key(&test, &old.key, for_another).await.refused(401, "invalid_dpop_proof");
    own_key(&test, &stranger, own_body(&test, &stranger, &new.key, &new.key)).await.refused(403, "unknown_agent_key");
    test.json_with_proofs(OWN_KEY, body(), &[]).await.refused(401, "invalid_dpop_proof");
    let elsewhere = test.body_proof(&old.key, OWN_KEY, b"{}");
    test.json_with_proofs(OWN_KEY, body(), &[&elsewhere]).await.refused(401, "invalid_dpop_proof");
    assert_eq!(test.get("/v1/agents/planner").await.ok()["key"], json!(old.key.public()));

    let told = own_key(&test, &old.key, body()).await.ok();
    assert_eq!(told["key"], json!(new.key.public()));
    own_key(&test, &old.key, body()).await.ok();
    // The old key still gets writs, and chooses no other key.
    test.writ(&old, SCOPE).await;
    let again = own_body(&test, &old.key, &third, &third);
    own_key(&test, &old.key, again).await.refused(403, "unknown_agent_key");
    test.post("/v1/agents/planner/disable", json!({})).await.ok();
    let disabled = own_body(&test, &new.key, &third, &third);
    own_key(&test, &new.key, disabled).await.refused(403, "disabled");
    let log = test.get("/v1/audit?limit=1000").await.ok();
    let records: Vec<_> = log.as_array().unwrap().iter().map(|line| &line["record"]["event"]).collect();
    let rotated: Vec<_> = records.iter().filter(|event| event["action"] == "agent.rotate").collect();
    assert_eq!((rotated.len(), &rotated[0]["actor"]["name"]), (1, &json!("planner")), "{log}");
}

async fn an_enabled_agent_is_issued_writs_and_its_old_ones_stay_dead(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", SCOPE).await;
    let issued = async || {
        let limits = Limits::default();
        let token = RawToken::parse(&test.writ(&agent, SCOPE).await, &limits).unwrap();
        let id = inspect(&token, &limits).unwrap().claims().block_ids().next().unwrap();
        test.store.issued(id).await.unwrap().unwrap().epoch
    };
    let before = issued().await;
    let ended = test.post("/v1/agents/planner/disable", json!({})).await.ok()["seq"].as_u64().unwrap();
    refused(test.token(&agent, SCOPE).await, "invalid_client");
    assert_eq!(test.post("/v1/agents/planner/enable", json!({})).await.status, 204);
    assert_eq!(test.post("/v1/agents/planner/enable", json!({})).await.status, 204);
    let after = issued().await;
    assert!(before < ended && ended <= after, "{before} {ended} {after}");
    test.post("/v1/agents/nobody/enable", json!({})).await.refused(404, "not_found");
}

async fn agents_are_described_and_say_when_they_were_last_seen(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", SCOPE).await;
    let listed = async || test.get("/v1/agents").await.ok()[0].clone();
    assert_eq!(listed().await.get("seen"), None);
    test.writ(&agent, SCOPE).await;
    let at = json!(test.clock.now().millis());
    assert_eq!((listed().await["seen"].clone(), listed().await.get("owner")), (at.clone(), None));
    // Another replica sees it as soon as it is written down.
    test.clock.advance(Duration::from_secs(60));
    let noted = async {
        while test.store.agents_seen(&"default".parse().unwrap()).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(WITHIN, test.let_time_pass(noted)).await.expect("it is written down");
    assert_eq!(test.get("/v1/agents/planner").await.ok()["seen"], at);
    let about = json!({ "owner": "Finance", "purpose": "reads invoices" });
    assert_eq!(test.put("/v1/agents/planner/description", about).await.status, 204);
    assert_eq!((&listed().await["owner"], &listed().await["purpose"]), (&json!("Finance"), &json!("reads invoices")));
    assert_eq!(test.put("/v1/agents/planner/description", json!({})).await.status, 204);
    assert_eq!(listed().await.get("owner"), None);
    for text in ["", "a\u{202e}b", "a\nb", &"a".repeat(256)] {
        let about = json!({ "owner": text });
        test.put("/v1/agents/planner/description", about).await.refused(400, "malformed");
    }
}

async fn enrol(test: &TestAuthority, key: &KeyPair, code: &str, name: Option<&str>) -> Reply {
    let body = json!({ "code": code, "name": name }).to_string();
    let proof = test.body_proof(key, ENROL, body.as_bytes());
    test.json_with_proofs(ENROL, body, &[&proof]).await
}

async fn code(test: &TestAuthority, body: Value) -> (String, String) {
    let made = test.post("/v1/enrolment-codes", body).await.ok();
    (made["code"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

async fn an_agent_registers_itself_with_a_code_once(database: &Database) {
    let test = start(database).await;
    let (secret, id) =
        code(&test, json!({ "name": "planner", "owner": "Finance", "capabilities": [SCOPE], "ttl_s_max": 60 })).await;
    assert!(secret.starts_with("writ-enrol-"));
    let agent = TestAgent { client_id: "planner".into(), key: key() };
    let told = enrol(&test, &agent.key, &secret, None).await;
    assert_eq!((told.status, &told.json["owner"]), (201, &json!("Finance")), "{}", told.text);
    let issued = test.token(&agent, SCOPE).await.ok();
    assert_eq!((&issued["expires_in"], &issued["token_type"]), (&json!(60), &json!("DPoP")));
    // Not for a user, not without a proof.
    refused(test.token_with(&test.form(&agent, &[("scope", SCOPE)]), None).await, "invalid_dpop_proof");
    enrol(&test, &key(), &secret, None).await.refused(403, "enrolment_refused");
    assert_eq!(test.get("/v1/enrolment-codes").await.ok(), json!([]));

    let (secret, _) = code(&test, json!({ "prefix": "ci-", "uses": 2 })).await;
    for (name, fits) in [(None, false), (Some("cd-1"), false), (Some("ci-1"), true), (Some("ci-2"), true)] {
        let reply = enrol(&test, &key(), &secret, name).await;
        if fits { drop(reply.ok()) } else { drop(reply.refused(400, "malformed")) }
    }
    enrol(&test, &key(), &secret, Some("ci-3")).await.refused(403, "enrolment_refused");
    assert_eq!(test.get("/v1/grants").await.ok().as_array().unwrap().len(), 1);

    let log = test.get("/v1/audit?limit=1000").await;
    assert!(!log.text.contains("writ-enrol-"));
    let records = log.json.as_array().unwrap();
    let enrolled: Vec<_> =
        records.iter().map(|line| &line["record"]["event"]).filter(|event| event["action"] == "agent.enrol").collect();
    assert_eq!(enrolled.len(), 3);
    let detail = &enrolled[0]["detail"];
    assert_eq!(
        (&detail["code"], &detail["code_by"], &detail["capabilities"][0]),
        (&json!(id), &json!("root"), &json!(SCOPE))
    );
}

async fn a_code_that_does_not_count_registers_nobody(database: &Database) {
    let test = start(database).await;
    for body in [
        json!({}),
        json!({ "name": "a", "prefix": "b" }),
        json!({ "name": "a", "uses": 2 }),
        json!({ "prefix": "a", "uses": 0 }),
        json!({ "name": "a", "ttl_s": 2_592_001 }),
        json!({ "name": "a", "ttl_s": 0 }),
        json!({ "name": "a", "capabilities": [SCOPE], "ttl_s_max": 0 }),
    ] {
        test.post("/v1/enrolment-codes", body).await.refused(400, "malformed");
    }
    let wrong = format!("writ-enrol-{}", "A".repeat(43));
    let unknown = enrol(&test, &key(), &wrong, None).await.refused(403, "enrolment_refused");
    let (removed, id) = code(&test, json!({ "name": "a" })).await;
    assert_eq!(test.delete(&format!("/v1/enrolment-codes/{id}")).await.status, 204);
    assert_eq!(enrol(&test, &key(), &removed, None).await.refused(403, "enrolment_refused"), unknown);
    let (late, _) = code(&test, json!({ "name": "a", "ttl_s": 60 })).await;
    test.clock.advance(Duration::from_millis(60_001));
    assert_eq!(enrol(&test, &key(), &late, None).await.refused(403, "enrolment_refused"), unknown);

    // Without a proof of the key there is none, and a name that is taken does not use the code up.
    let (good, _) = code(&test, json!({ "name": "a" })).await;
    let body = json!({ "code": good }).to_string();
    test.json_with_proofs(ENROL, body, &[]).await.refused(401, "invalid_dpop_proof");
    let taken = test.agent("b").await;
    enrol(&test, &taken.key, &good, None).await.refused(409, "conflict");
    for _ in 0..100 {
        let reply = enrol(&test, &key(), &wrong, None).await;
        if reply.status == 429 {
            break;
        }
    }
    enrol(&test, &key(), &good, None).await.refused(429, "too_many_failures");
    // Operators are kept out by nobody's wrong codes.
    test.get("/v1/agents").await.ok();
    test.clock.advance(Duration::from_secs(1));
    enrol(&test, &key(), &good, None).await.ok();
    let reply = test.call(Method::GET, "/v1/agents", None).await.ok();
    assert_eq!(reply.as_array().unwrap().len(), 2);
}
