//! What MCP's Streamable HTTP repeats of a JSON-RPC body in headers, for whoever routes by them: it must say what the body says.
//!
//! Source: MCP 2026-07-28, "Streamable HTTP", "Request Metadata". `Mcp-Param-*` is forwarded and not compared: which argument it
//! repeats stands in the tool's schema, which an edge does not have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderValue};

use crate::catalog::argument::BadArgument;
use crate::catalog::json::Node;
use crate::catalog::rpc::{Calls, RpcCall, member};

const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";
const VERSION: &str = "mcp-protocol-version";
/// From this version on the headers are required. Versions are dates, so their texts are in their order.
const REQUIRED_SINCE: &str = "2026-07-28";
/// Where a body says its version, in `_meta` of `params`.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// Refuses headers that say something else than the calls, or that are missing where the version asks for them.
pub(super) fn agree(headers: &HeaderMap, calls: &Calls) -> Result<(), BadArgument> {
    let [method, name, version] = [METHOD, NAME, VERSION].map(|header| Said::of(headers, header));
    let (method, name, version) = (method?, name?, version?);
    let meta = calls.iter().find_map(|call| member(of_params(call, "_meta")?, VERSION_KEY));
    if meta.is_some_and(|meta| !version.says(meta)) {
        return Err(BadArgument::Mcp("`MCP-Protocol-Version` must be the version in the body's `_meta`"));
    }
    let modern = version.0.as_deref().is_some_and(|version| is_date(version) && version >= REQUIRED_SINCE);
    compare(calls, &method, &name, modern)
}

fn compare(calls: &Calls, method: &Said, name: &Said, modern: bool) -> Result<(), BadArgument> {
    if !modern && method.0.is_none() && name.0.is_none() {
        return Ok(());
    }
    let mut each = calls.iter();
    let (Some(call), None) = (each.next(), each.next()) else {
        return Err(BadArgument::Mcp("with MCP's headers the body must be a single call"));
    };
    if modern && method.0.is_none() {
        return Err(BadArgument::Mcp("this version of MCP needs the header `Mcp-Method`"));
    }
    if method.0.as_deref().is_some_and(|method| method != call.method) {
        return Err(BadArgument::Mcp("`Mcp-Method` must be the body's `method`"));
    }
    match (&name.0, named(call)) {
        (Some(_), Some(named)) if name.says(named) => Ok(()),
        (Some(_), _) => Err(BadArgument::Mcp("`Mcp-Name` must be the body's `params.name` or `params.uri`")),
        (None, Some(_)) if modern && needs_name(call.method) => {
            Err(BadArgument::Mcp("this version of MCP needs the header `Mcp-Name`"))
        }
        (None, _) => Ok(()),
    }
}

fn needs_name(method: &str) -> bool {
    matches!(method, "tools/call" | "resources/read" | "prompts/get")
}

/// What a call is about: a tool's or prompt's name, a resource's URI, a task's id.
fn named(call: RpcCall<'_>) -> Option<&Node> {
    let keys: &[&str] = if call.method.starts_with("resources/") { &["uri"] } else { &["name", "uri", "taskId"] };
    keys.iter().find_map(|key| of_params(call, key))
}

fn of_params<'a>(call: RpcCall<'a>, key: &str) -> Option<&'a Node> {
    call.params.and_then(|params| member(params, key))
}

fn is_date(text: &str) -> bool {
    let digit = |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == REQUIRED_SINCE.len() && text.bytes().enumerate().all(digit)
}

/// A header's value, decoded; `None`: it is not there.
struct Said(Option<String>);

impl Said {
    fn of(headers: &HeaderMap, name: &str) -> Result<Self, BadArgument> {
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        match (decoded(value), values.next()) {
            (Some(text), None) => Ok(Self(Some(text))),
            (None, _) => {
                Err(BadArgument::Mcp("a header of MCP is not printable ASCII, or not Base64 where it says so"))
            }
            (_, Some(_)) => Err(BadArgument::Mcp("a header of MCP is given twice")),
        }
    }

    fn says(&self, node: &Node) -> bool {
        matches!((&self.0, node), (Some(said), Node::String(text)) if **said == **text)
    }
}

