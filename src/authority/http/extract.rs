//! What handlers are given: an authenticated operator, and parts of the request that parsed.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::authority::installation::Caller;
use crate::authority::{Authority, AuthorityError};
use crate::id::{OperatorName, TenantName};
use crate::policy::Role;
use crate::token::proof::ProofError;

/// The longest JSON body in bytes.
pub(super) const JSON_BYTES_MAX: usize = 64 << 10;
/// The longest operator secret that is looked at.
const SECRET_BYTES_MAX: usize = 256;

/// An operator who may change things: its role is `admin`. Use cases that change something want its name.
pub(super) struct Administrator(pub(super) OperatorName);

/// An operator of whatever role. Opens what changes nothing, and holds no name that a use case could be called with.
pub(super) struct Reader;

impl FromRequestParts<Arc<Authority>> for Administrator {
    type Rejection = AuthorityError;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let Caller { name, role, .. } = caller(parts, authority).await?;
        match role {
            Role::Admin => Ok(Self(name)),
            Role::Approver | Role::Auditor => Err(AuthorityError::NotForRole(role)),
        }
    }
}

impl FromRequestParts<Arc<Authority>> for Reader {
    type Rejection = AuthorityError;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        match caller(parts, authority).await?.role {
            Role::Admin | Role::Approver | Role::Auditor => Ok(Self),
        }
    }
}

/// An operator who may approve what agents ask for: its role is `approver` or `admin`. Whom a policy names is another question.
pub(super) struct Approver(pub(super) Caller);

impl FromRequestParts<Arc<Authority>> for Approver {
    type Rejection = AuthorityError;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let caller = caller(parts, authority).await?;
        match caller.role {
            Role::Admin | Role::Approver => Ok(Self(caller)),
            Role::Auditor => Err(AuthorityError::NotForRole(caller.role)),
        }
    }
}

/// An operator of whatever role, for what concerns its own session alone.
pub(super) struct SignedIn(pub(super) Caller);

impl FromRequestParts<Arc<Authority>> for SignedIn {
    type Rejection = AuthorityError;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        caller(parts, authority).await.map(Self)
    }
}

async fn caller(parts: &Parts, authority: &Authority) -> Result<Caller, AuthorityError> {
    let secret = bearer(&parts.headers, SECRET_BYTES_MAX).ok_or(AuthorityError::Unauthenticated)?;
    authority.operator(secret).await
}

/// The only `Authorization` header, if it is a bearer's of at most `bytes_max` bytes.
pub(super) fn bearer(headers: &HeaderMap, bytes_max: usize) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else { return None };
    let (scheme, secret) = only.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && secret.len() <= bytes_max).then_some(secret)
}

