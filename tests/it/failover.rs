//! A server dies, a replica is killed: nothing is lost, and no receipt says what is not so.
//!
//! What counts as failure: a revocation that was answered and is gone, a receipt for one that is not in force, a lease from
//! a database that another one has replaced.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use writ::authority::Authority;
use writ::clock::ManualClock;
use writ::config::authority::AuthorityTerms;
use writ::edge::channel::ChannelError;
use writ::revocation::Receipt;
use writ::wire::FeedReply;

use crate::cli::{command, writ};
use crate::support::authority::{START, TestEdge, keyring, start_with};
use crate::support::postgres::{self, Server};
use crate::world::{Process, answers, free_address};

const PATIENCE: Duration = Duration::from_secs(60);

/// A primary that waits for its standby, and the standby.
fn pair() -> (Server, Server) {
    let primary = Server::start(&[]);
    let standby = Server::standby_of(&primary);
    (primary, standby)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Makes `primary` wait for its standby with every commit.
async fn wait_for_standby(primary: &Server) {
    primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'standby'").await;
    primary.sql("postgres", "SELECT pg_reload_conf()").await;
    primary.until("postgres", "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").await;
}

async fn promote(standby: &Server) {
    standby.sql("postgres", "SELECT pg_promote()").await;
    standby.until("postgres", "SELECT 1 WHERE NOT pg_is_in_recovery()").await;
}

/// The first answer with a lease, asked for until one comes.
async fn leased(edge: &TestEdge, known: u64, version: u64) -> FeedReply {
    let asked = async {
        loop {
            match edge.feed(Some(known), Some(version), 0).await {
                Ok(reply) if reply.lease_ms > 0 => return reply,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_nothing_that_was_answered_is_lost_and_edges_are_served_again() {
    let (primary, standby) = blocking(pair).await;
    let database = primary.empty().await;
    let urls = postgres::url_of(&[&primary, &standby], &database);
    let store = writ::store::open(&urls.parse().unwrap()).await.unwrap();
    wait_for_standby(&primary).await;
    let test = start_with(store, Arc::new(ManualClock::at(START)), AuthorityTerms::default()).await;
    let edge = test.edge("edge-1").await;
    let (head, version) = edge.catch_up().await;
    leased(&edge, head, version).await;
    let following = edge.follow();
    let body = json!({ "target": "tenant:acme", "idempotency_key": "before" });
    let first = test.post("/v1/revocations", body.clone()).await;
    assert_eq!(first.status, 200, "{}", first.text);
    drop(following);

    blocking(move || drop(primary)).await;
    // In the gap there is no lease, and a revocation fails instead of seeming done.
    let Err(ChannelError::Refused { status, .. }) = edge.feed(Some(1), Some(version), 0).await else {
        panic!("a lease without a database")
    };
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let failed = test.post("/v1/revocations", json!({ "target": "tenant:other" })).await;
    assert_eq!(failed.status, 503, "{}", failed.text);

    promote(&standby).await;
    assert_eq!(leased(&edge, 1, version).await.head, 1);
    let _following = edge.follow();
    let again = test.post("/v1/revocations", body).await;
    assert_eq!((again.status, &again.text), (200, &first.text), "the entry and its receipt survived");
    let next = test.post("/v1/revocations", json!({ "target": "tenant:other" })).await.ok();
    assert_eq!(next["seq"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_replaced_grants_no_lease_and_gives_no_receipt() {
    let (primary, standby) = blocking(pair).await;
    let database = primary.empty().await;
    let old = writ::store::open(&primary.url("postgres", &database)).await.unwrap();
    wait_for_standby(&primary).await;
    let clock = Arc::new(ManualClock::at(START));
    let test = start_with(old, clock.clone(), AuthorityTerms::default()).await;
    let edge = test.edge("edge-1").await;
    let (head, version) = edge.catch_up().await;
    let before = leased(&edge, head, version).await;
    assert!(before.lease_ms <= 1000);
    // Another server takes over, and this authority does not hear of it: its own still answers.
    promote(&standby).await;
    primary.until("postgres", "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_replication)").await;
    let new = writ::store::open(&standby.url("postgres", &database)).await.unwrap();
    let other = Authority::open(new, keyring(&test.kek, &[]), clock.clone(), AuthorityTerms::default(), None).await;
    let beside = test.at(other.unwrap()).await;
    let revoking = beside.post("/v1/revocations", json!({ "target": "tenant:acme" }));
    let revoked = beside.let_time_pass(revoking).await.ok();
    assert_eq!((&revoked["seq"], &revoked["edges"][0]["how"]), (&json!(1), &json!("lease_ended")));
    // That took longer than a lease. The old one answers, knows nothing of the entry, and grants nothing.
    let stale = edge.feed(Some(head), Some(version), 0).await.unwrap();
    assert_eq!((stale.head, stale.lease_ms), (0, 0));
    let revoking = test.post("/v1/revocations", json!({ "target": "tenant:other" }));
    let answered = tokio::time::timeout(Duration::from_secs(3), revoking).await;
    assert!(answered.as_ref().is_ok_and(|reply| reply.status == 503) || answered.is_err(), "{answered:?}");
    let stale = edge.feed(Some(head), Some(version), 0).await.unwrap();
    assert_eq!(stale.lease_ms, 0);
    leased(&beside.reached_by(&edge), head, version).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_recovery_is_no_store() {
    let (primary, standby) = blocking(pair).await;
    let database = primary.empty().await;
    writ::store::open(&primary.url("postgres", &database)).await.unwrap();
    standby.until(&database, "SELECT 1 WHERE to_regclass('writ.heads') IS NOT NULL").await;
    let refused = writ::store::open(&standby.url("postgres", &database)).await.err().unwrap();
    assert!(matches!(refused, writ::store::StoreError::Unavailable(_)), "{refused:?}");
    // Named first, it is passed over.
    let urls = postgres::url_of(&[&standby, &primary], &database);
    writ::store::open(&urls.parse().unwrap()).await.unwrap().revocation_head().await.unwrap();
}

/// Ends with the test: a stopped process cannot be ended otherwise.
struct Stopped(u32);

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", self.0);
    }
}

fn signal(name: &str, id: u32) {
    assert!(std::process::Command::new("kill").args([name, &id.to_string()]).status().unwrap().success());
}

/// `writ serve` at another address with the same settings otherwise.
fn serve(dir: &Path, name: &str, config: &str, address: SocketAddr) -> (Process, String) {
    let line = config.lines().find(|line| line.starts_with("listen")).unwrap();
    fs::write(dir.join(format!("{name}.toml")), config.replace(line, &format!("listen = \"{address}\""))).unwrap();
    let arguments = ["serve", "--config", &format!("{name}.toml")];
    let mut process = Process::start(command(dir, &arguments), dir.join(format!("{name}.log")));
    process.until(name, || answers(address, "/readyz"));
    (process, format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_in_flight_is_completed_by_another_replica_when_its_own_is_killed() {
    let server = postgres::server().await;
    let store = server.text_url("postgres", &server.empty().await);
    blocking(move || killed_with_a_receipt_in_flight(&store)).await;
}

fn killed_with_a_receipt_in_flight(store: &str) {
    let dir = crate::canaries::folder();
    let dir = dir.path();
    fs::write(dir.join("store"), store).unwrap();
    // The edge joins at the issuer, which is the replica that will be killed.
    let addresses = (free_address(), free_address());
    let listen = addresses.0.to_string();
    writ(dir, &["init", ".", "--listen", &listen, "--store-file", "store", "--save-secret"]).ok();
    let config = fs::read_to_string(dir.join("writ.toml")).unwrap();
    let (mut one, at_one) = serve(dir, "one", &config, addresses.0);
    let (_two, at_two) = serve(dir, "two", &config, addresses.1);
    fs::remove_file(dir.join("store")).unwrap();
    let operate = |at: &str, args: &[&str]| {
        writ(dir, &[args, &["--url", at, "--operator-secret-file", "operator-secret", "--json"]].concat())
    };
    let ticket = operate(&at_one, &["edge", "ticket", "edge-1"]).json();
    fs::write(dir.join("ticket"), ticket["ticket"].as_str().unwrap()).unwrap();
    let at_edge = free_address();
    let settings = format!(
        "listen = [\"{at_edge}\"]\norigin = \"http://{at_edge}\"\nstate = \"edge\"\nauthorities = [\"{at_one}\", \"{at_two}\"]\n"
    );
    fs::write(dir.join("edge.toml"), settings).unwrap();
    let mut edge = Process::start(command(dir, &["edge", "--ticket", "ticket"]), dir.join("edge.log"));
    edge.until("the edge", || answers(at_edge, "/.writ/readyz"));

    // Stopped, the edge says nothing: the receipt is in flight for a whole lease.
    signal("-STOP", edge.id());
    let stopped = Stopped(edge.id());
    let revoke = ["revoke", "tenant:acme", "--idempotency-key", "k"];
    let first = Process::start(
        command(dir, &[&revoke[..], &["--url", &at_one, "--operator-secret-file", "operator-secret"]].concat()),
        dir.join("first.log"),
    );
    let head = || operate(&at_two, &["audit", "search", "--source", "authority"]).ok().contains("revocation.add");
    one.until("the commit", head);
    one.kill();
    drop(first);
    let receipt: Value = operate(&at_two, &revoke).json();
    drop(stopped);
    assert_eq!((&receipt["seq"], &receipt["target"]), (&json!(1), &json!("tenant:acme")));
    let kept = operate(&at_two, &revoke).json();
    assert_eq!(kept, receipt, "a receipt is given once");
    let key = receipt["key"].as_str().unwrap();
    Receipt::parse(&receipt.to_string()).unwrap().check(&key.parse().unwrap()).unwrap();
    let added = operate(&at_two, &["audit", "search", "--source", "authority"]).ok();
    assert_eq!(added.matches("revocation.add").count(), 1, "{added}");
    // The edge goes on where it can: at the other replica.
    edge.until("the edge", || answers(at_edge, "/.writ/readyz"));
}
