//! How long a revocation takes until nothing is served any more: `cargo bench --bench revocation`.
//!
//! The installation of the chaos tests, with nothing broken: one authority on a real Postgres and edges that are processes
//! of their own, all on this machine, under calls and open streams at every edge. Measured from the operator's call to
//! `POST /v1/revocations` to the whole answer, the receipt; to the end of the last of its streams at its caller; and, with
//! one edge cut off, to the receipt that waits for its lease.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark that cannot set itself up has failed; it prints its result"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use writ::clock::{Clock as _, SystemClock};

#[path = "../tests/it/world/address.rs"]
mod address;
#[path = "../tests/chaos/http.rs"]
mod http;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/support/postgres.rs"]
mod postgres;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/chaos/proxy.rs"]
mod proxy;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/chaos/system.rs"]
mod system;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/chaos/upstream.rs"]
mod upstream;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/chaos/writs.rs"]
mod writs;

use proxy::Link;
use system::{IN_THE_END, Size, System, Ways, elapsed};
use writs::{Agent, Family, Writ, Writs};

const SIZE: Size = Size { authorities: 1, edges: 0, lease_ms: 1000, ways: Ways::Direct };
const EVENTS_EVERY: Duration = Duration::from_millis(10);
/// How many call at once, and how long each rests in between.
const CALLERS: usize = 16;
const REST: Duration = Duration::from_millis(40);
/// A revocation follows the one before after so long: what is measured is one, not a queue.
const BETWEEN: Duration = Duration::from_millis(20);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // For whoever works on this file: a few rounds.
        ["quick"] => runtime.block_on(measure(&[1, 3], 20)),
        ["edges", edges] => runtime.block_on(measure(&[edges.parse().unwrap()], 300)),
        // What `cargo test --benches` would run.
        [] | ["--test"] if cfg!(debug_assertions) => println!("run this by `cargo bench --bench revocation`"),
        _ => runtime.block_on(measure(&[1, 5, 20, 50], 300)),
    }
}

/// An installation and its callers, who go on until it is dropped.
struct Bench {
    system: Arc<System>,
    writs: Arc<Writs>,
    family: Family,
    served: Arc<AtomicU64>,
    load: JoinSet<()>,
}

async fn measure(sizes: &[usize], rounds: usize) {
    println!("{rounds} revocations each, milliseconds");
    let head = ["edges", "receipt p50", "p99", "max", "streams cut p50", "max", "cut off p50", "max", "calls/s"];
    println!("{}", head.map(|name| format!("{name:>16}")).concat());
    let mut system = System::raise(SIZE, EVENTS_EVERY).await;
    let agent = Agent::register(&system, "agent").await;
    for &size in sizes {
        while system.edges.len() < size {
            system.add_edge().await;
        }
        let bench = Bench::begin(system, &agent).await;
        let (begun, before) = (SystemClock.monotonic(), bench.served.load(Ordering::Relaxed));
        let receipts = bench.receipts(rounds).await;
        let streams = bench.stream_cuts(rounds / 10).await;
        let rate = (bench.served.load(Ordering::Relaxed) - before) as f64 / elapsed(begun).as_secs_f64();
        let cut_off = bench.partitions(rounds / 30).await;
        let columns = [
            at(&receipts, 0.5),
            at(&receipts, 0.99),
            at(&receipts, 1.0),
            at(&streams, 0.5),
            at(&streams, 1.0),
            at(&cut_off, 0.5),
            at(&cut_off, 1.0),
        ];
        let columns: String = columns.iter().map(|ms| format!("{ms:>16.1}")).collect();
        println!("{size:>16}{columns}{rate:>16.0}");
        system = bench.end().await;
    }
}

/// The value that this part of all is at or below, in milliseconds.
fn at(taken: &[Duration], part: f64) -> f64 {
    let mut sorted = taken.to_vec();
    sorted.sort();
    let place = (part * sorted.len() as f64).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1].as_secs_f64() * 1e3
}

