//! `/oauth/token` (RFC 6749 section 4.4, RFC 7523, RFC 9449).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{media_type, read_body};
use super::problem;
use crate::authority::issue::{IssueError, Issued, TokenRequest};
use crate::authority::{Authority, AuthorityError};
use crate::token::Capability;

const FORM_BYTES_MAX: usize = 32 << 10;
const GRANT_TYPE: &str = "client_credentials";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A token request. Parameters that are not listed are ignored (RFC 6749 section 3.2); none may stand twice.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct TokenForm {
    /// `client_credentials`.
    grant_type: Option<String>,
    /// May be left out; if given, the `iss` of the assertion.
    client_id: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// A JWT signed by the agent's registered key.
    client_assertion: Option<String>,
    /// Not accepted.
    #[schema(ignore)]
    client_secret: Option<String>,
    /// Capabilities, separated by spaces.
    #[schema(example = "notes:read:team")]
    scope: Option<String>,
    /// The edge deployment; may be left out where there is only one.
    audience: Option<String>,
    /// The user to act for: only grants that name this user count.
    subject: Option<String>,
    /// For how many seconds at most (an extension of writ).
    expires_in: Option<String>,
}

/// A writ.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenReply {
    /// The writ.
    access_token: String,
    /// `DPoP`, or `Bearer` where the grants allow it and no proof was sent.
    token_type: &'static str,
    /// For how many seconds.
    expires_in: u64,
    /// What it allows.
    scope: String,
}

/// Why there is none (RFC 6749 section 5.2).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenProblem {
    /// The error code.
    error: &'static str,
    /// One sentence for people.
    error_description: String,
}

/// Why there is no token, in the words of OAuth.
pub(super) enum TokenRefused {
    /// `invalid_request`.
    Request(String),
    /// `unsupported_grant_type`.
    GrantType,
    /// Decided by the use case.
    Issue(IssueError),
}

impl From<AuthorityError> for TokenRefused {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Malformed(_)
            | AuthorityError::TooLarge(_)
            | AuthorityError::TooSlow
            | AuthorityError::MediaType(_) => Self::Request(error.to_string()),
            other => Self::Issue(other.into()),
        }
    }
}

impl IntoResponse for TokenRefused {
    fn into_response(self) -> Response {
        let (status, error, description) = match self {
            Self::Request(message) => (StatusCode::BAD_REQUEST, "invalid_request", message),
            Self::GrantType => {
                (StatusCode::BAD_REQUEST, "unsupported_grant_type", "use `grant_type=client_credentials`".into())
            }
            Self::Issue(IssueError::Client(message)) => (StatusCode::UNAUTHORIZED, "invalid_client", message),
            Self::Issue(IssueError::Proof(message)) => (StatusCode::BAD_REQUEST, "invalid_dpop_proof", message),
            Self::Issue(error @ IssueError::Suspended(_)) => {
                (StatusCode::BAD_REQUEST, "invalid_grant", error.to_string())
            }
            Self::Issue(IssueError::Scope(message)) => (StatusCode::BAD_REQUEST, "invalid_scope", message),
            Self::Issue(IssueError::Target(message)) => (StatusCode::BAD_REQUEST, "invalid_target", message),
            Self::Issue(IssueError::Authority(error)) => {
                problem::log(&error);
                let (status, _) = error.status_and_code();
                let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
                (status, if unavailable { "temporarily_unavailable" } else { "server_error" }, error.detail())
            }
        };
        (status, Json(TokenProblem { error, error_description: describable(&description) })).into_response()
    }
}

/// Only what RFC 6749 section 5.2 allows in a description.
fn describable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '?' }).collect()
}

/// Issues a writ to an agent that proves its registered key.
#[utoipa::path(post, path = "/oauth/token", tag = "oauth",
    params(("DPoP" = Option<String>, Header, description = "A proof by the agent's registered key (RFC 9449): binds the writ to it.")),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = TokenReply), (status = "default", body = TokenProblem)))]
