//! What the edge costs beside a proxy that checks nothing: `cargo bench --bench edge`. Trust ratios more than absolutes.
//!
//! Three things are served in turn, round by round, over loopback HTTP/1.1 keep-alive by 16 connections: a minimal hyper
//! reverse proxy, the edge with a bound writ and a fresh proof for each request, and the edge with a bearer writ. Each server is
//! a process of its own, whose processor time is read from `/proc`; requests and proofs are made before the clock starts.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot set itself up has failed; it prints its result"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use writ::catalog::Service;
use writ::clock::{Clock as _, Monotonic, SystemClock, Timestamp};
use writ::config::edge::EdgeConfig;
use writ::dial::TrustedRoots;
use writ::edge::Bound;
use writ::edge::join::{Address, Joined, Rejoin};
use writ::id::BlockId;
use writ::key::KeyPair;
use writ::token::chain::{Authority, ProofCovers};
use writ::token::claims::PolicyFacts;
use writ::token::mint::mint;
use writ::token::proof::{self, BearerRule, ProvenRequest};
use writ::token::{Limits, RawToken};
use writ::vault::CredentialKind;
use writ::wire::JoinTicketText;

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/edge/authority.rs"]
mod authority;

use authority::StandIn;

/// The same for the floor and for the edge: as in `writ`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONNECTIONS: usize = 16;
const ROUNDS: usize = 9;
/// So few that the proofs of a round are still in time when it ends.
const REQUESTS: usize = 16_000;
const PATH: &str = "/notes/notes/7";

/// The stand-in for the authority waits by this.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never happened that {what}");
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve-upstream"] => runtime.block_on(serve_upstream()),
        ["serve-proxy", upstream] => runtime.block_on(serve_proxy(upstream.parse().unwrap())),
        ["serve-edge", ticket] => runtime.block_on(serve_edge(ticket)),
        // What `cargo test --benches` would run.
        [] | ["--test"] if cfg!(debug_assertions) => println!("run this by `cargo bench --bench edge`"),
        _ => runtime.block_on(compare()),
    }
}

async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    announce(listener.local_addr().unwrap());
    listener
}

fn announce(address: SocketAddr) {
    println!("{address}");
    std::io::stdout().flush().unwrap();
}

