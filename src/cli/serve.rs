//! The processes: `writ serve` and `writ edge`. Both end in order when they are told to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use crate::authority::{Authority, RunningAuthority};
use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::read_text;
use crate::cli::operate::edge::EdgeCommand;
use crate::cli::output::{good, strong};
use crate::cli::remote::variable;
use crate::clock::SystemClock;
use crate::config::TlsFiles;
use crate::config::authority::{AuthorityConfig, KekSource};
use crate::config::edge::{EdgeConfig, NonceMode};
use crate::dial::TrustedRoots;
use crate::edge::join::{Address, Joined, Rejoin};
use crate::edge::{Bound, RunningEdge};
use crate::store::{self, StoreUrl};
use crate::telemetry::metrics::MetricsServer;
use crate::telemetry::{self, LogForm};
use crate::vault::{Kek, Keyring};
use crate::wire::JoinTicketText;

/// How a process logs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// What is logged, to standard error: a level, or `writ::edge=debug,info`.
    #[arg(long, value_name = "FILTER", env = "WRIT_LOG", default_value = "info")]
    log: String,
    /// Log JSON lines.
    #[arg(long)]
    log_json: bool,
}

impl LogArgs {
    fn start(&self) -> Result<(), Failure> {
        let form = if self.log_json { LogForm::Json } else { LogForm::Text };
        telemetry::start(&self.log, form).map_err(|error| Failure::usage(error.to_string()))?;
        telemetry::watch_panics();
        Ok(())
    }
}

/// A connection is a file. Many systems allow a process a thousand, unless it asks for what its limit may be raised to.
fn open_as_many_files_as_may_be() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it may not be raised, what is allowed must do: past it, idle connections are closed.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// `writ serve`
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The settings file that `writ init` wrote.
    #[arg(long, value_name = "FILE", default_value = "writ.toml")]
    config: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

impl ServeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        self.log.start()?;
        open_as_many_files_as_may_be();
        let config = AuthorityConfig::read(&self.config)?;
        let keyring = keyring(&config.keks)?;
        let store = store::open(&store_url(&config)?).await?;
        let (clock, issuer) = (Arc::new(SystemClock), Some(&config.issuer));
        let authority = Authority::open(store, keyring, clock, config.terms.clone(), issuer).await?;
        let tls = config.tls.as_ref().map(server_tls).transpose()?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|error| Failure::from(error).during(format!("cannot listen on {}", config.listen)))?;
        let metrics = match config.metrics_listen {
            Some(address) => Some(listening_for_metrics(address).await?),
            None => None,
        };
        let _metrics = metrics.map(|listener| {
            let authority = Arc::clone(&authority);
            MetricsServer::start(listener, move || authority.metrics_page())
        });
        let running = RunningAuthority::start(authority, listener, tls.map(Arc::new))?;
        context.out.remark(&format!("{} authority {} at {}", good("serving"), strong(&config.issuer), running.addr));
        told_to_stop().await?;
        context.out.remark("stopping: open requests may finish; a second signal ends at once");
        or_at_once(running.shutdown()).await
    }
}

async fn listening_for_metrics(address: SocketAddr) -> Result<TcpListener, Failure> {
    let told = |error| Failure::from(error).during(format!("`metrics_listen`: cannot listen on {address}"));
    TcpListener::bind(address).await.map_err(told)
}

/// Where the settings say that the state is.
pub(crate) fn store_url(config: &AuthorityConfig) -> Result<StoreUrl, Failure> {
    Ok(config.store.as_str().parse()?)
}

/// The key-encryption keys: the first seals, all of them open.
pub(crate) fn keyring(source: &KekSource) -> Result<Keyring, Failure> {
    let texts: Vec<Zeroizing<String>> = match source {
        KekSource::Files(paths) => {
            paths.iter().map(|path| read_text(path).map(Zeroizing::new)).collect::<Result<_, _>>()?
        }
        KekSource::Variable(name) => {
            let text = variable(name).map(Zeroizing::new).ok_or_else(|| {
                Failure::new(format!("`vault.kek_variable` names `{name}`, which is not set: put the key into it"))
            })?;
            text.split(',').map(|key| Zeroizing::new(key.to_owned())).collect()
        }
    };
    let mut keys = texts.iter().map(|text| Kek::parse(text)).collect::<Result<Vec<_>, _>>()?.into_iter();
    let active = keys.next().ok_or_else(|| Failure::new("`vault.kek_files` names no key"))?;
    Ok(Keyring::new(active, keys.collect()))
}

