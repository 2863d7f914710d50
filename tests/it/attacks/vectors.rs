//! Groups A to D and L: what `spec/vectors` says of the pure functions, asked of a whole edge over a socket.
//!
//! Each vector gets an edge of its own, whose root keys, audience, clock and rules are the vector's. Left out are the vectors
//! about operations that no request for the vectors' one URL can mean; `tests/it/vectors` asks those of the pure functions.

use std::sync::Arc;

use futures_util::StreamExt as _;
use writ::catalog::Service;
use writ::clock::{Clock, Monotonic, SystemClock, Timestamp};
use writ::config::edge::{EdgeConfig, NonceMode};
use writ::edge::join::{Joined, Membership};
use writ::edge::{Bound, RunningEdge};
use writ::token::proof::BearerRule;
use writ::vault::CredentialKind;

use super::Siege;
use crate::edge::authority::{Role, StandIn};
use crate::edge::upstream::Recorder;
use crate::edge::{PATIENCE, SECRET};
use crate::tokens::{operation, pair};
use crate::vectors::{Answer, Scheme, Vector, all, time};

pub(super) const ORIGIN: &str = "https://edge.example";

/// The time stands still, and leases run on.
#[derive(Debug)]
struct Frozen(Timestamp);

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> Monotonic {
        SystemClock.monotonic()
    }
}

/// Authority, edge and service of one vector.
pub(super) struct Stage {
    authority: StandIn,
    upstream: Recorder,
    edge: RunningEdge,
    _dir: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn of(vector: &Vector, origin: &str, nonce: NonceMode) -> Self {
        let stage = Self::begin(vector, origin, nonce, true).await;
        assert!(stage.edge.ready(PATIENCE).await);
        stage
    }

    /// Where the authority is out of reach, the edge has never heard of it.
    async fn begin(vector: &Vector, origin: &str, nonce: NonceMode, reachable: bool) -> Self {
        let clock = Arc::new(Frozen(time(&vector.now)));
        let upstream = Recorder::start().await;
        let service = format!(
            "name = 'notes'\nupstream = 'http://{}'\nallow_private = true\ncredential = 'notes-key'\n\
             [[route]]\nmethods = ['GET', 'POST']\npath = '/{{*id}}'\naction = 'read'\nresource = '{{*id}}'\n",
            upstream.address()
        );
        let role = Role {
            issuer: vector.issuer.as_str().into(),
            audience: vector.audience.parse().unwrap(),
            root_keys: vector.root_keys.clone(),
            clock: clock.clone(),
        };
        let authority = StandIn::start_as(role, vec![Service::from_toml(&service).unwrap()]).await;
        authority.set_reachable(reachable);
        authority.store("notes", CredentialKind::Bearer, SECRET);
        let dir = crate::canaries::folder();
        let mut config = EdgeConfig::loopback("127.0.0.1:0".parse().unwrap(), dir.path().to_owned());
        config.origin = Some(origin.parse().unwrap());
        config.authorities = vec![authority.url().into()];
        config.bearer = if vector.bearer_accepted { BearerRule::Accept } else { BearerRule::Refuse };
        config.nonce = nonce;
        let membership = Membership {
            name: "edge-1".parse().unwrap(),
            audience: vector.audience.parse().unwrap(),
            issuer: vector.issuer.as_str().into(),
            authority_key: authority.reply_key(),
            origin: origin.into(),
            nonce: nonce == NonceMode::Demanded,
        };
        let joined = Joined { membership, key: Arc::new(pair(0xed)) };
        let edge = Bound::bind(config).await.unwrap().start(&joined, clock).await.unwrap();
        Self { authority, upstream, edge, _dir: dir }
    }

    pub(super) fn siege(&self) -> Siege<'_> {
        Siege::at(self.edge.address(), &self.authority, &self.upstream)
    }
}

