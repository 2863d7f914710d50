//! How many writs an authority issues: `cargo bench --bench issue`. Trust ratios more than absolutes.
//!
//! One `writ serve`, alone on the first processor; Postgres with durable commits and 64 clients on the others. Every request is an
//! agent's own: an assertion by its key (`private_key_jwt`) and a DPoP proof, both made before the clock starts, so that
//! beside Postgres the clients only write and read. First all clients ask as fast as they are answered; then so many writs are asked
//! for in each second, at even distances, and a latency counts from the moment at which the request was due. Processor time
//! is the authority's, and beside it Postgres's. Each writ is a row in `issued_writ`, two in `used_id` and an audit record, in
//! one transaction with those that came at the same time (spec/store.md, "Group commit"): the least that a latency can be is
//! what a flush of the disk takes, which `pg_test_fsync` tells.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot set itself up has failed; it prints its result"
)]

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use writ::clock::{Clock as _, Monotonic, SystemClock};
use writ::key::KeyPair;
use writ::token::chain::ProofCovers;
use writ::token::proof::{self, ProvenRequest};

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/support/postgres.rs"]
mod postgres;
#[expect(dead_code, reason = "the other benchmark uses more of it")]
#[path = "edge/process.rs"]
mod process;
#[expect(dead_code, reason = "the other benchmark uses more of it")]
#[path = "edge/raw.rs"]
mod raw;
#[path = "edge/readme.rs"]
mod readme;

use process::{Place, Process};
use raw::Raw;

const CLIENTS: usize = 64;
/// Asked for in each second of the second part.
const RATES: [usize; 2] = [1000, 2000];
const ROUNDS: usize = 5;
const ROUND_S: usize = 4;
const SCOPE: &str = "notes:read:team";
/// What a server does that is set up for no loss.
const DURABLE: [&str; 3] = ["fsync=on", "full_page_writes=on", "synchronous_commit=on"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // What `cargo test --benches` would run.
        [] | ["--test"] if cfg!(debug_assertions) => println!("run this by `cargo bench --bench issue`"),
        ["--quick"] => println!("{}", run(1, 1)),
        ["--write"] => readme::put("issue", &run(ROUNDS, ROUND_S)),
        _ => println!("{}", run(ROUNDS, ROUND_S)),
    }
}

/// What was found, as Markdown.
fn run(rounds: usize, seconds: usize) -> String {
    process::stay_off_the_servers_processor();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bench = Bench::start(&runtime);
    let trial = bench.flat_out(&runtime, 640);
    let count = (trial.per_second as usize * seconds).max(640);
    let mut text = "| one authority, 64 clients | writs/s | p50 ms | p99 ms | processor µs per writ | of Postgres |\n\
                    | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    text += &median((0..rounds).map(|_| bench.flat_out(&runtime, count)).collect()).row("as fast as they are answered");
    for rate in RATES {
        text += &median((0..rounds).map(|_| bench.paced(&runtime, rate, seconds)).collect())
            .row(&format!("{rate} a second"));
    }
    let machine = readme::machine();
    text + &format!(
        "\nMedians of {rounds} rounds (`cargo bench --bench issue`). The authority alone on one processor, clients and Postgres (`fsync` and \
         `synchronous_commit` on) on the other; an assertion and a DPoP proof for each writ. {machine}.\n"
    )
}

