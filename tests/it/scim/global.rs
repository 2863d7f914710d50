//! Global Token Revocation: who may say it, whom it means, and that nothing of them is left (E29 to E31).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use crate::scim::Scim;
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, START};

for_every_backend!(everything_of_a_user_ends_and_a_request_counts_once, a_user_is_found_by_an_address_of_the_directory);

const PATH: &str = "/v1/identity/corp/global-token-revocation";

impl Scim {
    pub(crate) fn signed(&self, typ: &str, replaced: &Value) -> String {
        let now = self.test.authority.clock_now().secs();
        let mut claims = json!({
            "iss": self.test.provider.issuer, "sub": self.test.provider.issuer, "aud": format!("{}{PATH}", self.test.authority.issuer),
            "iat": now, "exp": now + 300, "jti": "request-1",
        });
        for (name, value) in replaced.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.test.signed(&json!({ "alg": "ES256", "typ": typ }), &claims)
    }

    pub(crate) async fn global(&self, bearer: &str, sub_id: &Value) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if !bearer.is_empty() {
            headers.insert(header::AUTHORIZATION, format!("Bearer {bearer}").parse().unwrap());
        }
        self.test.authority.raw(Method::POST, PATH, headers, json!({ "sub_id": sub_id }).to_string()).await
    }

    async fn entries(&self) -> Vec<String> {
        let log = self.test.authority.get("/v1/revocations?limit=1000").await.ok();
        log["entries"].as_array().unwrap().iter().map(|entry| entry["target"].as_str().unwrap().to_owned()).collect()
    }
}

pub(crate) const TYP: &str = "global-token-revocation+jwt";

async fn everything_of_a_user_ends_and_a_request_counts_once(db: &Database) {
    let scim = Scim::start(db, "").await;
    let agent = scim.test.agent("planner").await;
    let before = scim.test.id_token(&json!({}));
    scim.test.exchange(&agent, &before).await.ok();
    let alice = json!({ "format": "iss_sub", "iss": scim.test.provider.issuer, "sub": "alice" });
    let request = scim.signed(TYP, &json!({}));
    for _ in 0..2 {
        let done = scim.global(&request, &alice).await;
        assert_eq!((done.status, &*done.text), (204, ""));
        assert_eq!(scim.entries().await, ["subject:default/alice"]);
    }
    assert_eq!(scim.test.live().await, [""; 0]);
    assert_eq!(scim.test.exchange(&agent, &before).await.status, 400);
    // Nobody is suspended.
    scim.test.authority.clock.advance(Duration::from_secs(60));
    scim.test.exchange(&agent, &scim.test.id_token(&json!({}))).await.ok();
    // By the SCIM client's secret; whom nobody here has seen is ended all the same.
    assert_eq!(scim.global(&scim.secret, &json!({ "format": "opaque", "id": "alice" })).await.status, 204);
    assert_eq!(scim.test.live().await, [""; 0]);
    assert_eq!(scim.global(&scim.secret, &json!({ "format": "opaque", "id": "nobody" })).await.status, 204);
    assert_eq!(scim.entries().await.last().unwrap(), "subject:default/nobody");
    let audit = scim.test.authority.get("/v1/audit?limit=1000").await.text;
    assert_eq!(audit.matches("global_token_revocation").count(), 3, "{audit}");
}

async fn a_user_is_found_by_an_address_of_the_directory(db: &Database) {
    let scim = Scim::start(db, "user_prefix = \"corp:\"").await;
    scim.user(json!({
        "userName": "alice", "emails": [{ "value": "Alice@Corp.example" }], "phoneNumbers": [{ "value": "tel:+1-201-555-0123" }],
    }))
    .await;
    for name in ["bob", "carol"] {
        scim.user(json!({ "userName": name, "emails": [{ "value": "team@corp.example" }] })).await;
    }
    for (sub_id, ended) in [
        (json!({ "format": "email", "email": "alice@corp.example" }), &["corp:alice"][..]),
        (json!({ "format": "phone_number", "phone_number": "+12015550123" }), &["corp:alice"]),
        (json!({ "format": "account", "uri": "acct:ALICE@corp.example" }), &["corp:alice"]),
        (json!({ "format": "email", "email": "team@corp.example" }), &["corp:bob", "corp:carol"]),
        (
            json!({ "format": "aliases", "identifiers": [{ "format": "uri", "uri": "x:y" }, { "format": "opaque", "id": "dave" }] }),
            &["corp:dave"],
        ),
    ] {
        let before = scim.entries().await.len();
        assert_eq!(scim.global(&scim.secret, &sub_id).await.status, 204, "{sub_id}");
        let wanted: Vec<_> = ended.iter().map(|user| format!("subject:default/{user}")).collect();
        assert_eq!(scim.entries().await[before..], wanted, "{sub_id}");
    }
    let before = scim.entries().await.len();
    for sub_id in [
        json!({ "format": "email", "email": "nobody@corp.example" }),
        json!({ "format": "iss_sub", "iss": "https://other.example", "sub": "alice" }),
        json!({ "format": "uri", "uri": "https://corp.example/alice" }),
    ] {
        scim.global(&scim.secret, &sub_id).await.refused(404, "not_found");
    }
    for sub_id in [json!({}), json!("alice"), json!({ "format": "email" }), json!(null)] {
        scim.global(&scim.secret, &sub_id).await.refused(400, "malformed");
    }
    assert_eq!(scim.entries().await.len(), before);
}

#[tokio::test]
async fn who_is_not_the_provider_ends_nothing_and_learns_nothing() {
    let scim = Scim::start(&Database::sqlite().await, "").await;
    scim.user(json!({ "userName": "alice", "emails": [{ "value": "a@b.c" }] })).await;
    let now = START.secs();
    let other = crate::identity::jose::Key::make("P-256", "1");
    let good = json!({ "iss": scim.test.provider.issuer, "aud": scim.test.authority.issuer, "iat": now, "exp": now + 60, "jti": "1" });
    let header = json!({ "alg": "ES256", "typ": TYP });
    let mut refused = vec![
        String::new(),
        "junk".to_owned(),
        format!("writ-scim-{}", "A".repeat(43)),
        scim.test.authority.operator.clone(),
        scim.test.id_token(&json!({})),
        other.sign(&header, &good),
        crate::identity::jose::sign_with_secret("secret", &json!({ "alg": "none", "typ": TYP }), &good),
    ];
    for typ in ["JWT", "logout+jwt", "secevent+jwt", "at+jwt"] {
        refused.push(scim.signed(typ, &json!({})));
    }
    for replaced in [
        json!({ "iss": "https://other.example" }),
        json!({ "aud": "https://other.example" }),
        json!({ "aud": [scim.test.authority.issuer, "https://other.example"] }),
        json!({ "aud": "app" }),
        json!({ "aud": null }),
        json!({ "iat": null }),
        json!({ "iat": now - 601 }),
        json!({ "iat": now + 11 }),
        json!({ "exp": null }),
        json!({ "exp": now }),
        json!({ "jti": null }),
    ] {
        refused.push(scim.signed(TYP, &replaced));
    }
    for bearer in &refused {
        for email in ["a@b.c", "nobody@b.c"] {
            let reply = scim.global(bearer, &json!({ "format": "email", "email": email })).await;
            assert_eq!(reply.status, 401, "{bearer}: {}", reply.text);
        }
    }
    assert_eq!(scim.entries().await, [""; 0]);
    assert_eq!(
        scim.global(
            &scim.signed(TYP, &json!({ "aud": scim.test.authority.issuer })),
            &json!({ "format": "opaque", "id": "alice" })
        )
        .await
        .status,
        204
    );
}
