//! Why a set decides as it does: each policy in play, what it asks, and which part of that failed.
//!
//! A question may have gaps, as one has that is made from an audit record: what reads a gap is unknown, not false.

use cedar_policy::{
    Authorizer, Effect, Entities, Expression, Policy as Cedar, PolicySet as CedarSet, Request, eval_expression,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::id::PolicyName;
use crate::policy::rules::engine::Rules;
use crate::policy::rules::expression::{all_that_hold, each, in_context, quoted, scope, written};
use crate::policy::rules::needs::Needs;
use crate::policy::rules::question::{Moment, Question};
use crate::policy::rules::set::{Policy, Standing};

/// What of a question is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Of the context: `["session"]`, `["arguments", "to"]`.
    pub context: Vec<Vec<Box<str>>>,
    /// In which groups the user is.
    pub groups: bool,
}

/// What a set says to a question, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What is decided.
    pub decision: Decided,
    /// The policies that decide it.
    pub by: Vec<PolicyName>,
    /// Every policy, in the order of the text.
    pub policies: Vec<Looked>,
}

/// What a set says, from the least to the most that stands against a request which does several things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// It is allowed.
    Allow,
    /// With a person's approval.
    Approval,
    /// It depends on what is not known.
    Unknown,
    /// It is denied.
    Deny,
}

/// One policy, looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// Its `@id`.
    pub policy: PolicyName,
    /// The line of the text in which it begins.
    pub line: usize,
    /// Whether it forbids.
    pub forbids: bool,
    /// Whether it is only recorded.
    pub shadow: bool,
    /// Whose approval it asks for.
    pub approval: Option<Box<str>>,
    /// Whether it matches.
    pub outcome: Outcome,
    /// Everything that it asks, up to the first part that fails.
    pub parts: Vec<Part>,
}

/// One thing that a policy asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// As it is written.
    pub text: String,
    /// Whether it holds.
    pub outcome: Outcome,
    /// What it reads, and what that is.
    pub values: Vec<(String, String)>,
}

/// Whether something holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It does.
    Holds,
    /// It does not.
    Fails,
    /// It depends on what is not known.
    Unknown,
    /// It cannot be known before there is a call: at issuance it hinders nothing.
    Open,
    /// It could not be evaluated.
    Errs(String),
}

/// A question in Cedar's terms.
struct Asked<'a> {
    request: Request,
    entities: Entities,
    gaps: &'a Gaps,
}

/// Looks at every policy of `rules` for `question`.
pub fn explain(rules: &Rules, question: &Question<'_>, gaps: &Gaps) -> Explanation {
    let zone = rules.set().zone();
    let asked = question
        .seen(Needs::ALL, zone)
        .and_then(|seen| Ok(Asked { request: seen.request()?, entities: seen.hierarchy()?, gaps }));
    let issuing = matches!(question.moment, Moment::Issuing);
    let policies: Vec<Looked> = match &asked {
        Ok(asked) => rules.set().policies().iter().map(|policy| asked.look(policy, issuing)).collect(),
        Err(error) => {
            let unasked = |policy: &Policy| Looked::of(policy, Outcome::Errs(error.to_string()), Vec::new());
            rules.set().policies().iter().map(unasked).collect()
        }
    };
    let (decision, by) = decided(&policies);
    Explanation { decision, by, policies }
}

/// A forbid wins, a policy that errs denies, and nothing is allowed that no permit allows. What is not known counts as either.
fn decided(policies: &[Looked]) -> (Decided, Vec<PolicyName>) {
    let counting = || policies.iter().filter(|looked| !looked.shadow);
    let named = |wanted: &dyn Fn(&Looked) -> bool| -> Vec<PolicyName> {
        counting().filter(|looked| wanted(looked)).map(|looked| looked.policy.clone()).collect()
    };
    let matches = |looked: &Looked| match looked.outcome {
        Outcome::Holds => true,
        Outcome::Open => !looked.forbids,
        _ => false,
    };
    let forbids = named(&|looked| looked.forbids && matches(looked));
    let erring = named(&|looked| matches!(looked.outcome, Outcome::Errs(_)));
    let unknown = |forbids: bool| named(&|looked| looked.forbids == forbids && looked.outcome == Outcome::Unknown);
    let free = named(&|looked| !looked.forbids && looked.approval.is_none() && matches(looked));
    let held = named(&|looked| !looked.forbids && looked.approval.is_some() && matches(looked));
    let (may_forbid, may_permit) = (unknown(true), unknown(false));
    if !forbids.is_empty() {
        return (Decided::Deny, forbids);
    }
    if !erring.is_empty() {
        return (Decided::Deny, erring);
    }
    match (free.is_empty(), held.is_empty()) {
        (true, true) if may_permit.is_empty() => (Decided::Deny, Vec::new()),
        (false, _) if may_forbid.is_empty() => (Decided::Allow, free),
        (true, false) if may_forbid.is_empty() && may_permit.is_empty() => (Decided::Approval, held),
        _ => (Decided::Unknown, may_forbid.into_iter().chain(may_permit).collect()),
    }
}

