//! Who may provision what: the secret of a provider's client, for that provider's directory, and nothing else.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;
use writ::clock::ManualClock;
use writ::config::authority::AuthorityTerms;

use crate::authority::routes::SCIM;
use crate::identity::exchange::Test;
use crate::identity::provider::TestProvider;
use crate::scim::{Scim, USER, refused, secret};
use crate::store::Database;
use crate::support::authority::{START, start_with};

#[tokio::test]
async fn nobody_passes_without_the_secret_of_a_client() {
    let scim = Scim::start(&Database::sqlite().await, "").await;
    let authority = &scim.test.authority;
    let before = authority.store.audit_head(&writ::audit::Source::Authority).await.unwrap();
    let users_token = scim.test.id_token(&json!({}));
    for (method, path) in SCIM {
        let path = path.replace("{id}", "00000000000000000000000000000000");
        let method: Method = method.to_uppercase().parse().unwrap();
        let wrong = format!("Bearer writ-scim-{}", "A".repeat(43));
        let operators = format!("Bearer {}", authority.operator);
        let users = format!("Bearer {users_token}");
        for value in ["", &wrong, &operators, &users, "Bearer", &scim.secret, &format!("Basic {}", scim.secret)] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
            if !value.is_empty() {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            let reply = Scim::checked(authority.raw(method.clone(), &path, headers, "{}").await);
            assert_eq!(
                (reply.status, &reply.headers[header::WWW_AUTHENTICATE]),
                (401, &HeaderValue::from_static("Bearer"))
            );
        }
        // The limit on wrong secrets is not what is tested here.
        authority.clock.advance(std::time::Duration::from_secs(2));
    }
    assert_eq!(authority.store.audit_head(&writ::audit::Source::Authority).await.unwrap(), before, "something changed");
    // Nor does it open anything else.
    authority.raw(Method::GET, "/v1/agents", scim.headers(), "").await.refused(401, "unauthenticated");
    authority.clock.advance(std::time::Duration::from_secs(2));
    // Wrong secrets are slowed down, with those of operators.
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer writ-scim-guess"));
    for _ in 0..100 {
        assert_eq!(authority.raw(Method::GET, "/scim/v2/Users", headers.clone(), "").await.status, 401);
    }
    let slowed = Scim::checked(authority.raw(Method::GET, "/scim/v2/Users", scim.headers(), "").await);
    assert_eq!((slowed.status, &slowed.headers[header::RETRY_AFTER]), (429, &HeaderValue::from_static("1")));
}

#[tokio::test]
async fn a_secret_is_shown_once_and_counts_until_it_is_removed() {
    let scim = Scim::start(&Database::sqlite().await, "").await;
    let authority = &scim.test.authority;
    authority.post("/v1/scim/tokens", json!({ "provider": "nobody" })).await.refused(404, "no_provider");
    let list = authority.get("/v1/scim/tokens").await;
    assert!(!list.text.contains("secret") && !list.text.contains(&scim.secret));
    let (token, second) = (list.ok()[0].clone(), secret(authority, "corp").await);
    scim.get("/Users").await;
    let path = format!("/v1/scim/tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(authority.delete(&path).await.status, 204);
    authority.delete(&path).await.refused(404, "not_found");
    assert_eq!(scim.call(Method::GET, "/Users", None).await.status, 401);
    let other = Scim { secret: second, test: scim.test };
    other.get("/Users").await;
    let audit = other.test.authority.get("/v1/audit?limit=1000").await.text;
    assert!(audit.contains("scim.token.add") && audit.contains("scim.token.remove"));
    assert!(!audit.contains(&other.secret[10..]) && !audit.contains(&scim.secret[10..]));
}

#[tokio::test]
async fn a_provider_sees_and_ends_its_own_users_only() {
    let database = Database::sqlite().await;
    let key = crate::identity::jose::Key::make("P-256", "1");
    let (corp, partner) = (TestProvider::start(&[&key]).await, TestProvider::start(&[&key]).await);
    let providers =
        vec![corp.terms("corp", "user_prefix = \"corp:\""), partner.terms("partner", "user_prefix = \"partner:\"")];
    let terms = AuthorityTerms { providers, ..AuthorityTerms::default() };
    let authority = start_with(database.store.clone(), Arc::new(ManualClock::at(START)), terms).await;
    let secrets = [secret(&authority, "corp").await, secret(&authority, "partner").await];
    let [corps, partners] = secrets;
    let mut scim = Scim { test: Test::of(authority, corp, key), secret: corps.clone() };
    let alice = scim.user(json!({ "userName": "alice", "emails": [{ "value": "a@b" }] })).await;
    scim.secret = partners;
    for method in [Method::GET, Method::DELETE] {
        refused(scim.call(method, &alice, None).await, 404, "");
    }
    let body = json!({ "schemas": [USER], "userName": "alice", "active": false });
    refused(scim.call(Method::PUT, &alice, Some(body.clone())).await, 404, "");
    assert_eq!(scim.get("/Users?filter=userName%20eq%20%22alice%22").await["totalResults"], 0);
    // Its own user of that name is another one.
    let own = scim.call(Method::POST, "/Users", Some(body)).await;
    assert_eq!(own.status, 201);
    let log = scim.test.authority.get("/v1/revocations").await.ok();
    assert_eq!(log["entries"][0]["target"], "subject:default/partner:alice");
    scim.secret = corps;
    assert!(scim.get(&alice).await.get("active").is_none());
}
