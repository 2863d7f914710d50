//! An exchange and a kill at the same moment: after the answer no live writ of that user exists, whoever came first.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::identity::exchange::SCOPE;
use crate::identity::race::race;
use crate::scim::{Scim, id};
use crate::store::{Database, for_every_backend};

for_every_backend!(whatever_the_directory_ends_while_a_writ_is_issued_the_writ_is_refused_or_dead);

async fn whatever_the_directory_ends_while_a_writ_is_issued_the_writ_is_refused_or_dead(db: &Database) {
    let scim = Scim::start(db, "").await;
    let agent = scim.test.authority.agent("planner").await;
    let grant = json!({ "agent": "planner", "group": "controllers", "capabilities": [SCOPE] });
    scim.test.authority.post("/v1/grants", grant).await.ok();
    let mut alice = scim.user(json!({ "userName": "alice" })).await;
    let group = scim.group("controllers", &[&alice]).await;
    let mut issued = 0;
    for round in 0..24 {
        scim.test.authority.clock.advance(Duration::from_secs(30));
        let token = scim.test.id_token(&json!({ "groups": [] }));
        let ends = async {
            let leaves = json!([{ "op": "remove", "path": format!("members[value eq \"{}\"]", id(&alice)) }]);
            let reply = match round / 4 % 3 {
                0 => scim.patch(&alice, json!([{ "op": "replace", "path": "active", "value": false }])).await,
                1 => scim.patch(&group, leaves).await,
                _ => scim.call(Method::DELETE, &alice, None).await,
            };
            assert!(
                (200..300).contains(&reply.status) && reply.headers.contains_key("writ-revocation"),
                "{}",
                reply.text
            );
        };
        issued += race(async || scim.test.exchange(&agent, &token).await, round % 4, ends).await;
        assert_eq!(scim.test.live().await, [""; 0], "round {round}");
        assert_eq!(scim.test.exchange(&agent, &token).await.status, 400);
        match round / 4 % 3 {
            0 => {
                scim.patch(&alice, json!([{ "op": "replace", "path": "active", "value": true }])).await.ok();
            }
            1 => {}
            _ => alice = scim.user(json!({ "userName": "alice" })).await,
        }
        let joins = json!([{ "op": "add", "path": "members", "value": [{ "value": id(&alice) }] }]);
        scim.patch(&group, joins).await.ok();
        assert_eq!(scim.test.live().await, [""; 0], "nothing lives again");
    }
    assert!(issued > 0, "nothing was issued, so nothing was tested");
}
