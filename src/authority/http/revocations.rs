//! `/v1/revocations`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Administrator, Params, SecretBody, Segment};
use super::problem::Problem;
use crate::authority::receipt::{EdgeOutcome, Reached, Receipt};
use crate::authority::revoke::{Named, RevocationRequest};
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{BlockId, EdgeName};
use crate::key::PublicKey;
use crate::revocation::{Entry, Target};

/// What is to be revoked: a `target`, or a `token`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevocationBody {
    /// `block:<id>`, `holder:<did:key>`, `subject:<tenant>/<sub>`, `session:<tenant>/<sid>`, `agent:<tenant>/<name>`,
    /// `acting:<tenant>/<agent>/<sub>`, `grant:<id>`,
    /// `service:<tenant>/<name>`, `credential:<tenant>/<name>`, `tenant:<name>` or `everything`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    target: Option<Target>,
    /// A token: its last holder's block dies, and what hangs below it.
    #[serde(default)]
    token: Option<String>,
    /// Another block of that token.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    block: Option<BlockId>,
    /// Why, for the audit log.
    #[serde(default)]
    reason: Option<String>,
    /// The client's own name for this request: sent again, it gets the same answer.
    #[serde(default)]
    idempotency_key: Option<String>,
    /// Must be true for the target `everything`.
    #[serde(default)]
    confirm: bool,
}

impl RevocationBody {
    /// What is asked for.
    pub(super) fn into_request(self) -> Result<RevocationRequest, AuthorityError> {
        let what = match (self.target, self.token, self.block) {
            (Some(target), None, None) => Named::Target(target),
            (None, Some(token), block) => Named::Token { token, block },
            _ => {
                let message = "give either `target`, or `token` with or without `block`";
                return Err(AuthorityError::Malformed(message.into()));
            }
        };
        let Self { reason, idempotency_key, confirm, .. } = self;
        Ok(RevocationRequest { what, reason, idempotency_key, confirm })
    }
}

/// A signed statement that no edge serves it any more. `spec/authority.md` defines the signed text.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReceiptView {
    /// The entry of the revocation log.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// The version of the settings, for a retired root key.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<u64>,
    /// What was ended.
    target: String,
    /// When it was committed, in milliseconds since 1970.
    #[schema(value_type = i64)]
    committed: Timestamp,
    /// How long it took until no edge served it.
    elapsed_ms: u128,
    /// How long that can take at most.
    bound_ms: u128,
    /// How each edge came to it.
    edges: Vec<EdgeOutcomeView>,
    /// The issuer.
    issuer: Box<str>,
    /// The authority's key.
    #[schema(value_type = String)]
    key: PublicKey,
    /// Its signature, base64url.
    signature: String,
}

/// How one edge came to it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EdgeOutcomeView {
    /// The edge.
    #[schema(value_type = String)]
    edge: EdgeName,
    /// Its key.
    #[schema(value_type = String)]
    key: PublicKey,
    /// `acknowledged`, or `lease_ended` if it was silent for longer than any lease.
    how: &'static str,
    /// When that was known, in milliseconds since 1970.
    #[schema(value_type = i64)]
    at: Timestamp,
}

impl From<Receipt> for ReceiptView {
    fn from(receipt: Receipt) -> Self {
        let (seq, settings) = match receipt.reached {
            Reached::Log(seq) => (Some(seq), None),
            Reached::Settings(version) => (None, Some(version)),
        };
        let outcome = |EdgeOutcome { edge, key, how, at }| EdgeOutcomeView { edge, key, how: how.as_str(), at };
        Self {
            seq,
            settings,
            target: receipt.target,
            committed: receipt.committed,
            elapsed_ms: receipt.elapsed.as_millis(),
            bound_ms: receipt.bound.as_millis(),
            edges: receipt.edges.into_iter().map(outcome).collect(),
            issuer: receipt.issuer,
            key: receipt.key,
            signature: receipt.signature,
        }
    }
}

/// One line of the revocation log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EntryView {
    /// Its place in the log.
    seq: u64,
    /// What it kills.
    #[schema(value_type = String)]
    target: Target,
    /// When it was committed, in milliseconds since 1970.
    #[schema(value_type = i64)]
    at: Timestamp,
    /// The last moment that anything it could kill is valid.
    #[schema(value_type = i64)]
    forget_after: Timestamp,
}

impl From<&Entry> for EntryView {
    fn from(entry: &Entry) -> Self {
        Self { seq: entry.seq, target: entry.target.clone(), at: entry.at, forget_after: entry.forget_after }
    }
}

/// A part of the revocation log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogView {
    /// The log's head.
    head: u64,
    /// Its entries, in order.
    entries: Vec<EntryView>,
}

/// Which entries are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// Only those after this place; from the beginning if not given.
    #[serde(default)]
    after: u64,
    /// At most this many, up to 1000; 100 if not given.
    #[serde(default = "limit_default")]
    limit: u32,
}

const fn limit_default() -> u32 {
    100
}

/// Revokes; answers once no edge can serve it. There is no way to take it back.
#[utoipa::path(post, path = "/v1/revocations", tag = "revocations", security(("operator" = [])), request_body = RevocationBody,
    responses((status = 200, body = ReceiptView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    SecretBody(body): SecretBody<RevocationBody>,
) -> Result<Json<ReceiptView>, AuthorityError> {
    Ok(Json(authority.revoke(&by, body.into_request()?).await?.into()))
}

/// The most entries of the log in one answer.
const LISTED_MAX: u32 = 1000;

/// Entries of the log, in order.
#[utoipa::path(get, path = "/v1/revocations", tag = "revocations", security(("operator" = [])), params(Page),
    responses((status = 200, body = LogView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Administrator,
    Params(page): Params<Page>,
) -> Result<Json<LogView>, AuthorityError> {
    if !(1..=LISTED_MAX).contains(&page.limit) {
        return Err(AuthorityError::Malformed(format!("`limit` must be between 1 and {LISTED_MAX}")));
    }
    let (head, entries) = authority.revocations(page.after, page.limit).await?;
    Ok(Json(LogView { head, entries: entries.iter().map(Into::into).collect() }))
}

/// One entry of the log.
#[utoipa::path(get, path = "/v1/revocations/{seq}", tag = "revocations", security(("operator" = [])),
    params(("seq" = u64, Path, description = "Its place in the log.")),
    responses((status = 200, body = EntryView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(authority): State<Arc<Authority>>,
    _by: Administrator,
    Segment(seq): Segment<u64>,
) -> Result<Json<EntryView>, AuthorityError> {
    Ok(Json((&authority.revocation(seq).await?).into()))
}