impl Bench {
    async fn begin(system: System, agent: &Agent) -> Self {
        let (system, writs) = (Arc::new(system), Arc::new(Writs::default()));
        let family = writs.family(&system, 0, agent, IN_THE_END).await.unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let mut load = JoinSet::new();
        for caller in 0..CALLERS {
            let (system, writ, served) = (system.clone(), family.root.clone(), served.clone());
            load.spawn(async move {
                for n in 0_u64.. {
                    let edge = (caller as u64 + n * CALLERS as u64) as usize % system.edges.len();
                    if called(&system, edge, &writ, n).await {
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(REST).await;
                }
            });
        }
        for edge in 0..system.edges.len() {
            let (system, writ) = (system.clone(), family.other.clone());
            load.spawn(async move {
                loop {
                    let mut body = opened(&system, edge, &writ).await;
                    while let Some(Ok(_)) = body.frame().await {}
                }
            });
        }
        let bench = Self { system, writs, family, served, load };
        for edge in 0..bench.system.edges.len() {
            while !called(&bench.system, edge, &bench.family.first, 0).await {}
        }
        bench
    }

    async fn end(mut self) -> System {
        self.load.shutdown().await;
        // Expect safety: the callers had the other handles, and they are gone.
        Arc::into_inner(self.system).expect("nobody else has the system")
    }

    /// A writ of its own, which every edge has served.
    async fn used_everywhere(&self) -> Arc<Writ> {
        let writ = self.writs.hand_on(&self.family.first);
        for edge in 0..self.system.edges.len() {
            while !called(&self.system, edge, &writ, 0).await {}
        }
        writ
    }

    /// Revokes the last block of `writ`; how long it took, and how the edges came to it.
    async fn revoked(&self, writ: &Writ) -> (Duration, usize) {
        let own = writ.targets.iter().rfind(|target| target.starts_with("block:")).unwrap();
        let begun = SystemClock.monotonic();
        let receipt = self.system.revoke(own).await;
        let taken = elapsed(begun);
        let edges = receipt["edges"].as_array().unwrap();
        assert_eq!(edges.len(), self.system.edges.len());
        (taken, edges.iter().filter(|edge| edge["how"] == "lease_ended").count())
    }

    async fn receipts(&self, rounds: usize) -> Vec<Duration> {
        let (mut taken, mut late) = (Vec::new(), 0);
        let mut writ = self.used_everywhere().await;
        for round in 0..rounds {
            // Most are of writs that no edge has seen: an edge that looks up ids does not care.
            if round % 10 == 0 {
                writ = self.used_everywhere().await;
            }
            let (took, lease_ended) = self.revoked(&writ).await;
            late += u32::from(lease_ended > 0);
            taken.push(took);
            writ = self.writs.hand_on(&self.family.first);
            tokio::time::sleep(BETWEEN).await;
        }
        if late > 0 {
            println!("{late} of {rounds} receipts had to wait for a lease to end: this machine is busy");
        }
        taken
    }

    /// From the call to the end of the last stream, one at every edge.
    async fn stream_cuts(&self, rounds: usize) -> Vec<Duration> {
        let mut taken = Vec::new();
        for _ in 0..rounds {
            let writ = self.writs.hand_on(&self.family.first);
            let mut ends = JoinSet::new();
            for edge in 0..self.system.edges.len() {
                let mut body = opened(&self.system, edge, &writ).await;
                assert!(body.frame().await.unwrap().is_ok(), "a live stream goes on");
                ends.spawn(async move {
                    while let Some(Ok(_)) = body.frame().await {}
                    SystemClock.monotonic()
                });
            }
            let begun = SystemClock.monotonic();
            self.revoked(&writ).await;
            let last = ends.join_all().await.into_iter().max().unwrap();
            taken.push(last.since(begun));
        }
        taken
    }

    /// With one edge cut off.
    async fn partitions(&self, rounds: usize) -> Vec<Duration> {
        let mut taken = Vec::new();
        let edge = &self.system.edges[0];
        for _ in 0..rounds.max(3) {
            edge.set_feeds(Link::Stalled);
            let (took, _) = self.revoked(&self.writs.hand_on(&self.family.first)).await;
            taken.push(took);
            edge.set_feeds(Link::Open);
            while !called(&self.system, 0, &self.family.first, 0).await {}
        }
        taken
    }
}

fn url(system: &System, edge: usize, action: &str, writ: &Writ, n: u64) -> String {
    format!("{}/load/{action}/{}/{n}", system.edges[edge].url, writ.number)
}

/// Whether a call was served.
async fn called(system: &System, edge: usize, writ: &Writ, n: u64) -> bool {
    let url = url(system, edge, "call", writ, n);
    let asked = http::request(Method::GET, &url, writ.headers("GET", &url), "");
    system.http.send(asked, IN_THE_END).await.is_ok_and(|answer| answer.status == 200)
}

async fn opened(system: &System, edge: usize, writ: &Writ) -> Incoming {
    let url = url(system, edge, "stream", writ, 0);
    loop {
        let asked = http::request(Method::GET, &url, writ.headers("GET", &url), "");
        match system.http.open(asked, IN_THE_END).await {
            Ok(answer) if answer.status() == 200 => return answer.into_body(),
            // A lease that ran out on a busy machine.
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
