//! `/v1/scim/tokens`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::authority::http::extract::{Administrator, Body, Reader, Segment};
use crate::authority::http::problem::Problem;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{ProviderName, ScimTokenId};
use crate::wire::WireSecret;

/// Whose SCIM client is to get a secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::authority::http) struct NewScimToken {
    /// The identity provider, as the settings call it.
    #[schema(value_type = String, example = "corp")]
    provider: ProviderName,
}

/// The secret of a SCIM client. Shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::authority::http) struct ScimTokenView {
    /// Names it.
    #[schema(value_type = String)]
    id: ScimTokenId,
    /// The identity provider.
    #[schema(value_type = String)]
    provider: ProviderName,
    /// Where the client finds SCIM.
    url: String,
    /// The secret.
    #[schema(value_type = String)]
    secret: WireSecret,
}

/// That a SCIM client has a secret.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::authority::http) struct ScimTokenEntry {
    /// Names it.
    #[schema(value_type = String)]
    id: ScimTokenId,
    /// The identity provider.
    #[schema(value_type = String)]
    provider: ProviderName,
    /// When it was added, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
}

/// Adds a secret for the SCIM client of an identity provider.
#[utoipa::path(post, path = "/v1/scim/tokens", tag = "identity", security(("operator" = ["admin"])), request_body = NewScimToken,
    responses((status = 201, body = ScimTokenView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(in crate::authority::http) async fn add(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Body(new): Body<NewScimToken>,
) -> Result<(StatusCode, Json<ScimTokenView>), AuthorityError> {
    let (token, secret) = authority.add_scim_token(&by, new.provider).await?;
    let url = format!("{}{}", authority.issuer(), super::BASE);
    let view = ScimTokenView { id: token.id, provider: token.provider, url, secret: WireSecret(secret) };
    Ok((StatusCode::CREATED, Json(view)))
}

/// The secrets of all SCIM clients, by provider and age.
#[utoipa::path(get, path = "/v1/scim/tokens", tag = "identity", security(("operator" = ["reader"])),
    responses((status = 200, body = Vec<ScimTokenEntry>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(in crate::authority::http) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
) -> Result<Json<Vec<ScimTokenEntry>>, AuthorityError> {
    let tokens = authority.scim_tokens().await?.into_iter();
    Ok(Json(
        tokens.map(|token| ScimTokenEntry { id: token.id, provider: token.provider, created: token.created }).collect(),
    ))
}

/// Removes the secret of a SCIM client: it counts no longer. What the client provisioned stays.
#[utoipa::path(delete, path = "/v1/scim/tokens/{id}", tag = "identity", security(("operator" = ["admin"])),
    params(("id" = String, Path, description = "The id of the secret.")),
    responses((status = 204, description = "Removed."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(in crate::authority::http) async fn remove(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(id): Segment<ScimTokenId>,
) -> Result<StatusCode, AuthorityError> {
    authority.remove_scim_token(&by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
