//! A stand-in for the authority: the real wire messages, really signed, with a log and a vault in memory.
//!
//! What it says is in the test's hand; what the edge makes of it is not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::watch;
use writ::audit::{Event, Head, Record};
use writ::catalog::Service;
use writ::clock::{Clock, SystemClock, Timestamp};
use writ::id::{AudienceName, ServiceName};
use writ::key::{KeyPair, PublicKey, sha256};
use writ::policy::limit::{Ask, Bucket, allot};
use writ::revocation::{Entry, Statement, Target};
use writ::secret::Secret;
use writ::token::RootKeys;
use writ::token::chain::ProofCovers;
use writ::token::proof::{self, NonceRule, ProvenRequest};
use writ::token::verify::RootKey;
use writ::vault::CredentialKind;
use writ::wire::{
    self, AuditReceipt, AuditShipment, FeedReply, FeedRequest, JoinReply, JoinRequest, JoinTicketText, LendReply,
    LendRequest, LimitsReply, LimitsRequest, OfferedPolicies, OfferedService, Refusal, Settings, TenantLimits,
    WireSecret, sign_reply,
};

pub(crate) const AUDIENCE: &str = "main";
pub(crate) const TENANT: &str = "acme";
pub(crate) const ROOT_KEY_ID: u32 = 1;
pub(crate) const LEASE: Duration = Duration::from_millis(1000);
/// The most entries of the log in one answer.
const PAGE: u64 = 100_000;

/// A running stand-in.
#[derive(Clone)]
pub(crate) struct StandIn(Arc<Inner>);

struct Inner {
    url: Box<str>,
    issuer: Box<str>,
    clock: Arc<dyn Clock>,
    state: Mutex<Said>,
    head: watch::Sender<u64>,
}

struct Said {
    log: Vec<Entry>,
    known: u64,
    reachable: bool,
    late: Duration,
    clock_ahead_ms: i64,
    settings: Settings,
    secrets: HashMap<ServiceName, (CredentialKind, String)>,
    lending: Lending,
    lent: usize,
    records: Vec<Record>,
    /// What the edge holds of each count.
    held: HashMap<Bucket, i64>,
}

/// How it answers when asked for a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lending {
    Lends,
    /// Until told otherwise it does not answer.
    Hangs,
    Unavailable,
}

fn root() -> KeyPair {
    KeyPair::from_seed(&[0xee; 32])
}

fn reply_key() -> KeyPair {
    KeyPair::from_seed(&[0xaa; 32])
}

async fn listen() -> (TcpListener, Box<str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).into();
    (listener, url)
}

/// Whose authority it plays, and when.
pub(crate) struct Role {
    pub(crate) issuer: Box<str>,
    pub(crate) audience: AudienceName,
    pub(crate) root_keys: RootKeys,
    pub(crate) clock: Arc<dyn Clock>,
}

impl StandIn {
    pub(crate) async fn start(services: Vec<Service>) -> Self {
        let (listener, url) = listen().await;
        let root_keys = RootKeys { keys: vec![RootKey { id: ROOT_KEY_ID, key: root().public(), until: None }] };
        let role =
            Role { issuer: url.clone(), audience: AUDIENCE.parse().unwrap(), root_keys, clock: Arc::new(SystemClock) };
        Self::serve(listener, url, role, services)
    }

    /// One that lives elsewhere than its issuer's URL says.
    pub(crate) async fn start_as(role: Role, services: Vec<Service>) -> Self {
        let (listener, url) = listen().await;
        Self::serve(listener, url, role, services)
    }

