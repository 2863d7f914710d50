//! Outgoing connections over real sockets: which peers get a byte, and which do not.
//!
//! Failure is a request, or a part of one, that arrives where it must not. A TLS greeting is not a request.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use writ::catalog::Origin;
use writ::dial::authority::CallError;
use writ::dial::{
    AddressRule, AuthorityClient, AuthorityUrl, Dialer, Limits, Resolve, TrustedRoots, Upstream, UpstreamError,
};

use crate::shed::services::Nowhere;

const NAME: &str = "service.example";

/// Says of every name what it is told to, and counts.
#[derive(Debug)]
struct Says(Vec<SocketAddr>, AtomicUsize);

impl Says {
    fn new(addresses: &[&str]) -> Arc<Self> {
        Arc::new(Self(addresses.iter().map(|address| address.parse().unwrap()).collect(), AtomicUsize::new(0)))
    }
}

#[async_trait]
impl Resolve for Says {
    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(self.0.clone())
    }
}

/// A server that answers each request with what it saw of it.
struct Server {
    address: SocketAddr,
    /// The request lines it got.
    seen: Arc<Mutex<Vec<String>>>,
    /// Its certificate.
    pem: String,
}

impl Server {
    /// With a certificate for `name`, signed by itself.
    async fn tls(name: &str, alpn: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let acceptor = acceptor(&made, alpn);
        let (listener, address, seen) = listening().await;
        let sink = seen.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), sink.clone());
                tokio::spawn(async move {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        serve(tls, seen).await;
                    }
                });
            }
        });
        Self { address, seen, pem: made.cert.pem() }
    }

    async fn plain() -> Self {
        let (listener, address, seen) = listening().await;
        let sink = seen.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, sink.clone()));
            }
        });
        Self { address, seen, pem: String::new() }
    }

    fn origin(&self, scheme: &str) -> Origin {
        format!("{scheme}://{NAME}:{}", self.address.port()).parse().unwrap()
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn acceptor(made: &rcgen::CertifiedKey<rcgen::KeyPair>, alpn: &[&str]) -> tokio_rustls::TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

async fn listening() -> (TcpListener, SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address, Arc::default())
}

async fn serve(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let seen = seen.clone();
        async move {
            let host = request.uri().authority().map(ToString::to_string);
            let host = host.or_else(|| Some(request.headers().get("host")?.to_str().ok()?.to_owned())).unwrap();
            let line = format!("{} {host}{}", request.method(), request.uri().path_and_query().unwrap());
            seen.lock().unwrap().push(line.clone());
            Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::from(line))))
        }
    });
    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await;
}

fn limits() -> Limits {
    Limits { connect_timeout: Duration::from_secs(5), ..Limits::default() }
}

fn dialer(server: &Server) -> Dialer {
    let roots = match server.pem.is_empty() {
        true => TrustedRoots::web(),
        false => TrustedRoots::web().with_pem(server.pem.as_bytes()).unwrap(),
    };
    Dialer::new(&roots, limits()).with_resolver(Says::new(&[&server.address.to_string()]))
}

fn to(dialer: &Dialer, origin: &Origin, rule: AddressRule) -> Upstream<Full<Bytes>> {
    dialer.upstream(origin, rule).unwrap()
}

/// Carries a secret, as every request of an edge does.
fn secret(url: &str) -> Request<Full<Bytes>> {
    Request::get(url).header("authorization", "Bearer s3cret").body(Full::default()).unwrap()
}

#[tokio::test]
async fn a_request_goes_to_the_service_s_origin_whatever_its_own_url_says() {
    for (alpn, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let server = Server::tls(NAME, &[alpn]).await;
        let upstream = to(&dialer(&server), &server.origin("https"), AddressRule::AllowPrivate);
        let response = upstream.send(secret("http://evil.example:1/v1/x?y=1")).await.unwrap();
        assert_eq!(response.version(), version);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("GET {NAME}:{}/v1/x?y=1", server.address.port()));
    }
}

