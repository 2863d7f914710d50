//! JSON as it comes: read strictly, so that no other parser reads it differently.

use serde_json::{Map, Value};

use crate::catalog::json::{Body, Node};
use crate::identity::scim::{Fault, Refused, Resource};

/// Reads one JSON object in which no name stands twice.
pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Resource, Refused> {
    let refused = |error: &dyn std::fmt::Display| Refused::new(Fault::InvalidSyntax, error.to_string());
    let body = Body::parse(bytes, bytes_max).map_err(|error| refused(&error))?;
    match value(body.root()) {
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(refused(&"the body must be a JSON object")),
        None => Err(refused(&"the body holds a number that is too large or too long")),
    }
}

fn value(node: &Node) -> Option<Value> {
    Some(match node {
        Node::Null => Value::Null,
        Node::Boolean(boolean) => Value::Bool(*boolean),
        Node::Number(number) => Value::Number(number.parse().ok()?),
        Node::String(text) => Value::String(text.to_string()),
        Node::Array(nodes) => Value::Array(nodes.iter().map(value).collect::<Option<_>>()?),
        Node::Object(members) => {
            let member = |(name, node): &(Box<str>, Node)| Some((name.to_string(), value(node)?));
            Value::Object(members.iter().map(member).collect::<Option<Map<_, _>>>()?)
        }
    })
}
