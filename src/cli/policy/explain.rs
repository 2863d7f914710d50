//! `writ policy explain`: why something is allowed or denied.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::source::Source;
use super::{Known, json_or_text, rules};
use crate::audit::{Decision, Event, Record};
use crate::cli::Context;
use crate::cli::failure::{Failure, REFUSED};
use crate::cli::output::{bad, doubtful, faint, good, plain_line, strong};
use crate::cli::remote::Remote;
use crate::cli::request::encoded;
use crate::clock::Timestamp;
use crate::policy::rules::cases::{Situation, Written};
use crate::policy::rules::explain::{Decided, Explanation, Looked, Outcome};
use crate::policy::rules::replay::recorded;
use crate::policy::rules::{Schema, Type};

/// `writ policy explain`
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Documents in TOML, Cedar files, or folders of them. Without one, the set in force at the authority.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Ask about a recorded call, by the request's id that its answer carried. What the record lacks is unknown.
    #[arg(long, value_name = "ID", conflicts_with_all = ["agent", "action"])]
    record: Option<String>,
    /// The agent.
    #[arg(long, value_name = "NAME", required_unless_present = "record")]
    agent: Option<String>,
    /// The user it acts for.
    #[arg(long)]
    user: Option<String>,
    /// A group of the user; may be repeated.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// The action, as `github:issues/read`.
    #[arg(long, value_name = "SERVICE:ACTION", required_unless_present = "record")]
    action: Option<String>,
    /// The resource, as `repos/acme/web`.
    #[arg(long, value_name = "PATH")]
    resource: Option<String>,
    /// An argument of the request, as `amount=500` or `to=["a@b.com"]`; may be repeated.
    #[arg(long = "argument", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    /// A claim of the login, as `amr=["mfa"]`; may be repeated.
    #[arg(long = "session", value_name = "NAME=VALUE")]
    session: Vec<String>,
    /// How much of a limit is used, as `refunds=3`; may be repeated.
    #[arg(long = "used", value_name = "NAME=VALUE")]
    used: Vec<String>,
    /// The HTTP method.
    #[arg(long)]
    method: Option<String>,
    /// Where the request comes from.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// When: RFC 3339; now without it.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// To whom the writ was handed on; may be repeated.
    #[arg(long, value_name = "NAME")]
    via: Vec<String>,
    /// A writ is to be issued, and no call to be made.
    #[arg(long)]
    issuing: bool,
    #[command(flatten)]
    known: Known,
}

impl ExplainArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let source = Source::read_or_stored(&self.files, &self.known.operator).await?;
        let schema = self.known.schema(Some(&source)).await?;
        let rules = rules(&source, &schema)?;
        let asked: Vec<Situation> = match &self.record {
            Some(id) => of_record(&self.known.operator.open()?, id, &schema).await?,
            None => vec![self.written(&schema)?.read(&schema, context.now())?],
        };
        let explanations: Vec<Explanation> = asked.iter().map(|asked| asked.explained(&rules)).collect();
        context.out.result(&explanations, || explanations.iter().map(told).collect::<Vec<_>>().join("\n\n"))?;
        let is_allowed = explanations.iter().all(|found| found.decision == Decided::Allow);
        if is_allowed { Ok(()) } else { Err(Failure::silent(REFUSED)) }
    }

    fn written(&self, schema: &Schema) -> Result<Written, Failure> {
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let list = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let action = self.action.clone().unwrap_or_default();
        let kinds: Vec<(&str, Type)> = schema.arguments(&action).chain(schema.limits()).collect();
        let pairs = |given: &[String]| {
            let pair = |text: &String| {
                let (name, value) = text
                    .split_once('=')
                    .ok_or_else(|| Failure::usage(format!("`{}`: write it as `name=value`", plain_line(text))))?;
                let kind = kinds.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
                let value = match kind {
                    Some(Type::Text | Type::Decimal | Type::Time) => Value::String(value.to_owned()),
                    _ => json_or_text(value),
                };
                Ok::<(Box<str>, Value), Failure>((name.into(), value))
            };
            given.iter().map(pair).collect::<Result<BTreeMap<Box<str>, Value>, Failure>>()
        };
        Ok(Written {
            agent: self.agent.clone().unwrap_or_default().into(),
            user: text(&self.user),
            groups: list(&self.groups),
            session: pairs(&self.session)?,
            resource: text(&self.resource),
            arguments: pairs(&self.arguments)?,
            method: text(&self.method),
            source: self.source,
            at: text(&self.at),
            via: list(&self.via),
            used: pairs(&self.used)?,
            issuing: self.issuing,
            action: action.as_str().into(),
        })
    }
}

