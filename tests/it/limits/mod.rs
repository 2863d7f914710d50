//! Limits, with a real authority and real edges on both stores: what edges let through together.
//!
//! A failure is a call over the limit that reaches the service. A call that is refused early, because another edge holds
//! what is left, is none; what it holds unspent comes back when it is idle.

mod counts;
mod processes;
mod set;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use writ::catalog::Service;
use writ::clock::{Clock as _, SystemClock};
use writ::config::edge::EdgeConfig;
use writ::dial::TrustedRoots;
use writ::edge::join::{Address, Joined, Rejoin};
use writ::edge::{Bound, RunningEdge};
use writ::token::proof::{self, ProvenRequest};
use writ::token::{Limits as TokenLimits, RawToken};

use crate::edge::raw::{Answer, Client};
use crate::edge::upstream::Recorder;
use crate::edge::{PATIENCE, eventually};
use crate::store::Database;
use crate::support::authority::{TestAgent, TestAuthority, random, start};

/// The service `bank`: notes to read, and payments of an amount.
fn bank(address: std::net::SocketAddr, more: &str) -> Value {
    let text = format!(
        r#"
        name = "bank"
        upstream = "http://{address}"
        allow_private = true
        {more}
        [[route]]
        methods = ["GET"]
        path = "/notes"
        action = "read"
        resource = "team"
        [[route]]
        methods = ["POST"]
        path = "/pay"
        action = "pay"
        resource = "team"
        [[route.argument]]
        name = "amount"
        from = "json"
        type = "integer"
        "#
    );
    serde_json::to_value(Service::from_toml(&text).unwrap()).unwrap()
}

const ALL: &str = "@id(\"all\") permit(principal, action, resource);";

/// A policy set with these limits.
fn document(policy: &str, limits: &Value) -> Value {
    json!({ "policy": policy, "limit": limits })
}

/// An authority, a service, edges, and an agent with a writ for all of the service.
pub(crate) struct Stage {
    pub(crate) test: TestAuthority,
    pub(crate) upstream: Recorder,
    pub(crate) edges: Vec<Edge>,
    agent: TestAgent,
    writ: RawToken,
}

pub(crate) struct Edge {
    pub(crate) running: RunningEdge,
    /// Deletes the files with the test.
    _dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn start(database: &Database, edges: usize, limits: Value) -> Self {
        let test = start(database).await;
        let upstream = Recorder::start().await;
        test.put("/v1/services/bank", bank(upstream.address(), "")).await.ok();
        let (agent, _) = test.granted("planner", "bank:/:/").await;
        let token = test.writ(&agent, "bank:/:/").await;
        let writ = RawToken::parse(&token, &TokenLimits::default()).unwrap();
        let mut stage = Self { test, upstream, edges: Vec::new(), agent, writ };
        for n in 0..edges {
            let edge = stage.edge(&format!("edge-{n}")).await;
            stage.edges.push(edge);
        }
        stage.limits(limits).await;
        stage
    }

    pub(crate) async fn edge(&self, name: &str) -> Edge {
        let dir = tempfile::tempdir().unwrap();
        let config = EdgeConfig::loopback("127.0.0.1:0".parse().unwrap(), dir.path().to_owned());
        let bound = Bound::bind(config).await.unwrap();
        let address = Address { origin: bound.origin().as_str().into(), nonce: false };
        let (ticket, clock, roots) = (self.test.ticket(name).await, self.test.clock.clone(), TrustedRoots::web());
        let joined = Joined::join(dir.path(), &ticket, address, &roots, clock.clone(), Rejoin::Refuse).await.unwrap();
        let running = bound.start(&joined, clock).await.unwrap();
        assert!(running.ready(PATIENCE).await);
        Edge { running, _dir: dir }
    }

    /// Replaces the tenant's limits by a set in which the writ decides; every edge knows them then.
    pub(crate) async fn limits(&self, limits: Value) {
        self.set(ALL, limits).await;
    }

