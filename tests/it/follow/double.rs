//! An authority that answers an edge as a real one would, until it is told not to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use writ::audit::{Head, Record};
use writ::catalog::Service;
use writ::clock::{Clock, ManualClock, Timestamp};
use writ::key::{KeyPair, sha256};
use writ::revocation::{Entry, Statement, Target};
use writ::token::chain::ProofCovers;
use writ::token::proof::{self, NonceRule, ProofId, ProvenRequest};
use writ::wire::{self, AuditShipment, FeedReply, FeedRequest, JoinRequest, OfferedService, Settings};

use super::EDGE;
use crate::tokens::{at, expected, keys, pair, public};

/// What the double does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// It never answers.
    Silent,
    /// It answers 502 without a signature, as a proxy in between would.
    Gateway,
    /// It signs with another key.
    Forged,
    /// It sends the last good answer once more.
    Replayed,
    /// It changes a byte of the body after signing.
    Tampered,
    /// It answers for an edge that knows the next entry already.
    Gap,
    /// It swaps the first two of the new entries.
    Swapped,
    /// It sends entries that are known once more.
    Repeated,
    /// It says that the log is one entry shorter.
    Regressed,
    /// It revokes something that this version does not know.
    UnknownTarget,
    /// It says that the head is further than the entries it sends.
    HeadAhead,
    /// It states more than there is up to its head.
    BeyondHead,
    /// It sends a page of blocks that cannot be read.
    TornBlocks,
    /// It stores what it is sent, or does what it is asked, and does not answer.
    LostAnswer,
    /// It answers that the records differ.
    Conflict,
    /// It does not lend for the writ.
    WritRefused,
    /// It has no such credential.
    NoCredential,
}

/// What it answers from.
pub(super) struct Mind {
    pub(super) fault: Fault,
    pub(super) entries: Vec<Entry>,
    pub(super) settings: Settings,
    pub(super) lease_ms: u64,
    pub(super) keep_ms: u64,
    /// The log's head when the credential that it lends was stored.
    pub(super) stored_epoch: u64,
    /// How far its wall clock is ahead of the edge's.
    pub(super) ahead: Duration,
    /// Moves the edge's clock between a request and its answer.
    pub(super) travel: Duration,
    /// Every feed request it got.
    pub(super) asked: VecDeque<FeedRequest>,
    /// The most entries in one answer.
    pub(super) page: usize,
    /// The token of every lend request it got.
    pub(super) lent: Vec<String>,
    /// While it is set, lend requests wait.
    pub(super) lending_waits: bool,
    pub(super) secret: String,
    pub(super) records: Vec<Record>,
    pub(super) shipments: usize,
    pub(super) ticket_secret: Option<String>,
    pub(super) joined: Option<JoinRequest>,
    last_reply: Option<(String, Bytes)>,
}

/// A running authority double.
pub(super) struct Double {
    pub(super) url: String,
    pub(super) clock: Arc<ManualClock>,
    inner: Arc<Inner>,
    _serving: Serving,
}

struct Serving(JoinHandle<()>);

struct Inner {
    mind: Mutex<Mind>,
    changed: Notify,
    clock: Arc<ManualClock>,
    /// The issuer in the proofs it takes.
    issuer: Box<str>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn signing_key() -> KeyPair {
    pair(0x55)
}

impl Double {
    pub(super) async fn start(clock: &Arc<ManualClock>) -> Self {
        Self::start_as(clock, Some(expected().issuer)).await
    }

    /// Without an issuer it is its own URL.
    pub(super) async fn start_as(clock: &Arc<ManualClock>, issuer: Option<Box<str>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = issuer.unwrap_or_else(|| url.as_str().into());
        let inner = Arc::new(Inner {
            mind: Mutex::new(Mind::new(&issuer)),
            changed: Notify::new(),
            clock: clock.clone(),
            issuer,
        });
        let router = axum::Router::new().fallback(any(answer)).with_state(inner.clone());
        let serving = Serving(tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }));
        Self { url, clock: clock.clone(), inner, _serving: serving }
    }

    pub(super) fn mind(&self) -> MutexGuard<'_, Mind> {
        self.inner.mind.lock().unwrap()
    }

    /// Changes what it answers from, and wakes whoever waits for something new.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Mind) -> T) -> T {
        let changed = change(&mut self.mind());
        self.inner.changed.notify_waiters();
        changed
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.change(|mind| mind.fault = fault);
    }

    pub(super) fn revoke(&self, target: Target) -> u64 {
        self.change(|mind| mind.revoke(target))
    }

    /// Whether an edge has said that it knows the log up to `seq` and acts on it.
    pub(super) fn acknowledged(&self, seq: u64) -> bool {
        self.mind().asked.iter().any(|request| request.known >= seq)
    }

    /// Whether an edge has asked for everything since `asked` was last emptied.
    pub(super) fn asked_anew(&self) -> bool {
        self.mind().asked.iter().any(|request| request.known == 0 && request.settings.is_none())
    }

    pub(super) fn forget_asked(&self) {
        self.mind().asked.clear();
    }
}

