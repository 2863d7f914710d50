//! `/oauth/revoke` and `/oauth/introspect`: for whom, and that a stranger learns nothing.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use writ::clock::{Clock as _, ManualClock};
use writ::config::authority::AuthorityTerms;
use writ::id::BlockId;
use writ::key::KeyPair;
use writ::token::hop::{Narrowing, narrow};
use writ::token::inspect::inspect;
use writ::token::{Limits, RawToken};

use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, START, TestAgent, TestAuthority, random, start, start_with};

for_every_backend!(
    an_agent_revokes_its_own_writ_and_a_holder_its_own_hop,
    a_relying_service_learns_what_a_writ_allows_and_when_it_does_not,
    relying_services_are_registered_listed_and_removed,
);

const REVOKE: &str = "/oauth/revoke";
const INTROSPECT: &str = "/oauth/introspect";

fn key() -> KeyPair {
    KeyPair::from_seed(&random())
}

/// The id of a token's last block.
fn last(token: &str) -> BlockId {
    let limits = Limits::default();
    let unverified = inspect(&RawToken::parse(token, &limits).unwrap(), &limits).unwrap();
    unverified.claims().block_ids().last().unwrap()
}

#[track_caller]
fn refused(reply: Reply, status: u16, error: &str) -> String {
    assert_eq!((reply.status, reply.json["error"].as_str()), (status, Some(error)), "{}", reply.text);
    reply.json["error_description"].as_str().unwrap().to_owned()
}

/// The form of an authenticated client.
fn form_of(test: &TestAuthority, client: &TestAgent, token: &str) -> Vec<(String, String)> {
    let mut form = test.form(client, &[("token", token), ("token_type_hint", "access_token")]);
    form.retain(|(name, _)| name != "grant_type");
    form
}

fn bare(token: &str) -> Vec<(String, String)> {
    vec![("token".into(), token.into())]
}

/// A relying service of the deployment `main`.
async fn relying(test: &TestAuthority, tenant: &str, name: &str, audience: &str) -> TestAgent {
    let key = key();
    let body = json!({ "name": name, "key": key.public(), "audience": audience });
    test.post(&format!("/v1/relying?tenant={tenant}"), body).await.ok();
    TestAgent { client_id: format!("{tenant}/{name}"), key: Arc::new(key) }
}

async fn introspect(test: &TestAuthority, by: &TestAgent, token: &str) -> Value {
    test.oauth(INTROSPECT, &form_of(test, by, token), None).await.ok()
}

async fn an_agent_revokes_its_own_writ_and_a_holder_its_own_hop(database: &Database) {
    let test = start(database).await;
    let service = relying(&test, "default", "billing", "main").await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let (stranger, _) = test.granted("stranger", "notes:read:team").await;
    let (one, two) = (test.writ(&agent, "notes:read:team").await, test.writ(&agent, "notes:read:team").await);
    let bob = key();
    let at_bob = test.delegated(&two, &agent.key, &bob, [1; 16]);

    // What is not the caller's, what was never issued, what is malformed: one answer, and nothing stored.
    for token in [one.as_str(), at_bob.as_str(), &"A".repeat(500), "x", ""] {
        let reply = test.oauth(REVOKE, &form_of(&test, &stranger, token), None).await;
        assert_eq!((reply.status, &*reply.text), (200, "{}"), "{token}");
        let reply = test.oauth(REVOKE, &bare(token), Some(&key())).await;
        assert_eq!((reply.status, &*reply.text), (200, "{}"), "{token}");
    }
    assert_eq!(test.store.revocation_head().await.unwrap(), 0);

    let receipt = test.oauth(REVOKE, &form_of(&test, &agent, &one), None).await.ok();
    assert_eq!(receipt["seq"], 1);
    assert_eq!(test.oauth(REVOKE, &form_of(&test, &agent, &one), None).await.ok()["seq"], 1, "twice is not an error");
    assert_eq!(introspect(&test, &service, &one).await, json!({ "active": false }));
    assert_eq!(introspect(&test, &service, &two).await["active"], true);
    // To the stranger a dead one looks as the others did.
    assert_eq!(test.oauth(REVOKE, &form_of(&test, &stranger, &one), None).await.text, "{}");

    let receipt = test.oauth(REVOKE, &bare(&at_bob), Some(&bob)).await.ok();
    assert_eq!(receipt["target"], format!("block:{}", last(&at_bob)));
    assert_eq!(introspect(&test, &service, &at_bob).await, json!({ "active": false }));
    assert_eq!(introspect(&test, &service, &two).await["active"], true);
    // Its last block alone is meant: the holder further up ends the hop, not what it hangs on.
    let at_carol = test.delegated(&two, &agent.key, &key(), [2; 16]);
    test.oauth(REVOKE, &form_of(&test, &agent, &at_carol), None).await.ok();
    assert_eq!(introspect(&test, &service, &at_carol).await, json!({ "active": false }));
    assert_eq!(introspect(&test, &service, &two).await["active"], true);

    // Nobody without showing who they are.
    refused(test.oauth(REVOKE, &bare(&two), None).await, 401, "invalid_client");
    let form = form_of(&test, &agent, &two);
    test.oauth(REVOKE, &form, None).await.ok();
    refused(test.oauth(REVOKE, &form, None).await, 401, "invalid_client");
    let mut secret = bare(&two);
    secret.push(("client_secret".into(), "x".into()));
    refused(test.oauth(REVOKE, &secret, Some(&agent.key)).await, 401, "invalid_client");
    refused(test.oauth(REVOKE, &form_of(&test, &service, &two), None).await, 401, "invalid_client");
    refused(test.oauth(REVOKE, &[], Some(&agent.key)).await, 400, "invalid_request");
    let twice = [bare(&two), bare(&two)].concat();
    refused(test.oauth(REVOKE, &twice, Some(&agent.key)).await, 400, "invalid_request");
    let in_url = test.raw(Method::POST, "/oauth/revoke?token=x", HeaderMap::new(), "").await;
    refused(in_url, 400, "invalid_request");
    test.post("/v1/agents/planner/disable", json!(null)).await.ok();
    refused(test.oauth(REVOKE, &form_of(&test, &agent, &two), None).await, 401, "invalid_client");
}

