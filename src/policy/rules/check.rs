//! What is wrong with a set of policies: what Cedar's validator finds, and what it cannot see.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::ffi::DetailedError;
use cedar_policy::{Policy, PolicyId, PolicySet, ValidationError, ValidationMode, ValidationWarning, Validator};
use serde::Serialize;

use crate::id::is_deceptive;
use crate::policy::limit::{Limit, Limits};
use crate::policy::rules::expression::attributes;
use crate::policy::rules::names;
use crate::policy::rules::nearest::nearest;
use crate::policy::rules::schema::Schema;
use crate::policy::rules::set::{self, InvalidSet};

/// Something that its author should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The line of the set's text, from 1.
    pub line: usize,
    /// How bad it is.
    pub severity: Severity,
    /// The policy's id.
    pub policy: Box<str>,
    /// The kind of finding, for scripts.
    pub code: &'static str,
    /// What is wrong and what would be right, in one sentence.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The set is not loaded.
    Error,
    /// It is loaded, and probably not what was meant.
    Warning,
}

/// A policy and the line of the set's text in which it begins.
#[derive(Clone, Debug)]
pub(super) struct Written<'a> {
    pub(super) policy: &'a Policy,
    pub(super) text: String,
    line: usize,
}

const UNCHECKED: &str = "it could not be checked, which is a mistake in writ";

impl Schema {
    /// What is wrong with policies, each given with the line in which it begins: what does not exist, has another type, or
    /// can never match. Sorted by line. A set with an [error](Severity::Error) must not be loaded.
    pub fn validate<'a>(&self, policies: impl IntoIterator<Item = (&'a Policy, usize)>) -> Vec<Finding> {
        let written = |(policy, line): (&'a Policy, usize)| {
            let text = policy.to_cedar().unwrap_or_default();
            (policy.id().clone(), Written { policy, text, line })
        };
        let written: BTreeMap<PolicyId, Written<'a>> = policies.into_iter().map(written).collect();
        let mut findings: Vec<Finding> = written.values().flat_map(|written| names::check(self, written)).collect();
        let mut groups: BTreeMap<(BTreeSet<String>, BTreeSet<String>), Vec<&Written<'a>>> = BTreeMap::new();
        for written in written.values() {
            let actions = written.policy.entity_literals().into_iter();
            let actions = actions.filter(|uid| uid.type_name().basename() == "Action");
            let named = actions.map(|uid| uid.id().unescaped().to_owned()).collect();
            groups.entry((named, attributes(written.policy))).or_default().push(written);
        }
        for ((named, attributes), policies) in groups {
            findings.extend(self.validated(&named, &attributes, &policies, &findings));
        }
        findings.sort();
        findings.dedup();
        findings
    }

    /// What is wrong with the policies of a set, as [`validate`](Self::validate) says it.
    pub fn findings(&self, set: &set::PolicySet) -> Vec<Finding> {
        self.validate(set.policies().iter().map(|policy| (&policy.cedar, policy.line)))
    }

    /// Refuses limits of which one would count nothing, or could never be counted: what it names does not exist.
    pub fn check_limits(&self, limits: &Limits) -> Result<(), InvalidSet> {
        match limits.iter().find_map(|limit| Some((limit.name(), self.amiss(limit)?))) {
            None => Ok(()),
            Some((name, what)) => Err(InvalidSet::whole(format!("limit `{name}`: {what}"))),
        }
    }

    /// What is wrong with a limit.
    fn amiss(&self, limit: &Limit) -> Option<String> {
        let counted: Vec<&str> = match limit.service() {
            None => self.actions().collect(),
            Some(service) => {
                let group = format!("{service}:{}", limit.action());
                let counted: Vec<_> = self.actions().filter(|action| self.is_in(action, &group)).collect();
                if counted.is_empty() {
                    let near = self.nearest_action(&group).map(|near| format!(", did you mean `{near}`?"));
                    return Some(format!("no service does `{group}`{}", near.unwrap_or_default()));
                }
                counted
            }
        };
        let sum = limit.sum()?;
        let arguments = || counted.iter().flat_map(|action| self.arguments(action)).map(|(name, _)| name);
        if arguments().any(|name| name == sum) {
            return None;
        }
        let near = nearest(sum, arguments()).map(|near| format!(", did you mean `{near}`?"));
        Some(format!("no call that it counts has the argument `{}`{}", crate::id::shown(sum), near.unwrap_or_default()))
    }

    /// What Cedar's validator says about policies that name the same, once for each place, without what is said in `known`
    /// with a better suggestion.
    fn validated(
        &self,
        named: &BTreeSet<String>,
        attributes: &BTreeSet<String>,
        policies: &[&Written<'_>],
        known: &[Finding],
    ) -> Vec<Finding> {
        let set = PolicySet::from_policies(policies.iter().map(|written| written.policy.clone()));
        // Neither can fail: the ids were keys of a map, and the schema is ours.
        let (Ok(set), Ok(schema)) = (set, self.cedar_for(named, attributes)) else {
            let unchecked =
                |written: &&Written<'_>| written.finding(Severity::Error, "unchecked", UNCHECKED.to_owned(), None);
            return policies.iter().map(unchecked).collect();
        };
        let written = |id: &PolicyId| policies.iter().find(|written| written.policy.id() == id);
        let result = Validator::new(schema).validate(&set, ValidationMode::Strict);
        let errors = result.validation_errors().filter_map(|error| {
            let finding = written(error.policy_id())?.error(error);
            let has = |code: &str| known.iter().any(|known| known.policy == finding.policy && known.code == code);
            let said = match error {
                ValidationError::UnrecognizedActionId(_) => has("unknown_action"),
                ValidationError::UnsafeAttributeAccess(_) => has("unknown_attribute") || has("unknown_action"),
                _ => false,
            };
            (!said).then_some(finding)
        });
        // The validator tries every action by itself, and finds the same mistake at each.
        let mut once: BTreeMap<_, Finding> = BTreeMap::new();
        let warnings =
            result.validation_warnings().filter_map(|warning| Some(written(warning.policy_id())?.warning(warning)));
        for finding in errors.chain(warnings) {
            let kept =
                once.entry((finding.line, finding.policy.clone(), finding.code)).or_insert_with(|| finding.clone());
            if finding.message < kept.message {
                *kept = finding;
            }
        }
        // What is a mistake never matches either: that is not worth a word.
        let is_wrong = |policy: &str| {
            let all = known.iter().chain(once.values());
            all.filter(|finding| finding.severity == Severity::Error).any(|finding| *finding.policy == *policy)
        };
        let is_told = |finding: &&Finding| finding.severity == Severity::Error || !is_wrong(&finding.policy);
        once.values().filter(is_told).cloned().collect()
    }
}

