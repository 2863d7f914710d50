//! `writ audit`: what happened, and whether the record of it is whole.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::{Checker, Checkpoint, Head, Record, Report, Source};
use crate::cli::Context;
use crate::cli::failure::{Failure, REFUSED};
use crate::cli::files::read_text;
use crate::cli::operate::{shown, text};
use crate::cli::output::{bad, doubtful, good, strong};
use crate::cli::remote::{OperatorArgs, Remote};
use crate::cli::request::encoded;
use crate::cli::time::parse_past;
use crate::key::PublicKey;

const PAGE: u32 = 1000;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `writ audit …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Show what happened lately, and what happens from now on.
    Tail {
        /// From so long ago: `15m`, `2h`, or a moment.
        #[arg(long, value_name = "TIME", default_value = "1h")]
        since: String,
        /// Stop at the end instead of waiting for more.
        #[arg(long)]
        no_follow: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Find records. Everything that is given must match.
    Search {
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Write every record and checkpoint as JSON lines, for `verify --from` and for keeping elsewhere.
    Export {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Check every chain: nothing changed, removed, added or moved, as far as signed checkpoints vouch. Ends with 1 if not.
    Verify {
        /// Check an export instead of asking the authority; `-` is standard input.
        #[arg(long, value_name = "FILE", requires = "keys")]
        from: Option<PathBuf>,
        /// Whose checkpoints count, `authority=did:key:…` or `edge:NAME=did:key:…`; may be repeated. Without it, those
        /// that the authority names now: note them down to check the authority itself.
        #[arg(long = "key", value_name = "SOURCE=DID", value_parser = parse_known)]
        keys: Vec<(Source, PublicKey)>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// Which records are wanted.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Of one chain: `authority` or `edge:NAME`.
    #[arg(long)]
    source: Option<Source>,
    /// From so long ago, or from this moment on.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until so long ago, or until this moment.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The agent of a decision, or who or what a change was about.
    #[arg(long)]
    agent: Option<String>,
    /// The user of a decision.
    #[arg(long)]
    subject: Option<String>,
    /// The service of a decision.
    #[arg(long)]
    service: Option<String>,
    /// One request, by the id that its answer carried.
    #[arg(long)]
    request: Option<String>,
    /// A block of the writ, by its id.
    #[arg(long)]
    block: Option<String>,
    /// `allowed` or `denied`.
    #[arg(long, value_parser = ["allowed", "denied"])]
    verdict: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE)))]
    limit: u32,
}

fn parse_known(text: &str) -> Result<(Source, PublicKey), String> {
    let (source, key) = text.split_once('=').ok_or("write it as `edge:NAME=did:key:…`")?;
    let source = source.parse().map_err(|error: crate::audit::record::InvalidSource| error.to_string())?;
    Ok((source, key.parse().map_err(|error: crate::key::InvalidKey| error.to_string())?))
}

#[derive(Serialize, Deserialize)]
struct Positioned {
    position: u64,
    record: Record,
}

/// A line of an export.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Record(Record),
    Checkpoint(Checkpoint),
}

impl AuditCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Tail { since, no_follow, operator } => {
                let since = parse_past(&since, context.now())?.millis();
                tail(&context, &operator.open()?, since, !no_follow).await
            }
            Self::Search { filter, operator } => search(&context, &operator.open()?, &filter).await,
            Self::Export { operator } => export(&context, &operator.open()?).await,
            Self::Verify { from: Some(path), keys, .. } => verify_export(&context, &read_text(&path)?, &keys),
            Self::Verify { from: None, keys, operator } => {
                told(&context, &checked_chains(&operator.open()?, keys).await?)
            }
        }
    }
}

/// What follows `after`, from the whole log or a part of it.
async fn page(remote: &Remote, after: Option<u64>, more: &[(&str, String)]) -> Result<Vec<Positioned>, Failure> {
    let mut pairs = more.to_vec();
    pairs.extend(after.map(|after| ("after", after.to_string())));
    if !pairs.iter().any(|(name, _)| *name == "limit") {
        pairs.push(("limit", PAGE.to_string()));
    }
    remote.fetch(&format!("/v1/audit?{}", encoded(&pairs))).await
}

async fn tail(context: &Context, remote: &Remote, since: i64, follow: bool) -> Result<(), Failure> {
    let since = [("since", since.to_string())];
    let mut after = None;
    loop {
        let records = page(remote, after, &since).await?;
        for positioned in &records {
            print(context, positioned)?;
        }
        after = records.last().map(|positioned| positioned.position).or(after);
        if records.is_empty() {
            if !follow {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn search(context: &Context, remote: &Remote, filter: &Filter) -> Result<(), Failure> {
    let time = |text: &Option<String>| -> Result<Option<String>, Failure> {
        let parsed = text.as_deref().map(|text| parse_past(text, context.now())).transpose()?;
        Ok(parsed.map(|time| time.millis().to_string()))
    };
    let wanted = [
        ("source", filter.source.as_ref().map(ToString::to_string)),
        ("since", time(&filter.since)?),
        ("until", time(&filter.until)?),
        ("agent", filter.agent.clone()),
        ("subject", filter.subject.clone()),
        ("service", filter.service.clone()),
        ("request", filter.request.clone()),
        ("block", filter.block.clone()),
        ("verdict", filter.verdict.clone()),
        ("limit", Some(filter.limit.to_string())),
    ];
    let pairs: Vec<(&str, String)> = wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let records = page(remote, None, &pairs).await?;
    if records.is_empty() {
        context.out.remark("No record matches.");
    }
    records.iter().try_for_each(|positioned| print(context, positioned))
}

fn print(context: &Context, positioned: &Positioned) -> Result<(), Failure> {
    if context.out.is_json() {
        return context.out.json_line(positioned);
    }
    context.out.raw(&shown::line(&positioned.record))
}

async fn export(context: &Context, remote: &Remote) -> Result<(), Failure> {
    for source in remote.fetch::<Vec<Source>>("/v1/audit/sources").await? {
        for checkpoint in checkpoints(remote, &source).await? {
            context.out.json_line(&Line::Checkpoint(checkpoint))?;
        }
        let mut after = None;
        loop {
            let records = of_chain(remote, &source, after).await?;
            let Some(last) = records.last() else { break };
            after = Some(last.record.seq);
            for positioned in records {
                context.out.json_line(&Line::Record(positioned.record))?;
            }
        }
    }
    Ok(())
}

async fn checkpoints(remote: &Remote, source: &Source) -> Result<Vec<Checkpoint>, Failure> {
    remote.fetch(&format!("/v1/audit/checkpoints?{}", encoded(&[("source", source.to_string())]))).await
}

async fn of_chain(remote: &Remote, source: &Source, after: Option<u64>) -> Result<Vec<Positioned>, Failure> {
    let mut pairs = vec![("source", source.to_string())];
    pairs.extend(after.map(|after| ("after_seq", after.to_string())));
    page(remote, None, &pairs).await
}

/// What happened in one chain, each record as a line for a person.
pub(crate) async fn told_lines(remote: &Remote, source: &str) -> Result<Vec<String>, Failure> {
    let records = page(remote, None, &[("source", source.to_owned())]).await?;
    Ok(records.iter().map(|positioned| shown::told(&positioned.record)).collect())
}

/// Checks every chain against the keys that are known, or those that the authority names now.
pub(crate) async fn checked_chains(remote: &Remote, pinned: Vec<(Source, PublicKey)>) -> Result<Vec<Report>, Failure> {
    let known = if pinned.is_empty() { named_now(remote).await? } else { pinned };
    let mut reports = Vec::new();
    for source in remote.fetch::<Vec<Source>>("/v1/audit/sources").await? {
        let mut checker = Checker::new(
            source.clone(),
            Head::empty(),
            &checkpoints(remote, &source).await?,
            &keys_of(&known, &source),
        );
        let mut after = None;
        loop {
            let records = of_chain(remote, &source, after).await?;
            let Some(last) = records.last() else { break };
            after = Some(last.record.seq);
            records.iter().for_each(|positioned| checker.push(&positioned.record));
        }
        reports.push(checker.finish());
    }
    Ok(reports)
}

/// The keys that the authority names: its own, and those of its edges.
async fn named_now(remote: &Remote) -> Result<Vec<(Source, PublicKey)>, Failure> {
    #[derive(Deserialize)]
    struct OwnKey {
        authority_key: PublicKey,
    }
    let own: OwnKey = remote.public("/v1/keys").await?;
    let mut known = vec![(Source::Authority, own.authority_key)];
    for edge in remote.fetch::<Vec<Value>>("/v1/edges").await? {
        known.push((Source::Edge(text(&edge, "name").parse()?), text(&edge, "key").parse()?));
    }
    Ok(known)
}

fn keys_of(known: &[(Source, PublicKey)], source: &Source) -> Vec<PublicKey> {
    known.iter().filter(|(of, _)| of == source).map(|(_, key)| *key).collect()
}

fn verify_export(context: &Context, export: &str, known: &[(Source, PublicKey)]) -> Result<(), Failure> {
    let mut chains: HashMap<Source, (Vec<Record>, Vec<Checkpoint>)> = HashMap::new();
    for (number, line) in export.lines().enumerate() {
        let line = serde_json::from_str(line)
            .map_err(|error| Failure::from(error).during(format!("line {} is no line of an export", number + 1)))?;
        match line {
            Line::Record(record) => chains.entry(record.source.clone()).or_default().0.push(record),
            Line::Checkpoint(checkpoint) => chains.entry(checkpoint.source.clone()).or_default().1.push(checkpoint),
        }
    }
    // A chain whose key is given must be there: an export without it would hide all of it.
    for (source, _) in known {
        chains.entry(source.clone()).or_default();
    }
    let mut reports: Vec<Report> = chains
        .into_iter()
        .map(|(source, (records, checkpoints))| {
            let mut checker = Checker::new(source.clone(), Head::empty(), &checkpoints, &keys_of(known, &source));
            records.iter().for_each(|record| checker.push(record));
            checker.finish()
        })
        .collect();
    reports.sort_by(|left, right| left.source.cmp(&right.source));
    told(context, &reports)
}

fn told(context: &Context, reports: &[Report]) -> Result<(), Failure> {
    context.out.result(&reports, || reports.iter().map(report_told).collect::<Vec<_>>().join("\n"))?;
    if reports.iter().all(Report::is_sound) { Ok(()) } else { Err(Failure::silent(REFUSED)) }
}

fn report_told(report: &Report) -> String {
    let Report { source, records, head, vouched, findings, findings_left_out } = report;
    let verdict = if report.is_sound() { good("whole") } else { bad("broken") };
    let unvouched = head.seq.saturating_sub(*vouched);
    let mut lines =
        vec![format!("{verdict}  {}  {records} records, {vouched} vouched for by signed checkpoints", strong(source))];
    if unvouched > 0 {
        lines.push(format!("  {} the last {unvouched} have no checkpoint behind them yet", doubtful("note")));
    }
    lines.extend(findings.iter().map(|finding| format!("  {} {finding}", bad("found"))));
    if *findings_left_out > 0 {
        lines.push(format!("  and {findings_left_out} more"));
    }
    lines.join("\n")
}
