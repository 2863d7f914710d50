//! `/scim/v2/Users`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::{Asked, Client, Id, ScimBody, ScimProblem, shown, with_revocation};
use crate::authority::Authority;
use crate::authority::http::scim::search::{by_body, by_query};
use crate::authority::scim::Edit;
use crate::identity::scim::USER;

/// Users, in the order of their creation.
#[utoipa::path(get, path = "/scim/v2/Users", tag = "scim", security(("scim" = [])), operation_id = "scim_users_list",
    params(
        ("filter" = Option<String>, Query, description = "RFC 7644 section 3.4.2.2."),
        ("startIndex" = Option<i64>, Query, description = "From 1."),
        ("count" = Option<i64>, Query, description = "At most 200; 100 if not given."),
        ("attributes" = Option<String>, Query, description = "The wanted attributes, separated by commas."),
        ("excludedAttributes" = Option<String>, Query, description = "The attributes that are not wanted.")),
    responses((status = 200, description = "A list, `application/scim+json`.")))]
pub(in crate::authority::http) async fn list(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    asked: Asked,
) -> Result<Response, ScimProblem> {
    by_query(&authority, &by, &USER, asked).await
}

/// Searches among users.
#[utoipa::path(post, path = "/scim/v2/Users/.search", tag = "scim", security(("scim" = [])), operation_id = "scim_users_search",
    request_body(description = "A search request.", content_type = "application/scim+json"),
    responses((status = 200, description = "A list, `application/scim+json`.")))]
pub(in crate::authority::http) async fn search(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimProblem> {
    by_body(&authority, &by, &[&USER], &body).await
}

/// Adds a user.
#[utoipa::path(post, path = "/scim/v2/Users", tag = "scim", security(("scim" = [])), operation_id = "scim_users_add",
    request_body(description = "The user.", content_type = "application/scim+json"),
    responses((status = 201, description = "The user as it stands, `application/scim+json`.")))]
pub(in crate::authority::http) async fn add(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    asked: Asked,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimProblem> {
    let stored = authority.scim_add_user(&by, &body).await?;
    Ok(shown(StatusCode::CREATED, &USER, stored, &asked.projection))
}

/// A user.
#[utoipa::path(get, path = "/scim/v2/Users/{id}", tag = "scim", security(("scim" = [])), operation_id = "scim_users_show",
    params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The user, `application/scim+json`."), (status = 304, description = "The client has it.")))]
pub(in crate::authority::http) async fn show(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    Id(id): Id,
    asked: Asked,
) -> Result<Response, ScimProblem> {
    let stored = authority.scim_user(&by, id).await?;
    if asked.has(stored.version) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    Ok(shown(StatusCode::OK, &USER, stored, &asked.projection))
}

/// Replaces a user; answers once no edge serves what that ended.
#[utoipa::path(put, path = "/scim/v2/Users/{id}", tag = "scim", security(("scim" = [])), operation_id = "scim_users_replace",
    params(("id" = String, Path, description = "The id.")),
    request_body(description = "The user.", content_type = "application/scim+json"),
    responses((status = 200, description = "The user as it stands, `application/scim+json`.")))]
pub(in crate::authority::http) async fn replace(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    Id(id): Id,
    asked: Asked,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimProblem> {
    let stored = authority.scim_change_user(&by, id, &Edit::Replace(body), &asked.if_match).await?;
    Ok(shown(StatusCode::OK, &USER, stored, &asked.projection))
}

/// Changes parts of a user; answers once no edge serves what that ended.
#[utoipa::path(patch, path = "/scim/v2/Users/{id}", tag = "scim", security(("scim" = [])), operation_id = "scim_users_patch",
    params(("id" = String, Path, description = "The id.")),
    request_body(description = "The operations.", content_type = "application/scim+json"),
    responses((status = 200, description = "The user as it stands, `application/scim+json`.")))]
pub(in crate::authority::http) async fn patch(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    Id(id): Id,
    asked: Asked,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimProblem> {
    let stored = authority.scim_change_user(&by, id, &Edit::Patch(body), &asked.if_match).await?;
    Ok(shown(StatusCode::OK, &USER, stored, &asked.projection))
}

/// Deletes a user; answers once no edge serves what that ended.
#[utoipa::path(delete, path = "/scim/v2/Users/{id}", tag = "scim", security(("scim" = [])), operation_id = "scim_users_remove",
    params(("id" = String, Path, description = "The id.")),
    responses((status = 204, description = "Deleted.")))]
pub(in crate::authority::http) async fn remove(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    Id(id): Id,
    asked: Asked,
) -> Result<Response, ScimProblem> {
    let ended = authority.scim_delete_user(&by, id, &asked.if_match).await?;
    Ok(with_revocation(StatusCode::NO_CONTENT.into_response(), ended))
}
