//! The Cedar schema of a tenant: what its policies may name. Made from its services, so that nobody maintains it.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::SchemaFragment;
use serde_json::{Value, json};

use crate::catalog::Service;
use crate::catalog::argument::{ArgumentRule, Kind};
use crate::id::ServiceName;
use crate::policy::limit::{Limit, Limits};
use crate::policy::rules::nearest::nearest;
use crate::token::Path;

/// What policies of a tenant may name, and of which type it is.
#[derive(Debug)]
pub struct Schema {
    actions: BTreeMap<Box<str>, Action>,
    services: BTreeSet<ServiceName>,
    facts: Facts,
}

/// What policies may name besides the catalog's actions and arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The claims of identity providers that writs carry: `context.session`.
    pub claims: BTreeMap<Box<str>, Type>,
    /// The limits of the tenant's set, and what each counts in: `context.used`.
    pub limits: BTreeMap<Box<str>, Type>,
}

impl Facts {
    /// Limits as policies see them: how many calls is a whole number, a sum is a decimal.
    pub fn limits_of(limits: &Limits) -> BTreeMap<Box<str>, Type> {
        let kind = |limit: &Limit| if limit.sum().is_some() { Type::Decimal } else { Type::Integer };
        limits.iter().map(|limit| (limit.name().as_str().into(), kind(limit))).collect()
    }
}

/// The type of a value that a policy sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    /// `Bool`
    Boolean,
    /// `Long`
    Integer,
    /// `decimal`
    Decimal,
    /// `datetime`
    Time,
    /// `String`
    Text,
    /// `Set<…>`
    Set(&'static Type),
}

/// A node of the tree of actions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Action {
    /// Whether a request can do it, or only something below it.
    does: bool,
    arguments: BTreeMap<Box<str>, Type>,
    /// The one of [`ACCESS`] that it is in, where requests do it.
    access: Option<&'static str>,
    parents: BTreeSet<Box<str>>,
}

/// Cedar refused what was made: a mistake of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema of policies could not be made, which is a mistake in writ: {0}")]
pub struct InvalidSchema(String);

/// The groups of actions that are in no service's tree.
pub const ACCESS: [&str; 3] = ["reads", "writes", "deletes"];

/// What `context` holds at every call, besides the records below it.
const CONTEXT: [&str; 11] =
    ["time", "local", "source", "method", "depth", "delegator", "chain", "arguments", "session", "used", "issuing"];

/// What `context.local` holds.
const LOCAL: [&str; 4] = ["hour", "minute", "weekday", "date"];

