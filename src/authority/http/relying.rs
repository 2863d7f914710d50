//! `/v1/relying`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Administrator, Body, OfTenant, Params, Reader, Segment};
use super::problem::Problem;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{AudienceName, RelyingName, TenantName};
use crate::key::PublicKey;
use crate::store::RelyingService;

/// A relying service to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRelying {
    /// Its name, unique in the tenant.
    #[schema(value_type = String, example = "billing")]
    name: RelyingName,
    /// Its public key.
    #[schema(value_type = String, example = "did:key:z6Mk...")]
    key: PublicKey,
    /// The deployment whose writs it may ask about; may be left out where there is only one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    audience: Option<AudienceName>,
}

/// A service that may ask whether a writ is active.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RelyingView {
    /// The tenant whose writs it may ask about.
    #[schema(value_type = String)]
    tenant: TenantName,
    /// Its name.
    #[schema(value_type = String)]
    name: RelyingName,
    /// Its public key.
    #[schema(value_type = String)]
    key: PublicKey,
    /// The deployment whose writs it may ask about.
    #[schema(value_type = String)]
    audience: AudienceName,
    /// When it was registered, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
}

impl From<RelyingService> for RelyingView {
    fn from(service: RelyingService) -> Self {
        let RelyingService { tenant, name, key, audience, created } = service;
        Self { tenant, name, key, audience, created }
    }
}

/// Registers a relying service by its public key.
#[utoipa::path(post, path = "/v1/relying", tag = "relying services", security(("operator" = ["admin"])), params(OfTenant), request_body = NewRelying,
    responses((status = 201, body = RelyingView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Params(of): Params<OfTenant>,
    Body(new): Body<NewRelying>,
) -> Result<(StatusCode, Json<RelyingView>), AuthorityError> {
    let service = authority.add_relying(&by, of.tenant(), new.name, new.key, new.audience).await?;
    Ok((StatusCode::CREATED, Json(service.into())))
}

/// A tenant's relying services, by name.
#[utoipa::path(get, path = "/v1/relying", tag = "relying services", security(("operator" = ["reader"])), params(OfTenant),
    responses((status = 200, body = Vec<RelyingView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
) -> Result<Json<Vec<RelyingView>>, AuthorityError> {
    let services = authority.relying(&of.tenant()).await?;
    Ok(Json(services.into_iter().map(Into::into).collect()))
}

/// Removes a relying service: its key counts no longer.
#[utoipa::path(delete, path = "/v1/relying/{name}", tag = "relying services", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The relying service."), OfTenant),
    responses((status = 204, description = "Removed."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<RelyingName>,
    Params(of): Params<OfTenant>,
) -> Result<StatusCode, AuthorityError> {
    authority.remove_relying(&by, &of.tenant(), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
