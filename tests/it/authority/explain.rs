//! What a revocation would reach, said before it is made; and that saying it changes nothing.

use serde_json::{Value, json};
use writ::audit::Source;
use writ::key::KeyPair;

use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAgent, TestAuthority, random, start};

for_every_backend!(
    an_explanation_counts_the_live_writs_and_says_whose_they_are,
    what_is_dead_or_over_is_not_counted,
    a_hop_that_nobody_has_seen_is_explained_by_its_token,
    writs_of_an_older_version_are_not_passed_over_in_silence,
);

async fn ask_for(test: &TestAuthority, agent: &TestAgent, scope: &str, subject: Option<&str>) -> String {
    let mut more = vec![("scope", scope)];
    more.extend(subject.map(|subject| ("subject", subject)));
    let reply = test.token_with(&test.form(agent, &more), Some(&test.token_proof(&agent.key))).await.ok();
    reply["access_token"].as_str().unwrap().to_owned()
}

async fn explain(test: &TestAuthority, target: &str) -> Value {
    test.post("/v1/revocations/explain", json!({ "target": target })).await.ok()
}

fn counts(told: &Value) -> (u64, u64, u64) {
    let count = |name: &str| told[name].as_u64().unwrap();
    (count("writs"), count("agents"), count("users"))
}

/// Two writs of `planner` for alice, one of `planner` for itself, one of `mailer` for bob. Answers the last one's grant.
async fn some_writs(test: &TestAuthority) -> (TestAgent, TestAgent, String) {
    let (planner, mailer) = (test.agent("planner").await, test.agent("mailer").await);
    let mut grant = Value::Null;
    for (agent, subject, capability) in [
        ("planner", Some("alice"), "notes:read:team"),
        ("planner", None, "notes:read:team"),
        ("mailer", Some("bob"), "mail:send:x"),
    ] {
        let body = json!({ "agent": agent, "subject": subject, "capabilities": [capability] });
        grant = test.post("/v1/grants", body).await.ok();
    }
    for subject in [Some("alice"), Some("alice"), None] {
        ask_for(test, &planner, "notes:read:team", subject).await;
    }
    ask_for(test, &mailer, "mail:send:x", Some("bob")).await;
    (planner, mailer, grant["id"].as_str().unwrap().to_owned())
}

async fn an_explanation_counts_the_live_writs_and_says_whose_they_are(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    let (planner, _, grant) = some_writs(&test).await;
    let before = test.store.audit_head(&Source::Authority).await.unwrap();
    let holder = planner.key.public();
    for (target, expected) in [
        ("everything".to_owned(), (4, 2, 2)),
        ("tenant:default".into(), (4, 2, 2)),
        ("agent:default/planner".into(), (3, 1, 1)),
        ("acting:default/planner/alice".into(), (2, 1, 1)),
        ("subject:default/alice".into(), (2, 1, 1)),
        (format!("holder:{holder}"), (3, 1, 1)),
        (format!("grant:{grant}"), (1, 1, 1)),
        ("service:default/notes".into(), (3, 1, 1)),
        ("credential:default/notes-key".into(), (3, 1, 1)),
    ] {
        let told = explain(&test, &target).await;
        assert_eq!((counts(&told), &told["known"]), (expected, &json!(true)), "{target}");
        assert_eq!(told["target"], target);
    }
    for target in [
        "tenant:acme".to_owned(),
        "agent:default/nobody".into(),
        "acting:default/planner/bob".into(),
        "subject:default/carol".into(),
        "session:default/s".into(),
        format!("holder:{}", KeyPair::from_seed(&random()).public()),
        format!("grant:{}", "0".repeat(32)),
        format!("block:{}", "0".repeat(32)),
        "service:default/nothing".into(),
        "credential:default/nothing".into(),
    ] {
        let told = explain(&test, &target).await;
        assert_eq!((counts(&told), &told["known"]), ((0, 0, 0), &json!(false)), "{target}");
    }
    let told = explain(&test, "everything").await;
    let share = |name: &str, writs: u64| json!({ "tenant": "default", "name": name, "writs": writs });
    assert_eq!(told["top_agents"], json!([share("planner", 3), share("mailer", 1)]));
    assert_eq!(told["top_users"], json!([share("alice", 2), share("bob", 1)]));
    assert_eq!(told["services"], json!([share("mail", 1), share("notes", 3)]));
    assert!(told["also"].to_string().contains("until another operator lifts"), "{told}");
    assert!(explain(&test, "subject:default/alice").await["also"].to_string().contains("suspended"));

    let nothing = json!({ "target": "everything", "token": "x" });
    test.post("/v1/revocations/explain", nothing).await.refused(400, "malformed");
    assert_eq!(test.store.revocation_head().await.unwrap(), 0);
    assert_eq!(test.store.audit_head(&Source::Authority).await.unwrap(), before, "something changed");
    assert_eq!(test.get("/v1/stop").await.ok()["stopped"], false);
    assert_eq!(test.get("/v1/users/suspended").await.ok(), json!([]));
}

