//! Questions as people write them down: the cases beside a policy, and those of `writ policy explain`.

use core::net::IpAddr;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::clock::Timestamp;
use crate::id::{AgentName, Group, PolicyName, ServiceName, Subject, shown};
use crate::policy::rules::engine::Rules;
use crate::policy::rules::explain::{Decided, Explanation, Gaps, explain};
use crate::policy::rules::nearest::nearest;
use crate::policy::rules::question::{Call, Holders, Moment, Question, Who};
use crate::policy::rules::schema::{Schema, Type};
use crate::token::claims::{Claim, ClaimValue};
use crate::token::{Argument, Path, Value};

/// A question, and what should be answered. `spec/policy.md` has an example.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// What it shows, in a few words.
    pub name: Box<str>,
    /// Who asks, for what.
    #[serde(flatten)]
    pub question: Written,
    /// What is to be decided.
    pub expect: Decided,
    /// The policies that are to decide it, where that matters: all of them.
    #[serde(default)]
    pub by: Option<Vec<PolicyName>>,
}

/// A question as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Written {
    /// The agent.
    pub agent: Box<str>,
    /// The user it acts for.
    #[serde(default)]
    pub user: Option<Box<str>>,
    /// The user's groups.
    #[serde(default)]
    pub groups: Vec<Box<str>>,
    /// What the identity provider says of the user's login.
    #[serde(default)]
    pub session: BTreeMap<Box<str>, Json>,
    /// The action, as `github:issues/read`.
    pub action: Box<str>,
    /// The resource below that service, as `repos/acme/web`; everything without one.
    #[serde(default)]
    pub resource: Option<Box<str>>,
    /// The request's arguments. Decimals and times are written as texts.
    #[serde(default)]
    pub arguments: BTreeMap<Box<str>, Json>,
    /// The HTTP method.
    #[serde(default)]
    pub method: Option<Box<str>>,
    /// Where it comes from.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// When: RFC 3339. Now, without one.
    #[serde(default)]
    pub at: Option<Box<str>>,
    /// To whom the writ was handed on, one after the other.
    #[serde(default)]
    pub via: Vec<Box<str>>,
    /// How much of each limit is used.
    #[serde(default)]
    pub used: BTreeMap<Box<str>, Json>,
    /// Whether a writ is to be issued, and no call to be made.
    #[serde(default)]
    pub issuing: bool,
}

/// A question, checked: it owns what a [`Question`] borrows.
#[derive(Clone, Debug)]
pub struct Situation {
    pub(super) agent: AgentName,
    pub(super) user: Option<Subject>,
    pub(super) groups: Vec<Group>,
    pub(super) claims: Vec<Claim>,
    pub(super) service: ServiceName,
    pub(super) action: Path,
    pub(super) resource: Path,
    pub(super) arguments: Vec<Argument>,
    pub(super) method: Box<str>,
    pub(super) source: Option<IpAddr>,
    pub(super) now: Timestamp,
    pub(super) depth: usize,
    pub(super) delegator: Option<Box<str>>,
    pub(super) names: Vec<String>,
    pub(super) used: Vec<(Box<str>, Value)>,
    pub(super) issuing: bool,
    pub(super) gaps: Gaps,
}

/// A question that cannot be asked: what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadQuestion(pub String);

/// The cases of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(default)]
    case: Vec<toml::Table>,
}

/// The most cases of a file.
pub const CASES_MAX: usize = 1000;

/// Reads a file of cases.
pub fn cases(text: &str) -> Result<Vec<Case>, BadQuestion> {
    let told = |error: toml::de::Error| BadQuestion(error.message().to_owned());
    let file: Cases = toml::from_str(text).map_err(told)?;
    if file.case.len() > CASES_MAX {
        return Err(BadQuestion(format!("a file has at most {CASES_MAX} cases")));
    }
    file.case.into_iter().map(case).collect()
}

