//! `/v1/limits`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{OfTenant, Params, Reader};
use super::problem::Problem;
use crate::authority::limits::CountStatus;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{LimitName, TenantName};
use crate::policy::limit::Limits;

/// Which counts are meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichCounts {
    /// The tenant; `default` if not given.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantName>,
    /// The limit; all of them if not given.
    #[param(value_type = Option<String>)]
    limit: Option<LimitName>,
}

/// How much of a limit is used, for one of those it is per.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountView {
    /// The limit.
    #[schema(value_type = String, example = "mail-per-hour")]
    limit: LimitName,
    /// Whose requests: `agent:…`, `user:…`, `grant:…`, `writ:…` or `service:…`.
    #[schema(example = "agent:planner")]
    key: Box<str>,
    /// What edges hold, spent or not: calls, or a sum as exact text.
    #[schema(example = "40")]
    used: String,
    /// The bound.
    #[schema(example = "100")]
    max: String,
    /// The argument whose sum it is; absent where calls are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<Box<str>>,
    /// When the window began, in milliseconds since 1970.
    #[schema(value_type = i64)]
    start: Timestamp,
    /// When it ends.
    #[schema(value_type = i64)]
    ends: Timestamp,
}

impl From<CountStatus> for CountView {
    fn from(CountStatus { limit, count }: CountStatus) -> Self {
        Self {
            used: limit.text_of(count.used),
            max: limit.max_text(),
            sum: limit.sum().map(Into::into),
            limit: count.limit,
            key: count.key,
            start: count.start,
            ends: count.ends,
        }
    }
}

/// A tenant's limits.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LimitsView {
    /// The limits, as `spec/limits.md` defines them: all of them.
    #[schema(value_type = Vec<serde_json::Value>)]
    limit: Limits,
}

/// A tenant's limits: those of its policy set in force.
#[utoipa::path(get, path = "/v1/limits", tag = "policies", security(("operator" = ["reader"])), params(OfTenant),
    responses((status = 200, body = LimitsView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
) -> Result<Json<LimitsView>, AuthorityError> {
    Ok(Json(LimitsView { limit: authority.limits(&of.tenant()).await? }))
}

/// How much of a tenant's limits is used now, at most 1,000 counts by limit and key. What nobody has used is not listed.
#[utoipa::path(get, path = "/v1/limits/used", tag = "policies", security(("operator" = ["reader"])), params(WhichCounts),
    responses((status = 200, body = Vec<CountView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(which): Params<WhichCounts>,
) -> Result<Json<Vec<CountView>>, AuthorityError> {
    let counts = authority.limit_counts(&which.tenant.unwrap_or_default(), which.limit.as_ref()).await?;
    Ok(Json(counts.into_iter().map(Into::into).collect()))
}
