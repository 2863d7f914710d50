//! `writ scim`: identity providers that provision users and groups.

use http::Method;
use serde_json::{Value, json};

use super::{Column, list, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, strong};
use crate::cli::remote::OperatorArgs;
use crate::id::{ProviderName, ScimTokenId};

/// `writ scim …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ScimCommand {
    /// The secrets of SCIM clients.
    #[command(subcommand)]
    Token(TokenCommand),
}

/// `writ scim token …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// Add a secret for the SCIM client of an identity provider. Prints the secret, this once.
    Add {
        /// The provider, as the settings call it.
        provider: ProviderName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List the secrets of SCIM clients: which provider has one, and since when.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Remove the secret of a SCIM client. What the client provisioned stays.
    Remove {
        /// Its id, as `writ scim token list` shows it.
        id: ScimTokenId,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

impl ScimCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        let Self::Token(command) = self;
        match command {
            TokenCommand::Add { provider, operator } => {
                let remote = operator.open()?;
                let added: Value =
                    remote.send(Method::POST, "/v1/scim/tokens", &json!({ "provider": provider })).await?;
                context.out.remark(&format!("This secret is shown once. The client's URL is {}.", text(&added, "url")));
                context.out.result(&added, || text(&added, "secret"))
            }
            TokenCommand::List { operator } => {
                let columns: &[Column] = &[
                    ("provider", |row, _| text(row, "provider")),
                    ("id", |row, _| text(row, "id")),
                    ("added", |row, now| when(row, "created", now)),
                ];
                list(&context, &operator.open()?, "/v1/scim/tokens", columns).await
            }
            TokenCommand::Remove { id, operator } => {
                let removed: Value = operator.open()?.delete(&format!("/v1/scim/tokens/{id}")).await?;
                context.out.result(&removed, || format!("{} SCIM token {}", good("removed"), strong(id)))
            }
        }
    }
}
