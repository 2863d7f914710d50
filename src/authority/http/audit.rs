//! `/v1/audit`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Params, Reader};
use super::problem::Problem;
use crate::audit::{Checkpoint, Record, Source};
use crate::authority::shipment::check_query;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::store::AuditQuery;

/// Which records are wanted. Everything that is given must match.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditParams {
    /// One chain: `authority` or `edge:<name>`.
    #[param(value_type = Option<String>)]
    source: Option<Source>,
    /// After this place of that chain.
    after_seq: Option<u64>,
    /// After this position of the whole log.
    after: Option<u64>,
    /// Written at or after this time, in milliseconds since 1970.
    since: Option<i64>,
    /// Written before this time.
    until: Option<i64>,
    /// The agent of a decision, or the actor or object of a change.
    agent: Option<Box<str>>,
    /// The user of a decision.
    subject: Option<Box<str>>,
    /// The service of a decision.
    service: Option<Box<str>>,
    /// A request's decision and outcome.
    request: Option<Box<str>>,
    /// A block id in the chain of a decision, or the object of a change.
    block: Option<Box<str>>,
    /// `allowed` or `denied`.
    verdict: Option<Box<str>>,
    /// At most this many, up to 1000; 100 if not given.
    limit: Option<u32>,
}

impl From<AuditParams> for AuditQuery {
    fn from(params: AuditParams) -> Self {
        Self {
            source: params.source,
            after_seq: params.after_seq,
            after: params.after,
            since: params.since.map(Timestamp::from_millis),
            until: params.until.map(Timestamp::from_millis),
            agent: params.agent,
            subject: params.subject,
            service: params.service,
            request: params.request,
            block: params.block,
            verdict: params.verdict,
            limit: params.limit.unwrap_or(100),
        }
    }
}

/// A record with its position in the whole log.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PositionedRecord {
    /// Its position: `after` the last one comes the next page.
    position: u64,
    /// The record, its event as the exact text that was hashed.
    #[schema(value_type = Object)]
    record: Record,
}

/// Whose checkpoints are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfSource {
    /// `authority` or `edge:<name>`.
    #[param(value_type = String)]
    source: Source,
}

/// Records of the audit log, in the order in which they came.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", security(("operator" = ["reader"])), params(AuditParams),
    responses((status = 200, body = Vec<PositionedRecord>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn query(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(params): Params<AuditParams>,
) -> Result<Json<Vec<PositionedRecord>>, AuthorityError> {
    let query = params.into();
    check_query(&query)?;
    let records = authority.audit(&query).await?;
    Ok(Json(records.into_iter().map(|(position, record)| PositionedRecord { position, record }).collect()))
}

/// Every chain of the audit log.
#[utoipa::path(get, path = "/v1/audit/sources", tag = "audit", security(("operator" = ["reader"])),
    responses((status = 200, body = Vec<String>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn sources(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
) -> Result<Json<Vec<Source>>, AuthorityError> {
    Ok(Json(authority.audit_sources().await?))
}

/// The signed heads of one chain, oldest first.
#[utoipa::path(get, path = "/v1/audit/checkpoints", tag = "audit", security(("operator" = ["reader"])), params(OfSource),
    responses((status = 200, body = Vec<serde_json::Value>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn checkpoints(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfSource>,
) -> Result<Json<Vec<Checkpoint>>, AuthorityError> {
    Ok(Json(authority.checkpoints(&of.source).await?))
}
