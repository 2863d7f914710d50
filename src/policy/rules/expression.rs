//! A policy's conditions in Cedar's JSON form, where every expression is an object of one member.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Policy};
use serde_json::Value;

/// The conditions of a policy, in their order.
pub(super) fn conditions(policy: &Policy) -> Vec<Value> {
    let json = policy.to_json().unwrap_or_default();
    let conditions = json["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().map(|mut condition| condition["body"].take()).collect()
}

/// The ids of the actions that a policy's scope names; `None` where it names none.
pub(super) fn scope_actions(policy: &Policy) -> Option<Vec<String>> {
    let id = |uid: &cedar_policy::EntityUid| AsRef::<str>::as_ref(uid.id()).to_owned();
    match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::In(uids) => Some(uids.iter().map(id).collect()),
        ActionConstraint::Eq(uid) => Some(vec![id(&uid)]),
    }
}

/// Calls `see` with `expression` and each one inside it, outer ones first.
pub(super) fn each<'a>(expression: &'a Value, see: &mut impl FnMut(&'a Value)) {
    match expression {
        Value::Array(items) => items.iter().for_each(|item| each(item, see)),
        Value::Object(members) => {
            see(expression);
            for (name, inner) in members {
                match (name.as_str(), inner) {
                    // What it holds is a value, however it looks.
                    ("Value" | "Var", _) => {}
                    ("Record", Value::Object(fields)) => fields.values().for_each(|field| each(field, see)),
                    (_, Value::Object(parts)) => parts.values().for_each(|part| each(part, see)),
                    (_, other) => each(other, see),
                }
            }
        }
        _ => {}
    }
}

/// Every attribute that the conditions name, of whatever.
pub(super) fn attributes(policy: &Policy) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for condition in conditions(policy) {
        each(&condition, &mut |expression| {
            for test in [".", "has"].into_iter().filter_map(|form| expression.get(form)) {
                match &test["attr"] {
                    Value::Array(names) => found.extend(names.iter().filter_map(Value::as_str).map(str::to_owned)),
                    name => found.extend(name.as_str().map(str::to_owned)),
                }
            }
        });
    }
    found
}

/// `["arguments", "amount"]` for `context.arguments.amount`, and for `context has arguments.amount`.
pub(super) fn in_context(expression: &Value) -> Option<Vec<&str>> {
    if expression["Var"] == "context" {
        return Some(Vec::new());
    }
    let test = [".", "has"].into_iter().find_map(|form| expression.get(form))?;
    let mut path = in_context(test.get("left")?)?;
    match test.get("attr")? {
        Value::String(name) => path.push(name),
        Value::Array(names) => path.extend(names.iter().filter_map(Value::as_str)),
        _ => return None,
    }
    Some(path)
}
