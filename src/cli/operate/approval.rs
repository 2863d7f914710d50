//! `writ approval`: requests of agents that need a person, what exactly would be sent, and the person's word.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::asked::told;
use super::{Column, list, of_tenant, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{bad, good, strong};
use crate::cli::remote::{OperatorArgs, Remote};
use crate::clock::Timestamp;
use crate::id::{ApprovalId, EdgeName, Note};
use crate::policy::{ApprovalState, Asked, Asker};
use crate::store::AskedSummary;

/// `writ approval …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ApprovalCommand {
    /// List the requests that wait for a person.
    List {
        /// Also those that are decided or over, for a day.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Show one: exactly what would be sent, for whom, through which chain, and which policy demands a person.
    Show {
        /// Its handle.
        handle: ApprovalId,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Let exactly this be sent, once. Shows it, and asks.
    Approve {
        /// Its handle.
        handle: ApprovalId,
        /// Ask nothing: what has this digest was looked at, with `writ approval show`.
        #[arg(long, value_name = "SHA256")]
        digest: Option<String>,
        /// A remark for the record.
        #[arg(long, value_name = "TEXT")]
        note: Option<Note>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Do not let it be sent. The agent is told, and cannot put the same before people again until this expires.
    Deny {
        /// Its handle.
        handle: ApprovalId,
        /// A remark for the record.
        #[arg(long, value_name = "TEXT")]
        note: Option<Note>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// A request as the authority shows it. The digest is made here, of what is shown here.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shown {
    pub(crate) handle: ApprovalId,
    pub(crate) state: ApprovalState,
    /// Absent once it can neither be decided nor sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<Asked>,
    pub(crate) summary: AskedSummary,
    pub(crate) digest: String,
    pub(crate) asker: Asker,
    pub(crate) edge: EdgeName,
    pub(crate) created: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) decided: Option<Value>,
}

const COLUMNS: &[Column] = &[
    ("handle", |row, _| text(row, "handle")),
    ("state", |row, _| text(row, "state")),
    ("agent", |row, _| text(row, "agent")),
    ("for", |row, _| text(row, "subject")),
    ("does", |row, _| text(row, "does")),
    ("asks", |row, _| {
        let demands = row["demands"].as_array().into_iter().flatten();
        demands.map(|demand| text(demand, "approvers").replace(' ', "|")).collect::<Vec<_>>().join(" ")
    }),
    ("until", |row, now| when(row, "expires", now)),
];

impl ApprovalCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::List { all, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/approvals", &[("all", all.then(|| "true".to_owned()))]);
                list(&context, &remote, &path, COLUMNS).await
            }
            Self::Show { handle, operator } => {
                let shown = fetch(&operator.open()?, handle).await?;
                context.out.result(&shown, || told(&shown, context.now()))
            }
            Self::Approve { handle, digest, note, operator } => {
                let remote = operator.open()?;
                let digest = match digest {
                    Some(digest) => digest,
                    None => confirmed(&context, &fetch(&remote, handle).await?)?,
                };
                let body = json!({ "digest": digest, "note": note });
                let done: Value = remote.send(Method::POST, &ruling(&remote, handle, "approve"), &body).await?;
                context.out.result(&done, || {
                    format!(
                        "{} {}: exactly this may be sent once, within 15 minutes at most",
                        good("approved"),
                        strong(handle)
                    )
                })
            }
            Self::Deny { handle, note, operator } => {
                let remote = operator.open()?;
                let body = json!({ "note": note });
                let done: Value = remote.send(Method::POST, &ruling(&remote, handle, "deny"), &body).await?;
                context.out.result(&done, || format!("{} {}: it is not sent", bad("denied"), strong(handle)))
            }
        }
    }
}

async fn fetch(remote: &Remote, handle: ApprovalId) -> Result<Shown, Failure> {
    let shown: Shown = remote.fetch(&of_tenant(remote, &format!("/v1/approvals/{handle}"), &[])).await?;
    // What a person confirms is what this program shows, whatever the other end says its digest is.
    if shown.asked.as_ref().is_some_and(|asked| shown.digest != hex::encode(asked.digest())) {
        return Err(Failure::new(
            "the digest is not that of what is shown: confirm neither, and look at the authority",
        ));
    }
    Ok(shown)
}

fn ruling(remote: &Remote, handle: ApprovalId, word: &str) -> String {
    of_tenant(remote, &format!("/v1/approvals/{handle}/{word}"), &[])
}

/// The digest of what is shown now, once the person has said yes to it.
fn confirmed(context: &Context, shown: &Shown) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if context.out.is_json() || !stdin.is_terminal() {
        return Err(Failure::usage(
            "nobody can be asked here: look at it with `writ approval show`, then give `--digest` as it says",
        ));
    }
    context.out.remark(&told(shown, context.now()));
    if shown.asked.is_none() {
        return Err(Failure::new(
            "there is nothing to approve any more: what would be sent is not kept once it is over",
        ));
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "\nType `approve` to let exactly this be sent, once: ")?;
    stderr.flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if line.trim() != "approve" {
        return Err(Failure::new("nothing was approved"));
    }
    Ok(shown.digest.clone())
}