async fn serve_upstream() {
    let listener = listen().await;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = service_fn(|_: Request<Incoming>| async {
            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"{\"id\":7,\"text\":\"hello, world\"}"))))
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// As little as a reverse proxy on hyper can be.
async fn serve_proxy(upstream: SocketAddr) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let listener = listen().await;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let client = client.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            *request.uri_mut() = format!("http://{upstream}/v1/notes/7").parse().unwrap();
            let answer = client.request(request);
            async move {
                Ok::<_, hyper::Error>(match answer.await {
                    Ok(answer) => answer.map(Either::Left),
                    Err(_) => Response::builder().status(502).body(Either::Right(Full::new(Bytes::new()))).unwrap(),
                })
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn serve_edge(ticket: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = EdgeConfig::loopback("127.0.0.1:0".parse().unwrap(), dir.path().to_owned());
    config.bearer = BearerRule::Accept;
    let bound = Bound::bind(config).await.unwrap();
    let address = Address { origin: bound.origin().as_str().into(), nonce: false };
    let (clock, roots) = (Arc::new(SystemClock), TrustedRoots::web());
    let ticket = JoinTicketText::parse(ticket).unwrap();
    let joined = Joined::join(dir.path(), &ticket, address, &roots, clock.clone(), Rejoin::Refuse).await.unwrap();
    let edge = bound.start(&joined, clock).await.unwrap();
    assert!(edge.ready(Duration::from_secs(10)).await);
    announce(edge.address());
    std::future::pending::<()>().await;
}

/// A server in a process of its own.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        let mut process =
            Command::new(std::env::current_exe().unwrap()).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { process, address: line.trim().parse().unwrap() }
    }

    /// Processor time so far, of all threads.
    fn processor(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let nanoseconds = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn notes(upstream: SocketAddr) -> Service {
    let text = format!(
        "name = 'notes'\nupstream = 'http://{upstream}/v1'\nallow_private = true\ncredential = 'notes-key'\n\
         [[route]]\nmethods = ['GET']\npath = '/notes/{{id}}'\naction = 'notes/read'\nresource = 'team/{{id}}'\n"
    );
    Service::from_toml(&text).unwrap()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

fn minted(authority: &StandIn, holder: Option<&KeyPair>) -> RawToken {
    let now = SystemClock.now();
    let block = Authority {
        issuer: authority.issuer().into(),
        audience: authority::AUDIENCE.parse().unwrap(),
        tenant: authority::TENANT.parse().unwrap(),
        subject: Some("alice".parse().unwrap()),
        session: None,
        agent: "assistant".parse().unwrap(),
        holder: holder.map(KeyPair::public),
        capabilities: vec!["notes:notes/read:team".parse().unwrap()],
        grants: Vec::new(),
        id: BlockId::from_bytes(random()),
        not_before: Timestamp::from_secs(now.secs() - 10),
        expires: Timestamp::from_secs(now.secs() + 3600),
        depth_max: u8::from(holder.is_some()),
        epoch: 0,
        proof_covers: ProofCovers::default(),
        policy: PolicyFacts::default(),
    };
    mint(&block, &authority.root(), authority::ROOT_KEY_ID, &random(), &Limits::default()).unwrap()
}

fn request(host: SocketAddr, scheme: &str, token: &RawToken, proof: &str) -> Vec<u8> {
    let token = token.text();
    format!(
        "GET {PATH} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\nUser-Agent: bench\r\n\
         Authorization: {scheme} {token}\r\nDPoP: {proof}\r\n\r\n"
    )
    .into_bytes()
}

/// So many requests, each with a proof of its own.
fn bound_requests(host: SocketAddr, token: &RawToken, holder: &KeyPair) -> Vec<Vec<u8>> {
    let url = format!("http://{host}{PATH}");
    let proven = ProvenRequest { method: "GET", url: &url, query: None, body_sha256: None };
    let now = SystemClock.now();
    let make = |_| {
        let proof = proof::make(holder, &proven, Some(token.digest()), ProofCovers::default(), None, &random(), now);
        request(host, "DPoP", token, &proof)
    };
    (0..REQUESTS).map(make).collect()
}

/// One client thread's share: each request answered with 200 before the next is sent.
fn exchange(address: SocketAddr, requests: &[&[u8]]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    for request in requests {
        stream.write_all(request).unwrap();
        let mut filled = 0;
        loop {
            let read = stream.read(&mut buffer[filled..]).unwrap();
            assert!(read > 0, "the server closed the connection");
            filled += read;
            if is_whole(&buffer[..filled]) {
                break;
            }
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..filled]));
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    answer.len() >= end + 4 + length.parse::<usize>().unwrap()
}

/// Wall time and the server's processor time for all of `requests`.
fn round(server: &Server, requests: &[Vec<u8>]) -> (Duration, Duration) {
    let processor = server.processor();
    let began = SystemClock.monotonic();
    std::thread::scope(|scope| {
        for share in requests.chunks(requests.len().div_ceil(CONNECTIONS)) {
            let share: Vec<&[u8]> = share.iter().map(Vec::as_slice).collect();
            scope.spawn(move || exchange(server.address, &share));
        }
    });
    (since(began), server.processor() - processor)
}

fn since(began: Monotonic) -> Duration {
    SystemClock.monotonic().since(began)
}

#[derive(Default)]
struct Figures {
    per_second: Vec<f64>,
    microseconds: Vec<f64>,
}

impl Figures {
    fn add(&mut self, (wall, processor): (Duration, Duration)) {
        self.per_second.push(REQUESTS as f64 / wall.as_secs_f64());
        self.microseconds.push(processor.as_secs_f64() * 1e6 / REQUESTS as f64);
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

async fn compare() {
    let upstream = Server::start(&["serve-upstream"]);
    let authority = StandIn::start(vec![notes(upstream.address)]).await;
    authority.store("notes", CredentialKind::Bearer, "s3cr3t-0123456789");
    let proxy = Server::start(&["serve-proxy", &upstream.address.to_string()]);
    let ticket = authority.ticket().to_text();
    let edge = tokio::task::block_in_place(|| Server::start(&["serve-edge", ticket.expose()]));

    let holder = KeyPair::from_seed(&random());
    let (bound, bearer) = (minted(&authority, Some(&holder)), minted(&authority, None));
    // The same size for all: a proof that nobody looks at.
    let unread = "x".repeat(520);
    let plain = vec![request(proxy.address, "Bearer", &bearer, &unread); REQUESTS];
    let unproven = vec![request(edge.address, "Bearer", &bearer, &unread); REQUESTS];

    let mut figures = [Figures::default(), Figures::default(), Figures::default()];
    tokio::task::block_in_place(|| {
        for turn in 0..=ROUNDS {
            let taken = [
                round(&proxy, &plain),
                round(&edge, &bound_requests(edge.address, &bound, &holder)),
                round(&edge, &unproven),
            ];
            // The first only warms up.
            if turn > 0 {
                figures.iter_mut().zip(taken).for_each(|(figures, taken)| figures.add(taken));
            }
        }
    });

    let names = ["minimal hyper proxy", "edge, bound writ", "edge, bearer writ"];
    let base = (median(&figures[0].per_second), median(&figures[0].microseconds));
    println!("median of {ROUNDS} rounds of {REQUESTS} requests, {CONNECTIONS} connections");
    println!("{:<22}{:>12}{:>16}{:>10}{:>10}", "", "requests/s", "µs processor", "ratio/s", "ratio µs");
    for (name, figures) in names.iter().zip(&figures) {
        let (per_second, microseconds) = (median(&figures.per_second), median(&figures.microseconds));
        println!(
            "{name:<22}{per_second:>12.0}{microseconds:>16.1}{:>10.2}{:>10.2}",
            per_second / base.0,
            microseconds / base.1
        );
    }
}
