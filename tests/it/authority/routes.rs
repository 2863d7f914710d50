//! Every route: that it is described, and that nobody passes who may not.

use std::path::Path;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::Value;

use crate::store::Database;
use crate::support::authority::start;

/// Routes that no operator secret opens, with the reason. This list may only shrink.
const OPEN: &[(&str, &str)] = &[
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/.well-known/oauth-authorization-server"),
    // Public halves: whoever verifies a writ wants them.
    ("get", "/v1/keys"),
    // Its callers are agents: `tokens.rs`.
    ("post", "/oauth/token"),
    // Its callers are agents and holders: `oauth.rs`.
    ("post", "/oauth/revoke"),
    // Its callers are relying services: `oauth.rs`.
    ("post", "/oauth/introspect"),
    // Its callers are holders: `witness.rs`.
    ("post", "/v1/revocations/witness"),
    // Their callers are edges: `edges.rs`.
    ("post", "/v1/edge/join"),
    ("post", "/v1/edge/feed"),
    ("post", "/v1/edge/lend"),
    ("post", "/v1/edge/audit"),
    // Its callers are identity providers: `identity/logout.rs`.
    ("post", "/v1/identity/{provider}/logout"),
];

/// Their callers are users: `identity/mine.rs`.
const USERS: &[(&str, &str)] = &[("get", "/v1/my/writs"), ("post", "/v1/my/revocations")];

/// Their callers are identity providers that provision: `scim/access.rs`.
pub(crate) const SCIM: &[(&str, &str)] = &[
    ("get", "/scim/v2/ServiceProviderConfig"),
    ("get", "/scim/v2/ResourceTypes"),
    ("get", "/scim/v2/ResourceTypes/{id}"),
    ("get", "/scim/v2/Schemas"),
    ("get", "/scim/v2/Schemas/{id}"),
    ("post", "/scim/v2/.search"),
    ("get", "/scim/v2/Users"),
    ("post", "/scim/v2/Users"),
    ("post", "/scim/v2/Users/.search"),
    ("get", "/scim/v2/Users/{id}"),
    ("put", "/scim/v2/Users/{id}"),
    ("patch", "/scim/v2/Users/{id}"),
    ("delete", "/scim/v2/Users/{id}"),
    ("get", "/scim/v2/Groups"),
    ("post", "/scim/v2/Groups"),
    ("post", "/scim/v2/Groups/.search"),
    ("get", "/scim/v2/Groups/{id}"),
    ("put", "/scim/v2/Groups/{id}"),
    ("patch", "/scim/v2/Groups/{id}"),
    ("delete", "/scim/v2/Groups/{id}"),
];

/// Every other route.
const OPERATORS_ONLY: &[(&str, &str)] = &[
    ("get", "/v1/agents"),
    ("post", "/v1/agents"),
    ("post", "/v1/agents/{name}/disable"),
    ("get", "/v1/audit"),
    ("get", "/v1/audit/checkpoints"),
    ("get", "/v1/audit/sources"),
    ("get", "/v1/credentials"),
    ("delete", "/v1/credentials/{name}"),
    ("put", "/v1/credentials/{name}"),
    ("post", "/v1/credentials/{name}/rotate"),
    ("get", "/v1/edges"),
    ("post", "/v1/edges/tickets"),
    ("delete", "/v1/edges/{name}"),
    ("get", "/v1/grants"),
    ("post", "/v1/grants"),
    ("delete", "/v1/grants/{id}"),
    ("post", "/v1/keys"),
    ("post", "/v1/keys/{id}/retire"),
    ("get", "/v1/operators"),
    ("post", "/v1/operators"),
    ("delete", "/v1/operators/{name}"),
    ("get", "/v1/relying"),
    ("post", "/v1/relying"),
    ("delete", "/v1/relying/{name}"),
    ("get", "/v1/revocations"),
    ("post", "/v1/revocations"),
    ("post", "/v1/revocations/explain"),
    ("get", "/v1/revocations/{seq}"),
    ("get", "/v1/revocations/{seq}/receipt"),
    ("get", "/v1/scim/tokens"),
    ("post", "/v1/scim/tokens"),
    ("delete", "/v1/scim/tokens/{id}"),
    ("get", "/v1/services"),
    ("delete", "/v1/services/{name}"),
    ("get", "/v1/services/{name}"),
    ("put", "/v1/services/{name}"),
    ("get", "/v1/stop"),
    ("post", "/v1/stop/lift"),
    ("post", "/v1/users/reactivate"),
    ("get", "/v1/users/suspended"),
    ("post", "/v1/vault/rewrap"),
];

