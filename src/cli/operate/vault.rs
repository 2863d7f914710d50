//! `writ vault`: the key-encryption keys.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::text;
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{random, write_private};
use crate::cli::online;
use crate::cli::output::good;
use crate::cli::remote::OperatorArgs;

/// `writ vault …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum VaultCommand {
    /// Make a key-encryption key: a file that nobody else may read.
    Keygen {
        /// Where to write it.
        #[arg(long, value_name = "FILE", default_value = "kek")]
        out: PathBuf,
    },
    /// Wrap every secret anew under the first key-encryption key, after it was put first in `vault.kek_files`.
    Rewrap {
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

impl VaultCommand {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Keygen { out } => {
                write_kek(&out)?;
                context.out.result(&json!({ "file": out }), || {
                    format!(
                        "Wrote {}. Whoever has it and the database can read every secret: keep a copy apart from both.",
                        out.display()
                    )
                })
            }
            Self::Rewrap { operator } => online(async {
                let remote = operator.open()?;
                let done: Value = remote.send(Method::POST, "/v1/vault/rewrap", &json!({})).await?;
                context.out.result(&done, || {
                    format!(
                        "{} {} secrets; the key before is needed no more",
                        good("wrapped"),
                        text(&done, "rewrapped")
                    )
                })
            }),
        }
    }
}

/// Writes a fresh key-encryption key to `path`.
pub(crate) fn write_kek(path: &Path) -> Result<(), Failure> {
    let key = Zeroizing::new(random::<32>()?);
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*key)));
    write_private(path, text.as_bytes())
}
