//! `writ agent workload`: agents that are known by the platform they run on.

use std::collections::BTreeMap;
use std::str::FromStr;

use http::Method;
use serde_json::{Value, json};

use super::{Column, list, of_tenant, receipt_told, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, plain_line, strong};
use crate::cli::remote::OperatorArgs;
use crate::id::{AgentName, ProviderName, WorkloadSubject};

/// `writ agent workload …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum WorkloadCommand {
    /// State that a workload is an agent: whoever shows its token is the agent.
    Add {
        /// The agent.
        agent: AgentName,
        /// The workload: its issuer, as the settings call it, and what the issuer calls it (`sub`), letter by letter.
        #[arg(value_name = "ISSUER:SUB")]
        workload: WorkloadName,
        #[command(flatten)]
        claims: Claims,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Take a workload from an agent and end what the agent was issued. Returns once no edge serves it.
    Remove {
        /// The agent.
        agent: AgentName,
        /// The workload.
        #[arg(value_name = "ISSUER:SUB")]
        workload: WorkloadName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List the workloads that are agents of a tenant.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// What else the tokens of a workload must say.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Claims {
    /// A claim of the workload's tokens and the exact text it must have; may be repeated.
    #[arg(long = "claim", value_name = "NAME=TEXT", value_parser = claim)]
    claims: Vec<(String, String)>,
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write a claim as `name=text`")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A workload, as a person writes it. The issuer's name has no colon.
#[derive(Clone, Debug)]
pub(crate) struct WorkloadName {
    issuer: ProviderName,
    subject: WorkloadSubject,
}

impl FromStr for WorkloadName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (issuer, subject) = text.split_once(':').ok_or("write a workload as `issuer:sub`")?;
        Ok(Self {
            issuer: issuer.parse().map_err(|error| format!("{error}"))?,
            subject: subject.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl WorkloadName {
    /// As the authority takes it.
    pub(super) fn stated(&self, Claims { claims }: &Claims) -> Value {
        let claims: BTreeMap<_, _> = claims.iter().cloned().collect();
        json!({ "issuer": self.issuer, "subject": self.subject, "claims": claims })
    }
}

impl WorkloadCommand {
    pub(super) async fn call(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Add { agent, workload, claims, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/agents/{agent}/workloads"), &[]);
                let added: Value = remote.send(Method::POST, &path, &workload.stated(&claims)).await?;
                context.out.result(&added, || {
                    let subject = plain_line(&text(&added, "subject"));
                    format!("{} workload {subject} is agent {}", good("added"), strong(&agent))
                })
            }
            Self::Remove { agent, workload, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/agents/{agent}/workloads/remove"), &[]);
                let body = json!({ "issuer": workload.issuer, "subject": workload.subject });
                let receipt: Value = remote.send(Method::POST, &path, &body).await?;
                context.out.result(&receipt, || receipt_told(&receipt))
            }
            Self::List { operator } => {
                let columns: &[Column] = &[
                    ("agent", |row, _| text(row, "agent")),
                    ("issuer", |row, _| text(row, "issuer")),
                    ("workload", |row, _| text(row, "subject")),
                    ("claims", |row, _| claims_told(row)),
                    ("added", |row, now| when(row, "created", now)),
                ];
                let remote = operator.open()?;
                list(&context, &remote, &of_tenant(&remote, "/v1/workloads", &[]), columns).await
            }
        }
    }
}

fn claims_told(row: &Value) -> String {
    let claims = row["claims"].as_object().into_iter().flatten();
    claims.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or(""))).collect::<Vec<_>>().join(", ")
}
