//! What a change of the directory ends, and what it keeps from being issued again (J9, E29).

use std::time::Duration;

use http::{Method, header};
use serde_json::{Value, json};

use crate::identity::exchange::{SCOPE, refused as oauth_refused};
use crate::scim::{GROUP, Scim, USER, id, refused};
use crate::store::{Database, for_every_backend};
use crate::support::authority::TestAgent;

for_every_backend!(
    a_user_who_is_inactive_has_nothing_and_gets_nothing_until_active_again_and_then_by_a_new_login,
    every_way_to_say_that_a_user_is_gone_ends_what_they_had,
    a_group_of_the_directory_carries_a_grant_and_leaving_it_ends_what_that_gave,
    when_many_leave_a_group_its_grants_end,
    a_call_that_is_repeated_waits_for_the_same_receipt,
    nobody_comes_back_because_something_was_left_out,
);

/// The entry of the log that an answer says was waited for.
fn revocation(reply: &crate::support::authority::Reply) -> Option<u64> {
    reply.headers.get("writ-revocation").map(|seq| seq.to_str().unwrap().parse().unwrap())
}

impl Scim {
    async fn target(&self, seq: u64) -> String {
        let receipt = self.test.authority.get(&format!("/v1/revocations/{seq}/receipt")).await.ok();
        receipt["target"].as_str().unwrap().to_owned()
    }

    async fn head(&self) -> u64 {
        self.test.authority.store.revocation_head().await.unwrap()
    }

    async fn gets_nothing(&self, agent: &TestAgent, claims: &Value) {
        let description =
            oauth_refused(self.test.exchange(agent, &self.test.id_token(claims)).await, 400, "invalid_grant");
        assert!(description.contains("inactive"), "{description}");
    }

    /// A minute later, when a login is another one than before.
    async fn gets_a_writ(&self, agent: &TestAgent, claims: &Value) {
        self.test.authority.clock.advance(Duration::from_secs(60));
        self.test.exchange(agent, &self.test.id_token(claims)).await.ok();
    }
}

