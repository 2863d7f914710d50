//! `/v1/approvals`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Approver, Body, OfTenant, Params, Reader, Segment};
use super::problem::Problem;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{AgentName, ApprovalId, EdgeName, Note, OperatorName, Subject, TenantName};
use crate::policy::{ApprovalState, Asked, Asker};
use crate::store::{ApprovalRecord, ApprovalSummary, AskedSummary, Listed};

/// Which requests are meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The tenant; `default` if not given.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantName>,
    /// Also those that are decided or over, for a day.
    #[serde(default)]
    all: bool,
}

/// A request that needs a person, in short.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApprovalRow {
    /// Its handle.
    #[schema(value_type = String)]
    handle: ApprovalId,
    /// Where it stands.
    state: ApprovalState,
    /// The agent that asks.
    #[schema(value_type = String)]
    agent: AgentName,
    /// For whom, if for a user.
    #[schema(value_type = Option<String>)]
    subject: Option<Subject>,
    /// `method`, `url` without query, `body_bytes`, `does`, `demands` and `policy_version`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    asked: AskedSummary,
    /// When it was asked, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
    /// The end of the state it is in, in milliseconds since 1970.
    #[schema(value_type = i64)]
    expires: Timestamp,
    /// Who decided.
    #[schema(value_type = Option<String>)]
    decided_by: Option<OperatorName>,
}

/// A request that needs a person: exactly what would be sent, and for whom.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApprovalView {
    /// Its handle.
    #[schema(value_type = String)]
    handle: ApprovalId,
    /// Where it stands.
    state: ApprovalState,
    /// What would be sent: `spec/approval.md` has the members. Absent once it can neither be decided nor sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    asked: Option<Asked>,
    /// The same in short: `method`, `url` without query, `body_bytes`, `does`, `demands` and `policy_version`.
    #[schema(value_type = Object)]
    summary: AskedSummary,
    /// What is to be confirmed: the digest of `asked`, in hexadecimal.
    digest: String,
    /// Who asks: the chain of the writ.
    #[schema(value_type = Object)]
    asker: Asker,
    /// The edge that would send it.
    #[schema(value_type = String)]
    edge: EdgeName,
    /// When it was asked, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
    /// The end of the state it is in, in milliseconds since 1970.
    #[schema(value_type = i64)]
    expires: Timestamp,
    /// What was decided.
    decided: Option<DecidedView>,
}

/// A decision.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DecidedView {
    /// By whom.
    #[schema(value_type = String)]
    by: OperatorName,
    /// As what: the `@approval` texts that the operator satisfied.
    #[serde(rename = "as")]
    #[schema(value_type = Vec<String>)]
    satisfies: Vec<Box<str>>,
    /// When, in milliseconds since 1970.
    #[schema(value_type = i64)]
    at: Timestamp,
    /// What was written beside it.
    #[schema(value_type = Option<String>)]
    note: Option<Note>,
}

/// What is approved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveBody {
    /// The digest of what the operator has seen.
    #[serde(with = "crate::policy::approval::hex_digest")]
    #[schema(value_type = String)]
    digest: [u8; 32],
    /// A remark for the record.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    note: Option<Note>,
}

/// Why it is denied.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DenyBody {
    /// A remark for the record.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    note: Option<Note>,
}

impl From<ApprovalSummary> for ApprovalRow {
    fn from(summary: ApprovalSummary) -> Self {
        let ApprovalSummary { handle, agent, subject, asked, created, expires, state, decided_by } = summary;
        Self { handle, state, agent, subject, asked, created, expires, decided_by }
    }
}

impl From<(ApprovalRecord, Option<Asked>)> for ApprovalView {
    fn from((record, asked): (ApprovalRecord, Option<Asked>)) -> Self {
        let ApprovalRecord { new, state, decided } = record;
        let digest = hex::encode(new.asked.digest);
        let decided = decided.map(|decided| DecidedView {
            by: decided.by,
            satisfies: decided.satisfies,
            at: decided.at,
            note: decided.note,
        });
        Self {
            handle: new.handle,
            state,
            asked,
            summary: new.asked.summary,
            digest,
            asker: new.asker,
            edge: new.edge,
            created: new.created,
            expires: new.expires,
            decided,
        }
    }
}

/// The requests of a tenant that wait for a person, the latest first, at most 200.
#[utoipa::path(get, path = "/v1/approvals", tag = "approvals", security(("operator" = ["reader"])), params(Which),
    responses((status = 200, body = Vec<ApprovalRow>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(which): Params<Which>,
) -> Result<Json<Vec<ApprovalRow>>, AuthorityError> {
    let listed = if which.all { Listed::All } else { Listed::Pending };
    let rows = authority.approvals(&which.tenant.unwrap_or_default(), listed).await?;
    Ok(Json(rows.into_iter().map(Into::into).collect()))
}

/// One of them, all of it.
#[utoipa::path(get, path = "/v1/approvals/{handle}", tag = "approvals", security(("operator" = ["reader"])),
    params(("handle" = String, Path, description = "The handle."), OfTenant),
    responses((status = 200, body = ApprovalView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Segment(handle): Segment<ApprovalId>,
    Params(of): Params<OfTenant>,
) -> Result<Json<ApprovalView>, AuthorityError> {
    Ok(Json(authority.approval(&of.tenant(), handle).await?.into()))
}

/// Lets exactly this be sent, once. Only who is named by the policies that demand it, and never who asked.
#[utoipa::path(post, path = "/v1/approvals/{handle}/approve", tag = "approvals", security(("operator" = ["approver"])),
    params(("handle" = String, Path, description = "The handle."), OfTenant), request_body = ApproveBody,
    responses((status = 204, description = "Approved."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn approve(
    State(authority): State<Arc<Authority>>,
    Approver(by): Approver,
    Segment(handle): Segment<ApprovalId>,
    Params(of): Params<OfTenant>,
    Body(ApproveBody { digest, note }): Body<ApproveBody>,
) -> Result<StatusCode, AuthorityError> {
    authority.approve(&by, &of.tenant(), handle, &digest, note).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Does not let it be sent. The same request is not put again until this expires.
#[utoipa::path(post, path = "/v1/approvals/{handle}/deny", tag = "approvals", security(("operator" = ["approver"])),
    params(("handle" = String, Path, description = "The handle."), OfTenant), request_body = DenyBody,
    responses((status = 204, description = "Denied."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn deny(
    State(authority): State<Arc<Authority>>,
    Approver(by): Approver,
    Segment(handle): Segment<ApprovalId>,
    Params(of): Params<OfTenant>,
    Body(DenyBody { note }): Body<DenyBody>,
) -> Result<StatusCode, AuthorityError> {
    authority.deny(&by, &of.tenant(), handle, note).await?;
    Ok(StatusCode::NO_CONTENT)
}
