//! What ten million revocations cost: `cargo bench --bench revocation_scale`. Trust ratios more than absolutes.
//!
//! Four figures: the lookup against an empty set, resident memory for each entry, the start of an edge whose authority has
//! that log in its store (SQLite), and the latency of requests while 100,000 more entries arrive at once. An argument is
//! another number than ten million. Authority, edge, upstream and callers are one process; only its clock stands still.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot set itself up has failed; it prints its result"
)]

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use support::{START, TestAuthority, start_with};
use tokio::net::TcpListener;
use writ::clock::{Clock as _, ManualClock, Monotonic, SystemClock};
use writ::config::authority::AuthorityTerms;
use writ::config::edge::EdgeConfig;
use writ::dial::TrustedRoots;
use writ::edge::join::{Address, Joined, Rejoin};
use writ::edge::{Bound, RunningEdge};
use writ::id::BlockId;
use writ::key::KeyPair;
use writ::revocation::{DeadBlock, ForgetAfter, Lease, RevocationSet, Statement};
use writ::store::StoreUrl;
use writ::token::chain::{Authority, ProofCovers};
use writ::token::claims::PolicyFacts;
use writ::token::mint::mint;
use writ::token::proof::BearerRule;
use writ::token::verify::RootKey;
use writ::token::{Chain, Limits, RootKeys, verify};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/support/authority.rs"]
mod support;

/// What the tests' authority is made from.
mod store {
    pub(crate) struct Database {
        pub(crate) store: std::sync::Arc<dyn writ::store::Store>,
    }
}

/// Nothing that is measured is searched for secrets.
mod canaries {
    pub(crate) fn canary(_: &str) {}
    pub(crate) fn told(_: &str) {}
}

const BURST: u64 = 100_000;
const BURSTS: u64 = 8;
const PAGE: usize = 16_384;
const CALLERS: usize = 4;
const QUIET: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(600);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let entries = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // What `cargo test --benches` would run.
        [] | ["--test"] if cfg!(debug_assertions) => {
            return println!("run this by `cargo bench --bench revocation_scale`");
        }
        [] => 10_000_000,
        [entries, ..] => entries.parse().unwrap(),
    };
    lookups(entries);
    tokio::runtime::Runtime::new().unwrap().block_on(serving(entries));
}

fn since(began: Monotonic) -> Duration {
    SystemClock.monotonic().since(began)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// Bytes of memory that this process holds.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn lookups(entries: u64) {
    let before = resident();
    let mut full = RevocationSet::for_log();
    let (mut slowest, began) = (Duration::ZERO, SystemClock.monotonic());
    while full.seq() < entries {
        let after = full.seq();
        let count = (entries - after).min(PAGE as u64);
        let block = |_| DeadBlock { id: BlockId::from_bytes(random()), forget_after: ForgetAfter::from_secs(u32::MAX) };
        let blocks = (0..count).map(block).collect();
        let page = Statement { after, upto: after + count, blocks, entries: Vec::new() };
        page.continues(after).unwrap();
        for blocks in page.blocks.chunks(1000) {
            let step = SystemClock.monotonic();
            full.add_blocks(blocks);
            slowest = slowest.max(since(step));
        }
        full.reach(page.upto);
    }
    let built = since(began);
    assert_eq!(full.len() as u64, entries);
    let bytes = (resident() - before) as f64 / entries as f64;
    println!("{entries} entries: {bytes:.1} bytes resident each; built in {built:.1?}, slowest 1,000 in {slowest:.2?}");

    let empty = RevocationSet::for_log();
    let chains: Vec<Chain> = (0..4096).map(|_| chain()).collect();
    let lease = Lease::granted(Monotonic::from_origin(Duration::ZERO), Duration::from_secs(1));
    let now = Monotonic::from_origin(Duration::ZERO);
    // Found live before, nothing added since; then as if something had been.
    let warm = |set: &RevocationSet| per_call(&chains, |chain| set.check(chain, &lease, now).is_ok());
    let cold = |set: &RevocationSet| per_call(&chains, |chain| set.revokes(chain).is_none());
    let mut rounds: [Vec<f64>; 4] = Default::default();
    for _ in 0..9 {
        for (figures, taken) in rounds.iter_mut().zip([warm(&empty), warm(&full), cold(&empty), cold(&full)]) {
            figures.push(taken);
        }
    }
    let [warm_empty, warm_full, cold_empty, cold_full] = rounds.map(|figures| median(&figures));
    println!("nanoseconds for a chain of one block and one holder, median of 9 rounds over 4,096 chains:");
    println!("  warm: empty {warm_empty:.1}, full {warm_full:.1}, ratio {:.2}", warm_full / warm_empty);
    println!("  cold: empty {cold_empty:.1}, full {cold_full:.1}, ratio {:.2}", cold_full / cold_empty);
}

