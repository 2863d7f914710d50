//! The token endpoint: who gets a writ, for what, and what everybody else is told.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use writ::key::KeyPair;
use writ::token::{Limits, RawToken, RootKeys, verify};

use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, TestAuthority, jws, random, start};

for_every_backend!(
    an_agent_with_a_grant_gets_a_writ_bound_to_its_key,
    a_grant_for_a_user_counts_for_that_user_only,
    an_assertion_and_a_proof_count_once,
    a_denied_request_uses_up_its_assertion_and_its_proof,
    a_writ_never_outlives_its_grant,
    a_disabled_agent_gets_nothing,
    nothing_is_issued_without_a_proof_unless_the_grant_says_so,
    every_issued_writ_is_in_the_audit_log_and_its_text_is_not,
);

/// What a refusal must look like. Answers the description.
#[track_caller]
fn refused(reply: Reply, status: u16, error: &str) -> String {
    assert_eq!((reply.status, reply.json["error"].as_str()), (status, Some(error)), "{}", reply.text);
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    assert!(reply.json.get("access_token").is_none());
    reply.json["error_description"].as_str().unwrap().to_owned()
}

async fn root_keys(test: &TestAuthority) -> RootKeys {
    let keys = test.get("/v1/keys").await.ok();
    let keys = keys["root_keys"].as_array().unwrap().iter();
    let trusted = keys.map(|key| json!({ "id": key["id"], "key": key["key"], "until": Value::Null }));
    serde_json::from_value(json!({ "keys": trusted.collect::<Vec<_>>() })).unwrap()
}

async fn an_agent_with_a_grant_gets_a_writ_bound_to_its_key(database: &Database) {
    let test = start(database).await;
    let (agent, grant) = test.granted("planner", "notes:read:team").await;
    let reply = test.token(&agent, "notes:read:team/a notes:read/all:team").await;
    assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    let reply = reply.ok();
    assert_eq!(reply["token_type"], "DPoP");
    assert_eq!(reply["expires_in"], 900);
    assert_eq!(reply["scope"], "notes:read:team/a notes:read/all:team");

    let limits = Limits::default();
    let raw = RawToken::parse(reply["access_token"].as_str().unwrap(), &limits).unwrap();
    let chain = verify(&raw, &root_keys(&test).await, &limits).unwrap();
    let block = chain.authority();
    assert_eq!(block.holder, Some(agent.key.public()));
    assert_eq!((block.agent.as_str(), block.tenant.as_str(), block.audience.as_str()), ("planner", "default", "main"));
    assert_eq!((&*block.issuer, block.subject.as_ref()), (test.issuer.as_str(), None));
    assert_eq!(block.grants.iter().map(ToString::to_string).collect::<Vec<_>>(), [grant]);
    assert_eq!(test.store.issued(block.id).await.unwrap().unwrap().expires, block.expires);
}

async fn a_grant_for_a_user_counts_for_that_user_only(database: &Database) {
    let test = start(database).await;
    let agent = test.agent("planner").await;
    let grant = json!({ "agent": "planner", "subject": "alice@example.com", "capabilities": ["notes:read:alice"] });
    test.post("/v1/grants", grant).await.ok();
    let ask = async |subject: Option<&str>| {
        let mut more = vec![("scope", "notes:read:alice")];
        more.extend(subject.map(|subject| ("subject", subject)));
        test.token_with(&test.form(&agent, &more), Some(&test.token_proof(&agent.key))).await
    };
    ask(Some("alice@example.com")).await.ok();
    let told = refused(ask(Some("bob@example.com")).await, 400, "invalid_scope");
    assert!(told.contains("on behalf of `bob@example.com`"), "{told}");
    refused(ask(None).await, 400, "invalid_scope");
    refused(ask(Some("")).await, 400, "invalid_request");
}

