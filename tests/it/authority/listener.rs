//! Connections to an authority that ask nothing, or never to the end. Failure is: one of them that stays, one that is ended while
//! its request is answered, and somebody else who finds no place.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use writ::clock::ManualClock;
use writ::config::authority::AuthorityTerms;
use writ::wire::WAIT_MS_MAX;

use crate::attacks::http2::{SETTINGS, frame};
use crate::store::Database;
use crate::support::authority::{START, TestAuthority, WITHIN, start_with};

const IDLE: Duration = Duration::from_secs(1);
const READY: &str = "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n";
const PING: u8 = 6;
const ACK: u8 = 1;

async fn with_terms(terms: AuthorityTerms) -> (TestAuthority, Database) {
    let database = Database::sqlite().await;
    let test = start_with(database.store.clone(), Arc::new(ManualClock::at(START)), terms).await;
    (test, database)
}

async fn connect(test: &TestAuthority) -> TcpStream {
    TcpStream::connect(test.running.as_ref().unwrap().addr).await.unwrap()
}

/// How long the other side lets a connection stand on which `first` and then, again and again, `more` is sent.
async fn stands(test: &TestAuthority, first: &[u8], more: &[u8]) -> Duration {
    let mut stream = connect(test).await;
    let began = Instant::now();
    stream.write_all(first).await.unwrap();
    let (mut from, mut to) = stream.split();
    let dribble = async {
        let mut every = tokio::time::interval(IDLE / 10);
        loop {
            every.tick().await;
            if to.write_all(more).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let end = async {
        let mut bytes = [0; 4096];
        while let Ok(1..) = from.read(&mut bytes).await {}
    };
    let ended = async {
        tokio::select! { () = end => {}, () = dribble => {} }
    };
    tokio::time::timeout(WITHIN, ended).await.expect("the connection stands for ever");
    began.elapsed()
}

#[tokio::test]
async fn a_connection_without_a_whole_request_is_ended_after_the_idle_timeout_and_not_before() {
    let (test, _database) = with_terms(AuthorityTerms { idle_timeout: IDLE, ..AuthorityTerms::default() }).await;
    let preface =
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, ACK, 0, &[])];
    let (preface, ping) = (preface.concat(), frame(PING, 0, 0, &[0; 8]));
    let post = b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\r\n";
    let cases: [(&str, &[u8], &[u8]); 7] = [
        ("says nothing", b"", b""),
        ("half of a request line", b"GET /rea", b""),
        ("a head that never ends", b"GET /readyz HTTP/1.1\r\nHost: a\r\nX: ", b"x"),
        ("a body that never ends", post, b"x"),
        ("nothing after an answer", READY.as_bytes(), b""),
        ("half of an HTTP/2 preface", b"PRI * HTTP/2.0\r\n", b""),
        ("HTTP/2 and pings", &preface, &ping),
    ];
    let stood = join_all(cases.iter().map(|(_, first, more)| stands(&test, first, more))).await;
    for ((case, ..), stood) in cases.iter().zip(stood) {
        assert!(stood >= IDLE * 9 / 10, "{case}: ended after {stood:?}");
    }
}

#[tokio::test]
async fn a_request_that_waits_for_longer_than_the_idle_timeout_is_answered() {
    let idle_timeout = Duration::from_millis(100);
    let terms = AuthorityTerms { lease: Duration::from_secs(5), idle_timeout, ..AuthorityTerms::default() };
    let (test, _database) = with_terms(terms).await;
    let edge = test.edge("main").await;
    let told = edge.feed(None, None, 0).await.unwrap();
    let version = told.settings.as_ref().map(|settings| settings.version);
    let began = Instant::now();
    edge.feed(Some(told.head), version, WAIT_MS_MAX).await.unwrap();
    assert!(began.elapsed() > 3 * idle_timeout, "it was to wait");
}

#[tokio::test]
async fn connections_that_ask_nothing_keep_nobody_out() {
    let terms = AuthorityTerms { connections_max: 8, idle_timeout: 100 * WITHIN, ..AuthorityTerms::default() };
    let (test, _database) = with_terms(terms).await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(connect(&test).await);
    }
    let asked = async {
        let mut stream = connect(&test).await;
        stream.write_all(READY.as_bytes()).await.unwrap();
        let mut bytes = [0; 12];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes
    };
    let answer = tokio::time::timeout(WITHIN, asked).await.expect("nobody makes room");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn who_takes_no_answer_is_ended_after_the_idle_timeout() {
    let (test, _database) = with_terms(AuthorityTerms { idle_timeout: IDLE, ..AuthorityTerms::default() }).await;
    let mut stream = connect(&test).await;
    let requests = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let asks = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(WITHIN, asks).await.expect("the connection stands for ever");
}
