//! The database goes away, somebody else answers, a certificate is wanted: nothing is granted that was not decided.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use writ::authority::RunningAuthority;
use writ::clock::ManualClock;
use writ::config::authority::AuthorityTerms;
use writ::dial::{AuthorityClient, TrustedRoots};
use writ::edge::channel::{Channel, ChannelError};
use writ::key::KeyPair;
use writ::wire::FeedReply;

use crate::store::Database;
use crate::support::authority::{START, WITHIN, random, start, start_with};
use crate::support::postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_nothing_is_leased_lent_issued_or_receipted() {
    let server = tokio::task::spawn_blocking(|| postgres::Server::start(&[])).await.unwrap();
    let url = server.url("postgres", &server.empty().await);
    let store = writ::store::open(&url).await.unwrap();
    let clock = Arc::new(ManualClock::at(START));
    let test = start_with(store, clock, AuthorityTerms::default()).await;
    let edge = test.edge("edge-1").await;
    let (head, version) = edge.catch_up().await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    assert_eq!(test.raw(Method::GET, "/readyz", HeaderMap::new(), "").await.status, 200);
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();

    let Err(ChannelError::Refused { status, refusal }) = edge.feed(Some(head), Some(version), 0).await else {
        panic!("a lease without a log")
    };
    assert_eq!((status.as_u16(), &*refusal.code), (503, "unavailable"));
    test.raw(Method::GET, "/readyz", HeaderMap::new(), "").await.refused(503, "unavailable");
    test.post("/v1/revocations", json!({ "target": "tenant:acme" })).await.refused(503, "unavailable");
    test.post("/v1/agents/planner/disable", json!(null)).await.refused(503, "unavailable");
    let reply = test.token(&agent, "notes:read:team").await;
    assert_eq!((reply.status, &reply.json["error"]), (503, &json!("temporarily_unavailable")));
    assert!(reply.json.get("access_token").is_none());
    assert_eq!(test.raw(Method::GET, "/healthz", HeaderMap::new(), "").await.status, 200, "the process lives");
}

#[tokio::test]
async fn an_edge_believes_nobody_but_the_authority_it_joined() {
    let test = start(&Database::sqlite().await).await;
    let edge = test.edge("edge-1").await;
    edge.feed(None, None, 0).await.unwrap();
    // As if somebody else answered at that address: what comes is not signed by the pinned key.
    let pinned = KeyPair::from_seed(&random()).public();
    let channel = Channel::new(
        edge.key.clone(),
        pinned,
        test.issuer.as_str().into(),
        vec![test.client.clone()],
        test.clock.clone(),
    );
    let request = writ::wire::FeedRequest { known: 0, settings: None, wait_ms: 0 };
    let answer = channel.call::<_, FeedReply>("/v1/edge/feed", &request, WITHIN).await;
    assert!(matches!(answer, Err(ChannelError::Unsigned(_))), "{answer:?}");
}

#[tokio::test]
async fn with_a_certificate_it_serves_tls_and_nothing_else() {
    let test = start(&Database::sqlite().await).await;
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let running = RunningAuthority::start(test.authority.clone(), listener, Some(Arc::new(tls))).unwrap();
    let port = running.addr.port();
    let call = async |url: String, roots: &TrustedRoots| {
        let client = AuthorityClient::new(url.parse().unwrap(), roots);
        client.call(Method::GET, "/healthz", HeaderMap::new(), "".into(), Duration::from_secs(5)).await
    };
    let roots = TrustedRoots::web().with_pem(certified.cert.pem().as_bytes()).unwrap();
    assert_eq!(call(format!("https://localhost:{port}"), &roots).await.unwrap().status, 200);
    assert!(call(format!("https://localhost:{port}"), &TrustedRoots::web()).await.is_err(), "an unknown certificate");
    assert!(call(format!("http://localhost:{port}"), &roots).await.is_err(), "plain HTTP at a TLS port");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_while_every_other_has_a_request() {
    let database = Database::sqlite().await;
    let terms = AuthorityTerms { connections_max: 1, ..AuthorityTerms::default() };
    let test = start_with(database.store.clone(), Arc::new(ManualClock::at(START)), terms).await;
    let address = test.issuer.trim_start_matches("http://").to_owned();
    let mut busy = tokio::net::TcpStream::connect(&address).await.unwrap();
    let begun = b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                  Content-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    busy.write_all(begun).await.unwrap();
    let mut goes_on = [0; 12];
    busy.read_exact(&mut goes_on).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100");
    let asking = test.raw(Method::GET, "/healthz", HeaderMap::new(), "");
    tokio::pin!(asking);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut asking).await.is_err());
    drop(busy);
    assert_eq!(asking.await.status, 200);
}