async fn an_assertion_and_a_proof_count_once(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let form = test.form(&agent, &[("scope", "notes:read:team")]);
    let proof = test.token_proof(&agent.key);
    test.token_with(&form, Some(&proof)).await.ok();
    let again = test.token_with(&form, Some(&test.token_proof(&agent.key))).await;
    assert!(refused(again, 401, "invalid_client").contains("used before"));
    let again = test.token_with(&test.form(&agent, &[("scope", "notes:read:team")]), Some(&proof)).await;
    assert!(refused(again, 400, "invalid_dpop_proof").contains("used before"));
}

/// Also where there is no writ: what was denied cannot be shown again for something else.
async fn a_denied_request_uses_up_its_assertion_and_its_proof(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let form = |scope: &str| test.form(&agent, &[("scope", scope)]);
    let (denied, proof) = (form("notes:write:team"), test.token_proof(&agent.key));
    refused(test.token_with(&denied, Some(&proof)).await, 400, "invalid_scope");
    let mut fewer = denied.clone();
    fewer.last_mut().unwrap().1 = "notes:read:team".into();
    let again = test.token_with(&fewer, Some(&test.token_proof(&agent.key))).await;
    assert!(refused(again, 401, "invalid_client").contains("used before"));
    let again = test.token_with(&form("notes:read:team"), Some(&proof)).await;
    assert!(refused(again, 400, "invalid_dpop_proof").contains("used before"));
    test.token_with(&form("notes:read:team"), Some(&test.token_proof(&agent.key))).await.ok();
    // A proof that does not hold: the assertion is used up all the same.
    let form = form("notes:read:team");
    refused(test.token_with(&form, Some("x.y.z")).await, 400, "invalid_dpop_proof");
    let again = test.token_with(&form, Some(&test.token_proof(&agent.key))).await;
    assert!(refused(again, 401, "invalid_client").contains("used before"));
}

async fn a_writ_never_outlives_its_grant(database: &Database) {
    let test = start(database).await;
    let agent = test.agent("planner").await;
    let grant = json!({ "agent": "planner", "capabilities": ["notes:read:team"], "ttl_s_max": 120, "depth_max": 1 });
    test.post("/v1/grants", grant).await.ok();
    for (asked, given) in [(None, 120), (Some("60"), 60), (Some("86400"), 120)] {
        let mut more = vec![("scope", "notes:read:team")];
        more.extend(asked.map(|asked| ("expires_in", asked)));
        let reply = test.token_with(&test.form(&agent, &more), Some(&test.token_proof(&agent.key))).await.ok();
        assert_eq!(reply["expires_in"], given);
    }
    for asked in ["0", "-1", "1.5", "99999999999", "soon"] {
        let form = test.form(&agent, &[("scope", "notes:read:team"), ("expires_in", asked)]);
        refused(test.token_with(&form, Some(&test.token_proof(&agent.key))).await, 400, "invalid_request");
    }
}

async fn a_disabled_agent_gets_nothing(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    test.post("/v1/agents/planner/disable", json!(null)).await.ok();
    let told = refused(test.token(&agent, "notes:read:team").await, 401, "invalid_client");
    assert!(told.contains("disabled"), "{told}");
}

async fn nothing_is_issued_without_a_proof_unless_the_grant_says_so(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let ask = async || test.token_with(&test.form(&agent, &[("scope", "notes:read:team")]), None).await;
    assert!(refused(ask().await, 400, "invalid_dpop_proof").contains("`DPoP` header"));
    // Another key than the registered one: an assertion that leaked must not bind a writ to a thief.
    let thief = KeyPair::from_seed(&random());
    let form = test.form(&agent, &[("scope", "notes:read:team")]);
    refused(test.token_with(&form, Some(&test.token_proof(&thief))).await, 400, "invalid_dpop_proof");
    test.post("/v1/grants", json!({ "agent": "planner", "capabilities": ["notes:read:team"], "bearer": true }))
        .await
        .ok();
    assert_eq!(ask().await.ok()["token_type"], "Bearer");
}

