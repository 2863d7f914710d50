//! Which headers cross the edge. Everything not named here does.
//!
//! Never merges: a header by which a caller could name itself, the method, the path or a credential is dropped, and the edge
//! sets its own.

use std::sync::LazyLock;

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue};

use crate::small::Few;

/// Meant for one connection (RFC 9110 section 7.6.1), or about how a message is framed on it.
const PER_CONNECTION: [&str; 9] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// Of a caller: where the request goes and how long it is, which the edge alone decides.
const REQUEST_ROUTING: [&str; 13] = [
    "content-length",
    "destination",
    "expect",
    "forwarded",
    "host",
    "proxy",
    "via",
    "x-host",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-real-ip",
    "x-sendfile-type",
    "x-proxy-url",
];

/// Of a caller: another method than the one that was authorised.
const REQUEST_METHOD: [&str; 4] = ["x-http-method", "x-http-method-override", "x-method", "x-method-override"];

/// Of a caller: a second resource, which no route has authorised.
const REQUEST_SOURCE: [&str; 7] = [
    "copy-source",
    "x-amz-copy-source",
    "x-amz-rename-source",
    "x-copy-from",
    "x-goog-copy-source",
    "x-ms-copy-source",
    "x-ms-rename-source",
];

/// Of a caller: a credential or an identity.
const REQUEST_CREDENTIAL: [&str; 24] = [
    "api-key",
    "apikey",
    "authorization",
    "client-ip",
    "cookie",
    "cookie2",
    "dpop",
    "job-token",
    "ocp-apim-subscription-key",
    "private-token",
    "remote-user",
    "sudo",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-api-token",
    "x-apikey",
    "x-auth-token",
    "x-authorization",
    "x-client-cert",
    "x-goog-api-key",
    "x-goog-iap-jwt-assertion",
    "x-ssl-client-cert",
    "x-vault-token",
];

/// Beginnings of names, of a caller.
const REQUEST_PREFIXES: [&str; 13] = [
    "cf-connecting-",
    "impersonate-",
    "proxy-",
    "true-client-",
    "writ-",
    "x-accel-",
    "x-client-ip",
    "x-cluster-client-",
    "x-forwarded",
    "x-original-",
    "x-override-",
    "x-remote-",
    "x-rewrite-",
];

/// Of an upstream: a session or an authentication that is not the caller's, or another way to the service past the edge.
const RESPONSE: [&str; 9] = [
    "alt-svc",
    "authentication-info",
    "public-key-pins",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "www-authenticate",
    "x-sendfile",
    "x-reproxy-url",
];

/// Beginnings of names, of an upstream. What begins with `writ-` only an edge says.
const RESPONSE_PREFIXES: [&str; 3] = ["proxy-", "writ-", "x-accel-"];

/// Removes what must not reach the upstream. `credential` is the header that the credential will be put into.
///
/// A name with `_` is removed too: CGI-like servers take `_` for `-`, so that it could stand for any other header.
pub fn clean_request(headers: &mut HeaderMap, credential: Option<&HeaderName>) {
    remove(headers, |name| is_callers_own(name.as_str()) || credential == Some(name));
}

/// Whether the header of a request reaches the upstream as the caller sent it, so that an argument can be taken from it.
pub(super) fn reaches_upstream(name: &HeaderName) -> bool {
    let name = name.as_str();
    let rewritten = ["accept-encoding", "range", "if-range", "content-type", "content-encoding"];
    !is_callers_own(name) && !rewritten.contains(&name)
}

fn is_callers_own(name: &str) -> bool {
    name.as_bytes().contains(&b'_') || OF_REQUEST.has(name)
}

/// Names of headers, to be looked up by their length, and beginnings of names.
struct Names {
    by_length: Vec<Vec<&'static str>>,
    prefixes: &'static [&'static str],
}

static OF_REQUEST: LazyLock<Names> = LazyLock::new(|| {
    let lists: [&[&str]; 5] =
        [&PER_CONNECTION, &REQUEST_ROUTING, &REQUEST_METHOD, &REQUEST_SOURCE, &REQUEST_CREDENTIAL];
    Names::of(&lists, &REQUEST_PREFIXES)
});
static OF_RESPONSE: LazyLock<Names> = LazyLock::new(|| Names::of(&[&PER_CONNECTION, &RESPONSE], &RESPONSE_PREFIXES));

