//! Which attributes a client wants back (RFC 7644 section 3.9).

use serde_json::Value;

use crate::identity::scim::path::AttributePath;
use crate::identity::scim::schema::{Attribute, Model};
use crate::identity::scim::{Fault, Refused, Resource};

/// The most names.
const NAMES_MAX: usize = 100;

/// A choice of attributes. What is always returned is in every choice.
#[derive(Debug, Default)]
pub enum Projection {
    /// All of them.
    #[default]
    All,
    /// These.
    Only(Vec<String>),
    /// All but these.
    Without(Vec<String>),
}

impl Projection {
    /// The choice by `attributes` or `excludedAttributes`, of which there can be one.
    pub fn new(attributes: Vec<String>, excluded: Vec<String>) -> Result<Self, Refused> {
        if attributes.len().max(excluded.len()) > NAMES_MAX {
            return Err(Refused::new(Fault::InvalidValue, format!("more than {NAMES_MAX} attributes are named")));
        }
        match (attributes.is_empty(), excluded.is_empty()) {
            (true, true) => Ok(Self::All),
            (false, true) => Ok(Self::Only(attributes)),
            (true, false) => Ok(Self::Without(excluded)),
            (false, false) => {
                Err(Refused::new(Fault::InvalidValue, "give one of `attributes` and `excludedAttributes`, not both"))
            }
        }
    }

    /// Whether anything of the attribute called `name` is wanted.
    pub fn wants(&self, model: &'static Model, name: &str) -> bool {
        let named = |names: &[String], whole: bool| {
            let is = |path: AttributePath| {
                path.attribute.is_some_and(|found| found.name == name) && !(whole && path.sub.is_some())
            };
            names.iter().filter_map(|text| AttributePath::parse(model, text)).any(is)
        };
        match self {
            Self::All => true,
            Self::Only(names) => named(names, false),
            Self::Without(names) => !named(names, true),
        }
    }

    /// What of `resource` is wanted. Names that the schemas do not know are left aside.
    pub fn of(&self, model: &'static Model, mut resource: Resource) -> Resource {
        let paths = |names: &[String]| -> Vec<_> {
            names.iter().filter_map(|text| AttributePath::parse(model, text)).collect()
        };
        match self {
            Self::All => {}
            Self::Only(names) => {
                let paths = paths(names);
                resource.retain(|name, value| {
                    if model.attribute(name).is_some_and(|attribute| attribute.always) {
                        return true;
                    }
                    let here = |path: &&AttributePath| path.top() == Some(name.as_str());
                    let wanted: Vec<_> = paths.iter().filter(here).collect();
                    !wanted.is_empty() && keep(value, &wanted)
                });
            }
            Self::Without(names) => paths(names).iter().for_each(|path| drop_at(&mut resource, path)),
        }
        resource
    }
}

impl AttributePath {
    /// The member of the resource that it is in.
    fn top(&self) -> Option<&'static str> {
        self.extension.map(|extension| extension.urn).or_else(|| self.attribute.map(|attribute| attribute.name))
    }
}

/// Keeps of a member what the paths into it name; whether anything is left.
fn keep(value: &mut Value, wanted: &[&AttributePath]) -> bool {
    let whole = |path: &&&AttributePath| path.attribute.is_none() || (path.extension.is_none() && path.sub.is_none());
    if wanted.iter().any(|path| whole(&path)) {
        return true;
    }
    match value {
        Value::Object(extension) if wanted.iter().all(|path| path.extension.is_some()) => {
            extension.retain(|name, value| {
                let here: Vec<_> =
                    wanted.iter().filter(|path| path.attribute.is_some_and(|found| found.name == name)).collect();
                here.iter().any(|path| path.sub.is_none()) || (!here.is_empty() && keep_parts(value, &subs(&here)))
            });
            !extension.is_empty()
        }
        value => keep_parts(value, &subs(&wanted.iter().collect::<Vec<_>>())),
    }
}

fn subs(paths: &[&&AttributePath]) -> Vec<&'static Attribute> {
    paths.iter().filter_map(|path| path.sub).collect()
}

fn keep_parts(value: &mut Value, subs: &[&Attribute]) -> bool {
    match value {
        Value::Array(values) => {
            values.retain_mut(|value| keep_parts(value, subs));
            !values.is_empty()
        }
        Value::Object(parts) => {
            parts.retain(|name, _| subs.iter().any(|sub| sub.name == name));
            !parts.is_empty()
        }
        _ => false,
    }
}

fn drop_at(resource: &mut Resource, path: &AttributePath) {
    let holder = match path.extension {
        None => Some(&mut *resource),
        Some(extension) if path.attribute.is_none() => {
            resource.remove(extension.urn);
            return;
        }
        Some(extension) => resource.get_mut(extension.urn).and_then(Value::as_object_mut),
    };
    let (Some(holder), Some(attribute)) = (holder, path.attribute.filter(|attribute| !attribute.always)) else {
        return;
    };
    match path.sub {
        None => {
            holder.remove(attribute.name);
        }
        Some(sub) => match holder.get_mut(attribute.name) {
            Some(Value::Array(values)) => values.iter_mut().filter_map(Value::as_object_mut).for_each(|value| {
                value.remove(sub.name);
            }),
            Some(Value::Object(value)) => {
                value.remove(sub.name);
            }
            _ => {}
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::scim::USER;

    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

    fn projected(attributes: &[&str], excluded: &[&str]) -> Value {
        let user = json!({
            "schemas": ["s"], "id": "1", "userName": "a", "name": { "givenName": "g", "familyName": "f" },
            "emails": [{ "value": "v", "type": "work" }], ENTERPRISE: { "department": "d", "division": "v", "manager": { "value": "m", "$ref": "r" } },
        });
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let projection = Projection::new(names(attributes), names(excluded)).unwrap();
        Value::Object(projection.of(&USER, user.as_object().unwrap().clone()))
    }

    #[test]
    fn what_is_asked_for_is_returned_with_what_always_is() {
        for (names, rest) in [
            (&["USERNAME"][..], json!({ "userName": "a" })),
            (&["name.givenName", "nosuch"], json!({ "name": { "givenName": "g" } })),
            (&["emails.type"], json!({ "emails": [{ "type": "work" }] })),
            (&["emails.type", "emails"], json!({ "emails": [{ "value": "v", "type": "work" }] })),
            (
                &["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"],
                json!({ ENTERPRISE: { "department": "d" } }),
            ),
            (
                &["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"],
                json!({ ENTERPRISE: { "manager": { "value": "m" } } }),
            ),
            (&["nosuch"], json!({})),
        ] {
            let mut wanted = rest;
            wanted["schemas"] = json!(["s"]);
            wanted["id"] = json!("1");
            assert_eq!(projected(names, &[]), wanted, "{names:?}");
        }
        assert_eq!(projected(&[ENTERPRISE], &[])[ENTERPRISE]["division"], "v");
    }

    #[test]
    fn what_is_excluded_is_left_out_unless_it_is_always_returned() {
        let rest = projected(&[], &["id", "userName", "name.givenName", "emails.type", ENTERPRISE]);
        assert_eq!(
            rest,
            json!({ "schemas": ["s"], "id": "1", "name": { "familyName": "f" }, "emails": [{ "value": "v" }] })
        );
        assert!(Projection::new(vec!["a".into()], vec!["b".into()]).is_err());
    }
}
