//! `writ policy diff OLD NEW --against audit`: which recorded calls would come out differently.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::explain::decision;
use super::source::Source;
use super::{Known, rules};
use crate::audit::{Decision, Record};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::read_bytes;
use crate::cli::output::{bad, doubtful, good, plain_line, strong};
use crate::cli::request::encoded;
use crate::cli::time::{moment, parse_past};
use crate::clock::Timestamp;
use crate::id::LimitName;
use crate::policy::limit::{Limit, Limits};
use crate::policy::rules::explain::Decided;
use crate::policy::rules::replay::recorded;
use crate::policy::rules::{Rules, Schema};

/// `writ policy diff`
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The policies as they are: a document, a Cedar file or a folder; or `stored`, for the set in force at the authority.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The policies as they would be.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// `audit` for what the authority has recorded, or a file that `writ audit export` wrote.
    #[arg(long, value_name = "audit|FILE", default_value = "audit")]
    against: PathBuf,
    /// Only calls from so long ago on, or from this moment on.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    since: String,
    #[command(flatten)]
    known: Known,
}

/// The most records that are read.
const RECORDS_MAX: usize = 100_000;
/// The longest export that is read.
const EXPORT_BYTES_MAX: usize = 256 << 20;
const PAGE: usize = 1000;

/// Calls of one kind whose outcome is not the same.
#[derive(Debug, Serialize)]
struct Changed {
    agent: String,
    user: Option<String>,
    operation: String,
    was: Decided,
    is: Decided,
    /// The policies that decide it then.
    by: Vec<String>,
    calls: usize,
    /// The last of them.
    last: String,
    request: String,
}

/// A limit that is not the same.
#[derive(Debug, Serialize)]
struct ChangedLimit {
    limit: LimitName,
    /// What it counted, if it was there.
    was: Option<Limit>,
    /// What it would count, if it stays.
    is: Option<Limit>,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// Calls that policies were asked about.
    calls: usize,
    same: usize,
    changed: Vec<Changed>,
    /// The limits that are not the same.
    limits: Vec<ChangedLimit>,
    /// Calls about which the record does not say enough.
    unknown: usize,
    /// Calls that were denied before policies are asked.
    not_asked: usize,
    /// Whether there are more records than were read.
    cut: bool,
}

impl DiffArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let old = self.source(&self.old).await?;
        let new = self.source(&self.new).await?;
        let limits = limits_changed(&old.document.limit, &new.document.limit);
        let mut schema = self.known.schema(Some(&old)).await?;
        let old = rules(&old, &schema)?;
        schema = self.known.schema(Some(&new)).await?;
        let new = rules(&new, &schema)?;
        let since = parse_past(&self.since, context.now())?;
        let records = if self.against == Path::new("audit") {
            self.recorded(since).await?
        } else {
            exported(&self.against, since)?
        };
        let report = Report { limits, ..compared(&records, &old, &new, &schema) };
        context.out.result(&report, || told(&report))
    }

    async fn source(&self, path: &PathBuf) -> Result<Source, Failure> {
        let files = if path == Path::new("stored") { &[] } else { std::slice::from_ref(path) };
        Source::read_or_stored(files, &self.known.operator).await
    }

    async fn recorded(&self, since: Timestamp) -> Result<Vec<Record>, Failure> {
        #[derive(Deserialize)]
        struct Positioned {
            position: u64,
            record: Record,
        }
        let remote = self.known.operator.open()?;
        let mut records = Vec::new();
        let mut after = None;
        while records.len() < RECORDS_MAX {
            let mut pairs = vec![("since", since.millis().to_string()), ("limit", PAGE.to_string())];
            pairs.extend(after.map(|after: u64| ("after", after.to_string())));
            let page: Vec<Positioned> = remote.fetch(&format!("/v1/audit?{}", encoded(&pairs))).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.position);
            records.extend(page.into_iter().map(|positioned| positioned.record));
        }
        Ok(records)
    }
}

fn exported(path: &Path, since: Timestamp) -> Result<Vec<Record>, Failure> {
    /// A line of an export; others are checkpoints.
    #[derive(Deserialize)]
    struct Line {
        record: Option<Record>,
    }
    let bytes = read_bytes(path, EXPORT_BYTES_MAX)?;
    let mut records = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| Failure::from(error).during(format!("{}:{}", path.display(), number + 1)))?;
        records.extend(line.record.filter(|record| record.at >= since));
    }
    Ok(records)
}

