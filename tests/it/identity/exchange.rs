//! Token exchange: who gets a writ for whom, what everybody else is told, and that nothing survives the end of a login.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use writ::clock::ManualClock;
use writ::config::authority::AuthorityTerms;
use writ::revocation::Target;
use writ::token::inspect::inspect;
use writ::token::{Limits, RawToken};

use crate::identity::jose::Key;
use crate::identity::provider::TestProvider;
use crate::identity::race::race;
use crate::identity::tokens::claims;
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, START, TestAgent, TestAuthority, start_with};

for_every_backend!(
    a_users_token_and_an_agents_key_give_a_writ_for_the_user,
    a_grant_to_a_group_is_for_the_users_whom_the_provider_puts_into_it,
    a_writ_does_not_outlive_what_it_was_given_for,
    a_login_that_was_ended_buys_nothing_and_a_later_one_does,
    a_suspended_user_gets_nothing_until_reactivated_and_then_by_a_new_login_only,
    a_token_that_counts_once_is_exchanged_once,
    whatever_ends_while_a_writ_is_issued_the_writ_is_refused_or_dead,
);

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(crate) const SCOPE: &str = "notes:read:team";

/// An authority, a provider that it believes, and the provider's key.
pub(crate) struct Test {
    pub(crate) authority: TestAuthority,
    pub(crate) provider: TestProvider,
    key: Key,
}

impl Test {
    pub(crate) async fn start(database: &Database, more: &str) -> Self {
        let key = Key::make("P-256", "1");
        let provider = TestProvider::start(&[&key]).await;
        let terms = AuthorityTerms { providers: vec![provider.terms("corp", more)], ..AuthorityTerms::default() };
        let authority = start_with(database.store.clone(), Arc::new(ManualClock::at(START)), terms).await;
        Self { authority, provider, key }
    }

    /// The same of parts that a test made itself.
    pub(crate) const fn of(authority: TestAuthority, provider: TestProvider, key: Key) -> Self {
        Self { authority, provider, key }
    }

    /// An agent that may act for `alice`.
    pub(crate) async fn agent(&self, name: &str) -> TestAgent {
        let agent = self.authority.agent(name).await;
        self.grant(json!({ "agent": name, "subject": "alice" })).await;
        agent
    }

    async fn grant(&self, mut grant: Value) {
        grant["capabilities"] = json!([SCOPE]);
        self.authority.post("/v1/grants", grant).await.ok();
    }

