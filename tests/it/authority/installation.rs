//! Init, open, operators, the vault's keys, and what is stored when a request is wrong.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use writ::audit::Source;
use writ::authority::{Authority, InitError, OpenError, RunningAuthority};
use writ::config::authority::AuthorityTerms;

use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAuthority, kek, keyring, notes_service, start};

for_every_backend!(
    an_installation_is_created_once,
    another_key_encryption_key_does_not_open_it,
    the_key_encryption_key_rotates_while_serving,
    a_malformed_request_stores_nothing,
    a_shutdown_signs_the_end_of_the_audit_chain,
    every_change_is_in_the_audit_log_with_its_operator,
);

async fn reopened(test: &TestAuthority, keys: writ::vault::Keyring) -> Result<Arc<Authority>, OpenError> {
    Authority::open(test.store.clone(), keys, test.clock.clone(), AuthorityTerms::default(), None).await
}

async fn an_installation_is_created_once(database: &Database) {
    let test = start(database).await;
    let keys = keyring(&test.kek, &[]);
    let issuer = "https://other.example".parse().unwrap();
    let again = Authority::init(&*test.store, &keys, &*test.clock, &issuer, "mallory".parse().unwrap()).await;
    assert!(matches!(again, Err(InitError::Exists)), "{again:?}");
    let other =
        Authority::open(test.store.clone(), keys, test.clock.clone(), AuthorityTerms::default(), Some(&issuer)).await;
    let told = other.unwrap_err().to_string();
    assert!(told.contains("authority.issuer") && told.contains(&test.issuer), "{told}");
    assert_eq!(test.get("/v1/keys").await.ok()["issuer"], test.issuer);
    assert!(test.operator.starts_with("writ-operator-") && test.operator.len() == 57);
}

async fn another_key_encryption_key_does_not_open_it(database: &Database) {
    let test = start(database).await;
    let told = reopened(&test, keyring(&kek(), &[])).await.unwrap_err();
    assert!(matches!(told, OpenError::WrongKek(_)));
    assert!(told.to_string().contains("vault.kek_files"), "{told}");
    reopened(&test, keyring(&test.kek, &[])).await.unwrap();
}

async fn the_key_encryption_key_rotates_while_serving(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let old = test.get("/v1/credentials").await.ok()[0]["kek"].clone();
    // A second replica seals under the new key and opens what the old one sealed; the first still serves.
    let new = kek();
    let second = test.beside(keyring(&new, &[&test.kek])).await;
    let rewrapped = second.post("/v1/vault/rewrap", json!(null)).await.ok()["rewrapped"].as_u64().unwrap();
    assert_eq!(rewrapped, 4, "check value, authority seed, root seed, credential");
    assert_eq!(second.post("/v1/vault/rewrap", json!(null)).await.ok()["rewrapped"], 0);
    let credential = second.get("/v1/credentials").await.ok()[0].clone();
    assert_ne!(credential["kek"], old);
    assert_eq!(credential["version"], 1, "the secret is the same");
    // The old key can go now, and is missed by nobody.
    assert!(matches!(reopened(&test, keyring(&test.kek, &[])).await, Err(OpenError::WrongKek(_))));
    let third = test.beside(keyring(&new, &[])).await;
    third.writ(&agent, "notes:read:team").await;
}

/// Everything an operator can see.
async fn everything(test: &TestAuthority) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [
        "/v1/agents",
        "/v1/grants",
        "/v1/services",
        "/v1/credentials",
        "/v1/edges",
        "/v1/keys",
        "/v1/revocations",
        "/v1/audit?limit=1000",
    ] {
        all.push(test.get(path).await.ok());
    }
    all
}

