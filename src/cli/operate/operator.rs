//! `writ operator`: who administers the authority.

use http::Method;
use serde_json::{Value, json};

use super::text;
use crate::cli::Context;
use crate::cli::failure::Failure;
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
}

impl OperatorCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        let Self::Add { name, operator } = self;
        let remote = operator.open()?;
        let added: Value = remote.send(Method::POST, "/v1/operators", &json!({ "name": name })).await?;
        context.out.remark("This secret is shown once. Hand it over as you would a password.");
        context.out.result(&added, || text(&added, "secret"))
    }
}