fn limits_changed(old: &Limits, new: &Limits) -> Vec<ChangedLimit> {
    let names: BTreeSet<&LimitName> = old.iter().chain(new).map(Limit::name).collect();
    let change = |name: &LimitName| {
        let (was, is) = (old.named(name), new.named(name));
        (was != is).then(|| ChangedLimit { limit: name.clone(), was: was.cloned(), is: is.cloned() })
    };
    names.into_iter().filter_map(change).collect()
}

fn compared(records: &[Record], old: &Rules, new: &Rules, schema: &Schema) -> Report {
    let mut report = Report { cut: records.len() >= RECORDS_MAX, ..Report::default() };
    let mut changed: BTreeMap<String, Changed> = BTreeMap::new();
    for (at, decision) in records.iter().take(RECORDS_MAX).filter_map(decision) {
        // What the writ itself did not allow, no policy allows.
        let was_asked = *decision.reason == *"allowed"
            || decision.reason.starts_with("policy_")
            || decision.reason.starts_with("approval_");
        let situations = if was_asked { recorded(&decision, at, schema) } else { Vec::new() };
        if situations.is_empty() {
            report.not_asked += 1;
            continue;
        }
        report.calls += 1;
        // A call is denied with any of what it does.
        let of =
            |rules: &Rules| situations.iter().map(|asked| asked.explained(rules)).max_by_key(|found| found.decision);
        let (Some(before), Some(after)) = (of(old), of(new)) else { continue };
        if before.decision == Decided::Unknown || after.decision == Decided::Unknown {
            report.unknown += 1;
        } else if before.decision == after.decision {
            report.same += 1;
        } else {
            let by = after.by.iter().map(ToString::to_string).collect();
            let one = one(&decision, at, before.decision, after.decision, by);
            let key = format!("{:?}", (&one.agent, &one.user, &one.operation, one.was, one.is));
            changed.entry(key).and_modify(|known| known.calls += 1).or_insert(one);
        }
    }
    report.changed = changed.into_values().collect();
    report
}

fn one(decision: &Decision, at: Timestamp, was: Decided, is: Decided, by: Vec<String>) -> Changed {
    let who = decision.who.as_ref();
    let operation = decision.what.as_ref().map(|what| format!("{}:{}:{}", what.service, what.action, what.resource));
    Changed {
        agent: who.map(|who| who.agent.to_string()).unwrap_or_default(),
        user: who.and_then(|who| who.subject.as_ref()).map(ToString::to_string),
        operation: operation.unwrap_or_default(),
        was,
        is,
        by,
        calls: 1,
        last: moment(at),
        request: decision.request.to_string(),
    }
}

fn told(report: &Report) -> String {
    let shown = |decided: Decided| match decided {
        Decided::Allow => good("allow"),
        Decided::Deny => bad("deny"),
        Decided::Approval | Decided::Unknown => doubtful(decided.as_str()),
    };
    let mut lines = Vec::new();
    for Changed { agent, user, operation, was, is, by, calls, last, request } in &report.changed {
        let user = user.as_ref().map(|user| format!(" for {}", plain_line(user))).unwrap_or_default();
        let by = if by.is_empty() { "no policy permits it".to_owned() } else { format!("by {}", by.join(", ")) };
        lines.push(format!(
            "{} -> {}  {}{user}  {}  {calls} calls, one at {last} ({request}); {by}",
            shown(*was),
            shown(*is),
            strong(plain_line(agent)),
            plain_line(operation)
        ));
    }
    for ChangedLimit { limit, was, is } in &report.limits {
        let json = |limit: &Limit| serde_json::to_string(limit).unwrap_or_default();
        let shown = |limit: &Option<Limit>| limit.as_ref().map_or_else(|| "none".to_owned(), json);
        lines.push(format!("limit {}: {} -> {}", strong(limit), shown(was), shown(is)));
    }
    let Report { calls, same, unknown, not_asked, .. } = report;
    let changed: usize = report.changed.iter().map(|changed| changed.calls).sum();
    lines.push(format!("{calls} recorded calls: {changed} come out differently, {same} do not, {unknown} are unknown"));
    if *unknown > 0 {
        lines.push(
            "  a record lacks the user's groups and session, limits, and arguments that are not loggable".to_owned(),
        );
    }
    if *not_asked > 0 {
        lines.push(format!("  {not_asked} more were refused before policies are asked"));
    }
    if report.cut {
        lines.push(doubtful(format!("  there are more: only {RECORDS_MAX} records were read")));
    }
    lines.join("\n")
}
