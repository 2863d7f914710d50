//! `writ run -- CMD …`: a local proxy that adds the writ and a fresh proof to every request of a program that knows
//! nothing of writ. Listens on this machine only, for this run only, and for this program only.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::catalog::Origin;
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{random, read_key};
use crate::cli::output::{faint, term};
use crate::cli::remote::{RemoteArgs, trusted_roots};
use crate::cli::request::{AgentCredentials, Wish};
use crate::cli::run::holder::Holder;
use crate::cli::run::interception::RunAuthority;
use crate::cli::run::proxy::{Pass, Proxy};
use crate::cli::run::services::Services;
use crate::cli::token::read_token;
use crate::dial::{AddressRule, Dialer, Limits};
use crate::id::{AgentName, ServiceName};
use crate::key::KeyPair;

mod child;
mod environment;
mod forward;
mod holder;
mod interception;
mod proxy;
mod services;

/// `writ run`
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The edge's origin.
    #[arg(long, value_name = "URL", env = "WRIT_EDGE")]
    edge: Origin,
    /// The private key file of the writ's holder. With `--workload-token` it may be left out: then a key is made for this run.
    #[arg(long, value_name = "FILE", env = "WRIT_KEY", required_unless_present = "workload_token")]
    key: Option<PathBuf>,
    /// The writ: a file, `-` for standard input, or its text. It is not renewed.
    #[arg(long, value_name = "TOKEN", env = "WRIT_TOKEN", conflicts_with = "agent")]
    token: Option<String>,
    /// Ask the authority for a writ as this agent, and renew it before it ends.
    #[arg(long, value_name = "NAME", requires = "scope")]
    agent: Option<AgentName>,
    /// The file in which the platform keeps the agent's token (SPIFFE, Kubernetes, CI): instead of a registered key. It is read
    /// anew at each renewal.
    #[arg(long, value_name = "FILE", requires = "agent")]
    workload_token: Option<PathBuf>,
    #[command(flatten)]
    wish: Wish,
    #[command(flatten)]
    remote: RemoteArgs,
    /// Send what the program sends to this origin to that service, `NAME=https://host`; may be repeated. Without it, the
    /// edge is asked which origins its services have.
    #[arg(long = "service", value_name = "NAME=ORIGIN", value_parser = parse_service)]
    services: Vec<(ServiceName, Origin)>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

fn parse_service(text: &str) -> Result<(ServiceName, Origin), String> {
    let (name, origin) = text.split_once('=').ok_or("write it as `notes=https://api.notes.example`")?;
    let name = name.parse().map_err(|error: crate::id::InvalidName| error.to_string())?;
    Ok((name, origin.parse().map_err(|error: crate::catalog::origin::InvalidOrigin| format!("`{origin}`: {error}"))?))
}

impl RunArgs {
    /// Runs the program; ends as it ended.
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        let roots = trusted_roots(self.remote.ca())?;
        let holder = self.holder(context).await?;
        let dialer = Dialer::new(&roots, Limits::default()).with_key(holder.key())?;
        let edge = dialer.upstream(&self.edge, AddressRule::Any)?;
        let mut services = Services::named(self.services.clone());
        if services.is_empty() {
            services = Services::of_edge(&edge, &self.edge, &holder).await?;
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let pass = Pass::new(listener.local_addr()?, hex::encode(random::<16>()?));
        let authority = RunAuthority::new(context.now())?;
        let environment = environment::of(&pass, &services, authority.bundle());
        context.out.remark(&faint(format!(
            "writ: {} may reach {} through {}",
            term(self.command[0].to_string_lossy()),
            services.told(),
            self.edge
        )));
        let proxy =
            Arc::new(Proxy { edge, edge_origin: self.edge.to_string().into(), holder, services, pass, authority });
        let serving = tokio::spawn(proxy.serve(listener));
        let ended = child::run(&self.command, &environment).await;
        serving.abort();
        match ended? {
            0 => Ok(()),
            code => Err(Failure::silent(code)),
        }
    }

    async fn holder(&self, context: Context) -> Result<Holder, Failure> {
        let key = match &self.key {
            Some(path) => read_key(path)?,
            None => KeyPair::from_seed(&Zeroizing::new(random()?)),
        };
        match (&self.token, &self.agent) {
            (Some(token), None) => Holder::of_token(context, read_token(token)?, key),
            (None, Some(agent)) => {
                let remote = self.remote.open()?;
                let (tenant, workload_token) = (remote.tenant().clone(), self.workload_token.clone());
                let credentials = AgentCredentials { tenant, agent: agent.clone(), key, workload_token };
                Holder::of_agent(context, remote, credentials, self.wish.clone()).await
            }
            _ => Err(Failure::usage("give a writ with `--token`, or `--agent` and `--scope` to ask for one")),
        }
    }
}