async fn every_issued_writ_is_in_the_audit_log_and_its_text_is_not(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let token = test.writ(&agent, "notes:read:team").await;
    let log = test.get("/v1/audit?source=authority&limit=1000").await;
    assert!(!log.text.contains(&token[..40]), "the token stands in the audit log");
    let records = log.ok();
    let digest = hex::encode(writ::key::sha256(token.as_bytes()));
    let issued = |record: &&Value| record["record"]["event"]["action"] == "writ.issue";
    let record = records.as_array().unwrap().iter().find(issued).expect("a record of the issuance");
    assert_eq!(record["record"]["event"]["detail"]["token_sha256"], digest);
    assert_eq!(record["record"]["event"]["actor"], json!({ "kind": "agent", "name": "planner" }));
}

#[tokio::test]
async fn a_missing_grant_is_named() {
    let test = start(&Database::sqlite().await).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    for scope in
        ["notes:write:team", "notes:read:/", "notes:read:teamx", "mail:read:team", "notes:read:team notes:write:team"]
    {
        let told = refused(test.token(&agent, scope).await, 400, "invalid_scope");
        assert!(told.contains("writ grant add") && told.contains("planner"), "{told}");
    }
    assert!(refused(test.token(&agent, "").await, 400, "invalid_scope").contains("scope"));
    assert!(refused(test.token(&agent, "notes").await, 400, "invalid_scope").contains("service:action:resource"));
    let many: Vec<String> = (0..17).map(|n| format!("notes:read:team/{n}")).collect();
    refused(test.token(&agent, &many.join(" ")).await, 400, "invalid_scope");
}