async fn a_user_who_is_inactive_has_nothing_and_gets_nothing_until_active_again_and_then_by_a_new_login(db: &Database) {
    let scim = Scim::start(db, "").await;
    let agent = scim.test.agent("planner").await;
    let alice = scim.user(json!({ "userName": "alice", "emails": [{ "value": "alice@corp.example" }] })).await;
    let before = scim.test.id_token(&json!({}));
    scim.test.exchange(&agent, &before).await.ok();
    assert_eq!(scim.test.live().await.len(), 1);
    let locked = scim.patch(&alice, json!([{ "op": "replace", "path": "active", "value": false }])).await;
    assert_eq!(scim.target(revocation(&locked).unwrap()).await, "subject:default/alice");
    assert_eq!(locked.ok()["active"], false);
    assert_eq!(scim.test.live().await, [""; 0]);
    scim.gets_nothing(&agent, &json!({})).await;
    scim.test.authority.clock.advance(Duration::from_secs(60));
    scim.gets_nothing(&agent, &json!({})).await;
    // An operator's word is about another list.
    scim.test.authority.post("/v1/users/reactivate", json!({ "subject": "alice" })).await.refused(404, "not_found");
    let unlocked = scim.patch(&alice, json!([{ "op": "replace", "value": { "active": true } }])).await;
    assert_eq!(revocation(&unlocked), None);
    assert_eq!(unlocked.ok()["active"], true);
    oauth_refused(scim.test.exchange(&agent, &before).await, 400, "invalid_request");
    scim.gets_a_writ(&agent, &json!({})).await;
    // Who said it, by which signal, and nothing else about the person.
    let audit = scim.test.authority.get("/v1/audit?limit=1000").await.text;
    let record = audit.split("directory.user.change").nth(1).unwrap();
    assert!(record.contains(r#""signal":"scim""#) && record.contains("subject:default/alice"), "{record}");
    assert!(audit.contains(r#""name":"corp""#) && !audit.contains("alice@corp.example"));
}

async fn every_way_to_say_that_a_user_is_gone_ends_what_they_had(db: &Database) {
    let scim = Scim::start(db, "").await;
    let agent = scim.test.agent("planner").await;
    for way in 0..5 {
        let alice = match way {
            // Nobody here has seen that user by SCIM.
            0 => String::new(),
            _ => scim.user(json!({ "userName": "alice", "active": true })).await,
        };
        scim.gets_a_writ(&agent, &json!({})).await;
        let user = json!({ "schemas": [USER], "userName": "alice", "active": false });
        let reply = match way {
            0 => scim.call(Method::POST, "/Users", Some(user)).await,
            1 => scim.call(Method::PUT, &alice, Some(user)).await,
            2 => scim.patch(&alice, json!([{ "op": "Replace", "path": "active", "value": "False" }])).await,
            3 => scim.call(Method::DELETE, &alice, None).await,
            _ => scim.patch(&alice, json!([{ "op": "replace", "path": "userName", "value": "alicia" }])).await,
        };
        assert!((200..300).contains(&reply.status), "{}", reply.text);
        assert_eq!(scim.target(revocation(&reply).unwrap()).await, "subject:default/alice", "way {way}");
        assert_eq!(scim.test.live().await, [""; 0], "way {way}");
        scim.gets_nothing(&agent, &json!({})).await;
        if let Some(left) = reply.json["id"].as_str() {
            scim.call(Method::DELETE, &format!("/Users/{left}"), None).await.ok();
        }
    }
    // Spelled otherwise it is no other user.
    scim.gets_nothing(&agent, &json!({ "sub": "ALICE" })).await;
}

async fn a_group_of_the_directory_carries_a_grant_and_leaving_it_ends_what_that_gave(db: &Database) {
    let scim = Scim::start(db, "").await;
    let agent = scim.test.authority.agent("planner").await;
    let no_groups = json!({ "groups": [] });
    let grant = json!({ "agent": "planner", "group": "controllers", "capabilities": [SCOPE] });
    scim.test.authority.post("/v1/grants", grant).await.ok();
    let alice = scim.user(json!({ "userName": "alice" })).await;
    let bob = scim.user(json!({ "userName": "bob" })).await;
    oauth_refused(scim.test.exchange(&agent, &scim.test.id_token(&no_groups)).await, 400, "invalid_scope");
    let (group, twin) = (scim.group("controllers", &[&bob]).await, scim.group("controllers", &[]).await);
    let member = json!([{ "op": "add", "path": "members", "value": [{ "value": id(&alice) }] }]);
    let gone = json!([{ "op": "remove", "path": format!("members[value eq \"{}\"]", id(&alice)) }]);
    for way in 0..5 {
        let head = scim.head().await;
        scim.patch(&group, member.clone()).await.ok();
        assert_eq!(scim.head().await, head, "joining ends nothing");
        scim.gets_a_writ(&agent, &no_groups).await;
        assert_eq!(scim.test.live().await.len(), 1);
        // As long as another group of that name has the user, nothing ends.
        scim.patch(&twin, member.clone()).await.ok();
        scim.patch(&twin, gone.clone()).await.ok();
        assert_eq!((scim.head().await, scim.test.live().await.len()), (head, 1));
        let reply = match way {
            0 => scim.patch(&group, gone.clone()).await,
            1 => {
                scim.patch(&group, json!([{ "op": "Remove", "path": "members", "value": [{ "value": id(&alice) }] }]))
                    .await
            }
            2 => {
                let body =
                    json!({ "schemas": [GROUP], "displayName": "controllers", "members": [{ "value": id(&bob) }] });
                scim.call(Method::PUT, &group, Some(body)).await
            }
            3 => scim.patch(&group, json!([{ "op": "replace", "path": "displayName", "value": "others" }])).await,
            _ => scim.call(Method::DELETE, &group, None).await,
        };
        assert!((200..300).contains(&reply.status), "{}", reply.text);
        let (seq, log) =
            (revocation(&reply).unwrap(), scim.test.authority.get(&format!("/v1/revocations?after={head}")).await);
        assert!(log.text.contains("acting:default/planner/alice"), "way {way}: {}", log.text);
        assert_eq!((seq, scim.test.live().await.len()), (scim.head().await, 0), "way {way}");
        oauth_refused(scim.test.exchange(&agent, &scim.test.id_token(&no_groups)).await, 400, "invalid_request");
        scim.test.authority.clock.advance(Duration::from_secs(60));
        oauth_refused(scim.test.exchange(&agent, &scim.test.id_token(&no_groups)).await, 400, "invalid_scope");
        if way == 3 {
            scim.patch(&group, json!([{ "op": "replace", "path": "displayName", "value": "controllers" }])).await.ok();
            scim.patch(&group, gone.clone()).await.ok();
        }
    }
    assert_eq!(scim.get(&alice).await.get("groups"), None);
}

async fn when_many_leave_a_group_its_grants_end(db: &Database) {
    let scim = Scim::start(db, "").await;
    let agent = scim.test.authority.agent("planner").await;
    let grant = json!({ "agent": "planner", "group": "controllers", "capabilities": [SCOPE] });
    let grant = scim.test.authority.post("/v1/grants", grant).await.ok();
    let mut users = vec![scim.user(json!({ "userName": "alice" })).await];
    for n in 0..70 {
        users.push(scim.user(json!({ "userName": format!("user-{n}") })).await);
    }
    let members: Vec<&str> = users.iter().map(String::as_str).collect();
    let group = scim.group("controllers", &members).await;
    assert_eq!(scim.get(&group).await["members"].as_array().unwrap().len(), 71);
    scim.gets_a_writ(&agent, &json!({ "groups": [] })).await;
    let reply = scim.patch(&group, json!([{ "op": "remove", "path": "members" }])).await;
    let target = scim.target(revocation(&reply).unwrap()).await;
    assert_eq!(target, format!("grant:{}", grant["id"].as_str().unwrap()));
    assert_eq!(scim.test.live().await, [""; 0]);
    let description = oauth_refused(
        scim.test.exchange(&agent, &scim.test.id_token(&json!({ "groups": [] }))).await,
        400,
        "invalid_scope",
    );
    assert!(description.contains("--group"), "{description}");
}

async fn a_call_that_is_repeated_waits_for_the_same_receipt(db: &Database) {
    let scim = Scim::start(db, "").await;
    let alice = scim.user(json!({ "userName": "alice" })).await;
    // An edge that has a lease and says nothing: the answer waits until the lease is over.
    let edge = scim.test.authority.edge("edge-1").await;
    edge.catch_up().await;
    let lock = json!([{ "op": "replace", "path": "active", "value": false }]);
    let first = scim.test.authority.let_time_pass(scim.patch(&alice, lock.clone())).await;
    let seq = revocation(&first).unwrap();
    let receipt = scim.test.authority.get(&format!("/v1/revocations/{seq}/receipt")).await.ok();
    assert_eq!(receipt["edges"][0]["how"], "lease_ended");
    for _ in 0..2 {
        assert_eq!(revocation(&scim.patch(&alice, lock.clone()).await), Some(seq));
    }
    let deleted = scim.call(Method::DELETE, &alice, None).await;
    assert_eq!((deleted.status, revocation(&deleted)), (204, Some(seq)));
    refused(scim.call(Method::DELETE, &alice, None).await, 404, "");
    assert_eq!(scim.head().await, seq, "nothing is ended twice");
}

async fn nobody_comes_back_because_something_was_left_out(db: &Database) {
    let scim = Scim::start(db, "").await;
    let agent = scim.test.agent("planner").await;
    let alice = scim.user(json!({ "userName": "alice", "active": false })).await;
    let put = json!({ "schemas": [USER], "userName": "alice", "title": "x" });
    assert_eq!(scim.call(Method::PUT, &alice, Some(put)).await.ok()["active"], false, "left out, so as it was");
    scim.gets_nothing(&agent, &json!({})).await;
    let removed = scim.patch(&alice, json!([{ "op": "remove", "path": "active" }])).await.ok();
    assert_eq!(removed.get("active"), None);
    scim.gets_nothing(&agent, &json!({})).await;
    for name in ["alicia", "alice"] {
        scim.patch(&alice, json!([{ "op": "replace", "path": "userName", "value": name }])).await.ok();
        scim.gets_nothing(&agent, &json!({ "sub": name })).await;
    }
    scim.patch(&alice, json!([{ "op": "add", "path": "active", "value": true }])).await.ok();
    scim.gets_a_writ(&agent, &json!({})).await;
    scim.gets_nothing(&agent, &json!({ "sub": "alicia" })).await;
}

#[tokio::test]
async fn the_setting_says_which_attribute_is_the_user_of_the_tokens() {
    let scim = Scim::start(&Database::sqlite().await, "scim_user = \"externalId\"\nuser_prefix = \"corp:\"").await;
    let body = json!({ "schemas": [USER], "userName": "alice@corp.example" });
    refused(scim.call(Method::POST, "/Users", Some(body)).await, 400, "invalidValue");
    let user = scim.user(json!({ "userName": "alice@corp.example", "externalId": "alice" })).await;
    let taken = json!({ "schemas": [USER], "userName": "other", "externalId": "alice" });
    refused(scim.call(Method::POST, "/Users", Some(taken)).await, 409, "uniqueness");
    refused(scim.patch(&user, json!([{ "op": "remove", "path": "externalId" }])).await, 400, "invalidValue");
    let reply = scim.call(Method::DELETE, &user, None).await;
    assert_eq!(scim.target(revocation(&reply).unwrap()).await, "subject:default/corp:alice");
    assert!(!reply.headers.contains_key(header::CONTENT_TYPE));
    let agent = scim.test.authority.agent("planner").await;
    let grant = json!({ "agent": "planner", "subject": "corp:alice", "capabilities": [SCOPE] });
    scim.test.authority.post("/v1/grants", grant).await.ok();
    scim.gets_nothing(&agent, &json!({})).await;
}
