//! A whole edge on real sockets: a raw client in front of it, a recording service behind it, an authority beside it.
//!
//! Every refusal is checked for the four things at the head of ATTACKS.md: the service received nothing, no credential was
//! injected, one audit record has the reason, and the answer repeats neither token nor secret.

#[expect(dead_code, reason = "the benchmarks use more of it")]
pub(crate) mod authority;
mod credentials;
mod framing;
mod limits;
mod mutual;
mod path;
mod possession;
pub(crate) mod raw;
pub(crate) mod streams;
mod tls;
pub(crate) mod upstream;

use std::time::Duration;

use writ::audit::{Decision, Event, Finish, Outcome, Verdict};
use writ::catalog::Service;
use writ::clock::{Clock as _, SystemClock, Timestamp};
use writ::config::edge::EdgeConfig;
use writ::dial::TrustedRoots;
use writ::edge::join::{Address, Joined, Rejoin};
use writ::edge::{Bound, RunningEdge};
use writ::id::BlockId;
use writ::key::KeyPair;
use writ::token::chain::{Authority, ProofCovers};
use writ::token::claims::PolicyFacts;
use writ::token::mint::mint;
use writ::token::proof::{self, ProvenRequest};
use writ::token::{Limits, RawToken};
use writ::vault::CredentialKind;

use authority::{AUDIENCE, ROOT_KEY_ID, StandIn, TENANT};
use raw::Answer;
use upstream::Recorder;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The credential of the service `notes`.
pub(crate) const SECRET: &str = "s3cr3t-canary-0123456789";

/// Waits for a condition, and fails with its name.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("it never happened that {what}"));
}

/// Authority, edge and service.
pub(crate) struct World {
    pub(crate) authority: StandIn,
    pub(crate) upstream: Recorder,
    pub(crate) edge: RunningEdge,
    dir: tempfile::TempDir,
    config: EdgeConfig,
    joined: Joined,
}

fn notes(upstream: &Recorder) -> Service {
    let text = format!(
        r#"
        name = "notes"
        upstream = "http://{}/v1"
        allow_private = true
        credential = "notes-key"
        [[route]]
        methods = ["GET"]
        path = "/notes/{{*id}}"
        action = "notes/read"
        resource = "team/{{*id}}"
        [[route]]
        methods = ["PUT", "DELETE"]
        path = "/notes/{{id}}"
        action = "notes/write"
        resource = "team/{{id}}"
        [[route]]
        methods = ["POST"]
        path = "/pay"
        action = "pay"
        resource = "team"
        [[route.argument]]
        name = "amount"
        from = "json"
        type = "integer"
        required = true
        loggable = true
        "#,
        upstream.address()
    );
    Service::from_toml(&text).unwrap()
}

