//! `writ limit`: what a tenant's limits are, and how much of them is used.

use std::path::PathBuf;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Column, list, of_tenant, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::read_text;
use crate::cli::output::good;
use crate::cli::remote::OperatorArgs;
use crate::id::LimitName;
use crate::policy::limit::Limits;

/// The file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    limit: Limits,
}

/// `writ limit …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum LimitCommand {
    /// Replace a tenant's limits by those of a TOML file.
    Set {
        /// The file; `-` for standard input. `spec/limits.md` describes it.
        file: PathBuf,
        /// Only check the file; call nobody.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Show a tenant's limits as their TOML file.
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

impl LimitCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Set { file, check, operator } => {
                let read = toml::from_str(&read_text(&file)?);
                let document: Document = read.map_err(|error| Failure::from(error).during(file.display()))?;
                let count = document.limit.iter().count();
                if check {
                    return context.out.result(&document, || format!("{} {count} limits", good("checked")));
                }
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/limits", &[]);
                let version: Value = remote.send(Method::PUT, &path, &document).await?;
                context.out.result(&version, || format!("{}: the tenant has {count} limits", good("set")))
            }
            Self::Show { operator } => {
                let remote = operator.open()?;
                let document: Document = remote.fetch(&of_tenant(&remote, "/v1/limits", &[])).await?;
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
