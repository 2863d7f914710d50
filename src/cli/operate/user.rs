//! `writ user`: users whose writs were revoked.

use http::Method;
use serde_json::{Value, json};

use super::{Column, list, of_tenant, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, plain_line, strong};
use crate::cli::remote::OperatorArgs;
use crate::id::Subject;

/// `writ user …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum UserCommand {
    /// List the suspended users of a tenant: `writ revoke subject:<tenant>/<user>` suspends one.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Let a suspended user be issued writs again. The old ones stay dead.
    Reactivate {
        /// The user, as the identity provider names them.
        subject: Subject,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

impl UserCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::List { operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/users/suspended", &[]);
                let columns: &[Column] = &[
                    ("suspended user", |row, _| text(row, "subject")),
                    ("entry", |row, _| text(row, "seq")),
                    ("since", |row, now| when(row, "at", now)),
                ];
                list(&context, &remote, &path, columns).await
            }
            Self::Reactivate { subject, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/users/reactivate", &[]);
                let done: Value = remote.send(Method::POST, &path, &json!({ "subject": subject })).await?;
                context.out.result(&done, || {
                    let subject = strong(plain_line(subject.as_str()));
                    format!("{} {subject}: new writs are issued, the old ones stay dead", good("reactivated"))
                })
            }
        }
    }
}