fn server_tls(files: &TlsFiles) -> Result<rustls::ServerConfig, Failure> {
    let told = |path: &Path| {
        let path = path.display().to_string();
        move |error: rustls_pki_types::pem::Error| Failure::from(error).during(path)
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(told(&files.certificate))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(told(&files.key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// `writ edge`, and what an operator does with edges.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct EdgeArgs {
    #[command(subcommand)]
    operate: Option<EdgeCommand>,
    #[command(flatten)]
    run: EdgeRunArgs,
}

/// What an edge is started with.
#[derive(Debug, clap::Args)]
pub(crate) struct EdgeRunArgs {
    /// The settings file.
    #[arg(long, value_name = "FILE", default_value = "edge.toml")]
    config: PathBuf,
    /// The ticket of `writ edge ticket`: a file, or `-` for standard input. Needed for the first start only.
    #[arg(long, value_name = "FILE")]
    ticket: Option<PathBuf>,
    /// Join again with a new ticket, although this edge has joined before.
    #[arg(long, requires = "ticket")]
    rejoin: bool,
    #[command(flatten)]
    log: LogArgs,
}

/// How long the first answer of the authority may take before it is remarked upon.
const READY_WITHIN: Duration = Duration::from_secs(5);

impl EdgeArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        match self.operate {
            Some(command) => command.run(context).await,
            None => self.run.run(context).await,
        }
    }
}

impl EdgeRunArgs {
    async fn run(self, context: Context) -> Result<(), Failure> {
        self.log.start()?;
        open_as_many_files_as_may_be();
        let config = EdgeConfig::read(&self.config)?;
        let ticket = self.ticket.as_deref().map(read_text).transpose()?.map(Zeroizing::new);
        let ticket = ticket.map(|text| JoinTicketText::parse(&text)).transpose()?;
        let rejoin = if self.rejoin { Rejoin::Replace } else { Rejoin::Refuse };
        let edge = started(config, ticket.as_ref(), rejoin).await?;
        context.out.remark(&format!("{} edge at {}", good("serving"), strong(edge.origin())));
        if !edge.ready(READY_WITHIN).await {
            context.out.remark("the authority has not answered yet: until it does, every request gets a 503");
        }
        told_to_stop().await?;
        context.out.remark("stopping: open requests may finish; a second signal ends at once");
        or_at_once(edge.shutdown()).await
    }
}

/// An edge that listens; it joins by `ticket` if it has not joined before.
pub(crate) async fn started(
    config: EdgeConfig,
    ticket: Option<&JoinTicketText>,
    rejoin: Rejoin,
) -> Result<RunningEdge, Failure> {
    let mut roots = TrustedRoots::web();
    for path in &config.extra_roots {
        roots =
            roots.with_pem(read_text(path)?.as_bytes()).map_err(|error| Failure::from(error).during(path.display()))?;
    }
    let (state, nonce) = (config.state.clone(), config.nonce == NonceMode::Demanded);
    let bound = Bound::bind(config).await?;
    let joined = match ticket {
        Some(ticket) => {
            let address = Address { origin: bound.origin().as_str().into(), nonce };
            Joined::join(&state, ticket, address, &roots, Arc::new(SystemClock), rejoin).await?
        }
        None => Joined::load(&state)?.ok_or_else(|| {
            Failure::new(
                "this edge has not joined yet: make a ticket with `writ edge ticket NAME` and give it with `--ticket`",
            )
        })?,
    };
    Ok(bound.start(&joined, Arc::new(SystemClock)).await?)
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn told_to_stop() -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Lets `ending` finish, unless another signal comes.
async fn or_at_once(ending: impl Future<Output = ()>) -> Result<(), Failure> {
    tokio::select! {
        () = ending => Ok(()),
        again = told_to_stop() => again,
    }
}