    fn serve(listener: TcpListener, url: Box<str>, role: Role, services: Vec<Service>) -> Self {
        let Role { issuer, audience, root_keys, clock } = role;
        let tenant = TENANT.parse::<writ::id::TenantName>().unwrap();
        let offered = |service| OfferedService { tenant: tenant.clone(), service };
        let settings = Settings {
            version: 1,
            issuer: issuer.clone(),
            audience,
            root_keys,
            services: services.into_iter().map(offered).collect(),
            policies: Vec::new(),
            limits: Vec::new(),
        };
        let state = Mutex::new(Said {
            log: Vec::new(),
            known: 0,
            reachable: true,
            late: Duration::ZERO,
            clock_ahead_ms: 0,
            settings,
            secrets: HashMap::new(),
            lending: Lending::Lends,
            lent: 0,
            records: Vec::new(),
            held: HashMap::new(),
        });
        let stand_in = Self(Arc::new(Inner { url, issuer, clock, state, head: watch::Sender::new(0) }));
        let router = Router::new()
            .route("/v1/edge/join", post(join))
            .route("/v1/edge/feed", post(feed))
            .route("/v1/edge/lend", post(lend))
            .route("/v1/edge/limits", post(limits))
            .route("/v1/edge/audit", post(audit))
            .with_state(stand_in.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        stand_in
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// What it signs its answers by.
    pub(crate) fn reply_key(&self) -> PublicKey {
        reply_key().public()
    }

    pub(crate) fn root(&self) -> KeyPair {
        root()
    }

    pub(crate) fn ticket(&self) -> JoinTicketText {
        JoinTicketText {
            issuer: self.0.issuer.clone(),
            authority_key: reply_key().public(),
            name: "edge-1".parse().unwrap(),
            audience: AUDIENCE.parse().unwrap(),
            secret: WireSecret(Secret::new("ticket".to_owned())),
        }
    }

    pub(crate) fn store(&self, service: &str, kind: CredentialKind, secret: &str) {
        self.said().secrets.insert(service.parse().unwrap(), (kind, secret.to_owned()));
    }

    /// Commits a revocation; returns once the edge has acknowledged it, which it does only when what it kills is gone.
    pub(crate) async fn revoke(&self, target: Target) {
        let seq = self.commit(target);
        self.acknowledged(seq).await;
    }

    pub(crate) fn commit(&self, target: Target) -> u64 {
        self.commit_all([target])
    }

    /// Commits one after another, and tells of all of them at once. Answers the number of the last.
    pub(crate) fn commit_all(&self, targets: impl IntoIterator<Item = Target>) -> u64 {
        let at = self.0.clock.now();
        let seq = {
            let mut said = self.said();
            for target in targets {
                let seq = said.log.len() as u64 + 1;
                said.log.push(Entry { seq, target, at, forget_after: at.after(Duration::from_secs(86_400)) });
            }
            said.log.len() as u64
        };
        self.0.head.send_replace(seq);
        seq
    }

    /// Makes this text the tenant's policy set. Answers the settings' version: an edge that knows it goes by the set.
    pub(crate) fn put_policies(&self, version: u64, outdates: u64, document: &str) -> u64 {
        let mut said = self.said();
        let tenant = TENANT.parse().unwrap();
        said.settings.policies = vec![OfferedPolicies { tenant, version, outdates, document: document.into() }];
        said.settings.version += 1;
        said.settings.version
    }

    /// Makes these the tenant's limits. Answers the settings' version.
    pub(crate) fn put_limits(&self, limits: serde_json::Value) -> u64 {
        let mut said = self.said();
        let limits = serde_json::from_value(limits).unwrap();
        said.settings.limits = vec![TenantLimits { tenant: TENANT.parse().unwrap(), limits }];
        said.settings.version += 1;
        said.settings.version
    }

    pub(crate) async fn acknowledged(&self, seq: u64) {
        super::eventually("the edge acknowledges", || self.said().known >= seq).await;
    }

    pub(crate) fn set_reachable(&self, reachable: bool) {
        self.said().reachable = reachable;
    }

    /// From now on it answers with a lease only after so long.
    pub(crate) fn set_late(&self, late: Duration) {
        self.said().late = late;
    }

    pub(crate) fn set_clock_ahead(&self, by_ms: i64) {
        self.said().clock_ahead_ms = by_ms;
    }

    pub(crate) fn set_lending(&self, lending: Lending) {
        self.said().lending = lending;
    }

    /// How many credentials were lent.
    pub(crate) fn lent(&self) -> usize {
        self.said().lent
    }

    /// Every event that the edge shipped so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.said().records.iter().map(|record| serde_json::from_str(record.event.get()).unwrap()).collect()
    }

    /// The text of all records, as they were shipped.
    pub(crate) fn records_text(&self) -> String {
        self.said().records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.state.lock().unwrap()
    }
}

/// What only the benchmarks need.
impl StandIn {
    /// The number of the last entry.
    pub(crate) fn head(&self) -> u64 {
        self.said().log.len() as u64
    }

    /// Whether the edge knows all of the log.
    pub(crate) fn is_known(&self) -> bool {
        let said = self.said();
        said.known >= said.log.len() as u64
    }

    /// Keeps of the records only the last, which the next one must follow.
    pub(crate) fn forget_shipped(&self) {
        let mut said = self.said();
        let before = said.records.len().saturating_sub(1);
        said.records.drain(..before);
    }
}

/// What was asked, and a way to sign the answer to exactly that.
struct Asked<T> {
    message: T,
    proof: proof::ProofId,
}

impl StandIn {
    fn asked<T: DeserializeOwned>(&self, path: &str, headers: &HeaderMap, body: &Bytes) -> Asked<T> {
        let url = format!("{}{path}", self.0.issuer);
        let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256: Some(sha256(body)) };
        let covers = ProofCovers { query: false, body: true };
        let text = headers["dpop"].to_str().unwrap();
        let (_, proof) =
            proof::check(text, None, &request, None, covers, NonceRule::Optional, self.0.clock.now()).unwrap();
        Asked { message: serde_json::from_slice(body).unwrap(), proof: proof.id }
    }
}

