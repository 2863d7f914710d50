//! Policies that say nothing new: covered by others in scope and conditions. And grants that no policy lets through.
//!
//! Sound, not complete: what is reported is so. Scopes are compared by what they mean, conditions only as they are written,
//! part by part; so a condition that follows from another by arithmetic is not seen.

use cedar_policy::{ActionConstraint, Effect, EntityUid, PrincipalConstraint, ResourceConstraint};
use serde_json::Value;

use crate::policy::GrantSubject;
use crate::policy::rules::check::{Finding, Severity};
use crate::policy::rules::expression::{all_that_hold, scope_actions};
use crate::policy::rules::schema::Schema;
use crate::policy::rules::set::{Policy, PolicySet};
use crate::token::{Capability, Path};

/// A policy's scope and the conditions that all hold where it matches.
struct Reach<'a> {
    policy: &'a Policy,
    principal: PrincipalConstraint,
    actions: Option<Vec<String>>,
    is_exact: bool,
    resource: Option<Resource>,
    conditions: Vec<Value>,
}

/// What a scope says of the resource; no scope where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resource {
    id: String,
    is_exact: bool,
}

/// Policies that never count, because others decide wherever they match.
pub fn shadowed(schema: &Schema, set: &PolicySet) -> Vec<Finding> {
    let reaches: Vec<Reach<'_>> = set.policies().iter().filter(|policy| policy.is_enforced()).map(Reach::of).collect();
    let mut findings = Vec::new();
    for (index, below) in reaches.iter().enumerate() {
        let found = reaches.iter().enumerate().find_map(|(other, above)| {
            // Of two that say the same, the second is the one too many.
            let is_same = other != index && above.covers(schema, below);
            let counts = is_same && (other < index || !below.covers(schema, above) || above.differs(below));
            counts.then(|| above.instead_of(below)).flatten()
        });
        if let Some(message) = found {
            let (line, policy) = (below.policy.line, below.policy.name.as_str().into());
            findings.push(Finding { line, severity: Severity::Warning, policy, code: "shadowed", message });
        }
    }
    findings
}

/// What of a grant's capability no permit reaches, by the scopes alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreached {
    /// All of it.
    All,
    /// These actions, of those that requests do.
    Actions(Vec<String>),
}

/// What of `capability`, granted to `to`, no permit of the set reaches; `None` where each of its actions may be allowed.
pub fn unreached(schema: &Schema, set: &PolicySet, to: &GrantSubject, capability: &Capability) -> Option<Unreached> {
    let enforced = set.policies().iter().filter(|policy| policy.is_enforced());
    let permits: Vec<Reach<'_>> = enforced.map(Reach::of).filter(Reach::permits).collect();
    let permits: Vec<&Reach<'_>> = permits.iter().filter(|permit| permit.may_be_for(to)).collect();
    let whole = format!("{}:{}", capability.service, capability.action);
    let resource = format!("{}:{}", capability.service, capability.resource);
    let is_reached =
        |action: &&str| permits.iter().any(|permit| permit.has_action(schema, action) && permit.touches(&resource));
    let (reached, missed): (Vec<&str>, Vec<&str>) =
        schema.actions().filter(|action| schema.is_in(action, &whole)).partition(is_reached);
    match (reached.is_empty(), missed.is_empty()) {
        (true, _) => Some(Unreached::All),
        (false, true) => None,
        (false, false) => Some(Unreached::Actions(missed.into_iter().map(str::to_owned).collect())),
    }
}

