//! Changes (RFC 7644 section 3.5.2), all of them or none.
//!
//! Beyond the letter of the RFC, because the large providers send it: operation names in any case, a removal that lists the
//! values to remove, an `add` through a value filter that nothing fits (which makes such a value), and read-only or unknown names
//! in the value of an operation without a path, which are left aside.

use serde_json::Value;

use crate::identity::scim::filter::Filter;
use crate::identity::scim::path::AttributePath;
use crate::identity::scim::resource::{complete, extended, invalid, member, single, value_of};
use crate::identity::scim::schema::{Attribute, Kind, Model, Mutability};
use crate::identity::scim::{Fault, Refused, Resource, urn};

/// The most operations of one request.
const OPERATIONS_MAX: usize = 1000;
/// The longest path in bytes.
const PATH_BYTES_MAX: usize = 4096;

/// Changes to a resource of one kind.
#[derive(Debug)]
pub struct Patch {
    model: &'static Model,
    operations: Vec<Operation>,
}

#[derive(Debug)]
struct Operation {
    what: What,
    target: Option<Target>,
    value: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Add,
    Replace,
    Remove,
}

/// Where: an attribute, values of it that fit a filter, a part of those.
#[derive(Debug)]
struct Target {
    path: AttributePath,
    filter: Option<Filter>,
}

fn wrong_path(text: &str) -> Refused {
    Refused::new(Fault::InvalidPath, format!("`path` names nothing in the schemas: `{}`", crate::id::shown(text)))
}

fn read_only(attribute: &Attribute) -> Refused {
    Refused::new(Fault::Mutability, format!("`{}` is read-only or immutable", attribute.name))
}

