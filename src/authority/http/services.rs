//! `/v1/services`

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Administrator, OfTenant, Params, Reader, Segment, media_type, parse, read_body};
use super::problem::Problem;
use crate::authority::{Authority, AuthorityError};
use crate::catalog::Service;
use crate::id::ServiceName;

/// The longest service in bytes.
const SERVICE_BYTES_MAX: usize = 1 << 20;

/// A service in its JSON form, or in TOML as `text/plain` or `application/toml`. Checked.
pub(super) struct ServiceBody(Service);

impl FromRequest<Arc<Authority>> for ServiceBody {
    type Rejection = AuthorityError;

    async fn from_request(request: Request, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let media_type = media_type(request.headers());
        if !matches!(&*media_type, "application/json" | "application/toml" | "text/plain") {
            return Err(AuthorityError::MediaType("`application/json`, or TOML as `text/plain`"));
        }
        let bytes = read_body(authority, request.into_body(), SERVICE_BYTES_MAX).await?;
        if media_type == "application/json" {
            return parse(&bytes).map(Self);
        }
        let text =
            std::str::from_utf8(&bytes).map_err(|_| AuthorityError::Malformed("the body is not UTF-8".into()))?;
        Service::from_toml(text).map(Self).map_err(|error| AuthorityError::Malformed(error.to_string()))
    }
}

/// What came of a change of the catalog.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CatalogVersion {
    /// The catalog's version: edges that know it serve what was changed.
    version: u64,
}

/// A tenant's services by name.
#[utoipa::path(get, path = "/v1/services", tag = "services", security(("operator" = ["reader"])), params(OfTenant),
    responses((status = 200, description = "Services as `spec/catalog.md` defines them.", body = Vec<serde_json::Value>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
) -> Result<Json<Vec<Service>>, AuthorityError> {
    Ok(Json(authority.services(&of.tenant()).await?))
}

/// Adds a service or replaces the one of that name.
#[utoipa::path(put, path = "/v1/services/{name}", tag = "services", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The service; the same as in the body."), OfTenant),
    request_body(description = "A service as `spec/catalog.md` defines it.", content((serde_json::Value = "application/json"), (String = "text/plain"))),
    responses((status = 200, body = CatalogVersion), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<ServiceName>,
    Params(of): Params<OfTenant>,
    ServiceBody(service): ServiceBody,
) -> Result<Json<CatalogVersion>, AuthorityError> {
    if *service.name() != name {
        let message =
            format!("the path says `{name}` and the service's `name` says `{}`: make them equal", service.name());
        return Err(AuthorityError::Malformed(message));
    }
    let version = authority.put_service(&by, &of.tenant(), &service).await?;
    Ok(Json(CatalogVersion { version }))
}

/// One service.
#[utoipa::path(get, path = "/v1/services/{name}", tag = "services", security(("operator" = ["reader"])),
    params(("name" = String, Path, description = "The service."), OfTenant),
    responses((status = 200, description = "A service as `spec/catalog.md` defines it.", body = serde_json::Value), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Segment(name): Segment<ServiceName>,
    Params(of): Params<OfTenant>,
) -> Result<Json<Service>, AuthorityError> {
    Ok(Json(authority.service(&of.tenant(), &name).await?))
}

/// Removes a service.
#[utoipa::path(delete, path = "/v1/services/{name}", tag = "services", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The service."), OfTenant),
    responses((status = 200, body = CatalogVersion), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<ServiceName>,
    Params(of): Params<OfTenant>,
) -> Result<Json<CatalogVersion>, AuthorityError> {
    let version = authority.remove_service(&by, &of.tenant(), &name).await?;
    Ok(Json(CatalogVersion { version }))
}
