//! Limits are a part of the policy set.

use serde_json::{Value, json};

use super::{ALL, Stage, document};
use crate::store::{Database, for_every_backend};

for_every_backend!(
    policies_see_what_is_used_of_the_limits_of_their_own_set,
    a_version_that_is_put_again_brings_its_limits_with_it,
    a_limit_that_would_count_nothing_is_refused,
);

fn calls(max: u32) -> Value {
    json!([{ "name": "calls", "per": "agent", "service": "bank", "window": "1d", "calls": max }])
}

async fn policies_see_what_is_used_of_the_limits_of_their_own_set(database: &Database) {
    let stage = Stage::start(database, 1, json!([])).await;
    let policy =
        "@id(\"few\") permit(principal, action, resource) when { context.used has calls && context.used.calls < 2 };";
    let refused = stage.test.put("/v1/policies", document(policy, &json!([]))).await.refused(422, "invalid_policy");
    assert!(refused.contains("calls"), "{refused}");
    stage.set(policy, calls(5)).await;
    let statuses = [stage.read(0).await.status, stage.read(0).await.status, stage.read(0).await.status];
    assert_eq!(statuses, [200, 200, 403]);
    assert_eq!(stage.test.get("/v1/limits").await.ok()["limit"][0]["calls"], 5);
}

async fn a_version_that_is_put_again_brings_its_limits_with_it(database: &Database) {
    let stage = Stage::start(database, 1, calls(1)).await;
    assert_eq!((stage.read(0).await.status, stage.read(0).await.status), (200, 429));
    stage.set(ALL, json!([])).await;
    assert_eq!(stage.read(0).await.status, 200);
    let first = stage.test.get("/v1/policies/1").await.ok()["document"].clone();
    stage.set(ALL, first["limit"].clone()).await;
    // What was counted is not forgotten in between.
    assert_eq!(stage.read(0).await.status, 429);
    assert_eq!(stage.test.get("/v1/policies").await.ok()["document"], first);
}

async fn a_limit_that_would_count_nothing_is_refused(database: &Database) {
    let stage = Stage::start(database, 0, calls(1)).await;
    let limit = |more: Value| {
        let mut limit = json!({ "name": "x", "per": "agent", "window": "1d" });
        limit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([limit])
    };
    for (limits, told) in [
        (limit(json!({ "service": "bnk", "calls": 1 })), "no service does `bnk:/`"),
        (limit(json!({ "service": "bank", "action": "pya", "calls": 1 })), "did you mean `bank:pay`?"),
        (limit(json!({ "service": "bank", "sum": "amuont", "max": 1 })), "did you mean `amount`?"),
        (limit(json!({ "service": "bank", "action": "read", "sum": "amount", "max": 1 })), "has the argument `amount`"),
    ] {
        for path in ["/v1/policies", "/v1/policies/check"] {
            let sent = match path {
                "/v1/policies" => stage.test.put(path, document(ALL, &limits)).await,
                _ => stage.test.post(path, document(ALL, &limits)).await,
            };
            let refused = sent.refused(422, "invalid_policy");
            assert!(refused.contains("limit `x`") && refused.contains(told), "{refused}");
        }
    }
    // Neither does the service go while a limit counts its calls.
    let refused = stage.test.delete("/v1/services/bank").await.refused(409, "policy_needs_service");
    assert!(refused.contains("limit `calls`"), "{refused}");
}
