//! The edge's desk and the real authority: asked, decided, used once.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use writ::catalog::{Service, Target as Path};
use writ::edge::approval::{ApprovalDesk, Asking, Wish, canonical};
use writ::edge::denial::Denial;
use writ::id::{ApprovalId, RequestId};
use writ::policy::{Approved, Asked, Demand};
use writ::token::{Chain, Limits, Operation, RawToken, verify};

use crate::canaries::Search;
use crate::store::{Database, for_every_backend};
use crate::support::authority::{Reply, TestAgent, TestAuthority, TestEdge, random, start};

for_every_backend!(
    a_request_is_shown_as_it_will_be_sent_approved_and_used_once,
    a_denied_request_is_not_sent_and_not_put_before_people_again,
    what_waits_for_a_person_is_sealed_in_the_database,
    who_may_approve_is_what_was_sealed_whatever_the_tables_say,
    only_whom_the_policy_names_decides,
    an_operator_confirms_the_digest_of_what_is_asked,
    an_agent_approves_nothing,
    an_approval_counts_for_no_other_request,
    an_approval_counts_for_no_other_writ_of_the_same_agent,
    of_two_edges_that_use_an_approval_at_once_one_succeeds,
    an_approval_is_over_after_its_time,
    an_approval_ends_with_the_operator_who_gave_it,
    a_revoked_chain_asks_and_uses_nothing,
    a_call_waits_for_the_decision,
    a_call_does_not_wait_for_a_writ_that_was_ended,
    an_agent_that_floods_people_is_refused,
    a_writ_that_does_not_cover_the_request_asks_nothing,
);

struct Stage {
    test: TestAuthority,
    desk: ApprovalDesk,
    agent: TestAgent,
    writ: Shown,
    approver: HeaderMap,
}

struct Shown {
    raw: RawToken,
    chain: Chain,
}

async fn shown(edge: &TestEdge, writ: &str) -> Shown {
    let settings = edge.feed(None, None, 0).await.unwrap().settings.unwrap();
    let raw = RawToken::parse(writ, &Limits::default()).unwrap();
    let chain = verify(&raw, &settings.root_keys, &Limits::default()).unwrap();
    Shown { raw, chain }
}

pub(super) async fn operator(test: &TestAuthority, name: &str, role: &str) -> HeaderMap {
    let added = test.post("/v1/operators", json!({ "name": name, "role": role })).await.ok();
    bearer(added["secret"].as_str().unwrap())
}

