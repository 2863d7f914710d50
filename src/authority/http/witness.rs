//! `/v1/revocations/witness`: no operator, but a token and a proof by one of its holders.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{parse_secret, proof, read_json};
use super::problem::Problem;
use super::revocations::ReceiptJson;
use crate::authority::witness::{Ended, Shown, WitnessRequest};
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::BlockId;
use crate::revocation::Receipt;
use crate::revocation::Target;

/// Where holders revoke.
pub const WITNESS_PATH: &str = "/v1/revocations/witness";

/// The longest body in bytes: a token at its largest, and a block id.
const BODY_BYTES_MAX: usize = 16 << 10;

/// What a holder wants revoked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WitnessBody {
    /// A token with the holder in its chain.
    token: String,
    /// One of its blocks: the one that made the holder a holder, or one below it. The last one if not given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    block: Option<BlockId>,
}

/// What was meant is over since long; no edge serves it, and nothing was stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OverView {
    /// What was meant.
    #[schema(value_type = String)]
    target: Target,
    /// The last moment that any of it was valid, in milliseconds since 1970.
    #[schema(value_type = i64)]
    over_since: Timestamp,
}

impl IntoResponse for Ended {
    fn into_response(self) -> Response {
        match self {
            Self::Receipt(receipt) => ReceiptJson::from(receipt).into_response(),
            Self::Over { target, since } => Json(OverView { target, over_since: since }).into_response(),
        }
    }
}

/// Revokes a block of a token for one of its holders; answers once no edge serves it. Needs no operator. Limited: 429 says
/// when to try again.
#[utoipa::path(post, path = "/v1/revocations/witness", tag = "revocations", request_body = WitnessBody,
    params(("DPoP" = String, Header, description = "A proof by a holder of the token, with `bdh`.")),
    responses((status = 200, description = "A `Receipt`, or an `OverView` where it was over since long.", body = Receipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(State(authority): State<Arc<Authority>>, request: Request) -> Result<Ended, AuthorityError> {
    let headers = request.headers().clone();
    // Before a place is taken: who sends slowly keeps nobody out.
    let body = read_json(&authority, request, BODY_BYTES_MAX).await?;
    let place = authority.witness_place()?;
    let key = authority.witness_proof(WITNESS_PATH, proof(&headers)?, &body)?;
    let WitnessBody { token, block } = parse_secret(&body)?;
    authority.revoke_witnessed(&place, Shown::By(key), &WitnessRequest { token: &token, block }).await
}
