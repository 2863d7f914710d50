//! A database that takes statements and does not answer, behind a real server's own socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use writ::clock::ManualClock;
use writ::config::authority::AuthorityTerms;

use crate::support::authority::{START, start_with};
use crate::support::postgres::{self, PORT, socket_name};

/// Longer than any answer takes that says that there is none.
const PATIENCE: Duration = Duration::from_secs(100);

/// Passes everything on to the server, and while it is shut none of its answers back.
async fn proxy(dir: &Path, server: &Path) -> watch::Sender<bool> {
    let (open, gate) = watch::channel(true);
    let listener = UnixListener::bind(dir.join(socket_name(PORT))).unwrap();
    let server = server.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = UnixStream::connect(&server).await else { continue };
            let ((from_client, mut to_client), (mut from_server, to_server)) =
                (client.into_split(), server.into_split());
            let mut gate = gate.clone();
            tokio::spawn(async move {
                let (mut from_client, mut to_server) = (from_client, to_server);
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            });
            tokio::spawn(async move {
                let mut buffer = vec![0; 16_384];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    if gate.wait_for(|open| *open).await.is_err() || to_client.write_all(&buffer[..read]).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_answer_is_a_503_and_once_it_does_all_goes_on() {
    let server = postgres::server().await;
    let dir = tempfile::TempDir::new().unwrap();
    let open = proxy(dir.path(), &server.socket()).await;
    let url = postgres::url(dir.path(), PORT, "postgres", &server.empty().await);
    let store = writ::store::open(&url.parse().unwrap()).await.unwrap();
    let test = start_with(store, Arc::new(ManualClock::at(START)), AuthorityTerms::default()).await;
    let edge = test.edge("edge-1").await;
    let (head, version) = edge.catch_up().await;

    open.send_replace(false);
    let refused = async |method, path: &'static str, body: String| {
        let body = body.into_bytes().into();
        let answer = test.client.call(method, path, test.operator_headers(), body, PATIENCE).await.unwrap();
        let problem: serde_json::Value = answer.json().unwrap();
        assert_eq!(answer.status, 503, "{path}: {problem}");
        problem["code"].as_str().unwrap().to_owned()
    };
    let revocation = json!({ "target": "tenant:acme", "idempotency_key": "k" });
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (client, headers) = (test.client.clone(), test.operator_headers());
        calls.spawn(async move {
            client.call(Method::GET, "/v1/agents", headers, "".into(), PATIENCE).await.unwrap().status
        });
    }
    let (revoked, ready) = tokio::join!(
        refused(Method::POST, "/v1/revocations", revocation.to_string()),
        refused(Method::GET, "/readyz", String::new()),
    );
    assert!(["unavailable", "outcome_unknown", "receipt_pending"].contains(&&*revoked), "{revoked}");
    assert_eq!(ready, "unavailable");
    assert!(calls.join_all().await.iter().all(|status| *status == 503));
    let leased = edge.feed(Some(head), Some(version), 0).await.is_ok_and(|reply| reply.lease_ms > 0);
    assert!(!leased, "no lease without a log");

    open.send_replace(true);
    let again = async {
        while test.client.call(Method::GET, "/readyz", Default::default(), "".into(), PATIENCE).await.unwrap().status
            != 200
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("it serves again");
    let _following = edge.follow();
    let receipt = test.post("/v1/revocations", revocation.clone()).await.ok();
    assert_eq!(test.post("/v1/revocations", revocation).await.ok()["seq"], receipt["seq"], "once, and not twice");
}
