//! `writ revoke`: the kill switch.

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

use super::{receipt_told, text};
use crate::authority::http::WITNESS_PATH;
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::read_key;
use crate::cli::output::{doubtful, good, plain_line, strong};
use crate::cli::remote::OperatorArgs;
use crate::cli::time::moment;
use crate::cli::token::read_token;
use crate::clock::Timestamp;
use crate::id::BlockId;
use crate::revocation::Target;
use crate::token::inspect::inspect;
use crate::token::{Limits, RawToken};

/// `writ revoke`
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// What to end: a writ (a file, `-`, or its text), or `block:<id>`, `holder:<did:key>`, `agent:<tenant>/<name>`,
    /// `subject:<tenant>/<user>`, `session:<tenant>/<sid>`, `grant:<id>`, `service:<tenant>/<name>`,
    /// `credential:<tenant>/<name>`, `tenant:<name>`, `everything`.
    #[arg(value_name = "WHAT", required_unless_present = "witness")]
    what: Option<String>,
    /// As a holder, without an operator: a writ (a file, `-`, or its text) with your key in its chain.
    #[arg(long, value_name = "WRIT", requires = "key", conflicts_with_all = ["what", "whole", "reason", "idempotency_key", "yes"])]
    witness: Option<String>,
    /// The holder's private key file, with `--witness`.
    #[arg(long, value_name = "FILE", requires = "witness")]
    key: Option<PathBuf>,
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
    /// Say what would die, and whose it is, and change nothing.
    #[arg(long, conflicts_with_all = ["witness", "yes", "idempotency_key"])]
    explain: bool,
    /// Needed to end everything.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

impl RevokeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        if let (Some(witness), Some(key)) = (&self.witness, &self.key) {
            return self.as_holder(context, witness, key).await;
        }
        let body = self.body()?;
        let remote = self.operator.open()?;
        if self.explain {
            let told: Value = remote.send(Method::POST, "/v1/revocations/explain", &body).await?;
            return context.out.result(&told, || explanation(&told));
        }
        let receipt: Value = remote.send(Method::POST, "/v1/revocations", &body).await?;
        context.out.result(&receipt, || receipt_told(&receipt))
    }

    fn body(&self) -> Result<Value, Failure> {
        let what = self.what.as_deref().unwrap_or_default();
        let mut body = json!({
            "reason": self.reason,
            "idempotency_key": self.idempotency_key,
            "confirm": self.yes,
        });
        match what.parse::<Target>() {
            Ok(_) if self.block.is_some() || self.whole => {
                return Err(Failure::usage("`--block` and `--whole` go with a writ, not with a target"));
            }
            Ok(Target::Everything) if !self.yes && !self.explain => {
                return Err(Failure::usage(
                    "this ends every writ of every tenant, and none is issued until another operator lifts the stop: add \
                     `--yes` if you mean it",
                ));
            }
            Ok(target) => body["target"] = json!(target),
            Err(_) => {
                let token = read_token(what)?;
                let block = if self.whole { Some(authority_block(&token)?) } else { self.block };
                body["token"] = json!(token.text());
                body["block"] = json!(block);
            }
        }
        Ok(body)
    }

    /// The revocation of a holder, who shows the writ as witness and proves the key.
    async fn as_holder(&self, context: Context, witness: &str, key: &Path) -> Result<(), Failure> {
        let token = read_token(witness)?;
        let unverified = inspect(&token, &Limits::default())?;
        let issuer = &unverified.claims().authority().issuer;
        let body = json!({ "token": token.text(), "block": self.block });
        let remote = self.operator.remote().open()?;
        let answer: Value = remote.send_proven(issuer, WITNESS_PATH, &read_key(key)?, &body, context.now()).await?;
        context.out.result(&answer, || match answer["over_since"].as_i64() {
            Some(millis) => {
                let then = Timestamp::from_millis(millis);
                format!("{} is over since {}: nothing to end", strong(text(&answer, "target")), moment(then))
            }
            None => receipt_told(&answer),
        })
    }
}

/// What a revocation would do, for a person.
fn explanation(told: &Value) -> String {
    let count = |name: &str, one: &str, many: &str| {
        let n = told[name].as_u64().unwrap_or(0);
        format!("{} {}", strong(n), if n == 1 { one } else { many })
    };
    let known = if told["known"] == true { "" } else { ", which was never seen here" };
    let mut lines = vec![
        format!("{} would be revoked{known}. Nothing has been changed.", strong(plain_line(&text(told, "target")))),
        format!(
            "It reaches {} of {}, for {}.",
            count("writs", "live writ", "live writs"),
            count("agents", "agent", "agents"),
            count("users", "user", "users")
        ),
    ];
    for (name, heading) in [("top_agents", "agent"), ("top_users", "user"), ("services", "service")] {
        for share in told[name].as_array().into_iter().flatten() {
            let whose = plain_line(&format!("{}/{}", text(share, "tenant"), text(share, "name")));
            lines.push(format!("  {} {heading} {whose}", count_of(share)));
        }
    }
    for (name, heading) in [("also", good("also")), ("but", doubtful("but"))] {
        let sentences = told[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.extend(sentences.map(|sentence| format!("{heading} {sentence}")));
    }
    lines.join("\n")
}

fn count_of(share: &Value) -> String {
    format!("{:>6}", share["writs"].as_u64().unwrap_or(0))
}

fn authority_block(token: &RawToken) -> Result<BlockId, Failure> {
    let unverified = inspect(token, &Limits::default())?;
    Ok(unverified.claims().authority().id)
}