impl Written<'_> {
    /// The line on which `word` stands first; that of the policy if it does not.
    pub(super) fn line_of(&self, word: &str) -> usize {
        self.line_at(self.text.find(word).unwrap_or(0))
    }

    fn line_at(&self, offset: usize) -> usize {
        self.line + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    fn error(&self, error: &ValidationError) -> Finding {
        let said = DetailedError::from(error);
        let attribute = || said.message.split('`').nth(3).map(|name| format!("context.{name}"));
        let (code, message) = match error {
            // The type checker goes on after an unknown entity type, which is said already.
            ValidationError::UnrecognizedEntityType(_) => ("unknown_type", None),
            ValidationError::UnrecognizedActionId(_) => ("unknown_action", None),
            ValidationError::UnsafeAttributeAccess(_) | ValidationError::UnsafeOptionalAttributeAccess(_) => {
                ("maybe_absent", attribute().as_deref().map(unguarded))
            }
            ValidationError::UnexpectedType(_) | ValidationError::IncompatibleTypes(_) => ("wrong_type", None),
            ValidationError::FunctionArgumentValidation(_) | ValidationError::NonLitExtConstructor(_) => {
                ("wrong_value", None)
            }
            _ => ("invalid", None),
        };
        let message = message.unwrap_or_else(|| sentence(&said));
        self.finding(Severity::Error, code, message, Some(&said))
    }

    fn warning(&self, warning: &ValidationWarning) -> Finding {
        let said = DetailedError::from(warning);
        let (code, message) = match warning {
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_) => {
                ("never_matches", "it can never match: its scope and conditions exclude every request".to_owned())
            }
            _ => ("deceptive_text", sentence(&said)),
        };
        self.finding(Severity::Warning, code, message, Some(&said))
    }

    fn finding(
        &self,
        severity: Severity,
        code: &'static str,
        message: String,
        said: Option<&DetailedError>,
    ) -> Finding {
        let line = said
            .and_then(|said| said.source_locations.first())
            .map_or(self.line, |label| self.line_at(label.loc.start));
        Finding { line, severity, policy: self.policy.id().to_string().into(), code, message }
    }
}

/// What a person reads who forgot to ask whether there is such a value.
fn unguarded(attribute: &str) -> String {
    let (record, name) = attribute.rsplit_once('.').unwrap_or(("context", attribute));
    format!("`{attribute}` may be absent: ask for it first, as in `{record} has {name} && …`")
}

/// Cedar's message and advice as one sentence of ours.
fn sentence(said: &DetailedError) -> String {
    let message = match said.message.strip_prefix("for policy `").and_then(|rest| rest.split_once("`, ")) {
        Some((_, message)) => message,
        None => &said.message,
    };
    let whole = match &said.help {
        Some(help) => format!("{message}: {}", help.trim_end_matches('.')),
        None => message.to_owned(),
    };
    whole.chars().map(|c| if is_deceptive(c) { ' ' } else { c }).collect()
}

/// Whether the set may be loaded.
pub fn is_valid(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity != Severity::Error)
}
