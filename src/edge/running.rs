//! An edge as a whole: what it is made of, how it starts and how it ends. `writ edge`, `writ dev` and the tests run this.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::Source;
use crate::clock::{Clock, Timestamp};
use crate::config::ConfigError;
use crate::config::edge::{EdgeConfig, NonceMode, Origin};
use crate::dial::authority::InvalidAuthorityUrl;
use crate::dial::{AuthorityUrl, Dialer, Limits as DialLimits, TrustedRoots};
use crate::edge::approval::ApprovalDesk;
use crate::edge::chains::Chains;
use crate::edge::door::Door;
use crate::edge::follow::{FollowLimits, Follower};
use crate::edge::inject::Scrubbers;
use crate::edge::join::Joined;
use crate::edge::journal::{Journal, OpenError};
use crate::edge::knowledge::Knowledge;
use crate::edge::lend::{LendLimits, Lender};
use crate::edge::limits::Shares;
use crate::edge::nonce::Nonces;
use crate::edge::replay::UsedProofs;
use crate::edge::room::Room;
use crate::edge::server::{ListenError, Server, acceptor};
use crate::edge::ship::{ShipLimits, Shipper, stored_head};
use crate::edge::turns::Turns;
use crate::edge::workers::Workers;
use crate::listen::places::Places;
use crate::telemetry::metrics::{EdgeMetrics, MetricsServer};
use crate::token::Limits;
use crate::token::proof::{Proof, ProofId};

/// How long a start waits for the authority's view of the journal.
const STORED_HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an end waits for the last records to be shipped.
const LAST_SHIPMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an end waits until what is not spent of limits is given back.
const LAST_LIMITS_TIMEOUT: Duration = Duration::from_secs(1);

/// Why an edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It can't listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its journal does not open.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// An authority's URL can't be used.
    #[error("`authorities`: {0}")]
    Authority(#[from] InvalidAuthorityUrl),
    /// A file of root certificates can't be used.
    #[error("cannot use the root certificates of {0}")]
    Roots(std::path::PathBuf),
    /// The machine gives no random bytes.
    #[error("no random bytes from the machine")]
    Random,
    /// The machine gives no threads.
    #[error("cannot start the threads that serve: {0}")]
    Threads(std::io::Error),
}

/// An edge that listens and does not serve yet: its origin is known, so that it can join by it.
pub struct Bound {
    config: EdgeConfig,
    listeners: Vec<TcpListener>,
    metrics: Option<TcpListener>,
    address: SocketAddr,
    origin: Origin,
}

impl Bound {
    /// Checks `config` and listens on its addresses.
    pub async fn bind(config: EdgeConfig) -> Result<Self, StartError> {
        config.check()?;
        let mut listeners = Vec::with_capacity(config.listen.len());
        for address in &config.listen {
            let bind = |source| ListenError::Bind { address: *address, source };
            listeners.push(TcpListener::bind(address).await.map_err(bind)?);
        }
        let metrics = match config.metrics_listen {
            Some(address) => {
                let bind = |source| ListenError::Bind { address, source };
                Some(TcpListener::bind(address).await.map_err(bind)?)
            }
            None => None,
        };
        // Expect safety: `check` refuses an empty list.
        let first = listeners.first().expect("at least one address");
        let address = first.local_addr().map_err(|source| ListenError::Bind { address: config.listen[0], source })?;
        let origin = config.origin.clone().unwrap_or_else(|| Origin::of(address, config.tls.is_some()));
        Ok(Self { config, listeners, metrics, address, origin })
    }

