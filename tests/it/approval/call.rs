//! A whole edge, its authority, a recording service, and a policy that asks for a person.
//!
//! A failure is a call that reaches the service without an approval of exactly it, or twice by one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use writ::config::edge::EdgeConfig;
use writ::dial::TrustedRoots;
use writ::edge::join::{Address, Joined, Rejoin};
use writ::edge::{Bound, RunningEdge};
use writ::policy::Asked;
use writ::token::chain::ProofCovers;
use writ::token::proof::{self, ProvenRequest};
use writ::token::{Limits, RawToken};

use super::desk::operator;
use crate::cli::{Finished, writ};
use crate::edge::raw::{Answer, Client};
use crate::edge::upstream::Recorder;
use crate::edge::{PATIENCE, SECRET};
use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAgent, TestAuthority, random, start};

for_every_backend!(
    a_call_is_sent_once_after_a_person_approved_exactly_it,
    a_call_that_waits_goes_on_by_itself,
    a_call_that_was_denied_is_not_sent,
    a_changed_call_is_not_sent,
    a_policy_that_changed_after_the_approval_decides_anew,
    a_call_over_a_limit_keeps_its_approval_and_a_refused_one_takes_nothing_of_the_limit,
    a_policy_sees_what_was_used_before_an_approved_call_reserved_its_own,
    a_call_beyond_what_a_person_may_approve_is_forbidden,
    of_two_edges_that_are_shown_one_approval_one_sends,
    a_revocation_after_the_approval_ends_the_call,
    a_call_that_is_too_large_to_be_shown_is_refused,
    a_person_decides_at_the_command_line,
);

/// Up to 500 without, up to 5,000 with a person's approval, never above.
const POLICY: &str = r#"
    @id("small") permit(principal, action, resource) when { context.arguments has amount && context.arguments.amount <= 500 };
    @id("large") @approval("approver") permit(principal, action, resource)
        when { context.arguments has amount && context.arguments.amount <= 5000 };
    @id("kept") @approval("approver") permit(principal, action == Action::"pay:keep", resource);
"#;

struct Stage {
    test: TestAuthority,
    upstream: Recorder,
    edge: RunningEdge,
    agent: TestAgent,
    writ: RawToken,
    approver: HeaderMap,
    dir: tempfile::TempDir,
}

async fn an_edge(test: &TestAuthority, name: &str, dir: &Path) -> RunningEdge {
    let config = EdgeConfig::loopback("127.0.0.1:0".parse().unwrap(), dir.join(name));
    let bound = Bound::bind(config).await.unwrap();
    let address = Address { origin: bound.origin().as_str().into(), nonce: false };
    let (roots, ticket) = (TrustedRoots::web(), test.ticket(name).await);
    std::fs::create_dir_all(dir.join(name)).unwrap();
    let joined =
        Joined::join(&dir.join(name), &ticket, address, &roots, test.clock.clone(), Rejoin::Refuse).await.unwrap();
    let edge = bound.start(&joined, test.clock.clone()).await.unwrap();
    assert!(edge.ready(PATIENCE).await);
    edge
}

async fn put_policy(test: &TestAuthority, policy: &str) {
    test.put("/v1/policies", json!({ "policy": policy })).await.ok();
}

async fn staged(database: &Database) -> Stage {
    let test = start(database).await;
    let upstream = Recorder::start().await;
    let credential = json!({ "kind": "header", "name": "x-api-key", "secret": SECRET });
    test.put("/v1/credentials/pay-key", credential).await.ok();
    let service = json!({
        "name": "pay", "upstream": format!("http://{}/v1", upstream.address()), "allow_private": true, "credential": "pay-key",
        "route": [{
            "methods": ["POST"], "path": "/pay", "action": "pay", "resource": "team",
            "argument": [{ "name": "amount", "from": "json", "type": "integer", "required": true }],
        }, { "methods": ["POST"], "path": "/keep", "action": "keep", "resource": "team" }],
    });
    test.put("/v1/services/pay", service).await.ok();
    put_policy(&test, POLICY).await;
    let dir = tempfile::tempdir().unwrap();
    let edge = an_edge(&test, "edge-1", dir.path()).await;
    let (agent, _) = test.granted("planner", "pay:/:team").await;
    let writ = RawToken::parse(&test.writ(&agent, "pay:/:team").await, &Limits::default()).unwrap();
    let approver = operator(&test, "otto", "approver").await;
    Stage { test, upstream, edge, agent, writ, approver, dir }
}

