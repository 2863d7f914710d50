//! `/oauth/token` (RFC 6749 section 4.4, RFC 7523, RFC 8693, RFC 9449).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Form, proof, refuse_query};
use super::problem;
use crate::authority::clients::{AssertionKind, ClientCredentials};
use crate::authority::exchange::{ExchangeRequest, GrantedRequest};
use crate::authority::issue::{IssueError, Issued, TokenRequest};
use crate::authority::{Authority, AuthorityError};
use crate::identity::TokenKind;
use crate::token::Capability;

pub(super) const FORM_BYTES_MAX: usize = 32 << 10;
/// Of a token request, which may carry a SAML assertion of 64 KiB in base64.
const TOKEN_FORM_BYTES_MAX: usize = 128 << 10;
pub(super) const CLIENT_CREDENTIALS: &str = "client_credentials";
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const SAML2: &str = "urn:ietf:params:oauth:token-type:saml2";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const JWT_SVID: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
pub(super) const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A token request. Parameters that are not listed are ignored (RFC 6749 section 3.2); none may stand twice.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct TokenForm {
    /// `client_credentials`, `urn:ietf:params:oauth:grant-type:token-exchange` or `…:jwt-bearer`.
    grant_type: Option<String>,
    /// May be left out; if given, the `iss` of the assertion, or the agent or `sub` of a workload's token.
    client_id: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`, or `…:jwt-spiffe` of a JWT-SVID.
    client_assertion_type: Option<String>,
    /// A JWT signed by the agent's registered key, or the token by which a workload issuer names the agent's workload.
    client_assertion: Option<String>,
    /// Not accepted.
    #[schema(ignore)]
    client_secret: Option<String>,
    /// Capabilities, separated by spaces.
    #[schema(example = "notes:read:team")]
    scope: Option<String>,
    /// The edge deployment; may be left out where there is only one.
    audience: Option<String>,
    /// The user to act for: only grants that name this user count. Not where an identity provider knows the tenant's users.
    subject: Option<String>,
    /// Of an exchange: the user's token; a SAML assertion in base64url.
    subject_token: Option<String>,
    /// Of an exchange: `urn:ietf:params:oauth:token-type:id_token`, `…:access_token` or `…:saml2`.
    subject_token_type: Option<String>,
    /// Of `urn:ietf:params:oauth:grant-type:jwt-bearer`: a provider's identity assertion authorization grant.
    assertion: Option<String>,
    /// Of an exchange, instead of `client_assertion`: the same.
    actor_token: Option<String>,
    /// Of an exchange: `urn:ietf:params:oauth:token-type:jwt`.
    actor_token_type: Option<String>,
    /// Of an exchange: may be left out; if given, `urn:ietf:params:oauth:token-type:access_token`.
    requested_token_type: Option<String>,
    /// Of an exchange: the URL of an edge, or of something below it, instead of `audience`.
    resource: Option<String>,
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
    /// Of an exchange: `urn:ietf:params:oauth:token-type:access_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
}

/// Why there is none (RFC 6749 section 5.2).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenProblem {
    /// The error code.
    pub(super) error: &'static str,
    /// One sentence for people.
    pub(super) error_description: String,
}

