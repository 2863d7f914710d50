//! `/v1/operators` and `/v1/vault`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Administrator, Body, Segment};
use super::problem::Problem;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::OperatorName;
use crate::wire::WireSecret;

/// An operator to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOperator {
    /// The name.
    #[schema(value_type = String, example = "alice")]
    name: OperatorName,
}

/// An operator's secret. Shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OperatorView {
    /// The name.
    #[schema(value_type = String)]
    name: OperatorName,
    /// The secret.
    #[schema(value_type = String)]
    secret: WireSecret,
}

/// An operator.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OperatorEntry {
    /// The name.
    #[schema(value_type = String)]
    name: OperatorName,
    /// When the operator was added, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
}

/// What came of a rewrap.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rewrapped {
    /// How many sealed secrets were wrapped anew.
    rewrapped: u64,
}

/// Adds an operator.
#[utoipa::path(post, path = "/v1/operators", tag = "operators", security(("operator" = [])), request_body = NewOperator,
    responses((status = 201, body = OperatorView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add_operator(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Body(new): Body<NewOperator>,
) -> Result<(StatusCode, Json<OperatorView>), AuthorityError> {
    let secret = authority.add_operator(&by, new.name.clone()).await?;
    Ok((StatusCode::CREATED, Json(OperatorView { name: new.name, secret: WireSecret(secret) })))
}

/// All operators, by name.
#[utoipa::path(get, path = "/v1/operators", tag = "operators", security(("operator" = [])),
    responses((status = 200, body = Vec<OperatorEntry>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_operators(
    State(authority): State<Arc<Authority>>,
    _by: Administrator,
) -> Result<Json<Vec<OperatorEntry>>, AuthorityError> {
    let entry = |(name, created)| OperatorEntry { name, created };
    Ok(Json(authority.operators().await?.into_iter().map(entry).collect()))
}

/// Removes an operator: the secret counts no longer. The last operator stays.
#[utoipa::path(delete, path = "/v1/operators/{name}", tag = "operators", security(("operator" = [])),
    params(("name" = String, Path, description = "The operator.")),
    responses((status = 204, description = "Removed."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_operator(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<OperatorName>,
) -> Result<StatusCode, AuthorityError> {
    authority.remove_operator(&by, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Wraps everything sealed under an older key-encryption key anew under the active one, while serving.
#[utoipa::path(post, path = "/v1/vault/rewrap", tag = "vault", security(("operator" = [])),
    responses((status = 200, body = Rewrapped), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rewrap(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
) -> Result<Json<Rewrapped>, AuthorityError> {
    Ok(Json(Rewrapped { rewrapped: authority.rewrap(&by).await? }))
}
