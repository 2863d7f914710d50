//! Around the edge: the service behind it, its authority, writs and the requests that show them.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::runtime::Runtime;
use writ::catalog::Service;
use writ::clock::{Clock as _, SystemClock, Timestamp};
use writ::id::BlockId;
use writ::key::KeyPair;
use writ::revocation::Target;
use writ::token::chain::{Authority, ProofCovers};
use writ::token::claims::PolicyFacts;
use writ::token::hop::{self, Narrowing, NewHop};
use writ::token::mint::mint;
use writ::token::proof::{self, ProvenRequest};
use writ::token::{Limits, RawToken};
use writ::vault::CredentialKind;

use crate::authority::{AUDIENCE, ROOT_KEY_ID, StandIn, TENANT};
use crate::contenders::Served;
use crate::process::{Place, Process, command, free_address};
use crate::{random, tls};

/// What is asked for everywhere.
pub(crate) const PATH: &str = "/notes/notes/7";
/// What that is at the service.
pub(crate) const UPSTREAM_PATH: &str = "/v1/notes/7";
const SECRET: &str = "s3cr3t-0123456789";
/// The header by which the service knows its callers.
pub(crate) const INJECTED: &str = "Bearer s3cr3t-0123456789";

/// How an edge is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) revocations: u64,
    /// `None`: grants decide.
    pub(crate) policies: Option<usize>,
    /// And asks clients for the key of their writ.
    pub(crate) tls: bool,
}

/// An edge as a process, and its authority.
pub(crate) struct Edge {
    pub(crate) authority: StandIn,
    pub(crate) served: Served,
    /// From the start of the process to the first answer that it is ready, joining included.
    pub(crate) ready: Duration,
    /// Its certificate, where it has one.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl Edge {
    /// Starts `writ edge` in front of `upstream`.
    pub(crate) fn start(background: &Runtime, place: Place, upstream: SocketAddr, setup: Setup, limits: &str) -> Self {
        let authority = background.block_on(StandIn::start(vec![notes(upstream)]));
        authority.store("notes", CredentialKind::Bearer, SECRET);
        authority.commit_all((0..setup.revocations).map(|_| Target::Block(BlockId::from_bytes(random()))));
        if let Some(count) = setup.policies {
            authority.put_policies(1, 0, &policies(count));
        }
        let dir = tempfile::tempdir().unwrap();
        let address = free_address();
        let state = dir.path().join("state");
        let certified = setup.tls.then(|| tls::certified(dir.path()));
        let (top, scheme) = if setup.tls { (tls::SETTINGS, "https") } else { ("", "http") };
        let (table, certificate) = certified.unzip();
        let settings = format!(
            "listen = ['{address}']\norigin = '{scheme}://{address}'\nbearer = 'accept'\nstate = '{}'\n{top}{}[limits]\n{limits}\n",
            state.display(),
            table.unwrap_or_default()
        );
        fs::write(dir.path().join("edge.toml"), settings).unwrap();
        let ticket = dir.path().join("ticket");
        fs::write(&ticket, authority.ticket().to_text().expose()).unwrap();
        let (process, ready) = launched(place, address, scheme, dir, &["--ticket", ticket.to_str().unwrap()]);
        let served = Served { process, http1: address, http2: Some(address) };
        let edge = Self { authority, served, ready, certificate };
        let known = format!("the edge knows {} revocations", setup.revocations);
        background.block_on(crate::eventually(&known, || edge.authority.is_known()));
        edge
    }

    /// Ends the process, and starts it again with what it has on disk. How long until it is ready.
    pub(crate) fn restarted(mut self, place: Place) -> Self {
        let Served { process, http1, http2 } = self.served;
        let dir = process.ended().unwrap();
        let (process, ready) = launched(place, http1, "http", dir, &[]);
        self.served = Served { process, http1, http2 };
        self.ready = ready;
        self
    }
}

fn launched(
    place: Place,
    address: SocketAddr,
    scheme: &str,
    dir: tempfile::TempDir,
    args: &[&str],
) -> (Process, Duration) {
    let mut command = command(place, env!("CARGO_BIN_EXE_writ"));
    command.args(["edge", "--log", "warn", "--config"]).arg(dir.path().join("edge.toml")).args(args);
    let process = Process::start(command, dir);
    // Over TLS it is asked nothing: that it has a lease is seen when it follows its authority.
    let ready = if scheme == "http" { process.ready(address, "/.writ/readyz") } else { process.listens(address) };
    let ready = ready.unwrap_or_else(|| panic!("the edge does not become ready:\n{}", process.log()));
    (process, ready)
}

