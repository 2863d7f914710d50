//! What describes the server to its clients (RFC 7644 section 4).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Client, ScimProblem, answer};
use crate::authority::Authority;
use crate::authority::scim::{BASE, RESULTS_MAX, ScimError};
use crate::identity::scim::{discovery, urn};

/// With where it is found.
fn located(authority: &Authority, kind: &str, path: &str, mut document: Value) -> Value {
    document["meta"] = json!({ "resourceType": kind, "location": format!("{}{BASE}{path}", authority.issuer()) });
    document
}

fn named(authority: &Authority, kind: &str, documents: Vec<Value>) -> Vec<Value> {
    let path = |document: &Value| format!("/{kind}s/{}", document["id"].as_str().unwrap_or_default());
    documents.into_iter().map(|document| located(authority, kind, &path(&document), document)).collect()
}

fn list(documents: &[Value]) -> Response {
    let body = json!({
        "schemas": [urn::LIST], "totalResults": documents.len(), "itemsPerPage": documents.len(), "startIndex": 1,
        "Resources": documents,
    });
    answer(StatusCode::OK, &body)
}

fn one(documents: Vec<Value>, id: &str) -> Result<Response, ScimProblem> {
    let found = documents
        .into_iter()
        .find(|document| document["id"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(id)));
    Ok(answer(StatusCode::OK, &found.ok_or(ScimError::NotFound)?))
}

/// What this SCIM server can do.
#[utoipa::path(get, path = "/scim/v2/ServiceProviderConfig", tag = "scim", security(("scim" = [])),
    responses((status = 200, description = "The configuration, `application/scim+json`.")))]
pub(in crate::authority::http) async fn config(State(authority): State<Arc<Authority>>, _: Client) -> Response {
    let config = discovery::config(RESULTS_MAX);
    answer(StatusCode::OK, &located(&authority, "ServiceProviderConfig", "/ServiceProviderConfig", config))
}

/// The kinds of resource.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes", tag = "scim", security(("scim" = [])),
    responses((status = 200, description = "A list, `application/scim+json`.")))]
pub(in crate::authority::http) async fn resource_types(State(authority): State<Arc<Authority>>, _: Client) -> Response {
    list(&named(&authority, "ResourceType", discovery::resource_types()))
}

/// One kind of resource.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes/{id}", tag = "scim", security(("scim" = [])),
    params(("id" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The kind, `application/scim+json`.")))]
pub(in crate::authority::http) async fn resource_type(
    State(authority): State<Arc<Authority>>,
    _: Client,
    Path(id): Path<String>,
) -> Result<Response, ScimProblem> {
    one(named(&authority, "ResourceType", discovery::resource_types()), &id)
}

/// The schemas.
#[utoipa::path(get, path = "/scim/v2/Schemas", tag = "scim", security(("scim" = [])),
    responses((status = 200, description = "A list, `application/scim+json`.")))]
pub(in crate::authority::http) async fn schemas(State(authority): State<Arc<Authority>>, _: Client) -> Response {
    list(&named(&authority, "Schema", discovery::schemas()))
}

/// One schema.
#[utoipa::path(get, path = "/scim/v2/Schemas/{id}", tag = "scim", security(("scim" = [])),
    params(("id" = String, Path, description = "Its URN.")),
    responses((status = 200, description = "The schema, `application/scim+json`.")))]
pub(in crate::authority::http) async fn schema(
    State(authority): State<Arc<Authority>>,
    _: Client,
    Path(id): Path<String>,
) -> Result<Response, ScimProblem> {
    one(named(&authority, "Schema", discovery::schemas()), &id)
}
