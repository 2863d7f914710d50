//! What users do for themselves: see and end what agents may do for them, and nothing of anybody else's.

use http::Method;
use serde_json::json;

use crate::identity::exchange::{Test, bearer};
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, TestAgent};

for_every_backend!(
    users_see_and_end_their_own_writs_one_by_one,
    users_end_what_one_agent_has_for_them,
    users_end_everything_that_is_theirs_and_log_in_again,
    nobody_ends_what_is_somebody_elses,
);

impl Test {
    async fn writ(&self, agent: &TestAgent, user: &str) -> (String, String) {
        let token = self.id_token(&json!({ "sub": user, "sid": format!("{user}-session") }));
        let reply = self.exchange(agent, &token).await.ok();
        let writ = reply["access_token"].as_str().unwrap().to_owned();
        let limits = writ::token::Limits::default();
        let raw = writ::token::RawToken::parse(&writ, &limits).unwrap();
        let id = writ::token::inspect::inspect(&raw, &limits).unwrap().claims().authority().id.to_string();
        (id, writ)
    }

    async fn mine(&self, user: &str) -> Vec<String> {
        let token = self.id_token(&json!({ "sub": user }));
        let writs = self.authority.raw(Method::GET, "/v1/my/writs", bearer(&token), "").await.ok();
        writs.as_array().unwrap().iter().map(|writ| writ["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn end(&self, user: &str, body: serde_json::Value) -> Reply {
        let token = self.id_token(&json!({ "sub": user }));
        self.authority.raw(Method::POST, "/v1/my/revocations", bearer(&token), body.to_string()).await
    }
}

/// Two agents, each with a grant for alice and for bob.
async fn two_agents(test: &Test) -> (TestAgent, TestAgent) {
    let (one, two) = (test.agent("one").await, test.agent("two").await);
    for agent in ["one", "two"] {
        let grant = json!({ "agent": agent, "subject": "bob", "capabilities": ["notes:read:team"] });
        test.authority.post("/v1/grants", grant).await.ok();
    }
    (one, two)
}

async fn users_see_and_end_their_own_writs_one_by_one(database: &Database) {
    let test = Test::start(database, "").await;
    let (one, two) = two_agents(&test).await;
    let (first, second) = (test.writ(&one, "alice").await, test.writ(&two, "alice").await);
    let bobs = test.writ(&one, "bob").await;
    let mut mine = test.mine("alice").await;
    mine.sort();
    let mut both = [first.0.clone(), second.0.clone()];
    both.sort();
    assert_eq!(mine, both);
    let receipt = test.end("alice", json!({ "writ": first.0 })).await.ok();
    assert_eq!(receipt["target"], format!("block:{}", first.0));
    assert_eq!(test.mine("alice").await, std::slice::from_ref(&second.0));
    // Twice is once.
    assert_eq!(test.end("alice", json!({ "writ": first.0 })).await.ok()["seq"], receipt["seq"]);
    test.end("alice", json!({ "token": second.1 })).await.ok();
    assert_eq!(test.mine("alice").await, [""; 0]);
    assert_eq!(test.mine("bob").await, [bobs.0]);
    let audit = test.authority.get("/v1/audit?limit=1000").await.text;
    assert!(audit.contains(r#""kind":"user","name":"alice""#) && audit.contains("corp"), "{audit}");
}

async fn users_end_what_one_agent_has_for_them(database: &Database) {
    let test = Test::start(database, "").await;
    let (one, two) = two_agents(&test).await;
    test.writ(&one, "alice").await;
    test.writ(&one, "alice").await;
    let (kept, bobs) = (test.writ(&two, "alice").await, test.writ(&one, "bob").await);
    let receipt = test.end("alice", json!({ "agent": "one" })).await.ok();
    assert_eq!(receipt["target"], "acting:default/one/alice");
    assert_eq!(test.mine("alice").await, [kept.0]);
    assert_eq!(test.mine("bob").await, [bobs.0]);
}

async fn users_end_everything_that_is_theirs_and_log_in_again(database: &Database) {
    let test = Test::start(database, "").await;
    let (one, two) = two_agents(&test).await;
    test.writ(&one, "alice").await;
    test.writ(&two, "alice").await;
    let bobs = test.writ(&one, "bob").await;
    let receipt = test.end("alice", json!({})).await.ok();
    assert_eq!(receipt["target"], "subject:default/alice");
    assert_eq!(test.mine("alice").await, [""; 0]);
    assert_eq!(test.mine("bob").await, [bobs.0]);
    // Nobody is suspended: a later login is enough.
    test.authority.clock.advance(std::time::Duration::from_secs(60));
    let again = test.writ(&one, "alice").await;
    assert_eq!(test.mine("alice").await, [again.0]);
}

async fn nobody_ends_what_is_somebody_elses(database: &Database) {
    let test = Test::start(database, "").await;
    let (one, _) = two_agents(&test).await;
    let bobs = test.writ(&one, "bob").await;
    for body in [json!({ "writ": bobs.0 }), json!({ "token": bobs.1 }), json!({ "writ": "0".repeat(32) })] {
        test.end("alice", body).await.refused(404, "not_found");
    }
    for body in
        [json!({ "writ": bobs.0, "agent": "one" }), json!({ "subject": "bob" }), json!([]), json!({ "agent": 7 })]
    {
        test.end("alice", body).await.refused(400, "malformed");
    }
    test.end("alice", json!({ "token": "junk" })).await.refused(403, "invalid_token");
    assert_eq!(test.mine("bob").await, [bobs.0]);
}

#[tokio::test]
async fn a_user_is_known_by_a_fresh_token_of_their_own_only() {
    let test = Test::start(&Database::sqlite().await, "").await;
    let now = test.authority.clock_now().secs();
    for (method, path) in [(Method::GET, "/v1/my/writs"), (Method::POST, "/v1/my/revocations")] {
        let ask = async |headers| test.authority.raw(method.clone(), path, headers, "{}").await;
        ask(http::HeaderMap::new()).await.refused(401, "unauthenticated");
        ask(test.authority.operator_headers()).await.refused(401, "identity_refused");
        for replaced in
            [json!({ "exp": now }), json!({ "iat": now - 3601 }), json!({ "aud": "other" }), json!({ "events": {} })]
        {
            ask(bearer(&test.id_token(&replaced))).await.refused(401, "identity_refused");
        }
        let mut two = bearer(&test.id_token(&json!({})));
        two.append(http::header::AUTHORIZATION, http::HeaderValue::from_static("Bearer x"));
        ask(two).await.refused(401, "unauthenticated");
        let elsewhere = format!("{path}?tenant=other");
        let headers = bearer(&test.id_token(&json!({})));
        test.authority.raw(method.clone(), &elsewhere, headers, "{}").await.refused(401, "identity_refused");
    }
}

#[tokio::test]
async fn a_user_who_ends_things_all_the_time_is_slowed_down_alone() {
    let test = Test::start(&Database::sqlite().await, "").await;
    for _ in 0..20 {
        test.end("alice", json!({})).await.ok();
    }
    test.end("alice", json!({})).await.refused(429, "too_often");
    test.end("bob", json!({})).await.ok();
    test.authority.post("/v1/revocations", json!({ "target": "subject:default/alice" })).await.ok();
    test.authority.clock.advance(std::time::Duration::from_secs(60));
    test.end("alice", json!({})).await.ok();
}