/// Two routes: a small answer to read, and a body to write that nobody looks into.
fn notes(upstream: SocketAddr) -> Service {
    let text = format!(
        "name = 'notes'\nupstream = 'http://{upstream}/v1'\nallow_private = true\ncredential = 'notes-key'\n\
         [[route]]\nmethods = ['GET']\npath = '/notes/{{id}}'\naction = 'notes/read'\nresource = 'team/{{id}}'\n\
         [[route]]\nmethods = ['POST']\npath = '/notes/{{id}}'\naction = 'notes/write'\nresource = 'team/{{id}}'\n"
    );
    Service::from_toml(&text).unwrap()
}

/// So many that all can apply, of which the last one permits.
fn policies(count: usize) -> String {
    let other =
        |n| format!("@id(\"other-{n}\") permit(principal, action, resource in Resource::\"notes:other/{n}\");\n");
    let mut policy: String = (1..count).map(other).collect();
    policy.push_str("@id(\"team\") permit(principal in Agent::\"assistant\", action, resource);");
    serde_json::json!({ "zone": "UTC", "policy": policy }).to_string()
}

/// A writ, and what its holder proves. Without a key it is a bearer writ.
#[derive(Clone)]
pub(crate) struct Writ {
    pub(crate) token: RawToken,
    pub(crate) holder: Option<Arc<KeyPair>>,
}

impl Writ {
    pub(crate) fn bearer(authority: &StandIn) -> Self {
        Self { token: minted(authority, None), holder: None }
    }

    pub(crate) fn bound(authority: &StandIn) -> Self {
        let holder = Arc::new(KeyPair::from_seed(&random()));
        Self { token: minted(authority, Some(&holder)), holder: Some(holder) }
    }

    /// Handed on `times`, narrowed each time.
    pub(crate) fn handed_on(self, times: u8) -> Self {
        (0..times).fold(self, |writ, _| writ.to(Arc::new(KeyPair::from_seed(&random()))))
    }

    fn to(&self, next: Arc<KeyPair>) -> Self {
        let hop = NewHop {
            holder: next.public(),
            id: BlockId::from_bytes(random()),
            expires: Timestamp::from_secs(SystemClock.now().secs() + 3000),
            not_before: None,
            agent: None,
            narrowing: Narrowing { capabilities: vec!["notes:notes:team".parse().unwrap()], ..Narrowing::default() },
        };
        let holder = self.holder.as_ref().unwrap();
        let token = hop::delegate(&self.token, holder, &hop, &random(), &Limits::default()).unwrap();
        Self { token, holder: Some(next) }
    }
}

fn minted(authority: &StandIn, holder: Option<&KeyPair>) -> RawToken {
    let now = SystemClock.now();
    let block = Authority {
        issuer: authority.issuer().into(),
        audience: AUDIENCE.parse().unwrap(),
        tenant: TENANT.parse().unwrap(),
        subject: Some("alice".parse().unwrap()),
        session: None,
        agent: "assistant".parse().unwrap(),
        holder: holder.map(KeyPair::public),
        capabilities: vec!["notes:notes:team".parse().unwrap()],
        grants: Vec::new(),
        id: BlockId::from_bytes(random()),
        not_before: Timestamp::from_secs(now.secs() - 10),
        expires: Timestamp::from_secs(now.secs() + 3600),
        depth_max: if holder.is_some() { 5 } else { 0 },
        // After all that was revoked when the edge was set up.
        epoch: authority.head(),
        proof_covers: ProofCovers::default(),
        policy: PolicyFacts { version: 1, ..PolicyFacts::default() },
    };
    mint(&block, &authority.root(), ROOT_KEY_ID, &random(), &Limits::default()).unwrap()
}

/// A request with its writ, ready to be sent.
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) authorization: String,
    /// The `DPoP` header. Of a bearer writ one that nobody looks at: the same size for all.
    pub(crate) proof: String,
}

impl Ask {
    pub(crate) fn new(scheme: &str, to: SocketAddr, method: &'static str, writ: &Writ) -> Self {
        let text = writ.token.text();
        let Some(holder) = &writ.holder else { return Self::unproven(method, writ) };
        let url = format!("{scheme}://{to}{PATH}");
        let proven = ProvenRequest { method, url: &url, query: None, body_sha256: None };
        let (digest, now) = (writ.token.digest(), SystemClock.now());
        let proof = proof::make(holder, &proven, Some(digest), ProofCovers::default(), None, &random(), now);
        Self { method, authorization: format!("DPoP {text}"), proof }
    }

    /// Of a bearer writ, or of one whose key the connection proves.
    pub(crate) fn unproven(method: &'static str, writ: &Writ) -> Self {
        Self { method, authorization: format!("Bearer {}", writ.token.text()), proof: "x".repeat(520) }
    }
}
