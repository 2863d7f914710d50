//! JSON-RPC 2.0: a call, or a batch of calls, each an operation of its own.

use crate::catalog::body::BadBody;
use crate::catalog::json::{Body, Node};
use crate::token::Operations;

/// A body that is one call or a batch of calls, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls(Body);

/// One call.
#[derive(Clone, Copy, Debug)]
pub(super) struct RpcCall<'a> {
    pub(super) method: &'a str,
    /// An object or an array.
    pub(super) params: Option<&'a Node>,
}

impl Calls {
    const ID_BYTES_MAX: usize = 256;

    /// Checks that `body` is one call or a batch: version, members, ids. A call without an id is a notification, and a call too.
    pub fn of(body: Body) -> Result<Self, BadBody> {
        let calls = elements(&body);
        if !(1..=Operations::COUNT_MAX).contains(&calls.len()) {
            return Err(BadBody::TooMany);
        }
        let mut ids = Vec::new();
        for call in calls {
            if let Some(id) = checked(call)? {
                if ids.contains(&id) {
                    return Err(BadBody::Rpc("two calls of the batch have the same `id`"));
                }
                ids.push(id);
            }
        }
        Ok(Self(body))
    }

    pub(super) const fn body(&self) -> &Body {
        &self.0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = RpcCall<'_>> {
        elements(&self.0).iter().filter_map(|call| {
            let method = match member(call, "method") {
                Some(Node::String(method)) => method,
                _ => return None,
            };
            Some(RpcCall { method, params: member(call, "params") })
        })
    }
}

fn elements(body: &Body) -> &[Node] {
    match body.root() {
        Node::Array(calls) => calls,
        call => std::slice::from_ref(call),
    }
}

/// The member of an object by its name.
pub(super) fn member<'a>(call: &'a Node, name: &str) -> Option<&'a Node> {
    let Node::Object(members) = call else { return None };
    members.iter().find(|(key, _)| **key == *name).map(|(_, value)| value)
}

/// The call's id, if it has one. Any other member is refused: `Method` beside `method`, or an answer in place of a call.
fn checked(call: &Node) -> Result<Option<&Node>, BadBody> {
    let Node::Object(members) = call else { return Err(BadBody::Rpc("a call is an object")) };
    let known = |key: &str| matches!(key, "jsonrpc" | "method" | "params" | "id");
    if members.iter().any(|(key, _)| !known(key)) {
        return Err(BadBody::Rpc("a call has `jsonrpc`, `method`, `params` and `id`, and no other member"));
    }
    if member(call, "jsonrpc") != Some(&Node::String("2.0".into())) {
        return Err(BadBody::Rpc("`jsonrpc` is `\"2.0\"`"));
    }
    if !matches!(member(call, "method"), Some(Node::String(_))) {
        return Err(BadBody::Rpc("`method` is a string"));
    }
    if !matches!(member(call, "params"), None | Some(Node::Object(_) | Node::Array(_))) {
        return Err(BadBody::Rpc("`params` is an object or an array"));
    }
    match member(call, "id") {
        None => Ok(None),
        Some(id @ Node::String(text)) if text.len() <= Calls::ID_BYTES_MAX => Ok(Some(id)),
        Some(id @ Node::Number(text)) if is_exact(text) => Ok(Some(id)),
        Some(_) => Err(BadBody::Rpc("`id` is a string of at most 256 bytes or a whole number within 2^53")),
    }
}

/// A whole number in its one spelling that a float keeps, so that an answer can be matched with it.
fn is_exact(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|id| id.unsigned_abs() < 1 << 53 && id.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, Option<String>)>, BadBody> {
        let calls = Calls::of(Body::parse(text.as_bytes(), 1 << 16)?)?;
        Ok(calls.iter().map(|call| (call.method.to_owned(), call.params.map(Node::to_string))).collect())
    }

    #[test]
    fn a_call_and_each_call_of_a_batch_is_read() {
        let one = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
        let read_one = ("tools/call".to_owned(), Some(r#"{"name":"a"}"#.to_owned()));
        assert_eq!(read(one), Ok(vec![read_one.clone()]));
        let notification = r#"{"jsonrpc":"2.0","method":"ping"}"#;
        assert_eq!(read(&format!("[{one},{notification}]")), Ok(vec![read_one, ("ping".to_owned(), None)]));
        assert!(read(r#"{"jsonrpc":"2.0","id":"x","method":"m","params":[1,2]}"#).is_ok());
    }

    #[test]
    fn what_servers_could_read_in_two_ways_is_refused() {
        let call = |members: &str| format!(r#"{{"jsonrpc":"2.0","method":"m"{members}}}"#);
        for text in [
            "1".to_owned(),
            "\"m\"".to_owned(),
            "{}".to_owned(),
            "[[]]".to_owned(),
            r#"{"method":"m","id":1}"#.to_owned(),
            r#"{"jsonrpc":"1.0","method":"m"}"#.to_owned(),
            r#"{"jsonrpc":2.0,"method":"m"}"#.to_owned(),
            r#"{"jsonrpc":"2.0","method":1}"#.to_owned(),
            r#"{"jsonrpc":"2.0","result":1,"id":1}"#.to_owned(),
            call(r#","Method":"n""#),
            call(r#","auth":"x""#),
            call(r#","params":1"#),
            call(r#","params":null"#),
            call(r#","params":"x""#),
            call(r#","id":null"#),
            call(r#","id":1.0"#),
            call(r#","id":1e2"#),
            call(r#","id":-0"#),
            call(r#","id":9007199254740993"#),
            call(r#","id":{}"#),
            call(r#","id":true"#),
            format!("[{},1]", call("")),
            format!("[{},{}]", call(r#","id":1"#), call(r#","id":1"#)),
        ] {
            assert!(matches!(read(&text), Err(BadBody::Rpc(_))), "{text}: {:?}", read(&text));
        }
        assert_eq!(read("[]"), Err(BadBody::TooMany));
        assert!(read(&format!("[{}]", vec![call(""); 32].join(","))).is_ok());
        assert_eq!(read(&format!("[{}]", vec![call(""); 33].join(","))), Err(BadBody::TooMany));
        assert!(matches!(read(&call(r#","method":"n""#)), Err(BadBody::DuplicateKey(_))));
    }
}