impl Stage {
    fn request(&self, edge: &RunningEdge, path: &str, more: &str, body: &str) -> String {
        let origin = edge.origin().as_str();
        let url = format!("{origin}{path}");
        let proven = ProvenRequest { method: "POST", url: &url, query: None, body_sha256: None };
        let (digest, now) = (Some(self.writ.digest()), self.test.clock_now());
        let proof = proof::make(&self.agent.key, &proven, digest, ProofCovers::default(), None, &random(), now);
        let (host, token, length) = (origin.split_once("//").unwrap().1, self.writ.text(), body.len());
        format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: DPoP {token}\r\nDPoP: {proof}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n{body}"
        )
    }

    async fn call_at(&self, edge: &RunningEdge, more: &str, body: &str) -> Answer {
        Client::connect(edge.address()).await.exchange(self.request(edge, "/pay/pay", more, body)).await
    }

    async fn call(&self, more: &str, amount: u32) -> Answer {
        // As it came, with white space: what is sent is written anew.
        self.call_at(&self.edge, more, &format!(r#"{{ "amount": {amount} }}"#)).await
    }

    async fn with(&self, handle: &str, amount: u32) -> Answer {
        self.call(&format!("Writ-Approval: {handle}\r\nTraceparent: 00-{}-01\r\n", hex::encode(random::<16>())), amount)
            .await
    }

    /// Asks, and answers the handle.
    async fn ask(&self, amount: u32) -> String {
        let problem = self.denied(&self.call("", amount).await, 403, "approval_required");
        assert_eq!((&problem["state"], &problem["approvers"]), (&json!("pending"), &json!(["approver"])));
        let told = problem["detail"].as_str().unwrap();
        let handle = problem["approval"].as_str().unwrap().to_owned();
        for part in
            [&*format!("Writ-Approval: {handle}"), "`approver`", "Prefer: wait=", problem["expires"].as_str().unwrap()]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
        handle
    }

    fn denied(&self, answer: &Answer, status: u16, reason: &str) -> Value {
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()));
        assert_eq!((answer.status, problem["reason"].as_str()), (status, Some(reason)), "{}", answer.text());
        assert!(!answer.text().contains(SECRET) && !answer.text().contains(self.writ.text()));
        problem
    }

    /// Lets `time` pass; the edge has a lease again then.
    async fn pass(&self, time: Duration) {
        self.test.clock.advance(time);
        assert!(self.edge.ready(PATIENCE).await);
    }

    /// How often the service was called.
    fn sent(&self) -> usize {
        self.upstream.seen().len()
    }

    async fn rule(&self, handle: &str, word: &str) {
        let shown = self.test.get(&format!("/v1/approvals/{handle}")).await.ok();
        let body = match word {
            "approve" => json!({ "digest": shown["digest"] }),
            _ => json!({}),
        };
        let path = format!("/v1/approvals/{handle}/{word}");
        assert_eq!(self.test.raw(Method::POST, &path, self.approver.clone(), body.to_string()).await.status, 204);
    }
}

async fn a_call_is_sent_once_after_a_person_approved_exactly_it(database: &Database) {
    let stage = staged(database).await;
    assert_eq!(stage.call("", 500).await.status, 200, "no person is asked for so little");
    let handle = stage.ask(900).await;
    assert_eq!(stage.ask(900).await, handle);
    let waits = stage.denied(&stage.with(&handle, 900).await, 403, "approval_required");
    assert_eq!(waits["approval"], json!(handle));

    let shown = stage.test.get(&format!("/v1/approvals/{handle}")).await.ok();
    stage.rule(&handle, "approve").await;
    assert_eq!(stage.sent(), 1);
    let answer = stage.with(&handle, 900).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // What was sent is what was shown, with the credential and what HTTP itself needs.
    let asked: Asked = serde_json::from_value(shown["asked"].clone()).unwrap();
    let seen = stage.upstream.seen().pop().unwrap();
    assert_eq!((seen.line(), &*seen.body), ("POST /v1/pay HTTP/1.1", &*asked.parts().body));
    assert_eq!(&*asked.parts().url, format!("http://{}/v1/pay", stage.upstream.address()));
    let mut fields: Vec<(String, String)> = seen
        .head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    fields.retain(|(name, _)| !matches!(&**name, "host" | "content-length" | "x-api-key"));
    fields.sort();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let expected: Vec<_> = asked.parts().headers.iter().map(|h| (h.name.to_string(), text(&h.value))).collect();
    assert_eq!(fields, expected);
    assert_eq!(seen.header("x-api-key"), Some(SECRET));

    let spent = stage.denied(&stage.with(&handle, 900).await, 403, "approval_used");
    assert_eq!(spent["code"], "approval_mismatch");
    assert_eq!(stage.sent(), 2);
    assert_ne!(stage.ask(900).await, handle);
}

