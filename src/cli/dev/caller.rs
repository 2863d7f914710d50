//! How an agent of the story calls the edge: a writ, a key, and a fresh proof for every request.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use crate::catalog::Origin;
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::random;
use crate::dial::{AddressRule, Dialer, Limits, TrustedRoots, Upstream};
use crate::key::KeyPair;
use crate::token::RawToken;
use crate::token::chain::ProofCovers;
use crate::token::proof::{ProvenRequest, make};

const ANSWER_BYTES_MAX: usize = 1 << 20;

/// The connections to one server of the stage.
pub(super) struct Caller {
    context: Context,
    origin: String,
    connections: Upstream<Full<Bytes>>,
}

/// Who calls, and with which writ.
#[derive(Clone, Copy)]
pub(super) struct As<'a> {
    pub(super) token: &'a RawToken,
    pub(super) key: &'a KeyPair,
}

/// An answer, read in full.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    /// The body as JSON; `null` where it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

impl Caller {
    pub(super) fn of(context: Context, origin: &str) -> Result<Self, Failure> {
        let dialer = Dialer::new(&TrustedRoots::web(), Limits::default());
        let connections = dialer.upstream(&origin.parse::<Origin>()?, AddressRule::AllowPrivate)?;
        Ok(Self { context, origin: origin.to_owned(), connections })
    }

    /// Calls and reads the whole answer.
    pub(super) async fn call(
        &self,
        who: Option<As<'_>>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let (parts, body) = self.open(who, method, path, body).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Failure::new("the answer broke off"))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Calls and leaves the answer's body to stream.
    pub(super) async fn open(
        &self,
        who: Option<As<'_>>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<http::Response<Incoming>, Failure> {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method.clone()).uri(path).body(Full::new(Bytes::from(bytes)))?;
        if body.is_some() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(As { token, key }) = who {
            let url = format!("{}{path}", self.origin);
            let proven = ProvenRequest { method: method.as_str(), url: &url, query: None, body_sha256: None };
            let digest = Some(token.digest());
            let proof = make(key, &proven, digest, ProofCovers::default(), None, &random()?, self.context.now());
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("DPoP {}", token.text()))?);
            headers.insert("dpop", HeaderValue::from_str(&proof)?);
        }
        Ok(self.connections.send(request).await?)
    }
}