    /// Replaces the tenant's policies and limits; every edge knows them then.
    pub(crate) async fn set(&self, policy: &str, limits: Value) {
        // Every edge is there to acknowledge it: no time has to pass.
        let put = self.test.put("/v1/policies", document(policy, &limits)).await.ok();
        for edge in &self.edges {
            let knowledge = edge.running.knowledge();
            let version = put["receipt"]["settings"].as_u64();
            eventually("the edge knows the set", || knowledge.settings_version() == version).await;
        }
    }

    /// Lets `time` pass; every edge has a lease again then.
    pub(crate) async fn pass(&self, time: Duration) {
        self.test.clock.advance(time);
        for edge in &self.edges {
            assert!(edge.running.ready(PATIENCE).await);
        }
    }

    fn request(&self, edge: &Edge, method: &str, path: &str, body: &str) -> String {
        let origin = edge.running.origin();
        let url = format!("{}{path}", origin.as_str());
        let request = ProvenRequest { method, url: &url, query: None, body_sha256: None };
        let (digest, now) = (Some(self.writ.digest()), self.test.clock.now());
        let proof = proof::make(&self.agent.key, &request, digest, Default::default(), None, &random(), now);
        let host = origin.authority();
        let length = body.len();
        let body = match method {
            "GET" => "\r\n".to_owned(),
            _ => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: DPoP {}\r\nDPoP: {proof}\r\n{body}",
            self.writ.text()
        )
    }

    async fn send(&self, edge: usize, method: &str, path: &str, body: &str) -> Answer {
        let edge = &self.edges[edge];
        Client::connect(edge.running.address()).await.exchange(self.request(edge, method, path, body)).await
    }

    /// A call through this edge.
    pub(crate) async fn read(&self, edge: usize) -> Answer {
        self.send(edge, "GET", "/bank/notes", "").await
    }

    /// A payment through this edge; `amount` as it is written.
    pub(crate) async fn pay(&self, edge: usize, amount: &str) -> Answer {
        self.send(edge, "POST", "/bank/pay", &format!("{{\"amount\":{amount}}}")).await
    }

    /// A call, or a payment of this `amount`, that comes again for as long as the authority is too slow to say what is left:
    /// on a busy machine that is no news.
    pub(crate) async fn counted(&self, edge: usize, amount: Option<&str>) -> Answer {
        let begun = SystemClock.monotonic();
        loop {
            let answer = match amount {
                Some(amount) => self.pay(edge, amount).await,
                None => self.read(edge).await,
            };
            if answer.status != 503 || SystemClock.monotonic().since(begun) > PATIENCE {
                return answer;
            }
            assert!(answer.text().contains("limit_unknown"), "{}", answer.text());
        }
    }

    /// What of the limits is used, as an operator sees it.
    pub(crate) async fn used(&self) -> Vec<String> {
        let listed = self.test.get("/v1/limits/used").await.ok();
        let told = |row: &Value| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            format!("{} {} {}/{}", text("limit"), text("key"), text("used"), text("max"))
        };
        listed.as_array().unwrap().iter().map(told).collect()
    }

    /// How often the service was called.
    pub(crate) fn served(&self) -> usize {
        self.upstream.seen().len()
    }
}

/// Sends so many calls through each edge at once, and answers how many were let through; the others were over the limit.
pub(crate) async fn flood(stage: &Arc<Stage>, calls: usize, amount: Option<&'static str>) -> usize {
    let mut sending = tokio::task::JoinSet::new();
    for edge in (0..stage.edges.len()).cycle().take(calls * stage.edges.len()) {
        let stage = stage.clone();
        sending.spawn(async move {
            let answer = stage.counted(edge, amount).await;
            assert!([200, 429].contains(&answer.status), "{}", answer.text());
            usize::from(answer.status == 200)
        });
    }
    let mut through = 0;
    while let Some(sent) = sending.join_next().await {
        through += sent.unwrap();
    }
    through
}
