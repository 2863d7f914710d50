//! From a program's request to the edge and back: writ and proof added, bodies streamed both ways.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};

use crate::cli::failure::Failure;
use crate::cli::run::holder::{Held, Holder};
use crate::dial::Upstream;
use crate::key::sha256;
use crate::token::proof::ProvenRequest;

/// A body on its way.
pub(super) type Outgoing = BoxBody<Bytes, BoxError>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The connections to the edge.
pub(super) type Edge = Upstream<Outgoing>;

/// A body of at most this many bytes is kept, so that the request can be sent again with the nonce the edge wants.
const KEPT_BYTES_MAX: u64 = 64 << 10;
/// The longest body that a proof can cover.
const COVERED_BYTES_MAX: usize = 64 << 20;

/// No body.
pub(super) fn empty() -> Outgoing {
    full(Bytes::new())
}

/// A body that is at hand.
pub(super) fn full(bytes: Bytes) -> Outgoing {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// Headers that belong to one connection, or that are ours to set.
const NOT_FORWARDED: &[&str] = &[
    "authorization",
    "connection",
    "cookie",
    "dpop",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Sends `request` to `path` (with its query) at the edge, as the holder.
pub(super) async fn forward(
    edge: &Edge,
    origin: &str,
    holder: &Holder,
    request: Request<Incoming>,
    path: &str,
) -> Result<Response<Outgoing>, Failure> {
    let (parts, body) = request.into_parts();
    let held = holder.held().await;
    let sending = Sending { edge, origin, holder, held: &held, parts: &parts, uri: path.parse()? };
    let length = body.size_hint().exact();
    let answer = if held.covers_body() {
        let body = Limited::new(body, COVERED_BYTES_MAX).collect().await;
        let body =
            body.map_err(|_| Failure::new("the body broke off, or is longer than the 64 MiB a proof can cover"))?;
        sending.kept(body.to_bytes()).await?
    } else if length.is_some_and(|length| length <= KEPT_BYTES_MAX) {
        sending.kept(body.collect().await?.to_bytes()).await?
    } else {
        sending.once(body.map_err(BoxError::from).boxed(), length, None).await?
    };
    Ok(answer.map(|body| body.map_err(BoxError::from).boxed()))
}

/// One request of a program.
struct Sending<'a> {
    edge: &'a Edge,
    origin: &'a str,
    holder: &'a Holder,
    held: &'a Held,
    parts: &'a Parts,
    uri: Uri,
}

impl Sending<'_> {
    /// Sends a body that is at hand; once more if the edge only wanted another nonce, or a proof after all.
    async fn kept(&self, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let (digest, length) = (sha256(&body), body.len() as u64);
        let length = (length > 0 || self.parts.headers.contains_key(CONTENT_LENGTH)).then_some(length);
        let (before, by_connection) = (self.holder.nonce(), self.holder.proves_by_connection());
        let answer = self.once(full(body.clone()), length, Some(digest)).await?;
        let wants_nonce = asks_for_nonce(answer.headers()) && self.holder.nonce() != before;
        if answer.status() == StatusCode::UNAUTHORIZED && (wants_nonce || by_connection) {
            return self.once(full(body), length, Some(digest)).await;
        }
        Ok(answer)
    }

    async fn once(
        &self,
        body: Outgoing,
        length: Option<u64>,
        body_sha256: Option<[u8; 32]>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = kept_headers(&self.parts.headers);
        match length {
            Some(length) => request.headers_mut().insert(CONTENT_LENGTH, length.into()),
            None => request.headers_mut().remove(CONTENT_LENGTH),
        };
        let url = format!("{}{}", self.origin, self.uri.path());
        let proven =
            ProvenRequest { method: self.parts.method.as_str(), url: &url, query: self.uri.query(), body_sha256 };
        self.holder.prove(self.held, &proven, request.headers_mut())?;
        let mut answer = self.edge.send(request).await?;
        self.holder.learn(answer.headers());
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.holder.prove_by_connection(false);
        }
        *answer.headers_mut() = kept_headers(answer.headers());
        // The program has no key to prove: a challenge would only confuse it.
        answer.headers_mut().remove("dpop-nonce");
        Ok(answer)
    }
}

/// `headers` without those of the connection, and without those that the connection itself names.
fn kept_headers(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !NOT_FORWARDED.contains(&name.as_str()) && !named.contains(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// RFC 9449 section 9.
fn asks_for_nonce(headers: &HeaderMap) -> bool {
    let challenges = headers.get_all(http::header::WWW_AUTHENTICATE).iter();
    challenges.filter_map(|value| value.to_str().ok()).any(|value| value.contains("use_dpop_nonce"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_connection_and_what_the_program_made_up_stays_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("authorization", "Bearer dummy"),
            ("proxy-authorization", "Basic x"),
            ("host", "api.notes.example"),
            ("accept", "application/json"),
        ] {
            headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let kept = kept_headers(&headers);
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
