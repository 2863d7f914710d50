//! `writ stop`: what `writ revoke everything` leaves behind, until another operator lifts it.

use http::Method;
use serde_json::{Value, json};

use super::{text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{bad, good, strong};
use crate::cli::remote::OperatorArgs;

/// `writ stop …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum StopCommand {
    /// Whether everything is stopped, by whom, and who could lift it.
    Status {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Let writs be issued again. Needs another operator than the one who stopped; nothing that was revoked lives again.
    Lift {
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

impl StopCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Status { operator } => {
                let status: Value = operator.open()?.fetch("/v1/stop").await?;
                context.out.result(&status, || told(&status, &context))
            }
            Self::Lift { operator } => {
                let lifted: Value = operator.open()?.send(Method::POST, "/v1/stop/lift", &json!({})).await?;
                context.out.result(&lifted, || {
                    format!("{}: writs are issued again. What was revoked stays revoked.", good("lifted"))
                })
            }
        }
    }
}

fn told(status: &Value, context: &Context) -> String {
    if status["stopped"] != true {
        return format!("{}: nothing is stopped", good("running"));
    }
    let by = status["by"].as_str().unwrap_or("no operator");
    let who = text(status, "may_lift");
    let next = match who.as_str() {
        "" => "No operator may lift it: the owner of the database can (spec/store.md).".to_owned(),
        who => format!("`writ stop lift` works for: {who}"),
    };
    format!("{} by {} {}. {next}", bad("stopped"), strong(by), when(status, "at", context.now()))
}
