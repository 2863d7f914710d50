//! Suspended users, the stop of everything, operators who leave; and that no writ slips through while somebody is ended.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, Method, header};
use serde_json::{Value, json};
use writ::authority::clients::{AssertionKind, ClientCredentials};
use writ::authority::issue::{IssueError, Issued, TokenRequest};
use writ::revocation::{RevocationSet, Statement};
use writ::token::{Limits, RootKeys, verify};

use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, TestAgent, TestAuthority, WITHIN, start};

for_every_backend!(
    a_revoked_user_gets_no_writ_until_reactivated_and_old_ones_stay_dead,
    a_user_whom_nobody_has_seen_can_be_revoked,
    everything_stays_stopped_until_another_operator_lifts_it,
    an_operator_who_left_can_do_nothing_and_the_last_one_stays,
    revoking_twice_or_what_is_over_is_no_error_for_any_kind_and_nothing_takes_it_back,
    however_issuing_and_ending_interleave_no_live_writ_is_left,
);

const ALICE: &str = "alice@example.com";

async fn granted_for(test: &TestAuthority, agent: &str, subject: &str) -> (TestAgent, String) {
    let agent = test.agent(agent).await;
    let grant = json!({ "agent": agent.client_id, "subject": subject, "capabilities": ["notes:read:team"] });
    let grant = test.post("/v1/grants", grant).await.ok();
    (agent, grant["id"].as_str().unwrap().to_owned())
}

async fn ask_for(test: &TestAuthority, agent: &TestAgent, subject: &str) -> Reply {
    let form = test.form(agent, &[("scope", "notes:read:team"), ("subject", subject)]);
    test.token_with(&form, Some(&test.token_proof(&agent.key))).await
}

/// Another operator's call.
async fn as_operator(test: &TestAuthority, secret: &str, method: Method, path: &str) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap());
    test.raw(method, path, headers, "").await
}

async fn add_operator(test: &TestAuthority, name: &str) -> String {
    test.post("/v1/operators", json!({ "name": name })).await.ok()["secret"].as_str().unwrap().to_owned()
}

#[track_caller]
fn refused(reply: Reply, status: u16, error: &str) -> String {
    assert_eq!((reply.status, reply.json["error"].as_str()), (status, Some(error)), "{}", reply.text);
    reply.json["error_description"].as_str().unwrap().to_owned()
}

/// Whether the log as it stands in the store kills a token.
async fn is_dead(test: &TestAuthority, token: &str) -> bool {
    let keys = test.get("/v1/keys").await.ok();
    let keys = keys["root_keys"].as_array().unwrap().iter();
    let trusted = keys.map(|key| json!({ "id": key["id"], "key": key["key"], "until": Value::Null }));
    let keys: RootKeys = serde_json::from_value(json!({ "keys": trusted.collect::<Vec<_>>() })).unwrap();
    let limits = Limits::default();
    let chain = verify(&writ::token::RawToken::parse(token, &limits).unwrap(), &keys, &limits).unwrap();
    let log = test.store.live_revocations(0, u64::MAX, test.clock_now(), 1000).await.unwrap();
    RevocationSet::of(&Statement::of(0, u64::MAX, log)).revokes(&chain).is_some()
}

async fn a_revoked_user_gets_no_writ_until_reactivated_and_old_ones_stay_dead(database: &Database) {
    let test = start(database).await;
    let (agent, _) = granted_for(&test, "planner", ALICE).await;
    let (stranger, _) = granted_for(&test, "stranger", "bob").await;
    let old = ask_for(&test, &agent, ALICE).await.ok()["access_token"].as_str().unwrap().to_owned();
    let body = json!({ "target": format!("subject:default/{ALICE}"), "idempotency_key": "once" });
    let receipt = test.post("/v1/revocations", body.clone()).await.ok();
    assert!(is_dead(&test, &old).await);
    let told = refused(ask_for(&test, &agent, ALICE).await, 400, "invalid_grant");
    assert!(told.contains("writ user reactivate"), "{told}");
    // Who has no grant for the user does not learn it; other users are not concerned.
    refused(ask_for(&test, &stranger, ALICE).await, 400, "invalid_scope");
    ask_for(&test, &stranger, "bob").await.ok();
    let suspended = test.get("/v1/users/suspended").await.ok();
    assert_eq!((&suspended[0]["subject"], &suspended[0]["seq"]), (&json!(ALICE), &receipt["seq"]));
    assert_eq!(test.get("/v1/users/suspended?tenant=acme").await.ok(), json!([]));

    let reactivate = async || test.post("/v1/users/reactivate", json!({ "subject": ALICE })).await;
    assert_eq!(reactivate().await.status, 204);
    reactivate().await.refused(404, "not_found");
    let new = ask_for(&test, &agent, ALICE).await.ok()["access_token"].as_str().unwrap().to_owned();
    assert!(is_dead(&test, &old).await && !is_dead(&test, &new).await);
    // The first request again, its answer having been lost: it neither kills nor suspends what came after.
    assert_eq!(test.post("/v1/revocations", body).await.ok()["seq"], receipt["seq"]);
    assert!(!is_dead(&test, &new).await);
    ask_for(&test, &agent, ALICE).await.ok();
}