    /// A fresh ID token for alice.
    pub(crate) fn id_token(&self, replaced: &Value) -> String {
        let now = self.authority.clock_now().secs();
        let mut claims = claims(&self.provider, &json!({ "iat": now, "auth_time": now, "exp": now + 600 }));
        for (name, value) in replaced.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.key.sign(&json!({ "alg": "ES256" }), &claims)
    }

    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        self.key.sign(header, claims)
    }

    pub(crate) fn form(&self, agent: &TestAgent, token: &str, replaced: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut form = self.authority.form(agent, &[]);
        let exchange =
            [("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", ID_TOKEN), ("scope", SCOPE)];
        for (name, value) in exchange.iter().chain(replaced) {
            form.retain(|(other, _)| other != name);
            if !value.is_empty() {
                form.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        form
    }

    pub(crate) async fn exchange_with(&self, agent: &TestAgent, token: &str, replaced: &[(&str, &str)]) -> Reply {
        let proof = self.authority.token_proof(&agent.key);
        self.authority.token_with(&self.form(agent, token, replaced), Some(&proof)).await
    }

    pub(crate) async fn exchange(&self, agent: &TestAgent, token: &str) -> Reply {
        self.exchange_with(agent, token, &[]).await
    }

    /// The ids of alice's live writs.
    pub(crate) async fn live(&self) -> Vec<String> {
        let (tenant, alice) = ("default".parse().unwrap(), "alice".parse().unwrap());
        let writs = self.authority.store.issued_for(&tenant, &alice, self.authority.clock_now(), 100).await.unwrap();
        writs.iter().map(|writ| writ.id.to_string()).collect()
    }
}

/// The description of a refusal in OAuth's vocabulary.
#[track_caller]
pub(crate) fn refused(reply: Reply, status: u16, error: &str) -> String {
    assert_eq!((reply.status, reply.json["error"].as_str()), (status, Some(error)), "{}", reply.text);
    assert!(reply.json.get("access_token").is_none());
    reply.json["error_description"].as_str().unwrap().to_owned()
}

async fn a_users_token_and_an_agents_key_give_a_writ_for_the_user(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.agent("planner").await;
    let reply = test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    assert_eq!((reply["token_type"].as_str(), reply["issued_token_type"].as_str()), (Some("DPoP"), Some(ACCESS_TOKEN)));
    assert_eq!(reply["scope"], SCOPE);
    let limits = Limits::default();
    let raw = RawToken::parse(reply["access_token"].as_str().unwrap(), &limits).unwrap();
    let writ = inspect(&raw, &limits).unwrap();
    let block = writ.claims().authority();
    assert_eq!(block.subject.as_ref().unwrap().as_str(), "alice");
    assert_eq!(block.session.as_ref().unwrap().as_str(), "session-1");
    assert_eq!(block.holder, Some(agent.key.public()));
    assert_eq!(test.live().await, [block.id.to_string()]);
    let audit = test.authority.get("/v1/audit?agent=planner").await.text;
    assert!(audit.contains("corp") && audit.contains("alice") && audit.contains(&block.id.to_string()), "{audit}");
    // The same by an access token, and by an actor token instead of the client assertion.
    let access =
        json!({ "aud": "https://writ.example", "client_id": "app", "iat": START.secs(), "exp": START.secs() + 60 });
    let access = test.key.sign(&json!({ "alg": "ES256", "typ": "at+jwt" }), &claims(&test.provider, &access));
    test.exchange_with(&agent, &access, &[("subject_token_type", ACCESS_TOKEN)]).await.ok();
    let actor = test.authority.assertion(&agent, &json!({}));
    let as_actor = [
        ("client_assertion", ""),
        ("client_assertion_type", ""),
        ("actor_token", &*actor),
        ("actor_token_type", "urn:ietf:params:oauth:token-type:jwt"),
    ];
    test.exchange_with(&agent, &access, &[&as_actor[..], &[("subject_token_type", ACCESS_TOKEN)]].concat()).await.ok();
}

#[tokio::test]
async fn every_refusal_says_in_oauths_words_what_to_change() {
    let test = Test::start(&Database::sqlite().await, "").await;
    let agent = test.agent("planner").await;
    let token = test.id_token(&json!({}));
    let now = START.secs();
    for (replaced, error, word) in [
        (&[("subject_token", "")][..], "invalid_request", "subject_token"),
        (&[("subject_token", "a.b.c")], "invalid_request", "base64url"),
        (&[("subject_token_type", "")], "invalid_request", "subject_token_type"),
        (&[("subject_token_type", "urn:ietf:params:oauth:token-type:saml1")], "invalid_request", "subject_token_type"),
        (&[("subject_token_type", "urn:ietf:params:oauth:token-type:saml2")], "invalid_request", "XML"),
        (&[("subject_token_type", ACCESS_TOKEN)], "invalid_request", "typ"),
        (&[("requested_token_type", ID_TOKEN)], "invalid_request", "requested_token_type"),
        (&[("actor_token", "x")], "invalid_request", "actor_token"),
        (&[("actor_token_type", "urn:ietf:params:oauth:token-type:jwt")], "invalid_request", "actor_token"),
        (&[("subject", "alice")], "invalid_request", "subject"),
        (&[("scope", "")], "invalid_scope", "scope"),
        (&[("scope", "notes:write:team")], "invalid_scope", "alice"),
        (&[("audience", "elsewhere")], "invalid_target", "audiences"),
        (&[("resource", "https://elsewhere.example")], "invalid_target", "resource"),
        (&[("grant_type", "password")], "unsupported_grant_type", "token-exchange"),
    ] {
        let description = refused(test.exchange_with(&agent, &token, replaced).await, 400, error);
        assert!(description.contains(word), "{replaced:?}: {description}");
    }
    for (replaced, word) in [
        (json!({ "aud": "other" }), "client_ids"),
        (json!({ "iss": "https://other.example" }), "iss"),
        (json!({ "exp": now - 1 }), "expired"),
        (json!({ "exp": now + 1 }), "about to expire"),
        (json!({ "may_act": { "sub": "somebody" } }), "may_act"),
        (json!({ "cnf": { "jkt": "AAAA" } }), "cnf"),
        (json!({ "act": { "sub": "planner" } }), "act"),
    ] {
        let description = refused(test.exchange(&agent, &test.id_token(&replaced)).await, 400, "invalid_request");
        assert!(description.contains(word), "{replaced}: {description}");
    }
    let fits = json!({ "may_act": { "sub": "planner" }, "cnf": { "jkt": agent.key.public().thumbprint() } });
    test.exchange(&agent, &test.id_token(&fits)).await.ok();
    // Nobody else's user, by nobody's word but the provider's.
    refused(test.exchange(&agent, &test.id_token(&json!({ "sub": "bob" }))).await, 400, "invalid_scope");
    let claimed = test.authority.form(&agent, &[("scope", SCOPE), ("subject", "alice")]);
    let proof = test.authority.token_proof(&agent.key);
    let description = refused(test.authority.token_with(&claimed, Some(&proof)).await, 400, "invalid_request");
    assert!(description.contains("exchange"), "{description}");
}

#[tokio::test]
async fn who_asks_proves_a_key_that_is_registered_in_the_providers_tenant() {
    let test = Test::start(&Database::sqlite().await, "").await;
    let agent = test.agent("planner").await;
    let token = test.id_token(&json!({}));
    let form = || test.form(&agent, &token, &[]);
    let description = refused(test.authority.token_with(&form(), None).await, 400, "invalid_dpop_proof");
    assert!(description.contains("DPoP"), "{description}");
    let other = writ::key::KeyPair::from_seed(&crate::support::authority::random());
    let by_other = test.authority.token_proof(&other);
    refused(test.authority.token_with(&form(), Some(&by_other)).await, 400, "invalid_dpop_proof");
    let unknown = test.form(&agent, &token, &[("client_assertion", "")]);
    refused(
        test.authority.token_with(&unknown, Some(&test.authority.token_proof(&agent.key))).await,
        401,
        "invalid_client",
    );
    // An agent of another tenant: its users are others, whatever they are called.
    let key = writ::key::KeyPair::from_seed(&crate::support::authority::random());
    test.authority.post("/v1/agents?tenant=other", json!({ "name": "planner", "key": key.public() })).await.ok();
    let grant = json!({ "agent": "planner", "subject": "alice", "capabilities": [SCOPE] });
    test.authority.post("/v1/grants?tenant=other", grant).await.ok();
    let foreign = TestAgent { client_id: "other/planner".into(), key: Arc::new(key) };
    let description = refused(test.exchange(&foreign, &token).await, 400, "invalid_request");
    assert!(description.contains("tenant"), "{description}");
}

#[tokio::test]
async fn a_resource_names_the_edge_deployment() {
    let test = Test::start(&Database::sqlite().await, "").await;
    let agent = test.agent("planner").await;
    test.authority.edge("edge-1").await;
    let token = test.id_token(&json!({}));
    for resource in ["https://edge-1.example", "https://edge-1.example/notes"] {
        test.exchange_with(&agent, &token, &[("resource", resource), ("audience", "main")]).await.ok();
    }
    for resource in [
        "https://edge-1.example#x",
        "https://edge-1.example/?x",
        "https://edge-1.example.evil.example",
        "https://edge-1.examplex",
        "/notes",
    ] {
        refused(test.exchange_with(&agent, &token, &[("resource", resource)]).await, 400, "invalid_target");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_nobodys_fault() {
    let test = Test::start(&Database::sqlite().await, "").await;
    let agent = test.agent("planner").await;
    test.provider.says("/jwks", crate::identity::provider::Answer::Json(json!({})));
    let description = refused(test.exchange(&agent, &test.id_token(&json!({}))).await, 503, "temporarily_unavailable");
    assert!(description.contains("corp"), "{description}");
}

async fn a_grant_to_a_group_is_for_the_users_whom_the_provider_puts_into_it(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.authority.agent("planner").await;
    test.grant(json!({ "agent": "planner", "group": "finance" })).await;
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    test.exchange(&agent, &test.id_token(&json!({ "sub": "bob", "groups": ["finance"] }))).await.ok();
    for groups in [json!(["staff"]), json!([]), json!(null), json!(["Finance"])] {
        refused(test.exchange(&agent, &test.id_token(&json!({ "groups": groups }))).await, 400, "invalid_scope");
    }
    // It is no grant to the agent itself.
    refused(test.authority.token(&agent, SCOPE).await, 400, "invalid_scope");
    let both = json!({ "agent": "planner", "subject": "alice", "group": "finance", "capabilities": [SCOPE] });
    test.authority.post("/v1/grants", both).await.refused(400, "malformed");
    let grants = test.authority.get("/v1/grants").await.ok();
    assert_eq!(grants[0]["group"], "finance");
}

async fn a_writ_does_not_outlive_what_it_was_given_for(database: &Database) {
    let test = Test::start(database, "writ_ttl_max_s = 100").await;
    let agent = test.agent("planner").await;
    let lives = async |exp: i64, asked: &str| {
        let token = test.id_token(&json!({ "exp": START.secs() + exp }));
        test.exchange_with(&agent, &token, &[("expires_in", asked)]).await.ok()["expires_in"].as_i64().unwrap()
    };
    assert_eq!(lives(600, "").await, 100);
    assert_eq!(lives(600, "50").await, 50);
    assert_eq!(lives(600, "5000").await, 100);
    // A writ lives to the end of its last second, the token to the beginning of its own.
    assert_eq!(lives(60, "").await, 59);
    assert_eq!(lives(60, "60").await, 59);
}

async fn a_login_that_was_ended_buys_nothing_and_a_later_one_does(database: &Database) {
    let test = Test::start(database, "clock_skew_s = 10").await;
    let agent = test.agent("planner").await;
    let (tenant, alice) = ("default".parse().unwrap(), "alice".parse().unwrap());
    let end = async |target: Target| {
        let (at, forget_after) =
            (test.authority.clock_now(), test.authority.clock_now().after(Duration::from_secs(100_000)));
        let revocation = writ::store::NewRevocation { target, forget_after, at, idempotency_key: None };
        test.authority.store.end_logins(&revocation, None, &crate::store::make::event()).await.unwrap().unwrap();
    };
    let acting =
        |name: &str| Target::Acting("default".parse().unwrap(), name.parse().unwrap(), "alice".parse().unwrap());
    let session: writ::id::Subject = "session-1".parse().unwrap();
    for target in [Target::Subject(tenant, alice), acting("planner")] {
        test.authority.clock.advance(Duration::from_secs(20));
        let before = test.id_token(&json!({}));
        test.exchange(&agent, &before).await.ok();
        end(target.clone()).await;
        assert_eq!(test.live().await, [""; 0], "{target}");
        let description = refused(test.exchange(&agent, &before).await, 400, "invalid_request");
        assert!(description.contains("log in again"), "{description}");
        // Refreshed without a login, and a login that may have been before by the provider's clock.
        let now = test.authority.clock_now().secs();
        for login in [now - 1, now + 10] {
            let refreshed = test.id_token(&json!({ "auth_time": login }));
            refused(test.exchange(&agent, &refreshed).await, 400, "invalid_request");
        }
        test.authority.clock.advance(Duration::from_secs(11));
        test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
        assert_eq!(test.live().await.len(), 1);
    }
    end(acting("somebody-else")).await;
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    // A session does not come back, however late its token is.
    end(Target::Session("default".parse().unwrap(), session)).await;
    test.authority.clock.advance(Duration::from_secs(60));
    refused(test.exchange(&agent, &test.id_token(&json!({}))).await, 400, "invalid_request");
    test.exchange(&agent, &test.id_token(&json!({ "sid": "session-2" }))).await.ok();
}

async fn a_suspended_user_gets_nothing_until_reactivated_and_then_by_a_new_login_only(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.agent("planner").await;
    let before = test.id_token(&json!({}));
    test.exchange(&agent, &before).await.ok();
    test.authority.post("/v1/revocations", json!({ "target": "subject:default/alice" })).await.ok();
    assert_eq!(test.live().await, [""; 0]);
    test.authority.clock.advance(Duration::from_secs(60));
    refused(test.exchange(&agent, &test.id_token(&json!({}))).await, 400, "invalid_grant");
    test.authority.post("/v1/users/reactivate", json!({ "subject": "alice" })).await.ok();
    refused(test.exchange(&agent, &before).await, 400, "invalid_request");
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
}

async fn a_token_that_counts_once_is_exchanged_once(database: &Database) {
    let test = Test::start(database, "single_use = true").await;
    let agent = test.agent("planner").await;
    let token = test.id_token(&json!({}));
    // A request that fails for another reason does not use it up.
    refused(test.exchange_with(&agent, &token, &[("scope", "notes:write:team")]).await, 400, "invalid_scope");
    let (one, two) = tokio::join!(test.exchange(&agent, &token), test.exchange(&agent, &token));
    assert_eq!([one.status, two.status].iter().filter(|status| **status == 200).count(), 1);
    refused(test.exchange(&agent, &token).await, 400, "invalid_request");
}

/// An end of any kind and exchanges at the same moment: after the receipt no writ is live, whoever came first.
async fn whatever_ends_while_a_writ_is_issued_the_writ_is_refused_or_dead(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.agent("planner").await;
    let mut issued = 0;
    for round in 0..24 {
        let session = format!("round-{round}");
        test.authority.clock.advance(Duration::from_secs(30));
        let token = test.id_token(&json!({ "sid": session }));
        let ends = async {
            match round / 4 % 3 {
                0 => {
                    let headers = bearer(&token);
                    test.authority.raw(Method::POST, "/v1/my/revocations", headers, "{}").await.ok();
                }
                1 => {
                    let headers = bearer(&token);
                    test.authority
                        .raw(Method::POST, "/v1/my/revocations", headers, r#"{"agent":"planner"}"#)
                        .await
                        .ok();
                }
                _ => {
                    let target = format!("session:default/{session}");
                    test.authority.post("/v1/revocations", json!({ "target": target })).await.ok();
                }
            }
        };
        issued += race(async || test.exchange(&agent, &token).await, round % 4, ends).await;
        assert_eq!(test.live().await, [""; 0], "round {round}");
        refused(test.exchange(&agent, &token).await, 400, "invalid_request");
    }
    assert!(issued > 0, "nothing was issued, so nothing was tested");
}

/// The header of a user.
pub(crate) fn bearer(token: &str) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    headers
}
