//! `writ operator`: who administers the authority.

use http::Method;
use serde_json::{Value, json};

use super::{Column, list, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, strong};
use crate::cli::remote::OperatorArgs;
use crate::id::OperatorName;

/// `writ operator …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum OperatorCommand {
    /// Add an operator. Prints the secret, this once.
    Add {
        /// The name.
        name: OperatorName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List the operators.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Remove an operator: the secret counts no longer. The last operator stays.
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
            Self::Add { name, operator } => {
                let remote = operator.open()?;
                let added: Value = remote.send(Method::POST, "/v1/operators", &json!({ "name": name })).await?;
                context.out.remark("This secret is shown once. Hand it over as you would a password.");
                context.out.result(&added, || text(&added, "secret"))
            }
            Self::List { operator } => {
                let columns: &[Column] =
                    &[("operator", |row, _| text(row, "name")), ("added", |row, now| when(row, "created", now))];
                list(&context, &operator.open()?, "/v1/operators", columns).await
            }
            Self::Remove { name, operator } => {
                let removed: Value = operator.open()?.delete(&format!("/v1/operators/{name}")).await?;
                context.out.result(&removed, || format!("{} operator {}", good("removed"), strong(&name)))
            }
        }
    }
}
