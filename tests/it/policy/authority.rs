//! What an authority makes of a set: whether it is one, when it counts, and what it lets be issued.

use http::Method;
use serde_json::{Value, json};
use writ::token::{Limits, RawToken};

use super::document;
use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAuthority, notes_service, start};

for_every_backend!(
    a_set_is_in_force_at_every_edge_before_the_answer,
    an_invalid_set_never_replaces_a_valid_one,
    every_version_stays_and_an_old_text_can_be_put_again,
    a_service_cannot_change_so_that_the_set_names_what_is_gone,
    a_writ_is_issued_for_no_more_and_no_longer_than_policies_permit,
);

fn body(policy: &str) -> Value {
    serde_json::from_str(&document(policy)).unwrap()
}

async fn put(test: &TestAuthority, policy: &str) -> Value {
    let put = test.put("/v1/policies", body(policy));
    test.let_time_pass(put).await.ok()
}

async fn in_force(test: &TestAuthority) -> (Value, Value) {
    let shown = test.get("/v1/policies").await.ok();
    (shown["version"].clone(), shown["document"]["policy"].clone())
}

const ALL: &str = "@id(\"all\") permit(principal, action, resource);";

async fn a_set_is_in_force_at_every_edge_before_the_answer(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    let (prompt, silent) = (test.edge("prompt").await, test.edge("silent").await);
    silent.catch_up().await;
    let _following = prompt.follow();
    let answer = put(&test, ALL).await;
    assert_eq!(answer["version"], 1);
    let told = |name: &str| {
        let edges = answer["receipt"]["edges"].as_array().unwrap();
        edges.iter().find(|edge| edge["edge"] == name).unwrap()["how"].clone()
    };
    assert_eq!(told("prompt"), "acknowledged");
    // It asked for nothing since: its lease is over.
    assert_eq!(told("silent"), "lease_ended");
    assert_eq!(answer["receipt"]["target"], "policy:default@1");
    let settings = prompt.feed(None, None, 0).await.unwrap().settings.unwrap();
    assert_eq!(Some(settings.version), answer["receipt"]["settings"].as_u64());
    let [offered] = &settings.policies[..] else { panic!("one set") };
    assert_eq!((offered.version, serde_json::from_str::<Value>(&offered.document).unwrap()), (1, body(ALL)));
}

async fn an_invalid_set_never_replaces_a_valid_one(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    put(&test, ALL).await;
    for (policy, told) in [
        ("permit(principal, action, resource);", "no name"),
        ("@id(\"a\") permit(principal, action, resource)", "`;`"),
        ("@id(\"a\") permit(principal, action == Action::\"notes:raed\", resource);", "notes:raed"),
        ("@id(\"a\") permit(principal, action, resource) when { context.arguments.nothing == 1 };", "nothing"),
        ("@id(\"a\") permit(principal, action, resource) when { context.methd == \"GET\" };", "methd"),
        ("@id(\"a\") permit(principal is Usr, action, resource);", "Usr"),
        ("@id(\"a\") permit(principal, action, resource) when { context.depth == \"1\" };", "line 1"),
    ] {
        let refusal = test.put("/v1/policies", body(policy)).await.refused(422, "invalid_policy");
        assert!(refusal.contains(told), "{policy}: {refusal}");
        assert!(refusal.contains("in force stays"), "{refusal}");
    }
    for wrong in [json!({ "policy": ALL, "zone": "Mars/Base" }), json!({ "policy": "@", "zone": "UTC" })] {
        test.put("/v1/policies", wrong).await.refused(422, "invalid_policy");
    }
    for wrong in [json!({}), json!({ "policy": ALL, "colour": 1 }), json!([])] {
        test.put("/v1/policies", wrong).await.refused(400, "malformed");
    }
    assert_eq!(in_force(&test).await, (json!(1), json!(ALL)));
    // A dry run says the same, and stores as little.
    let found = test
        .post("/v1/policies/check", body("@id(\"a\") permit(principal, action == Action::\"notes:raed\", resource);"));
    let found = found.await.ok();
    assert_eq!((&found["valid"], &found["findings"][0]["policy"]), (&json!(false), &json!("a")), "{found}");
    assert_eq!(test.post("/v1/policies/check", body(ALL)).await.ok()["valid"], true);
    assert_eq!(in_force(&test).await, (json!(1), json!(ALL)));
}

async fn every_version_stays_and_an_old_text_can_be_put_again(database: &Database) {
    let test = start(database).await;
    assert_eq!(in_force(&test).await.0, 0);
    test.get("/v1/policies/1").await.refused(404, "not_found");
    let none = "@id(\"none\") forbid(principal, action, resource);";
    for policy in [ALL, none, ALL] {
        put(&test, policy).await;
    }
    assert_eq!(in_force(&test).await, (json!(3), json!(ALL)));
    let second = test.get("/v1/policies/2").await.ok();
    assert_eq!((&second["document"]["policy"], &second["author"]), (&json!(none), &json!("root")));
    let history = test.get("/v1/policies/history").await.ok();
    let versions: Vec<_> = history.as_array().unwrap().iter().map(|version| version["version"].clone()).collect();
    assert_eq!(versions, [3, 2, 1]);
    let before = test.get("/v1/policies/history?before=2").await.ok();
    assert_eq!(before.as_array().unwrap().len(), 1);
    for method in [Method::DELETE, Method::PUT] {
        test.call(method, "/v1/policies/2", None).await.refused(405, "no_method");
    }
}

async fn a_service_cannot_change_so_that_the_set_names_what_is_gone(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    put(&test, "@id(\"notes\") permit(principal, action == Action::\"notes:read\", resource);").await;
    let mut renamed = notes_service();
    renamed["route"][0]["action"] = "look".into();
    for refusal in [
        test.put("/v1/services/notes", renamed.clone()).await.refused(409, "policy_needs_service"),
        test.delete("/v1/services/notes").await.refused(409, "policy_needs_service"),
    ] {
        assert!(refusal.contains("`notes`"), "{refusal}");
    }
    put(&test, ALL).await;
    test.put("/v1/services/notes", renamed).await.ok();
    test.delete("/v1/services/notes").await.ok();
}

async fn a_writ_is_issued_for_no_more_and_no_longer_than_policies_permit(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    put(
        &test,
        "@id(\"team\") @ttl_s(\"60\") permit(principal == Agent::\"planner\", action in Action::\"notes:read\", resource in Resource::\"notes:team/a\")
         when { context.method == \"GET\" };
         @id(\"not-b\") forbid(principal, action, resource in Resource::\"notes:team/b\");",
    )
    .await;
    let issued = test.token(&agent, "notes:read:team/a").await.ok();
    assert_eq!(issued["expires_in"], 60);
    let token = RawToken::parse(issued["access_token"].as_str().unwrap(), &Limits::default()).unwrap();
    let seen = writ::token::inspect::inspect(&token, &Limits::default()).unwrap();
    assert_eq!(seen.claims().authority().policy.version, 1);
    // Its grant covers these.
    for (scope, told) in [("notes:read:team", "no policy permits"), ("notes:read:team/b", "`not-b` forbids")] {
        let reply = test.token(&agent, scope).await;
        assert_eq!((reply.status, &reply.json["error"]), (400, &json!("invalid_scope")), "{}", reply.text);
        assert!(reply.text.contains(told), "{}", reply.text);
    }
    let records = test.get("/v1/audit?limit=1000").await.ok().to_string();
    assert!(
        records.contains("policy.put") && records.contains("\\\"policies\\\":[\\\"team\\\"]")
            || records.contains("\"policies\":[\"team\"]"),
        "{records}"
    );
}
