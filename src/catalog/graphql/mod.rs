//! GraphQL over HTTP: every field at the top of an operation is an operation of its own.
//!
//! Only the operation that is asked for is forwarded, with the fragments it uses, written anew. Nested fields are the
//! service's to judge.

mod document;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalog::body::BadBody;
use crate::catalog::graphql::document::{Document, Fragment, Operation, Selection, Value};
use crate::catalog::json::{Body, Node};
use crate::token::Operations;

/// Which root type a field stands on. Subscriptions are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Reads, by convention.
    Query,
    /// Writes.
    Mutation,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
        })
    }
}

/// A body that is one GraphQL request or a batch of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    forwarded: Node,
    fields: Vec<TopField>,
}

/// A field at the top of an operation, aliases and fragments resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopField {
    pub(super) kind: Kind,
    pub(super) name: Box<str>,
    /// An object: its arguments, with the variables' values.
    pub(super) arguments: Node,
}

/// The most fields of one operation, each counted as often as fragments repeat it.
const FIELDS_MAX: usize = 10_000;

impl Request {
    /// Reads one request, or each of a batch.
    pub fn of(body: &Body) -> Result<Self, BadBody> {
        let mut fields = Vec::new();
        let forwarded = match body.root() {
            Node::Array(requests) => {
                let read = requests.iter().map(|request| one(request, &mut fields));
                Node::Array(read.collect::<Result<_, _>>()?)
            }
            request => one(request, &mut fields)?,
        };
        if fields.is_empty() { Err(BadBody::TooMany) } else { Ok(Self { forwarded, fields }) }
    }

    /// The text to forward.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.forwarded.to_string().into_bytes()
    }

    pub(super) fn fields(&self) -> &[TopField] {
        &self.fields
    }
}

/// Adds the fields of one request; returns what to forward of it.
fn one(request: &Node, fields: &mut Vec<TopField>) -> Result<Node, BadBody> {
    let Envelope { query, operation, variables } = Envelope::of(request)?;
    let document = Document::parse(query)?;
    let fragments = named(&document.fragments)?;
    let operation = selected(&document, operation)?;
    let used = Used::by(operation, &fragments)?;

    let given = |name: &str| variables.iter().find(|(key, _)| **key == *name).map(|(_, value)| value);
    if variables.iter().any(|(name, _)| operation.variables.iter().all(|variable| variable.name != *name)) {
        return Err(BadBody::Graphql("`variables` has one that the operation does not declare"));
    }
    let variable = |name: &str| {
        let declared = operation.variables.iter().find(|variable| *variable.name == *name);
        let declared = declared.ok_or(BadBody::Graphql("it uses a variable that the operation does not declare"))?;
        match (given(name), &declared.default) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, Some(default)) => resolved(default, &|_| Ok(None)),
            (None, None) => Ok(None),
        }
    };
    top(operation.kind, &operation.selection, &fragments, &variable, fields)?;

    let mut text = operation.to_string();
    for fragment in document.fragments.iter().filter(|fragment| used.names.contains_key(&*fragment.name)) {
        text = format!("{text} {fragment}");
    }
    let mut members: Vec<(Box<str>, Node)> = vec![("query".into(), Node::String(text.into()))];
    members.extend(operation.name.iter().map(|name| ("operationName".into(), Node::String(name.clone()))));
    if !variables.is_empty() {
        members.push(("variables".into(), Node::Object(variables.to_vec())));
    }
    Ok(Node::Object(members))
}

/// What a request says beside its document.
struct Envelope<'a> {
    query: &'a str,
    operation: Option<&'a str>,
    variables: &'a [(Box<str>, Node)],
}

impl<'a> Envelope<'a> {
    fn of(request: &'a Node) -> Result<Self, BadBody> {
        let Node::Object(members) = request else { return Err(BadBody::Graphql("a request is an object")) };
        let mut query = None;
        let mut envelope = Self { query: "", operation: None, variables: &[] };
        for (key, value) in members {
            match (&**key, value) {
                ("query", Node::String(text)) => query = Some(&**text),
                ("operationName", Node::String(name)) => envelope.operation = Some(name),
                ("variables", Node::Object(variables)) => envelope.variables = variables,
                ("operationName" | "variables" | "extensions", Node::Null) => {}
                ("extensions", Node::Object(members)) if members.is_empty() => {}
                ("extensions", _) => return Err(BadBody::Graphql("`extensions`, persisted queries too, are refused")),
                _ => {
                    return Err(BadBody::Graphql(
                        "a request has `query` (a string), `operationName` (a string) and `variables` (an object), and no other member",
                    ));
                }
            }
        }
        envelope.query = query.ok_or(BadBody::Graphql("it has no `query`"))?;
        Ok(envelope)
    }
}

fn named(fragments: &[Fragment]) -> Result<HashMap<&str, &Fragment>, BadBody> {
    let by_name: HashMap<&str, &Fragment> = fragments.iter().map(|fragment| (&*fragment.name, fragment)).collect();
    let unique = by_name.len() == fragments.len();
    if unique { Ok(by_name) } else { Err(BadBody::Graphql("two fragments have the same name")) }
}