/// Why there is no token, in the words of OAuth.
pub(super) enum TokenRefused {
    /// `invalid_request`.
    Request(String),
    /// `unsupported_grant_type`.
    GrantType,
    /// `invalid_grant`: the assertion does not count.
    Grant(String),
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

impl TokenRefused {
    /// The same error where the user's token is a grant (RFC 7523 section 3.1).
    fn of_grant(error: IssueError) -> Self {
        match error {
            IssueError::User(message) => Self::Grant(message),
            other => Self::Issue(other),
        }
    }
}

impl IntoResponse for TokenRefused {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        let (status, error, description) = match self {
            Self::Request(message) => (StatusCode::BAD_REQUEST, "invalid_request", message),
            Self::GrantType => (
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "use `client_credentials`, `urn:ietf:params:oauth:grant-type:token-exchange` or \
                 `urn:ietf:params:oauth:grant-type:jwt-bearer`"
                    .into(),
            ),
            Self::Grant(message) => (StatusCode::BAD_REQUEST, "invalid_grant", message),
            Self::Issue(IssueError::User(message)) => (StatusCode::BAD_REQUEST, "invalid_request", message),
            Self::Issue(IssueError::Unavailable(message)) => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", message)
            }
            Self::Issue(IssueError::Client(message)) => (StatusCode::UNAUTHORIZED, "invalid_client", message),
            Self::Issue(IssueError::Proof(message)) => (StatusCode::BAD_REQUEST, "invalid_dpop_proof", message),
            Self::Issue(error @ (IssueError::Suspended(_) | IssueError::Inactive(_))) => {
                (StatusCode::BAD_REQUEST, "invalid_grant", error.to_string())
            }
            Self::Issue(IssueError::Scope(message) | IssueError::Policy(message)) => {
                (StatusCode::BAD_REQUEST, "invalid_scope", message)
            }
            Self::Issue(IssueError::Target(message)) => (StatusCode::BAD_REQUEST, "invalid_target", message),
            Self::Issue(IssueError::Authority(error)) => {
                problem::log(&error);
                let (status, _) = error.status_and_code();
                let unavailable = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
                if let Some(seconds) = error.retry_after_s() {
                    headers.insert(header::RETRY_AFTER, seconds.into());
                }
                (status, if unavailable { "temporarily_unavailable" } else { "server_error" }, error.detail())
            }
        };
        (status, headers, Json(TokenProblem { error, error_description: describable(&description) })).into_response()
    }
}

/// Only what RFC 6749 section 5.2 allows in a description.
pub(super) fn describable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '?' }).collect()
}

/// Issues a writ to an agent that proves its registered key, or for which a platform vouches, for itself or (by token exchange, RFC 8693) for a user.
#[utoipa::path(post, path = "/oauth/token", tag = "oauth",
    params(("DPoP" = Option<String>, Header, description = "A proof by the agent's registered key, or any key where a platform vouches for it (RFC 9449): binds the writ to it.")),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = TokenReply), (status = "default", body = TokenProblem)))]
pub(super) async fn token(
    State(authority): State<Arc<Authority>>,
    request: Request,
) -> Result<Json<TokenReply>, TokenRefused> {
    refuse_query(&request)?;
    let Form { fields: form, headers, .. } = Form::<TokenForm>::read(&authority, request, TOKEN_FORM_BYTES_MAX).await?;
    let refused = TokenRefused::Issue;
    match form.grant_type.as_deref() {
        Some(CLIENT_CREDENTIALS) => {
            let issued = authority.issue(read(form, &headers)?).await.map_err(refused)?;
            Ok(Json(reply(&issued, None)))
        }
        Some(TOKEN_EXCHANGE) => {
            let issued = authority.exchange(read_exchange(form, &headers)?).await.map_err(refused)?;
            Ok(Json(reply(&issued, Some(ACCESS_TOKEN))))
        }
        Some(JWT_BEARER) => {
            let issued = authority.granted(read_granted(form, &headers)?).await;
            Ok(Json(reply(&issued.map_err(TokenRefused::of_grant)?, None)))
        }
        Some(_) => Err(TokenRefused::GrantType),
        None => Err(TokenRefused::Request("`grant_type` is missing".into())),
    }
}

fn reply(issued: &Issued, issued_token_type: Option<&'static str>) -> TokenReply {
    let scope: Vec<String> = issued.capabilities.iter().map(ToString::to_string).collect();
    TokenReply {
        access_token: issued.token.text().to_owned(),
        token_type: if issued.bound { "DPoP" } else { "Bearer" },
        expires_in: issued.ttl.as_secs(),
        scope: scope.join(" "),
        issued_token_type,
    }
}