impl Looked {
    fn of(policy: &Policy, outcome: Outcome, parts: Vec<Part>) -> Self {
        Self {
            policy: policy.name.clone(),
            line: policy.line,
            forbids: policy.cedar.effect() == Effect::Forbid,
            shadow: matches!(policy.standing, Standing::Shadow(_)),
            approval: policy.approval.clone(),
            outcome,
            parts,
        }
    }
}

impl Asked<'_> {
    fn look(&self, policy: &Policy, issuing: bool) -> Looked {
        let mut parts = Vec::new();
        for expression in scope(&policy.cedar) {
            let part = self.part(&expression);
            let outcome = part.outcome.clone();
            parts.push(part);
            if outcome != Outcome::Holds && outcome != Outcome::Unknown {
                return Looked::of(policy, outcome, parts);
            }
        }
        let is_open = issuing && policy.cedar.to_json().is_ok_and(|json| Needs::of(&json).is_open_at_issuance());
        for expression in all_that_hold(&policy.cedar) {
            if is_open {
                parts.push(Part { text: written(&expression), outcome: Outcome::Open, values: Vec::new() });
                continue;
            }
            let part = self.part(&expression);
            let outcome = part.outcome.clone();
            parts.push(part);
            if !matches!(outcome, Outcome::Holds | Outcome::Unknown) {
                break;
            }
        }
        let outcome = whole(&parts);
        Looked::of(policy, outcome, parts)
    }

    fn part(&self, expression: &Value) -> Part {
        let outcome = if self.reads_gap(expression) { Outcome::Unknown } else { self.holds(expression) };
        Part { text: written(expression), outcome, values: self.values(expression) }
    }

    fn reads_gap(&self, expression: &Value) -> bool {
        let mut reads = false;
        each(expression, &mut |inner| {
            let path = in_context(inner).unwrap_or_default();
            reads |= self
                .gaps
                .context
                .iter()
                .any(|gap| path.len() >= gap.len() && gap.iter().zip(&path).all(|(gap, name)| **gap == **name));
        });
        // A user's groups stand in no other part of a question.
        reads || self.gaps.groups && expression.to_string().contains(r#""type":"Group""#)
    }

    /// Asks Cedar, by a policy of this one condition.
    fn holds(&self, expression: &Value) -> Outcome {
        let all = json!({ "op": "All" });
        let policy = json!({
            "effect": "permit", "principal": all, "action": all, "resource": all,
            "conditions": [{ "kind": "when", "body": expression }],
        });
        let set = Cedar::from_json(None, policy)
            .map_err(|error| error.to_string())
            .and_then(|policy| CedarSet::from_policies([policy]).map_err(|error| error.to_string()));
        let set = match set {
            Ok(set) => set,
            Err(error) => return Outcome::Errs(error),
        };
        let response = Authorizer::new().is_authorized(&self.request, &set, &self.entities);
        match response.diagnostics().errors().next() {
            Some(cedar_policy::AuthorizationError::PolicyEvaluationError(error)) => {
                Outcome::Errs(error.inner().to_string())
            }
            None if response.decision() == cedar_policy::Decision::Allow => Outcome::Holds,
            None => Outcome::Fails,
        }
    }

    /// What an expression reads from the context, and what principal, action and resource are where it names them.
    fn values(&self, expression: &Value) -> Vec<(String, String)> {
        let mut names: Vec<(String, String)> = Vec::new();
        each(expression, &mut |inner| {
            let named = match in_context(inner) {
                Some(path) if !path.is_empty() => Some(("context", path)),
                Some(_) => None,
                None => inner["Var"].as_str().map(|variable| (variable, Vec::new())),
            };
            if let Some((root, path)) = named {
                let read = path.iter().fold(root.to_owned(), |text, name| format!("{text}[{}]", quoted(name)));
                let shown = path.iter().fold(root.to_owned(), |text, name| format!("{text}.{name}"));
                // `context.arguments` is read on the way to `context.arguments.amount`.
                if !names.iter().any(|(known, _)| *known == shown || known.starts_with(&format!("{shown}."))) {
                    names.push((shown, read));
                }
            }
        });
        names.into_iter().map(|(shown, read)| (shown, self.value(&read))).collect()
    }

    fn value(&self, text: &str) -> String {
        let Ok(expression) = text.parse::<Expression>() else { return String::new() };
        match eval_expression(&self.request, &self.entities, &expression) {
            Ok(value) => value.to_string(),
            Err(_) => "absent".to_owned(),
        }
    }
}

/// Whether all parts hold.
fn whole(parts: &[Part]) -> Outcome {
    let first = |wanted: &dyn Fn(&Outcome) -> bool| parts.iter().map(|part| &part.outcome).find(|part| wanted(part));
    // After something unknown a failure still decides; an error does not, for it may not be reached.
    match first(&|outcome| matches!(outcome, Outcome::Fails)) {
        Some(outcome) => outcome.clone(),
        None => first(&|outcome| *outcome == Outcome::Unknown)
            .or_else(|| first(&|outcome| *outcome != Outcome::Holds))
            .cloned()
            .unwrap_or(Outcome::Holds),
    }
}

#[cfg(test)]
mod tests;
