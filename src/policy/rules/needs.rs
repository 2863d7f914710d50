//! What of the context a policy looks at: only that has to be made for it, and what only a call has is open at issuance.

use std::ops::{BitOr, BitOrAssign};

use serde_json::Value;

/// A set of the things that conditions may look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u16);

impl Needs {
    /// `context.time`.
    pub const TIME: Self = Self(1);
    /// `context.local`.
    pub const LOCAL: Self = Self(1 << 1);
    /// `context.source`.
    pub const SOURCE: Self = Self(1 << 2);
    /// `context.method`.
    pub const METHOD: Self = Self(1 << 3);
    /// `context.depth`.
    pub const DEPTH: Self = Self(1 << 4);
    /// `context.delegator`.
    pub const DELEGATOR: Self = Self(1 << 5);
    /// `context.chain`.
    pub const CHAIN: Self = Self(1 << 6);
    /// `context.arguments`.
    pub const ARGUMENTS: Self = Self(1 << 7);
    /// `context.session`.
    pub const SESSION: Self = Self(1 << 8);
    /// `context.used`.
    pub const USED: Self = Self(1 << 9);
    /// `context.issuing`.
    pub const ISSUING: Self = Self(1 << 10);
    /// Which entity stands in which other: an `in` outside the scope.
    pub const HIERARCHY: Self = Self(1 << 11);
    /// Who asks.
    pub const PRINCIPAL: Self = Self(1 << 12);
    /// For what.
    pub const ACTION: Self = Self(1 << 13);
    /// On what.
    pub const RESOURCE: Self = Self(1 << 14);

    /// Everything there is.
    pub const ALL: Self = Self((Self::RESOURCE.0 << 1) - 1);

    const CONTEXT: Self = Self(Self::HIERARCHY.0 - 1);
    const CALL: Self = Self(Self::SOURCE.0 | Self::METHOD.0 | Self::ARGUMENTS.0 | Self::USED.0);

    /// Whether anything of `other` is in it.
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether it cannot be decided before there is a call, and does not say itself what to do then.
    pub const fn is_open_at_issuance(self) -> bool {
        self.any(Self::CALL) && !self.any(Self::ISSUING)
    }

    /// What the conditions of a policy look at, by its JSON form.
    pub fn of(policy: &Value) -> Self {
        policy.get("conditions").map_or(Self::default(), of_expression)
    }

    fn of_attribute(name: &str) -> Self {
        match name {
            "time" => Self::TIME,
            "local" => Self::LOCAL,
            "source" => Self::SOURCE,
            "method" => Self::METHOD,
            "depth" => Self::DEPTH,
            "delegator" => Self::DELEGATOR,
            "chain" => Self::CHAIN,
            "arguments" => Self::ARGUMENTS,
            "session" => Self::SESSION,
            "used" => Self::USED,
            "issuing" => Self::ISSUING,
            // The schema knows no other. Should it come to, nothing is left out.
            _ => Self::CONTEXT,
        }
    }
}

impl BitOr for Needs {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Needs {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

fn of_expression(expression: &Value) -> Needs {
    let all = |parts: &mut dyn Iterator<Item = &Value>| {
        parts.fold(Needs::default(), |needs, part| needs | of_expression(part))
    };
    match expression {
        Value::Array(parts) => all(&mut parts.iter()),
        Value::Object(parts) => parts.iter().fold(Needs::default(), |needs, (key, part)| needs | of_part(key, part)),
        _ => Needs::default(),
    }
}

fn of_part(key: &str, part: &Value) -> Needs {
    match key {
        // A constant, whatever its members are called.
        "Value" => Needs::default(),
        // Its keys are the policy's own words.
        "Record" => part.as_object().map_or_else(Needs::default, |record| {
            record.values().fold(Needs::default(), |needs, value| needs | of_expression(value))
        }),
        // The context as a whole: compared, or asked for what is not known here.
        "Var" if part == "context" => Needs::CONTEXT,
        "Var" if part == "principal" => Needs::PRINCIPAL,
        "Var" if part == "action" => Needs::ACTION,
        "Var" if part == "resource" => Needs::RESOURCE,
        "Var" => Needs::ALL,
        // `context has a.b` is a list of names.
        "." | "has" => match (part["left"]["Var"].as_str(), part["attr"].as_str().or(part["attr"][0].as_str())) {
            (Some("context"), Some(attribute)) => Needs::of_attribute(attribute),
            _ => of_expression(part),
        },
        "in" => Needs::HIERARCHY | of_expression(part),
        "is" if part.get("in").is_some() => Needs::HIERARCHY | of_expression(part),
        _ => of_expression(part),
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn needs(condition: &str) -> Needs {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        Needs::of(&Policy::parse(None, text).unwrap().to_json().unwrap())
    }

    #[test]
    fn a_condition_needs_what_it_names() {
        for (condition, expected) in [
            ("true", Needs::default()),
            ("principal == Agent::\"a\"", Needs::PRINCIPAL),
            ("principal in Agent::\"a\"", Needs::PRINCIPAL | Needs::HIERARCHY),
            ("principal is AgentForUser in Group::\"a\"", Needs::PRINCIPAL | Needs::HIERARCHY),
            ("principal is AgentForUser", Needs::PRINCIPAL),
            ("[action, resource].contains(Action::\"a\")", Needs::ACTION | Needs::RESOURCE),
            ("Agent::\"a\" in Agent::\"b\"", Needs::HIERARCHY),
            ("{\"Var\": \"principal\"} == {\"principal\": 1}", Needs::default()),
            ("context.depth > 1 && context.local.hour < 9", Needs::DEPTH | Needs::LOCAL),
            ("context has delegator", Needs::DELEGATOR),
            ("context has arguments.amount", Needs::ARGUMENTS),
            ("context.arguments has amount && context.arguments.amount < 5", Needs::ARGUMENTS),
            ("context[\"method\"] like \"P*\"", Needs::METHOD),
            ("{\"Var\": context.time, \"Value\": context.issuing} == {\"Var\": 1}", Needs::TIME | Needs::ISSUING),
            ("[context.used.calls].contains(\"context\")", Needs::USED),
            (
                "if context.session has amr then ip(\"1.1.1.1\") == context.source else false",
                Needs::SESSION | Needs::SOURCE,
            ),
            ("context.chain.contains(\"bot\")", Needs::CHAIN),
            ("context == {}", Needs::CONTEXT),
            ("context.unheard", Needs::CONTEXT),
        ] {
            assert_eq!(needs(condition), expected, "{condition}");
        }
    }

    #[test]
    fn only_what_a_call_alone_has_is_open_at_issuance() {
        assert!(needs("context.arguments.amount < 5").is_open_at_issuance());
        assert!(!needs("context.issuing || context.arguments.amount < 5").is_open_at_issuance());
        assert!(!needs("context.local.hour < 5").is_open_at_issuance());
    }
}