impl<'a> Reach<'a> {
    fn of(policy: &'a Policy) -> Self {
        let uid_text = |uid: &EntityUid| uid.id().unescaped().to_owned();
        let resource = match policy.cedar.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
            ResourceConstraint::In(uid) | ResourceConstraint::IsIn(_, uid) => Some((uid, false)),
            ResourceConstraint::Eq(uid) => Some((uid, true)),
        };
        Self {
            policy,
            principal: policy.cedar.principal_constraint(),
            actions: scope_actions(&policy.cedar),
            is_exact: matches!(policy.cedar.action_constraint(), ActionConstraint::Eq(_)),
            resource: resource.map(|(uid, is_exact)| Resource { id: uid_text(&uid), is_exact }),
            conditions: all_that_hold(&policy.cedar),
        }
    }

    fn permits(&self) -> bool {
        self.policy.cedar.effect() == Effect::Permit
    }

    /// Whether this one matches whatever `other` matches.
    fn covers(&self, schema: &Schema, other: &Self) -> bool {
        covers_principal(&self.principal, &other.principal)
            && self.covers_actions(schema, other)
            && self.covers_resource(other)
            && self.conditions.iter().all(|condition| other.conditions.contains(condition))
    }

    fn covers_actions(&self, schema: &Schema, other: &Self) -> bool {
        match (&self.actions, &other.actions) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) if self.is_exact => other.is_exact && own == others,
            (Some(own), Some(others)) => {
                others.iter().all(|action| own.iter().any(|group| schema.is_in(action, group)))
            }
        }
    }

    fn covers_resource(&self, other: &Self) -> bool {
        let Some(own) = &self.resource else { return true };
        match &other.resource {
            Some(below) if own.is_exact => below == own,
            Some(below) => is_below(&below.id, &own.id),
            // A call's resource is of the service of its action.
            None => {
                let service = own.id.strip_suffix('/').filter(|service| service.ends_with(':') && !own.is_exact);
                let all = other.actions.as_ref().filter(|actions| !actions.is_empty());
                service.zip(all).is_some_and(|(service, all)| all.iter().all(|action| action.starts_with(service)))
            }
        }
    }

    /// Whether both decide, but not alike.
    fn differs(&self, other: &Self) -> bool {
        self.permits() != other.permits()
            || self.policy.approval != other.policy.approval
            || self.policy.ttl_s != other.policy.ttl_s
    }

    /// Why `below`, which this one covers, never counts; `None` where it does.
    fn instead_of(&self, below: &Self) -> Option<String> {
        let name = self.policy.name.as_str();
        match (self.permits(), below.permits()) {
            (false, true) => Some(format!("it never allows anything: the forbid `{name}` matches wherever it does")),
            (false, false) => Some(format!("it adds nothing: the forbid `{name}` matches wherever it does")),
            (true, false) => None,
            (true, true) => {
                let asks_less = self.policy.approval.is_none() || self.policy.approval == below.policy.approval;
                let lasts = match (self.policy.ttl_s, below.policy.ttl_s) {
                    (None, _) => true,
                    (Some(own), Some(other)) => other <= own,
                    (Some(_), None) => false,
                };
                (asks_less && lasts).then(|| match &below.policy.approval {
                    Some(_) if self.policy.approval.is_none() => {
                        format!("its approval is never asked for: the permit `{name}` allows the same without")
                    }
                    _ => format!("it adds nothing: the permit `{name}` allows wherever it does"),
                })
            }
        }
    }

    fn has_action(&self, schema: &Schema, action: &str) -> bool {
        match &self.actions {
            None => true,
            Some(own) if self.is_exact => own.iter().any(|id| id == action),
            Some(own) => own.iter().any(|group| schema.is_in(action, group)),
        }
    }

    /// Whether something is in both its resource and `resource`.
    fn touches(&self, resource: &str) -> bool {
        match &self.resource {
            None => true,
            Some(own) if own.is_exact => is_below(&own.id, resource),
            Some(own) => is_below(&own.id, resource) || is_below(resource, &own.id),
        }
    }

    /// Whether the principal may be one that a grant is for. Who is in a group is not known here.
    fn may_be_for(&self, to: &GrantSubject) -> bool {
        let acts_for_user = to.subject.is_some() || to.group.is_some();
        let in_group = |group: &str| match &to.group {
            Some(own) => own.as_str() == group,
            None => to.subject.is_some(),
        };
        let is_user = |user: &str| to.subject.as_ref().is_none_or(|own| own.as_str() == user) && acts_for_user;
        let is_in = |uid: &EntityUid| {
            let id = uid.id().unescaped();
            match uid.type_name().basename() {
                "Agent" => to.agent.as_str() == id,
                "User" => is_user(id),
                "Group" => in_group(id),
                "AgentForUser" => {
                    id.split_once('/').is_some_and(|(agent, user)| to.agent.as_str() == agent && is_user(user))
                }
                _ => false,
            }
        };
        let is_kind = |kind: &str| (kind == "AgentForUser") == acts_for_user && kind.starts_with("Agent");
        match &self.principal {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Is(kind) => is_kind(kind.basename()),
            PrincipalConstraint::In(uid) => is_in(uid),
            PrincipalConstraint::Eq(uid) => is_kind(uid.type_name().basename()) && is_in(uid),
            PrincipalConstraint::IsIn(kind, uid) => is_kind(kind.basename()) && is_in(uid),
        }
    }
}

/// Whether every principal of `other` is one of `own`.
fn covers_principal(own: &PrincipalConstraint, other: &PrincipalConstraint) -> bool {
    use PrincipalConstraint::{Any, Eq, In, Is, IsIn};
    match (own, other) {
        (Any, _) => true,
        (Is(kind), Is(below) | IsIn(below, _)) => kind == below,
        (Is(kind), Eq(uid)) => kind == uid.type_name(),
        (In(above), In(below) | Eq(below) | IsIn(_, below)) => is_in(below, above),
        (IsIn(kind, above), IsIn(own, below)) => kind == own && is_in(below, above),
        (IsIn(kind, above), Eq(below)) => kind == below.type_name() && is_in(below, above),
        (Eq(uid), Eq(below)) => uid == below,
        _ => false,
    }
}

/// Whether `below` is `above`, or its name says that it is in it.
fn is_in(below: &EntityUid, above: &EntityUid) -> bool {
    let parts = || below.id().unescaped().split_once('/').filter(|_| below.type_name().basename() == "AgentForUser");
    let id = above.id().unescaped();
    below == above
        || match above.type_name().basename() {
            "Agent" => parts().is_some_and(|(agent, _)| agent == id),
            "User" => parts().is_some_and(|(_, user)| user == id),
            _ => false,
        }
}

/// Whether the resource `below` is `above`, or under it.
fn is_below(below: &str, above: &str) -> bool {
    let read = |id: &str| {
        id.split_once(':').and_then(|(service, path)| Some((service.to_owned(), path.parse::<Path>().ok()?)))
    };
    match (read(below), read(above)) {
        (Some((service, below)), Some((of, above))) => service == of && above.covers(&below),
        _ => false,
    }
}