/// Nanoseconds of one call, after one round over all of them that does not count.
fn per_call(chains: &[Chain], live: impl Fn(&Chain) -> bool) -> f64 {
    let all = || chains.iter().filter(|chain| live(black_box(chain))).count();
    assert_eq!(all(), chains.len());
    let began = SystemClock.monotonic();
    for _ in 0..20 {
        black_box(all());
    }
    since(began).as_nanos() as f64 / (20 * chains.len()) as f64
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn chain() -> Chain {
    let root = KeyPair::from_seed(&[7; 32]);
    let block = Authority {
        issuer: "https://authority.example".into(),
        audience: "main".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        subject: Some("alice".parse().unwrap()),
        session: None,
        agent: "assistant".parse().unwrap(),
        holder: Some(KeyPair::from_seed(&random()).public()),
        capabilities: vec!["notes:read:team".parse().unwrap()],
        grants: Vec::new(),
        id: BlockId::from_bytes(random()),
        not_before: START,
        expires: START.after(Duration::from_secs(3600)),
        depth_max: 1,
        epoch: 0,
        proof_covers: ProofCovers::default(),
        policy: PolicyFacts::default(),
    };
    let token = mint(&block, &root, 1, &random(), &Limits::default()).unwrap();
    let keys = RootKeys { keys: vec![RootKey { id: 1, key: root.public(), until: None }] };
    verify(&token, &keys, &Limits::default()).unwrap()
}

/// Fills the log of a new store up to `entries`, and has what the bursts bring beyond its head.
fn fill(path: &Path, entries: u64) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let forget_after = START.after(Duration::from_secs(1_000_000)).millis();
    let last = entries + BURST * BURSTS;
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000; BEGIN; \
             DROP INDEX revocation_target; DROP INDEX revocation_forget_after; \
             WITH RECURSIVE place(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM place WHERE n < {last}) \
             INSERT INTO revocation (seq, target, at, forget_after) \
             SELECT n, 'block:' || lower(hex(randomblob(16))), 0, {forget_after} FROM place; \
             CREATE INDEX revocation_target ON revocation (target, forget_after); \
             CREATE INDEX revocation_forget_after ON revocation (forget_after); \
             UPDATE heads SET revocation_seq = {entries}; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"
        ))
        .unwrap();
}

