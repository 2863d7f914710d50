//! What an edge takes while it does nothing, and what it holds at its limits.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::cases::{Body, Case, Http, Server, Shown};
use crate::process::{Place, Process};
use crate::world::{Ask, Edge, PATH, Setup, Writ};
use crate::{load, median};

const STARTS: usize = 9;
const CHAINS: usize = 100_000;
const CONNECTIONS: usize = 10_000;
const BATCH: usize = 5_000;

/// Megabytes resident, and milliseconds.
pub(crate) struct Footprint {
    pub(crate) joined_ms: f64,
    pub(crate) ready_ms: f64,
    pub(crate) idle_mb: f64,
    pub(crate) served_mb: f64,
    pub(crate) chains_mb: f64,
    pub(crate) connections_before_mb: f64,
    pub(crate) connections_mb: f64,
    pub(crate) resting_mb: f64,
}

pub(crate) fn measure(background: &Runtime) -> Footprint {
    let (_service, upstream) = Process::role(Place::Beside, &["serve-upstream"]);
    let mut edge = Edge::start(background, Place::Free, upstream, Setup::default(), "");
    let joined_ms = milliseconds(edge.ready);
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        edge = edge.restarted(Place::Free);
        starts.push(milliseconds(edge.ready));
    }
    // After some heartbeats: it is at rest.
    background.block_on(async { tokio::time::sleep(Duration::from_secs(2)).await });
    let idle_mb = edge.served.process.resident_mb();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    bearers(&runtime, &edge, 64);
    let served_mb = edge.served.process.resident_mb();
    for _ in 0..CHAINS / BATCH {
        bearers(&runtime, &edge, BATCH);
    }
    let chains_mb = edge.served.process.resident_mb();
    drop(edge);
    let edge = Edge::start(background, Place::Free, upstream, Setup::default(), "connections_max = 20000");
    bearers(&runtime, &edge, 64);
    let connections_before_mb = edge.served.process.resident_mb();
    let open = connected(edge.served.http1, &Ask::unproven("GET", &Writ::bearer(&edge.authority)));
    let connections_mb = edge.served.process.resident_mb();
    // Until the last of them rests.
    background.block_on(async { tokio::time::sleep(Duration::from_secs(5)).await });
    let resting_mb = edge.served.process.resident_mb();
    assert_eq!(open.len(), CONNECTIONS);
    Footprint {
        joined_ms,
        ready_ms: median(starts),
        idle_mb,
        served_mb,
        chains_mb,
        connections_before_mb,
        connections_mb,
        resting_mb,
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn bearers(runtime: &Runtime, edge: &Edge, count: usize) {
    let case =
        Case { server: Server::ColdEdge, shown: Shown::NewBearer, connections: 64, http: Http::One, body: Body::None };
    let to = edge.served.http1;
    let asks: Vec<Ask> = (0..count).map(|_| Ask::unproven("GET", &Writ::bearer(&edge.authority))).collect();
    load::fire(runtime, to, None, &case, &asks);
    edge.authority.forget_shipped();
}

/// So many connections, each of which was served once and stays open.
fn connected(to: SocketAddr, ask: &Ask) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(to).unwrap();
        let head = format!("GET {PATH} HTTP/1.1\r\nHost: {to}\r\nAuthorization: {}\r\n\r\n", ask.authorization);
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
        stream
    };
    (0..CONNECTIONS).map(connect).collect()
}