#[tokio::test]
async fn a_connection_is_used_again_and_its_name_resolved_once() {
    let server = Server::tls(NAME, &["http/1.1"]).await;
    let says = Says::new(&[&server.address.to_string()]);
    let dialer = dialer(&server).with_resolver(says.clone());
    let upstream = to(&dialer, &server.origin("https"), AddressRule::AllowPrivate);
    for _ in 0..3 {
        let response = upstream.send(secret("/")).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    assert_eq!((server.seen().len(), says.1.load(Ordering::SeqCst)), (3, 1));
}

#[tokio::test]
async fn a_certificate_for_another_name_gets_no_request() {
    let server = Server::tls("other.example", &["h2", "http/1.1"]).await;
    let upstream = to(&dialer(&server), &server.origin("https"), AddressRule::AllowPrivate);
    let error = upstream.send(secret("/")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Untrusted(_)), "{error}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_certificate_of_an_unknown_root_gets_no_request() {
    let server = Server::tls(NAME, &["h2", "http/1.1"]).await;
    let dialer = Dialer::new(&TrustedRoots::web(), limits()).with_resolver(Says::new(&[&server.address.to_string()]));
    let error = to(&dialer, &server.origin("https"), AddressRule::AllowPrivate).send(secret("/")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Untrusted(_)), "{error}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_gets_no_request() {
    let server = Server::plain().await;
    let upstream = to(&dialer(&server), &server.origin("https"), AddressRule::AllowPrivate);
    let error = upstream.send(secret("/")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Untrusted(_)), "{error}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_name_that_leads_inside_gets_no_connection_even_if_it_also_leads_outside() {
    let server = Server::tls(NAME, &["http/1.1"]).await;
    let here = server.address.to_string();
    for addresses in
        [vec![&*here], vec!["93.184.215.14:443", &*here], vec!["169.254.169.254:80"], vec!["[::ffff:127.0.0.1]:443"]]
    {
        let says = Says::new(&addresses);
        let upstream = to(&dialer(&server).with_resolver(says), &server.origin("https"), AddressRule::PublicOnly);
        let error = upstream.send(secret("/")).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Refused(_)), "{addresses:?}: {error}");
    }
    let metadata = dialer(&server).with_resolver(Says::new(&["169.254.169.254:443"]));
    let error = to(&metadata, &server.origin("https"), AddressRule::AllowPrivate).send(secret("/")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Refused(_)), "{error}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_address_as_the_host_is_checked_like_one_that_was_looked_up() {
    let server = Server::tls("127.0.0.1", &["http/1.1"]).await;
    let origin: Origin = format!("https://{}", server.address).parse().unwrap();
    let error = to(&dialer(&server), &origin, AddressRule::PublicOnly).send(secret("/")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Refused(_)), "{error}");
    assert!(to(&dialer(&server), &origin, AddressRule::AllowPrivate).send(secret("/")).await.is_ok());
}

#[tokio::test]
async fn plain_http_goes_to_this_machine_only_and_only_where_it_may() {
    let server = Server::plain().await;
    let origin = server.origin("http");
    assert!(dialer(&server).upstream::<Full<Bytes>>(&origin, AddressRule::PublicOnly).is_err());
    let private = dialer(&server).with_resolver(Says::new(&["10.0.0.1:80"]));
    let error = to(&private, &origin, AddressRule::AllowPrivate).send(secret("/")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable(_)), "{error}");
    assert!(server.seen().is_empty());
    assert!(to(&dialer(&server), &origin, AddressRule::AllowPrivate).send(secret("/")).await.is_ok());
}

#[tokio::test]
async fn a_name_without_an_address_and_an_address_without_a_listener_are_unreachable() {
    let server = Server::tls(NAME, &["http/1.1"]).await;
    let (listener, closed, _) = listening().await;
    drop(listener);
    for says in [Says::new(&[]), Says::new(&[&closed.to_string()])] {
        let upstream = to(&dialer(&server).with_resolver(says), &server.origin("https"), AddressRule::AllowPrivate);
        let error = upstream.send(secret("/")).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Unreachable(_)), "{error}");
    }
}

#[tokio::test]
async fn a_peer_that_never_finishes_its_greeting_is_given_up() {
    let (_listener, address, _) = listening().await;
    let dialer = Dialer::new(&TrustedRoots::web(), Limits { connect_timeout: Duration::from_millis(50), ..limits() });
    let origin: Origin = format!("https://{address}").parse().unwrap();
    let error = to(&dialer, &origin, AddressRule::AllowPrivate).send(secret("/")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::ConnectTimeout), "{error}");
}

