//! `writ credential`: secrets go in, by standard input or a file, and never come out.

use http::Method;
use serde::Serialize;
use serde_json::Value;

use super::{list, of_tenant, text, when};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::SecretSource;
use crate::cli::output::{good, strong};
use crate::cli::remote::OperatorArgs;
use crate::id::{CredentialName, Subject};
use crate::wire::WireSecret;

/// How the secret is presented to the service.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Presented {
    /// As `Authorization: Bearer`.
    #[arg(long)]
    bearer: bool,
    /// In a header of this name.
    #[arg(long, value_name = "NAME")]
    header: Option<Box<str>>,
    /// As the password of HTTP Basic, with this user name.
    #[arg(long, value_name = "USERNAME")]
    basic: Option<Box<str>>,
    /// In a query parameter of this name.
    #[arg(long, value_name = "NAME")]
    query: Option<Box<str>>,
}

/// `writ credential …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CredentialCommand {
    /// Add a credential. Its secret is read from standard input or a file, never from the command line.
    Add {
        /// The name that services refer to.
        name: CredentialName,
        #[command(flatten)]
        presented: Presented,
        /// The user whose own it is, for services where each user has one.
        #[arg(long, value_name = "USER")]
        subject: Option<Subject>,
        #[command(flatten)]
        secret: SecretSource,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// List credentials: everything but their secrets.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Replace the secret of a credential.
    Rotate {
        /// Its name.
        name: CredentialName,
        /// The user whose own it is.
        #[arg(long, value_name = "USER")]
        subject: Option<Subject>,
        #[command(flatten)]
        secret: SecretSource,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Remove a credential.
    Remove {
        /// Its name.
        name: CredentialName,
        /// The user whose own it is.
        #[arg(long, value_name = "USER")]
        subject: Option<Subject>,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

#[derive(Serialize)]
struct NewCredential<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    secret: WireSecret,
}

#[derive(Serialize)]
struct NextSecret {
    secret: WireSecret,
}

impl Presented {
    fn with(&self, secret: WireSecret) -> NewCredential<'_> {
        let (kind, name, username) = match (&self.header, &self.basic, &self.query) {
            (Some(name), _, _) => ("header", Some(&**name), None),
            (_, Some(username), _) => ("basic", None, Some(&**username)),
            (_, _, Some(name)) => ("query", Some(&**name), None),
            (None, None, None) => ("bearer", None, None),
        };
        NewCredential { kind, name, username, secret }
    }
}

impl CredentialCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Add { name, presented, subject, secret, operator } => {
                let remote = operator.open()?;
                let body = presented.with(WireSecret(secret.read("the secret")?));
                let path = of_tenant(&remote, &format!("/v1/credentials/{name}"), &[owner(subject)]);
                told(&context, remote.send(Method::PUT, &path, &body).await?, "added")
            }
            Self::List { operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, "/v1/credentials", &[]);
                list(
                    &context,
                    &remote,
                    &path,
                    &[
                        ("credential", |row, _| text(row, "name")),
                        ("of user", |row, _| text(row, "subject")),
                        ("presented as", |row, _| presented_as(&row["presented"])),
                        ("version", |row, _| text(row, "version")),
                        ("updated", |row, now| when(row, "updated", now)),
                    ],
                )
                .await
            }
            Self::Rotate { name, subject, secret, operator } => {
                let remote = operator.open()?;
                let body = NextSecret { secret: WireSecret(secret.read("the new secret")?) };
                let path = of_tenant(&remote, &format!("/v1/credentials/{name}/rotate"), &[owner(subject)]);
                told(&context, remote.send(Method::POST, &path, &body).await?, "rotated")
            }
            Self::Remove { name, subject, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/credentials/{name}"), &[owner(subject)]);
                let answer: Value = remote.delete(&path).await?;
                context.out.result(&answer, || format!("{} credential {}", good("removed"), strong(&name)))
            }
        }
    }
}

fn owner(subject: Option<Subject>) -> (&'static str, Option<String>) {
    ("subject", subject.map(|subject| subject.to_string()))
}

fn told(context: &Context, credential: Value, done: &str) -> Result<(), Failure> {
    context.out.result(&credential, || {
        let (name, version) = (text(&credential, "name"), text(&credential, "version"));
        format!("{} credential {}, version {version}", good(done), strong(name))
    })
}

fn presented_as(presented: &Value) -> String {
    let detail = [text(presented, "name"), text(presented, "username")].concat();
    format!("{} {detail}", text(presented, "kind")).trim_end().to_owned()
}
