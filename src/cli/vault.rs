//! `writ vault`: the key-encryption keys.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{random, write_private};

/// `writ vault …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum VaultCommand {
    /// Make a key-encryption key: a file that nobody else may read.
    Keygen {
        /// Where to write it.
        #[arg(long, value_name = "FILE", default_value = "kek")]
        out: PathBuf,
    },
}

impl VaultCommand {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Keygen { out } => {
                write_kek(&out)?;
                context.out.result(&serde_json::json!({ "file": out }), || {
                    format!(
                        "Wrote {}. Whoever has it and the database can read every secret: keep a copy apart from both.",
                        out.display()
                    )
                })
            }
        }
    }
}

/// Writes a fresh key-encryption key to `path`.
pub(crate) fn write_kek(path: &std::path::Path) -> Result<(), Failure> {
    let key = Zeroizing::new(random::<32>()?);
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*key)));
    write_private(path, text.as_bytes())
}