fn bearer(secret: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {secret}")).unwrap());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

fn desk(test: &TestAuthority, edge: &TestEdge, name: &str) -> ApprovalDesk {
    ApprovalDesk::new(edge.channel.clone(), name.parse().unwrap(), test.clock.clone())
}

async fn staged(database: &Database) -> Stage {
    let test = start(database).await;
    let edge = test.edge("edge-1").await;
    let desk = desk(&test, &edge, "edge-1");
    let (agent, _) = test.granted("planner", "notes:write:team").await;
    let writ = shown(&edge, &test.writ(&agent, "notes:write:team").await).await;
    let approver = operator(&test, "otto", "approver").await;
    Stage { test, desk, agent, writ, approver }
}

fn service() -> Service {
    let text = r#"
        name = "notes"
        upstream = "https://notes.example/v1"
        [[route]]
        methods = ["POST"]
        path = "/notes/{team}"
        action = "write"
        resource = "{team}"
    "#;
    Service::from_toml(text).unwrap()
}

fn operation() -> Operation {
    Operation {
        service: "notes".parse().unwrap(),
        action: "write".parse().unwrap(),
        resource: "team".parse().unwrap(),
        method: "POST".into(),
        arguments: Vec::new(),
    }
}

fn asked_of(body: &str, approvers: &str) -> Asked {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("authorization", "DPoP token-of-the-agent"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("prefer", "wait=5, return=minimal"),
        ("x-purpose", "payroll"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let target = Path::parse("/notes/team?draft=1").unwrap();
    let demand = Demand { approvers: vec![approvers.into()], policies: vec!["large".into()] };
    let demanded = (vec![operation()], vec![demand], 3);
    canonical(&service(), &Method::POST, &target, headers, body.as_bytes(), demanded).unwrap().0
}

fn asked(body: &str) -> Asked {
    asked_of(body, "approver")
}

fn handled(handle: &str) -> Wish {
    Wish { handle: Some(handle.parse().unwrap()), wait: Duration::ZERO }
}

async fn obtained(desk: &ApprovalDesk, writ: &Shown, asked: &Asked, wish: Wish) -> Result<Approved, Denial> {
    let request = RequestId::from_bytes(random());
    let asking = Asking { token: writ.raw.shown(), chain: &writ.chain, request, asked, wish };
    desk.obtain(&asking, || Ok(()), async { Ok(()) }).await.map(|(approved, ())| approved)
}

impl Stage {
    async fn obtain(&self, asked: &Asked, wish: Wish) -> Result<Approved, Denial> {
        obtained(&self.desk, &self.writ, asked, wish).await
    }

    async fn refused(&self, asked: &Asked, wish: Wish) -> &'static str {
        self.obtain(asked, wish).await.unwrap_err().reason()
    }

    /// Asks, and answers the handle.
    async fn ask(&self, asked: &Asked) -> String {
        assert_eq!(self.refused(asked, Wish::default()).await, "approval_required");
        let digest = hex::encode(asked.digest());
        let listed = self.test.get("/v1/approvals").await.ok();
        for row in listed.as_array().unwrap() {
            let handle = row["handle"].as_str().unwrap();
            if self.test.get(&format!("/v1/approvals/{handle}")).await.ok()["digest"] == digest {
                return handle.to_owned();
            }
        }
        panic!("not asked: {listed}")
    }

    async fn rule(&self, by: &HeaderMap, handle: &str, word: &str, body: Value) -> Reply {
        let path = format!("/v1/approvals/{handle}/{word}");
        self.test.raw(Method::POST, &path, by.clone(), body.to_string()).await
    }

    async fn approve(&self, handle: &str, asked: &Asked) {
        let digest = json!({ "digest": hex::encode(asked.digest()), "note": "payroll is due" });
        assert_eq!(self.rule(&self.approver, handle, "approve", digest).await.status, 204);
    }

    async fn actions(&self) -> Vec<String> {
        let log = self.test.get("/v1/audit?limit=1000").await.ok();
        let actions = log.as_array().unwrap().iter().map(|line| &line["record"]["event"]["action"]);
        let of_approvals = actions.filter_map(|action| action.as_str()?.strip_prefix("approval."));
        of_approvals.map(str::to_owned).collect()
    }
}

async fn a_request_is_shown_as_it_will_be_sent_approved_and_used_once(database: &Database) {
    let stage = staged(database).await;
    let asked = asked(r#"{"amount":900}"#);
    let handle = stage.ask(&asked).await;
    assert_eq!(stage.ask(&asked).await, handle, "asked twice, it is one request");

    let shown = stage.test.get(&format!("/v1/approvals/{handle}")).await.ok();
    assert_eq!((&shown["state"], &shown["asked"]["method"]), (&json!("pending"), &json!("POST")));
    assert_eq!(shown["asked"]["url"], "https://notes.example/v1/notes/team?draft=1");
    let again: Asked = serde_json::from_value(shown["asked"].clone()).unwrap();
    assert_eq!(shown["digest"], hex::encode(again.digest()));
    let headers: Vec<(&str, &[u8])> = again.parts().headers.iter().map(|h| (&*h.name, &*h.value)).collect();
    let sent = [
        ("accept-encoding", &b"identity"[..]),
        ("content-type", b"application/json"),
        ("prefer", b"return=minimal"),
        ("x-purpose", b"payroll"),
    ];
    assert_eq!(headers, sent, "neither the writ nor what differs from call to call");
    assert_eq!(again.parts().body, br#"{"amount":900}"#);
    assert_eq!((&shown["asker"]["agent"], &shown["edge"]), (&json!("planner"), &json!("edge-1")));
    assert_eq!(shown["asker"]["holders"], json!([stage.agent.key.public()]));

    assert_eq!(stage.refused(&asked, handled(&handle)).await, "approval_required", "nobody has decided");
    stage.approve(&handle, &asked).await;
    // Not by itself: whoever asked without the handle is told that it is approved.
    assert_eq!(stage.refused(&asked, Wish::default()).await, "approval_required");
    let approved = stage.obtain(&asked, handled(&handle)).await.unwrap();
    assert_eq!((approved.satisfies(), approved.policy_version()), (&["approver".into()][..], 3));
    assert_eq!(approved.approval().approver.as_str(), "otto");
    assert_eq!(stage.refused(&asked, handled(&handle)).await, "approval_used");
    let over = stage.test.get(&format!("/v1/approvals/{handle}")).await.ok();
    assert_eq!((&over["asked"], &over["digest"]), (&Value::Null, &shown["digest"]), "what was sent is not kept");
    assert_eq!(over["summary"]["url"], "https://notes.example/v1/notes/team");
    assert_ne!(stage.ask(&asked).await, handle, "what was used is asked anew");

    assert_eq!(stage.actions().await, ["ask", "approve", "redeem", "ask"]);
    let log = stage.test.get("/v1/audit?limit=1000").await.text;
    assert!(log.contains(&hex::encode(asked.digest())) && log.contains("payroll is due"));
    assert!(!log.contains("amount") && !log.contains("draft"), "neither body nor query is in the log");
}

async fn what_waits_for_a_person_is_sealed_in_the_database(database: &Database) {
    let stage = staged(database).await;
    let canary = "canary-of-a-body-that-waits-4417";
    let asked = asked(&json!({ "note": canary }).to_string());
    let handle = stage.ask(&asked).await;
    let shown = stage.test.get(&format!("/v1/approvals/{handle}")).await.ok();
    assert_eq!(serde_json::from_value::<Asked>(shown["asked"].clone()).unwrap(), asked);
    stage.approve(&handle, &asked).await;
    let url = database.url.to_string();
    match url.strip_prefix("sqlite:") {
        Some(path) => {
            let folder = std::path::Path::new(path).parent().unwrap();
            assert!(!Search::new(["payroll is due"]).found_in(folder).is_empty(), "the note of who approved");
            assert_eq!(Search::new([canary, "draft=1"]).found_in(folder), [""; 0]);
        }
        None => {
            let (_, name) = url.rsplit_once('/').unwrap();
            let spelled = [canary.to_owned(), "draft=1".to_owned()];
            let encoded = URL_SAFE_NO_PAD.encode(&asked.parts().body);
            let holds = spelled.iter().chain([&encoded]).map(|text| format!("a::text LIKE '%{text}%'"));
            let holds = holds.collect::<Vec<_>>().join(" OR ");
            let query = format!("SELECT 1 FROM writ.approval a HAVING COUNT(*) = 1 AND NOT BOOL_OR({holds})");
            crate::support::postgres::server().await.until(name, &query).await;
        }
    }
}

async fn who_may_approve_is_what_was_sealed_whatever_the_tables_say(database: &Database) {
    let stage = staged(database).await;
    let asked = asked_of("{}", "admin");
    let handle = stage.ask(&asked).await;
    database.sql("UPDATE approval SET summary = REPLACE(summary, '\"admin\"', '\"approver\"')").await;
    let shown = stage.test.get(&format!("/v1/approvals/{handle}")).await.ok();
    assert_eq!(shown["summary"]["demands"][0]["approvers"], json!(["approver"]));
    let digest = json!({ "digest": hex::encode(asked.digest()) });
    stage.rule(&stage.approver, &handle, "approve", digest.clone()).await.refused(403, "not_asked");
    // Neither is a seal that was taken from another request.
    let other = asked_of("{}", "approver");
    let other = stage.ask(&other).await;
    database
        .sql(&format!("UPDATE approval SET asked = (SELECT asked FROM approval WHERE handle = '{other}') WHERE handle = '{handle}'"))
        .await;
    stage.rule(&stage.approver, &handle, "approve", digest).await.refused(500, "vault");
}

async fn a_denied_request_is_not_sent_and_not_put_before_people_again(database: &Database) {
    let stage = staged(database).await;
    let asked = asked("{}");
    let handle = stage.ask(&asked).await;
    assert_eq!(stage.rule(&stage.approver, &handle, "deny", json!({ "note": "no" })).await.status, 204);
    for wish in [Wish::default(), handled(&handle)] {
        assert_eq!(stage.refused(&asked, wish).await, "approval_denied");
    }
    let digest = json!({ "digest": hex::encode(asked.digest()) });
    stage.rule(&stage.approver, &handle, "approve", digest).await.refused(409, "decided");
    assert_eq!(stage.test.get("/v1/approvals").await.ok(), json!([]));
    let all = stage.test.get("/v1/approvals?all=true").await.ok();
    assert_eq!((&all[0]["state"], &all[0]["decided_by"]), (&json!("denied"), &json!("otto")));
    assert_eq!(stage.actions().await, ["ask", "deny"]);
}

async fn only_whom_the_policy_names_decides(database: &Database) {
    let stage = staged(database).await;
    let (admin, auditor) = (bearer(&stage.test.operator), operator(&stage.test, "ada", "auditor").await);
    for (who, by, status, code) in [
        ("approver", &auditor, 403, "role"),
        ("finance", &auditor, 403, "role"),
        ("finance", &stage.approver, 403, "not_asked"),
        ("finance", &admin, 403, "not_asked"),
        ("admin", &stage.approver, 403, "not_asked"),
    ] {
        let asked = asked_of("{}", who);
        let handle = stage.ask(&asked).await;
        let digest = json!({ "digest": hex::encode(asked.digest()) });
        let told = stage.rule(by, &handle, "approve", digest).await.refused(status, code);
        assert!(code != "not_asked" || told.contains(who), "{told}");
        stage.rule(by, &handle, "deny", json!({})).await.refused(status, code);
    }
    let asked = asked_of("{}", "admin");
    let handle = stage.ask(&asked).await;
    let digest = json!({ "digest": hex::encode(asked.digest()) });
    assert_eq!(stage.rule(&admin, &handle, "approve", digest).await.status, 204);
    stage.obtain(&asked, handled(&handle)).await.unwrap();
    stage.test.get(&format!("/v1/approvals/{handle}?tenant=other")).await.refused(404, "not_found");
}

async fn an_operator_confirms_the_digest_of_what_is_asked(database: &Database) {
    let stage = staged(database).await;
    let asked_for = asked(r#"{"amount":900}"#);
    let handle = stage.ask(&asked_for).await;
    let other = json!({ "digest": hex::encode(asked(r#"{"amount":9}"#).digest()) });
    stage.rule(&stage.approver, &handle, "approve", other).await.refused(409, "other_digest");
    for malformed in [json!({}), json!({ "digest": "" }), json!({ "digest": "AB".repeat(32) }), json!({ "digest": 1 })]
    {
        stage.rule(&stage.approver, &handle, "approve", malformed).await.refused(400, "malformed");
    }
    assert_eq!(stage.refused(&asked_for, handled(&handle)).await, "approval_required");
}

async fn an_agent_approves_nothing(database: &Database) {
    let stage = staged(database).await;
    let asked = asked("{}");
    let handle = stage.ask(&asked).await;
    let digest = json!({ "digest": hex::encode(asked.digest()) });
    let mut by = bearer(stage.writ.raw.text());
    stage.rule(&by, &handle, "approve", digest.clone()).await.refused(401, "unauthenticated");
    by.remove(header::AUTHORIZATION);
    stage.rule(&by, &handle, "approve", digest).await.refused(401, "unauthenticated");
}

async fn an_approval_counts_for_no_other_request(database: &Database) {
    let stage = staged(database).await;
    let asked_for = asked(r#"{"amount":900}"#);
    let handle = stage.ask(&asked_for).await;
    for state in ["pending", "approved"] {
        if state == "approved" {
            stage.approve(&handle, &asked_for).await;
        }
        assert_eq!(stage.refused(&asked(r#"{"amount":901}"#), handled(&handle)).await, "approval_mismatch", "{state}");
        // The same bytes under another policy were not approved either.
        assert_eq!(stage.refused(&asked_of(r#"{"amount":900}"#, "admin"), handled(&handle)).await, "approval_mismatch");
        let unknown = ApprovalId::from_bytes(random()).to_string();
        assert_eq!(stage.refused(&asked_for, handled(&unknown)).await, "approval_mismatch");
    }
    stage.obtain(&asked_for, handled(&handle)).await.unwrap();
}

async fn an_approval_counts_for_no_other_writ_of_the_same_agent(database: &Database) {
    let stage = staged(database).await;
    let asked = asked("{}");
    let handle = stage.ask(&asked).await;
    stage.approve(&handle, &asked).await;
    let edge = stage.test.edge("edge-2").await;
    let other = shown(&edge, &stage.test.writ(&stage.agent, "notes:write:team").await).await;
    let sub = writ::key::KeyPair::from_seed(&random());
    let hop = stage.test.delegated(stage.writ.raw.text(), &stage.agent.key, &sub, random());
    let hop = shown(&edge, &hop).await;
    for writ in [&other, &hop] {
        let denial = obtained(&stage.desk, writ, &asked, handled(&handle)).await.unwrap_err();
        assert_eq!(denial.reason(), "approval_mismatch");
    }
    stage.obtain(&asked, handled(&handle)).await.unwrap();
}

async fn of_two_edges_that_use_an_approval_at_once_one_succeeds(database: &Database) {
    let stage = staged(database).await;
    let edge = stage.test.edge("edge-2").await;
    let second = desk(&stage.test, &edge, "edge-2");
    for round in 0..5 {
        let asked = asked(&round.to_string());
        let handle = stage.ask(&asked).await;
        stage.approve(&handle, &asked).await;
        let (one, two) = tokio::join!(
            stage.obtain(&asked, handled(&handle)),
            obtained(&second, &stage.writ, &asked, handled(&handle))
        );
        let refused = [one, two].into_iter().filter_map(Result::err).map(|denial| denial.reason()).collect::<Vec<_>>();
        assert_eq!(refused, ["approval_used"], "round {round}");
    }
}

async fn an_approval_is_over_after_its_time(database: &Database) {
    let stage = staged(database).await;
    let (undecided, decided) = (asked("1"), asked("2"));
    let late = stage.ask(&undecided).await;
    let handle = stage.ask(&decided).await;
    stage.approve(&handle, &decided).await;
    // No longer than the writ, which is the same chain as long as it lives.
    let shown = stage.test.get(&format!("/v1/approvals/{handle}")).await.ok();
    assert_eq!(shown["expires"], stage.writ.chain.expires().millis());
    stage.test.clock.advance(Duration::from_secs(899));
    assert_eq!(stage.refused(&undecided, handled(&late)).await, "approval_required");
    stage.test.clock.advance(Duration::from_secs(2));
    // The writ is over with it.
    assert_eq!(stage.refused(&decided, handled(&handle)).await, "approval_refused");
    let digest = json!({ "digest": hex::encode(undecided.digest()) });
    stage.rule(&stage.approver, &late, "approve", digest).await.refused(409, "decided");
    let all = stage.test.get("/v1/approvals?all=true").await.ok();
    assert!(all.as_array().unwrap().iter().all(|row| row["state"] == "expired"), "{all}");
}

async fn an_approval_ends_with_the_operator_who_gave_it(database: &Database) {
    let stage = staged(database).await;
    let asked = asked("{}");
    let handle = stage.ask(&asked).await;
    stage.approve(&handle, &asked).await;
    assert_eq!(stage.test.delete("/v1/operators/otto").await.status, 204);
    assert_eq!(stage.refused(&asked, handled(&handle)).await, "approver_gone");
}

async fn a_revoked_chain_asks_and_uses_nothing(database: &Database) {
    let stage = staged(database).await;
    let asked = asked("{}");
    let handle = stage.ask(&asked).await;
    stage.approve(&handle, &asked).await;
    let revoking = stage.test.post("/v1/revocations", json!({ "target": "agent:default/planner" }));
    stage.test.let_time_pass(revoking).await.ok();
    for wish in [handled(&handle), Wish::default()] {
        assert_eq!(stage.refused(&asked, wish).await, "approval_refused");
    }
}

async fn a_call_waits_for_the_decision(database: &Database) {
    let stage = Arc::new(staged(database).await);
    let asked_for = asked("{}");
    let waiting = tokio::spawn({
        let (stage, asked) = (stage.clone(), asked_for.clone());
        async move { stage.obtain(&asked, Wish { handle: None, wait: Duration::from_secs(60) }).await }
    });
    let handle = loop {
        let listed = stage.test.get("/v1/approvals").await.ok();
        if let Some(handle) = listed[0]["handle"].as_str() {
            break handle.to_owned();
        }
    };
    stage.approve(&handle, &asked_for).await;
    assert_eq!(waiting.await.unwrap().unwrap().approval().handle.to_string(), handle);
    // Nobody decides: it is answered with its handle.
    let brief = Wish { handle: None, wait: Duration::from_millis(50) };
    assert_eq!(stage.refused(&asked("2"), brief).await, "approval_required");
}

async fn a_call_does_not_wait_for_a_writ_that_was_ended(database: &Database) {
    let stage = staged(database).await;
    let request = RequestId::from_bytes(random());
    let wish = Wish { handle: None, wait: Duration::from_secs(300) };
    let asked = asked("{}");
    let asking = Asking { token: stage.writ.raw.shown(), chain: &stage.writ.chain, request, asked: &asked, wish };
    let ended = || Err(writ::revocation::NotLive::NoLease.into());
    let denial = tokio::time::timeout(Duration::from_secs(20), stage.desk.obtain(&asking, ended, async { Ok(()) }))
        .await
        .unwrap();
    assert_eq!(denial.unwrap_err().reason(), "no_lease");
}

async fn an_agent_that_floods_people_is_refused(database: &Database) {
    let stage = staged(database).await;
    for n in 0..20 {
        assert_eq!(stage.refused(&asked(&n.to_string()), Wish::default()).await, "approval_required");
    }
    let denial = stage.obtain(&asked("20"), Wish::default()).await.unwrap_err();
    assert_eq!((denial.reason(), denial.code().status().as_u16()), ("too_many_approvals", 429));
    assert_eq!(stage.refused(&asked("19"), Wish::default()).await, "approval_required", "what waits is still there");
    assert_eq!(stage.test.get("/v1/approvals").await.ok().as_array().unwrap().len(), 20);
}

async fn a_writ_that_does_not_cover_the_request_asks_nothing(database: &Database) {
    let stage = staged(database).await;
    let (agent, _) = stage.test.granted("reader", "notes:read:team").await;
    let edge = stage.test.edge("edge-2").await;
    let writ = shown(&edge, &stage.test.writ(&agent, "notes:read:team").await).await;
    let denial = obtained(&stage.desk, &writ, &asked("{}"), Wish::default()).await.unwrap_err();
    assert_eq!(denial.reason(), "approval_refused");
    assert_eq!(stage.actions().await, Vec::<String>::new());
}