async fn a_relying_service_learns_what_a_writ_allows_and_when_it_does_not(database: &Database) {
    let terms = AuthorityTerms {
        audiences: vec!["main".parse().unwrap(), "other".parse().unwrap()],
        ..AuthorityTerms::default()
    };
    let test = start_with(database.store.clone(), Arc::new(ManualClock::at(START)), terms).await;
    let service = relying(&test, "default", "billing", "main").await;
    let agent = test.agent("planner").await;
    let grant = json!({ "agent": "planner", "subject": "alice", "capabilities": ["notes:/:team", "mail:send:/"] });
    test.post("/v1/grants", grant).await.ok();
    let ask = [("scope", "notes:/:team mail:send:/"), ("subject", "alice"), ("audience", "main")];
    let reply = test.token_with(&test.form(&agent, &ask), Some(&test.token_proof(&agent.key))).await.ok();
    let token = reply["access_token"].as_str().unwrap().to_owned();
    let now = test.clock.now().secs();

    let told = introspect(&test, &service, &token).await;
    for (name, value) in [
        ("active", json!(true)),
        ("scope", json!("notes:/:team mail:send:/")),
        ("client_id", json!("planner")),
        ("sub", json!("alice")),
        ("aud", json!("main")),
        ("iss", json!(test.issuer)),
        ("exp", json!(now + 900)),
        ("nbf", json!(now - 5)),
        ("iat", json!(now)),
        ("token_type", json!("DPoP")),
        ("cnf", json!({ "jkt": agent.key.public().thumbprint() })),
        ("act", json!({ "sub": "planner" })),
        ("tenant", json!("default")),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    assert_eq!(told["jti"].as_str().unwrap().len(), 32);

    // A delegated one: who acts now stands outside, and what was taken away is gone from its scope.
    let bob = key();
    let at_bob = test.delegated(&token, &agent.key, &bob, [1; 16]);
    let narrowed = |narrowing: &Narrowing| {
        let limits = Limits::default();
        let raw = RawToken::parse(&at_bob, &limits).unwrap();
        narrow(&raw, narrowing, &random(), &limits).unwrap().text().to_owned()
    };
    let less = Narrowing { capabilities: vec!["notes:read:/".parse().unwrap()], ..Narrowing::default() };
    let told = introspect(&test, &service, &narrowed(&less)).await;
    assert_eq!((&told["scope"], &told["jti"]), (&json!("notes:read:team"), &json!(last(&at_bob))));
    assert_eq!(told["act"], json!({ "sub": bob.public(), "act": { "sub": "planner" } }));
    assert_eq!((&told["cnf"]["jkt"], &told["sub"]), (&json!(bob.public().thumbprint()), &json!("alice")));
    assert_eq!(told["exp"], now + 600);
    // What capabilities cannot say is never left out in silence.
    let checked = Narrowing { checks: vec![r#"check if arg("amount", $x), $x <= 500"#.into()], ..Narrowing::default() };
    let told = introspect(&test, &service, &narrowed(&checked)).await;
    assert!(told.get("scope").is_none() && told["checks"][0].as_str().unwrap().contains("amount"), "{told}");

    // One answer for everything that is not active for the one who asks.
    let dead = json!({ "active": false });
    let other = relying(&test, "default", "elsewhere", "other").await;
    let acme = relying(&test, "acme", "billing", "main").await;
    assert_eq!(introspect(&test, &other, &token).await, dead);
    assert_eq!(introspect(&test, &acme, &token).await, dead);
    for malformed in ["", "x", &token[1..], &"A".repeat(9000)] {
        assert_eq!(introspect(&test, &service, malformed).await, dead);
    }
    // A service that was revoked is gone from the scope of older writs.
    test.post("/v1/revocations", json!({ "target": "service:default/mail" })).await.ok();
    assert_eq!(introspect(&test, &service, &token).await["scope"], "notes:/:team");
    // Another replica's revocation counts at once.
    let beside = test.beside(crate::support::authority::keyring(&test.kek, &[])).await;
    beside.witness(&bob, &json!({ "token": at_bob })).await.ok();
    assert_eq!(introspect(&test, &service, &at_bob).await, dead);
    assert_eq!(introspect(&test, &service, &token).await["active"], true);
    test.post("/v1/revocations", json!({ "target": "subject:default/alice" })).await.ok();
    assert_eq!(introspect(&test, &service, &token).await, dead);
    test.post("/v1/users/reactivate", json!({ "subject": "alice" })).await;
    let reply = test.token_with(&test.form(&agent, &ask), Some(&test.token_proof(&agent.key))).await.ok();
    let token = reply["access_token"].as_str().unwrap();
    assert_eq!(introspect(&test, &service, token).await["active"], true);
    test.clock.advance(Duration::from_secs(901));
    assert_eq!(introspect(&test, &service, token).await, dead);

    // Nobody but a relying service.
    refused(test.oauth(INTROSPECT, &form_of(&test, &agent, token), None).await, 401, "invalid_client");
    refused(test.oauth(INTROSPECT, &bare(token), Some(&agent.key)).await, 401, "invalid_client");
    let form = form_of(&test, &service, token);
    test.oauth(INTROSPECT, &form, None).await.ok();
    refused(test.oauth(INTROSPECT, &form, None).await, 401, "invalid_client");
    let forged = TestAgent { client_id: service.client_id.clone(), key: Arc::new(key()) };
    refused(test.oauth(INTROSPECT, &form_of(&test, &forged, token), None).await, 401, "invalid_client");
    let other_tenant = TestAgent { client_id: "acme/billing".into(), key: service.key.clone() };
    refused(test.oauth(INTROSPECT, &form_of(&test, &other_tenant, token), None).await, 401, "invalid_client");
}

async fn relying_services_are_registered_listed_and_removed(database: &Database) {
    let test = start(database).await;
    let service = relying(&test, "default", "billing", "main").await;
    let taken = json!({ "name": "billing", "key": key().public() });
    test.post("/v1/relying", taken).await.refused(409, "conflict");
    let taken = json!({ "name": "other", "key": service.key.public() });
    test.post("/v1/relying", taken).await.refused(409, "conflict");
    let nowhere = json!({ "name": "other", "key": key().public(), "audience": "nowhere" });
    test.post("/v1/relying", nowhere).await.refused(400, "unknown_audience");
    let listed = test.get("/v1/relying").await.ok();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("billing")));
    assert_eq!(test.get("/v1/relying?tenant=acme").await.ok(), json!([]));
    assert_eq!(introspect(&test, &service, "x").await, json!({ "active": false }));
    assert_eq!(test.delete("/v1/relying/billing").await.status, 204);
    test.delete("/v1/relying/billing").await.refused(404, "not_found");
    refused(test.oauth(INTROSPECT, &form_of(&test, &service, "x"), None).await, 401, "invalid_client");
}

#[tokio::test]
async fn the_metadata_name_both_endpoints() {
    let test = start(&Database::sqlite().await).await;
    let told = test.get("/.well-known/oauth-authorization-server").await.ok();
    for (name, path) in [("revocation_endpoint", REVOKE), ("introspection_endpoint", INTROSPECT)] {
        assert_eq!(told[name], format!("{}{path}", test.issuer));
        assert_eq!(told[format!("{name}_auth_methods_supported")], json!(["private_key_jwt"]));
    }
}
