//! `writ limit`: what a tenant's limits are, and how much of them is used.

use serde::{Deserialize, Serialize};

use super::{Column, list, of_tenant, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::remote::{OperatorArgs, Remote};
use crate::id::LimitName;
use crate::policy::limit::Limits;

/// What the authority answers, and how limits stand in a file.
#[derive(Debug, Deserialize, Serialize)]
struct Document {
    limit: Limits,
}

/// `writ limit …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum LimitCommand {
    /// Show a tenant's limits as they stand in its policy set: `writ policy put` replaces them with it.
    Show {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List what is used of limits in their present windows.
    List {
        /// One limit alone.
        name: Option<LimitName>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// The limits of the tenant.
pub(crate) async fn limits_of(remote: &Remote) -> Result<Limits, Failure> {
    let document: Document = remote.fetch(&of_tenant(remote, "/v1/limits", &[])).await?;
    Ok(document.limit)
}

impl LimitCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Show { operator } => {
                let document = Document { limit: limits_of(&operator.open()?).await? };
                let text = toml::to_string(&document)?;
                context.out.result(&document, || text.trim_end().to_owned())
            }
            Self::List { name, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/limits/used", &[("limit", name.map(|name| name.to_string()))]);
                let columns: &[Column] = &[
                    ("limit", |row, _| text(row, "limit")),
                    ("of", |row, _| text(row, "key")),
                    ("used", |row, _| text(row, "used")),
                    ("at most", |row, _| text(row, "max")),
                    ("of argument", |row, _| text(row, "sum")),
                    ("until", |row, now| when(row, "ends", now)),
                ];
                list(&context, &remote, &path, columns).await
            }
        }
    }
}
