//! `/v1/revocations`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Administrator, Params, Reader, SecretBody, Segment};
use super::problem::Problem;
use crate::authority::receipt::ReceiptText;
use crate::authority::revoke::{Named, RevocationRequest};
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::BlockId;
use crate::revocation::{Entry, Receipt, Target};

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

/// A receipt, byte for byte as it was given first.
pub(super) struct ReceiptJson(ReceiptText);

impl From<ReceiptText> for ReceiptJson {
    fn from(receipt: ReceiptText) -> Self {
        Self(receipt)
    }
}

impl IntoResponse for ReceiptJson {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.into_string()).into_response()
    }
}

/// A receipt that cannot be given yet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingView {
    /// The entry of the revocation log. It stands, and nothing takes it back.
    seq: u64,
    /// Always `pending`: some edge may still serve what it ended.
    status: &'static str,
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
#[utoipa::path(post, path = "/v1/revocations", tag = "revocations", security(("operator" = ["admin"])), request_body = RevocationBody,
    responses((status = 200, body = Receipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    SecretBody(body): SecretBody<RevocationBody>,
) -> Result<ReceiptJson, AuthorityError> {
    Ok(authority.revoke(&by, body.into_request()?).await?.into())
}

/// The most entries of the log in one answer.
const LISTED_MAX: u32 = 1000;

/// Entries of the log, in order.
#[utoipa::path(get, path = "/v1/revocations", tag = "revocations", security(("operator" = ["reader"])), params(Page),
    responses((status = 200, body = LogView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(page): Params<Page>,
) -> Result<Json<LogView>, AuthorityError> {
    if !(1..=LISTED_MAX).contains(&page.limit) {
        return Err(AuthorityError::Malformed(format!("`limit` must be between 1 and {LISTED_MAX}")));
    }
    let (head, entries) = authority.revocations(page.after, page.limit).await?;
    Ok(Json(LogView { head, entries: entries.iter().map(Into::into).collect() }))
}

/// One entry of the log.
#[utoipa::path(get, path = "/v1/revocations/{seq}", tag = "revocations", security(("operator" = ["reader"])),
    params(("seq" = u64, Path, description = "Its place in the log.")),
    responses((status = 200, body = EntryView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Segment(seq): Segment<u64>,
) -> Result<Json<EntryView>, AuthorityError> {
    Ok(Json((&authority.revocation(seq).await?).into()))
}

/// The receipt for an entry. Waits for it as long as a receipt can take; after that it is still pending.
#[utoipa::path(get, path = "/v1/revocations/{seq}/receipt", tag = "revocations", security(("operator" = ["reader"])),
    params(("seq" = u64, Path, description = "The entry's place in the log.")),
    responses((status = 200, body = Receipt), (status = 202, body = PendingView),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn receipt(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Segment(seq): Segment<u64>,
) -> Result<Response, AuthorityError> {
    Ok(match authority.receipt(seq).await? {
        Some(receipt) => ReceiptJson(receipt).into_response(),
        None => (StatusCode::ACCEPTED, Json(PendingView { seq, status: "pending" })).into_response(),
    })
}
