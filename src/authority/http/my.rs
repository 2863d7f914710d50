//! `/v1/my/*`: what users do for themselves, by their own token. And `/v1/identity/{provider}/logout`: what a provider does for them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Form, OfTenant, Params, SecretBody, Segment, bearer};
use super::problem::Problem;
use super::revocations::ReceiptJson;
use super::token::{TokenProblem, describable};
use crate::authority::mine::Mine;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId, GrantId, ProviderName, Subject};
use crate::identity::{IdentityError, TOKEN_BYTES_MAX, VerifiedIdentity};
use crate::revocation::Receipt;
use crate::store::IssuedWrit;

/// A user whom their provider vouches for.
pub(super) struct User(VerifiedIdentity);

impl FromRequestParts<Arc<Authority>> for User {
    type Rejection = AuthorityError;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let token = bearer(&parts.headers, TOKEN_BYTES_MAX).ok_or(AuthorityError::NoUser)?.to_owned();
        let Params(of) = Params::<OfTenant>::from_request_parts(parts, authority).await?;
        authority.user(&of.tenant(), &token).await.map(Self)
    }
}

/// What of their own a user ends. No member: everything that was issued for them; otherwise one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MyRevocationBody {
    /// What this agent has for them.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    agent: Option<AgentName>,
    /// One writ, by its id.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    writ: Option<BlockId>,
    /// One writ, or a hop of it, by showing the token: its last holder's block dies, and what hangs below it.
    #[serde(default)]
    token: Option<String>,
}

/// A writ that was issued for the user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MyWritView {
    /// Its id.
    #[schema(value_type = String)]
    id: BlockId,
    /// The agent that acts for them.
    #[schema(value_type = String)]
    agent: AgentName,
    /// The session that it was issued in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    session: Option<Subject>,
    /// The grants it was issued under.
    #[schema(value_type = Vec<String>)]
    grants: Vec<GrantId>,
    /// When it was issued, in milliseconds since 1970.
    #[schema(value_type = i64)]
    issued: Timestamp,
    /// The last moment it is valid.
    #[schema(value_type = i64)]
    expires: Timestamp,
}

impl From<IssuedWrit> for MyWritView {
    fn from(writ: IssuedWrit) -> Self {
        let IssuedWrit { id, agent, session, grants, issued, expires, .. } = writ;
        Self { id, agent, session, grants, issued, expires }
    }
}

/// The live writs that were issued for the user, the latest first, at most 1000.
#[utoipa::path(get, path = "/v1/my/writs", tag = "my", security(("user" = [])), params(OfTenant),
    responses((status = 200, body = Vec<MyWritView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn writs(
    State(authority): State<Arc<Authority>>,
    User(user): User,
) -> Result<Json<Vec<MyWritView>>, AuthorityError> {
    Ok(Json(authority.my_writs(&user).await?.into_iter().map(Into::into).collect()))
}

/// Ends what was issued for the user, or a part of it; answers once no edge serves it. They can log in again.
#[utoipa::path(post, path = "/v1/my/revocations", tag = "my", security(("user" = [])), params(OfTenant), request_body = MyRevocationBody,
    responses((status = 200, body = Receipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn revoke(
    State(authority): State<Arc<Authority>>,
    User(user): User,
    SecretBody(body): SecretBody<MyRevocationBody>,
) -> Result<ReceiptJson, AuthorityError> {
    let what = match (body.agent, body.writ, body.token) {
        (None, None, None) => Mine::All,
        (Some(agent), None, None) => Mine::Agent(agent),
        (None, Some(id), None) => Mine::Writ(id),
        (None, None, Some(token)) => Mine::Token(token),
        _ => return Err(AuthorityError::Malformed("give at most one of `agent`, `writ` and `token`".into())),
    };
    Ok(authority.revoke_mine(&user, what).await?.into())
}

/// A logout that a provider reports.
#[derive(Deserialize, ToSchema)]
pub(super) struct LogoutForm {
    /// The provider's signed word.
    logout_token: String,
}

/// Why nothing was ended.
pub(super) enum LogoutRefused {
    Token(String),
    Authority(AuthorityError),
}

impl IntoResponse for LogoutRefused {
    fn into_response(self) -> Response {
        match self {
            Self::Token(description) => {
                let error_description = describable(&description);
                let problem = TokenProblem { error: "invalid_request", error_description };
                (StatusCode::BAD_REQUEST, Json(problem)).into_response()
            }
            Self::Authority(error) => error.into_response(),
        }
    }
}

impl From<AuthorityError> for LogoutRefused {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Identity(IdentityError::Refused(_)) | AuthorityError::Malformed(_) => {
                Self::Token(error.to_string())
            }
            other => Self::Authority(other),
        }
    }
}

/// Ends the session, or the user's sessions, that a provider says are over; answers once no edge serves them
/// (OpenID Connect Back-Channel Logout).
#[utoipa::path(post, path = "/v1/identity/{provider}/logout", tag = "identity",
    params(("provider" = String, Path, description = "The provider, as the settings call it.")),
    request_body(content = LogoutForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Receipt), (status = 400, body = TokenProblem), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn logout(
    State(authority): State<Arc<Authority>>,
    Segment(provider): Segment<ProviderName>,
    request: Request,
) -> Result<ReceiptJson, LogoutRefused> {
    let form = Form::<LogoutForm>::read(&authority, request, 2 * TOKEN_BYTES_MAX).await?.fields;
    let receipt = authority.logout(&provider, &form.logout_token).await.ok_or(AuthorityError::NoProvider)?;
    Ok(receipt?.into())
}
