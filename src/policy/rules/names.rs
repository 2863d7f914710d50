//! Names that stand for nothing: what Cedar takes for "never matches", or does not look at, is a mistake here.

use cedar_policy::{ActionConstraint, EntityUid, Policy, ResourceConstraint};

use crate::id::{AgentName, Group, ServiceName, Subject};
use crate::policy::rules::check::{Finding, Severity, Written};
use crate::policy::rules::expression::{conditions, each, in_context, scope_actions};
use crate::policy::rules::nearest::nearest;
use crate::policy::rules::schema::Schema;
use crate::token::Path;

/// One policy, and what was found in it.
struct Reader<'a> {
    schema: &'a Schema,
    written: &'a Written<'a>,
    findings: Vec<Finding>,
}

pub(super) fn check(schema: &Schema, written: &Written<'_>) -> Vec<Finding> {
    let mut reader = Reader { schema, written, findings: Vec::new() };
    reader.entities(written.policy);
    // Without knowing its actions, nothing can be said about their arguments.
    if reader.findings.is_empty() {
        reader.scope(written.policy);
        reader.attributes(written.policy);
    }
    reader.findings
}

impl Reader<'_> {
    fn say(&mut self, severity: Severity, code: &'static str, word: &str, message: String) {
        let (line, policy) = (self.written.line_of(word), self.written.policy.id().to_string().into());
        self.findings.push(Finding { line, severity, policy, code, message });
    }

    fn error(&mut self, code: &'static str, word: &str, message: String) {
        self.say(Severity::Error, code, word, message);
    }

    fn entities(&mut self, policy: &Policy) {
        let mut seen: Vec<EntityUid> = policy.entity_literals();
        seen.sort();
        seen.dedup();
        for uid in seen {
            let id: &str = uid.id().as_ref();
            match uid.type_name().to_string().as_str() {
                "Action" if !self.schema.knows(id) => {
                    let hint = meant(self.schema.nearest_action(id));
                    self.error("unknown_action", id, format!("`{uid}` is no action of the services{hint}"));
                }
                "Resource" => self.resource(id),
                "Agent" if id.parse::<AgentName>().is_err() => self.name(&uid, "no agent has such a name"),
                "User" if id.parse::<Subject>().is_err() => self.name(&uid, "no user is called so"),
                "Group" if id.parse::<Group>().is_err() => self.name(&uid, "no group is called so"),
                "AgentForUser" if !is_agent_for_user(id) => {
                    self.name(&uid, "write the agent and the user, as in `AgentForUser::\"assistant/alice\"`");
                }
                _ => {}
            }
        }
    }

    fn name(&mut self, uid: &EntityUid, problem: &str) {
        self.error("impossible_name", uid.id().as_ref(), format!("`{uid}`: {problem}"));
    }

    fn resource(&mut self, id: &str) {
        let Some((service, path)) = id.split_once(':') else {
            return self.error(
                "impossible_name",
                id,
                format!("`Resource::\"{id}\"`: write the service and the path, as in `github:repos/acme/web`, or `github:/` for all"),
            );
        };
        let known = service.parse::<ServiceName>().is_ok_and(|name| self.schema.services().any(|known| *known == name));
        if !known {
            let hint = meant(nearest(service, self.schema.services().map(ServiceName::as_str)));
            return self.error(
                "unknown_service",
                id,
                format!("`{service}` in `Resource::\"{id}\"` is no service{hint}"),
            );
        }
        if let Err(error) = path.parse::<Path>() {
            self.error("impossible_name", id, format!("no request is for `Resource::\"{id}\"`: {error}"));
        }
    }

    /// Scopes that are well formed and match no call.
    fn scope(&mut self, policy: &Policy) {
        if let ActionConstraint::Eq(uid) = policy.action_constraint() {
            let id: &str = uid.id().as_ref();
            if !self.schema.is_done(id) {
                let message = format!("no request is exactly `{id}`, which is a group: write `action in {uid}`");
                self.say(Severity::Warning, "never_matches", id, message);
            }
        }
        let (ResourceConstraint::In(resource) | ResourceConstraint::Eq(resource)) = policy.resource_constraint() else {
            return;
        };
        let service = |id: &str| id.split_once(':').map(|(service, _)| service.to_owned());
        let own = service(resource.id().as_ref());
        let actions = scope_actions(policy).unwrap_or_default();
        // `reads` and the like are of every service.
        if !actions.is_empty() && actions.iter().all(|id| service(id).is_some() && service(id) != own) {
            let message = format!("its actions are none of the service of `{resource}`, so it can never match");
            self.say(Severity::Warning, "never_matches", resource.id().as_ref(), message);
        }
    }

    /// What the conditions read from the context.
    fn attributes(&mut self, policy: &Policy) {
        let scope = scope_actions(policy);
        let in_scope = |action: &&str| {
            scope.as_ref().is_none_or(|groups| groups.iter().any(|group| self.schema.is_in(action, group)))
        };
        let actions: Vec<&str> = self.schema.actions().filter(in_scope).collect();
        let mut unknown: Vec<(String, String)> = Vec::new();
        for condition in conditions(policy) {
            each(&condition, &mut |expression| {
                if let Some(problem) = in_context(expression).and_then(|path| self.unknown(&path, &actions)) {
                    unknown.push(problem);
                }
            });
        }
        unknown.sort();
        unknown.dedup();
        for (word, message) in unknown {
            self.error("unknown_attribute", &word, message);
        }
    }

    /// The name on `path` that does not exist, and what to say about it.
    fn unknown(&self, path: &[&str], actions: &[&str]) -> Option<(String, String)> {
        let [first, rest @ ..] = path else { return None };
        let context = self.schema.context();
        if !context.contains(first) {
            let hint = meant(nearest(first, context.iter().copied()));
            return Some(((*first).to_owned(), format!("`context.{first}` does not exist{hint}")));
        }
        let second = rest.first()?;
        let members = self.schema.members(first, actions)?;
        if members.contains(second) {
            return None;
        }
        let problem = match *first {
            "arguments" => format!("no action that it is about has the argument `{second}`"),
            "session" => format!("`{second}` is no claim that an identity provider's settings name"),
            "used" => format!("`{second}` is no limit of this set"),
            _ => format!("`context.{first}.{second}` does not exist"),
        };
        let hint = match nearest(second, members.iter().copied()) {
            Some(found) => meant(Some(found)),
            None if members.is_empty() => String::new(),
            None => format!(": there is {}", listed(members.iter().copied())),
        };
        Some(((*second).to_owned(), format!("{problem}{hint}")))
    }
}

fn is_agent_for_user(id: &str) -> bool {
    id.split_once('/')
        .is_some_and(|(agent, user)| agent.parse::<AgentName>().is_ok() && user.parse::<Subject>().is_ok())
}

fn meant(found: Option<&str>) -> String {
    found.map(|found| format!(": did you mean `{found}`?")).unwrap_or_default()
}

/// At most eight of them.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(8).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