impl Patch {
    /// Reads the body of a request.
    pub fn read(model: &'static Model, body: &Resource) -> Result<Self, Refused> {
        let syntax = |detail: &str| Refused::new(Fault::InvalidSyntax, detail);
        let schemas = member(body, "schemas")?.and_then(Value::as_array);
        if !schemas.is_some_and(|schemas| schemas.iter().any(|schema| schema == urn::PATCH)) {
            return Err(syntax(&format!("`schemas` must name `{}`", urn::PATCH)));
        }
        let operations = member(body, "Operations")?.and_then(Value::as_array);
        let operations = operations.filter(|operations| (1..=OPERATIONS_MAX).contains(&operations.len()));
        let operations =
            operations.ok_or_else(|| syntax(&format!("`Operations` must list 1 to {OPERATIONS_MAX} operations")))?;
        let read = |operation: &Value| match operation.as_object() {
            Some(operation) => Operation::read(model, operation),
            None => Err(syntax("an operation must be an object")),
        };
        Ok(Self { model, operations: operations.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// The resource after all changes.
    pub fn applied(&self, mut resource: Resource) -> Result<Resource, Refused> {
        for operation in &self.operations {
            operation.apply(self.model, &mut resource)?;
        }
        resource.retain(|_, value| !matches!(value, Value::Object(members) if members.is_empty()));
        complete(self.model, &mut resource)?;
        Ok(resource)
    }
}

impl Operation {
    fn read(model: &'static Model, operation: &Resource) -> Result<Self, Refused> {
        let text = |name| Ok::<_, Refused>(member(operation, name)?.map(|value| value.as_str().unwrap_or("")));
        let what = match text("op")?.map(str::to_ascii_lowercase).as_deref() {
            Some("add") => What::Add,
            Some("replace") => What::Replace,
            Some("remove") => What::Remove,
            _ => return Err(Refused::new(Fault::InvalidSyntax, "`op` must be `add`, `replace` or `remove`")),
        };
        let target = text("path")?.map(|path| Target::parse(model, path)).transpose()?;
        if what == What::Remove && target.is_none() {
            return Err(Refused::new(Fault::NoTarget, "`remove` needs a `path`"));
        }
        let value = member(operation, "value")?.cloned();
        if what != What::Remove && value.is_none() {
            return Err(Refused::new(
                Fault::InvalidValue,
                "`add` and `replace` need a `value`; `null` removes, if it is not required",
            ));
        }
        Ok(Self { what, target, value })
    }

    fn apply(&self, model: &'static Model, resource: &mut Resource) -> Result<(), Refused> {
        if let Some(target) = &self.target {
            return target.apply(self.what, self.value.as_ref(), resource);
        }
        let Some(Value::Object(members)) = &self.value else {
            return Err(Refused::new(Fault::InvalidValue, "without a `path`, `value` must be an object"));
        };
        for (name, value) in members {
            let Ok(target) = Target::parse(model, name) else { continue };
            if target.locked().is_none() {
                target.apply(self.what, Some(value), resource)?;
            }
        }
        Ok(())
    }
}

impl Target {
    fn parse(model: &'static Model, text: &str) -> Result<Self, Refused> {
        let wrong = || wrong_path(text);
        if text.len() > PATH_BYTES_MAX {
            return Err(Refused::new(Fault::InvalidPath, format!("`path` is longer than {PATH_BYTES_MAX} bytes")));
        }
        let Some((head, rest)) = text.split_once('[') else {
            return Ok(Self { path: AttributePath::parse(model, text).ok_or_else(wrong)?, filter: None });
        };
        // The last one: a text in the filter may hold brackets.
        let (inner, tail) = rest.rsplit_once(']').ok_or_else(wrong)?;
        let mut path = AttributePath::parse(model, head).filter(|path| path.sub.is_none()).ok_or_else(wrong)?;
        let attribute =
            path.attribute.filter(|attribute| attribute.many && attribute.kind == Kind::Complex).ok_or_else(wrong)?;
        path.sub = match tail.strip_prefix('.') {
            Some(sub) => Some(attribute.sub(sub).ok_or_else(wrong)?),
            None if tail.is_empty() => None,
            None => return Err(wrong()),
        };
        let filter = Filter::parse_within(attribute, inner);
        Ok(Self { path, filter: Some(filter.map_err(|error| Refused { fault: Fault::InvalidPath, ..error })?) })
    }

    /// What of it may not be written.
    fn locked(&self) -> Option<&'static Attribute> {
        let read_only = |attribute: &&'static Attribute| attribute.mutability == Mutability::ReadOnly;
        let fixed = |sub: &&'static Attribute| sub.mutability != Mutability::ReadWrite;
        self.path.attribute.filter(read_only).or_else(|| self.path.sub.filter(fixed))
    }

    fn apply(&self, what: What, value: Option<&Value>, resource: &mut Resource) -> Result<(), Refused> {
        if let Some(locked) = self.locked() {
            return Err(read_only(locked));
        }
        let holder = match (self.path.extension, self.path.attribute) {
            (Some(extension), None) => return whole_extension(extension, what, value, resource),
            (Some(extension), Some(_)) => {
                let holder = resource.entry(extension.urn).or_insert_with(|| Value::Object(Resource::new()));
                holder.as_object_mut().ok_or_else(|| wrong_path(extension.urn))?
            }
            (None, _) => resource,
        };
        let Some(attribute) = self.path.attribute else { return Ok(()) };
        match (&self.filter, self.path.sub) {
            (None, None) => whole_attribute(attribute, what, value, holder),
            (None, Some(sub)) if !attribute.many => part(attribute, sub, what, value, holder),
            (filter, sub) => selected(attribute, filter.as_ref(), sub, what, value, holder),
        }
    }
}

fn whole_extension(
    extension: &'static super::schema::Schema,
    what: What,
    value: Option<&Value>,
    resource: &mut Resource,
) -> Result<(), Refused> {
    let new = match (what, value) {
        (What::Remove, _) | (_, None) => None,
        (_, Some(value)) => extended(extension, value)?,
    };
    match (what, new) {
        (What::Add, Some(Value::Object(new))) => match resource.get_mut(extension.urn).and_then(Value::as_object_mut) {
            Some(old) => old.extend(new),
            None => {
                resource.insert(extension.urn.into(), Value::Object(new));
            }
        },
        (What::Add, _) => {}
        (_, Some(new)) => {
            resource.insert(extension.urn.into(), new);
        }
        (_, None) => {
            resource.remove(extension.urn);
        }
    }
    Ok(())
}

fn whole_attribute(
    attribute: &'static Attribute,
    what: What,
    value: Option<&Value>,
    holder: &mut Resource,
) -> Result<(), Refused> {
    let new = match value {
        Some(value) => value_of(attribute, value)?,
        None => None,
    };
    match (what, new) {
        (What::Remove, Some(Value::Array(gone))) if attribute.many => {
            let is_gone = |value: &Value| gone.iter().any(|gone| same(attribute, gone, value));
            retain(attribute, holder, |value| !is_gone(value));
        }
        (What::Remove, _) | (What::Replace, None) => {
            if attribute.required {
                return Err(invalid(attribute, "is required"));
            }
            holder.remove(attribute.name);
        }
        (What::Add, None) => {}
        (What::Add, Some(Value::Array(new))) if attribute.many => add_values(attribute, new, holder)?,
        (What::Add, Some(Value::Object(new))) => match holder.get_mut(attribute.name).and_then(Value::as_object_mut) {
            Some(old) => old.extend(new),
            None => {
                holder.insert(attribute.name.into(), Value::Object(new));
            }
        },
        (What::Add | What::Replace, Some(new)) => {
            holder.insert(attribute.name.into(), new);
        }
    }
    Ok(())
}

/// Adds those that are not there.
fn add_values(attribute: &'static Attribute, new: Vec<Value>, holder: &mut Resource) -> Result<(), Refused> {
    let values = holder.entry(attribute.name).or_insert_with(|| Value::Array(Vec::new()));
    let Some(values) = values.as_array_mut() else { return Err(invalid(attribute, "has no values to add to")) };
    if new.iter().any(|value| value["primary"] == true) {
        values.iter_mut().for_each(not_primary);
    }
    let identity = |value: &Value| {
        if is_named(attribute) { value["value"].to_string() } else { value.to_string() }
    };
    let mut known: std::collections::HashSet<String> = values.iter().map(identity).collect();
    values.extend(new.into_iter().filter(|value| known.insert(identity(value))));
    if values.len() > attribute.values_max {
        return Err(invalid(attribute, &format!("has more than {} values", attribute.values_max)));
    }
    Ok(())
}

/// Whether `value` alone tells its values apart, as of members.
fn is_named(attribute: &Attribute) -> bool {
    attribute.sub("value").is_some_and(|sub| sub.mutability == Mutability::Immutable)
}

fn same(attribute: &Attribute, one: &Value, other: &Value) -> bool {
    if is_named(attribute) { one["value"] == other["value"] } else { one == other }
}

fn not_primary(value: &mut Value) {
    if value["primary"] == true {
        value["primary"] = Value::Bool(false);
    }
}

fn retain(attribute: &Attribute, holder: &mut Resource, keep: impl Fn(&Value) -> bool) {
    if let Some(values) = holder.get_mut(attribute.name).and_then(Value::as_array_mut) {
        values.retain(keep);
        if values.is_empty() {
            holder.remove(attribute.name);
        }
    }
}

/// A part of an attribute with one value.
fn part(
    attribute: &'static Attribute,
    sub: &'static Attribute,
    what: What,
    value: Option<&Value>,
    holder: &mut Resource,
) -> Result<(), Refused> {
    let new = match (what, value) {
        (What::Remove, _) | (_, None) => None,
        (_, Some(value)) => value_of(sub, value)?,
    };
    let parts = holder.entry(attribute.name).or_insert_with(|| Value::Object(Resource::new()));
    let Some(parts) = parts.as_object_mut() else { return Err(invalid(attribute, "has no parts")) };
    match new {
        Some(new) => {
            parts.insert(sub.name.into(), new);
        }
        None => {
            parts.remove(sub.name);
        }
    }
    if parts.is_empty() {
        holder.remove(attribute.name);
    }
    Ok(())
}

/// The values of an attribute that fit `filter`, or a part of those.
fn selected(
    attribute: &'static Attribute,
    filter: Option<&Filter>,
    sub: Option<&'static Attribute>,
    what: What,
    value: Option<&Value>,
    holder: &mut Resource,
) -> Result<(), Refused> {
    let fits = |value: &Value| match (filter, value.as_object()) {
        (None, _) => true,
        (Some(filter), Some(parts)) => filter.fits(parts),
        (Some(_), None) => false,
    };
    let new = match (what, value, sub) {
        (What::Remove, ..) | (_, None, _) => None,
        (_, Some(value), Some(sub)) => value_of(sub, value)?,
        (_, Some(value), None) => single(attribute, value)?,
    };
    if what == What::Remove || new.is_none() {
        match sub {
            None => retain(attribute, holder, |value| !fits(value)),
            Some(sub) => {
                if sub.required {
                    return Err(invalid(sub, "is required"));
                }
                for value in values_of(attribute, holder).filter(|value| fits(value)) {
                    if let Some(parts) = value.as_object_mut() {
                        parts.remove(sub.name);
                    }
                }
                retain(attribute, holder, |value| value.as_object().is_none_or(|parts| !parts.is_empty()));
            }
        }
        return Ok(());
    }
    let Some(new) = new else { return Ok(()) };
    let primary = match sub {
        Some(sub) => sub.name == "primary" && new == true,
        None => new["primary"] == true,
    };
    let mut found = false;
    for value in values_of(attribute, holder) {
        if !fits(value) {
            if primary {
                not_primary(value);
            }
            continue;
        }
        // One of several at most is the preferred one.
        if found && primary {
            return Err(invalid(attribute, "can have one value that is `primary`"));
        }
        found = true;
        match (sub, value.as_object_mut(), &new, what) {
            (Some(sub), Some(parts), new, _) => {
                parts.insert(sub.name.into(), new.clone());
            }
            (None, Some(parts), Value::Object(new), What::Add) => parts.extend(new.clone()),
            _ => *value = new.clone(),
        }
    }
    if found {
        return Ok(());
    }
    if what == What::Replace {
        return Err(Refused::new(Fault::NoTarget, format!("no value of `{}` fits the filter", attribute.name)));
    }
    let mut made = filter.map_or_else(|| Some(Resource::new()), Filter::demands).ok_or_else(|| {
        Refused::new(
            Fault::NoTarget,
            format!("no value of `{}` fits the filter, and none can be made to", attribute.name),
        )
    })?;
    match (sub, new) {
        (Some(sub), new) => {
            made.insert(sub.name.into(), new);
        }
        (None, Value::Object(new)) => made.extend(new),
        (None, _) => {}
    }
    match single(attribute, &Value::Object(made))? {
        Some(made) => add_values(attribute, vec![made], holder),
        None => Ok(()),
    }
}

fn values_of<'a>(attribute: &Attribute, holder: &'a mut Resource) -> impl Iterator<Item = &'a mut Value> {
    holder.get_mut(attribute.name).and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::scim::{GROUP, USER};