    /// At which origin agents reach it.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The first address it listens on, with the port that was given to it.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to serve. Until it has reached its authority, everything gets a 503.
    pub async fn start(self, joined: &Joined, clock: Arc<dyn Clock>) -> Result<RunningEdge, StartError> {
        let Self { config, listeners, metrics, address, origin } = self;
        let tls = config.tls.as_ref().map(|files| acceptor(files, config.mutual_tls)).transpose()?;
        let knowledge = Arc::new(Knowledge::new(clock.clone()));
        let roots = roots(&config)?;
        let authorities: Vec<AuthorityUrl> =
            config.authorities.iter().map(|url| url.parse()).collect::<Result<_, InvalidAuthorityUrl>>()?;
        let channel = Arc::new(joined.channel(&roots, &authorities, clock.clone())?);
        let lend_limits = LendLimits { timeout: config.limits.lend_timeout, ..LendLimits::default() };
        let lender = Arc::new(Lender::new(channel.clone(), clock.clone(), lend_limits));
        let shares = Shares::new(channel.clone(), clock.clone()).ok_or(StartError::Random)?;
        let journal_dir = config.state.join("journal");
        let source = Source::Edge(joined.membership.name.clone());
        // Only a journal that lost its end needs it: without an answer the edge goes by what its disk has.
        let stored = stored_head(&channel, STORED_HEAD_TIMEOUT).await.ok();
        let (journal, recovered) =
            Journal::open(&journal_dir, source.clone(), stored.as_ref(), clock.clone(), config.journal)?;

        let used_proofs = UsedProofs::new(config.limits.remembered_proofs_max);
        for used in &recovered.used_proofs {
            // What the journal wrote is an id; were it not, nothing could have been claimed by it.
            if let Some(proof) = used_proof(&used.id, used.until) {
                used_proofs.restore(proof);
            }
        }
        let lease = knowledge.clone();
        let dialer = Dialer::new(&roots, dial_limits(&config)).with_gate(Arc::new(move || lease.lease_holds()));
        let measured = Arc::new(EdgeMetrics::default());
        let door = Arc::new(Door {
            metrics: measured.clone(),
            clock: clock.clone(),
            origin: origin.clone(),
            bearer: config.bearer,
            nonces: nonces(&config)?,
            knowledge: knowledge.clone(),
            chains: Chains::new(config.limits.cached_chains_max, Limits::default()),
            used_proofs,
            lender: lender.clone(),
            shares: shares.clone(),
            approvals: ApprovalDesk::new(channel.clone(), joined.membership.name.clone(), clock.clone()),
            scrubbers: Scrubbers::default(),
            journal: journal.clone(),
            turns: Arc::new(Semaphore::new(config.limits.requests_max)),
            bodies: Room::new(config.limits.read_bodies_bytes_max),
            limits: config.limits.clone(),
        });

        let page = page(measured, knowledge.clone());
        let metrics = metrics.map(|listener| MetricsServer::start(listener, page));
        let turns = Turns::new(config.limits.service_requests_max);
        let workers = Workers::start(config.threads, &dialer, &turns, journal.before_waiting());
        let workers = workers.map_err(StartError::Threads)?;
        let stop = CancellationToken::new();
        let places = Places::new(config.limits.connections_max);
        let mut servers = JoinSet::new();
        for listener in listeners {
            let server = Server {
                listener,
                tls: tls.clone(),
                door: door.clone(),
                limits: config.limits.clone(),
                workers: workers.workers(),
                places: places.clone(),
                stop: stop.clone(),
            };
            servers.spawn(server.run());
        }
        let follow_limits = FollowLimits { skew_max: config.clock_skew_max, ..FollowLimits::default() };
        let follower =
            Follower::new(channel.clone(), knowledge.clone(), lender, joined.expected(), clock.clone(), follow_limits);
        let shipper =
            || Shipper::new(channel.clone(), journal.clone(), source.clone(), clock.clone(), ShipLimits::default());
        let mut beside = JoinSet::new();
        beside.spawn(follower.run());
        beside.spawn(shares.clone().run());
        let shipping = shipper().run();
        beside.spawn(async move {
            // It has said why. The journal goes on until it is full, and then the edge refuses.
            let _ = shipping.await;
        });
        let last_shipment = shipper();
        Ok(RunningEdge {
            address,
            origin,
            knowledge,
            shares,
            journal,
            _metrics: metrics,
            last_shipment,
            stop,
            servers,
            beside,
            _workers: workers,
        })
    }
}

/// What is measured, as it is when somebody asks.
fn page(metrics: Arc<EdgeMetrics>, knowledge: Arc<Knowledge>) -> impl Fn() -> String + Send + Sync {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    move || {
        metrics.lease_left_ms.set(i64::try_from(knowledge.lease_left().as_millis()).unwrap_or(i64::MAX));
        metrics.log_seq.set(i64::try_from(knowledge.seq()).unwrap_or(i64::MAX));
        metrics.revocations.set(number(knowledge.revocations()));
        metrics.open_requests.set(number(knowledge.streams().len()));
        metrics.to_text()
    }
}

fn roots(config: &EdgeConfig) -> Result<TrustedRoots, StartError> {
    let mut roots = TrustedRoots::web();
    for path in &config.extra_roots {
        let refuse = || StartError::Roots(path.clone());
        let pem = std::fs::read(path).map_err(|_| refuse())?;
        roots = roots.with_pem(&pem).map_err(|_| refuse())?;
    }
    Ok(roots)
}

fn dial_limits(config: &EdgeConfig) -> DialLimits {
    DialLimits {
        connect_timeout: config.limits.connect_timeout,
        stall_timeout: config.limits.idle_timeout,
        idle_timeout: config.limits.service_idle_timeout,
        idle_max: config.limits.service_idle_max,
    }
}

fn nonces(config: &EdgeConfig) -> Result<Option<Nonces>, StartError> {
    match config.nonce {
        NonceMode::Optional => Ok(None),
        NonceMode::Demanded => {
            let key = crate::edge::random().map_err(|_| StartError::Random)?;
            Ok(Some(Nonces::new(&key)))
        }
    }
}

fn used_proof(id: &str, until: Timestamp) -> Option<Proof> {
    let mut bytes = [0; 16];
    hex::decode_to_slice(id, &mut bytes).ok()?;
    Some(Proof { id: ProofId(bytes), replayable_until: until })
}

/// An edge that serves. Dropping it ends it at once; [`RunningEdge::shutdown`] lets open requests finish.
pub struct RunningEdge {
    address: SocketAddr,
    origin: Origin,
    knowledge: Arc<Knowledge>,
    shares: Arc<Shares>,
    _metrics: Option<MetricsServer>,
    journal: Journal,
    last_shipment: Shipper,
    stop: CancellationToken,
    servers: JoinSet<()>,
    beside: JoinSet<()>,
    // Last: connections to the authority may have been opened there.
    _workers: Workers,
}

impl RunningEdge {
    /// The first address it listens on.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// At which origin agents reach it.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What it knows of revocations and settings.
    pub const fn knowledge(&self) -> &Arc<Knowledge> {
        &self.knowledge
    }

    /// What it decided.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Waits until it holds a lease; `false` if that takes longer than `timeout`.
    pub async fn ready(&self, timeout: Duration) -> bool {
        let ready = async {
            while !self.knowledge.lease_holds() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(timeout, ready).await.is_ok()
    }

    /// Takes no new connection, lets open requests finish within the drain timeout, then stops following.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // Following goes on meanwhile: a request that drains is as revocable as any other.
        while self.servers.join_next().await.is_some() {}
        self.beside.shutdown().await;
        let _ = tokio::time::timeout(LAST_LIMITS_TIMEOUT, self.shares.leave()).await;
        // What can't be shipped now waits on disk for the next start.
        let _ = tokio::time::timeout(LAST_SHIPMENT_TIMEOUT, self.last_shipment.flush()).await;
    }
}