async fn a_malformed_request_stores_nothing(database: &Database) {
    let test = start(database).await;
    let (_, grant) = test.granted("planner", "notes:read:team").await;
    test.notes("secret-of-notes").await;
    let before = everything(&test).await;
    let key = writ::key::KeyPair::from_seed(&[9; 32]).public();
    let mut bad_service = notes_service();
    bad_service["upstream"] = json!("http://notes.example");
    let mut other_name = notes_service();
    other_name["name"] = json!("other");
    for (method, path, body) in [
        ("POST", "/v1/agents", json!({ "name": "Planner", "key": key })),
        ("POST", "/v1/agents", json!({ "name": "a\nb", "key": key })),
        ("POST", "/v1/agents", json!({ "name": "a" })),
        ("POST", "/v1/agents", json!({ "name": "a", "key": "did:key:z6Mk" })),
        ("POST", "/v1/agents", json!({ "name": "a", "key": key, "admin": true })),
        ("POST", "/v1/agents?tenant=Acme", json!({ "name": "a", "key": key })),
        ("POST", "/v1/agents?tenant=a&tenant=b", json!({ "name": "a", "key": key })),
        ("POST", "/v1/agents?x=1", json!({ "name": "a", "key": key })),
        ("POST", "/v1/grants", json!({ "agent": "planner", "capabilities": [] })),
        ("POST", "/v1/grants", json!({ "agent": "planner", "capabilities": ["notes"] })),
        ("POST", "/v1/grants", json!({ "agent": "planner", "capabilities": ["notes:read:team"], "ttl_s_max": 0 })),
        ("POST", "/v1/grants", json!({ "agent": "planner", "capabilities": ["notes:read:team"], "ttl_s_max": 86_401 })),
        ("POST", "/v1/grants", json!({ "agent": "planner", "capabilities": ["notes:read:team"], "depth_max": 6 })),
        ("POST", "/v1/grants", json!({ "agent": "planner", "capabilities": vec!["notes:read:team"; 17] })),
        ("DELETE", "/v1/grants/xyz", json!(null)),
        ("PUT", "/v1/services/notes", bad_service),
        ("PUT", "/v1/services/notes", other_name),
        ("PUT", "/v1/services/notes", json!({ "name": "notes" })),
        ("PUT", "/v1/services/..%2Fnotes", notes_service()),
        ("PUT", "/v1/credentials/notes-key", json!({ "kind": "bearer", "secret": "with\r\nline-breaks" })),
        ("PUT", "/v1/credentials/notes-key", json!({ "kind": "bearer", "secret": "" })),
        ("PUT", "/v1/credentials/notes-key", json!({ "kind": "bearer", "name": "x", "secret": "long-enough-secret" })),
        ("PUT", "/v1/credentials/notes-key", json!({ "kind": "header", "secret": "long-enough-secret" })),
        (
            "PUT",
            "/v1/credentials/notes-key",
            json!({ "kind": "header", "name": "host", "secret": "long-enough-secret" }),
        ),
        (
            "PUT",
            "/v1/credentials/notes-key",
            json!({ "kind": "basic", "username": "a:b", "secret": "long-enough-secret" }),
        ),
        ("PUT", "/v1/credentials/notes-key", json!({ "kind": "magic", "secret": "long-enough-secret" })),
        ("PUT", "/v1/credentials/notes-key", json!({ "kind": "bearer", "secret": 12_345_678 })),
        ("PUT", "/v1/credentials/..%2Fother", json!({ "kind": "bearer", "secret": "long-enough-secret" })),
        ("POST", "/v1/credentials/notes-key/rotate", json!({ "secret": "a\u{0}b" })),
        ("POST", "/v1/edges/tickets", json!({ "name": "Edge" })),
        ("POST", "/v1/keys", json!({ "overlap_s": -1 })),
        ("POST", "/v1/keys/one/retire", json!(null)),
        ("POST", "/v1/operators", json!({ "name": "" })),
        ("GET", "/v1/audit?limit=0", json!(null)),
        ("GET", "/v1/audit?limit=1001", json!(null)),
        ("GET", "/v1/audit?after_seq=1", json!(null)),
        ("GET", "/v1/audit?verdict=maybe", json!(null)),
        ("GET", "/v1/audit?source=edge", json!(null)),
        ("GET", "/v1/audit/checkpoints", json!(null)),
    ] {
        let reply = test.call(method.parse().unwrap(), path, Some(body.clone())).await;
        assert_eq!(reply.status, 400, "{method} {path} {body}: {}", reply.text);
        let told = reply.refused(400, "malformed");
        assert!(!told.contains("12345678") && !told.contains("long-enough"), "the secret is quoted: {told}");
    }
    for (method, path, body, code) in [
        ("POST", "/v1/agents", json!({ "name": "planner", "key": key }), (409, "conflict")),
        ("POST", "/v1/operators", json!({ "name": "root" }), (409, "conflict")),
        ("PUT", "/v1/services/notes?tenant=acme", notes_service(), (409, "conflict")),
        ("POST", "/v1/grants", json!({ "agent": "nobody", "capabilities": ["notes:read:team"] }), (404, "not_found")),
        ("DELETE", "/v1/services/nothing", json!(null), (404, "not_found")),
        ("GET", "/v1/services/nothing", json!(null), (404, "not_found")),
        ("GET", "/v1/services/notes?tenant=acme", json!(null), (404, "not_found")),
        ("DELETE", "/v1/credentials/nothing", json!(null), (404, "not_found")),
        ("POST", "/v1/credentials/nothing/rotate", json!({ "secret": "long-enough-secret" }), (404, "not_found")),
    ] {
        test.call(method.parse().unwrap(), path, Some(body)).await.refused(code.0, code.1);
    }
    test.delete(&format!("/v1/grants/{grant}?tenant=acme")).await.refused(404, "not_found");
    let mut headers = test.operator_headers();
    for (media_type, body, status, code) in [
        ("application/json", "{".to_owned(), 400, "malformed"),
        ("application/json", r#"{"name":"a","name":"b"}"#.to_owned(), 400, "malformed"),
        ("application/json", "\u{feff}{}".to_owned(), 400, "malformed"),
        ("text/plain", "{}".to_owned(), 415, "media_type"),
        ("application/json", format!("\"{}\"", "a".repeat(70_000)), 413, "too_large"),
        ("application/json", "[".repeat(60_000), 400, "malformed"),
    ] {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        test.raw(Method::POST, "/v1/agents", headers.clone(), body).await.refused(status, code);
    }
    assert_eq!(everything(&test).await, before, "something was stored");
}

async fn a_shutdown_signs_the_end_of_the_audit_chain(database: &Database) {
    let mut test = start(database).await;
    test.agent("planner").await;
    let edge = test.edge("edge-1").await;
    let (_, version) = edge.catch_up().await;
    // A request that waits is answered, not cut.
    let waiting = tokio::spawn(async move { edge.feed(Some(0), Some(version), 500).await });
    test.running.take().unwrap().shutdown().await;
    if let Ok(told) = waiting.await.unwrap() {
        assert_eq!(told.head, 0);
    }
    let head = test.store.audit_head(&Source::Authority).await.unwrap();
    let checkpoints = test.store.checkpoints(&Source::Authority).await.unwrap();
    let last = checkpoints.last().expect("a checkpoint");
    last.verify().unwrap();
    assert_eq!((&last.head, last.key), (&head, test.authority.public_key()));
    assert!(
        test.client.call(Method::GET, "/healthz", HeaderMap::new(), "".into(), Duration::from_secs(5)).await.is_err()
    );
}

async fn every_change_is_in_the_audit_log_with_its_operator(database: &Database) {
    let test = start(database).await;
    let added = test.post("/v1/operators", json!({ "name": "alice" })).await.ok();
    let mut alice = HeaderMap::new();
    let secret = format!("Bearer {}", added["secret"].as_str().unwrap());
    alice.insert(header::AUTHORIZATION, HeaderValue::from_str(&secret).unwrap());
    alice.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = writ::key::KeyPair::from_seed(&[9; 32]).public();
    let body = json!({ "name": "planner", "key": key }).to_string();
    test.raw(Method::POST, "/v1/agents", alice, body).await.ok();
    test.notes("secret-of-notes").await;
    test.ticket("edge-1").await;
    let log = test.get("/v1/audit?limit=1000").await;
    assert!(!log.text.contains("secret-of-notes") && !log.text.contains(added["secret"].as_str().unwrap()));
    let events: Vec<(String, String)> = log
        .json
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            (
                r["record"]["event"]["action"].as_str().unwrap().into(),
                r["record"]["event"]["actor"]["name"].as_str().unwrap_or("").into(),
            )
        })
        .collect();
    let expected = [
        ("installation.create", ""),
        ("operator.add", "root"),
        ("agent.register", "alice"),
        ("credential.put", "root"),
        ("service.put", "root"),
        ("edge.ticket", "root"),
    ];
    assert_eq!(events, expected.map(|(action, who)| (action.to_owned(), who.to_owned())));
    assert_eq!(test.get("/v1/audit/sources").await.ok(), json!(["authority"]));
}