#[tokio::test]
async fn whoever_is_not_the_registered_key_is_told_one_thing() {
    let test = start(&Database::sqlite().await).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let thief = KeyPair::from_seed(&random());
    let now = START_SECS;
    let claims = |iss: &str| json!({ "iss": iss, "sub": iss, "aud": test.issuer, "exp": now + 60, "jti": hex::encode(random::<8>()) });
    let with = |header: Value, claims: Value, key: &KeyPair| {
        let mut form = test.form(&agent, &[("scope", "notes:read:team")]);
        form[2].1 = jws(key, &header, &claims);
        form
    };
    let plain = json!({ "alg": "EdDSA" });
    let kid = |key: &KeyPair| json!({ "alg": "EdDSA", "kid": key.public() });
    let mut told = Vec::new();
    for form in [
        with(plain.clone(), claims("planner"), &thief),
        with(plain.clone(), claims("nobody"), &thief),
        with(kid(&thief), claims("planner"), &thief),
        with(kid(&agent.key), claims("planner"), &thief),
        with(kid(&agent.key), claims("other"), &agent.key),
        with(kid(&agent.key), claims("acme/planner"), &agent.key),
        with(plain, claims("acme/planner"), &agent.key),
    ] {
        let reply = test.token_with(&form, Some(&test.token_proof(&agent.key))).await;
        told.push(refused(reply, 401, "invalid_client"));
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    let with_kid = with(kid(&agent.key), claims("planner"), &agent.key);
    test.token_with(&with_kid, Some(&test.token_proof(&agent.key))).await.ok();
}

const START_SECS: i64 = crate::support::authority::START.secs();

#[tokio::test]
async fn an_assertion_for_somebody_else_or_another_time_is_refused() {
    let test = start(&Database::sqlite().await).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    for replaced in [
        json!({ "aud": "https://other.example" }),
        json!({ "aud": [test.issuer, "https://other.example"] }),
        json!({ "exp": START_SECS }),
        json!({ "exp": START_SECS + 301 }),
        json!({ "iat": START_SECS + 6 }),
        json!({ "iat": START_SECS - 301 }),
        json!({ "sub": "other" }),
        json!({ "jti": "" }),
        json!({ "exp": -1 }),
        json!({ "exp": 9_007_199_254_740_993_i64 }),
    ] {
        let mut form = test.form(&agent, &[("scope", "notes:read:team")]);
        form[2].1 = test.assertion(&agent, &replaced);
        let reply = test.token_with(&form, Some(&test.token_proof(&agent.key))).await;
        refused(reply, 401, "invalid_client");
    }
    for aud in [json!(test.issuer), json!([test.issuer]), json!(format!("{}/oauth/token", test.issuer))] {
        let mut form = test.form(&agent, &[("scope", "notes:read:team")]);
        form[2].1 = test.assertion(&agent, &json!({ "aud": aud }));
        test.token_with(&form, Some(&test.token_proof(&agent.key))).await.ok();
    }
}

#[tokio::test]
async fn a_stale_proof_is_refused() {
    let test = start(&Database::sqlite().await).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let stale = test.token_proof(&agent.key);
    test.clock.advance(Duration::from_secs(31));
    let form = test.form(&agent, &[("scope", "notes:read:team")]);
    refused(test.token_with(&form, Some(&stale)).await, 400, "invalid_dpop_proof");
    refused(
        test.token_with(&test.form(&agent, &[("scope", "notes:read:team")]), Some("x")).await,
        400,
        "invalid_dpop_proof",
    );
}

#[tokio::test]
async fn a_request_that_is_not_one_is_refused_in_the_words_of_oauth() {
    let test = start(&Database::sqlite().await).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let good = || test.form(&agent, &[("scope", "notes:read:team")]);
    let proof = || test.token_proof(&agent.key);
    let changed = |name: &str, value: &str| {
        let mut form = good();
        form.retain(|(known, _)| known != name);
        form.push((name.into(), value.into()));
        form
    };
    let twice = |name: &str| {
        let mut form = good();
        let again = form.iter().find(|(known, _)| known == name).unwrap().clone();
        form.push(again);
        form
    };
    for (form, status, error) in [
        (changed("grant_type", "password"), 400, "unsupported_grant_type"),
        (twice("grant_type"), 400, "invalid_request"),
        (twice("client_assertion"), 400, "invalid_request"),
        (twice("scope"), 400, "invalid_request"),
        (changed("client_assertion_type", "jwt"), 401, "invalid_client"),
        (changed("client_assertion", "x"), 401, "invalid_client"),
        (changed("client_secret", "hunter2"), 401, "invalid_client"),
        (changed("client_id", "other"), 401, "invalid_client"),
        (changed("audience", "other"), 400, "invalid_target"),
        (changed("audience", "Not A Name"), 400, "invalid_target"),
    ] {
        refused(test.token_with(&form, Some(&proof())).await, status, error);
    }
    test.token_with(&changed("unknown", "ignored"), Some(&proof())).await.ok();
    test.token_with(&changed("client_id", "planner"), Some(&proof())).await.ok();

    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let body = serde_urlencoded::to_string(good()).unwrap();
    let send = async |path: &str, headers: HeaderMap, body: String| test.raw(Method::POST, path, headers, body).await;
    refused(send("/oauth/token?client_secret=hunter2", headers.clone(), body.clone()).await, 400, "invalid_request");
    refused(send("/oauth/token", headers.clone(), "a".repeat(40_000)).await, 400, "invalid_request");
    refused(send("/oauth/token", HeaderMap::new(), body.clone()).await, 400, "invalid_request");
    let mut basic = headers.clone();
    basic.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic cGxhbm5lcjpodW50ZXIy"));
    refused(send("/oauth/token", basic, body.clone()).await, 401, "invalid_client");
    let mut two = headers;
    two.append("dpop", proof().parse().unwrap());
    two.append("dpop", proof().parse().unwrap());
    refused(send("/oauth/token", two, body).await, 400, "invalid_dpop_proof");
}

#[tokio::test]
async fn the_metadata_names_the_token_endpoint() {
    let test = start(&Database::sqlite().await).await;
    let metadata = test.raw(Method::GET, "/.well-known/oauth-authorization-server", HeaderMap::new(), "").await.ok();
    assert_eq!(metadata["issuer"], test.issuer);
    assert_eq!(metadata["token_endpoint"], format!("{}/oauth/token", test.issuer));
    assert_eq!(metadata["dpop_signing_alg_values_supported"], json!(["EdDSA", "Ed25519"]));
}
