//! Bodies that arguments are taken from: declared as what the route reads, parsed strictly, and forwarded as they were parsed.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::{Deserialize, Serialize};

use crate::catalog::form::Form;
use crate::catalog::graphql;
use crate::catalog::json::Body;
use crate::catalog::rpc;
use crate::token::Operations;

/// What a route's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyKind {
    /// A JSON document.
    Json,
    /// An HTML form: `application/x-www-form-urlencoded`.
    Form,
    /// JSON-RPC 2.0: a call, or a batch of calls.
    JsonRpc,
    /// GraphQL over HTTP: an operation, or a batch of operations.
    Graphql,
}

/// How a route's body must be, because something of it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRule {
    /// What it is.
    pub kind: BodyKind,
    /// The longest body in bytes.
    pub bytes_max: usize,
}

/// A parsed body. What is forwarded is written from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A JSON document.
    Json(Body),
    /// A form.
    Form(Form),
    /// JSON-RPC calls.
    Calls(rpc::Calls),
    /// GraphQL operations.
    Fields(graphql::Request),
}

/// A body that is not what the route reads. The caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// Not exactly one `Content-Type`, the one that the route reads.
    #[error("the body must be declared once, as `Content-Type: {}`", .0.media_type())]
    ContentType(BodyKind),
    /// Compressed.
    #[error("the body must be sent without a `Content-Encoding`")]
    ContentEncoding,
    /// Over the route's limit.
    #[error("the body is longer than the {0} bytes that this route takes")]
    TooLong(usize),
    /// Over [`Body::DEPTH_MAX`].
    #[error("the body is nested deeper than {} levels", Body::DEPTH_MAX)]
    TooDeep,
    /// Not JSON.
    #[error("the body is not valid JSON at byte {0}")]
    Syntax(usize),
    /// A repeated key.
    #[error("the JSON body repeats a key of an object at byte {0}")]
    DuplicateKey(usize),
    /// Not a form.
    #[error("the form cannot be read in one way: {0}")]
    Form(&'static str),
    /// Not JSON-RPC.
    #[error("the body is no JSON-RPC 2.0: {0}")]
    Rpc(&'static str),
    /// Not GraphQL over HTTP.
    #[error("the body is no GraphQL request that is forwarded: {0}")]
    Graphql(&'static str),
    /// More than [`Operations::COUNT_MAX`].
    #[error("the body asks for more than {} things at once, or for none", Operations::COUNT_MAX)]
    TooMany,
}

impl BadBody {
    /// The reason code, for the caller and the audit record.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::ContentType(_) => "body_content_type",
            Self::ContentEncoding => "body_content_encoding",
            Self::TooLong(_) => "body_too_long",
            Self::TooDeep => "body_too_deep",
            Self::Syntax(_) => "body_syntax",
            Self::DuplicateKey(_) => "body_duplicate_key",
            Self::Form(_) => "body_form",
            Self::Rpc(_) => "body_json_rpc",
            Self::Graphql(_) => "body_graphql",
            Self::TooMany => "body_operations",
        }
    }
}

impl BodyKind {
    /// The media type that a body of this kind is declared as.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json | Self::JsonRpc | Self::Graphql => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
        }
    }
}

