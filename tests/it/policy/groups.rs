//! Groups and claims: from the identity provider into the writ, and what a change of the directory ends.

use http::Method;
use serde_json::{Value, json};
use writ::token::claims::PolicyFacts;
use writ::token::{Limits, RawToken};

use super::document;
use crate::identity::exchange::refused;
use crate::scim::{Scim, id};
use crate::store::{Database, for_every_backend};

for_every_backend!(
    a_writ_states_the_groups_that_policies_ask_for_and_the_claims_of_the_settings,
    who_leaves_a_group_that_policies_name_or_joins_one_that_a_forbid_names_loses_every_writ,
);

const POLICY: &str = "@id(\"all\") permit(principal, action, resource);
    @id(\"sales\") permit(principal in Group::\"sales\", action, resource);
    @id(\"no-contractors\") forbid(principal, action in Action::\"deletes\", resource) when { principal in Group::\"contractors\" };";

async fn put(scim: &Scim, policy: &str) {
    let body: Value = serde_json::from_str(&document(policy)).unwrap();
    scim.test.authority.put("/v1/policies", body).await.ok();
}

fn facts(reply: &Value) -> PolicyFacts {
    let token = RawToken::parse(reply["access_token"].as_str().unwrap(), &Limits::default()).unwrap();
    writ::token::inspect::inspect(&token, &Limits::default()).unwrap().claims().authority().policy.clone()
}

async fn a_writ_states_the_groups_that_policies_ask_for_and_the_claims_of_the_settings(db: &Database) {
    let settings =
        "policy_claims = { amr = \"strings\", managed = \"boolean\", level = \"integer\", acr = \"string\" }\n";
    let scim = Scim::start(db, settings).await;
    let agent = scim.test.agent("planner").await;
    let alice = scim.user(json!({ "userName": "alice" })).await;
    scim.group("contractors", &[&alice]).await;
    put(&scim, POLICY).await;
    let login = |claims: Value| scim.test.id_token(&claims);
    let token = login(json!({
        "groups": ["sales", "staff"], "amr": ["pwd", "mfa", "pwd"], "managed": true, "level": 3, "department": "x",
    }));
    let facts = facts(&scim.test.exchange(&agent, &token).await.ok());
    assert_eq!(facts.version, 1);
    // Those of the token and those of the directory; nothing is said of others.
    assert_eq!(facts.groups.iter().map(ToString::to_string).collect::<Vec<_>>(), ["contractors", "sales"]);
    let claims: Value = serde_json::to_value(&facts.claims).unwrap();
    assert_eq!(
        claims,
        json!([
            { "name": "amr", "value": ["mfa", "pwd"] },
            { "name": "level", "value": 3 },
            { "name": "managed", "value": true },
            { "name": "provider", "value": "corp" },
        ])
    );
    for odd in [json!({ "managed": "true" }), json!({ "amr": "mfa" }), json!({ "level": 1.5 }), json!({ "acr": ["a"] })]
    {
        let told = refused(scim.test.exchange(&agent, &login(odd.clone())).await, 400, "invalid_request");
        assert!(told.contains("policy_claims"), "{odd}: {told}");
    }
}

async fn who_leaves_a_group_that_policies_name_or_joins_one_that_a_forbid_names_loses_every_writ(db: &Database) {
    let scim = Scim::start(db, "").await;
    let agent = scim.test.agent("planner").await;
    put(&scim, POLICY).await;
    let alice = scim.user(json!({ "userName": "alice" })).await;
    let others = scim.group("others", &[&alice]).await;
    let sales = scim.group("sales", &[]).await;
    let contractors = scim.group("contractors", &[]).await;
    let member = [json!({ "value": id(&alice) })];
    let change = async |group: &str, op: &str| {
        scim.test.authority.clock.advance(std::time::Duration::from_secs(60));
        scim.test.exchange(&agent, &scim.test.id_token(&json!({}))).await.ok();
        scim.patch(group, json!([{ "op": op, "path": "members", "value": member }])).await.ok();
        scim.test.live().await.is_empty()
    };
    // It may more than its writs say, which is no reason to end them.
    assert!(!change(&sales, "add").await);
    assert!(!change(&others, "remove").await);
    assert!(change(&contractors, "add").await);
    assert!(change(&sales, "remove").await);
    assert!(change(&contractors, "remove").await);
    // Removed as a whole.
    assert!(!change(&sales, "add").await);
    scim.call(Method::DELETE, &sales, None).await.ok();
    assert!(scim.test.live().await.is_empty());
}