/// Reads one case. `deny_unknown_fields` does not work beside `flatten`, so the names are compared here.
fn case(table: toml::Table) -> Result<Case, BadQuestion> {
    const NAMES: [&str; 16] = [
        "name",
        "agent",
        "user",
        "groups",
        "session",
        "action",
        "resource",
        "arguments",
        "method",
        "source",
        "at",
        "via",
        "used",
        "issuing",
        "expect",
        "by",
    ];
    let name = table.get("name").and_then(toml::Value::as_str).unwrap_or("without a name").to_owned();
    let of_case = |problem: String| BadQuestion(format!("case `{}`: {problem}", shown(&name)));
    if let Some(unknown) = table.keys().find(|key| !NAMES.contains(&key.as_str())) {
        let hint = nearest(unknown, NAMES).map(|name| format!(": did you mean `{name}`?")).unwrap_or_default();
        return Err(of_case(format!("`{}` is no part of a case{hint}", shown(unknown))));
    }
    Case::deserialize(toml::Value::Table(table)).map_err(|error| of_case(error.message().to_owned()))
}

impl Written {
    /// Checks the question against the catalog: only what a request can do and carry is asked.
    pub fn read(&self, schema: &Schema, now: Timestamp) -> Result<Situation, BadQuestion> {
        let (service, action) = self
            .action
            .split_once(':')
            .ok_or_else(|| BadQuestion(format!("`{}` is no action: write `service:action`", shown(&self.action))))?;
        let is_known = if self.issuing { schema.knows(&self.action) } else { schema.is_done(&self.action) };
        if !is_known {
            let hint = schema.nearest_action(&self.action);
            let hint = hint.map(|name| format!(": did you mean `{name}`?")).unwrap_or_default();
            return Err(BadQuestion(format!("no request does `{}`{hint}", shown(&self.action))));
        }
        let arguments = self.arguments.iter().map(|(name, value)| {
            let value = typed(schema.arguments(&self.action), name, value, "argument")?;
            Ok::<_, BadQuestion>(Argument { name: name.as_ref().into(), value })
        });
        let used = self.used.iter().map(|(name, so_far)| {
            let value = typed(schema.limits(), name, so_far, "limit")?;
            Ok::<_, BadQuestion>((name.clone(), value))
        });
        let resource = self.resource.as_deref().unwrap_or("/");
        let resource = resource.strip_prefix(&format!("{service}:")).unwrap_or(resource);
        let depth = self.via.len();
        Ok(Situation {
            agent: parsed(&self.agent)?,
            user: self.user.as_deref().map(parsed).transpose()?,
            groups: self.groups.iter().map(|group| parsed(group)).collect::<Result<_, _>>()?,
            claims: self.session.iter().map(|(name, value)| claim(name, value)).collect::<Result<_, _>>()?,
            service: parsed(service)?,
            action: parsed(action)?,
            resource: parsed(resource)?,
            arguments: arguments.collect::<Result<_, _>>()?,
            method: self.method.clone().unwrap_or_else(|| "GET".into()),
            source: self.source,
            now: self.at.as_deref().map(moment).transpose()?.unwrap_or(now),
            depth,
            delegator: match depth {
                0 => None,
                1 => Some(self.agent.clone()),
                hops => self.via.get(hops - 2).cloned(),
            },
            names: self.via.iter().map(ToString::to_string).collect(),
            used: used.collect::<Result<_, _>>()?,
            issuing: self.issuing,
            gaps: Gaps::default(),
        })
    }
}

impl Situation {
    /// What `rules` say, and why.
    pub fn explained(&self, rules: &Rules) -> Explanation {
        self.with_question(|question| explain(rules, question, &self.gaps))
    }

    /// The question in the terms of [`Rules::decide`].
    pub(super) fn with_question<T>(&self, ask: impl FnOnce(&Question<'_>) -> T) -> T {
        let call = Call { method: &self.method, source: self.source, arguments: &self.arguments, used: &self.used };
        let names = Holders::Named { depth: self.depth, delegator: self.delegator.as_deref(), names: &self.names };
        let question = Question {
            who: Who {
                agent: &self.agent,
                user: self.user.as_ref(),
                groups: &self.groups,
                claims: &self.claims,
                holders: names,
            },
            service: &self.service,
            action: &self.action,
            resource: &self.resource,
            now: self.now,
            moment: if self.issuing { Moment::Issuing } else { Moment::Call(call) },
        };
        ask(&question)
    }
}

/// What came of a case.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Tried {
    /// The case.
    pub name: Box<str>,
    /// What was expected.
    pub expected: Decided,
    /// Whether all is as expected.
    pub passed: bool,
    /// What is not, in a sentence.
    pub problem: Option<String>,
    /// What was decided and why; nothing where the case cannot be asked.
    pub explanation: Option<Explanation>,
}