/// A provider's grant (RFC 7523 section 2.1).
fn read_granted(mut form: TokenForm, headers: &HeaderMap) -> Result<GrantedRequest, TokenRefused> {
    let invalid = |message: &str| Err(TokenRefused::Request(message.into()));
    let Some(assertion) = form.assertion.take() else { return invalid("`assertion` is missing") };
    if form.subject.is_some() {
        return invalid("leave `subject` out: the user is the one of `assertion`");
    }
    let resource = form.resource.take();
    Ok(GrantedRequest { request: read(form, headers)?, assertion, resource })
}

/// An exchange. The agent is known by its client assertion, or by an actor token, which then is one.
fn read_exchange(mut form: TokenForm, headers: &HeaderMap) -> Result<ExchangeRequest, TokenRefused> {
    let invalid = |message: &str| Err(TokenRefused::Request(message.into()));
    let Some(subject_token) = form.subject_token.take() else { return invalid("`subject_token` is missing") };
    let kind = match form.subject_token_type.as_deref() {
        Some(ID_TOKEN) => TokenKind::Id,
        Some(ACCESS_TOKEN) => TokenKind::Access,
        Some(SAML2) => TokenKind::Saml,
        _ => {
            return invalid(
                "`subject_token_type` must be `urn:ietf:params:oauth:token-type:id_token`, \
                 `urn:ietf:params:oauth:token-type:access_token` or `urn:ietf:params:oauth:token-type:saml2`",
            );
        }
    };
    if form.subject.is_some() {
        return invalid("leave `subject` out: the user is the one of `subject_token`");
    }
    if form.requested_token_type.as_deref().is_some_and(|requested| requested != ACCESS_TOKEN) {
        return invalid(
            "`requested_token_type` must be `urn:ietf:params:oauth:token-type:access_token`, or be left out",
        );
    }
    match (form.actor_token.take(), form.actor_token_type.as_deref()) {
        (None, None) => {}
        (Some(_), _) if form.client_assertion.is_some() => {
            return invalid("send either `client_assertion` or `actor_token`: the agent acts for itself");
        }
        (Some(actor), Some(JWT)) => {
            form.client_assertion = Some(actor);
            form.client_assertion_type = Some(ASSERTION_TYPE.into());
        }
        _ => return invalid("`actor_token` goes with `actor_token_type=urn:ietf:params:oauth:token-type:jwt`"),
    }
    let resource = form.resource.take();
    Ok(ExchangeRequest { request: read(form, headers)?, subject_token, kind, resource })
}

fn read(form: TokenForm, headers: &HeaderMap) -> Result<TokenRequest, TokenRefused> {
    let invalid = |message: String| TokenRefused::Request(message);
    if form.client_secret.is_some() || headers.contains_key(header::AUTHORIZATION) {
        return Err(no_client("agents have no client secret: send a `client_assertion` signed by the agent's key"));
    }
    let kind = match form.client_assertion_type.as_deref() {
        Some(ASSERTION_TYPE) => AssertionKind::Jwt,
        Some(JWT_SVID) => AssertionKind::JwtSvid,
        _ => {
            return Err(no_client(
                "send `client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer`",
            ));
        }
    };
    let assertion = form.client_assertion.ok_or_else(|| no_client("`client_assertion` is missing"))?;
    let proof = headers.contains_key("dpop").then(|| proof(headers)).transpose();
    let proof = proof.map_err(|error| TokenRefused::Issue(error.into()))?.map(str::to_owned);
    let ttl = form.expires_in.map(|text| match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => Err(invalid("`expires_in` must be a whole number of seconds above 0".into())),
    });
    Ok(TokenRequest {
        client: ClientCredentials { assertion, kind, client_id: form.client_id },
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

/// `invalid_client`
pub(super) fn no_client(message: &str) -> TokenRefused {
    TokenRefused::Issue(IssueError::Client(message.into()))
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
