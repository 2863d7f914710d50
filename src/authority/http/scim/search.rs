//! Lists and searches (RFC 7644 sections 3.4.2 and 3.4.3).

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Asked, Client, ScimBody, ScimProblem, SearchText, answer};
use crate::authority::Authority;
use crate::authority::scim::{Provisioner, RESULTS_MAX, Search};
use crate::identity::scim::{Fault, GROUP, Model, Projection, Refused, Resource, USER, urn};

/// Answers a search.
async fn found(
    authority: &Authority,
    by: &Provisioner,
    models: &[&'static Model],
    search: &Search,
) -> Result<Response, ScimProblem> {
    let found = authority.scim_search(by, models, search).await?;
    let body = json!({
        "schemas": [urn::LIST], "totalResults": found.total, "itemsPerPage": found.resources.len(),
        "startIndex": search.skip + 1, "Resources": found.resources,
    });
    Ok(answer(StatusCode::OK, &body))
}

/// A search by the query.
pub(super) async fn by_query(
    authority: &Authority,
    by: &Provisioner,
    model: &'static Model,
    asked: Asked,
) -> Result<Response, ScimProblem> {
    let search = asked.search.into_search(asked.projection, RESULTS_MAX);
    found(authority, by, &[model], &search).await
}

/// A search by the body.
pub(super) async fn by_body(
    authority: &Authority,
    by: &Provisioner,
    models: &[&'static Model],
    body: &Resource,
) -> Result<Response, ScimProblem> {
    found(authority, by, models, &read(body)?).await
}

fn read(body: &Resource) -> Result<Search, Refused> {
    let invalid = |name: &str, what: &str| Refused::new(Fault::InvalidValue, format!("`{name}` must be {what}"));
    let schemas = body.get("schemas").and_then(Value::as_array);
    if !schemas.is_some_and(|schemas| schemas.iter().any(|schema| schema == urn::SEARCH)) {
        return Err(Refused::new(Fault::InvalidSyntax, format!("`schemas` must name `{}`", urn::SEARCH)));
    }
    let given = |name: &str| body.get(name).filter(|value| !value.is_null());
    let number = |name: &str| {
        let whole = |value: &Value| value.as_i64().ok_or_else(|| invalid(name, "a whole number"));
        given(name).map(whole).transpose()
    };
    let names = |name: &str| {
        let texts = |value: &Value| {
            let texts = value.as_array().and_then(|all| all.iter().map(|one| one.as_str().map(Into::into)).collect());
            texts.ok_or_else(|| invalid(name, "a list of attribute names"))
        };
        given(name).map(texts).transpose().map(Option::unwrap_or_default)
    };
    let filter = given("filter").map(|value| value.as_str().map(Into::into).ok_or_else(|| invalid("filter", "a text")));
    let text = SearchText { filter: filter.transpose()?, start: number("startIndex")?, count: number("count")? };
    let projection = Projection::new(names("attributes")?, names("excludedAttributes")?)?;
    Ok(text.into_search(projection, RESULTS_MAX))
}

/// Searches among users and groups.
#[utoipa::path(post, path = "/scim/v2/.search", tag = "scim", security(("scim" = [])),
    request_body(description = "A search request, `application/scim+json`.", content_type = "application/scim+json"),
    responses((status = 200, description = "A list, `application/scim+json`.")))]
pub(in crate::authority::http) async fn everything(
    State(authority): State<Arc<Authority>>,
    Client(by): Client,
    ScimBody(body): ScimBody,
) -> Result<Response, ScimProblem> {
    by_body(&authority, &by, &[&USER, &GROUP], &body).await
}