fn since(began: Monotonic) -> Duration {
    SystemClock.monotonic().since(began)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// What a round took: milliseconds, and microseconds of processor time for each writ.
#[derive(Clone, Copy)]
struct Taken {
    per_second: f64,
    p50: f64,
    p99: f64,
    authority: f64,
    postgres: f64,
}

fn median(rounds: Vec<Taken>) -> Taken {
    let of = |figure: fn(&Taken) -> f64| {
        let mut sorted: Vec<f64> = rounds.iter().map(figure).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    Taken {
        per_second: of(|taken| taken.per_second),
        p50: of(|taken| taken.p50),
        p99: of(|taken| taken.p99),
        authority: of(|taken| taken.authority),
        postgres: of(|taken| taken.postgres),
    }
}

impl Taken {
    fn row(&self, name: &str) -> String {
        let Self { per_second, p50, p99, authority, postgres } = self;
        format!("| {name} | {per_second:.0} | {p50:.2} | {p99:.2} | {authority:.0} | {postgres:.0} |\n")
    }
}

struct Agent {
    name: String,
    key: KeyPair,
}

struct Bench {
    /// Ends before the database does.
    authority: Process,
    address: SocketAddr,
    issuer: String,
    agents: Vec<Agent>,
    _postgres: postgres::Server,
}

impl Bench {
    fn start(runtime: &Runtime) -> Self {
        let postgres = postgres::Server::start(&DURABLE);
        let database = runtime.block_on(postgres.empty());
        let dir = tempfile::tempdir().unwrap();
        let address = process::free_address();
        fs::write(dir.path().join("store"), postgres.text_url("postgres", &database)).unwrap();
        let listen = address.to_string();
        let made = process::command(Place::Beside, env!("CARGO_BIN_EXE_writ"))
            .args(["init", ".", "--listen", &listen, "--store-file", "store", "--save-secret"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let secret = fs::read_to_string(dir.path().join("operator-secret")).unwrap();
        let mut serve = process::command(Place::Server, env!("CARGO_BIN_EXE_writ"));
        serve.args(["serve", "--log", "warn"]).current_dir(dir.path());
        let authority = Process::start(serve, dir);
        assert!(authority.ready(address, "/readyz").is_some(), "{}", authority.log());
        let agent = |n| Agent { name: format!("agent-{n}"), key: KeyPair::from_seed(&random()) };
        let agents: Vec<Agent> = (0..CLIENTS).map(agent).collect();
        let issuer = format!("http://{address}");
        let bench = Self { authority, address, issuer, agents, _postgres: postgres };
        runtime.block_on(bench.register(secret.trim()));
        bench
    }

    async fn register(&self, secret: &str) {
        let mut raw = Raw::connect(self.address).await;
        for Agent { name, key } in &self.agents {
            let calls = [
                ("/v1/agents", json!({ "name": name, "key": key.public() })),
                ("/v1/grants", json!({ "agent": name, "capabilities": [SCOPE] })),
            ];
            for (path, body) in calls {
                let head = format!("Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n");
                raw.exchange(&self.post(path, &head, &body.to_string()), b"").await;
            }
        }
    }

    fn post(&self, path: &str, head: &str, body: &str) -> Vec<u8> {
        let (host, length) = (self.address, body.len());
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{head}\r\n{body}").into_bytes()
    }

    /// An agent's request for a writ.
    fn ask(&self, agent: &Agent) -> Vec<u8> {
        let now = SystemClock.now();
        let claims = json!({
            "iss": agent.name, "sub": agent.name, "aud": self.issuer, "iat": now.secs(), "exp": now.secs() + 60,
            "jti": hex::encode(random::<16>()),
        });
        let assertion = jws(&agent.key, &json!({ "alg": "EdDSA", "typ": "JWT", "kid": agent.key.public() }), &claims);
        let form = serde_urlencoded::to_string([
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &assertion),
            ("scope", SCOPE),
        ])
        .unwrap();
        let url = format!("{}/oauth/token", self.issuer);
        let proven = ProvenRequest { method: "POST", url: &url, query: None, body_sha256: None };
        let proof = proof::make(&agent.key, &proven, None, ProofCovers::default(), None, &random(), now);
        let head = format!("DPoP: {proof}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        self.post("/oauth/token", &head, &form)
    }

    /// So many for each client.
    fn asks(&self, count: usize) -> Vec<Vec<Vec<u8>>> {
        self.agents.iter().map(|agent| (0..count.div_ceil(CLIENTS)).map(|_| self.ask(agent)).collect()).collect()
    }

    fn flat_out(&self, runtime: &Runtime, count: usize) -> Taken {
        self.round(runtime, count, |_, _| None)
    }

    fn paced(&self, runtime: &Runtime, rate: usize, seconds: usize) -> Taken {
        let apart = Duration::from_secs(1) / u32::try_from(rate).unwrap();
        self.round(runtime, rate * seconds, |client, n| Some(apart * u32::try_from(n * CLIENTS + client).unwrap()))
    }

    /// Each client sends what it has one after the other, and none before it is due.
    fn round(&self, runtime: &Runtime, count: usize, due: impl Fn(usize, usize) -> Option<Duration>) -> Taken {
        let asks = self.asks(count);
        let mut clients = runtime.block_on(join_all(asks.iter().map(|_| Raw::connect(self.address))));
        let (authority, postgres) = (self.authority.processor(), processor_of_postgres());
        let began = SystemClock.monotonic();
        let calls = clients.iter_mut().zip(&asks).enumerate().map(async |(client, (raw, asks))| {
            let mut latencies = Vec::with_capacity(asks.len());
            for (n, ask) in asks.iter().enumerate() {
                let from = due(client, n).unwrap_or_else(|| since(began));
                tokio::time::sleep(from.saturating_sub(since(began))).await;
                raw.exchange(ask, b"").await;
                latencies.push(since(began) - from);
            }
            latencies
        });
        let mut latencies = runtime.block_on(join_all(calls)).concat();
        let wall = since(began);
        let (authority, postgres) = (self.authority.processor() - authority, processor_of_postgres() - postgres);
        latencies.sort();
        let count = latencies.len();
        let at = |part: f64| latencies[((part * count as f64) as usize).min(count - 1)].as_secs_f64() * 1e3;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        Taken {
            per_second: count as f64 / wall.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            authority: each(authority),
            postgres: each(postgres),
        }
    }
}

fn jws(key: &KeyPair, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())))
}

/// What the processes of this program's Postgres have used so far.
fn processor_of_postgres() -> Duration {
    let stat = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
        let parent: u32 = rest.split(' ').nth(2)?.parse().ok()?;
        Some((parent, name == "postgres"))
    };
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let all: HashMap<u32, (u32, bool)> = pids.filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let is_ours =
        |pid: &u32| std::iter::successors(Some(*pid), |pid| Some(all.get(pid)?.0)).any(|pid| pid == std::process::id());
    let own = all.iter().filter(|(pid, (_, postgres))| *postgres && is_ours(pid)).filter_map(|(pid, _)| {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(own.sum())
}