/// The request of a vector, if the operation is one that its URL means at the stage.
pub(super) fn request(vector: &Vector) -> Option<String> {
    let asked = &vector.request.operation;
    if vector.request.body.is_some() || *asked != operation("notes:read:team/1") {
        return None;
    }
    let query = vector.request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let scheme = match vector.scheme {
        Scheme::Dpop => "DPoP",
        Scheme::Bearer => "Bearer",
    };
    let proof = vector.proof.as_ref().map(|proof| format!("DPoP: {proof}\r\n")).unwrap_or_default();
    let token = &vector.token;
    Some(format!(
        "GET /notes/team/1{query} HTTP/1.1\r\nHost: edge.example\r\nAuthorization: {scheme} {token}\r\n{proof}\r\n"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_vector_refuses_an_edge_refuses_and_what_it_allows_is_served() {
    let vectors: Vec<Vector> = all();
    let asked: Vec<(&Vector, String)> = vectors.iter().filter_map(|vector| Some((vector, request(vector)?))).collect();
    let refused = asked.iter().filter(|(vector, _)| matches!(vector.result, Answer::Denied { .. })).count();
    assert!(refused >= 190 && asked.len() - refused >= 35, "{refused} of {} are refused", asked.len());
    futures_util::stream::iter(asked).for_each_concurrent(4, |(vector, request)| one(vector, request)).await;
}

async fn one(vector: &Vector, request: String) {
    let nonce = if vector.nonces.is_empty() { NonceMode::Optional } else { NonceMode::Demanded };
    let stage = Stage::of(vector, ORIGIN, nonce).await;
    let mut siege = stage.siege();
    match &vector.result {
        Answer::Denied { code, status, .. } => {
            // A header value without a token has no text to be malformed.
            let code = if vector.token.is_empty() { "token_missing" } else { code };
            siege.repelled(&vector.fact, request, *status, code).await;
        }
        // The nonces of an edge are its own, so the vector's cannot be among them.
        Answer::Allowed { .. } if nonce == NonceMode::Demanded => {
            siege.repelled(&vector.fact, request, 401, "proof_nonce").await;
        }
        Answer::Allowed { .. } => {
            siege.served(&vector.fact, request).await;
        }
    }
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_one_edge_took_no_other_takes() {
    let (vector, request) = good();
    let vector = &vector;
    let stage = Stage::of(vector, ORIGIN, NonceMode::Optional).await;
    let mut siege = stage.siege();
    siege.served("the first use", &request).await;
    siege.repelled("the second use", &request, 401, "proof_replayed").await;
    siege.over().await;

    let elsewhere = Stage::of(vector, "https://edge-2.example", NonceMode::Optional).await;
    let mut siege = elsewhere.siege();
    siege.repelled("at an edge of another origin", &request, 401, "proof_mismatch").await;
    siege.over().await;

    // Edges may share an origin only where each demands nonces of its own.
    let beside = Stage::of(vector, ORIGIN, NonceMode::Demanded).await;
    let mut siege = beside.siege();
    let answer = siege.repelled("at an edge of the same origin", &request, 401, "proof_nonce").await;
    assert!(answer.header("www-authenticate").unwrap().contains(r#"error="use_dpop_nonce""#));
    siege.over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_never_reached_its_authority_serves_nothing() {
    let (vector, request) = good();
    let stage = Stage::begin(&vector, ORIGIN, NonceMode::Optional, false).await;
    let mut siege = stage.siege();
    siege.repelled("before the first answer", &request, 503, "no_settings").await;
    stage.authority.set_reachable(true);
    assert!(stage.edge.ready(PATIENCE).await);
    siege.served("after it", &request).await;
    siege.over().await;
}

fn good() -> (Vector, String) {
    let fact = "a minted token held by its agent is allowed what it names";
    let vector = all().into_iter().find(|vector| vector.fact == fact).unwrap();
    let request = request(&vector).unwrap();
    (vector, request)
}
