//! `writ receipt`: whether a revocation's receipt is what the authority signed. Offline.

use std::path::PathBuf;

use serde::Deserialize;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{read_json, read_text};
use crate::cli::operate::receipt_told;
use crate::cli::output::good;
use crate::key::PublicKey;
use crate::revocation::Receipt;

/// `writ receipt …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Check a receipt offline: that the authority with this key signed exactly it. Ends with 1 if it does not hold.
    Verify {
        /// The receipt's JSON, as the revocation answered it: a file, or `-` for standard input.
        #[arg(value_name = "FILE")]
        receipt: PathBuf,
        #[command(flatten)]
        trusted: Trusted,
    },
}

/// The authority's key.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Trusted {
    /// The authority's key, `did:key:…`: `authority_key` of `GET /v1/keys`, noted down beforehand.
    #[arg(long, value_name = "DID")]
    key: Option<PublicKey>,
    /// A file that names it: what `writ keys list --json` printed.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

#[derive(Deserialize)]
struct SavedKeys {
    authority_key: PublicKey,
}

impl Trusted {
    fn read(&self) -> Result<PublicKey, Failure> {
        match (&self.key, &self.keys) {
            (Some(key), _) => Ok(*key),
            (None, Some(path)) => Ok(read_json::<SavedKeys>(path)?.authority_key),
            (None, None) => Err(Failure::usage("name the authority's key with `--key` or `--keys`")),
        }
    }
}

impl ReceiptCommand {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        let Self::Verify { receipt, trusted } = self;
        let (key, text) = (trusted.read()?, read_text(&receipt)?);
        let receipt = Receipt::parse(&text)?;
        receipt.check(&key)?;
        context.out.result(&receipt, || {
            let json = serde_json::to_value(&receipt).unwrap_or_default();
            format!("{} the receipt is as {} signed it.\n{}", good("holds"), receipt.issuer, receipt_told(&json))
        })
    }
}