pub(super) async fn token(
    State(authority): State<Arc<Authority>>,
    request: Request,
) -> Result<Json<TokenReply>, TokenRefused> {
    // Whatever stands in a URL stands in logs.
    if request.uri().query().is_some() {
        return Err(TokenRefused::Request("send every parameter in the body, none in the URL".into()));
    }
    let headers = request.headers().clone();
    if media_type(&headers) != "application/x-www-form-urlencoded" {
        return Err(AuthorityError::MediaType("`application/x-www-form-urlencoded`").into());
    }
    let body = read_body(request.into_body(), FORM_BYTES_MAX).await?;
    let form = serde_urlencoded::from_bytes::<TokenForm>(&body)
        .map_err(|error| TokenRefused::Request(format!("the form does not fit: {error}")))?;
    let issued = authority.issue(read(form, &headers)?).await.map_err(TokenRefused::Issue)?;
    Ok(Json(reply(&issued)))
}

fn reply(issued: &Issued) -> TokenReply {
    let scope: Vec<String> = issued.capabilities.iter().map(ToString::to_string).collect();
    TokenReply {
        access_token: issued.token.text().to_owned(),
        token_type: if issued.bound { "DPoP" } else { "Bearer" },
        expires_in: issued.ttl.as_secs(),
        scope: scope.join(" "),
    }
}

fn read(form: TokenForm, headers: &HeaderMap) -> Result<TokenRequest, TokenRefused> {
    let invalid = |message: String| TokenRefused::Request(message);
    if form.grant_type.as_deref() != Some(GRANT_TYPE) {
        return Err(match form.grant_type {
            None => invalid("`grant_type` is missing: use `client_credentials`".into()),
            Some(_) => TokenRefused::GrantType,
        });
    }
    let no_client = |message: &str| TokenRefused::Issue(IssueError::Client(message.into()));
    if form.client_secret.is_some() || headers.contains_key(header::AUTHORIZATION) {
        return Err(no_client("agents have no client secret: send a `client_assertion` signed by the agent's key"));
    }
    if form.client_assertion_type.as_deref() != Some(ASSERTION_TYPE) {
        return Err(no_client("send `client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer`"));
    }
    let assertion = form.client_assertion.ok_or_else(|| no_client("`client_assertion` is missing"))?;
    let mut proofs = headers.get_all("dpop").iter();
    let proof = match (proofs.next(), proofs.next()) {
        (None, _) => None,
        (Some(proof), None) => Some(proof.to_str().unwrap_or("").to_owned()),
        (Some(_), Some(_)) => {
            return Err(TokenRefused::Issue(IssueError::Proof("send exactly one `DPoP` header".into())));
        }
    };
    let ttl = form.expires_in.map(|text| match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err(invalid("`expires_in` must be a whole number of seconds above 0".into())),
    });
    Ok(TokenRequest {
        assertion,
        client_id: form.client_id,
        capabilities: scope(form.scope.as_deref().unwrap_or(""))?,
        ttl: ttl.transpose()?,
        audience: form
            .audience
            .map(|text| text.parse())
            .transpose()
            .map_err(|error| TokenRefused::Issue(IssueError::Target(format!("`audience`: {error}"))))?,
        subject: form
            .subject
            .map(|text| text.parse())
            .transpose()
            .map_err(|error| invalid(format!("`subject`: {error}")))?,
        proof,
    })
}

fn scope(text: &str) -> Result<Vec<Capability>, TokenRefused> {
    const CAPABILITIES_MAX: usize = 16;
    let refused = |message: String| TokenRefused::Issue(IssueError::Scope(message));
    let mut capabilities: Vec<Capability> = Vec::new();
    for part in text.split(' ').filter(|part| !part.is_empty()) {
        let capability = part.parse().map_err(|error| refused(format!("`scope`: {error}")))?;
        if capabilities.contains(&capability) {
            continue;
        }
        if capabilities.len() == CAPABILITIES_MAX {
            return Err(refused(format!("a writ holds at most {CAPABILITIES_MAX} capabilities: ask for fewer")));
        }
        capabilities.push(capability);
    }
    Ok(capabilities)
}
