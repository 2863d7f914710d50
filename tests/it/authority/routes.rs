//! Every route: that it is described, and that nobody passes who may not.

use std::path::Path;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

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
    // Browsers, and programs with a code: `identity/sign_in.rs`.
    ("get", "/v1/sign-in"),
    ("get", "/v1/sign-in/callback"),
    ("post", "/v1/sign-in/session"),
    // Their callers are agents, and whoever has an enrolment code: `agents.rs`.
    ("post", "/v1/agent/key"),
    ("post", "/v1/agent/enrol"),
    // Its callers are holders: `witness.rs`.
    ("post", "/v1/revocations/witness"),
    // Their callers are edges: `edges.rs`.
    ("post", "/v1/edge/join"),
    ("post", "/v1/edge/feed"),
    ("post", "/v1/edge/lend"),
    ("post", "/v1/edge/limits"),
    ("post", "/v1/edge/audit"),
    // The same: `approval`.
    ("post", "/v1/edge/approval/ask"),
    ("post", "/v1/edge/approval/state"),
    ("post", "/v1/edge/approval/redeem"),
    // Its callers are identity providers: `identity/logout.rs`.
    ("post", "/v1/identity/{provider}/logout"),
    // Its callers are identity providers: `scim/global.rs`.
    ("post", "/v1/identity/{provider}/global-token-revocation"),
    // Its callers are identity providers: `identity/events.rs`.
    ("post", "/v1/identity/{provider}/events"),
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

/// Whom an operator's route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Operators of every role.
    Readers,
    /// Those with the role `approver` or `admin`.
    Approvers,
    /// Those with the role `admin`.
    Admins,
}

/// Every route for operators, with a path that can be called, and whom it is for: as the description says.
fn for_operators() -> Vec<(Method, String, For)> {
    let of = |(method, path, route): (String, String, Value)| {
        let whom = match route["security"].as_array()?.first()?["operator"].as_array()?.first()?.as_str()? {
            "reader" => For::Readers,
            "approver" => For::Approvers,
            "admin" => For::Admins,
            other => panic!("{method} {path} is described for {other}"),
        };
        let path = path.replace("{name}", "x").replace("{id}", "1").replace("{seq}", "1").replace("{provider}", "x");
        let path = path.replace("{handle}", &"0".repeat(32));
        let path = path.replace("{version}", "1");
        Some((method.to_uppercase().parse().unwrap(), path, whom))
    };
    described().into_iter().filter_map(of).collect()
}

#[test]
fn every_route_says_who_may_call_it() {
    for (method, path, route) in described() {
        let (open, users) = (OPEN.contains(&(&*method, &*path)), USERS.contains(&(&*method, &*path)));
        let security = &route["security"];
        let operators = security[0]["operator"].as_array().is_some_and(|roles| roles.len() == 1);
        let scim = SCIM.contains(&(&*method, &*path));
        let said = [security.is_null(), security[0]["user"].is_array(), security[0]["scim"].is_array(), operators];
        assert_eq!(said, [open, users, scim, !open && !users && !scim], "{method} {path}: {security}");
        assert!(security.is_null() || security.as_array().unwrap().len() == 1, "{method} {path}: {security}");
        // What only reads is for every role; what is more than that says so here.
        let reads =
            method == "get" || ["/v1/revocations/explain", "/v1/policies/check", "/v1/sign-out"].contains(&&*path);
        if operators {
            assert_eq!(security[0]["operator"][0] == "reader", reads, "{method} {path}");
        }
    }
    let routes: Vec<_> = described().into_iter().map(|(method, path, _)| (method, path)).collect();
    for (method, path) in OPEN.iter().chain(USERS).chain(SCIM) {
        assert!(routes.contains(&((*method).to_owned(), (*path).to_owned())), "{method} {path} is no route any more");
    }
    assert!(for_operators().len() >= 38);
}

#[tokio::test]
async fn nobody_passes_without_an_operators_secret() {
    let test = start(&Database::sqlite().await).await;
    let before = test.store.audit_head(&writ::audit::Source::Authority).await.unwrap();
    for (method, path, _) in for_operators() {
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
async fn a_role_opens_what_is_described_for_it_and_nothing_else() {
    let test = start(&Database::sqlite().await).await;
    for role in ["auditor", "approver", "admin"] {
        let added = test.post("/v1/operators", json!({ "name": role, "role": role })).await.ok();
        let mut headers = HeaderMap::new();
        let secret = format!("Bearer {}", added["secret"].as_str().unwrap());
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&secret).unwrap());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let before = test.store.audit_head(&writ::audit::Source::Authority).await.unwrap();
        for (method, path, whom) in for_operators() {
            let called = test.raw(method.clone(), &path, headers.clone(), "{}");
            let reply = test.let_time_pass(called).await;
            if role == "admin" || whom == For::Readers || (role == "approver" && whom == For::Approvers) {
                assert!(!matches!(reply.status, 401 | 403), "{role}: {method} {path}: {} {}", reply.status, reply.text);
            } else {
                let told = reply.refused(403, "role");
                assert!(told.contains(role), "{told}");
            }
        }
        let after = test.store.audit_head(&writ::audit::Source::Authority).await.unwrap();
        assert_eq!(after == before, role != "admin", "{role} changed something");
    }
    let told = test.post("/v1/operators", json!({ "name": "x", "role": "owner" })).await.refused(400, "malformed");
    assert!(told.contains("auditor"), "{told}");
    for (name, person) in [("corp:alice", json!(null)), ("alice", json!("bob"))] {
        test.post("/v1/operators", json!({ "name": name, "person": person })).await.refused(400, "malformed");
    }
    let all = test.get("/v1/operators").await.ok();
    assert_eq!(all[2]["role"], "auditor", "{all}");
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