async fn a_user_whom_nobody_has_seen_can_be_revoked(database: &Database) {
    let test = start(database).await;
    test.post("/v1/revocations", json!({ "target": "subject:default/carol" })).await.ok();
    let (agent, _) = granted_for(&test, "planner", "carol").await;
    refused(ask_for(&test, &agent, "carol").await, 400, "invalid_grant");
}

async fn everything_stays_stopped_until_another_operator_lifts_it(database: &Database) {
    let test = start(database).await;
    test.notes("secret-of-notes").await;
    let edge = test.edge("edge-1").await;
    let _following = edge.follow();
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let old = test.writ(&agent, "notes:read:team").await;
    let second = add_operator(&test, "second").await;
    assert_eq!(test.get("/v1/stop").await.ok(), json!({ "stopped": false, "may_lift": [] }));
    test.post("/v1/stop/lift", json!(null)).await.refused(404, "not_found");

    let receipt = test.post("/v1/revocations", json!({ "target": "everything", "confirm": true })).await.ok();
    let status = test.get("/v1/stop").await.ok();
    assert_eq!((&status["stopped"], &status["seq"], &status["by"]), (&json!(true), &receipt["seq"], &json!("root")));
    assert_eq!(status["may_lift"], json!(["second"]));
    refused(test.token(&agent, "notes:read:team").await, 503, "temporarily_unavailable");
    // Another process over the same store issues nothing either.
    let beside = test.beside(crate::support::authority::keyring(&test.kek, &[])).await;
    refused(beside.token(&agent, "notes:read:team").await, 503, "temporarily_unavailable");
    let request = writ::wire::LendRequest {
        token: old.as_str().into(),
        service: "notes".parse().unwrap(),
        request: writ::id::RequestId::from_bytes([1; 16]),
    };
    let lent = edge.channel.call::<_, writ::wire::LendReply>("/v1/edge/lend", &request, WITHIN).await;
    assert!(lent.is_err(), "{lent:?}");

    test.post("/v1/stop/lift", json!(null)).await.refused(403, "second_operator");
    // Nor by another name of the same person, made for the purpose.
    test.clock.advance(Duration::from_millis(1));
    let puppet = add_operator(&test, "puppet").await;
    as_operator(&test, &puppet, Method::POST, "/v1/stop/lift").await.refused(403, "second_operator");
    assert_eq!(test.get("/v1/stop").await.ok()["may_lift"], json!(["second"]));
    assert_eq!(as_operator(&test, &second, Method::POST, "/v1/stop/lift").await.status, 204);
    assert_eq!(test.get("/v1/stop").await.ok()["stopped"], false);
    assert!(is_dead(&test, &old).await, "lifting the stop brings nothing back");
    assert!(!is_dead(&test, &test.writ(&agent, "notes:read:team").await).await);
    let audit = test.get("/v1/audit?limit=1000").await.ok().to_string();
    assert!(audit.contains("stop.lift") && audit.contains("stopped_by"), "{audit}");
}

async fn an_operator_who_left_can_do_nothing_and_the_last_one_stays(database: &Database) {
    let test = start(database).await;
    let second = add_operator(&test, "second").await;
    let names = async || {
        let all = test.get("/v1/operators").await.ok();
        all.as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["root", "second"]);
    assert!(!test.get("/v1/operators").await.text.contains("secret"));
    as_operator(&test, &second, Method::GET, "/v1/operators").await.ok();
    assert_eq!(test.delete("/v1/operators/second").await.status, 204);
    as_operator(&test, &second, Method::GET, "/v1/operators").await.refused(401, "unauthenticated");
    test.delete("/v1/operators/second").await.refused(404, "not_found");
    test.delete("/v1/operators/root").await.refused(409, "last_operator");
    assert_eq!(names().await, ["root"]);
}

