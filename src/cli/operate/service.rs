//! `writ service`: what agents may call, and how requests are understood.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::Value;

use super::import::ImportArgs;
use super::of_tenant;
use crate::catalog::Service;
use crate::catalog::builtin::{BUILTIN, Builtin};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::read_text;
use crate::cli::output::{good, strong, table};
use crate::cli::remote::OperatorArgs;
use crate::id::ServiceName;

/// `writ service …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ServiceCommand {
    /// Add a service from its TOML file, or replace the one of that name.
    Add {
        /// The file; `-` for standard input. `spec/catalog.md` describes it.
        #[arg(required_unless_present = "builtin", conflicts_with = "builtin")]
        file: Option<PathBuf>,
        /// Add a service that writ brings along, instead of a file.
        #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(BUILTIN.map(|builtin| builtin.name())))]
        builtin: Option<String>,
        /// Where the service is that writ brings along, if not where everybody's is.
        #[arg(long, value_name = "URL", requires = "builtin")]
        upstream: Option<String>,
        /// Only check the file; call nobody.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Make a service's file from a description of its API: OpenAPI, Swagger, Google discovery. Calls nobody.
    Import(ImportArgs),
    /// List the services of a tenant.
    List {
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Show a service as its TOML file.
    Show {
        /// Its name.
        name: ServiceName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
    /// Remove a service.
    Remove {
        /// Its name.
        name: ServiceName,
        #[command(flatten)]
        operator: OperatorArgs,
    },
}

impl ServiceCommand {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self {
            Self::Add { file, builtin, upstream, check, operator } => {
                let service = match (file, builtin.as_deref().and_then(Builtin::named)) {
                    (Some(file), _) => Service::from_toml(&read_text(&file)?)
                        .map_err(|error| Failure::from(error).during(file.display()))?,
                    (None, Some(builtin)) => builtin.service(upstream.as_deref())?,
                    (None, None) => return Err(Failure::usage("name a file, or a service with `--builtin`")),
                };
                let name = service.name().clone();
                if check {
                    return context.out.result(&service, || format!("{} service {}", good("checked"), strong(&name)));
                }
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/services/{name}"), &[]);
                let version: Value = remote.send(Method::PUT, &path, &service).await?;
                context.out.result(&version, || {
                    let routes = service.routes().len();
                    format!(
                        "{} service {} with {routes} routes, at {}",
                        good("added"),
                        strong(&name),
                        service.upstream()
                    )
                })
            }
            Self::Import(args) => args.run(&context),
            Self::List { operator } => {
                let remote = operator.open()?;
                let services: Vec<Service> = remote.fetch(&of_tenant(&remote, "/v1/services", &[])).await?;
                context.out.result(&services, || {
                    let row = |service: &Service| {
                        let credential = service.credential().map_or_else(|| "none".to_owned(), ToString::to_string);
                        vec![
                            service.name().to_string(),
                            service.upstream().to_string(),
                            credential,
                            service.routes().len().to_string(),
                        ]
                    };
                    table(
                        &["service", "upstream", "credential", "routes"],
                        &services.iter().map(row).collect::<Vec<_>>(),
                    )
                })
            }
            Self::Show { name, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/services/{name}"), &[]);
                let service: Service = remote.fetch(&path).await?;
                context.out.result(&service, || service.to_toml().trim_end().to_owned())
            }
            Self::Remove { name, operator } => {
                let remote = operator.open()?;
                let path = of_tenant(&remote, &format!("/v1/services/{name}"), &[]);
                let version: Value = remote.delete(&path).await?;
                context.out.result(&version, || format!("{} service {}", good("removed"), strong(&name)))
            }
        }
    }
}