/// The text that a value stands for: itself, or what is between `=?base64?` and `?=`.
fn decoded(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?;
    match text.strip_prefix("=?base64?").and_then(|text| text.strip_suffix("?=")) {
        Some(coded) => String::from_utf8(STANDARD.decode(coded).ok()?).ok(),
        None => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::json::Body;

    fn agrees(headers: &[(&'static str, &str)], body: &str) -> Result<(), &'static str> {
        let calls = Calls::of(Body::parse(body.as_bytes(), 1 << 16).unwrap()).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        agree(&map, &calls).map_err(|error| match error {
            BadArgument::Mcp(problem) => problem,
            other => panic!("{other:?}"),
        })
    }

    fn call(method: &str, params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
    }

    const NEW: (&str, &str) = (VERSION, "2026-07-28");

    #[test]
    fn headers_that_say_what_the_body_says_pass() {
        let tool = call("tools/call", r#"{"name":"safe"}"#);
        for headers in [
            &[][..],
            &[(METHOD, "tools/call")],
            &[(METHOD, "tools/call"), (NAME, "safe")],
            &[(METHOD, "tools/call"), (NAME, "=?base64?c2FmZQ==?=")],
            &[NEW, (METHOD, "tools/call"), (NAME, "safe")],
            &[(VERSION, "2025-11-25")],
        ] {
            assert_eq!(agrees(headers, &tool), Ok(()), "{headers:?}");
        }
        let padded = call("tools/call", r#"{"name":" é "}"#);
        assert_eq!(agrees(&[(NAME, "=?base64?IMOpIA==?=")], &padded), Ok(()));
        let resource = call("resources/read", r#"{"uri":"file:///a","name":"b"}"#);
        assert_eq!(agrees(&[NEW, (METHOD, "resources/read"), (NAME, "file:///a")], &resource), Ok(()));
        let ping = r#"{"jsonrpc":"2.0","method":"ping"}"#;
        assert_eq!(agrees(&[NEW, (METHOD, "ping")], ping), Ok(()));
        assert_eq!(agrees(&[(VERSION, "2025-11-25")], &format!("[{ping},{ping}]")), Ok(()));
        let meta = call("ping", r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#);
        assert_eq!(agrees(&[NEW, (METHOD, "ping")], &meta), Ok(()));
    }

    #[test]
    fn headers_that_say_anything_else_are_refused() {
        let tool = call("tools/call", r#"{"name":"danger"}"#);
        for headers in [
            &[(METHOD, "tools/list")][..],
            &[(METHOD, "Tools/Call")],
            &[(METHOD, "")],
            &[(NAME, "safe")],
            &[(NAME, "Danger")],
            &[(NAME, "=?base64?c2FmZQ==?=")],
            &[(NAME, "=?base64?not base64?=")],
            &[(NAME, "=?base64?/w==?=")],
            &[(NAME, "=?BASE64?ZGFuZ2Vy?=")],
            &[(NAME, "danger"), (NAME, "danger")],
            &[(NAME, "danger"), (NAME, "safe")],
            &[(METHOD, "tools/call"), (METHOD, "tools/call")],
            &[(NAME, "dangér")],
        ] {
            assert!(agrees(headers, &tool).is_err(), "{headers:?}");
        }
        assert!(agrees(&[(NAME, "b")], &call("resources/read", r#"{"uri":"a","name":"b"}"#)).is_err());
        assert!(agrees(&[(NAME, "a")], &call("ping", "{}")).is_err(), "nothing is named");
        assert!(agrees(&[(NAME, "1")], &call("tools/call", r#"{"name":1}"#)).is_err(), "no text");
        let batch = format!("[{},{}]", call("ping", "{}"), r#"{"jsonrpc":"2.0","method":"ping"}"#);
        assert!(agrees(&[(METHOD, "ping")], &batch).is_err(), "one header for several calls");
    }

    #[test]
    fn a_version_that_asks_for_the_headers_gets_nothing_through_without_them() {
        let tool = call("tools/call", r#"{"name":"safe"}"#);
        for version in ["2026-07-28", "2026-11-05", "2031-01-01"] {
            for headers in [&[(VERSION, version)][..], &[(VERSION, version), (METHOD, "tools/call")]] {
                assert!(agrees(headers, &tool).is_err(), "{headers:?}");
            }
        }
        let meta = call("ping", r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#);
        for headers in [&[][..], &[(METHOD, "ping")], &[(VERSION, "2025-11-25"), (METHOD, "ping")]] {
            assert!(agrees(headers, &meta).is_err(), "the version is in the body: {headers:?}");
        }
        let batch = format!("[{tool}]");
        assert_eq!(agrees(&[NEW, (METHOD, "tools/call"), (NAME, "safe")], &batch), Ok(()), "a batch of one");
    }
}
