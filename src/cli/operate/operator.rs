//! `writ operator`: who administers the authority.

use http::Method;
use serde_json::{Value, json};

use super::{Column, list, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, strong};
use crate::cli::remote::OperatorArgs;
use crate::id::{OperatorName, SessionId};
use crate::policy::Role;

/// `writ operator …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum OperatorCommand {
    /// Add an operator. Prints the secret, this once.
    Add {
        /// The name.
        name: OperatorName,
        /// What it may do: `admin` everything; `approver` and `auditor` read, and change nothing.
        #[arg(long, default_value_t = Role::Admin)]
        role: Role,
        /// The person behind it, as they sign in: `<provider>:<user>`. One person is not two where two are asked for.
        #[arg(long, value_name = "PERSON")]
        person: Option<OperatorName>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List the operators.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List the sessions of operators who signed in, or end one.
    Sessions {
        /// End the session with this id.
        #[arg(long, value_name = "ID")]
        end: Option<SessionId>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Remove an operator: the secret counts no longer. The last admin stays.
    Remove {
        /// The name.
        name: OperatorName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

impl OperatorCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Add { name, role, person, operator } => {
                let remote = operator.open()?;
                let new = json!({ "name": name, "role": role, "person": person });
                let added: Value = remote.send(Method::POST, "/v1/operators", &new).await?;
                context.out.remark("This secret is shown once. Hand it over as you would a password.");
                context.out.result(&added, || text(&added, "secret"))
            }
            Self::List { operator } => {
                let columns: &[Column] = &[
                    ("operator", |row, _| text(row, "name")),
                    ("role", |row, _| text(row, "role")),
                    ("person", |row, _| text(row, "person")),
                    ("added", |row, now| when(row, "created", now)),
                ];
                list(&context, &operator.open()?, "/v1/operators", columns).await
            }
            Self::Sessions { end: Some(id), operator } => {
                let ended: Value = operator.open()?.delete(&format!("/v1/sessions/{id}")).await?;
                context.out.result(&ended, || format!("{} session {id}", good("ended")))
            }
            Self::Sessions { end: None, operator } => {
                let columns: &[Column] = &[
                    ("session", |row, _| text(row, "id")),
                    ("operator", |row, _| text(row, "name")),
                    ("role", |row, _| text(row, "role")),
                    ("last used", |row, now| when(row, "used", now)),
                    ("ends", |row, now| when(row, "expires", now)),
                ];
                list(&context, &operator.open()?, "/v1/sessions", columns).await
            }
            Self::Remove { name, operator } => {
                let removed: Value = operator.open()?.delete(&format!("/v1/operators/{name}")).await?;
                context.out.result(&removed, || format!("{} operator {}", good("removed"), strong(&name)))
            }
        }
    }
}
