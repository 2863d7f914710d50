//! `writ grant`: which agent may be given which capabilities, and for how long at most.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{list, of_tenant, receipt_told, text};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, strong};
use crate::cli::remote::OperatorArgs;
use crate::cli::time::parse_duration;
use crate::id::{AgentName, GrantId, Group, Subject};
use crate::token::Capability;

/// `writ grant …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum GrantCommand {
    /// Let an agent be given capabilities.
    Add {
        /// The agent.
        agent: AgentName,
        /// A capability, `service:action:resource`; may be repeated.
        #[arg(long = "allow", value_name = "CAPABILITY", required = true)]
        capabilities: Vec<Capability>,
        /// Only when it acts for this user.
        #[arg(long, value_name = "USER")]
        subject: Option<Subject>,
        /// Only when it acts for a user of this group, by what their identity provider says.
        #[arg(long, value_name = "GROUP", conflicts_with = "subject")]
        group: Option<Group>,
        /// The longest life of a writ: `15m`, `1h`.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration, default_value = "15m")]
        lasting: Duration,
        /// How many times a writ may be handed on.
        #[arg(long, value_name = "HOPS", default_value_t = 3)]
        depth: u8,
        /// Let writs be minted without a key to prove. Whoever sees such a writ can use it.
        #[arg(long)]
        bearer: bool,
        /// Each proof must cover the query, too.
        #[arg(long)]
        covers_query: bool,
        /// Each proof must cover the body, too.
        #[arg(long)]
        covers_body: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List grants.
    List {
        /// Only those of this agent.
        #[arg(long, value_name = "NAME")]
        agent: Option<AgentName>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Remove a grant and end what was issued under it. Returns once no edge serves it.
    Remove {
        /// Its id.
        id: GrantId,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

impl GrantCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Add {
                agent,
                capabilities,
                subject,
                group,
                lasting,
                depth,
                bearer,
                covers_query,
                covers_body,
                operator,
            } => {
                let remote = operator.open()?;
                let body = json!({
                    "agent": agent,
                    "subject": subject,
                    "group": group,
                    "capabilities": capabilities,
                    "ttl_s_max": lasting.as_secs(),
                    "depth_max": depth,
                    "bearer": bearer,
                    "proof_covers_query": covers_query,
                    "proof_covers_body": covers_body,
                });
                let path = of_tenant(&remote, "/v1/grants", &[]);
                let grant: Value = remote.send(Method::POST, &path, &body).await?;
                context.out.result(&grant, || {
                    format!(
                        "{} {} may be given {} (grant {})",
                        good("granted"),
                        strong(&agent),
                        text(&grant, "capabilities"),
                        text(&grant, "id")
                    )
                })
            }
            Self::List { agent, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/grants", &[("agent", agent.map(|agent| agent.to_string()))]);
                list(
                    &context,
                    &remote,
                    &path,
                    &[
                        ("grant", |row, _| text(row, "id")),
                        ("agent", |row, _| text(row, "agent")),
                        ("for user", |row, _| text(row, "subject")),
                        ("for group", |row, _| text(row, "group")),
                        ("capabilities", |row, _| text(row, "capabilities")),
                        ("seconds", |row, _| text(row, "ttl_s_max")),
                        ("hops", |row, _| text(row, "depth_max")),
                        ("bound", |row, _| {
                            if row["bearer"] == true { "bearer allowed" } else { "to a key" }.to_owned()
                        }),
                    ],
                )
                .await
            }
            Self::Remove { id, operator } => {
                let remote = operator.open()?;
                let receipt: Value = remote.delete(&of_tenant(&remote, &format!("/v1/grants/{id}"), &[])).await?;
                context.out.result(&receipt, || receipt_told(&receipt))
            }
        }
    }
}
