//! What an operator does with edges: tickets, the list, removal. Running one is `cli::serve`.

use http::Method;
use serde_json::{Value, json};

use super::{list, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, strong};
use crate::cli::remote::OperatorArgs;
use crate::cli::time::moment;
use crate::clock::Timestamp;
use crate::id::{AudienceName, EdgeName};

/// `writ edge …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum EdgeCommand {
    /// Make a one-time ticket by which an edge joins. It is a secret: hand it over as you would a password.
    Ticket {
        /// The name that the edge will have.
        name: EdgeName,
        /// The edge deployment it will belong to, where there is more than one.
        #[arg(long, value_name = "NAME")]
        audience: Option<AudienceName>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List the edges, and what each of them knows.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Remove an edge: its key counts no longer.
    Remove {
        /// Its name.
        name: EdgeName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

impl EdgeCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Ticket { name, audience, operator } => {
                let remote = operator.open()?;
                let body = json!({ "name": name, "audience": audience });
                let ticket: Value = remote.send(Method::POST, "/v1/edges/tickets", &body).await?;
                let until = ticket["expires"].as_i64().map(Timestamp::from_millis);
                let until = until.map(moment).unwrap_or_default();
                context.out.remark(&format!("Good for one edge, until {until}: `writ edge --ticket -`"));
                context.out.result(&ticket, || text(&ticket, "ticket"))
            }
            Self::List { operator } => {
                let remote = operator.open()?;
                list(
                    &context,
                    &remote,
                    "/v1/edges",
                    &[
                        ("edge", |row, _| text(row, "name")),
                        ("deployment", |row, _| text(row, "audience")),
                        ("origin", |row, _| text(row, "origin")),
                        ("lease", |row, _| {
                            if row["leased"] == true { "holds" } else { "none: it serves nothing" }.to_owned()
                        }),
                        ("knows up to", |row, _| text(row, "acknowledged_seq")),
                        ("last heard", |row, now| when(row, "last_seen", now)),
                    ],
                )
                .await
            }
            Self::Remove { name, operator } => {
                let remote = operator.open()?;
                let answer: Value = remote.delete(&format!("/v1/edges/{name}")).await?;
                context.out.result(&answer, || format!("{} edge {}", good("removed"), strong(&name)))
            }
        }
    }
}