impl Mind {
    fn new(issuer: &str) -> Self {
        Self {
            fault: Fault::None,
            entries: Vec::new(),
            settings: settings(issuer, 1),
            lease_ms: 1000,
            keep_ms: 10_000,
            stored_epoch: 0,
            ahead: Duration::ZERO,
            travel: Duration::ZERO,
            asked: VecDeque::new(),
            page: wire::ENTRIES_MAX,
            lent: Vec::new(),
            lending_waits: false,
            secret: "s3cret".into(),
            records: Vec::new(),
            shipments: 0,
            ticket_secret: None,
            joined: None,
            last_reply: None,
        }
    }

    pub(super) fn revoke(&mut self, target: Target) -> u64 {
        let seq = self.entries.len() as u64 + 1;
        self.entries.push(Entry { seq, target, at: at(0), forget_after: at(100_000) });
        seq
    }

    fn has_news_for(&self, request: &FeedRequest) -> bool {
        let head = self.entries.len() as u64;
        request.known != head || request.settings != Some(self.settings.version)
    }

    fn feed(&self, request: &FeedRequest, now: Timestamp) -> FeedReply {
        let mut head = self.entries.len() as u64;
        let known = request.known;
        let next: Vec<Entry> = self.entries.iter().filter(|entry| entry.seq > known).take(self.page).cloned().collect();
        let upto = next.last().map_or(known.min(head), |entry| entry.seq);
        let mut log = Statement::of(known, upto, next.clone());
        match self.fault {
            Fault::Gap => log.after += 1,
            Fault::Swapped => log.entries.swap(0, 1),
            Fault::Repeated => log = Statement::of(0, head, self.entries.clone()),
            Fault::Regressed => (head, log) = (head - 1, Statement::nothing(head - 1)),
            Fault::HeadAhead => head += 1,
            Fault::BeyondHead => log.upto += 1,
            _ => {}
        }
        let settings = (request.settings != Some(self.settings.version)).then(|| self.settings.clone());
        FeedReply { head, lease_ms: self.lease_ms, now: now.after(self.ahead), log, settings }
    }

    fn store(&mut self, shipment: AuditShipment) -> Option<Head> {
        self.shipments += 1;
        for record in shipment.records {
            let head = self.records.last().map_or_else(Head::empty, Record::head);
            if record.seq > head.seq {
                record.follows(&head).ok()?;
                self.records.push(record);
            } else if self.records[record.seq as usize - 1].hash != record.hash {
                return None;
            }
        }
        let head = self.records.last().map_or_else(Head::empty, Record::head);
        let holds = |head: &Head| shipment.checkpoint.as_ref().is_none_or(|c| c.verify().is_ok() && c.head == *head);
        holds(&head).then_some(head)
    }
}