impl Case {
    /// Asks `rules` and compares.
    pub fn try_with(&self, rules: &Rules, schema: &Schema, now: Timestamp) -> Tried {
        let (problem, explanation) = match self.question.read(schema, now) {
            Err(error) => (Some(error.0), None),
            Ok(situation) => {
                let explanation = situation.explained(rules);
                (self.differs(&explanation), Some(explanation))
            }
        };
        Tried { name: self.name.clone(), expected: self.expect, passed: problem.is_none(), problem, explanation }
    }

    fn differs(&self, found: &Explanation) -> Option<String> {
        if found.decision != self.expect {
            return Some(format!("expected `{}`, and it is `{}`", self.expect.as_str(), found.decision.as_str()));
        }
        let mut by = self.by.clone()?;
        let mut decided = found.by.clone();
        by.sort();
        decided.sort();
        let told = |names: &[PolicyName]| match names {
            [] => "no policy".to_owned(),
            names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        (by != decided).then(|| format!("expected by {}, and it is by {}", told(&by), told(&decided)))
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, BadQuestion> {
    text.parse().map_err(|error: T::Err| BadQuestion(format!("`{}`: {error}", shown(text))))
}

fn moment(text: &str) -> Result<Timestamp, BadQuestion> {
    let wrong = |_| BadQuestion(format!("`at`: `{}` is no time: write it as `2026-12-01T09:00:00Z`", shown(text)));
    let time: jiff::Timestamp = text.parse().map_err(wrong)?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

fn claim(name: &str, value: &Json) -> Result<Claim, BadQuestion> {
    let wrong = || {
        BadQuestion(format!("the session's `{}` is a text, a list of texts, a boolean or a whole number", shown(name)))
    };
    let value: ClaimValue = serde_json::from_value(value.clone()).map_err(|_| wrong())?;
    let value = match value {
        ClaimValue::Strings(texts) => ClaimValue::strings(texts),
        other => other,
    };
    Ok(Claim { name: parsed(name)?, value })
}

/// A value of the type that `names` give to `name`.
fn typed<'a>(
    names: impl Iterator<Item = (&'a str, Type)>,
    name: &str,
    value: &Json,
    what: &str,
) -> Result<Value, BadQuestion> {
    let names: Vec<(&str, Type)> = names.collect();
    let Some((_, kind)) = names.iter().find(|(known, _)| *known == name) else {
        let hint = nearest(name, names.iter().map(|(name, _)| *name));
        let hint = hint.map(|name| format!(": did you mean `{name}`?")).unwrap_or_default();
        return Err(BadQuestion(format!("there is no {what} `{}`{hint}", shown(name))));
    };
    let wrong = || BadQuestion(format!("the {what} `{name}` must be {}", kind.told()));
    let json = of_type(*kind, value).ok_or_else(wrong)?;
    serde_json::from_value(json).map_err(|_| wrong())
}

/// The JSON form of [`Value`], where decimals and times are marked.
fn of_type(kind: Type, value: &Json) -> Option<Json> {
    match (kind, value) {
        (Type::Boolean, Json::Bool(_)) | (Type::Text, Json::String(_)) => Some(value.clone()),
        (Type::Integer, Json::Number(number)) if number.is_i64() => Some(value.clone()),
        (Type::Decimal, Json::String(text)) => Some(json!({ "decimal": text })),
        (Type::Time, Json::String(text)) => Some(json!({ "time": text })),
        (Type::Set(element), Json::Array(items)) => {
            items.iter().map(|item| of_type(*element, item)).collect::<Option<Vec<_>>>().map(Json::Array)
        }
        _ => None,
    }
}

impl Decided {
    /// Its text form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Approval => "approval",
            Self::Deny => "deny",
            Self::Unknown => "unknown",
        }
    }
}
