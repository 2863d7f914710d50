//! `/v1/sign-in`: a browser's way to a session; `/v1/sessions` and `/v1/sign-out`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Administrator, Params, Reader, SecretBody, Segment, SignedIn};
use super::problem::Problem;
use crate::authority::sign_in::{BEGUN_FOR, Begun, SignInFor};
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{OperatorName, ProviderName, SessionId};
use crate::identity::Answer;
use crate::policy::Role;
use crate::store::OperatorSession;
use crate::wire::WireSecret;

/// Where a provider sends the browser back to. Register exactly this, behind the issuer, as the redirect URI.
pub const CALLBACK_PATH: &str = "/v1/sign-in/callback";

const COOKIE: &str = "writ-sign-in";

/// Who wants somebody to sign in.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SignInQuery {
    /// SHA-256 of the verifier that redeems the code, base64url without padding (RFC 7636, S256).
    challenge: String,
    /// The port on the browser's own machine (127.0.0.1) that is sent the code; without it the page shows the code.
    port: Option<u16>,
    /// Comes back with the code.
    state: Option<String>,
}

/// What a provider answers (RFC 6749 section 4.1.2, RFC 9207). What is not listed is ignored.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CallbackQuery {
    /// The code.
    code: Option<String>,
    /// What was sent there.
    state: Option<String>,
    /// Who answers.
    iss: Option<String>,
    /// Why there is no code.
    error: Option<String>,
}

/// A code, to be redeemed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RedeemBody {
    /// The code.
    #[schema(value_type = String, write_only)]
    code: WireSecret,
    /// The verifier of the challenge that the sign-in was begun with.
    #[schema(value_type = String, write_only)]
    verifier: WireSecret,
}

/// A session of an operator.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionView {
    /// Its id: 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: SessionId,
    /// Whose it is: `<provider>:<user>`.
    #[schema(value_type = String)]
    name: OperatorName,
    /// What they may do.
    #[schema(value_type = String)]
    role: Role,
    /// Who vouched for them.
    #[schema(value_type = String)]
    provider: ProviderName,
    /// When it began, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
    /// When it was last used, to the minute.
    #[schema(value_type = i64)]
    used: Timestamp,
    /// The last moment that it counts.
    #[schema(value_type = i64)]
    expires: Timestamp,
}

impl From<OperatorSession> for SessionView {
    fn from(session: OperatorSession) -> Self {
        let OperatorSession { id, name, role, provider, created, used, expires, .. } = session;
        Self { id, name, role, provider, created, used, expires }
    }
}

/// A session with its secret. Shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionBegun {
    /// What to send as `Authorization: Bearer`.
    #[schema(value_type = String)]
    secret: WireSecret,
    #[serde(flatten)]
    about: SessionView,
}