impl Names {
    fn of(lists: &[&[&'static str]], prefixes: &'static [&'static str]) -> Self {
        let mut by_length = Vec::new();
        for name in lists.iter().copied().flatten() {
            by_length.resize_with(by_length.len().max(name.len() + 1), Vec::new);
            by_length[name.len()].push(*name);
        }
        Self { by_length, prefixes }
    }

    fn has(&self, name: &str) -> bool {
        self.by_length.get(name.len()).is_some_and(|names| names.contains(&name))
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// Removes what must not reach the caller. `Content-Length` stays: whoever changes the body removes it.
pub fn clean_response(headers: &mut HeaderMap) {
    remove(headers, |name| OF_RESPONSE.has(name.as_str()));
}

/// Removes what is named by `Connection`, and what is `unwanted`.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let doomed: Few<HeaderName, 8> = {
        let connection: Few<&HeaderValue> = headers.get_all(CONNECTION).iter().collect();
        let is_named = |name: &HeaderName| {
            let mut names = connection.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
            names.any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_ref()))
        };
        headers.keys().filter(|name| unwanted(name) || is_named(name)).cloned().collect()
    };
    for name in doomed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(names: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("x"));
        }
        headers
    }

    fn forwarded(names: &[&str]) -> Vec<String> {
        let mut headers = headers(names);
        clean_request(&mut headers, Some(&HeaderName::from_static("x-notes-key")));
        let mut left: Vec<String> = headers.keys().map(ToString::to_string).collect();
        left.sort();
        left
    }

    #[test]
    fn what_only_the_edge_may_say_is_not_forwarded() {
        for name in [
            "authorization",
            "dpop",
            "cookie",
            "proxy-authorization",
            "proxy-connection",
            "x-api-key",
            "x-notes-key",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-prefix",
            "forwarded",
            "x-real-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x-accel-redirect",
            "x-accel-buffering",
            "host",
            "te",
            "transfer-encoding",
            "content-length",
            "trailer",
            "upgrade",
            "keep-alive",
            "connection",
            "expect",
            "proxy",
            "destination",
            "x-amz-copy-source",
            "impersonate-user",
            "sudo",
            "writ-request-id",
            "http2-settings",
        ] {
            assert_eq!(forwarded(&[name]), [""; 0], "{name}");
            assert_eq!(forwarded(&[&name.to_ascii_uppercase(), name, name]), [""; 0], "{name}");
        }
    }

    #[test]
    fn an_underscore_does_not_disguise_a_header() {
        assert_eq!(forwarded(&["x_forwarded_for", "x_notes_key", "x-http_method-override", "content_length"]), [""; 0]);
    }

    #[test]
    fn everything_else_is_forwarded() {
        let names = [
            "accept",
            "accept-encoding",
            "content-encoding",
            "content-type",
            "depth",
            "if-match",
            "if-none-match",
            "origin",
            "prefer",
            "range",
            "traceparent",
            "user-agent",
            "x-github-api-version",
            "x-notes-keys",
        ];
        assert_eq!(forwarded(&names), names);
    }

    #[test]
    fn what_connection_names_goes_with_it() {
        let mut map = headers(&["x-hop", "x-other", "x-end"]);
        map.append(CONNECTION, HeaderValue::from_static("close, X-Hop ,,\t"));
        map.append(CONNECTION, HeaderValue::from_static("x-other, bad name"));
        let mut answer = map.clone();
        clean_request(&mut map, None);
        assert_eq!(map, headers(&["x-end"]));
        clean_response(&mut answer);
        assert_eq!(answer, headers(&["x-end"]));
    }

    #[test]
    fn an_upstream_sets_no_session_and_does_not_speak_for_the_edge() {
        let mut map = headers(&[
            "set-cookie",
            "set-cookie",
            "www-authenticate",
            "proxy-authenticate",
            "alt-svc",
            "writ-denied",
            "x-accel-redirect",
            "strict-transport-security",
            "transfer-encoding",
            "connection",
            "content-length",
            "content-type",
            "etag",
            "x_y",
        ]);
        clean_response(&mut map);
        assert_eq!(map, headers(&["content-length", "content-type", "etag", "x_y"]));
    }
}
