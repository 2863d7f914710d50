//! `/v1/identity/{provider}/global-token-revocation`

use std::sync::Arc;

use axum::extract::{Request, State};
use http::StatusCode;

use super::extract::{Segment, bearer, media_type, read_body};
use super::problem::Problem;
use crate::authority::{Authority, AuthorityError};
use crate::id::ProviderName;
use crate::identity::TOKEN_BYTES_MAX;

/// The longest body in bytes.
const BODY_BYTES_MAX: usize = 32 << 10;

/// Ends everything of the user whom `sub_id` (RFC 9493) names; answers once no edge serves it (Global Token Revocation). The caller
/// is the provider, by a token that it signed or by its SCIM client's secret.
#[utoipa::path(post, path = "/v1/identity/{provider}/global-token-revocation", tag = "identity",
    params(("provider" = String, Path, description = "The provider, as the settings call it.")),
    request_body(description = "An object with `sub_id`, a subject identifier (RFC 9493).", content_type = "application/json"),
    responses((status = 204, description = "No edge serves anything of the user."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(authority): State<Arc<Authority>>,
    Segment(provider): Segment<ProviderName>,
    request: Request,
) -> Result<StatusCode, AuthorityError> {
    if media_type(request.headers()) != "application/json" {
        return Err(AuthorityError::MediaType("`application/json`"));
    }
    let secret = bearer(request.headers(), TOKEN_BYTES_MAX).ok_or(AuthorityError::NoRevocationCaller)?.to_owned();
    let body = read_body(&authority, request.into_body(), BODY_BYTES_MAX).await?;
    authority.revoke_globally(&provider, &secret, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}
