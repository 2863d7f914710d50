//! Attribute paths: `userName`, `name.givenName`, `urn:…:User:department`, and an extension as a whole.

use serde_json::Value;

use crate::identity::scim::Resource;
use crate::identity::scim::schema::{Attribute, Model, Schema};

/// A place in a resource. It exists in the schemas; whether there is a value is another question.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttributePath {
    pub(super) extension: Option<&'static Schema>,
    /// `None` for an extension as a whole.
    pub(super) attribute: Option<&'static Attribute>,
    pub(super) sub: Option<&'static Attribute>,
}

impl AttributePath {
    /// The place that `text` names in resources of `model`; a URN counts with and without regard to case.
    pub(super) fn parse(model: &Model, text: &str) -> Option<Self> {
        let (extension, rest) = match below(text, model.urn()) {
            Some(rest) => (None, rest?),
            None => match model.extensions.iter().find_map(|schema| Some((schema, below(text, schema.urn)?))) {
                Some((schema, None)) => return Some(Self { extension: Some(schema), attribute: None, sub: None }),
                Some((schema, Some(rest))) => (Some(schema), rest),
                None => (None, text),
            },
        };
        let (name, sub) = match rest.split_once('.') {
            Some((name, sub)) => (name, Some(sub)),
            None => (rest, None),
        };
        let attribute = match extension {
            Some(schema) => schema.attribute(name)?,
            None => model.attribute(name)?,
        };
        let sub = match sub {
            Some(sub) => Some(attribute.sub(sub)?),
            None => None,
        };
        Some(Self { extension, attribute: Some(attribute), sub })
    }

    /// A sub-attribute, seen from the value that has it.
    pub(super) fn within(parent: &'static Attribute, name: &str) -> Option<Self> {
        Some(Self { extension: None, attribute: Some(parent.sub(name)?), sub: None })
    }

    /// The attribute whose values are meant.
    pub(super) const fn leaf(&self) -> Option<&'static Attribute> {
        match self.sub {
            Some(sub) => Some(sub),
            None => self.attribute,
        }
    }

    /// The values there, those of a list one by one.
    pub(super) fn values<'a>(&self, resource: &'a Resource) -> Vec<&'a Value> {
        let Some(attribute) = self.attribute else {
            return self.extension.and_then(|extension| resource.get(extension.urn)).into_iter().collect();
        };
        let holder = match self.extension {
            None => Some(resource),
            Some(extension) => resource.get(extension.urn).and_then(Value::as_object),
        };
        let Some(value) = holder.and_then(|holder| holder.get(attribute.name)) else { return Vec::new() };
        let values = flat(value);
        match self.sub {
            None => values.collect(),
            Some(sub) => values.filter_map(|value| value.get(sub.name)).flat_map(flat).collect(),
        }
    }
}

fn flat(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(values) => values.as_slice(),
        single => std::slice::from_ref(single),
    }
    .iter()
}

/// What stands behind `urn` and a colon in `text`; `Some(None)` if it is the URN alone, `None` if it is not that URN.
fn below<'a>(text: &'a str, urn: &str) -> Option<Option<&'a str>> {
    let head = text.get(..urn.len())?;
    if !head.eq_ignore_ascii_case(urn) {
        return None;
    }
    match text[urn.len()..].strip_prefix(':') {
        Some(rest) => Some(Some(rest)),
        None if text.len() == urn.len() => Some(None),
        None => None,
    }
}