/// Sends the browser to the identity provider.
#[utoipa::path(get, path = "/v1/sign-in", tag = "operators", params(SignInQuery),
    responses((status = 303, description = "To the provider."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn begin(
    State(authority): State<Arc<Authority>>,
    Params(query): Params<SignInQuery>,
) -> Result<Response, AuthorityError> {
    let challenge = URL_SAFE_NO_PAD.decode(&query.challenge).ok().and_then(|bytes| bytes.try_into().ok());
    let malformed = |message: &str| AuthorityError::Malformed(message.into());
    let challenge = challenge.ok_or_else(|| malformed("`challenge` is not the base64url of 32 bytes"))?;
    let is_plain =
        |text: &String| text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !query.state.as_ref().is_none_or(is_plain) || query.port.is_some_and(|port| port < 1024) {
        return Err(malformed("`state` is at most 128 of A-Z, a-z, 0-9, `-` and `_`, and `port` at least 1024"));
    }
    let wanted = SignInFor { challenge, port: query.port, state: query.state };
    let begun = authority.begin_sign_in(wanted).await?;
    let cookie =
        format!("{}={}; {}; Max-Age={}", cookie_name(&authority), begun.cookie, ATTRIBUTES, BEGUN_FOR.as_secs());
    Ok(sent_to(&begun.url, &cookie, &authority))
}

/// Takes the provider's answer, and sends the browser to the program that waits, or shows the code that the program wants.
#[utoipa::path(get, path = "/v1/sign-in/callback", tag = "operators", params(CallbackQuery),
    responses((status = 200, description = "A page with the code."), (status = 303, description = "To the program that waits."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn callback(
    State(authority): State<Arc<Authority>>,
    headers: HeaderMap,
    Params(query): Params<CallbackQuery>,
) -> Result<Response, AuthorityError> {
    let refused = |message: &str| AuthorityError::SignIn(message.into());
    let cookie =
        cookie(&headers, cookie_name(&authority)).ok_or_else(|| refused("this browser began no sign-in here"))?;
    let state = query.state.ok_or_else(|| refused("the provider's answer has no `state`"))?;
    let begun = authority.begun_sign_in(cookie, &state)?;
    let finished = match (query.code, query.error) {
        (Some(code), None) => authority.finish_sign_in(&begun, &Answer { code, iss: query.iss }).await,
        (_, Some(error)) => Err(refused(&format!("the provider says `{}`", crate::id::shown(&error)))),
        (None, None) => Err(refused("the provider's answer has no code")),
    };
    let cookie = format!("{}=; {ATTRIBUTES}; Max-Age=0", cookie_name(&authority));
    let Some(port) = begun.wanted.port else {
        let page = format!(
            "Signed in. Paste this code into the terminal where you began, within a minute, and show it to nobody else:\n\n{}\n",
            finished?.expose()
        );
        let mut response = page.into_response();
        guarded(response.headers_mut(), &cookie, &authority);
        return Ok(response);
    };
    Ok(sent_to(&loopback(port, &begun, &finished), &cookie, &authority))
}

/// A program on the browser's own machine (RFC 8252 section 7.3).
fn loopback(port: u16, begun: &Begun, finished: &Result<crate::secret::Secret<String>, AuthorityError>) -> String {
    let state = begun.wanted.state.as_deref().unwrap_or("");
    let (name, value) = match finished {
        Ok(code) => ("code", code.expose().clone()),
        Err(error) => ("error_description", error.detail()),
    };
    // Expect safety: pairs of texts are encoded.
    let query = serde_urlencoded::to_string([(name, &*value), ("state", state)]).expect("texts are encoded");
    format!("http://127.0.0.1:{port}/?{query}")
}

const ATTRIBUTES: &str = "Path=/; HttpOnly; SameSite=Lax";

/// A name that only this host can have set, where that is possible.
fn cookie_name(authority: &Authority) -> &'static str {
    if is_https(authority) { "__Host-writ-sign-in" } else { COOKIE }
}

fn is_https(authority: &Authority) -> bool {
    authority.issuer().starts_with("https:")
}

/// The only cookie of that name.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut named = found.by_ref().filter(|(found, _)| *found == name).map(|(_, value)| value);
    match (named.next(), named.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn sent_to(url: &str, cookie: &str, authority: &Authority) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    match HeaderValue::from_str(url) {
        Ok(location) => drop(response.headers_mut().insert(header::LOCATION, location)),
        Err(_) => *response.status_mut() = StatusCode::BAD_GATEWAY,
    }
    guarded(response.headers_mut(), cookie, authority);
    response
}

/// The URL of such an answer, and what stands in the page, go nowhere else.
fn guarded(headers: &mut HeaderMap, cookie: &str, authority: &Authority) {
    let secure = if is_https(authority) { "; Secure" } else { "" };
    if let Ok(cookie) = HeaderValue::from_str(&format!("{cookie}{secure}")) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    for (name, value) in [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Redeems the code of a sign-in for a session. A code counts once, whatever comes with it.
#[utoipa::path(post, path = "/v1/sign-in/session", tag = "operators", request_body = RedeemBody,
    responses((status = 201, body = SessionBegun), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn redeem(
    State(authority): State<Arc<Authority>>,
    SecretBody(RedeemBody { code, verifier }): SecretBody<RedeemBody>,
) -> Result<(StatusCode, Json<SessionBegun>), AuthorityError> {
    let (session, secret) = authority.redeem_sign_in(code.0.expose(), verifier.0.expose()).await?;
    Ok((StatusCode::CREATED, Json(SessionBegun { secret: WireSecret(secret), about: session.into() })))
}

/// Ends the session that this is called by.
#[utoipa::path(post, path = "/v1/sign-out", tag = "operators", security(("operator" = ["reader"])),
    responses((status = 204, description = "Ended."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn sign_out(
    State(authority): State<Arc<Authority>>,
    SignedIn(caller): SignedIn,
) -> Result<StatusCode, AuthorityError> {
    authority.sign_out(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The sessions of operators that are not over, by name.
#[utoipa::path(get, path = "/v1/sessions", tag = "operators", security(("operator" = ["reader"])),
    responses((status = 200, body = Vec<SessionView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
) -> Result<Json<Vec<SessionView>>, AuthorityError> {
    Ok(Json(authority.sessions().await?.into_iter().map(Into::into).collect()))
}

/// Ends a session: its secret counts no longer.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "operators", security(("operator" = ["admin"])),
    params(("id" = String, Path, description = "The session's id.")),
    responses((status = 204, description = "Ended."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn end(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(id): Segment<SessionId>,
) -> Result<StatusCode, AuthorityError> {
    authority.end_session(&by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