impl Schema {
    /// The schema of these services, all of one tenant.
    pub fn of<'a>(services: impl IntoIterator<Item = &'a Service>, facts: Facts) -> Self {
        let mut actions = BTreeMap::new();
        let mut names = BTreeSet::new();
        for service in services {
            names.insert(service.name().clone());
            for route in service.routes() {
                for call in route.calls() {
                    let arguments = call.arguments().iter().map(|rule| (rule.name(), Type::of(rule)));
                    add(&mut actions, service.name(), call.action(), arguments);
                }
            }
        }
        Self { actions, services: names, facts }
    }

    /// The whole schema, for Cedar.
    pub fn cedar(&self) -> Result<cedar_policy::Schema, InvalidSchema> {
        cedar(json(&self.actions, &self.facts))
    }

    /// A schema for policies that name only these actions and groups, and these attributes: of actions that they cannot
    /// tell apart it holds one. Cedar checks every policy against every action of its schema, so this is what makes a set
    /// for a large catalog cheap to check.
    pub(super) fn cedar_for(
        &self,
        named: &BTreeSet<String>,
        attributes: &BTreeSet<String>,
    ) -> Result<cedar_policy::Schema, InvalidSchema> {
        let mut seen = BTreeSet::new();
        let mut kept = BTreeMap::new();
        for (id, action) in &self.actions {
            let groups: Vec<&str> = named.iter().map(String::as_str).filter(|group| self.is_in(id, group)).collect();
            let arguments = action.arguments.iter().filter(|(name, _)| attributes.contains(&***name));
            let arguments: BTreeMap<Box<str>, Type> = arguments.map(|(name, kind)| (name.clone(), *kind)).collect();
            if seen.insert((groups.clone(), arguments.clone())) {
                let parents = groups.into_iter().filter(|group| **group != **id).map(Into::into).collect();
                kept.insert(id.clone(), Action { arguments, parents, ..*action });
            }
        }
        cedar(json(&kept, &self.facts))
    }

    /// The schema in Cedar's own language, for editors and for reading.
    pub fn text(&self) -> Result<String, InvalidSchema> {
        let refused = |error: String| InvalidSchema(error);
        SchemaFragment::from_json_value(json(&self.actions, &self.facts))
            .map_err(|error| refused(error.to_string()))?
            .to_cedarschema()
            .map_err(|error| refused(error.to_string()))
    }

    /// The names of the services.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.services.iter()
    }

    /// The ids of the actions that requests do, such as `github:issues/read`.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().filter(|(_, action)| action.does).map(|(id, _)| &**id)
    }

    /// The arguments of an action, with their types; none for an unknown one.
    pub fn arguments(&self, action: &str) -> impl Iterator<Item = (&str, Type)> {
        let arguments = self.actions.get(action).map(|action| &action.arguments);
        arguments.into_iter().flatten().map(|(name, kind)| (&**name, *kind))
    }

    /// The limits of the set, with the type of what each counts.
    pub fn limits(&self) -> impl Iterator<Item = (&str, Type)> {
        self.facts.limits.iter().map(|(name, kind)| (&**name, *kind))
    }

    /// Whether an action or group of actions has this id.
    pub(super) fn knows(&self, action: &str) -> bool {
        ACCESS.contains(&action) || self.actions.contains_key(action)
    }

    /// Whether requests do this action itself, not only what is below it.
    pub(super) fn is_done(&self, action: &str) -> bool {
        self.actions.get(action).is_some_and(|action| action.does)
    }

    /// Whether `action` is `group`, or in it.
    pub(super) fn is_in(&self, action: &str, group: &str) -> bool {
        let below = action.strip_prefix(group.strip_suffix('/').unwrap_or(group));
        match below {
            Some(rest) => rest.is_empty() || group.ends_with('/') || rest.starts_with('/'),
            None if ACCESS.contains(&group) => {
                let own = self.actions.get(action).and_then(|found| found.access).unwrap_or(action);
                own == group || group == "writes" && own == "deletes"
            }
            None => false,
        }
    }

    /// What `context.<record>` holds for calls of `actions`; `None` where it is no record.
    pub(super) fn members(&self, record: &str, actions: &[&str]) -> Option<BTreeSet<&str>> {
        let names = match record {
            "local" => LOCAL.into(),
            "arguments" => actions.iter().flat_map(|action| self.arguments(action)).map(|(name, _)| name).collect(),
            "session" => std::iter::once("provider").chain(self.facts.claims.keys().map(|name| &**name)).collect(),
            "used" => self.facts.limits.keys().map(|name| &**name).collect(),
            _ => return None,
        };
        Some(names)
    }

    /// What `context` holds.
    pub(super) const fn context(&self) -> &'static [&'static str] {
        &CONTEXT
    }

    /// The action or group that `id` is likely to mean.
    pub(super) fn nearest_action(&self, id: &str) -> Option<&str> {
        nearest(id, self.actions.keys().map(|id| &**id).chain(ACCESS))
    }
}

/// Adds what a route does, and every group it is in.
fn add<'a>(
    actions: &mut BTreeMap<Box<str>, Action>,
    service: &ServiceName,
    action: &Path,
    arguments: impl Iterator<Item = (&'a str, Type)>,
) {
    let ids: Vec<Box<str>> = action.prefixes().map(|prefix| format!("{service}:{prefix}").into()).collect();
    for (i, id) in ids.iter().enumerate() {
        let node = actions.entry(id.clone()).or_default();
        node.parents.extend(i.checked_sub(1).map(|above| ids[above].clone()));
    }
    let id = format!("{service}:{action}");
    let node = actions.entry(id.as_str().into()).or_default();
    node.does = true;
    node.access = Some(access(action));
    node.parents.insert(access(action).into());
    // An action's argument has one type: the service was loaded.
    node.arguments.extend(arguments.map(|(name, kind)| (name.into(), kind)));
}

/// The group of [`ACCESS`] that an action is in. What is not said to read writes; `deletes` is in `writes`.
fn access(action: &Path) -> &'static str {
    let has = |word: &str| action.segments().any(|segment| segment == word);
    if has("delete") {
        "deletes"
    } else if has("read") {
        "reads"
    } else {
        "writes"
    }
}

impl Type {
    fn of(rule: &ArgumentRule) -> Self {
        let one = match rule.kind() {
            Kind::Integer => &Self::Integer,
            Kind::Decimal => &Self::Decimal,
            Kind::Boolean => &Self::Boolean,
            Kind::Time => &Self::Time,
            Kind::String | Kind::Email | Kind::Url => &Self::Text,
        };
        if rule.is_list() { Self::Set(one) } else { *one }
    }

