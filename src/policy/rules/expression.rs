//! A policy's conditions in Cedar's JSON form, where every expression is an object of one member: taken apart, and written.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Policy};
use serde_json::{Value, json};

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

/// What must all hold for a policy to match, its scope left out: an `unless` is turned round.
pub(super) fn all_that_hold(policy: &Policy) -> Vec<Value> {
    let json = policy.to_json().unwrap_or_default();
    let mut found = Vec::new();
    for condition in json["conditions"].as_array().into_iter().flatten() {
        let body = &condition["body"];
        if condition["kind"] == "unless" {
            found.extend(parts(body, "||").into_iter().map(|part| json!({ "!": { "arg": part } })));
        } else {
            found.extend(parts(body, "&&").into_iter().cloned());
        }
    }
    found
}

/// What a policy's scope asks, as expressions: of the principal, the action, the resource. Nothing for one that asks nothing.
pub(super) fn scope(policy: &Policy) -> Vec<Value> {
    let json = policy.to_json().unwrap_or_default();
    let mut found = Vec::new();
    for variable in ["principal", "action", "resource"] {
        let asked = &json[variable];
        let left = json!({ "Var": variable });
        let entity = |entity: &Value| json!({ "Value": { "__entity": entity } });
        let expression = match asked["op"].as_str() {
            Some("==") => json!({ "==": { "left": left, "right": entity(&asked["entity"]) } }),
            Some("in") => match asked["entities"].as_array() {
                Some(all) => {
                    let all: Vec<Value> = all.iter().map(entity).collect();
                    json!({ "in": { "left": left, "right": { "Set": all } } })
                }
                None => json!({ "in": { "left": left, "right": entity(&asked["entity"]) } }),
            },
            Some("is") => {
                let mut is = json!({ "left": left, "entity_type": asked["entity_type"] });
                if let Some(within) = asked.get("in") {
                    is["in"] = entity(&within["entity"]);
                }
                json!({ "is": is })
            }
            _ => continue,
        };
        found.push(expression);
    }
    found
}

fn parts<'a>(expression: &'a Value, operator: &str) -> Vec<&'a Value> {
    match expression.get(operator) {
        Some(both) => {
            let mut found = parts(&both["left"], operator);
            found.extend(parts(&both["right"], operator));
            found
        }
        None => vec![expression],
    }
}