    const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

    fn change(model: &'static Model, before: Value, operations: Value) -> Result<Value, Refused> {
        let body = json!({ "schemas": [urn::PATCH], "Operations": operations });
        let patch = Patch::read(model, body.as_object().unwrap())?;
        patch.applied(before.as_object().unwrap().clone()).map(Value::Object)
    }

    fn user(operations: Value) -> Result<Value, Refused> {
        let before = json!({
            "userName": "a", "active": true, "name": { "givenName": "g", "familyName": "f" },
            "emails": [{ "value": "w@x", "type": "work", "primary": true }, { "value": "h@x", "type": "home" }],
            ENTERPRISE: { "department": "d", "division": "v" },
        });
        change(&USER, before, operations)
    }

    fn group(operations: Value) -> Result<Value, Refused> {
        change(&GROUP, json!({ "displayName": "g", "members": [{ "value": "1" }, { "value": "2" }] }), operations)
    }

    #[test]
    fn users_are_locked_in_every_dialect() {
        for operation in [
            json!({ "op": "replace", "path": "active", "value": false }),
            json!({ "op": "Replace", "path": "active", "value": "False" }),
            json!({ "op": "add", "value": { "active": false, "id": "x", "schemas": [], "nosuch": 1 } }),
            json!({ "op": "replace", "path": "urn:ietf:params:scim:schemas:core:2.0:User:active", "value": false }),
        ] {
            assert_eq!(user(json!([operation])).unwrap()["active"], false, "{operation}");
        }
        assert!(user(json!([{ "op": "remove", "path": "active" }])).unwrap().get("active").is_none());
        let secret = json!([{ "op": "add", "path": "password", "value": "hunter2" }, { "op": "add", "value": { "password": "hunter2" } }]);
        assert!(!user(secret).unwrap().to_string().contains("hunter2"));
    }

