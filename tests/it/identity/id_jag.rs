//! Identity assertion authorization grants (ID-JAG): a provider's word that a client may act for a user (J1, J3, J5).

use serde_json::{Value, json};

use crate::identity::exchange::{SCOPE, Test, refused};
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, TestAgent};

for_every_backend!(a_providers_grant_gives_a_writ_once, a_grant_and_the_end_of_a_login_leave_no_writ);

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl Test {
    fn jag_of(&self, typ: &str, replaced: &Value) -> String {
        let now = self.authority.clock_now().secs();
        let mut claims = json!({
            "iss": self.provider.issuer, "aud": self.authority.issuer, "sub": "alice", "client_id": "planner", "jti": "jag-1",
            "iat": now, "exp": now + 300, "sid": "session-1",
        });
        for (name, value) in replaced.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.signed(&json!({ "alg": "ES256", "typ": typ }), &claims)
    }

    pub(super) fn jag(&self, replaced: &Value) -> String {
        self.jag_of("oauth-id-jag+jwt", replaced)
    }

    pub(super) async fn granted(&self, agent: &TestAgent, assertion: &str, more: &[(&str, &str)]) -> Reply {
        let mut form = self.authority.form(agent, &[("assertion", assertion)]);
        form[0].1 = JWT_BEARER.to_owned();
        form.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let proof = self.authority.token_proof(&agent.key);
        self.authority.token_with(&form, Some(&proof)).await
    }
}

async fn a_providers_grant_gives_a_writ_once(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.agent("planner").await;
    let jag = test.jag(&json!({}));
    // Refused for another reason, it is not used up.
    refused(test.granted(&agent, &jag, &[("scope", "notes:write:team")]).await, 400, "invalid_scope");
    let reply = test.granted(&agent, &jag, &[("scope", SCOPE)]).await.ok();
    assert_eq!((reply["token_type"].as_str(), reply["scope"].as_str()), (Some("DPoP"), Some(SCOPE)));
    let left = reply["expires_in"].as_u64().unwrap();
    assert!(left < 300, "never longer than the assertion: {left}");
    refused(test.granted(&agent, &jag, &[("scope", SCOPE)]).await, 400, "invalid_grant");
    assert_eq!(test.live().await.len(), 1);
    // The assertion's scope is asked for where nothing else is.
    let scoped = test.jag(&json!({ "jti": "2", "scope": format!("openid {SCOPE}") }));
    assert_eq!(test.granted(&agent, &scoped, &[]).await.ok()["scope"], SCOPE);
    let metadata = test.authority.get("/.well-known/oauth-authorization-server").await.ok();
    assert!(metadata["grant_types_supported"].as_array().unwrap().contains(&json!(JWT_BEARER)), "{metadata}");
}

async fn a_grant_and_the_end_of_a_login_leave_no_writ(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.agent("planner").await;
    let before = test.jag(&json!({}));
    test.authority.post("/v1/revocations", json!({ "target": "subject:default/alice" })).await.ok();
    refused(test.granted(&agent, &before, &[("scope", SCOPE)]).await, 400, "invalid_grant");
    assert_eq!(test.live().await, [""; 0]);
}

#[tokio::test]
async fn a_grant_that_does_not_fit_gives_nothing() {
    let test = Test::start(&Database::sqlite().await, "").await;
    let agent = test.agent("planner").await;
    let now = test.authority.clock_now().secs();
    let issuer = test.authority.issuer.clone();
    let other = crate::identity::jose::Key::make("P-256", "1");
    let claims = json!({
        "iss": test.provider.issuer, "aud": issuer, "sub": "alice", "client_id": "planner", "jti": "x", "iat": now, "exp": now + 60,
    });
    let mut assertions = vec![
        other.sign(&json!({ "alg": "ES256", "typ": "oauth-id-jag+jwt" }), &claims),
        test.id_token(&json!({})),
        String::from("junk"),
    ];
    assertions.extend(["JWT", "at+jwt", "logout+jwt", "secevent+jwt"].map(|typ| test.jag_of(typ, &json!({}))));
    for replaced in [
        json!({ "iss": "https://other.example" }),
        json!({ "aud": "app" }),
        json!({ "aud": [issuer, "other"] }),
        json!({ "aud": [issuer, issuer] }),
        json!({ "aud": null }),
        json!({ "client_id": "other" }),
        json!({ "client_id": null }),
        json!({ "exp": now }),
        json!({ "exp": null }),
        json!({ "iat": null }),
        json!({ "iat": now + 11 }),
        json!({ "nbf": now + 11 }),
        json!({ "jti": null }),
        json!({ "sub": null }),
        json!({ "sub": "" }),
        json!({ "act": { "sub": "x" } }),
        json!({ "events": {} }),
        json!({ "scope": 7 }),
        json!({ "resource": 7 }),
        json!({ "cnf": { "jkt": "other" } }),
        json!({ "may_act": { "sub": "other" } }),
    ] {
        assertions.push(test.jag(&replaced));
    }
    for assertion in &assertions {
        refused(test.granted(&agent, assertion, &[("scope", SCOPE)]).await, 400, "invalid_grant");
    }
    for scope in ["", "openid", "notes:read:other", "notes:write:team"] {
        let narrow = test.jag(&json!({ "scope": scope }));
        refused(test.granted(&agent, &narrow, &[("scope", SCOPE)]).await, 400, "invalid_scope");
    }
    let elsewhere = test.jag(&json!({ "resource": "https://elsewhere.example" }));
    refused(test.granted(&agent, &elsewhere, &[("scope", SCOPE)]).await, 400, "invalid_target");
    // No proof, no writ for a user.
    let mut form = test.authority.form(&agent, &[("assertion", &test.jag(&json!({}))), ("scope", SCOPE)]);
    form[0].1 = JWT_BEARER.to_owned();
    refused(test.authority.token_with(&form, None).await, 400, "invalid_dpop_proof");
    assert_eq!(test.live().await, [""; 0]);
    test.authority.edge("edge").await;
    let here = test.jag(&json!({ "resource": ["https://elsewhere.example", "https://edge.example/notes"] }));
    test.granted(&agent, &here, &[("scope", SCOPE)]).await.ok();
}