/// Reads a body of at most `bytes_max` bytes.
pub(super) async fn read_body(
    authority: &Authority,
    body: axum::body::Body,
    bytes_max: usize,
) -> Result<Bytes, AuthorityError> {
    let reading = Limited::new(body, bytes_max).collect();
    match tokio::time::timeout(authority.terms.idle_timeout, reading).await {
        Err(_) => Err(AuthorityError::TooSlow),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(AuthorityError::TooLarge(bytes_max)),
        Ok(Err(_)) => Err(AuthorityError::Malformed("the body broke off: send all of it".into())),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}

/// The media type without its parameters, lower case; empty when there is none or more than one.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    match (all.next().and_then(|value| value.to_str().ok()), all.next()) {
        (Some(value), None) => value.split(';').next().unwrap_or("").trim().to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// The only `DPoP` header.
pub(super) fn proof(headers: &HeaderMap) -> Result<&str, ProofError> {
    let mut proofs = headers.get_all("dpop").iter();
    let (Some(proof), None) = (proofs.next(), proofs.next()) else { return Err(ProofError::Missing) };
    proof.to_str().map_err(|_| ProofError::Malformed("it is not ASCII"))
}

/// Whatever stands in a URL stands in logs.
pub(super) fn refuse_query(request: &Request) -> Result<(), AuthorityError> {
    match request.uri().query() {
        Some(_) => Err(AuthorityError::Malformed("send every parameter in the body, none in the URL".into())),
        None => Ok(()),
    }
}

/// A form that came, with what a proof of it must cover. A parameter that stands twice is refused; unknown ones are ignored.
pub(super) struct Form<T> {
    pub(super) fields: T,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl<T: DeserializeOwned> Form<T> {
    /// Reads a form of at most `bytes_max` bytes.
    pub(super) async fn read(
        authority: &Authority,
        request: Request,
        bytes_max: usize,
    ) -> Result<Self, AuthorityError> {
        let headers = request.headers().clone();
        if media_type(&headers) != "application/x-www-form-urlencoded" {
            return Err(AuthorityError::MediaType("`application/x-www-form-urlencoded`"));
        }
        let body = read_body(authority, request.into_body(), bytes_max).await?;
        let fields = serde_urlencoded::from_bytes(&body)
            .map_err(|error| AuthorityError::Malformed(format!("the form does not fit: {error}")))?;
        Ok(Self { fields, headers, body })
    }
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Authority>> for Body<T> {
    type Rejection = AuthorityError;

    async fn from_request(request: Request, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        parse(&read_json(authority, request, JSON_BYTES_MAX).await?).map(Self)
    }
}

/// A JSON body that holds a secret: no error about it may quote it.
pub(super) struct SecretBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Authority>> for SecretBody<T> {
    type Rejection = AuthorityError;

    async fn from_request(request: Request, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let bytes = zeroize::Zeroizing::new(read_json(authority, request, JSON_BYTES_MAX).await?.to_vec());
        parse_secret(&bytes).map(Self)
    }
}

/// Reads JSON that holds a secret; the message quotes nothing of it.
pub(super) fn parse_secret<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AuthorityError> {
    serde_json::from_slice(object(bytes)?).map_err(|_| {
        AuthorityError::Malformed(
            "the body is not JSON with exactly the members that `spec/openapi.json` lists, secrets as text".into(),
        )
    })
}

/// Reads a body that says it is JSON.
pub(super) async fn read_json(
    authority: &Authority,
    request: Request,
    bytes_max: usize,
) -> Result<Bytes, AuthorityError> {
    if media_type(request.headers()) != "application/json" {
        return Err(AuthorityError::MediaType("`application/json`"));
    }
    read_body(authority, request.into_body(), bytes_max).await
}

/// A list would be read as the values of the members, in their order.
fn object(bytes: &[u8]) -> Result<&[u8], AuthorityError> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(AuthorityError::Malformed("the body must be a JSON object".into()));
    }
    Ok(bytes)
}

/// Reads JSON; the message says where it is wrong.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, AuthorityError> {
    serde_json::from_slice(object(bytes)?)
        .map_err(|error| AuthorityError::Malformed(format!("the body does not fit: {error}")))
}

/// The query.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Authority>> for Params<T> {
    type Rejection = AuthorityError;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let query = Query::<T>::from_request_parts(parts, authority).await;
        query.map(|Query(query)| Self(query)).map_err(|error| {
            let message = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            AuthorityError::Malformed(format!("the query does not fit: {message}"))
        })
    }
}

/// The only variable segment of the path.
pub(super) struct Segment<T>(pub(super) T);

impl<T> FromRequestParts<Arc<Authority>> for Segment<T>
where
    T: FromStr + Send,
    T::Err: std::fmt::Display,
{
    type Rejection = AuthorityError;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let malformed = |message: String| AuthorityError::Malformed(format!("the path does not fit: {message}"));
        let Path(text) = Path::<String>::from_request_parts(parts, authority)
            .await
            .map_err(|_| malformed("a segment is not valid UTF-8".into()))?;
        text.parse().map(Self).map_err(|error: T::Err| malformed(error.to_string()))
    }
}

/// Whose things are meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfTenant {
    /// The tenant; `default` if not given.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantName>,
}

impl OfTenant {
    pub(super) fn tenant(self) -> TenantName {
        self.tenant.unwrap_or_default()
    }
}
