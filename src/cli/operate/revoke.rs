//! `writ revoke`: the kill switch.

use http::Method;
use serde_json::{Value, json};

use super::receipt_told;
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::remote::OperatorArgs;
use crate::cli::token::read_token;
use crate::id::BlockId;
use crate::revocation::Target;

/// `writ revoke`
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// What to end: a writ (a file, `-`, or its text), or `block:<id>`, `holder:<did:key>`, `agent:<tenant>/<name>`,
    /// `subject:<tenant>/<user>`, `grant:<id>`, `tenant:<name>`, `everything`.
    #[arg(value_name = "WHAT")]
    what: String,
    /// Of a writ: end this block and what hangs below it. Without it, the last holder's.
    #[arg(long, value_name = "ID", conflicts_with = "whole")]
    block: Option<BlockId>,
    /// Of a writ: end all of it, from its authority block.
    #[arg(long)]
    whole: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// A name of this request: sent twice, it is one revocation.
    #[arg(long, value_name = "NAME")]
    idempotency_key: Option<String>,
    /// Needed to end everything.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

impl RevokeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        let mut body = json!({
            "reason": self.reason,
            "idempotency_key": self.idempotency_key,
            "confirm": self.yes,
        });
        match self.what.parse::<Target>() {
            Ok(_) if self.block.is_some() || self.whole => {
                return Err(Failure::usage("`--block` and `--whole` go with a writ, not with a target"));
            }
            Ok(Target::Everything) if !self.yes => {
                return Err(Failure::usage(
                    "this ends every writ of every tenant, and none is issued until another operator lifts the stop: add `--yes` if \
                     you mean it",
                ));
            }
            Ok(target) => body["target"] = json!(target),
            Err(_) => {
                let token = read_token(&self.what)?;
                let block = if self.whole { Some(authority_block(&token)?) } else { self.block };
                body["token"] = json!(token.text());
                body["block"] = json!(block);
            }
        }
        let remote = self.operator.open()?;
        let receipt: Value = remote.send(Method::POST, "/v1/revocations", &body).await?;
        context.out.result(&receipt, || receipt_told(&receipt))
    }
}

fn authority_block(token: &crate::token::RawToken) -> Result<BlockId, Failure> {
    let unverified = crate::token::inspect::inspect(token, &crate::token::Limits::default())?;
    Ok(unverified.claims().authority().id)
}