async fn a_call_that_waits_goes_on_by_itself(database: &Database) {
    let stage = Arc::new(staged(database).await);
    let waiting = tokio::spawn({
        let stage = stage.clone();
        async move { stage.call("Prefer: wait=60\r\n", 900).await }
    });
    let handle = loop {
        if let Some(handle) = stage.test.get("/v1/approvals").await.ok()[0]["handle"].as_str() {
            break handle.to_owned();
        }
    };
    assert_eq!(stage.sent(), 0);
    stage.rule(&handle, "approve").await;
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!(stage.sent(), 1);
    assert_eq!(stage.upstream.seen()[0].header("prefer"), None);
    stage.denied(&stage.with(&handle, 900).await, 403, "approval_used");
}

async fn a_call_that_was_denied_is_not_sent(database: &Database) {
    let stage = Arc::new(staged(database).await);
    let handle = stage.ask(900).await;
    let waiting = tokio::spawn({
        let stage = stage.clone();
        async move { stage.call("Prefer: wait=60\r\n", 900).await }
    });
    stage.rule(&handle, "deny").await;
    stage.denied(&waiting.await.unwrap(), 403, "approval_denied");
    for answer in [stage.call("", 900).await, stage.with(&handle, 900).await] {
        stage.denied(&answer, 403, "approval_denied");
    }
    assert_eq!(stage.sent(), 0);
}

