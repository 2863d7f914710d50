//! What a client sends, made into what the schemas say: names in their spelling, values of their type, nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::identity::scim::schema::{Attribute, Kind, Model, Mutability, Schema};
use crate::identity::scim::{Fault, Refused, Resource};

/// The longest text in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// The longest binary value in bytes, as base64.
const BINARY_BYTES_MAX: usize = 32 << 10;

/// The resource of `model` that a client sent. What the schemas do not know, and what is read-only, is left out
/// (RFC 7644 sections 3.3 and 3.5.1).
pub fn accepted(model: &'static Model, sent: &Resource) -> Result<Resource, Refused> {
    let schemas = member(sent, "schemas")?.and_then(Value::as_array);
    let is_model = |urn: &Value| urn.as_str().is_some_and(|urn| urn.eq_ignore_ascii_case(model.urn()));
    if !schemas.is_some_and(|schemas| schemas.iter().any(is_model)) {
        return Err(Refused::new(Fault::InvalidSyntax, format!("`schemas` must name `{}`", model.urn())));
    }
    let mut resource = Resource::new();
    for (name, value) in sent {
        if let Some(extension) = model.extension(name) {
            put(&mut resource, extension.urn, extended(extension, value)?)?;
        } else if let Some(attribute) = model.attribute(name).filter(|found| found.mutability != Mutability::ReadOnly) {
            put(&mut resource, attribute.name, value_of(attribute, value)?)?;
        }
    }
    complete(model, &mut resource)?;
    Ok(resource)
}

/// Drops what is not kept, and refuses a resource that lacks what it must have.
pub(super) fn complete(model: &Model, resource: &mut Resource) -> Result<(), Refused> {
    let kept = |name: &str| model.attribute(name).is_none_or(|found| found.mutability != Mutability::WriteOnly);
    resource.retain(|name, _| kept(name));
    let missing = model.schema.attributes.iter().find(|attribute| {
        attribute.required && attribute.mutability != Mutability::ReadOnly && !resource.contains_key(attribute.name)
    });
    match missing {
        Some(attribute) => Err(invalid(attribute, "is required")),
        None => Ok(()),
    }
}

/// What an extension holds; `None` if that is nothing.
pub(super) fn extended(extension: &Schema, value: &Value) -> Result<Option<Value>, Refused> {
    let sent = match value {
        Value::Null => return Ok(None),
        Value::Object(sent) => sent,
        _ => return Err(Refused::new(Fault::InvalidValue, format!("`{}` must be an object", extension.urn))),
    };
    let mut resource = Resource::new();
    for (name, value) in sent {
        if let Some(attribute) = extension.attribute(name).filter(|found| found.mutability != Mutability::ReadOnly) {
            put(&mut resource, attribute.name, value_of(attribute, value)?)?;
        }
    }
    Ok((!resource.is_empty()).then_some(Value::Object(resource)))
}

/// A value of `attribute`, all of them if it has several; `None` for one that stands for none (RFC 7643 section 2.5).
pub(super) fn value_of(attribute: &'static Attribute, value: &Value) -> Result<Option<Value>, Refused> {
    if !attribute.many {
        return single(attribute, value);
    }
    let sent = match value {
        Value::Null => return Ok(None),
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    if sent.len() > attribute.values_max {
        return Err(invalid(attribute, &format!("has more than {} values", attribute.values_max)));
    }
    let mut values = Vec::with_capacity(sent.len());
    for value in sent {
        values.extend(single(attribute, value)?);
    }
    if values.iter().filter(|value| value["primary"] == true).count() > 1 {
        return Err(invalid(attribute, "has more than one value that is `primary`"));
    }
    Ok((!values.is_empty()).then_some(Value::Array(values)))
}

/// One value.
pub(super) fn single(attribute: &'static Attribute, value: &Value) -> Result<Option<Value>, Refused> {
    let text = |max: usize| match value {
        Value::String(text) if text.len() <= max => Ok(text.as_str()),
        Value::String(_) => Err(invalid(attribute, &format!("is longer than {max} bytes"))),
        _ => Err(invalid(attribute, "must be a text")),
    };
    Ok(Some(match (attribute.kind, value) {
        (_, Value::Null) => return Ok(None),
        (Kind::Boolean, Value::Bool(_)) => value.clone(),
        // As Entra ID sends it. A kill must not fail on quotation marks.
        (Kind::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("true") => Value::Bool(true),
        (Kind::Boolean, Value::String(text)) if text.eq_ignore_ascii_case("false") => Value::Bool(false),
        (Kind::Boolean, _) => return Err(invalid(attribute, "must be `true` or `false`")),
        (Kind::Text | Kind::Reference | Kind::DateTime, _) => text(TEXT_BYTES_MAX)?.into(),
        (Kind::Binary, _) => {
            let text = text(BINARY_BYTES_MAX)?;
            STANDARD.decode(text).map_err(|_| invalid(attribute, "must be base64"))?;
            text.into()
        }
        (Kind::Integer, Value::Number(number)) if number.is_i64() => value.clone(),
        (Kind::Integer, _) => return Err(invalid(attribute, "must be a whole number")),
        (Kind::Complex, Value::Object(sent)) => return parts(attribute, sent),
        (Kind::Complex, _) => return Err(invalid(attribute, "must be an object")),
    }))
}

fn parts(attribute: &'static Attribute, sent: &Resource) -> Result<Option<Value>, Refused> {
    let mut parts = Resource::new();
    for (name, value) in sent {
        if let Some(sub) = attribute.sub(name).filter(|sub| sub.mutability != Mutability::ReadOnly) {
            put(&mut parts, sub.name, value_of(sub, value)?)?;
        }
    }
    if let Some(missing) = attribute.sub.iter().find(|sub| sub.required && !parts.contains_key(sub.name)) {
        return Err(invalid(attribute, &format!("has a value without `{}`, which is required", missing.name)));
    }
    Ok((!parts.is_empty()).then_some(Value::Object(parts)))
}

/// The member called `name`, with or without regard to case.
pub(super) fn member<'a>(object: &'a Resource, name: &str) -> Result<Option<&'a Value>, Refused> {
    let mut found = object.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(twice(name)),
        (found, None) => Ok(found),
    }
}

