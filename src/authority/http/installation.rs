//! `/v1/operators` and `/v1/vault`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Administrator, Body, Reader, Segment};
use super::problem::Problem;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::OperatorName;
use crate::policy::Role;
use crate::store::Operator;
use crate::wire::WireSecret;

/// An operator to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOperator {
    /// The name.
    #[schema(value_type = String, example = "alice")]
    name: OperatorName,
    /// What it may do: `admin`, `approver` or `auditor`; `admin` if not given.
    #[serde(default = "admin")]
    #[schema(value_type = Option<String>)]
    role: Role,
    /// The person behind it, as they sign in: `<provider>:<user>`. One person is not two where two are asked for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    person: Option<OperatorName>,
}

const fn admin() -> Role {
    Role::Admin
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
    /// What it may do.
    #[schema(value_type = String)]
    role: Role,
    /// The person behind it, where that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    person: Option<OperatorName>,
    /// When the operator was added, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
}

impl From<Operator> for OperatorEntry {
    fn from(operator: Operator) -> Self {
        let Operator { name, role, person, created, .. } = operator;
        Self { name, role, person, created }
    }
}

/// What came of a rewrap.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rewrapped {
    /// How many sealed secrets were wrapped anew.
    rewrapped: u64,
}

/// Adds an operator.
#[utoipa::path(post, path = "/v1/operators", tag = "operators", security(("operator" = ["admin"])), request_body = NewOperator,
    responses((status = 201, body = OperatorView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add_operator(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Body(new): Body<NewOperator>,
) -> Result<(StatusCode, Json<OperatorView>), AuthorityError> {
    let NewOperator { name, role, person } = new;
    let secret = authority.add_operator(&by, name.clone(), role, person).await?;
    Ok((StatusCode::CREATED, Json(OperatorView { name, secret: WireSecret(secret) })))
}

/// All operators, by name.
#[utoipa::path(get, path = "/v1/operators", tag = "operators", security(("operator" = ["reader"])),
    responses((status = 200, body = Vec<OperatorEntry>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_operators(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
) -> Result<Json<Vec<OperatorEntry>>, AuthorityError> {
    Ok(Json(authority.operators().await?.into_iter().map(Into::into).collect()))
}

/// Removes an operator: the secret counts no longer. The last admin stays.
#[utoipa::path(delete, path = "/v1/operators/{name}", tag = "operators", security(("operator" = ["admin"])),
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
#[utoipa::path(post, path = "/v1/vault/rewrap", tag = "vault", security(("operator" = ["admin"])),
    responses((status = 200, body = Rewrapped), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rewrap(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
) -> Result<Json<Rewrapped>, AuthorityError> {
    Ok(Json(Rewrapped { rewrapped: authority.rewrap(&by).await? }))
}