#[tokio::test]
async fn with_a_closed_gate_no_byte_is_written() {
    let server = Server::plain().await;
    let open = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let gate = open.clone();
    let dialer = dialer(&server).with_gate(Arc::new(move || gate.load(Ordering::SeqCst)));
    let upstream = to(&dialer, &server.origin("http"), AddressRule::AllowPrivate);
    upstream.send(secret("/")).await.unwrap().into_body().collect().await.unwrap();
    open.store(false, Ordering::SeqCst);
    // Neither on the connection that is open nor on a new one.
    for _ in 0..2 {
        assert!(upstream.send(secret("/")).await.is_err());
    }
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn with_a_closed_gate_nothing_that_comes_is_passed_on() {
    let (listener, address, _) = listening().await;
    let open = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let gate = open.clone();
    let dialer = Dialer::new(&TrustedRoots::web(), limits()).with_gate(Arc::new(move || gate.load(Ordering::SeqCst)));
    let upstream = to(&dialer, &format!("http://{address}").parse().unwrap(), AddressRule::AllowPrivate);
    let sending = tokio::spawn(async move { upstream.send(secret("/")).await });
    let (mut tcp, _) = listener.accept().await.unwrap();
    let _ = tcp.read(&mut [0; 1024]).await.unwrap();
    tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nbefore").await.unwrap();
    let mut body = sending.await.unwrap().unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "before");
    open.store(false, Ordering::SeqCst);
    tcp.write_all(b"behind").await.unwrap();
    assert!(body.frame().await.unwrap().is_err());
}

/// The request's body goes on after its future was dropped: not a byte of it may still arrive.
#[tokio::test]
async fn a_request_that_is_dropped_writes_nothing_more() {
    let (listener, address, _) = listening().await;
    let dialer = Dialer::new(&TrustedRoots::web(), limits());
    let upstream = dialer.upstream(&format!("http://{address}").parse().unwrap(), AddressRule::AllowPrivate).unwrap();
    let (feed, chunks) = tokio::sync::mpsc::unbounded_channel::<Result<Frame<Bytes>, io::Error>>();
    let stream = futures_util::stream::unfold(chunks, |mut chunks| async { Some((chunks.recv().await?, chunks)) });
    let body = StreamBody::new(Box::pin(stream));
    let sending = tokio::spawn(async move { upstream.send(Request::post("/").body(body).unwrap()).await.map(drop) });
    let (mut tcp, _) = listener.accept().await.unwrap();
    feed.send(Ok(Frame::data(Bytes::from_static(b"before")))).unwrap();
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("before") {
        tcp.read_buf(&mut got).await.unwrap();
    }
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    let _ = feed.send(Ok(Frame::data(Bytes::from_static(b"after"))));
    let _ = tcp.read_to_end(&mut got).await;
    assert!(!String::from_utf8_lossy(&got).contains("after"));
}

#[test]
fn an_authority_over_plain_http_is_on_this_machine() {
    for good in [
        "https://authority.example",
        "https://authority.example:8443/writ/",
        "http://127.0.0.1:1",
        "http://[::1]:1",
        "http://localhost",
    ] {
        let url: AuthorityUrl = good.parse().unwrap();
        assert_eq!(url.to_string(), good.trim_end_matches('/'));
    }
    for bad in [
        "",
        "authority.example",
        "http://authority.example",
        "http://10.0.0.1",
        "http://127.0.0.1.example",
        "ftp://127.0.0.1",
        "https://user@authority.example",
        "https://authority.example?x",
        "https://authority.example#x",
        "https://",
    ] {
        assert!(bad.parse::<AuthorityUrl>().is_err(), "{bad}");
    }
}

async fn call(client: &AuthorityClient, path: &str, timeout: Duration) -> Result<(StatusCode, Bytes), CallError> {
    let answer = client.call(Method::POST, path, HeaderMap::new(), Bytes::from_static(b"{}"), timeout).await?;
    Ok((answer.status, answer.body))
}

#[tokio::test]
async fn an_authority_below_a_path_is_called_there() {
    let server = Server::plain().await;
    let url = format!("http://{}/writ", server.address);
    let client = AuthorityClient::new(url.parse().unwrap(), &TrustedRoots::web());
    let (status, body) = call(&client, "/v1/x", Duration::from_secs(5)).await.unwrap();
    assert_eq!((status, body), (StatusCode::OK, format!("POST {}/writ/v1/x", server.address).into()));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
    let server = Server::plain().await;
    let client = AuthorityClient::new(format!("http://{}", server.address).parse().unwrap(), &TrustedRoots::web());
    let path = format!("/{}", "x".repeat(100));
    let error = call(&client.with_answer_bytes_max(64), &path, Duration::from_secs(5)).await.unwrap_err();
    assert!(matches!(error, CallError::Body), "{error}");
}

#[tokio::test]
async fn an_authority_that_does_not_answer_in_time_is_given_up_and_its_connection_closed() {
    let (listener, address, _) = listening().await;
    let client = AuthorityClient::new(format!("http://{address}").parse().unwrap(), &TrustedRoots::web());
    let error = call(&client, "/", Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout(_)) && !error.nothing_was_sent(), "{error}");
    let (mut tcp, _) = listener.accept().await.unwrap();
    tcp.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test]
