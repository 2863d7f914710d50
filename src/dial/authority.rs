//! Calls to an authority: small messages, bounded answers, bounded patience. Used by the edge, the command line and `writ run`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;

use crate::dial::address::AddressRule;
use crate::dial::connect::{Connector, DialError};
use crate::dial::resolve::SystemResolver;
use crate::dial::tls::{Protocols, TrustedRoots};
use crate::dial::upstream::UpstreamError;

/// The longest answer that is read unless a caller says otherwise, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where an authority is: `https://host[:port][/path]`, or `http` to this machine. Written without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthorityUrl(Box<str>);

/// A text that is not the URL of an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuthorityUrl {
    /// Not such a URL.
    #[error("not the URL of an authority: use `https://host`, with a port or path if it has one, and no query")]
    Form,
    /// Plain HTTP over a network.
    #[error("plain http reaches an authority on this machine only: use https")]
    Plain,
}

impl FromStr for AuthorityUrl {
    type Err = InvalidAuthorityUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim_end_matches('/');
        let uri: Uri = text.parse().map_err(|_| InvalidAuthorityUrl::Form)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(InvalidAuthorityUrl::Form)?;
        let userinfo = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if userinfo || uri.query().is_some() || text.contains(['?', '#']) {
            return Err(InvalidAuthorityUrl::Form);
        }
        match uri.scheme_str() {
            Some("https") => Ok(Self(text.into())),
            // The connection checks once more, that the name leads here.
            Some("http") if matches!(host, "localhost" | "127.0.0.1" | "[::1]") => Ok(Self(text.into())),
            Some("http") => Err(InvalidAuthorityUrl::Plain),
            _ => Err(InvalidAuthorityUrl::Form),
        }
    }
}

impl fmt::Display for AuthorityUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Calls one authority.
#[derive(Clone)]
pub struct AuthorityClient {
    url: AuthorityUrl,
    client: Client<Connector, Full<Bytes>>,
    answer_bytes_max: usize,
}

impl fmt::Debug for AuthorityClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityClient({})", self.url)
    }
}

/// What an authority answered. Whether to believe it is for the caller to decide.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request cannot be written.
    #[error("not a request: {0}")]
    Request(#[source] http::Error),
    /// No connection, or it broke.
    #[error("no answer from the authority: {0}")]
    Exchange(#[source] UpstreamError),
    /// It took too long.
    #[error("the authority at {0} did not answer in time")]
    Timeout(AuthorityUrl),
    /// The answer broke off, or is longer than the limit.
    #[error("the authority's answer broke off or is too long")]
    Body,
    /// The answer is not the JSON that was expected.
    #[error("the authority's answer is not what this version of writ expects: {0}")]
    Form(#[source] serde_json::Error),
}

impl AuthorityClient {
    /// Connects when first called. Believes `roots`, and for `http` this machine only.
    pub fn new(url: AuthorityUrl, roots: &TrustedRoots) -> Self {
        let connector = Connector {
            rule: AddressRule::Any,
            resolver: Arc::new(SystemResolver::default()),
            // HTTP/1.1: a call that is given up closes its connection, so that the next does not wait on a dead one.
            tls: roots.client_config(Protocols::Http1),
            timeout: CONNECT_TIMEOUT,
            // A call that is given up closes its connection.
            stall_timeout: IDLE_TIMEOUT,
            gate: None,
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(4)
            .build(connector);
        Self { url, client, answer_bytes_max: ANSWER_BYTES_MAX }
    }

    /// Reads answers of at most `bytes`.
    #[must_use]
    pub fn with_answer_bytes_max(self, bytes: usize) -> Self {
        Self { answer_bytes_max: bytes, ..self }
    }

    /// Where it is.
    pub const fn url(&self) -> &AuthorityUrl {
        &self.url
    }

    /// One exchange. `path` begins with `/` and stands below the authority's URL; a body is sent as JSON unless `headers` say otherwise.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !body.is_empty() && !headers.contains_key(http::header::CONTENT_TYPE) {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(Full::new(body)).map_err(CallError::Request)?;
        request.headers_mut().extend(headers);
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout(self.url.clone())),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        let response = self.client.request(request).await.map_err(|error| CallError::Exchange(error.into()))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, self.answer_bytes_max).collect().await.map_err(|_| CallError::Body)?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

impl Answer {
    /// The body as `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body).map_err(CallError::Form)
    }
}

impl CallError {
    /// Whether no byte of the request can have reached the authority.
    pub fn nothing_was_sent(&self) -> bool {
        match self {
            Self::Request(_) => true,
            Self::Exchange(error) => error.is_unsent(),
            Self::Timeout(_) | Self::Body | Self::Form(_) => false,
        }
    }

    /// The failure to connect, if that is what it is.
    pub const fn dial(&self) -> Option<&DialError> {
        match self {
            Self::Exchange(UpstreamError::Untrusted(error) | UpstreamError::Unreachable(error)) => Some(error),
            _ => None,
        }
    }
}