async fn a_changed_call_is_not_sent(database: &Database) {
    let stage = staged(database).await;
    let handle = stage.ask(900).await;
    stage.rule(&handle, "approve").await;
    let header = format!("Writ-Approval: {handle}\r\n");
    for (more, body) in [
        ("", r#"{"amount":901}"#),
        ("", r#"{"amount":900,"to":"mallory"}"#),
        ("X-Purpose: payroll\r\n", r#"{"amount":900}"#),
    ] {
        let answer = stage.call_at(&stage.edge, &format!("{header}{more}"), body).await;
        stage.denied(&answer, 403, "approval_mismatch");
    }
    for malformed in ["Writ-Approval: x\r\n".to_owned(), format!("{header}{header}")] {
        stage.denied(&stage.call(&malformed, 900).await, 400, "approval_malformed");
    }
    assert_eq!(stage.sent(), 0);
    // An approval is for what needs one: what needs none goes without, and leaves it.
    assert_eq!(stage.with(&handle, 5).await.status, 200);
    assert_eq!(stage.upstream.seen()[0].header("writ-approval"), None);
    assert_eq!(stage.with(&handle, 900).await.status, 200);
}

async fn a_policy_that_changed_after_the_approval_decides_anew(database: &Database) {
    let stage = staged(database).await;
    let handle = stage.ask(900).await;
    stage.rule(&handle, "approve").await;
    let forbid = format!("{POLICY} @id(\"no\") forbid(principal, action, resource);");
    put_policy(&stage.test, &forbid).await;
    stage.denied(&stage.with(&handle, 900).await, 403, "policy_forbidden");
    // The same text under another version was not what was approved either.
    put_policy(&stage.test, POLICY).await;
    stage.denied(&stage.with(&handle, 900).await, 403, "approval_mismatch");
    assert_eq!(stage.sent(), 0);
}

async fn a_call_over_a_limit_keeps_its_approval_and_a_refused_one_takes_nothing_of_the_limit(database: &Database) {
    let stage = staged(database).await;
    let limit = json!({ "name": "payments", "per": "agent", "service": "pay", "window": "1m", "calls": 1 });
    stage.test.put("/v1/policies", json!({ "policy": POLICY, "limit": [limit] })).await.ok();
    assert_eq!(stage.call("", 500).await.status, 200);
    let handle = stage.ask(900).await;
    stage.rule(&handle, "approve").await;
    for _ in 0..2 {
        let full = stage.denied(&stage.with(&handle, 900).await, 429, "limit_exceeded");
        assert_eq!(full["limit"], "payments");
    }
    assert_eq!(stage.test.get(&format!("/v1/approvals/{handle}")).await.ok()["state"], "approved");
    stage.pass(Duration::from_secs(60)).await;
    assert_eq!(stage.with(&handle, 900).await.status, 200);

    stage.pass(Duration::from_secs(60)).await;
    let denied = stage.ask(901).await;
    stage.rule(&denied, "deny").await;
    stage.denied(&stage.with(&handle, 900).await, 403, "approval_used");
    stage.denied(&stage.with(&denied, 901).await, 403, "approval_denied");
    assert_eq!(stage.call("", 500).await.status, 200, "what the refused calls reserved is free again");
    stage.denied(&stage.call("", 500).await, 429, "limit_exceeded");
    assert_eq!(stage.sent(), 3);
}

async fn a_policy_sees_what_was_used_before_an_approved_call_reserved_its_own(database: &Database) {
    let stage = staged(database).await;
    let limit = json!({ "name": "payments", "per": "agent", "service": "pay", "window": "1d", "calls": 9 });
    let policy = format!(
        "{POLICY} @id(\"one\") forbid(principal, action, resource) when {{ context.used has payments && context.used.payments > 0 }};"
    );
    stage.test.put("/v1/policies", json!({ "policy": policy, "limit": [limit] })).await.ok();
    let handle = stage.ask(900).await;
    stage.rule(&handle, "approve").await;
    assert_eq!(stage.with(&handle, 900).await.status, 200);
    stage.denied(&stage.call("", 5).await, 403, "policy_forbidden");
}

async fn a_call_beyond_what_a_person_may_approve_is_forbidden(database: &Database) {
    let stage = staged(database).await;
    stage.denied(&stage.call("", 5001).await, 403, "policy_denied");
    assert_eq!(stage.test.get("/v1/approvals?all=true").await.ok(), json!([]));
    assert_eq!(stage.sent(), 0);
}

async fn of_two_edges_that_are_shown_one_approval_one_sends(database: &Database) {
    let stage = staged(database).await;
    let second = an_edge(&stage.test, "edge-2", stage.dir.path()).await;
    let handle = stage.ask(900).await;
    stage.rule(&handle, "approve").await;
    let header = format!("Writ-Approval: {handle}\r\n");
    let body = r#"{"amount":900}"#;
    let (one, two) = tokio::join!(stage.call_at(&stage.edge, &header, body), stage.call_at(&second, &header, body));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403], "{}{}", one.text(), two.text());
    assert_eq!(stage.sent(), 1);
}

async fn a_revocation_after_the_approval_ends_the_call(database: &Database) {
    let stage = Arc::new(staged(database).await);
    let handle = stage.ask(900).await;
    stage.rule(&handle, "approve").await;
    let waiting = tokio::spawn({
        let stage = stage.clone();
        async move { stage.call("Prefer: wait=60\r\n", 901).await }
    });
    while stage.test.get("/v1/approvals").await.ok() == json!([]) {}
    stage.test.post("/v1/revocations", json!({ "target": "agent:default/planner" })).await.ok();
    stage.denied(&stage.with(&handle, 900).await, 401, "invalid_token");
    // Who waits is not kept waiting.
    let answer = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    stage.denied(&answer, 401, "invalid_token");
    assert_eq!(stage.sent(), 0);
}

async fn a_call_that_is_too_large_to_be_shown_is_refused(database: &Database) {
    let stage = staged(database).await;
    for (bytes, status, reason) in [(1, 413, "approval_too_large"), (0, 403, "approval_required")] {
        let long = "x".repeat(Asked::BODY_BYTES_MAX + bytes);
        let request = stage.request(&stage.edge, "/pay/keep", "", &long);
        let answer = Client::connect(stage.edge.address()).await.exchange(request).await;
        stage.denied(&answer, status, reason);
    }
    assert_eq!(stage.sent(), 0);
    assert_eq!(stage.test.get("/v1/approvals?all=true").await.ok().as_array().unwrap().len(), 1);
}

async fn a_person_decides_at_the_command_line(database: &Database) {
    let stage = staged(database).await;
    let secret = stage.approver["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    std::fs::write(stage.dir.path().join("secret"), secret).unwrap();
    let approval = |args: &[&str]| -> Finished {
        let place = ["--url", &stage.test.issuer, "--operator-secret-file", "secret"];
        writ(stage.dir.path(), &[&["approval"], args, &place].concat())
    };
    let handle = stage.ask(900).await;
    let listed = approval(&["list"]).ok();
    assert!(listed.contains(&handle) && listed.contains("pay:pay:team") && listed.contains("approver"), "{listed}");
    let told = approval(&["show", &handle]).ok();
    for part in [
        "agent planner of tenant default, for itself",
        "amount = 900",
        "policy large (version 1) of: approver",
        &format!("POST http://{}/v1/pay", stage.upstream.address()),
        "content-type: application/json",
        r#"  | {"amount":900}"#,
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let digest = told.lines().last().unwrap().strip_prefix("digest   ").unwrap().to_owned();
    assert_eq!(approval(&["show", &handle, "--json"]).json()["digest"], digest);
    let unasked = approval(&["approve", &handle]).refused(2);
    assert!(unasked.contains("--digest"), "{unasked}");
    let other = approval(&["approve", &handle, "--digest", &"0".repeat(64)]).refused(1);
    assert!(other.contains("writ approval show"), "{other}");
    stage.denied(&stage.with(&handle, 900).await, 403, "approval_required");
    approval(&["approve", &handle, "--digest", &digest, "--note", "payroll"]).ok();
    assert_eq!(stage.with(&handle, 900).await.status, 200);

    let denied = stage.ask(901).await;
    approval(&["deny", &denied, "--note", "not again"]).ok();
    stage.denied(&stage.with(&denied, 901).await, 403, "approval_denied");
    assert!(approval(&["list", "--all"]).ok().contains("redeemed"));
}
