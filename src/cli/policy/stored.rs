//! The set that is in force, and those before it: `put`, `show`, `history`, `rollback`.

use std::path::PathBuf;

use http::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::source::Source;
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::operate::{list, of_tenant, text, when};
use crate::cli::output::{good, plain, plain_line, strong};
use crate::cli::remote::{OperatorArgs, Remote};
use crate::cli::request::encoded;
use crate::id::TenantName;
use crate::policy::limit::Limits;
use crate::policy::rules::Document;

/// `writ policy put`
#[derive(Debug, clap::Args)]
pub(crate) struct PutArgs {
    /// Documents in TOML, Cedar files, or folders of them: all of them are the set.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// `writ policy show`
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// Another version than the one in force.
    #[arg(long, value_name = "NUMBER")]
    version: Option<u64>,
    /// The whole document, with zone and limits, as `writ policy put` takes it.
    #[arg(long)]
    toml: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// `writ policy history`
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    operator: OperatorArgs,
}

/// `writ policy rollback`
#[derive(Debug, clap::Args)]
pub(crate) struct RollbackArgs {
    /// The version whose text is stored again, as the next version.
    #[arg(value_name = "NUMBER")]
    version: u64,
    #[command(flatten)]
    operator: OperatorArgs,
}

impl PutArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let source = Source::read(&self.files)?;
        put(context, &self.operator.open()?, &source.document).await
    }
}

impl ShowArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = self.operator.open()?;
        if self.toml {
            let document = document(&remote, self.version).await?;
            return context.out.raw(toml::to_string_pretty(&document)?.trim_end());
        }
        let shown = stored(&remote, self.version).await?;
        context.out.result(&shown, || {
            let document = &shown["document"];
            let mut lines =
                vec![format!("// version {}, zone {}", shown["version"], plain_line(&text(document, "zone")))];
            lines.extend(limits_told(&document["limit"]));
            lines.push(plain(text(document, "policy").trim_end()));
            lines.join("\n")
        })
    }
}

impl HistoryArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = self.operator.open()?;
        let path = of_tenant(&remote, "/v1/policies/history", &[]);
        list(
            context,
            &remote,
            &path,
            &[
                ("version", |row, _| text(row, "version")),
                ("stored", |row, now| when(row, "at", now)),
                ("by", |row, _| text(row, "author")),
            ],
        )
        .await
    }
}

impl RollbackArgs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let remote = self.operator.open()?;
        let document = document(&remote, Some(self.version)).await?;
        put(context, &remote, &document).await
    }
}

/// Limits, as comments.
fn limits_told(limits: &Value) -> Vec<String> {
    match Limits::deserialize(limits) {
        Ok(limits) => limits.iter().map(|limit| format!("// limit {}: {limit}", limit.name())).collect(),
        // None, or of another version of writ.
        Err(_) => Vec::new(),
    }
}

async fn put(context: &Context, remote: &Remote, document: &Document) -> Result<(), Failure> {
    let done: Value = remote.send(Method::PUT, &of_tenant(remote, "/v1/policies", &[]), document).await?;
    context.out.result(&done, || {
        let receipt = &done["receipt"];
        format!(
            "{} version {}: no edge acts on another set. {} ms after the commit, at most {} ms.",
            good("stored"),
            strong(&done["version"]),
            receipt["elapsed_ms"],
            receipt["bound_ms"]
        )
    })
}

async fn stored(remote: &Remote, version: Option<u64>) -> Result<Value, Failure> {
    let path = version.map_or_else(|| "/v1/policies".to_owned(), |version| format!("/v1/policies/{version}"));
    remote.fetch(&of_tenant(remote, &path, &[])).await
}

/// A tenant's set in force, and its version: 0 for the built-in one.
pub(super) async fn of(remote: &Remote, tenant: &TenantName) -> Result<(u64, Document), Failure> {
    #[derive(serde::Deserialize)]
    struct Shown {
        version: u64,
        document: Document,
    }
    let path = format!("/v1/policies?{}", encoded(&[("tenant", tenant.to_string())]));
    let Shown { version, document } = remote.fetch(&path).await?;
    Ok((version, document))
}

/// The set in force, or another version of it.
pub(super) async fn document(remote: &Remote, version: Option<u64>) -> Result<Document, Failure> {
    let mut shown = stored(remote, version).await?;
    serde_json::from_value(shown["document"].take())
        .map_err(|error| Failure::from(error).during("that version was stored by another version of writ"))
}
