//! What the story needs: two services, an authority with its store, an edge, two agents with keys. Each on its own socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::authority::{Authority, RunningAuthority};
use crate::catalog::Service;
use crate::cli::Context;
use crate::cli::dev::notes;
use crate::cli::failure::Failure;
use crate::cli::files::{random, read_key, write_private};
use crate::cli::operate::agent::write_new_key;
use crate::cli::operate::vault::write_kek;
use crate::cli::remote::{Remote, SECRET_FILE};
use crate::cli::serve::{keyring, started};
use crate::clock::SystemClock;
use crate::config::authority::{AuthorityTerms, Issuer, KekSource};
use crate::config::edge::EdgeConfig;
use crate::edge::RunningEdge;
use crate::edge::join::Rejoin;
use crate::key::KeyPair;
use crate::secret::Secret;
use crate::store::{self, StoreUrl};
use crate::vault::CredentialKind;
use crate::wire::{JoinTicketText, WireSecret};

const READY_WITHIN: Duration = Duration::from_secs(5);

/// Everything that runs, and the files beside it.
pub(super) struct Stage {
    pub(super) folder: Folder,
    pub(super) notes: SocketAddr,
    pub(super) calendar: SocketAddr,
    pub(super) issuer: Issuer,
    pub(super) remote: Remote,
    pub(super) edge: RunningEdge,
    pub(super) planner: KeyPair,
    pub(super) summariser: KeyPair,
    authority: RunningAuthority,
    services: JoinSet<()>,
}

impl Stage {
    /// Starts everything, in the order in which an operator would.
    pub(super) async fn raise(context: Context) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let mut services = JoinSet::new();
        let (notes_key, calendar_key) = (fresh_key("notes")?, fresh_key("calendar")?);
        let notes = serve(&mut services, notes::notes(copy(&notes_key))).await?;
        let calendar = serve(&mut services, notes::calendar(copy(&calendar_key))).await?;

        let listener = TcpListener::bind(LOOPBACK).await?;
        let issuer: Issuer = format!("http://{}", listener.local_addr()?).parse()?;
        let (authority, secret) = installed(&folder, &issuer).await?;
        let authority = RunningAuthority::start(authority, listener, None)?;
        write_private(&folder.file(SECRET_FILE), format!("{}\n", secret.expose()).as_bytes())?;
        let remote = Remote::of_operator(issuer.as_str().parse()?, secret)?;

        let (planner, summariser) = (folder.file("planner.pem"), folder.file("summariser.pem"));
        write_new_key(&planner)?;
        write_new_key(&summariser)?;
        let (planner, summariser) = (read_key(&planner)?, read_key(&summariser)?);
        let header = CredentialKind::Header { name: notes::KEY_HEADER.into() };
        offer(&remote, notes::NOTES_SERVICE, notes, header, notes_key).await?;
        offer(&remote, notes::CALENDAR_SERVICE, calendar, CredentialKind::Bearer, calendar_key).await?;
        register(&remote, &planner).await?;

        let edge = edge(&remote, &folder).await?;
        if !edge.ready(READY_WITHIN).await {
            return Err(Failure::new("the edge has not reached the authority within five seconds"));
        }
        let _ = context;
        Ok(Self { folder, notes, calendar, issuer, remote, edge, planner, summariser, authority, services })
    }

    /// Ends everything in order.
    pub(super) async fn clear(self) {
        let Self { edge, authority, mut services, folder, .. } = self;
        edge.shutdown().await;
        authority.shutdown().await;
        services.shutdown().await;
        drop(folder);
    }

    /// The edge's origin.
    pub(super) fn edge_origin(&self) -> String {
        self.edge.origin().to_string()
    }
}

const LOOPBACK: (&str, u16) = ("127.0.0.1", 0);

async fn serve(services: &mut JoinSet<()>, router: Router) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind(LOOPBACK).await?;
    let address = listener.local_addr()?;
    services.spawn(async move {
        // It ends with the stage.
        let _ = axum::serve(listener, router).await;
    });
    Ok(address)
}

/// A secret key that a service gives out: random, and recognisable when it leaks.
fn fresh_key(service: &str) -> Result<Secret<String>, Failure> {
    Ok(Secret::new(format!("{service}-secret-{}", hex::encode(random::<16>()?))))
}

/// The same secret for the service that checks it: the one thing that both sides must have.
fn copy(key: &Secret<String>) -> Secret<String> {
    Secret::new(key.expose().clone())
}

async fn installed(folder: &Folder, issuer: &Issuer) -> Result<(Arc<Authority>, Secret<String>), Failure> {
    let kek = folder.file("kek");
    write_kek(&kek)?;
    let keyring = keyring(&KekSource::Files(vec![kek]))?;
    let store = store::open(&StoreUrl::sqlite(folder.file("writ.db"))).await?;
    let secret = Authority::init(&*store, &keyring, &SystemClock, issuer, "admin".parse()?).await?;
    let authority =
        Authority::open(store, keyring, Arc::new(SystemClock), AuthorityTerms::default(), Some(issuer)).await?;
    Ok((authority, secret))
}

/// Stores a service's key in the vault, and the service in the catalog.
async fn offer(
    remote: &Remote,
    text: &str,
    at: SocketAddr,
    kind: CredentialKind,
    key: Secret<String>,
) -> Result<(), Failure> {
    let service = Service::from_toml(&text.replace("{origin}", &format!("http://{at}")))?;
    let mut body = json!(kind);
    body["secret"] = json!(WireSecret(key));
    let credential = service.credential().map(ToString::to_string).unwrap_or_default();
    let _: Value = remote.send(Method::PUT, &format!("/v1/credentials/{credential}"), &body).await?;
    let _: Value = remote.send(Method::PUT, &format!("/v1/services/{}", service.name()), &service).await?;
    Ok(())
}

/// The agent, and what it may be given. The sub-agent is unknown to the authority.
async fn register(remote: &Remote, planner: &KeyPair) -> Result<(), Failure> {
    let agent = json!({ "name": "planner", "key": planner.public() });
    let _: Value = remote.send(Method::POST, "/v1/agents", &agent).await?;
    let capabilities = ["notes:/:team", "calendar:events/read:team"];
    let grant = json!({ "agent": "planner", "capabilities": capabilities, "ttl_s_max": 3600 });
    let _: Value = remote.send(Method::POST, "/v1/grants", &grant).await?;
    Ok(())
}

async fn edge(remote: &Remote, folder: &Folder) -> Result<RunningEdge, Failure> {
    #[derive(serde::Deserialize)]
    struct Ticket {
        ticket: String,
    }
    let ticket: Ticket = remote.send(Method::POST, "/v1/edges/tickets", &json!({ "name": "edge-1" })).await?;
    let ticket = JoinTicketText::parse(&ticket.ticket)?;
    let config = EdgeConfig::loopback(SocketAddr::from(([127, 0, 0, 1], 0)), folder.file("edge"));
    started(config, Some(&ticket), Rejoin::Refuse).await
}

/// A folder of this run's own; removed when dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("writ-dev-{}", hex::encode(random::<4>()?)));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is in the temporary folder all the same.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
