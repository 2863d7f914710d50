//! `/v1/identity/{provider}/events`: security events that a provider's transmitter pushes (RFC 8935).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Segment, bearer, media_type, read_body};
use super::problem::Problem;
use super::token::describable;
use crate::authority::event::EventRefused;
use crate::authority::{Authority, AuthorityError};
use crate::id::ProviderName;
use crate::identity::TOKEN_BYTES_MAX;

/// The longest secret of a transmitter that is looked at.
const SECRET_BYTES_MAX: usize = 4096;

/// Why an event is not accepted (RFC 8935 section 2.3).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventProblem {
    /// `invalid_request`, or `authentication_failed`.
    err: &'static str,
    /// One sentence for people.
    description: String,
}

pub(super) struct NotAccepted(EventRefused);

impl From<AuthorityError> for NotAccepted {
    fn from(error: AuthorityError) -> Self {
        Self(EventRefused::Authority(error))
    }
}

impl IntoResponse for NotAccepted {
    fn into_response(self) -> Response {
        let (err, description) = match self.0 {
            EventRefused::Authority(error) => return error.into_response(),
            EventRefused::Secret(error) => ("authentication_failed", error.to_string()),
            EventRefused::Token(error) => ("invalid_request", error.to_string()),
        };
        (StatusCode::BAD_REQUEST, Json(EventProblem { err, description: describable(&description) })).into_response()
    }
}

/// Takes a security event, and answers once no edge serves what it ended.
#[utoipa::path(post, path = "/v1/identity/{provider}/events", tag = "identity",
    params(("provider" = String, Path, description = "The provider, as the settings call it.")),
    request_body(content = String, content_type = "application/secevent+jwt"),
    responses((status = 202, description = "Done with."), (status = 400, body = EventProblem),
        (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn push(
    State(authority): State<Arc<Authority>>,
    Segment(provider): Segment<ProviderName>,
    request: Request,
) -> Result<StatusCode, NotAccepted> {
    if media_type(request.headers()) != "application/secevent+jwt" {
        return Err(AuthorityError::MediaType("`application/secevent+jwt`").into());
    }
    let secret = bearer(request.headers(), SECRET_BYTES_MAX).map(str::to_owned);
    let body = read_body(&authority, request.into_body(), TOKEN_BYTES_MAX + 16).await?;
    let token = std::str::from_utf8(&body).unwrap_or_default().trim();
    let done = authority.pushed(&provider, secret.as_deref(), token).await.ok_or(AuthorityError::NoProvider)?;
    done.map(|()| StatusCode::ACCEPTED).map_err(NotAccepted)
}
