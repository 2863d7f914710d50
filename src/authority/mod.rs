//! The authority: decides what is issued, lent and revoked, and answers for all of it.
//!
//! Use cases stand here, without HTTP; `http` parses, calls and answers. The store is the only memory that counts: what is
//! held here is a copy that is read again before anything depends on it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::watch;

use crate::audit::{Actor, Change};
use crate::clock::{Clock, Timestamp};
use crate::config::authority::AuthorityTerms;
use crate::id::{AgentName, TenantName};
use crate::identity::{Providers, SignIn};
use crate::key::KeyPair;
use crate::policy::Grant;
use crate::secret::Secret;
use crate::store::{Heads, Installation, Store};
use crate::telemetry::metrics::AuthorityMetrics;
use crate::token::Limits;
use crate::vault::Keyring;

pub mod agent_keys;
pub mod agents;
pub mod approval;
pub mod assertion;
pub mod catalog;
pub mod clients;
pub mod credentials;
pub mod edges;
pub mod enrolment;
pub mod error;
pub mod event;
pub mod exchange;
pub mod explain;
pub mod feed;
pub mod fence;
mod fresh;
pub mod global;
pub mod http;
mod injections;
pub mod installation;
pub mod introspect;
pub mod issue;
pub mod keys;
pub mod lend;
pub mod limits;
pub mod log;
pub mod mine;
mod once;
mod packed;
mod permitted;
pub mod policy;
pub mod presence;
pub mod receipt;
mod registry;
pub mod revoke;
pub mod scim;
pub mod seen;
pub mod server;
pub mod share;
pub mod shipment;
pub mod sign_in;
mod signal;
pub mod stop;
pub mod upkeep;
pub mod witness;
pub mod workloads;

pub use error::AuthorityError;
pub use installation::{InitError, OpenError};
pub use server::RunningAuthority;

use fence::Fencing;
use fresh::Fresh;
use keys::Published;
use log::RevocationLog;
use presence::Presence;
use receipt::Growth;
use registry::Registry;
use seen::Seen;
use witness::WitnessLimits;

/// How long an entry of the log outlives what it kills, for edges whose wall clock is behind.
const FORGET_MARGIN: Duration = Duration::from_secs(600);

/// An authority: its state, its keys, and what it knows of its edges.
pub struct Authority {
    store: Arc<dyn Store>,
    keyring: Keyring,
    clock: Arc<dyn Clock>,
    terms: AuthorityTerms,
    limits: Limits,
    installation: Installation,
    key: KeyPair,
    published: ArcSwap<Published>,
    log: RevocationLog,
    /// Where the logs end, read from the store after whoever asks asked.
    heads: Fresh<Heads>,
    registry: Registry,
    /// Shipments of audit records are stored one after another: a revocation then waits in the store for one, not for every edge's.
    appending: tokio::sync::Mutex<()>,
    /// What the waits of edges are aligned to.
    started: tokio::time::Instant,
    presence: Presence,
    growth: Growth,
    metrics: AuthorityMetrics,
    fencing: Fencing,
    /// Tells this process from the other replicas, for as long as it lives.
    replica: Box<str>,
    seen: Seen,
    providers: Providers,
    sign_in: Option<SignIn>,
    witnesses: WitnessLimits,
    /// Says `true` once the process is to stop: long polls end at once.
    stopping: watch::Sender<bool>,
}

impl Authority {
    /// The issuer URL that stands in every writ.
    pub fn issuer(&self) -> &str {
        &self.installation.issuer
    }

    /// The key that signs what edges are told, receipts and checkpoints.
    pub fn public_key(&self) -> crate::key::PublicKey {
        self.key.public()
    }

    /// The URL of the token endpoint.
    pub fn token_endpoint(&self) -> String {
        format!("{}{}", self.issuer(), http::TOKEN_PATH)
    }

    /// How it behaves.
    pub const fn terms(&self) -> &AuthorityTerms {
        &self.terms
    }

    /// Whether it can serve: the store answers. The keys are loaded since it was opened.
    pub async fn ready(&self) -> Result<(), AuthorityError> {
        Ok(self.store.ready().await?)
    }

    /// What is measured, in the text form of OpenMetrics.
    pub fn metrics_page(&self) -> String {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.log_head.set(number(self.log.known()));
        let leased = self.presence.leased(self.clock.monotonic());
        self.metrics.edges_leased.set(number(leased.try_into().unwrap_or(u64::MAX)));
        self.metrics.to_text()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The last moment that a writ minted until now can be valid, with a margin.
    fn forget_after(&self) -> Timestamp {
        self.now().after(Duration::from_secs(u64::from(Grant::TTL_S_MAX))).after(FORGET_MARGIN)
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.issuer())
    }
}

/// An agent's client id: its name, with its tenant before it unless that is the default one.
fn client_id(tenant: &TenantName, agent: &AgentName) -> String {
    if *tenant == TenantName::default() { agent.to_string() } else { format!("{tenant}/{agent}") }
}

/// Whether `text` is that agent's client id: its tenant may be named even where it is the default one.
fn is_client_id(text: &str, tenant: &TenantName, agent: &AgentName) -> bool {
    text == client_id(tenant, agent) || text.split_once('/') == Some((tenant.as_str(), agent.as_str()))
}

/// Fresh random bytes.
fn random<const N: usize>() -> Result<[u8; N], AuthorityError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| AuthorityError::NoRandomness)?;
    Ok(bytes)
}

/// 256 random bits behind a `prefix` by which scanners find a leaked one.
fn fresh_secret(prefix: &str) -> Result<Secret<String>, AuthorityError> {
    let bytes = zeroize::Zeroizing::new(random::<32>()?);
    Ok(Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes.as_ref()))))
}

/// An audited change without further facts.
fn change(actor: Actor, action: &str, object: impl ToString, tenant: Option<&TenantName>) -> Change {
    Change {
        actor,
        action: action.into(),
        object: object.to_string().into(),
        tenant: tenant.cloned(),
        detail: serde_json::Map::new(),
    }
}

/// An audited change with further facts: an object, never with a secret.
fn change_with(
    actor: Actor,
    action: &str,
    object: impl ToString,
    tenant: Option<&TenantName>,
    detail: serde_json::Value,
) -> Change {
    let detail = match detail {
        serde_json::Value::Object(detail) => detail,
        other => serde_json::Map::from_iter([("value".into(), other)]),
    };
    Change { detail, ..change(actor, action, object, tenant) }
}
