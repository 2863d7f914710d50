//! The load: so many connections, on each of which one request is answered before the next is sent.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use writ::clock::{Clock as _, SystemClock};

use crate::cases::{Body, Case, Http};
use crate::raw::Raw;
use crate::since;
use crate::world::{Ask, PATH};

static LARGE: [u8; 65_536] = [b'x'; 65_536];

/// What a round of requests took.
pub(crate) struct Taken {
    pub(crate) wall: Duration,
    /// Of each request, in no order.
    pub(crate) latencies: Vec<Duration>,
}

impl Body {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::None => &[],
            Self::Large => &LARGE,
        }
    }
}

/// Sends them all, and checks every answer.
pub(crate) fn fire(runtime: &Runtime, to: SocketAddr, tls: Option<&TlsConnector>, case: &Case, asks: &[Ask]) -> Taken {
    let shares = asks.chunks(asks.len().div_ceil(case.connections));
    match case.http {
        Http::One => runtime.block_on(async {
            let connect = shares.map(async |share| {
                let heads: Vec<Vec<u8>> = share.iter().map(|ask| head(to, case, ask)).collect();
                let raw = match tls {
                    None => Raw::connect(to).await,
                    Some(tls) => Raw::connect_by(tls, to).await,
                };
                (raw, heads)
            });
            let ready = join_all(connect).await;
            let began = SystemClock.monotonic();
            let taken = join_all(ready.into_iter().map(|(raw, heads)| by_http1(raw, case, heads))).await;
            Taken { wall: since(began), latencies: taken.concat() }
        }),
        Http::Two => runtime.block_on(async {
            let stream = TcpStream::connect(to).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            let connection = tokio::spawn(connection);
            let requests = shares.map(|share| share.iter().map(|ask| request(to, case, ask)).collect());
            let streams: Vec<(SendRequest<Full<Bytes>>, Vec<_>)> = requests.map(|all| (sender.clone(), all)).collect();
            let began = SystemClock.monotonic();
            let taken = join_all(streams.into_iter().map(|(sender, all)| by_http2(sender, case, all))).await;
            let taken = Taken { wall: since(began), latencies: taken.concat() };
            connection.abort();
            taken
        }),
    }
}

fn head(to: SocketAddr, case: &Case, ask: &Ask) -> Vec<u8> {
    let Ask { method, authorization, proof } = ask;
    let length = match case.body {
        Body::None => String::new(),
        Body::Large => format!("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n", LARGE.len()),
    };
    format!(
        "{method} {PATH} HTTP/1.1\r\nHost: {to}\r\nAccept: application/json\r\nUser-Agent: bench\r\n\
         Authorization: {authorization}\r\nDPoP: {proof}\r\n{length}\r\n"
    )
    .into_bytes()
}

async fn by_http1(mut raw: Raw, case: &Case, heads: Vec<Vec<u8>>) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(heads.len());
    for head in heads {
        let began = SystemClock.monotonic();
        let answer = raw.exchange(&head, case.body.bytes()).await;
        latencies.push(since(began));
        check(case, answer);
    }
    latencies
}

/// The service saw its credential, where it was to see one.
fn check(case: &Case, answer: &[u8]) {
    let key: &[u8] = if case.injects() { b"\"key\":1" } else { b"\"key\":0" };
    assert!(memchr::memmem::find(answer, key).is_some(), "{}: the credential", case.name());
}

fn request(to: SocketAddr, case: &Case, ask: &Ask) -> http::Request<Full<Bytes>> {
    let request = http::Request::builder()
        .method(ask.method)
        .uri(format!("http://{to}{PATH}"))
        .header("accept", "application/json")
        .header("user-agent", "bench")
        .header("authorization", &ask.authorization)
        .header("dpop", &ask.proof);
    request.body(Full::new(Bytes::from_static(case.body.bytes()))).unwrap()
}

async fn by_http2(
    mut sender: SendRequest<Full<Bytes>>,
    case: &Case,
    requests: Vec<http::Request<Full<Bytes>>>,
) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(requests.len());
    for request in requests {
        let began = SystemClock.monotonic();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        latencies.push(since(began));
        assert_eq!(status, 200, "{}: {}", case.name(), String::from_utf8_lossy(&body));
        check(case, &body);
    }
    latencies
}