/// The one operation that is asked for. Where servers could choose differently, none is.
fn selected<'a>(document: &'a Document, name: Option<&str>) -> Result<&'a Operation, BadBody> {
    let operations = &document.operations;
    for (i, operation) in operations.iter().enumerate() {
        let alone = operations.len() == 1;
        let repeated = operations[..i].iter().any(|other| other.name == operation.name);
        if !alone && (operation.name.is_none() || repeated) {
            return Err(BadBody::Graphql("of several operations each needs a name of its own"));
        }
    }
    match (operations.as_slice(), name) {
        ([only], None) => Ok(only),
        (_, None) => Err(BadBody::Graphql("`operationName` must say which operation is meant")),
        (_, Some(name)) => operations
            .iter()
            .find(|operation| operation.name.as_deref() == Some(name))
            .ok_or(BadBody::Graphql("the document has no operation of this `operationName`")),
    }
}

/// The fragments that an operation uses, and how many fields each stands for.
struct Used<'a> {
    names: HashMap<&'a str, usize>,
}

impl<'a> Used<'a> {
    fn by(operation: &'a Operation, fragments: &HashMap<&str, &'a Fragment>) -> Result<Self, BadBody> {
        let mut used = Self { names: HashMap::new() };
        let mut open = Vec::new();
        let count = used.count(&operation.selection, fragments, &mut open)?;
        if count > FIELDS_MAX { Err(BadBody::Graphql("it selects more than 10000 fields")) } else { Ok(used) }
    }

    /// Each fragment is walked once, so a bomb of fragments costs no more than its text.
    fn count(
        &mut self,
        selection: &'a [Selection],
        fragments: &HashMap<&str, &'a Fragment>,
        open: &mut Vec<&'a str>,
    ) -> Result<usize, BadBody> {
        let mut sum = 0usize;
        for part in selection {
            let count = match part {
                Selection::Field(field) => self.count(&field.selection, fragments, open)?.saturating_add(1),
                Selection::Inline(_, _, inner) => self.count(inner, fragments, open)?,
                Selection::Spread(name, _) => self.spread(name, fragments, open)?,
            };
            sum = sum.saturating_add(count);
        }
        Ok(sum)
    }

    fn spread(
        &mut self,
        name: &'a str,
        fragments: &HashMap<&str, &'a Fragment>,
        open: &mut Vec<&'a str>,
    ) -> Result<usize, BadBody> {
        const NESTED_MAX: usize = 32;
        if let Some(count) = self.names.get(name) {
            return Ok(*count);
        }
        let fragment = fragments.get(name).ok_or(BadBody::Graphql("it uses a fragment that it does not have"))?;
        if open.contains(&name) {
            return Err(BadBody::Graphql("a fragment uses itself"));
        }
        if open.len() == NESTED_MAX {
            return Err(BadBody::TooDeep);
        }
        open.push(name);
        let count = self.count(&fragment.selection, fragments, open)?;
        open.pop();
        self.names.insert(name, count);
        Ok(count)
    }
}

/// Adds the fields at the top. Conditions of types and of `@skip` and `@include` are not looked at: every field counts.
fn top(
    kind: Kind,
    selection: &[Selection],
    fragments: &HashMap<&str, &Fragment>,
    variable: &impl Fn(&str) -> Result<Option<Node>, BadBody>,
    fields: &mut Vec<TopField>,
) -> Result<(), BadBody> {
    for part in selection {
        match part {
            Selection::Field(field) => {
                if fields.len() == Operations::COUNT_MAX {
                    return Err(BadBody::TooMany);
                }
                let arguments = object(&field.arguments, variable)?;
                fields.push(TopField { kind, name: field.name.clone(), arguments });
            }
            Selection::Inline(_, _, inner) => top(kind, inner, fragments, variable, fields)?,
            // Bounded: no fragment uses itself, and each has at least one field.
            Selection::Spread(name, _) => {
                let inner = fragments.get(&**name).map_or(&[][..], |fragment| &fragment.selection);
                top(kind, inner, fragments, variable, fields)?;
            }
        }
    }
    Ok(())
}

/// The value as JSON; `None` for a variable without one.
fn resolved(value: &Value, variable: &impl Fn(&str) -> Result<Option<Node>, BadBody>) -> Result<Option<Node>, BadBody> {
    Ok(Some(match value {
        Value::Variable(name) => return variable(name),
        Value::Number(text) => Node::Number(text.clone()),
        Value::String(text) | Value::Enum(text) => Node::String(text.clone()),
        Value::Boolean(value) => Node::Boolean(*value),
        Value::Null => Node::Null,
        Value::List(items) => {
            let items = items.iter().map(|item| Ok(resolved(item, variable)?.unwrap_or(Node::Null)));
            Node::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(members) => object(members, variable)?,
    }))
}

fn object(
    members: &[(Box<str>, Value)],
    variable: &impl Fn(&str) -> Result<Option<Node>, BadBody>,
) -> Result<Node, BadBody> {
    let mut object = Vec::with_capacity(members.len());
    for (name, value) in members {
        if let Some(value) = resolved(value, variable)? {
            object.push((name.clone(), value));
        }
    }
    Ok(Node::Object(object))
}
