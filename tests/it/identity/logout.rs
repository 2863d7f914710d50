//! Back-channel logout as a kill signal (E29, E30): what counts, what it ends, and that it counts once.

use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::identity::exchange::{Test, refused};
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, START};

for_every_backend!(
    a_logout_ends_the_session_it_names_and_counts_once,
    a_logout_without_a_session_ends_the_users_logins
);

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

impl Test {
    pub(super) fn logout_token(&self, header: &Value, replaced: &Value) -> String {
        let now = self.authority.clock_now().secs();
        let mut claims = json!({
            "iss": self.provider.issuer, "aud": "app", "iat": now, "exp": now + 120, "jti": "logout-1",
            "events": { EVENT: {} }, "sub": "alice", "sid": "session-1",
        });
        for (name, value) in replaced.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.signed(header, &claims)
    }

    pub(super) async fn logout(&self, token: &str) -> Reply {
        let body = serde_urlencoded::to_string([("logout_token", token)]).unwrap();
        self.logout_form("corp", body).await
    }

    async fn logout_form(&self, provider: &str, body: String) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.authority.raw(Method::POST, &format!("/v1/identity/{provider}/logout"), headers, body).await
    }
}

pub(super) fn header() -> Value {
    json!({ "alg": "ES256", "typ": "logout+jwt" })
}

async fn a_logout_ends_the_session_it_names_and_counts_once(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.agent("planner").await;
    let token = test.id_token(&json!({}));
    test.exchange(&agent, &token).await.ok();
    test.exchange(&agent, &test.id_token(&json!({ "sid": "session-2" }))).await.ok();
    let logout = test.logout_token(&header(), &json!({}));
    let receipt = test.logout(&logout).await.ok();
    assert_eq!(receipt["target"], "session:default/session-1");
    assert_eq!(test.live().await.len(), 1, "the other session lives");
    refused(test.exchange(&agent, &token).await, 400, "invalid_request");
    let head = test.authority.store.revocation_head().await.unwrap();
    refused(test.logout(&logout).await, 400, "invalid_request");
    assert_eq!(test.authority.store.revocation_head().await.unwrap(), head);
    let audit = test.authority.get("/v1/audit?limit=1000").await.text;
    assert!(audit.contains("corp") && audit.contains("backchannel_logout"), "{audit}");
}

async fn a_logout_without_a_session_ends_the_users_logins(database: &Database) {
    let test = Test::start(database, "").await;
    let agent = test.agent("planner").await;
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    // As glewlwyd sends it: `typ` `JWT`, no `exp`.
    let token = test.logout_token(&json!({ "alg": "ES256", "typ": "JWT" }), &json!({ "sid": null, "exp": null }));
    let receipt = test.logout(&token).await.ok();
    assert_eq!(receipt["target"], "subject:default/alice");
    assert_eq!(test.live().await, [""; 0]);
    // Nobody is suspended by logging out.
    test.authority.clock.advance(std::time::Duration::from_secs(60));
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    // A user whom nobody has seen is ended all the same.
    let unknown = test.logout_token(&header(), &json!({ "sid": null, "sub": "nobody", "jti": "2" }));
    assert_eq!(test.logout(&unknown).await.ok()["target"], "subject:default/nobody");
}

#[tokio::test]
async fn a_logout_token_that_does_not_count_ends_nothing() {
    let test = Test::start(&Database::sqlite().await, "").await;
    let agent = test.agent("planner").await;
    test.exchange(&agent, &test.id_token(&json!({}))).await.ok();
    let now = START.secs();
    let other = crate::identity::jose::Key::make("P-256", "1");
    let good = json!({ "iss": test.provider.issuer, "aud": "app", "iat": now, "jti": "1", "sid": "session-1", "events": { EVENT: {} } });
    let mut tokens = vec![
        other.sign(&header(), &good),
        crate::identity::jose::sign_with_secret("secret", &json!({ "alg": "none" }), &good),
        crate::identity::jose::sign_with_secret("secret", &json!({ "alg": "HS256" }), &good),
        test.id_token(&json!({})),
        "junk".to_owned(),
    ];
    for typ in ["at+jwt", "dpop+jwt", "secevent+jwt", "oauth-id-jag+jwt"] {
        tokens.push(test.logout_token(&json!({ "alg": "ES256", "typ": typ }), &json!({})));
    }
    for replaced in [
        json!({ "iss": "https://other.example" }),
        json!({ "aud": "other" }),
        json!({ "aud": ["app", "other"] }),
        json!({ "aud": null }),
        json!({ "iat": null }),
        json!({ "iat": now - 601 }),
        json!({ "iat": now + 11 }),
        json!({ "exp": now }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": "a".repeat(257) }),
        json!({ "nonce": "n" }),
        json!({ "events": null }),
        json!({ "events": {} }),
        json!({ "events": [EVENT] }),
        json!({ "events": { EVENT: true } }),
        json!({ "events": { "https://schemas.openid.net/secevent/caep/event-type/session-revoked": {} } }),
        json!({ "sub": null, "sid": null }),
        json!({ "sid": 7 }),
    ] {
        tokens.push(test.logout_token(&header(), &replaced));
    }
    for token in &tokens {
        refused(test.logout(token).await, 400, "invalid_request");
    }
    for body in ["", "logout_token=", "token=x", "logout_token=a&logout_token=b"] {
        refused(test.logout_form("corp", body.to_owned()).await, 400, "invalid_request");
    }
    test.logout_form("nobody", "logout_token=x".to_owned()).await.refused(404, "no_provider");
    assert_eq!(test.authority.store.revocation_head().await.unwrap(), 0);
    assert_eq!(test.live().await.len(), 1);
    test.logout(&test.logout_token(&header(), &json!({}))).await.ok();
}