/// The expression as a person writes it. Cedar reads it as the same.
pub(super) fn written(expression: &Value) -> String {
    let Some((form, inner)) = expression.as_object().and_then(|members| members.iter().next()) else {
        return String::new();
    };
    let side = |name: &str| operand(&inner[name]);
    match form.as_str() {
        "Value" => value(inner),
        "Var" => inner.as_str().unwrap_or_default().to_owned(),
        "!" => format!("!{}", side("arg")),
        "neg" => format!("-{}", side("arg")),
        "==" | "!=" | "in" | "<" | "<=" | ">" | ">=" | "&&" | "||" | "+" | "-" | "*" => {
            format!("{} {form} {}", side("left"), side("right"))
        }
        "contains" | "containsAll" | "containsAny" | "getTag" | "hasTag" => {
            format!("{}.{form}({})", side("left"), written(&inner["right"]))
        }
        "isEmpty" => format!("{}.isEmpty()", side("arg")),
        "." => format!("{}{}", side("left"), attribute(inner["attr"].as_str().unwrap_or_default())),
        "has" => match &inner["attr"] {
            Value::Array(names) => {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                format!("{} has {}", side("left"), names.join("."))
            }
            name => {
                let name = name.as_str().unwrap_or_default();
                let name = if is_identifier(name) { name.to_owned() } else { quoted(name) };
                format!("{} has {name}", side("left"))
            }
        },
        "like" => format!("{} like {}", side("left"), pattern(&inner["pattern"])),
        "is" => {
            let within = inner.get("in").map(|within| format!(" in {}", operand(within))).unwrap_or_default();
            format!("{} is {}{within}", side("left"), inner["entity_type"].as_str().unwrap_or_default())
        }
        "if-then-else" => {
            format!("if {} then {} else {}", written(&inner["if"]), written(&inner["then"]), written(&inner["else"]))
        }
        "Set" => format!("[{}]", list(inner)),
        "Record" => {
            let fields = inner.as_object().into_iter().flatten();
            let fields: Vec<String> =
                fields.map(|(name, field)| format!("{}: {}", quoted(name), written(field))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        "ip" | "decimal" | "datetime" | "duration" => format!("{form}({})", list(inner)),
        method => {
            let all = inner.as_array().map(Vec::as_slice).unwrap_or_default();
            let receiver = all.first().map(operand).unwrap_or_default();
            let rest: Vec<String> = all.iter().skip(1).map(written).collect();
            format!("{receiver}.{method}({})", rest.join(", "))
        }
    }
}

/// In brackets where it would fall apart beside an operator.
fn operand(expression: &Value) -> String {
    let form = expression.as_object().and_then(|members| members.keys().next()).map(String::as_str);
    let negative = expression.get("Value").is_some_and(|value| value.as_i64().is_some_and(|number| number < 0));
    let bare = matches!(
        form,
        Some("Value" | "Var" | "." | "Set" | "contains" | "containsAll" | "containsAny" | "isEmpty" | "ip" | "decimal")
            | Some("datetime" | "duration")
    );
    let text = written(expression);
    if bare && !negative { text } else { format!("({text})") }
}

fn list(items: &Value) -> String {
    items.as_array().into_iter().flatten().map(written).collect::<Vec<_>>().join(", ")
}

fn value(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(self::value).collect::<Vec<_>>().join(", "))
        }
        Value::Object(members) => match (members.get("__entity"), members.get("__extn")) {
            (Some(entity), _) => {
                let part = |name: &str| entity[name].as_str().unwrap_or_default();
                format!("{}::{}", part("type"), quoted(part("id")))
            }
            (_, Some(call)) => {
                let part = |name: &str| call[name].as_str().unwrap_or_default();
                format!("{}({})", part("fn"), quoted(part("arg")))
            }
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

fn pattern(elements: &Value) -> String {
    let mut text = String::from("\"");
    for element in elements.as_array().into_iter().flatten() {
        match element.get("Literal").and_then(Value::as_str) {
            Some(literal) => {
                let quoted = quoted(literal);
                text.push_str(&quoted[1..quoted.len() - 1].replace('*', "\\*"));
            }
            None => text.push('*'),
        }
    }
    text + "\""
}

fn attribute(name: &str) -> String {
    if is_identifier(name) { format!(".{name}") } else { format!("[{}]", quoted(name)) }
}

fn is_identifier(name: &str) -> bool {
    const RESERVED: [&str; 9] = ["true", "false", "if", "then", "else", "in", "is", "like", "has"];
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !RESERVED.contains(&name)
        && name != "__cedar"
}

/// A text as a Cedar string. Whatever could end it, steer a terminal or deceive a reader is escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => quoted.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(text: &str) -> Value {
        let policy = Policy::parse(None, format!("permit(principal, action, resource) when {{ {text} }};")).unwrap();
        conditions(&policy).remove(0)
    }

    #[test]
    fn a_condition_is_written_as_a_person_writes_it() {
        for text in [
            "context.arguments.amount <= 500",
            "context has arguments.amount",
            "context.arguments[\"x-y\"] == \"a\\\"b\"",
            "principal in Group::\"sales\"",
            "[\"a\", \"b\"].containsAll(context.arguments.to)",
            "context.source.isInRange(ip(\"10.0.0.0/8\"))",
            "context.arguments.price.lessThan(decimal(\"12.50\"))",
            "context.arguments.title like \"*a\\**\"",
            "principal is AgentForUser in Agent::\"helper\"",
            "if context.issuing then true else (context.depth < 3)",
        ] {
            let written = written(&body(text));
            assert_eq!(body(&written), body(text), "{text} became {written}");
            assert_eq!(written.replace("else context.depth < 3", "else (context.depth < 3)"), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(
            atoms in proptest::collection::vec(
                r#"(context\.depth (<|<=|==|!=|>) -?[0-9]|context\.arguments has (a|"b c")|!\(context\.issuing\)|context\.chain\.contains\("[a-z"]{0}x"\)|\(1 \+ 2\) \* context\.depth == -3|resource in \[Resource::"a:b", Resource::"a:/"\]|context\.method like "\*P")"#,
                1..5,
            ),
            joints in proptest::collection::vec("(&&|\\|\\|)", 4),
        ) {
            let text = atoms.iter().zip(&joints).fold(String::new(), |text, (atom, joint)| {
                if text.is_empty() { atom.clone() } else { format!("({text}) {joint} ({atom})") }
            });
            let body = body(&text);
            let again = super::tests::body(&written(&body));
            prop_assert_eq!(again, body, "{}", text);
        }

        #[test]
        fn any_text_is_quoted_so_that_it_is_one_string(text in any::<String>()) {
            let body = body(&format!("context.method == {}", quoted(&text)));
            prop_assert_eq!(&body["=="]["right"]["Value"], &Value::String(text));
        }
    }
}
