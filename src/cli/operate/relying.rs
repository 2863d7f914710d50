//! `writ relying`: services that may ask whether a writ is active.

use http::Method;
use serde_json::{Value, json};

use super::{Column, list, of_tenant, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::output::{good, strong};
use crate::cli::remote::OperatorArgs;
use crate::id::{AudienceName, RelyingName};
use crate::key::PublicKey;

/// `writ relying …`
#[expect(clippy::large_enum_variant, reason = "made once per process")]
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RelyingCommand {
    /// Register a service by its public key: it may ask at `/oauth/introspect` about the writs of one deployment.
    Add {
        /// Its name, unique in the tenant.
        name: RelyingName,
        /// Its public key, `did:key:…`.
        #[arg(long, value_name = "DID")]
        key: PublicKey,
        /// The deployment; may be left out where there is only one.
        #[arg(long, value_name = "NAME")]
        audience: Option<AudienceName>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List the relying services of a tenant.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Remove a relying service: its key counts no longer.
    Remove {
        /// Its name.
        name: RelyingName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

impl RelyingCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Add { name, key, audience, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/relying", &[]);
                let body = json!({ "name": name, "key": key, "audience": audience });
                let added: Value = remote.send(Method::POST, &path, &body).await?;
                context.out.result(&added, || {
                    let audience = text(&added, "audience");
                    format!("{} relying service {} for {audience} with key {key}", good("registered"), strong(&name))
                })
            }
            Self::List { operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/relying", &[]);
                let columns: &[Column] = &[
                    ("relying service", |row, _| text(row, "name")),
                    ("deployment", |row, _| text(row, "audience")),
                    ("key", |row, _| text(row, "key")),
                    ("registered", |row, now| when(row, "created", now)),
                ];
                list(&context, &remote, &path, columns).await
            }
            Self::Remove { name, operator } => {
                let remote = operator.open()?;
                let removed: Value = remote.delete(&of_tenant(&remote, &format!("/v1/relying/{name}"), &[])).await?;
                context.out.result(&removed, || format!("{} relying service {}", good("removed"), strong(&name)))
            }
        }
    }
}