/// Without a credential, and at a port where nobody listens.
fn nowhere() -> Service {
    let text = r#"
        name = "nowhere"
        upstream = "http://127.0.0.1:1"
        allow_private = true
        [[route]]
        methods = ["GET"]
        path = "/x"
        action = "read"
        resource = "x"
    "#;
    Service::from_toml(text).unwrap()
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(configure: impl FnOnce(&mut EdgeConfig)) -> Self {
        Self::start_with_services(configure, Vec::new()).await
    }

    pub(crate) async fn start_with_services(configure: impl FnOnce(&mut EdgeConfig), more: Vec<Service>) -> Self {
        let upstream = Recorder::start().await;
        let services = [notes(&upstream), nowhere()].into_iter().chain(more).collect();
        let authority = StandIn::start(services).await;
        authority.store("notes", CredentialKind::Bearer, SECRET);
        crate::canaries::canary(SECRET);
        let dir = crate::canaries::folder();
        let mut config = EdgeConfig::loopback("127.0.0.1:0".parse().unwrap(), dir.path().to_owned());
        configure(&mut config);
        let bound = Bound::bind(config.clone()).await.unwrap();
        let address = Address { origin: bound.origin().as_str().into(), nonce: false };
        let (clock, roots) = (std::sync::Arc::new(SystemClock), TrustedRoots::web());
        let ticket = authority.ticket();
        let joined = Joined::join(dir.path(), &ticket, address, &roots, clock.clone(), Rejoin::Refuse).await.unwrap();
        let edge = bound.start(&joined, clock).await.unwrap();
        assert!(edge.ready(PATIENCE).await);
        Self { authority, upstream, edge, dir, config, joined }
    }

    /// Ends the edge and starts it anew with the same state.
    pub(crate) async fn restarted(self) -> Self {
        let Self { authority, upstream, edge, dir, mut config, joined } = self;
        config.listen = vec![edge.address()];
        edge.shutdown().await;
        let bound = Bound::bind(config.clone()).await.unwrap();
        let edge = bound.start(&joined, std::sync::Arc::new(SystemClock)).await.unwrap();
        assert!(edge.ready(PATIENCE).await);
        Self { authority, upstream, edge, dir, config, joined }
    }

    /// The folder of its edge.
    pub(crate) fn state(&self) -> &std::path::Path {
        &self.config.state
    }

    pub(crate) fn host(&self) -> String {
        self.edge.origin().authority().to_owned()
    }

    pub(crate) fn block() -> Authority {
        let now = SystemClock.now();
        Authority {
            issuer: "".into(),
            audience: AUDIENCE.parse().unwrap(),
            tenant: TENANT.parse().unwrap(),
            subject: Some("alice".parse().unwrap()),
            session: None,
            agent: "assistant".parse().unwrap(),
            holder: Some(holder().public()),
            capabilities: vec!["notes:notes/read:team".parse().unwrap(), "notes:pay:team".parse().unwrap()],
            grants: Vec::new(),
            id: BlockId::from_bytes(random()),
            not_before: Timestamp::from_secs(now.secs() - 10),
            expires: Timestamp::from_secs(now.secs() + 600),
            depth_max: 3,
            epoch: 0,
            proof_covers: ProofCovers::default(),
            policy: PolicyFacts::default(),
        }
    }

    pub(crate) fn writ(&self) -> Writ {
        self.writ_of(Self::block())
    }

    pub(crate) fn writ_of(&self, block: Authority) -> Writ {
        let block = Authority { issuer: self.authority.issuer().into(), ..block };
        let token = mint(&block, &self.authority.root(), ROOT_KEY_ID, &random(), &Limits::default()).unwrap();
        Writ { token, holder: holder(), covers: block.proof_covers, block, origin: self.edge.origin().as_str().into() }
    }

    /// Sends bytes on a connection of their own and reads the first answer.
    pub(crate) async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let answer = raw::Client::connect(self.edge.address()).await.exchange(request).await;
        crate::canaries::told(&answer.text());
        answer
    }

    /// An allowed read.
    pub(crate) async fn read(&self, writ: &Writ) -> Answer {
        self.send(writ.get("/notes/notes/7")).await
    }

    pub(crate) async fn decisions(&self, count: usize) -> Vec<Decision> {
        let decisions = || {
            let decision = |event| if let Event::Decision(decision) = event { Some(*decision) } else { None };
            self.authority.events().into_iter().filter_map(decision).collect::<Vec<_>>()
        };
        eventually("the decisions are shipped", || decisions().len() >= count).await;
        decisions()
    }

    pub(crate) async fn outcome(&self) -> Outcome {
        let outcomes = || {
            let outcome = |event| if let Event::Outcome(outcome) = event { Some(outcome) } else { None };
            self.authority.events().into_iter().filter_map(outcome).collect::<Vec<_>>()
        };
        eventually("an outcome is shipped", || !outcomes().is_empty()).await;
        let outcomes = outcomes();
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes.into_iter().next().unwrap()
    }

    /// The four things that hold of every refusal.
    pub(crate) async fn assert_refused(&self, answer: &Answer, status: u16, reason: &str, writ: Option<&Writ>) {
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("writ-edge"), Some("denied"), "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request"].as_str(), answer.header("writ-request"));
        assert!(self.upstream.seen().is_empty(), "the service received something: {:?}", self.upstream.seen());
        assert_eq!(self.authority.lent(), 0, "a credential was lent");

        let decisions = self.decisions(1).await;
        assert_eq!(decisions.len(), 1, "{decisions:?}");
        assert_eq!((decisions[0].verdict, &*decisions[0].reason), (Verdict::Denied, reason));
        assert_eq!(Some(decisions[0].request.to_string().as_str()), answer.header("writ-request"));

        for told in [answer.text(), self.authority.records_text()] {
            assert!(!told.contains(SECRET));
            if let Some(writ) = writ {
                assert!(!told.contains(writ.token.text()));
                // No signature either, by which a part of the token could be put together again.
                assert!(!told.contains(&writ.token.text()[writ.token.text().len() - 40..]));
            }
        }
    }
}

pub(crate) fn finish(outcome: &Outcome) -> (&'static str, &str) {
    match &outcome.finish {
        Finish::Completed => ("completed", ""),
        Finish::Refused { reason } => ("refused", reason),
        Finish::Cut { reason } => ("cut", reason),
        Finish::Failed { reason } => ("failed", reason),
        Finish::Abandoned => ("abandoned", ""),
        Finish::Unknown => ("unknown", ""),
    }
}

pub(crate) fn holder() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// A writ and the key that proves it.
pub(crate) struct Writ {
    pub(crate) token: RawToken,
    pub(crate) holder: KeyPair,
    pub(crate) covers: ProofCovers,
    pub(crate) block: Authority,
    pub(crate) origin: String,
}

/// What a proof says, to be changed by a test.
#[derive(Clone, Debug)]
pub(crate) struct Proving<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: String,
    pub(crate) query: Option<&'a str>,
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) nonce: Option<&'a str>,
    pub(crate) jti: [u8; 16],
    pub(crate) at: Timestamp,
}

impl Writ {
    pub(crate) fn proving<'a>(&self, method: &'a str, path: &str) -> Proving<'a> {
        let url = format!("{}{path}", self.origin);
        Proving { method, url, query: None, body: None, nonce: None, jti: random(), at: SystemClock.now() }
    }

    pub(crate) fn proof(&self, proving: &Proving<'_>) -> String {
        let request = ProvenRequest {
            method: proving.method,
            url: &proving.url,
            query: proving.query,
            body_sha256: proving.body.map(writ::key::sha256),
        };
        let digest = Some(self.token.digest());
        proof::make(&self.holder, &request, digest, self.covers, proving.nonce, &proving.jti, proving.at)
    }

    /// The header fields that authorise a request, each with its line end.
    pub(crate) fn fields(&self, method: &str, path: &str) -> String {
        self.fields_with(&self.proof(&self.proving(method, path)))
    }

    pub(crate) fn fields_with(&self, proof: &str) -> String {
        let host = self.origin.split_once("//").unwrap().1;
        format!("Host: {host}\r\nAuthorization: DPoP {}\r\nDPoP: {proof}\r\n", self.token.text())
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let bare = path.split('?').next().unwrap();
        format!("GET {path} HTTP/1.1\r\n{}\r\n", self.fields("GET", bare))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> String {
        let fields = self.fields("POST", path);
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\n{fields}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }
}