async fn what_is_dead_or_over_is_not_counted(database: &Database) {
    let test = start(database).await;
    let (planner, _, grant) = some_writs(&test).await;
    let writs = async || counts(&explain(&test, "everything").await).0;
    let revoke = async |target: String| test.post("/v1/revocations", json!({ "target": target })).await.ok();
    // Each kind of entry takes its own out of the count, and what is issued afterwards is in it again.
    let one = ask_for(&test, &planner, "notes:read:team", None).await;
    assert_eq!(writs().await, 5);
    test.post("/v1/revocations", json!({ "token": one })).await.ok();
    assert_eq!(writs().await, 4);
    revoke(format!("grant:{grant}")).await;
    assert_eq!(writs().await, 3);
    revoke("acting:default/planner/alice".into()).await;
    assert_eq!(writs().await, 1);
    ask_for(&test, &planner, "notes:read:team", Some("alice")).await;
    assert_eq!(writs().await, 2);
    revoke("subject:default/alice".into()).await;
    assert_eq!(writs().await, 1);
    revoke("agent:default/planner".into()).await;
    assert_eq!(writs().await, 0);
    ask_for(&test, &planner, "notes:read:team", None).await;
    revoke("tenant:default".into()).await;
    assert_eq!(writs().await, 0);
    ask_for(&test, &planner, "notes:read:team", None).await;
    assert_eq!(writs().await, 1);
    revoke(format!("holder:{}", planner.key.public())).await;
    assert_eq!(writs().await, 0);
    let late = test.agent("late").await;
    test.post("/v1/grants", json!({ "agent": "late", "capabilities": ["notes:read:team"] })).await.ok();
    ask_for(&test, &late, "notes:read:team", None).await;
    assert_eq!(writs().await, 1);
    test.clock.advance(std::time::Duration::from_secs(901));
    assert_eq!(writs().await, 0, "over");
}

async fn a_hop_that_nobody_has_seen_is_explained_by_its_token(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let token = test.writ(&agent, "notes:read:team").await;
    let at_bob = test.delegated(&token, &agent.key, &KeyPair::from_seed(&random()), [1; 16]);
    let explain = async |body: Value| test.post("/v1/revocations/explain", body).await.ok();
    let told = explain(json!({ "token": at_bob })).await;
    assert_eq!((&told["known"], &told["position"], counts(&told)), (&json!(true), &json!(1), (0, 0, 0)));
    assert!(told["but"].to_string().contains("above it live"), "{told}");
    let told = explain(json!({ "token": token })).await;
    assert_eq!((&told["known"], &told["position"], counts(&told)), (&json!(true), &json!(0), (1, 1, 0)));
    assert_eq!(told["but"], json!([]));
    test.post("/v1/revocations/explain", json!({ "token": "x" })).await.refused(403, "invalid_token");
}

async fn writs_of_an_older_version_are_not_passed_over_in_silence(database: &Database) {
    let test = start(database).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    test.writ(&agent, "notes:read:team").await;
    assert_eq!(explain(&test, "tenant:default").await["unknown"], 0);
    // As such a version left it.
    database.sql("UPDATE issued_writ SET holder = NULL, session = NULL, services = NULL").await;
    let told = explain(&test, "service:default/notes").await;
    assert_eq!((counts(&told), &told["unknown"]), ((0, 0, 0), &json!(1)));
    assert!(told["but"].to_string().contains("older version"), "{told}");
    let told = explain(&test, "agent:default/planner").await;
    assert_eq!((counts(&told), &told["unknown"]), ((1, 1, 0), &json!(1)));
}
