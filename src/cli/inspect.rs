//! `writ inspect` and `writ verify`: what a writ says, and whether it holds.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::read_json;
use crate::cli::online;
use crate::cli::operate::key::Published;
use crate::cli::remote::RemoteArgs;
use crate::cli::token::TokenArg;
use crate::cli::tree::{Signatures, draw};
use crate::id::AudienceName;
use crate::token::inspect::{TokenView, inspect, view};
use crate::token::verify::{Expected, current};
use crate::token::{Limits, RootKeys, verify};

/// `writ inspect`
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    token: TokenArg,
    /// Check the signatures too, by these root keys (JSON, as `writ keys list --json` prints them).
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// What `inspect --json` and `verify --json` print.
#[derive(serde::Serialize)]
struct Shown {
    signatures: &'static str,
    #[serde(flatten)]
    token: TokenView,
}

impl InspectArgs {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        let (raw, limits) = (self.token.read()?, Limits::default());
        match &self.keys {
            None => {
                let unverified = inspect(&raw, &limits)?;
                let shown = Shown { signatures: "unchecked", token: view(unverified.claims()) };
                context.out.result(&shown, || draw(unverified.claims(), Signatures::Unchecked, context.now()))
            }
            Some(path) => {
                let chain = verify(&raw, &read_json(path)?, &limits)?;
                let shown = Shown { signatures: "hold", token: view(&chain) };
                context.out.result(&shown, || draw(&chain, Signatures::Hold, context.now()))
            }
        }
    }
}

/// `writ verify`
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    token: TokenArg,
    /// The root keys (JSON, as `writ keys list --json` prints them). Without this, the authority is asked.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The authority it must come from. Without this, the one it names.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The edge deployment it must be meant for. Without this, the one it names.
    #[arg(long, value_name = "NAME")]
    audience: Option<AudienceName>,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl VerifyArgs {
    pub(crate) fn run(self, context: Context) -> Result<(), Failure> {
        let raw = self.token.read()?;
        let (keys, asked) = match &self.keys {
            Some(path) => (read_json::<RootKeys>(path)?, None),
            None => {
                let published = online(async { Published::of(&self.remote.open()?).await })?;
                let issuer = published.issuer.clone();
                (published.keys(), Some(issuer))
            }
        };
        let chain = Arc::new(verify(&raw, &keys, &Limits::default())?);
        let issuer = self.issuer.map(Into::into).or(asked);
        let expected = Expected {
            issuer: issuer.unwrap_or_else(|| chain.authority().issuer.clone()),
            audience: self.audience.unwrap_or_else(|| chain.authority().audience.clone()),
        };
        current(&chain, &keys, &expected, context.now())?;
        let shown = Shown { signatures: "hold", token: view(&chain) };
        context.out.result(&shown, || draw(&chain, Signatures::Hold, context.now()))?;
        context.out.remark("It holds. Whether it is revoked, an edge or its authority knows.");
        Ok(())
    }
}
