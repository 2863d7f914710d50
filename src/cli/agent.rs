//! `writ agent`: keys and registration.

use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{random, read_key, write_private};
use crate::cli::output::term;
use crate::key::{KeyPair, PublicKey};

/// `writ agent …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AgentCommand {
    /// Make a key pair: the private key into a file that nobody else may read, the public key on standard output.
    Keygen {
        /// Where to write the private key (PKCS #8, PEM).
        #[arg(long, value_name = "FILE", default_value = "agent.pem")]
        out: PathBuf,
    },
    /// Show the public key of a key file.
    Key {
        /// The private key file.
        key: PathBuf,
    },
}

impl AgentCommand {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Keygen { out } => {
                let public = write_new_key(&out)?;
                context.out.remark(&format!("The private key is in {}.", term(out.display())));
                show(&context, public)
            }
            Self::Key { key } => show(&context, read_key(&key)?.public()),
        }
    }
}

/// Makes a key pair, writes its private half to `path` and returns the public half.
pub(crate) fn write_new_key(path: &std::path::Path) -> Result<PublicKey, Failure> {
    let seed = Zeroizing::new(random()?);
    let pair = KeyPair::from_seed(&seed);
    write_private(path, pair.to_pem().as_bytes())?;
    Ok(pair.public())
}

fn show(context: &Context, key: PublicKey) -> Result<(), Failure> {
    let value = serde_json::json!({ "key": key, "thumbprint": key.thumbprint() });
    context.out.result(&value, || key.to_string())
}
