//! `writ keys`: the root keys that sign writs.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{receipt_told, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, strong, table};
use crate::cli::remote::{OperatorArgs, Remote, RemoteArgs};
use crate::cli::time::parse_duration;
use crate::key::PublicKey;
use crate::token::RootKeys;
use crate::token::verify::RootKey;

/// `writ keys …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum KeysCommand {
    /// List the root keys; `--json` prints what `writ verify --keys` and `writ receipt verify --keys` read.
    List {
        #[command(flatten)]
        remote: RemoteArgs,
    },
    /// Make a new root key. The one before stays good for what it signed, and is retired after its writs have ended.
    Rotate {
        /// How long before the new key signs, so that every edge knows it first.
        #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
        overlap: Duration,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Retire a root key at once, and with it every writ it signed. Returns once no edge believes it.
    Retire {
        /// Its id.
        id: u32,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

/// What the authority publishes.
#[derive(Debug, Deserialize)]
pub(crate) struct Published {
    /// The authority that the keys are of.
    pub(crate) issuer: Box<str>,
    authority_key: PublicKey,
    root_keys: Vec<RootKey>,
}

impl Published {
    /// Asks for it; anybody may.
    pub(crate) async fn of(remote: &Remote) -> Result<Self, Failure> {
        remote.public("/v1/keys").await
    }

    /// The keys.
    pub(crate) fn keys(self) -> RootKeys {
        RootKeys { keys: self.root_keys }
    }
}

impl KeysCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::List { remote } => {
                let remote = remote.open()?;
                if context.out.is_json() {
                    let published = Published::of(&remote).await?;
                    let value = json!({
                        "issuer": published.issuer,
                        "authority_key": published.authority_key,
                        "keys": published.root_keys,
                    });
                    return context.out.result(&value, String::new);
                }
                let published: Value = remote.public("/v1/keys").await?;
                let row = |key: &Value| {
                    let until = if key["until"].is_null() { String::new() } else { when(key, "until", context.now()) };
                    vec![text(key, "id"), text(key, "key"), when(key, "signs_from", context.now()), until]
                };
                let rows: Vec<_> = published["root_keys"].as_array().into_iter().flatten().map(row).collect();
                context.out.raw(&table(&["id", "key", "signs from", "counts until"], &rows))
            }
            Self::Rotate { overlap, operator } => {
                let remote = operator.open()?;
                let body = json!({ "overlap_s": overlap.as_secs() });
                let key: Value = remote.send(Method::POST, "/v1/keys", &body).await?;
                context.out.result(&key, || {
                    format!(
                        "{} root key {}, signs from {}",
                        good("made"),
                        strong(text(&key, "id")),
                        when(&key, "signs_from", context.now())
                    )
                })
            }
            Self::Retire { id, operator } => {
                let remote = operator.open()?;
                let receipt: Value = remote.send(Method::POST, &format!("/v1/keys/{id}/retire"), &json!({})).await?;
                context.out.result(&receipt, || receipt_told(&receipt))
            }
        }
    }
}