/// The questions of a recorded call.
async fn of_record(remote: &Remote, id: &str, schema: &Schema) -> Result<Vec<Situation>, Failure> {
    #[derive(serde::Deserialize)]
    struct Positioned {
        record: Record,
    }
    let records: Vec<Positioned> =
        remote.fetch(&format!("/v1/audit?{}", encoded(&[("request", id.to_owned())]))).await?;
    let found = records.iter().find_map(|positioned| decision(&positioned.record));
    let (at, decision) = found.ok_or_else(|| {
        Failure::new(format!(
            "no decision is recorded for the request `{}`: an edge ships within a second",
            plain_line(id)
        ))
    })?;
    let asked = recorded(&decision, at, schema);
    if asked.is_empty() {
        return Err(Failure::new(format!("the call was denied before policies were asked: {}", decision.reason)));
    }
    Ok(asked)
}

/// The decision that a record holds, and when it fell.
pub(super) fn decision(record: &Record) -> Option<(Timestamp, Box<Decision>)> {
    match serde_json::from_str(record.event.get()) {
        Ok(Event::Decision(decision)) => Some((record.at, decision)),
        _ => None,
    }
}

/// An explanation, for a person: the policies that matter first.
pub(super) fn told(found: &Explanation) -> String {
    let names = found.by.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let verdict = match (found.decision, found.by.is_empty()) {
        (Decided::Allow, _) => format!("{} by {names}", good("allowed")),
        (Decided::Approval, _) => format!("{} by {names}", doubtful("allowed with a person's approval")),
        (Decided::Deny, false) => format!("{} by {names}", bad("denied")),
        (Decided::Deny, true) => format!("{}: no policy permits it", bad("denied")),
        (Decided::Unknown, _) => format!("{}: what {names} ask is not known", doubtful("unknown")),
    };
    let mut lines = vec![format!("  {verdict}")];
    let in_play = |looked: &&Looked| looked.parts.len() > 1 || matches!(looked.outcome, Outcome::Holds | Outcome::Open);
    let (near, far): (Vec<&Looked>, Vec<&Looked>) = found.policies.iter().partition(in_play);
    lines.extend(near.into_iter().chain(far).map(looked_told));
    lines.join("\n")
}

fn looked_told(looked: &Looked) -> String {
    let effect = if looked.forbids { "forbid" } else { "permit" };
    let shadow = if looked.shadow { " (shadow: only recorded)" } else { "" };
    let approval = looked.approval.as_ref().map(|who| format!(" (asks {})", plain_line(who))).unwrap_or_default();
    let mut lines = vec![format!(
        "  {} {effect} {}{approval}{shadow}, line {}",
        outcome_told(&looked.outcome, true),
        strong(&looked.policy),
        looked.line
    )];
    for part in &looked.parts {
        lines.push(format!("      {} {}", outcome_told(&part.outcome, false), plain_line(&part.text)));
        // What the scope compares is named in it.
        for (name, value) in part.values.iter().filter(|(name, _)| name.contains('.') || part.outcome != Outcome::Holds)
        {
            lines.push(faint(format!("            {} = {}", plain_line(name), plain_line(value))));
        }
    }
    lines.join("\n")
}

fn outcome_told(outcome: &Outcome, whole: bool) -> String {
    match (outcome, whole) {
        (Outcome::Holds, true) => good("matches"),
        (Outcome::Holds, false) => good("holds  "),
        (Outcome::Fails, true) => faint("no match"),
        (Outcome::Fails, false) => bad("fails  "),
        (Outcome::Unknown, _) => doubtful("unknown"),
        (Outcome::Open, _) => doubtful("open until a call"),
        (Outcome::Errs(why), _) => format!("{} ({})", bad("error"), plain_line(why)),
    }
}