#[tokio::test]
async fn an_empty_store_says_what_to_do() {
    let database = Database::sqlite().await;
    let clock = Arc::new(writ::clock::SystemClock);
    let opened = Authority::open(database.store.clone(), keyring(&kek(), &[]), clock, AuthorityTerms::default(), None);
    assert!(opened.await.unwrap_err().to_string().contains("writ init"));
}

#[tokio::test]
async fn a_service_may_come_as_toml() {
    let test = start(&Database::sqlite().await).await;
    let toml = "name = \"notes\"\nupstream = \"https://notes.example\"\n[[route]]\nmethods = [\"GET\"]\npath = \"/notes\"\naction = \"read\"\nresource = \"all\"\n";
    let mut headers = test.operator_headers();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    test.raw(Method::PUT, "/v1/services/notes", headers.clone(), toml).await.ok();
    assert_eq!(test.get("/v1/services/notes").await.ok()["upstream"], "https://notes.example");
    assert_eq!(test.get("/v1/services").await.ok().as_array().unwrap().len(), 1);
    let told = test.raw(Method::PUT, "/v1/services/notes", headers, "name = ").await.refused(400, "malformed");
    assert!(told.contains("line 1"), "{told}");
    test.delete("/v1/services/notes").await.ok();
    assert_eq!(test.get("/v1/services").await.ok(), json!([]));
}

#[tokio::test]
async fn plain_http_is_for_this_machine_only() {
    let test = start(&Database::sqlite().await).await;
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = RunningAuthority::start(test.authority.clone(), listener, None).unwrap_err();
    assert!(refused.to_string().contains("authority.tls"), "{refused}");
}
