//! `/scim/v2`: SCIM over HTTP (RFC 7644). Every answer is SCIM's, errors included.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use serde_json::{Value, json};

use super::extract::{bearer, media_type, read_body};
use super::problem::log;
use crate::authority::scim::{BASE, Provisioner, ScimError, Search, Stored, Versions, etag};
use crate::authority::{Authority, AuthorityError};
use crate::id::ResourceId;
use crate::identity::scim::{Fault, Model, Projection, Refused, Resource, parse, urn};

pub(super) mod discovery;
pub(super) mod groups;
pub(super) mod search;
pub(super) mod tokens;
pub(super) mod users;

/// The longest body in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// The longest query in bytes.
const QUERY_BYTES_MAX: usize = 16 << 10;
/// The longest secret that is looked at.
const SECRET_BYTES_MAX: usize = 256;
const SCIM_JSON: HeaderValue = HeaderValue::from_static("application/scim+json");
/// The entry of the revocation log whose receipt was waited for.
const REVOCATION_HEADER: HeaderName = HeaderName::from_static("writ-revocation");

/// An error as SCIM has it (RFC 7644 section 3.12).
pub(super) struct ScimProblem(ScimError);

impl<E: Into<ScimError>> From<E> for ScimProblem {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ScimProblem {
    fn into_response(self) -> Response {
        let (status, scim_type, detail) = match &self.0 {
            ScimError::Refused(refused) => {
                (StatusCode::BAD_REQUEST, Some(refused.fault.code()), refused.detail.clone())
            }
            ScimError::NotFound => (StatusCode::NOT_FOUND, None, self.0.to_string()),
            ScimError::Taken => (StatusCode::CONFLICT, Some("uniqueness"), self.0.to_string()),
            ScimError::Version => (StatusCode::PRECONDITION_FAILED, None, self.0.to_string()),
            ScimError::Busy => (StatusCode::SERVICE_UNAVAILABLE, None, self.0.to_string()),
            ScimError::Authority(error) => {
                log(error);
                let (status, _) = error.status_and_code();
                let scim_type = matches!(error, AuthorityError::Malformed(_)).then_some("invalidSyntax");
                (status, scim_type, error.detail())
            }
        };
        let mut body = json!({ "schemas": [urn::ERROR], "status": status.as_str(), "detail": detail });
        if let Some(scim_type) = scim_type {
            body["scimType"] = json!(scim_type);
        }
        let mut response = answer(status, &body);
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let ScimError::Authority(error) = &self.0
            && let Some(seconds) = error.retry_after_s()
        {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The error in the words of whoever asked at `uri`.
pub(super) fn or_problem(uri: &Uri, error: AuthorityError) -> Response {
    let below = uri.path().strip_prefix(BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below { ScimProblem::from(error).into_response() } else { error.into_response() }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = (status, body.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, SCIM_JSON);
    response
}

/// A resource that stands now, as much of it as is wanted.
fn shown(status: StatusCode, model: &'static Model, stored: Stored, projection: &Projection) -> Response {
    let Stored { resource, version, ended } = stored;
    let location = resource.get("meta").and_then(|meta| meta["location"].as_str()).map(HeaderValue::from_str);
    let mut response = answer(status, &Value::Object(projection.of(model, resource)));
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&etag(version)) {
        headers.insert(header::ETAG, tag);
    }
    if let (StatusCode::CREATED, Some(Ok(location))) = (status, location) {
        headers.insert(header::LOCATION, location);
    }
    with_revocation(response, ended)
}

fn with_revocation(mut response: Response, ended: Option<u64>) -> Response {
    if let Some(seq) = ended {
        response.headers_mut().insert(REVOCATION_HEADER, seq.into());
    }
    response
}

/// An authenticated client.
pub(super) struct Client(Provisioner);

impl FromRequestParts<Arc<Authority>> for Client {
    type Rejection = ScimProblem;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let secret = bearer(&parts.headers, SECRET_BYTES_MAX).ok_or(AuthorityError::NoScimToken)?;
        Ok(Self(authority.scim_client(secret).await?))
    }
}

/// A JSON object.
pub(super) struct ScimBody(Resource);

impl FromRequest<Arc<Authority>> for ScimBody {
    type Rejection = ScimProblem;

    async fn from_request(request: Request, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        if !matches!(&*media_type(request.headers()), "application/scim+json" | "application/json") {
            return Err(AuthorityError::MediaType("`application/scim+json` or `application/json`").into());
        }
        let bytes = read_body(authority, request.into_body(), BODY_BYTES_MAX).await?;
        Ok(Self(parse(&bytes, BODY_BYTES_MAX)?))
    }
}

/// The id in the path; another text is that of no resource.
pub(super) struct Id(ResourceId);

impl FromRequestParts<Arc<Authority>> for Id {
    type Rejection = ScimProblem;

    async fn from_request_parts(parts: &mut Parts, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let text = Path::<String>::from_request_parts(parts, authority).await;
        let id = text.ok().and_then(|Path(text)| text.parse().ok());
        id.map(Self).ok_or_else(|| ScimError::NotFound.into())
    }
}

/// What the query and the preconditions ask for.
pub(super) struct Asked {
    projection: Projection,
    search: SearchText,
    if_match: Versions,
    /// The versions that need not be sent again.
    if_none_match: Option<Versions>,
}

/// A search as it came: by a query, or in a body.
#[derive(Default)]
struct SearchText {
    filter: Option<String>,
    start: Option<i64>,
    count: Option<i64>,
}

impl SearchText {
    /// RFC 7644 section 3.4.2.4: what is too small is the least, what is too much is the most.
    fn into_search(self, projection: Projection, results_max: u32) -> Search {
        let start = u64::try_from(self.start.unwrap_or(1).max(1)).unwrap_or(1);
        let count = u32::try_from(self.count.unwrap_or(100).max(0)).unwrap_or(u32::MAX).min(results_max);
        Search { filter: self.filter, skip: start - 1, count, projection }
    }
}

impl FromRequestParts<Arc<Authority>> for Asked {
    type Rejection = ScimProblem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let refused = |detail: String| Refused::new(Fault::InvalidValue, detail);
        if query.len() > QUERY_BYTES_MAX {
            return Err(refused(format!(
                "the query is longer than {QUERY_BYTES_MAX} bytes: search by `POST …/.search`"
            ))
            .into());
        }
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(query).map_err(|_| refused("the query is not form-encoded".into()))?;
        let one = |name: &str| {
            let mut found = pairs.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
            match (found.next(), found.next()) {
                (_, Some(_)) => Err(refused(format!("`{name}` stands twice in the query"))),
                (found, None) => Ok(found.filter(|value| !value.is_empty())),
            }
        };
        let names = |name: &str| {
            let listed =
                |text: &String| text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(Into::into).collect();
            Ok::<Vec<String>, Refused>(one(name)?.map(listed).unwrap_or_default())
        };
        let number = |name: &str| {
            let parsed = |text: &String| text.parse().map_err(|_| refused(format!("`{name}` must be a whole number")));
            one(name)?.map(parsed).transpose()
        };
        let (if_match, if_none_match) = (&header::IF_MATCH, &header::IF_NONE_MATCH);
        Ok(Self {
            projection: Projection::new(names("attributes")?, names("excludedAttributes")?)?,
            search: SearchText {
                filter: one("filter")?.cloned(),
                start: number("startIndex")?,
                count: number("count")?,
            },
            if_match: versions(&parts.headers, if_match).unwrap_or_default(),
            if_none_match: versions(&parts.headers, if_none_match),
        })
    }
}

impl Asked {
    /// Whether the client has this version already.
    fn has(&self, version: u64) -> bool {
        match &self.if_none_match {
            None => false,
            Some(Versions::Any) => true,
            Some(Versions::These(versions)) => versions.contains(&version),
        }
    }
}

/// The versions that a precondition names. What is no tag of ours names none, so it fits nothing.
fn versions(headers: &HeaderMap, name: &HeaderName) -> Option<Versions> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let texts: Vec<&str> =
        values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim).collect();
    if texts.contains(&"*") {
        return Some(Versions::Any);
    }
    let version =
        |text: &&str| text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    Some(Versions::These(texts.iter().filter_map(version).collect()))
}