impl BodyRule {
    /// Checks that the headers declare such a body: one `Content-Type`, exactly its media type with at most `charset=utf-8`,
    /// and no content coding.
    pub fn declared(self, headers: &HeaderMap) -> Result<(), BadBody> {
        let wrong = BadBody::ContentType(self.kind);
        let mut types = headers.get_all(CONTENT_TYPE).iter();
        let (Some(value), None) = (types.next(), types.next()) else { return Err(wrong) };
        let text = value.to_str().map_err(|_| wrong)?;
        let (media, charset) = match text.split_once(';') {
            Some((media, parameter)) => (media, Some(parameter.trim_matches([' ', '\t']))),
            None => (text, None),
        };
        let is_utf8 =
            |text: &str| text.eq_ignore_ascii_case("charset=utf-8") || text.eq_ignore_ascii_case("charset=\"utf-8\"");
        let right = media.trim_matches([' ', '\t']).eq_ignore_ascii_case(self.kind.media_type());
        if !right || !charset.is_none_or(is_utf8) {
            return Err(wrong);
        }
        let mut codings = headers.get_all(CONTENT_ENCODING).iter();
        if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(BadBody::ContentEncoding);
        }
        Ok(())
    }

    /// Parses a whole body. An empty one is none, except where calls are expected.
    pub fn parse(self, bytes: &[u8]) -> Result<Option<Content>, BadBody> {
        if bytes.len() > self.bytes_max {
            return Err(BadBody::TooLong(self.bytes_max));
        }
        Ok(Some(match self.kind {
            BodyKind::Json | BodyKind::Form if bytes.is_empty() => return Ok(None),
            BodyKind::Json => Content::Json(Body::parse(bytes, self.bytes_max)?),
            BodyKind::Form => Content::Form(Form::parse(bytes)?),
            BodyKind::JsonRpc => Content::Calls(rpc::Calls::of(Body::parse(bytes, self.bytes_max)?)?),
            BodyKind::Graphql => Content::Fields(graphql::Request::of(&Body::parse(bytes, self.bytes_max)?)?),
        }))
    }
}

impl Content {
    /// The text to forward, written from the parsed form.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Json(body) => body.to_bytes(),
            Self::Form(form) => form.text().as_bytes().to_vec(),
            Self::Calls(calls) => calls.body().to_bytes(),
            Self::Fields(request) => request.to_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn declared(kind: BodyKind, types: &[&'static str], coding: Option<&'static str>) -> Result<(), BadBody> {
        let mut headers = HeaderMap::new();
        for value in types {
            headers.append(CONTENT_TYPE, HeaderValue::from_static(value));
        }
        if let Some(coding) = coding {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        BodyRule { kind, bytes_max: 1000 }.declared(&headers)
    }

    #[test]
    fn only_one_plain_declaration_of_json_is_accepted() {
        let headers = |types: &[&'static str], coding| declared(BodyKind::Json, types, coding);
        for value in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "application/json; charset=\"utf-8\"",
        ] {
            assert_eq!(headers(&[value], None), Ok(()), "{value}");
        }
        let wrong = Err(BadBody::ContentType(BodyKind::Json));
        for value in [
            "",
            "text/plain",
            "application/json5",
            "application/jsonx",
            "application/json, text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-16",
            "application/json; charset=utf-7",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; x=1",
            "application/json;",
            "multipart/form-data; boundary=x",
            "application/problem+json",
        ] {
            assert_eq!(headers(&[value], None), wrong, "{value}");
        }
        assert_eq!(headers(&[], None), wrong);
        assert_eq!(headers(&["application/json", "application/json"], None), wrong);
        assert_eq!(headers(&["application/json"], Some("identity")), Ok(()));
        assert_eq!(headers(&["application/json"], Some("gzip")), Err(BadBody::ContentEncoding));
    }

    #[test]
    fn a_form_is_declared_as_a_form() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(declared(BodyKind::Form, &[form], None), Ok(()));
        assert_eq!(declared(BodyKind::Form, &["application/x-www-form-urlencoded; charset=UTF-8"], None), Ok(()));
        for value in ["application/json", "multipart/form-data; boundary=x", "text/plain"] {
            assert_eq!(declared(BodyKind::Form, &[value], None), Err(BadBody::ContentType(BodyKind::Form)), "{value}");
        }
        assert_eq!(declared(BodyKind::Form, &[form], Some("br")), Err(BadBody::ContentEncoding));
    }

    #[test]
    fn a_body_is_as_long_as_the_route_takes() {
        for kind in [BodyKind::Json, BodyKind::Form, BodyKind::JsonRpc, BodyKind::Graphql] {
            let rule = BodyRule { kind, bytes_max: 10 };
            assert_eq!(rule.parse(&[b'a'; 11]), Err(BadBody::TooLong(10)));
        }
    }
}
