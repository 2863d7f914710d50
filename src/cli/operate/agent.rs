//! `writ agent`: keys and registration.

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{list, of_tenant, receipt_told, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{random, read_key, write_private};
use crate::cli::online;
use crate::cli::output::{good, strong, term};
use crate::cli::remote::OperatorArgs;
use crate::id::AgentName;
use crate::key::{KeyPair, PublicKey};

/// `writ agent …`
#[expect(clippy::large_enum_variant, reason = "made once per process")]
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
    /// Register an agent by its public key.
    Register {
        /// Its name, unique in the tenant.
        name: AgentName,
        /// Its public key, `did:key:…`.
        #[arg(long, value_name = "DID", required_unless_present = "key_file")]
        key: Option<PublicKey>,
        /// The key file to take the public key from.
        #[arg(long, value_name = "FILE", conflicts_with = "key")]
        key_file: Option<PathBuf>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List the agents of a tenant.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Disable an agent and end what it was issued. Returns once no edge serves it.
    Disable {
        /// Its name.
        name: AgentName,
        #[command(flatten)]
        operator: OperatorArgs,
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
            online_command => online(online_command.call(context)),
        }
    }

    async fn call(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Register { name, key, key_file, operator } => {
                let remote = operator.open()?;
                let key = match (key, key_file) {
                    (Some(key), _) => key,
                    (None, Some(path)) => read_key(&path)?.public(),
                    (None, None) => return Err(Failure::usage("give its public key with `--key` or `--key-file`")),
                };
                let path = of_tenant(&remote, "/v1/agents", &[]);
                let agent: Value = remote.send(Method::POST, &path, &json!({ "name": name, "key": key })).await?;
                context.out.result(&agent, || format!("{} agent {} with key {key}", good("registered"), strong(&name)))
            }
            Self::List { operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/agents", &[]);
                list(
                    &context,
                    &remote,
                    &path,
                    &[
                        ("agent", |row, _| text(row, "name")),
                        ("status", |row, _| text(row, "status")),
                        ("key", |row, _| text(row, "key")),
                        ("registered", |row, now| when(row, "created", now)),
                    ],
                )
                .await
            }
            Self::Disable { name, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/agents/{name}/disable"), &[]);
                let receipt: Value = remote.send(Method::POST, &path, &json!({})).await?;
                context.out.result(&receipt, || receipt_told(&receipt))
            }
            Self::Keygen { .. } | Self::Key { .. } => Ok(()),
        }
    }
}

/// Makes a key pair, writes its private half to `path` and returns the public half.
pub(crate) fn write_new_key(path: &Path) -> Result<PublicKey, Failure> {
    let seed = Zeroizing::new(random()?);
    let pair = KeyPair::from_seed(&seed);
    write_private(path, pair.to_pem().as_bytes())?;
    Ok(pair.public())
}

fn show(context: &Context, key: PublicKey) -> Result<(), Failure> {
    let value = json!({ "key": key, "thumbprint": key.thumbprint() });
    context.out.result(&value, || key.to_string())
}
