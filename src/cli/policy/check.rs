//! `writ policy check`: what is wrong with policies, before anybody is stopped by it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::source::Source;
use super::{Known, parsed};
use crate::cli::Context;
use crate::cli::failure::{Failure, REFUSED};
use crate::cli::operate::of_tenant;
use crate::cli::output::{bad, doubtful, good, strong};
use crate::id::GrantId;
use crate::policy::GrantSubject;
use crate::policy::rules::cover::{Unreached, shadowed, unreached};
use crate::policy::rules::{Finding, PolicySet, Schema, Severity};
use crate::token::Capability;

/// `writ policy check`
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Documents in TOML, Cedar files, or folders of them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// End with 1 for a warning, too.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    known: Known,
}

/// A capability of a grant that policies take back.
#[derive(Debug, Serialize)]
struct Broad {
    grant: String,
    agent: String,
    capability: Capability,
    /// The actions that no permit reaches; empty where none of it is reached.
    unreached: Vec<String>,
}

/// What the authority says of a grant, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Given {
    id: GrantId,
    #[serde(flatten)]
    to: GrantSubject,
    capabilities: Vec<Capability>,
}

impl CheckArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let source = Source::read(&self.files)?;
        let set = parsed(&source)?;
        let schema = self.known.schema(Some(&source)).await?;
        schema.check_limits(&source.document.limit)?;
        let mut findings = schema.findings(&set);
        let is_valid = findings.iter().all(|finding| finding.severity != Severity::Error);
        if is_valid {
            findings.extend(shadowed(&schema, &set));
            findings.sort();
        }
        let broad = if is_valid && self.known.is_remote() { self.broad(&schema, &set).await? } else { Vec::new() };
        let report = serde_json::json!({ "valid": is_valid, "findings": findings, "grants": broad });
        context.out.result(&report, || told(&source, &set, &findings, &broad))?;
        let is_clean = findings.is_empty() && broad.is_empty();
        if is_valid && (is_clean || !self.strict) { Ok(()) } else { Err(Failure::silent(REFUSED)) }
    }

    async fn broad(&self, schema: &Schema, set: &PolicySet) -> Result<Vec<Broad>, Failure> {
        let remote = self.known.operator.open()?;
        let grants: Vec<Given> = remote.fetch(&of_tenant(&remote, "/v1/grants", &[])).await?;
        let mut broad = Vec::new();
        for grant in grants {
            for capability in &grant.capabilities {
                if let Some(found) = unreached(schema, set, &grant.to, capability) {
                    broad.push(Broad {
                        grant: grant.id.to_string(),
                        agent: grant.to.agent.to_string(),
                        capability: capability.clone(),
                        unreached: match found {
                            Unreached::All => Vec::new(),
                            Unreached::Actions(actions) => actions,
                        },
                    });
                }
            }
        }
        Ok(broad)
    }
}

fn told(source: &Source, set: &PolicySet, findings: &[Finding], broad: &[Broad]) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => bad("error"),
            Severity::Warning => doubtful("warning"),
        };
        lines.push(format!("{severity} {}", source.told(finding)));
    }
    for Broad { grant, agent, capability, unreached } in broad {
        let what = match unreached.len() {
            0 => "no policy lets any of it through".to_owned(),
            count => {
                let some = unreached.iter().take(5).map(|action| format!("`{action}`")).collect::<Vec<_>>().join(", ");
                let more = if count > 5 { format!(" and {} more", count - 5) } else { String::new() };
                format!("no policy lets {some}{more} through")
            }
        };
        lines.push(format!("{} grant {grant} of agent {}: `{capability}`: {what}", doubtful("warning"), strong(agent)));
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors + broad.len();
    let verdict = if errors == 0 { good("ok") } else { bad("invalid") };
    lines.push(format!("{verdict} {} policies: {errors} errors, {warnings} warnings", set.policies().len()));
    lines.join("\n")
}