fn answer(proof: proof::ProofId, status: StatusCode, message: &impl Serialize) -> Response {
    let body = serde_json::to_vec(message).unwrap();
    let signature = sign_reply(&reply_key(), proof, status.as_u16(), &body);
    (status, [(wire::SIGNATURE_HEADER, signature)], body).into_response()
}

async fn join(State(authority): State<StandIn>, headers: HeaderMap, body: Bytes) -> Response {
    let Asked { message: _, proof } = authority.asked::<JoinRequest>("/v1/edge/join", &headers, &body);
    let reply = JoinReply { name: "edge-1".parse().unwrap(), audience: AUDIENCE.parse().unwrap() };
    answer(proof, StatusCode::OK, &reply)
}

async fn feed(State(authority): State<StandIn>, headers: HeaderMap, body: Bytes) -> Response {
    let Asked { message, proof } = authority.asked::<FeedRequest>("/v1/edge/feed", &headers, &body);
    if !authority.said().reachable {
        // Not signed: like an answer of somebody in between.
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let mut heads = authority.0.head.subscribe();
    {
        let mut said = authority.said();
        said.known = said.known.max(message.known);
    }
    let wait = Duration::from_millis(message.wait_ms.min(wire::WAIT_MS_MAX));
    let news = heads.wait_for(|head| *head != message.known || message.settings.is_none());
    let _ = tokio::time::timeout(wait, news).await;
    let late = authority.said().late;
    tokio::time::sleep(late).await;
    let said = authority.said();
    let upto = (said.log.len() as u64).min(message.known + PAGE);
    let reply = FeedReply {
        head: said.log.len() as u64,
        lease_ms: u64::try_from(LEASE.as_millis()).unwrap(),
        now: Timestamp::from_millis(authority.0.clock.now().millis() + said.clock_ahead_ms),
        log: {
            let place = |seq| usize::try_from(seq).unwrap();
            let next = said.log[place(message.known)..place(upto)].iter().cloned();
            Statement::of(message.known, upto, next)
        },
        settings: (message.settings != Some(said.settings.version)).then(|| said.settings.clone()),
    };
    answer(proof, StatusCode::OK, &reply)
}

async fn lend(State(authority): State<StandIn>, headers: HeaderMap, body: Bytes) -> Response {
    let Asked { message, proof } = authority.asked::<LendRequest>("/v1/edge/lend", &headers, &body);
    loop {
        let lending = authority.said().lending;
        match lending {
            Lending::Lends => break,
            Lending::Hangs => tokio::time::sleep(Duration::from_millis(1)).await,
            Lending::Unavailable => return StatusCode::BAD_GATEWAY.into_response(),
        }
    }
    let mut said = authority.said();
    let Some((kind, secret)) = said.secrets.get(&message.service).cloned() else {
        let refusal = Refusal { code: wire::refusal::NO_CREDENTIAL.into(), detail: "none is stored".into() };
        return answer(proof, StatusCode::FORBIDDEN, &refusal);
    };
    said.lent += 1;
    let reply = LendReply {
        credential: "key".parse().unwrap(),
        kind,
        secret: WireSecret(Secret::new(secret)),
        version: 1,
        epoch: 0,
        keep_ms: 60_000,
    };
    answer(proof, StatusCode::OK, &reply)
}

async fn limits(State(authority): State<StandIn>, headers: HeaderMap, body: Bytes) -> Response {
    let Asked { message, proof } = authority.asked::<LimitsRequest>("/v1/edge/limits", &headers, &body);
    let said = &mut *authority.said();
    let answer_of = |ask: &Ask| {
        let limit = said.settings.limits[0].limits.named(&ask.bucket.limit)?;
        let held = said.held.entry(ask.bucket.clone()).or_default();
        let allotted = allot(ask, limit.max(), *held, *held);
        *held = allotted.held;
        Some(allotted)
    };
    let answers = message.asks.iter().map(answer_of).collect();
    answer(proof, StatusCode::OK, &LimitsReply { answers })
}

async fn audit(State(authority): State<StandIn>, headers: HeaderMap, body: Bytes) -> Response {
    let Asked { message, proof } = authority.asked::<AuditShipment>("/v1/edge/audit", &headers, &body);
    let mut said = authority.said();
    for record in message.records {
        let head = said.records.last().map_or_else(Head::empty, Record::head);
        if record.seq > head.seq {
            record.follows(&head).unwrap();
            said.records.push(record);
        }
    }
    let head = said.records.last().map_or_else(Head::empty, Record::head);
    answer(proof, StatusCode::OK, &AuditReceipt { head })
}
