//! `/v1/users` and `/v1/stop`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Administrator, Body, OfTenant, Params, Reader};
use super::problem::Problem;
use crate::authority::stop::StopStatus;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{OperatorName, Subject, TenantName};
use crate::store::SuspendedUser;

/// A user who is issued nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SuspendedUserView {
    /// The tenant.
    #[schema(value_type = String)]
    tenant: TenantName,
    /// The user.
    #[schema(value_type = String)]
    subject: Subject,
    /// The latest entry of the revocation log that revoked the user.
    seq: u64,
    /// When that was, in milliseconds since 1970.
    #[schema(value_type = i64)]
    at: Timestamp,
}

impl From<SuspendedUser> for SuspendedUserView {
    fn from(user: SuspendedUser) -> Self {
        let SuspendedUser { tenant, subject, seq, at } = user;
        Self { tenant, subject, seq, at }
    }
}

/// Who may be issued writs again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reactivation {
    /// The user.
    #[schema(value_type = String, example = "alice@example.com")]
    subject: Subject,
}

/// Whether everything is stopped.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StopView {
    /// Whether nothing is issued and nothing is lent.
    stopped: bool,
    /// The entry of the revocation log that stopped everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// When that was, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    at: Option<Timestamp>,
    /// The operator who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    by: Option<OperatorName>,
    /// The operators who may lift it.
    #[schema(value_type = Vec<String>)]
    may_lift: Vec<OperatorName>,
}

impl From<Option<StopStatus>> for StopView {
    fn from(status: Option<StopStatus>) -> Self {
        match status {
            None => Self { stopped: false, seq: None, at: None, by: None, may_lift: Vec::new() },
            Some(StopStatus { stop, may_lift }) => {
                Self { stopped: true, seq: Some(stop.seq), at: Some(stop.at), by: stop.by, may_lift }
            }
        }
    }
}

/// A tenant's suspended users: revoked, and not reactivated since.
#[utoipa::path(get, path = "/v1/users/suspended", tag = "users", security(("operator" = ["reader"])), params(OfTenant),
    responses((status = 200, body = Vec<SuspendedUserView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn suspended(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
) -> Result<Json<Vec<SuspendedUserView>>, AuthorityError> {
    let users = authority.suspended_users(&of.tenant()).await?;
    Ok(Json(users.into_iter().map(Into::into).collect()))
}

/// Lets a suspended user be issued writs again. What was revoked stays revoked.
#[utoipa::path(post, path = "/v1/users/reactivate", tag = "users", security(("operator" = ["admin"])), params(OfTenant), request_body = Reactivation,
    responses((status = 204, description = "Reactivated."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn reactivate(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Params(of): Params<OfTenant>,
    Body(user): Body<Reactivation>,
) -> Result<StatusCode, AuthorityError> {
    authority.reactivate_user(&by, &of.tenant(), &user.subject).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether everything is stopped, by whom, and who could lift it.
#[utoipa::path(get, path = "/v1/stop", tag = "revocations", security(("operator" = ["reader"])),
    responses((status = 200, body = StopView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn stop(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
) -> Result<Json<StopView>, AuthorityError> {
    Ok(Json(authority.stop_status().await?.into()))
}

/// Lifts the stop that revoking `everything` made. Another operator than the one who made it must do that; what was
/// revoked stays revoked.
#[utoipa::path(post, path = "/v1/stop/lift", tag = "revocations", security(("operator" = ["admin"])),
    responses((status = 204, description = "Lifted."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn lift(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
) -> Result<StatusCode, AuthorityError> {
    authority.lift_stop(&by).await?;
    Ok(StatusCode::NO_CONTENT)
}
