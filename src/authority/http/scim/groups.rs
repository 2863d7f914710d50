//! `/scim/v2/Groups`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use super::{Asked, Client, Id, ScimBody, ScimProblem, shown, with_revocation};
use crate::authority::Authority;
use crate::authority::http::scim::search::{by_body, by_query};
use crate::authority::scim::Edit;
use crate::identity::scim::GROUP;

/// Groups, in the order of their creation.
#[utoipa::path(get, path = "/scim/v2/Groups", tag = "scim", security(("scim" = [])), operation_id = "scim_groups_list",
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
    by_query(&authority, &by, &GROUP, asked).await
}

/// Searches among groups.
#[utoipa::path(post, path = "/scim/v2/Groups/.search", tag = "scim", security(("scim" = [])), operation_id = "scim_groups_search",
    request_body(description = "A search request.", content_type = "application/scim+json"),
    responses((status = 200, description = "A list, `application/scim+json`.")))]
pub(in crate::authority::http) async fn search(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimProblem> {
    by_body(&authority, &by, &[&GROUP], &body).await
}

/// Adds a group.
#[utoipa::path(post, path = "/scim/v2/Groups", tag = "scim", security(("scim" = [])), operation_id = "scim_groups_add",
    request_body(description = "The group.", content_type = "application/scim+json"),
    responses((status = 201, description = "The group as it stands, `application/scim+json`.")))]
pub(in crate::authority::http) async fn add(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    asked: Asked,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimProblem> {
    let stored = authority.scim_add_group(&by, &body).await?;
    Ok(shown(StatusCode::CREATED, &GROUP, stored, &asked.projection))
}

/// A group.
#[utoipa::path(get, path = "/scim/v2/Groups/{id}", tag = "scim", security(("scim" = [])), operation_id = "scim_groups_show",
    params(("id" = String, Path, description = "The id.")),
    responses((status = 200, description = "The group, `application/scim+json`."), (status = 304, description = "The client has it.")))]
pub(in crate::authority::http) async fn show(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    Id(id): Id,
    asked: Asked,
) -> Result<Response, ScimProblem> {
    let stored = authority.scim_group(&by, id, asked.projection.wants(&GROUP, "members")).await?;
    if asked.has(stored.version) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    Ok(shown(StatusCode::OK, &GROUP, stored, &asked.projection))
}

/// Replaces a group; answers once no edge serves what that ended.
#[utoipa::path(put, path = "/scim/v2/Groups/{id}", tag = "scim", security(("scim" = [])), operation_id = "scim_groups_replace",
    params(("id" = String, Path, description = "The id.")),
    request_body(description = "The group.", content_type = "application/scim+json"),
    responses((status = 200, description = "The group as it stands, `application/scim+json`.")))]
pub(in crate::authority::http) async fn replace(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    Id(id): Id,
    asked: Asked,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimProblem> {
    let stored = authority.scim_change_group(&by, id, &Edit::Replace(body), &asked.if_match).await?;
    Ok(shown(StatusCode::OK, &GROUP, stored, &asked.projection))
}

/// Changes parts of a group; answers once no edge serves what that ended.
#[utoipa::path(patch, path = "/scim/v2/Groups/{id}", tag = "scim", security(("scim" = [])), operation_id = "scim_groups_patch",
    params(("id" = String, Path, description = "The id.")),
    request_body(description = "The operations.", content_type = "application/scim+json"),
    responses((status = 200, description = "The group as it stands, `application/scim+json`.")))]
pub(in crate::authority::http) async fn patch(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    Id(id): Id,
    asked: Asked,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimProblem> {
    let stored = authority.scim_change_group(&by, id, &Edit::Patch(body), &asked.if_match).await?;
    Ok(shown(StatusCode::OK, &GROUP, stored, &asked.projection))
}

/// Deletes a group; answers once no edge serves what that ended.
#[utoipa::path(delete, path = "/scim/v2/Groups/{id}", tag = "scim", security(("scim" = [])), operation_id = "scim_groups_remove",
    params(("id" = String, Path, description = "The id.")),
    responses((status = 204, description = "Deleted.")))]
pub(in crate::authority::http) async fn remove(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    Id(id): Id,
    asked: Asked,
) -> Result<Response, ScimProblem> {
    let ended = authority.scim_delete_group(&by, id, &asked.if_match).await?;
    Ok(with_revocation(StatusCode::NO_CONTENT.into_response(), ended))
}