async fn serving(entries: u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("writ.db");
    let url = StoreUrl::sqlite(&path);
    drop(writ::store::open(&url).await.unwrap());
    let began = SystemClock.monotonic();
    tokio::task::block_in_place(|| fill(&path, entries));
    println!("the store was filled in {:.1?}", since(began));

    let began = SystemClock.monotonic();
    let clock = Arc::new(ManualClock::at(START));
    let store = writ::store::open(&url).await.unwrap();
    let test = start_with(store, clock.clone(), AuthorityTerms::default()).await;
    println!("an authority opened it in {:.1?}", since(began));

    let upstream = upstream().await;
    let writ = writ_for_anybody(&test, upstream).await;
    let (edge, took) = edge(&test, &dir.path().join("edge"), clock).await;
    assert_eq!(edge.knowledge().revocations() as u64, entries);
    println!("an edge served {took:.1?} after its start");

    let address = edge.address();
    let request = format!("GET /notes/team HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {writ}\r\n\r\n");
    call_for(address, &request, &AtomicBool::new(false), Some(QUIET)).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let mut figures: Vec<(f64, f64)> = Vec::new();
    for burst in 1..=BURSTS {
        let quiet = call_for(address, &request, &AtomicBool::new(false), Some(QUIET)).await;
        let known = entries + burst * BURST;
        let done = Arc::new(AtomicBool::new(false));
        connection.execute("UPDATE heads SET revocation_seq = ?1", [known as i64]).unwrap();
        let began = SystemClock.monotonic();
        let (knowledge, told) = (edge.knowledge().clone(), done.clone());
        let waiting = tokio::spawn(async move {
            while knowledge.seq() < known {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let took = since(began);
            told.store(true, Ordering::Relaxed);
            took
        });
        let under = call_for(address, &request, &done, None).await;
        let took = waiting.await.unwrap();
        let (quiet, under) = (Latencies::of(quiet), Latencies::of(under));
        println!("{BURST} more, known after {took:.0?}: quiet {quiet}; meanwhile {under}");
        figures.push((quiet.p99, under.p99));
    }
    let ratios: Vec<f64> = figures.iter().map(|(quiet, under)| under / quiet).collect();
    println!("p99 during a burst against quiet, median of {BURSTS}: {:.2}", median(&ratios));
}

async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = service_fn(|_: Request<Incoming>| async {
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"hello, world"))))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn writ_for_anybody(test: &TestAuthority, upstream: SocketAddr) -> String {
    let service = json!({
        "name": "notes", "upstream": format!("http://{upstream}"), "allow_private": true, "credential": "notes-key",
        "route": [{ "methods": ["GET"], "path": "/{id}", "action": "read", "resource": "{id}" }],
    });
    test.put("/v1/credentials/notes-key", json!({ "kind": "bearer", "secret": "s3cr3t-0123456789" })).await.ok();
    test.put("/v1/services/notes", service).await.ok();
    let agent = test.agent("assistant").await;
    let grant = json!({ "agent": "assistant", "capabilities": ["notes:read:team"], "bearer": true });
    test.post("/v1/grants", grant).await.ok();
    let form = test.form(&agent, &[("scope", "notes:read:team")]);
    test.token_with(&form, None).await.ok()["access_token"].as_str().unwrap().to_owned()
}

async fn edge(test: &TestAuthority, dir: &Path, clock: Arc<ManualClock>) -> (RunningEdge, Duration) {
    std::fs::create_dir(dir).unwrap();
    let mut config = EdgeConfig::loopback("127.0.0.1:0".parse().unwrap(), dir.to_owned());
    config.bearer = BearerRule::Accept;
    let bound = Bound::bind(config).await.unwrap();
    let address = Address { origin: bound.origin().as_str().into(), nonce: false };
    let ticket = test.ticket("edge-1").await;
    let roots = TrustedRoots::web();
    let joined = Joined::join(dir, &ticket, address, &roots, clock.clone(), Rejoin::Refuse).await.unwrap();
    let began = SystemClock.monotonic();
    let edge = bound.start(&joined, clock).await.unwrap();
    assert!(edge.ready(PATIENCE).await);
    (edge, since(began))
}

/// The latency of every call that several callers make one after another, for a time or until they are told.
async fn call_for(address: SocketAddr, request: &str, done: &AtomicBool, time: Option<Duration>) -> Vec<Duration> {
    tokio::task::block_in_place(|| {
        let began = SystemClock.monotonic();
        let over = || done.load(Ordering::Relaxed) || time.is_some_and(|time| since(began) >= time);
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| calls(address, request, over))).collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        })
    })
}

fn calls(address: SocketAddr, request: &str, over: impl Fn() -> bool) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut buffer, mut latencies) = ([0; 4096], Vec::new());
    while !over() {
        let began = SystemClock.monotonic();
        stream.write_all(request.as_bytes()).unwrap();
        let mut filled = 0;
        while !buffer[..filled].ends_with(b"hello, world") {
            let read = stream.read(&mut buffer[filled..]).unwrap();
            assert!(read > 0 && !buffer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&buffer));
            filled += read;
        }
        latencies.push(since(began));
    }
    latencies
}

/// In milliseconds.
struct Latencies {
    count: usize,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Latencies {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort();
        let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        Self { count: all.len(), p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, p50, p99, max } = self;
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms of {count}")
    }
}