fn described() -> Vec<(String, String, Value)> {
    let api: Value = serde_json::from_str(&writ::authority::http::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, route) in methods.as_object().unwrap() {
            routes.push((method.clone(), path.clone(), route.clone()));
        }
    }
    routes
}

#[test]
fn the_description_in_the_repository_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/openapi.json");
    let wanted = writ::authority::http::openapi();
    #[expect(clippy::disallowed_methods, reason = "how a person asks a test for more")]
    if std::env::var_os("WRIT_WRITE_SPEC").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "spec/openapi.json is not that of the code: run `WRIT_WRITE_SPEC=1 cargo test --test it \
         the_description_in_the_repository` and review the difference"
    );
}

#[test]
fn every_route_has_its_place_in_the_lists() {
    let mut listed: Vec<_> = OPEN
        .iter()
        .chain(USERS)
        .chain(SCIM)
        .chain(OPERATORS_ONLY)
        .map(|(m, p)| (m.to_string(), p.to_string()))
        .collect();
    let mut routes: Vec<_> = described().into_iter().map(|(method, path, _)| (method, path)).collect();
    listed.sort();
    routes.sort();
    assert_eq!(listed, routes);
    for (method, path, route) in described() {
        let open = OPEN.contains(&(&*method, &*path));
        assert_eq!(route.get("security").is_none(), open, "{method} {path}");
    }
}

#[tokio::test]
async fn nobody_passes_without_an_operators_secret() {
    let test = start(&Database::sqlite().await).await;
    let before = test.store.audit_head(&writ::audit::Source::Authority).await.unwrap();
    for (method, path) in OPERATORS_ONLY {
        let path = path.replace("{name}", "x").replace("{id}", "1").replace("{seq}", "1");
        let method: Method = method.to_uppercase().parse().unwrap();
        let wrong = format!("Bearer writ-operator-{}", "A".repeat(43));
        let none = "";
        let own = format!("Basic {}", test.operator);
        for secret in [none, &wrong, &own, "Bearer", "Bearer ", &test.operator] {
            let mut headers = HeaderMap::new();
            if !secret.is_empty() {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_str(secret).unwrap());
            }
            let reply = test.raw(method.clone(), &path, headers, "{}").await;
            assert_eq!(reply.headers[header::WWW_AUTHENTICATE], "Bearer");
            reply.refused(401, "unauthenticated");
        }
        let mut two = test.operator_headers();
        two.append(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        test.raw(method, &path, two, "{}").await.refused(401, "unauthenticated");
        // The limit on wrong secrets is not what is tested here.
        test.clock.advance(std::time::Duration::from_secs(2));
    }
    assert_eq!(test.store.audit_head(&writ::audit::Source::Authority).await.unwrap(), before, "something changed");
}

#[tokio::test]
async fn wrong_secrets_are_slowed_down_and_right_ones_wait_with_them_for_a_second() {
    let test = start(&Database::sqlite().await).await;
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer writ-operator-guess"));
    for _ in 0..100 {
        test.raw(Method::GET, "/v1/agents", headers.clone(), "").await.refused(401, "unauthenticated");
    }
    test.raw(Method::GET, "/v1/agents", headers, "").await.refused(429, "too_many_failures");
    test.clock.advance(std::time::Duration::from_secs(1));
    test.get("/v1/agents").await.ok();
}

#[tokio::test]
async fn an_unknown_route_or_method_is_a_problem_document() {
    let test = start(&Database::sqlite().await).await;
    test.get("/v1/nothing").await.refused(404, "no_route");
    test.get("/").await.refused(404, "no_route");
    test.call(Method::PATCH, "/v1/agents", None).await.refused(405, "no_method");
    // No route answers a credential's secret, or takes a revocation back.
    test.get("/v1/credentials/notes-key").await.refused(405, "no_method");
    test.delete("/v1/revocations/1").await.refused(405, "no_method");
}

#[tokio::test]
async fn a_living_process_says_so() {
    let test = start(&Database::sqlite().await).await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(test.raw(Method::GET, path, HeaderMap::new(), "").await.status, 200);
    }
}