    #[test]
    fn members_come_and_go() {
        for (operation, left) in [
            (
                json!({ "op": "add", "path": "members", "value": [{ "value": "3" }, { "value": "1", "type": "User" }] }),
                &["1", "2", "3"][..],
            ),
            (json!({ "op": "Add", "path": "members", "value": { "value": "3" } }), &["1", "2", "3"]),
            (json!({ "op": "remove", "path": "members[value eq \"1\"]" }), &["2"]),
            (json!({ "op": "remove", "path": "members[value eq \"9\"]" }), &["1", "2"]),
            (json!({ "op": "Remove", "path": "members", "value": [{ "value": "2" }] }), &["1"]),
            (json!({ "op": "replace", "path": "members", "value": [{ "value": "7" }] }), &["7"]),
            (json!({ "op": "replace", "value": { "members": [] } }), &[]),
            (json!({ "op": "remove", "path": "members" }), &[]),
        ] {
            let after = group(json!([operation])).unwrap();
            let members: Vec<_> =
                after["members"].as_array().into_iter().flatten().map(|m| m["value"].as_str().unwrap()).collect();
            assert_eq!(members, left, "{operation}");
        }
        for path in ["members.value", "members[value eq \"1\"].value"] {
            let operation = json!([{ "op": "replace", "path": path, "value": "9" }]);
            assert_eq!(group(operation).unwrap_err().fault, Fault::Mutability, "{path}");
        }
    }