/// Puts a value in its place, which must be free: names that differ in case only are one name.
fn put(object: &mut Resource, name: &str, value: Option<Value>) -> Result<(), Refused> {
    match value {
        Some(_) if object.contains_key(name) => Err(twice(name)),
        Some(value) => {
            object.insert(name.to_owned(), value);
            Ok(())
        }
        None => Ok(()),
    }
}

fn twice(name: &str) -> Refused {
    Refused::new(Fault::InvalidSyntax, format!("`{name}` stands twice"))
}

pub(super) fn invalid(attribute: &Attribute, what: &str) -> Refused {
    Refused::new(Fault::InvalidValue, format!("`{}` {what}", attribute.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::scim::{GROUP, USER};

    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

    fn user(mut sent: Value) -> Result<Value, Refused> {
        sent["schemas"] = json!([USER.urn(), ENTERPRISE]);
        accepted(&USER, sent.as_object().unwrap()).map(Value::Object)
    }

    #[test]
    fn known_attributes_are_kept_in_the_spelling_of_the_schema() {
        let sent = json!({
            "USERNAME": "alice", "Active": "False", "emails": [{ "Value": "a@b", "extra": 1 }], "photos": [], "nickName": null,
            "id": "mine", "meta": {}, "groups": [{ "value": "g" }], "password": "secret", "urn:other": { "x": 1 },
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user": { "Department": "d", "manager": { "displayName": "m" } },
        });
        let kept = json!({
            "userName": "alice", "active": false, "emails": [{ "value": "a@b" }], ENTERPRISE: { "department": "d" },
        });
        assert_eq!(user(sent).unwrap(), kept);
    }

    #[test]
    fn a_value_of_another_type_is_refused_and_so_is_a_name_that_stands_twice() {
        for (sent, fault) in [
            (json!({}), Fault::InvalidValue),
            (json!({ "userName": null }), Fault::InvalidValue),
            (json!({ "userName": 7 }), Fault::InvalidValue),
            (json!({ "userName": ["a"] }), Fault::InvalidValue),
            (json!({ "userName": "a", "username": "b" }), Fault::InvalidSyntax),
            (json!({ "userName": "a", "active": "maybe" }), Fault::InvalidValue),
            (json!({ "userName": "a", "active": 0 }), Fault::InvalidValue),
            (json!({ "userName": "a", "name": "b" }), Fault::InvalidValue),
            (json!({ "userName": "a", "emails": ["a@b"] }), Fault::InvalidValue),
            (json!({ "userName": "a", "emails": [{ "value": "b", "VALUE": "c" }] }), Fault::InvalidSyntax),
            (json!({ "userName": "a", "x509Certificates": [{ "value": "?" }] }), Fault::InvalidValue),
            (json!({ "userName": "a", "title": "x".repeat(4097) }), Fault::InvalidValue),
            (json!({ "userName": "a", "roles": vec![json!({ "value": "r" }); 101] }), Fault::InvalidValue),
            (json!({ "userName": "a", ENTERPRISE: [] }), Fault::InvalidValue),
            (
                json!({ "userName": "a", "emails": [{ "value": "b", "primary": true }, { "value": "c", "primary": true }] }),
                Fault::InvalidValue,
            ),
        ] {
            assert_eq!(user(sent.clone()).unwrap_err().fault, fault, "{sent}");
        }
    }

    #[test]
    fn a_resource_names_its_schema_and_a_member_names_its_user() {
        for schemas in [json!(null), json!("x"), json!([USER.urn()])] {
            let sent = json!({ "schemas": schemas, "displayName": "g" });
            assert_eq!(accepted(&GROUP, sent.as_object().unwrap()).unwrap_err().fault, Fault::InvalidSyntax);
        }
        let sent = json!({ "schemas": [GROUP.urn()], "displayName": "g", "members": [{ "$ref": "x" }] });
        assert_eq!(accepted(&GROUP, sent.as_object().unwrap()).unwrap_err().fault, Fault::InvalidValue);
    }
}
