//! `writ policy`: write policies, see what they do before they do it, and why they decided.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::catalog::Service;
use crate::catalog::builtin::{BUILTIN, Builtin};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::read_text;
use crate::cli::operate::limit::limits_of;
use crate::cli::remote::{OperatorArgs, Remote};
use crate::cli::request::encoded;
use crate::id::TenantName;
use crate::policy::rules::explain as explained;
use crate::policy::rules::{Facts, PolicySet, Rules, Schema, Type};

mod check;
mod diff;
mod draft;
mod explain;
mod source;
mod stored;
mod template;
mod test;

use source::Source;

/// `writ policy …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say what is wrong with policies: names that do not exist, rules that can never match or add nothing, grants that no
    /// policy lets through. Ends with 1 if they could not be loaded.
    Check(check::CheckArgs),
    /// Run the cases beside policies. Ends with 1 if one does not come out as it says.
    Test(test::TestArgs),
    /// Say why something is allowed or denied: each policy, what it asks, and which part failed.
    Explain(Box<explain::ExplainArgs>),
    /// Show which recorded calls would come out differently under other policies.
    Diff(diff::DiffArgs),
    /// Policies with parameters, ready to use.
    #[command(subcommand)]
    Template(template::TemplateCommand),
    /// Ask a language model for a draft. Never loads anything: read it, then load it yourself.
    Draft(draft::DraftArgs),
    /// Print what policies may name, as a Cedar schema.
    Schema(SchemaArgs),
    /// Make policies the tenant's set. Returns once no edge acts on another; what is not valid changes nothing.
    Put(stored::PutArgs),
    /// Show the set in force, or another version.
    Show(stored::ShowArgs),
    /// List the versions.
    History(stored::HistoryArgs),
    /// Store the text of an older version again, as the next one.
    Rollback(stored::RollbackArgs),
}

/// What policies may name: the services, and what else is known.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What policies may name")]
pub(crate) struct Known {
    /// A service's file; may be repeated. Without this and `--builtin`, the authority's catalog is asked.
    #[arg(long = "service", value_name = "FILE")]
    services: Vec<PathBuf>,
    /// A service that writ brings along, or `all`; may be repeated.
    #[arg(long = "builtin", value_name = "NAME")]
    builtin: Vec<String>,
    /// A claim of the identity provider that writs carry, as `amr=strings`, `level=integer`, `compliant=boolean`; may be
    /// repeated.
    #[arg(long = "claim", value_name = "NAME=TYPE", value_parser = claim)]
    claims: Vec<(Box<str>, Type)>,
    #[command(flatten)]
    operator: OperatorArgs,
}

/// `writ policy schema`
#[derive(Debug, clap::Args)]
pub(crate) struct SchemaArgs {
    #[command(flatten)]
    known: Known,
}

impl PolicyCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Check(args) => args.run(&context).await,
            Self::Test(args) => args.run(&context).await,
            Self::Explain(args) => args.run(&context).await,
            Self::Diff(args) => args.run(&context).await,
            Self::Template(command) => command.run(&context),
            Self::Draft(args) => args.run(&context).await,
            Self::Schema(args) => {
                let schema = args.known.schema(None).await?;
                context.out.raw(schema.text()?.trim_end())
            }
            Self::Put(args) => args.run(&context).await,
            Self::Show(args) => args.run(&context).await,
            Self::History(args) => args.run(&context).await,
            Self::Rollback(args) => args.run(&context).await,
        }
    }
}

impl Known {
    /// Whether the authority is asked.
    fn is_remote(&self) -> bool {
        self.services.is_empty() && self.builtin.is_empty()
    }

    /// What the policies of `source` may name; without one, those of the tenant.
    async fn schema(&self, source: Option<&Source>) -> Result<Schema, Failure> {
        let services = if self.is_remote() { self.remote().await? } else { self.local()? };
        let limits = match source {
            Some(source) => Facts::limits_of(&source.document.limit),
            None if self.is_remote() => Facts::limits_of(&limits_of(&self.operator.open()?).await?),
            None => BTreeMap::new(),
        };
        let claims: BTreeMap<Box<str>, Type> = self.claims.iter().cloned().collect();
        Ok(Schema::of(&services, Facts { claims, limits }))
    }

    async fn remote(&self) -> Result<Vec<Service>, Failure> {
        let remote = self.operator.open()?;
        remote.fetch(&format!("/v1/services?{}", encoded(&[("tenant", remote.tenant().to_string())]))).await
    }

    fn local(&self) -> Result<Vec<Service>, Failure> {
        let mut services = Vec::new();
        for path in &self.services {
            let told = |error| Failure::from(error).during(path.display());
            services.push(Service::from_toml(&read_text(path)?).map_err(told)?);
        }
        for name in &self.builtin {
            let chosen: Vec<Builtin> = match name.as_str() {
                "all" => BUILTIN.to_vec(),
                name => vec![Builtin::named(name).ok_or_else(|| {
                    Failure::usage(format!(
                        "writ brings no service `{name}` along: `writ service add --help` lists them"
                    ))
                })?],
            };
            for builtin in chosen {
                services.push(Service::from_toml(builtin.text())?);
            }
        }
        Ok(services)
    }
}

/// The set that these files hold, ready to decide. Whether what it names exists is not looked at.
pub(crate) fn of_files(files: &[PathBuf]) -> Result<Rules, Failure> {
    Ok(Rules::compile(0, 0, parsed(&Source::read(files)?)?)?)
}

/// The set of the tenant that is in force, ready to decide.
pub(crate) async fn in_force(remote: &Remote, tenant: &TenantName) -> Result<Rules, Failure> {
    let (version, document) = stored::of(remote, tenant).await?;
    Ok(Rules::compile(version, 0, PolicySet::parse(document)?)?)
}

/// What each policy says, for a person: those that matter first.
pub(crate) fn told(found: &explained::Explanation) -> String {
    explain::told(found)
}

/// A set that may be loaded, ready to decide; what is wrong with it otherwise.
fn rules(source: &Source, schema: &Schema) -> Result<Rules, Failure> {
    let set = parsed(source)?;
    schema.check_limits(&source.document.limit)?;
    let findings = schema.findings(&set);
    match findings.iter().find(|finding| finding.severity == crate::policy::rules::Severity::Error) {
        Some(error) => Err(Failure::new(source.told(error))),
        None => Ok(Rules::compile(0, 0, set)?),
    }
}

/// The set of a document.
fn parsed(source: &Source) -> Result<PolicySet, Failure> {
    PolicySet::parse(source.document.clone()).map_err(|error| {
        let place = error.line.map(|line| format!("{}: ", source.place(line))).unwrap_or_default();
        let policy = error.policy.as_ref().map(|policy| format!("policy `{policy}`: ")).unwrap_or_default();
        Failure::new(format!("{place}{policy}{}", error.message))
    })
}

fn claim(text: &str) -> Result<(Box<str>, Type), String> {
    let (name, kind) = text.split_once('=').ok_or("write it as `name=type`")?;
    let kind = match kind {
        "string" => Type::Text,
        "strings" => Type::Set(&Type::Text),
        "integer" => Type::Integer,
        "boolean" => Type::Boolean,
        _ => return Err("a claim's type is `string`, `strings`, `integer` or `boolean`".to_owned()),
    };
    Ok((name.into(), kind))
}

/// A JSON value of an argument on the command line: JSON if it is, a text otherwise.
fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
