//! Questions to a provider: one request, one bounded answer, no redirects, only to addresses that the settings allow.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use zeroize::Zeroizing;

use crate::catalog::Origin;
use crate::dial::upstream::UpstreamError;
use crate::dial::{AddressRule, Dialer, Limits, TrustedRoots, Upstream};

/// The longest document in bytes.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 256 << 10;
/// How long one question may take, connection and answer included.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a transmitter may keep a poll waiting for an event.
const POLLED_WITHIN: Duration = Duration::from_secs(60);

/// A client's name and secret as a header (RFC 6749 section 2.3.1).
pub(crate) fn basic(client_id: &str, secret: &str) -> Option<HeaderValue> {
    let encoded = |text: &str| serde_urlencoded::to_string([("", text)]).ok().map(|form| form[1..].to_owned());
    let pair = Zeroizing::new(format!("{}:{}", encoded(client_id)?, encoded(secret)?));
    HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.as_bytes()))).ok()
}

/// How a provider is reached.
#[derive(Debug)]
pub(crate) struct Fetcher {
    dialer: Dialer,
    rule: AddressRule,
}

/// One URL of a provider.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    upstream: Upstream<Full<Bytes>>,
    path: PathAndQuery,
    url: Box<str>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("`{0}` is not an https URL (or http on this machine, with `allow_private`)")]
    Url(Box<str>),
    #[error("{url}: {source}")]
    Exchange { url: Box<str>, source: UpstreamError },
    #[error("{0} did not answer in time")]
    Timeout(Box<str>),
    #[error("{url} answered {status}; redirects are not followed")]
    Status { url: Box<str>, status: StatusCode },
    #[error("the answer of {0} broke off or is longer than 256 KiB")]
    Body(Box<str>),
}

impl Fetcher {
    pub(crate) fn new(roots: &TrustedRoots, allow_private: bool) -> Self {
        let limits = Limits { connect_timeout: Duration::from_secs(3), idle_max: 8, ..Limits::default() };
        let rule = if allow_private { AddressRule::AllowPrivate } else { AddressRule::PublicOnly };
        Self { dialer: Dialer::new(roots, limits), rule }
    }

    /// The endpoint at `url`.
    pub(crate) fn endpoint(&self, url: &str) -> Result<Endpoint, FetchError> {
        let invalid = || FetchError::Url(crate::id::shown(url).into());
        if !url.is_ascii() || url.contains(['#', '\\']) {
            return Err(invalid());
        }
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(invalid()) };
        let origin: Origin = format!("{scheme}://{authority}").parse().map_err(|_| invalid())?;
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let upstream = self.dialer.upstream(&origin, self.rule).map_err(|_| invalid())?;
        Ok(Endpoint { upstream, path, url: url.into() })
    }
}

impl Endpoint {
    /// `GET`, with a credential if one is needed. Only 200 is an answer.
    pub(crate) async fn fetch(&self, authorization: Option<HeaderValue>) -> Result<Bytes, FetchError> {
        self.ask(Method::GET, authorization, Bytes::new()).await
    }

    /// `POST` of a form with a credential. Only 200 is an answer.
    pub(crate) async fn submit(&self, authorization: HeaderValue, form: String) -> Result<Bytes, FetchError> {
        self.ask(Method::POST, Some(authorization), form.into()).await
    }

    /// `POST` of JSON with a credential, whose answer may be long in coming. Only 200 is an answer.
    pub(crate) async fn poll(&self, authorization: HeaderValue, json: String) -> Result<Bytes, FetchError> {
        let content = (json.into(), "application/json");
        match tokio::time::timeout(POLLED_WITHIN, self.exchange(Method::POST, Some(authorization), content)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Timeout(self.url.clone())),
        }
    }

    async fn ask(&self, method: Method, authorization: Option<HeaderValue>, form: Bytes) -> Result<Bytes, FetchError> {
        let content = (form, "application/x-www-form-urlencoded");
        match tokio::time::timeout(ANSWER_WITHIN, self.exchange(method, authorization, content)).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Timeout(self.url.clone())),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        authorization: Option<HeaderValue>,
        (content, content_type): (Bytes, &'static str),
    ) -> Result<Bytes, FetchError> {
        let mut request = Request::new(Full::new(content.clone()));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(self.path.clone());
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if !content.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(mut authorization) = authorization {
            authorization.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, authorization);
        }
        let failed = |source| FetchError::Exchange { url: self.url.clone(), source };
        let response = self.upstream.send(request).await.map_err(failed)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(FetchError::Status { url: self.url.clone(), status });
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        Ok(body.map_err(|_| FetchError::Body(self.url.clone()))?.to_bytes())
    }
}