async fn revoking_twice_or_what_is_over_is_no_error_for_any_kind_and_nothing_takes_it_back(database: &Database) {
    let test = start(database).await;
    let second = add_operator(&test, "second").await;
    let (agent, grant) = granted_for(&test, "planner", ALICE).await;
    let token = ask_for(&test, &agent, ALICE).await.ok()["access_token"].as_str().unwrap().to_owned();
    let targets = [
        format!("block:{}", "0".repeat(32)),
        format!("holder:{}", agent.key.public()),
        format!("subject:default/{ALICE}"),
        "session:default/s".into(),
        "agent:default/planner".into(),
        format!("acting:default/planner/{ALICE}"),
        format!("grant:{grant}"),
        "service:default/notes".into(),
        "credential:default/notes-key".into(),
        "tenant:default".into(),
        "everything".into(),
    ];
    // Twice at once, and once more when all of it has long expired.
    for wait_s in [0, 0, 200_000] {
        test.clock.advance(Duration::from_secs(wait_s));
        for target in &targets {
            let receipt = test.post("/v1/revocations", json!({ "target": target, "confirm": true })).await.ok();
            assert_eq!(receipt["target"], *target);
        }
        test.post("/v1/revocations", json!({ "token": token })).await.ok();
    }
    let head = test.get("/v1/revocations").await.ok()["head"].as_u64().unwrap();
    // What could be mistaken for a way back.
    assert_eq!(test.post("/v1/users/reactivate", json!({ "subject": ALICE })).await.status, 204);
    assert_eq!(as_operator(&test, &second, Method::POST, "/v1/stop/lift").await.status, 204);
    for method in [Method::DELETE, Method::PUT, Method::PATCH] {
        for path in ["/v1/revocations", "/v1/revocations/1"] {
            test.call(method.clone(), path, Some(json!({}))).await.refused(405, "no_method");
        }
    }
    assert_eq!(test.get("/v1/revocations").await.ok()["head"], head);
    assert!(is_dead(&test, &token).await);
    let listed = test.get("/v1/revocations?limit=1000").await.ok()["entries"].to_string();
    for target in targets {
        assert!(listed.contains(&target), "{target}");
    }
}

/// What ends the right to a writ, and with which request.
#[derive(Clone, Copy, Debug)]
enum Ending {
    User,
    Agent,
    Grant,
    Everything,
}

type Issuing<'a> = Pin<Box<dyn Future<Output = Result<Issued, IssueError>> + Send + 'a>>;

/// Runs `issuing` up to where it waits next. Answers if it is done.
async fn step(issuing: &mut Issuing<'_>, first: bool) -> Option<Result<Issued, IssueError>> {
    let mut woken = first;
    let stepping = std::future::poll_fn(|cx| {
        // Polled anew only when what it waits for has come.
        if !std::mem::replace(&mut woken, true) {
            return Poll::Pending;
        }
        match issuing.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        }
    });
    tokio::time::timeout(WITHIN, stepping).await.unwrap()
}

/// Issuing is halted after its 1st, 2nd, 3rd … step, the right to it is ended with a receipt, and issuing goes on.
/// Failure is a writ that the log does not kill, and a writ that is issued after the receipt.
async fn however_issuing_and_ending_interleave_no_live_writ_is_left(database: &Database) {
    let test = start(database).await;
    let second = add_operator(&test, "second").await;
    for ending in [Ending::User, Ending::Agent, Ending::Grant, Ending::Everything] {
        let (mut steps, mut issued_before, mut refused) = (0, 0, 0);
        loop {
            let (name, user) = (format!("{ending:?}-{steps}").to_lowercase(), format!("user-{ending:?}-{steps}"));
            let (agent, grant) = granted_for(&test, &name, &user).await;
            let ask = || {
                test.authority.issue(TokenRequest {
                    client: ClientCredentials {
                        assertion: test.assertion(&agent, &json!({})),
                        kind: AssertionKind::Jwt,
                        client_id: None,
                    },
                    capabilities: vec!["notes:read:team".parse().unwrap()],
                    ttl: None,
                    audience: None,
                    subject: Some(user.parse().unwrap()),
                    proof: Some(test.token_proof(&agent.key)),
                })
            };
            let mut issuing: Issuing<'_> = Box::pin(ask());
            let mut done = None;
            for n in 0..steps {
                done = step(&mut issuing, n == 0).await;
                if done.is_some() {
                    break;
                }
            }
            let finished = done.is_some();
            let receipt = match ending {
                Ending::User => {
                    test.post("/v1/revocations", json!({ "target": format!("subject:default/{user}") })).await
                }
                Ending::Agent => test.post(&format!("/v1/agents/{name}/disable"), json!(null)).await,
                Ending::Grant => test.delete(&format!("/v1/grants/{grant}")).await,
                Ending::Everything => {
                    test.post("/v1/revocations", json!({ "target": "everything", "confirm": true })).await
                }
            };
            receipt.ok();
            let issued = match done {
                Some(done) => done,
                None => issuing.await,
            };
            match issued {
                Ok(issued) => {
                    assert!(is_dead(&test, issued.token.text()).await, "{ending:?} after {steps} steps");
                    issued_before += 1;
                }
                Err(_) => refused += 1,
            }
            assert!(ask().await.is_err(), "{ending:?}: issued after the receipt");
            if matches!(ending, Ending::Everything) {
                assert_eq!(as_operator(&test, &second, Method::POST, "/v1/stop/lift").await.status, 204);
            }
            if finished {
                break;
            }
            steps += 1;
        }
        // Both sides of the race were met, or the test says nothing.
        assert!(issued_before > 0 && refused > 0, "{ending:?}: {issued_before} issued, {refused} refused");
    }
}