    #[test]
    fn a_part_of_a_value_is_changed_alone() {
        let after = user(json!([
            { "op": "replace", "path": "emails[type eq \"home\"].value", "value": "new@x" },
            { "op": "add", "path": "emails[type eq \"other\"].value", "value": "o@x" },
            { "op": "add", "path": "emails[type eq \"home\"].primary", "value": true },
            { "op": "remove", "path": "name.familyName" },
            { "op": "add", "path": "name", "value": { "middleName": "m" } },
            { "op": "replace", "path": format!("{ENTERPRISE}:department"), "value": "e" },
            { "op": "replace", "value": { "name.honorificPrefix": "Dr" } },
        ]))
        .unwrap();
        assert_eq!(
            after["emails"],
            json!([
                { "value": "w@x", "type": "work", "primary": false }, { "value": "new@x", "type": "home", "primary": true },
                { "value": "o@x", "type": "other" },
            ])
        );
        assert_eq!(after["name"], json!({ "givenName": "g", "middleName": "m", "honorificPrefix": "Dr" }));
        assert_eq!(after[ENTERPRISE], json!({ "department": "e", "division": "v" }));
        let after =
            user(json!([{ "op": "remove", "path": ENTERPRISE }, { "op": "remove", "path": "emails[value co \"]\"]" }]));
        assert!(after.unwrap().get(ENTERPRISE).is_none());
    }

    #[test]
    fn what_cannot_be_changed_so_is_refused_and_nothing_is() {
        for (operation, fault) in [
            (json!({ "op": "remove" }), Fault::NoTarget),
            (json!({ "op": "move", "path": "title" }), Fault::InvalidSyntax),
            (json!({ "op": "add", "path": "title" }), Fault::InvalidValue),
            (json!({ "op": "add", "path": "nosuch", "value": 1 }), Fault::InvalidPath),
            (json!({ "op": "add", "path": "title.value", "value": 1 }), Fault::InvalidPath),
            (json!({ "op": "add", "path": "title[value eq 1]", "value": 1 }), Fault::InvalidPath),
            (json!({ "op": "add", "path": "emails[nosuch eq 1]", "value": 1 }), Fault::InvalidPath),
            (json!({ "op": "add", "path": "emails[type eq \"work\"", "value": 1 }), Fault::InvalidPath),
            (json!({ "op": "add", "path": "emails[type eq \"work\"]x", "value": 1 }), Fault::InvalidPath),
            (
                json!({ "op": "replace", "path": "emails[type eq \"other\"]", "value": { "value": "x" } }),
                Fault::NoTarget,
            ),
            (json!({ "op": "add", "path": "emails[not (type pr)].value", "value": "x" }), Fault::NoTarget),
            (json!({ "op": "replace", "path": "id", "value": "x" }), Fault::Mutability),
            (json!({ "op": "replace", "path": "groups", "value": [] }), Fault::Mutability),
            (json!({ "op": "replace", "path": "meta.created", "value": "x" }), Fault::Mutability),
            (json!({ "op": "remove", "path": "userName" }), Fault::InvalidValue),
            (json!({ "op": "replace", "path": "userName", "value": null }), Fault::InvalidValue),
            (json!({ "op": "replace", "path": "active", "value": "maybe" }), Fault::InvalidValue),
            (json!({ "op": "replace", "value": "x" }), Fault::InvalidValue),
        ] {
            assert_eq!(user(json!([operation])).unwrap_err().fault, fault, "{operation}");
        }
        assert_eq!(user(json!([])).unwrap_err().fault, Fault::InvalidSyntax);
        let both = json!([{ "op": "replace", "path": "title", "value": "t" }, { "op": "remove", "path": "userName" }]);
        assert!(user(both).is_err());
    }
}
