//! `/v1/edge/*`: the messages of `wire`, each proven by the edge's key, each answer signed by the authority's.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::extract::{media_type, parse, proof, read_body};
use super::problem::{self, PROBLEM_JSON, Problem};
use crate::authority::{Authority, AuthorityError};
use crate::store::Edge;
use crate::token::proof::{ProofId, ProvenHead};
use crate::wire::{
    AskRequest, AuditShipment, FeedRequest, JoinRequest, LendRequest, LimitsRequest, MESSAGE_BYTES_MAX, RedeemRequest,
    SIGNATURE_HEADER, StandingRequest, sign_reply,
};

/// The longest message that is not an audit shipment.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// The longest message with a request that needs a person: its body, in base64url, and what stands beside it.
const ASKED_BYTES_MAX: usize = 1 << 20;

/// An edge joins with its ticket. Proven by the key it will keep.
#[utoipa::path(post, path = "/v1/edge/join", tag = "edge messages", request_body = serde_json::Value,
    params(("DPoP" = String, Header, description = "A proof by the edge's key, with `bdh`.")),
    responses((status = 200, description = "`wire::JoinReply`, signed.", body = serde_json::Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn join(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    let message = match Message::open(&authority, "/v1/edge/join", request) {
        Ok(message) => message,
        Err(error) => return unsigned(&error),
    };
    let id = message.proven.proof.id;
    let answer = async {
        let key = message.proven.key;
        let request: JoinRequest = message.read(&authority, SMALL_BYTES_MAX).await?;
        authority.join(key, request).await
    };
    signed(&authority, id, answer.await)
}

/// What an edge lacks of log and settings, and its lease.
#[utoipa::path(post, path = "/v1/edge/feed", tag = "edge messages", request_body = serde_json::Value,
    params(("DPoP" = String, Header, description = "A proof by the edge's key, with `bdh`.")),
    responses((status = 200, description = "`wire::FeedReply`, signed.", body = serde_json::Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn feed(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    answer(&authority, "/v1/edge/feed", request, SMALL_BYTES_MAX, async |edge: Edge, request: FeedRequest| {
        authority.feed(&edge, &request).await
    })
    .await
}

/// The credential that a live writ is good for.
#[utoipa::path(post, path = "/v1/edge/lend", tag = "edge messages", request_body = serde_json::Value,
    params(("DPoP" = String, Header, description = "A proof by the edge's key, with `bdh`.")),
    responses((status = 200, description = "`wire::LendReply`, signed.", body = serde_json::Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn lend(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    answer(&authority, "/v1/edge/lend", request, SMALL_BYTES_MAX, async |edge: Edge, request: LendRequest| {
        authority.lend(&edge, &request).await
    })
    .await
}

/// What an edge is to hold of counts of limits.
#[utoipa::path(post, path = "/v1/edge/limits", tag = "edge messages", request_body = serde_json::Value,
    params(("DPoP" = String, Header, description = "A proof by the edge's key, with `bdh`.")),
    responses((status = 200, description = "`wire::LimitsReply`, signed.", body = serde_json::Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn limits(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    answer(&authority, "/v1/edge/limits", request, SMALL_BYTES_MAX, async |edge: Edge, request: LimitsRequest| {
        authority.allot(&edge, &request).await
    })
    .await
}

/// A request that needs a person: put before people.
#[utoipa::path(post, path = "/v1/edge/approval/ask", tag = "edge messages", request_body = serde_json::Value,
    params(("DPoP" = String, Header, description = "A proof by the edge's key, with `bdh`.")),
    responses((status = 200, description = "`wire::Standing`, signed.", body = serde_json::Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn ask(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    answer(&authority, "/v1/edge/approval/ask", request, ASKED_BYTES_MAX, async |edge: Edge, request: AskRequest| {
        authority.ask_approval(&edge, request).await
    })
    .await
}

/// Where such a request stands.
#[utoipa::path(post, path = "/v1/edge/approval/state", tag = "edge messages", request_body = serde_json::Value,
    params(("DPoP" = String, Header, description = "A proof by the edge's key, with `bdh`.")),
    responses((status = 200, description = "`wire::Standing`, signed.", body = serde_json::Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn standing(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    answer(
        &authority,
        "/v1/edge/approval/state",
        request,
        SMALL_BYTES_MAX,
        async |_: Edge, request: StandingRequest| authority.approval_standing(request.handle).await,
    )
    .await
}

/// Uses an approval up.
#[utoipa::path(post, path = "/v1/edge/approval/redeem", tag = "edge messages", request_body = serde_json::Value,
    params(("DPoP" = String, Header, description = "A proof by the edge's key, with `bdh`.")),
    responses((status = 200, description = "`policy::Approval`, signed.", body = serde_json::Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn redeem(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    answer(
        &authority,
        "/v1/edge/approval/redeem",
        request,
        ASKED_BYTES_MAX,
        async |edge: Edge, request: RedeemRequest| authority.redeem_approval(&edge, &request).await,
    )
    .await
}

/// Records of an edge's journal.
#[utoipa::path(post, path = "/v1/edge/audit", tag = "edge messages", request_body = serde_json::Value,
    params(("DPoP" = String, Header, description = "A proof by the edge's key, with `bdh`.")),
    responses((status = 200, description = "`wire::AuditReceipt`, signed.", body = serde_json::Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn audit(State(authority): State<Arc<Authority>>, request: Request) -> Response {
    answer(&authority, "/v1/edge/audit", request, MESSAGE_BYTES_MAX, async |edge: Edge, shipment: AuditShipment| {
        authority.take_shipment(&edge, &shipment).await
    })
    .await
}

/// A message whose head is proven; its body is unread.
struct Message {
    headers: HeaderMap,
    proven: ProvenHead,
    body: Body,
}

impl Message {
    fn open(authority: &Authority, path: &str, request: Request) -> Result<Self, AuthorityError> {
        let (parts, body) = request.into_parts();
        let proven = authority.proof_of_head(path, proof(&parts.headers)?)?;
        Ok(Self { headers: parts.headers, proven, body })
    }

    /// Reads the body and checks that the proof covers it. The proof is used up.
    async fn read<T: DeserializeOwned>(self, authority: &Authority, bytes_max: usize) -> Result<T, AuthorityError> {
        if media_type(&self.headers) != "application/json" {
            return Err(AuthorityError::MediaType("`application/json`"));
        }
        let bytes = read_body(authority, self.body, bytes_max).await?;
        authority.proof_of_body(&self.proven, &bytes)?;
        parse(&bytes)
    }
}

/// Answers a message of a registered edge.
async fn answer<T: DeserializeOwned, R: Serialize>(
    authority: &Authority,
    path: &str,
    request: Request,
    bytes_max: usize,
    act: impl AsyncFnOnce(Edge, T) -> Result<R, AuthorityError>,
) -> Response {
    let message = match Message::open(authority, path, request) {
        Ok(message) => message,
        Err(error) => return unsigned(&error),
    };
    let id = message.proven.proof.id;
    let answer = async {
        // Before the body is read: only an edge may send a long one.
        let edge = authority.edge_lately(&message.proven.key).await?;
        let request = message.read(authority, bytes_max).await?;
        act(edge, request).await
    };
    signed(authority, id, answer.await)
}

/// An answer that its edge can tell from anybody else's.
fn signed<R: Serialize>(authority: &Authority, proof: ProofId, answer: Result<R, AuthorityError>) -> Response {
    let (status, body, content_type) = match answer {
        Ok(reply) => {
            // Expect safety: every message of `wire` is a structure with string keys.
            let body = serde_json::to_vec(&reply).expect("a reply serialises");
            (StatusCode::OK, body, HeaderValue::from_static("application/json"))
        }
        Err(error) => refusal(&error),
    };
    let signature = authority.sign_reply(proof, status.as_u16(), &body);
    let mut response = plain(status, body, content_type);
    if let Ok(signature) = HeaderValue::from_str(&signature) {
        response.headers_mut().insert(SIGNATURE_HEADER, signature);
    }
    response
}

/// An answer to nobody in particular: there is no proof that it could be bound to.
fn unsigned(error: &AuthorityError) -> Response {
    let (status, body, content_type) = refusal(error);
    plain(status, body, content_type)
}

fn refusal(error: &AuthorityError) -> (StatusCode, Vec<u8>, HeaderValue) {
    problem::log(error);
    (error.status_and_code().0, Problem::from(error).body(), PROBLEM_JSON)
}

fn plain(status: StatusCode, body: Vec<u8>, content_type: HeaderValue) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

impl Authority {
    fn sign_reply(&self, proof: ProofId, status: u16, body: &[u8]) -> String {
        sign_reply(&self.key, proof, status, body)
    }
}