pub(super) fn settings(issuer: &str, version: u64) -> Settings {
    let service = "name = \"notes\"\nupstream = \"https://notes.example\"\ncredential = \"notes-key\"\n[[route]]\nmethods = \
                   [\"GET\"]\npath = \"/notes\"\naction = \"notes/read\"\nresource = \"notes\"\n";
    Settings {
        version,
        issuer: issuer.into(),
        audience: expected().audience,
        root_keys: keys(),
        services: vec![OfferedService {
            tenant: "acme".parse().unwrap(),
            service: Service::from_toml(service).unwrap(),
        }],
        policies: Vec::new(),
        limits: Vec::new(),
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let proof = request.headers().get("dpop").map(|value| value.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 1 << 24).await.unwrap();
    let id = inner.proven(&path, &proof.unwrap_or_default(), &body);
    let (status, answer) = match path.as_str() {
        "/v1/edge/feed" => inner.feed(&body).await,
        "/v1/edge/lend" => inner.lend(&body).await,
        "/v1/edge/audit" => inner.audit(&body).await,
        "/v1/edge/join" => inner.join(&body).await,
        _ => (404, json!({ "code": "not_found" })),
    };
    inner.signed(id, status, serde_json::to_vec(&answer).unwrap().into())
}

impl Inner {
    /// Every request must be proven by the edge's key, over method, issuer, path and body.
    fn proven(&self, path: &str, proof: &str, body: &[u8]) -> ProofId {
        let url = format!("{}{path}", self.issuer);
        let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256: Some(sha256(body)) };
        let covers = ProofCovers { query: false, body: true };
        // An edge that joins proves a key that nobody knows yet.
        let key = (path != "/v1/edge/join" && self.issuer == expected().issuer).then(|| public(EDGE));
        let checked = proof::check(proof, key.as_ref(), &request, None, covers, NonceRule::Optional, self.clock.now());
        checked.expect("an edge proves each request").1.id
    }

    async fn feed(&self, body: &[u8]) -> (u16, Value) {
        let request: FeedRequest = serde_json::from_slice(body).unwrap();
        let wait = Duration::from_millis(request.wait_ms.min(wire::WAIT_MS_MAX));
        {
            let mut mind = self.mind.lock().unwrap();
            mind.asked.push_back(request.clone());
            if mind.asked.len() > 10_000 {
                mind.asked.pop_front();
            }
        }
        let _ = tokio::time::timeout(wait, self.news(&request)).await;
        self.silence(Fault::Silent).await;
        let mind = self.mind.lock().unwrap();
        self.clock.advance(mind.travel);
        let mut reply = serde_json::to_value(mind.feed(&request, self.clock.now())).unwrap();
        if mind.fault == Fault::UnknownTarget {
            let entry = json!({ "seq": request.known + 1, "target": "planet:earth", "at": 0, "forget_after": 0 });
            reply["log"]["entries"] = json!([entry]);
        }
        if mind.fault == Fault::TornBlocks {
            reply["log"]["blocks"] = json!("AAAA");
        }
        (200, reply)
    }

    async fn news(&self, request: &FeedRequest) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let mind = || self.mind.lock().unwrap();
            if mind().has_news_for(request) || mind().fault != Fault::None {
                return;
            }
            changed.await;
        }
    }

    /// Waits for as long as it is told to have this fault.
    async fn silence(&self, fault: Fault) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.mind.lock().unwrap().fault != fault {
                return;
            }
            changed.await;
        }
    }

    async fn lend(&self, body: &[u8]) -> (u16, Value) {
        let request: Value = serde_json::from_slice(body).unwrap();
        self.mind.lock().unwrap().lent.push(request["token"].as_str().unwrap().into());
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.mind.lock().unwrap().lending_waits {
                break;
            }
            changed.await;
        }
        self.silence(Fault::Silent).await;
        let mind = self.mind.lock().unwrap();
        match mind.fault {
            Fault::WritRefused => (401, json!({ "code": "writ_refused", "detail": "it is revoked" })),
            Fault::NoCredential => (403, json!({ "code": "no_credential", "detail": "none is stored", "title": "?" })),
            _ => {
                let (secret, keep_ms, version) = (&mind.secret, mind.keep_ms, mind.lent.len());
                let reply = json!({
                    "credential": "notes-key", "kind": { "kind": "bearer" }, "secret": secret, "version": version,
                    "epoch": mind.stored_epoch, "keep_ms": keep_ms,
                });
                (200, reply)
            }
        }
    }

    async fn audit(&self, body: &[u8]) -> (u16, Value) {
        let shipment = serde_json::from_slice(body).unwrap();
        let stored = self.mind.lock().unwrap().store(shipment);
        self.silence(Fault::LostAnswer).await;
        match (self.mind.lock().unwrap().fault, stored) {
            (Fault::Conflict, _) | (_, None) => {
                (409, json!({ "code": "audit_conflict", "detail": "they differ at 1" }))
            }
            (_, Some(head)) => (200, json!({ "head": head })),
        }
    }

    async fn join(&self, body: &[u8]) -> (u16, Value) {
        let request: JoinRequest = serde_json::from_slice(body).unwrap();
        let bought = {
            let mut mind = self.mind.lock().unwrap();
            let bought = mind.ticket_secret.take_if(|secret| *secret == request.secret).is_some();
            if bought {
                mind.joined = Some(request);
            }
            bought
        };
        self.silence(Fault::LostAnswer).await;
        match bought {
            true => (200, json!({ "name": "edge-1", "audience": expected().audience })),
            false => (404, json!({ "code": "ticket_refused", "detail": "used or expired" })),
        }
    }

    fn signed(&self, proof: ProofId, status: u16, body: Bytes) -> Response {
        let mut mind = self.mind.lock().unwrap();
        let key = if mind.fault == Fault::Forged { pair(0x56) } else { signing_key() };
        let good = (wire::sign_reply(&key, proof, status, &body), body);
        let (status, (signature, body)) = match (mind.fault, &mind.last_reply) {
            (Fault::Gateway, _) => (502, (String::new(), Bytes::from_static(b"<html>"))),
            (Fault::Replayed, Some(last)) => (status, last.clone()),
            (Fault::Tampered, _) => (status, (good.0, Bytes::from([&good.1[..], b" "].concat()))),
            (Fault::None, _) => {
                mind.last_reply = Some(good.clone());
                (status, good)
            }
            _ => (status, good),
        };
        let response = Response::builder().status(status).header(wire::SIGNATURE_HEADER, signature);
        response.body(Body::from(body)).unwrap()
    }
}