    fn json(self) -> Value {
        match self {
            Self::Boolean => json!({ "type": "Boolean" }),
            Self::Integer => json!({ "type": "Long" }),
            Self::Decimal => json!({ "type": "Extension", "name": "decimal" }),
            Self::Time => json!({ "type": "Extension", "name": "datetime" }),
            Self::Text => json!({ "type": "String" }),
            Self::Set(element) => json!({ "type": "Set", "element": element.json() }),
        }
    }

    /// What a person writes for it.
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Boolean => "`true` or `false`",
            Self::Integer => "a whole number",
            Self::Decimal => "a decimal written as a text, as in `\"12.50\"`",
            Self::Time => "a time written as a text, as in `\"2026-12-01T09:00:00Z\"`",
            Self::Text => "a text",
            Self::Set(_) => "a list",
        }
    }

    fn optional(self) -> Value {
        let mut json = self.json();
        json["required"] = Value::Bool(false);
        json
    }
}

fn cedar(json: Value) -> Result<cedar_policy::Schema, InvalidSchema> {
    cedar_policy::Schema::from_json_value(json).map_err(|error| InvalidSchema(error.to_string()))
}

fn json(actions: &BTreeMap<Box<str>, Action>, facts: &Facts) -> Value {
    // One type for each different set of arguments: most actions share one.
    let mut contexts: BTreeMap<String, Value> = BTreeMap::new();
    let mut named: Vec<(&BTreeMap<Box<str>, Type>, String)> = Vec::new();
    let mut tree = serde_json::Map::new();
    for group in ACCESS {
        let parents = if group == "deletes" { json!([{ "id": "writes" }]) } else { json!([]) };
        tree.insert(group.to_owned(), json!({ "memberOf": parents }));
    }
    for (id, action) in actions {
        let context = match named.iter().find(|(arguments, _)| **arguments == action.arguments) {
            Some((_, name)) => name.clone(),
            None => {
                let name = format!("Context{}", named.len());
                contexts.insert(name.clone(), context(&action.arguments));
                named.push((&action.arguments, name.clone()));
                name
            }
        };
        let parents: Vec<Value> = action.parents.iter().map(|id| json!({ "id": id })).collect();
        let applies = json!({
            "principalTypes": ["Agent", "AgentForUser"],
            "resourceTypes": ["Resource"],
            "context": { "type": context },
        });
        tree.insert(id.to_string(), json!({ "memberOf": parents, "appliesTo": applies }));
    }
    let session = facts.claims.iter().map(|(name, kind)| (name.to_string(), kind.optional()));
    let session = session.chain([("provider".to_owned(), Type::Text.optional())]).collect();
    let used = facts.limits.iter().map(|(name, kind)| (name.to_string(), kind.optional())).collect();
    let integer = Type::Integer.json();
    let local = LOCAL.map(|name| (name.to_owned(), if name == "date" { Type::Text.json() } else { integer.clone() }));
    contexts.insert("Local".to_owned(), record(local.into_iter().collect()));
    contexts.insert("Session".to_owned(), record(session));
    contexts.insert("Used".to_owned(), record(used));
    json!({ "": {
        "commonTypes": contexts,
        "entityTypes": {
            "Group": {},
            "User": { "memberOfTypes": ["Group"] },
            "Agent": {},
            "AgentForUser": { "memberOfTypes": ["Agent", "User", "Group"] },
            "Resource": { "memberOfTypes": ["Resource"] },
        },
        "actions": tree,
    } })
}

fn context(arguments: &BTreeMap<Box<str>, Type>) -> Value {
    let arguments = arguments.iter().map(|(name, kind)| (name.to_string(), kind.optional())).collect();
    let arguments = record(arguments);
    let member = |name: &str| match name {
        "time" => Type::Time.json(),
        "source" => json!({ "type": "Extension", "name": "ipaddr" }),
        "local" => json!({ "type": "Local" }),
        "session" => json!({ "type": "Session" }),
        "used" => json!({ "type": "Used" }),
        "arguments" => arguments.clone(),
        "depth" => Type::Integer.json(),
        "issuing" => Type::Boolean.json(),
        "chain" => Type::Set(&Type::Text).json(),
        "delegator" => Type::Text.optional(),
        _ => Type::Text.json(),
    };
    record(CONTEXT.iter().map(|name| ((*name).to_owned(), member(name))).collect())
}

fn record(attributes: serde_json::Map<String, Value>) -> Value {
    json!({ "type": "Record", "attributes": attributes })
}