async fn an_authority_that_answers_nonsense_is_an_error() {
    let (listener, address, _) = listening().await;
    let client = AuthorityClient::new(format!("http://{address}").parse().unwrap(), &TrustedRoots::web());
    let nonsense = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
        tcp.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let (answer, ()) = tokio::join!(call(&client, "/", Duration::from_secs(5)), nonsense);
    assert!(matches!(answer.unwrap_err(), CallError::Exchange(_)));
}

#[tokio::test]
async fn an_authority_s_certificate_counts_with_the_operator_s_root_only() {
    let server = Server::tls("localhost", &["h2", "http/1.1"]).await;
    let url: AuthorityUrl = format!("https://localhost:{}", server.address.port()).parse().unwrap();
    let error =
        call(&AuthorityClient::new(url.clone(), &TrustedRoots::web()), "/", Duration::from_secs(5)).await.unwrap_err();
    assert!(error.nothing_was_sent(), "{error}");
    let roots = TrustedRoots::web().with_pem(server.pem.as_bytes()).unwrap();
    assert!(call(&AuthorityClient::new(url, &roots), "/", Duration::from_secs(5)).await.is_ok());
    assert_eq!(server.seen().len(), 1);
    assert!(TrustedRoots::web().with_pem(b"no certificate").is_err());
}

/// Dual stack where one of the two leads nowhere: the name still leads to the service.
#[tokio::test]
async fn an_address_that_swallows_what_it_is_sent_does_not_take_the_time_of_the_next_one() {
    let nowhere = Nowhere::start().await;
    let server = Server::plain().await;
    let dialer = Dialer::new(&TrustedRoots::web(), Limits { connect_timeout: Duration::from_secs(4), ..limits() })
        .with_resolver(Says::new(&[&nowhere.address.to_string(), &server.address.to_string()]));
    let upstream = to(&dialer, &server.origin("http"), AddressRule::AllowPrivate);
    let answer = upstream.send(secret("/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let alone = dialer.clone().with_resolver(Says::new(&[&nowhere.address.to_string()]));
    let error = to(&alone, &server.origin("http"), AddressRule::AllowPrivate).send(secret("/")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::ConnectTimeout), "{error}");
}

/// It has answered, so nobody waits for it any more; what it was still being sent must not stay for ever.
#[tokio::test]
async fn a_service_that_answers_and_takes_no_more_of_the_request_is_given_up() {
    let (listener, address, _) = listening().await;
    let dialer = Dialer::new(&TrustedRoots::web(), Limits { stall_timeout: Duration::from_millis(500), ..limits() });
    let upstream = dialer.upstream(&format!("http://{address}").parse().unwrap(), AddressRule::AllowPrivate).unwrap();
    let held = Arc::new(());
    let endless = futures_util::stream::unfold(held.clone(), |held| async {
        tokio::task::yield_now().await;
        Some((Ok::<_, io::Error>(Frame::data(Bytes::from_static(&[0; 65_536]))), held))
    });
    let request = Request::post("/").body(StreamBody::new(Box::pin(endless))).unwrap();
    let (answer, service) = tokio::join!(upstream.send(request), async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.read_buf(&mut Vec::with_capacity(100)).await.unwrap();
        tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        tcp
    });
    assert_eq!(answer.unwrap().into_body().collect().await.unwrap().to_bytes(), "ok");
    crate::edge::eventually("what was being sent is let go", || Arc::strong_count(&held) == 1).await;
    drop(service);
}

#[tokio::test]
async fn an_http2_connection_that_has_died_is_given_up_with_all_that_waits_on_it() {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let acceptor = acceptor(&made, &["h2"]);
    let (listener, address, _) = listening().await;
    tokio::spawn(async move {
        let mut dead = Vec::new();
        while let Ok((tcp, _)) = listener.accept().await {
            // It stands, and nobody is there.
            dead.push(acceptor.accept(tcp).await.unwrap());
        }
    });
    let roots = TrustedRoots::web().with_pem(made.cert.pem().as_bytes()).unwrap();
    let second = Duration::from_secs(1);
    let limits = Limits { connect_timeout: second, idle_timeout: second, ..limits() };
    let dialer = Dialer::new(&roots, limits).with_resolver(Says::new(&[&address.to_string()]));
    let origin: Origin = format!("https://{NAME}:{}", address.port()).parse().unwrap();
    let upstream = to(&dialer, &origin, AddressRule::AllowPrivate);
    let sent = futures_util::future::join(upstream.send(secret("/1")), upstream.send(secret("/2")));
    let (first, second) = tokio::time::timeout(crate::edge::PATIENCE, sent).await.expect("it is given up");
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert!(matches!(error, UpstreamError::Broken(_)), "{error}");
    }
}
