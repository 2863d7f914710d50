//! `/v1/operators` and `/v1/vault`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Administrator, Body};
use super::problem::Problem;
use crate::authority::{Authority, AuthorityError};
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

/// Wraps everything sealed under an older key-encryption key anew under the active one, while serving.
#[utoipa::path(post, path = "/v1/vault/rewrap", tag = "vault", security(("operator" = [])),
    responses((status = 200, body = Rewrapped), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rewrap(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
) -> Result<Json<Rewrapped>, AuthorityError> {
    Ok(Json(Rewrapped { rewrapped: authority.rewrap(&by).await? }))
}
