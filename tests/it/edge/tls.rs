//! TLS on both sides, with certificates made for the test.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use writ::catalog::Service;
use writ::config::TlsFiles;
use writ::token::chain::Authority;
use writ::vault::CredentialKind;

use super::upstream::Recorder;
use super::{PATIENCE, SECRET, World, Writ, finish};

/// A certificate for 127.0.0.1 that signs itself, on disk.
pub(super) struct Certificate {
    dir: tempfile::TempDir,
}

impl Certificate {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { dir }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    pub(super) fn files(&self) -> TlsFiles {
        TlsFiles { certificate: self.file(), key: self.dir.path().join("key.pem") }
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.file()).unwrap()
    }

    fn acceptor(&self) -> TlsAcceptor {
        let key = PrivateKeyDer::from_pem_file(self.files().key).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.der()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    async fn connect(&self, world: &World, protocol: &[u8]) -> TlsStream<TcpStream> {
        self.connect_as(world, protocol, None, rustls::DEFAULT_VERSIONS).await.unwrap()
    }

    /// Connects, and proves `client` if the edge asks.
    pub(super) async fn connect_as(
        &self,
        world: &World,
        protocol: &[u8],
        client: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            // Not checked to fit each other: a thief's do not.
            Some((certificate, key)) => {
                let key = provider().key_provider.load_private_key(key).unwrap();
                let pair = rustls::sign::CertifiedKey::new(vec![certificate], key);
                config.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let tcp = TcpStream::connect(world.edge.address()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// An edge over TLS before a service over TLS, which is trusted or not.
async fn world(edge: &Certificate, service: &Certificate, trusted: bool) -> (World, Recorder, Writ) {
    let recorder = Recorder::start_with(Some(service.acceptor())).await;
    let text = format!(
        "name = 'more'\nupstream = 'https://{}'\nallow_private = true\ncredential = 'more-key'\n\
         [[route]]\nmethods = ['GET']\npath = '/x'\naction = 'read'\nresource = 'x'\n",
        recorder.address()
    );
    let configure = |config: &mut writ::config::edge::EdgeConfig| {
        config.tls = Some(edge.files());
        config.extra_roots = if trusted { vec![service.file()] } else { Vec::new() };
    };
    let world = World::start_with_services(configure, vec![Service::from_toml(&text).unwrap()]).await;
    world.authority.store("more", CredentialKind::Bearer, SECRET);
    let writ = world.writ_of(Authority { capabilities: vec!["more:read:x".parse().unwrap()], ..World::block() });
    (world, recorder, writ)
}

fn request(world: &World, writ: &Writ) -> http::Request<Empty<bytes::Bytes>> {
    http::Request::get(format!("{}/more/x", world.edge.origin()))
        .header("host", world.host())
        .header("authorization", format!("DPoP {}", writ.token.text()))
        .header("dpop", writ.proof(&writ.proving("GET", "/more/x")))
        .body(Empty::new())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http1_and_http2_are_served_over_tls_and_sent_over_tls() {
    let (edge, service) = (Certificate::new(), Certificate::new());
    let (world, recorder, writ) = world(&edge, &service, true).await;
    assert!(world.edge.origin().as_str().starts_with("https://"));

    let stream = TokioIo::new(edge.connect(&world, b"h2").await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let mut over_http2 = request(&world, &writ);
    over_http2.headers_mut().remove("host");
    let answer = sender.send_request(over_http2).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");

    let stream = TokioIo::new(edge.connect(&world, b"http/1.1").await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut over_http1 = request(&world, &writ);
    *over_http1.uri_mut() = "/more/x".parse().unwrap();
    assert_eq!(sender.send_request(over_http1).await.unwrap().status(), 200);

    let seen = recorder.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.header("authorization") == Some(format!("Bearer {SECRET}").as_str())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_certificate_is_not_trusted_gets_no_secret() {
    let (edge, service) = (Certificate::new(), Certificate::new());
    let (world, recorder, writ) = world(&edge, &service, false).await;
    let stream = TokioIo::new(edge.connect(&world, b"h2").await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = request(&world, &writ);
    request.headers_mut().remove("host");
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(finish(&world.outcome().await), ("failed", "upstream_tls"));
    assert!(recorder.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_chooses_http2_and_then_says_nothing_is_closed_in_time() {
    let edge = Certificate::new();
    let configure = |config: &mut writ::config::edge::EdgeConfig| {
        config.tls = Some(edge.files());
        config.limits.head_timeout = Duration::from_secs(1);
    };
    let world = World::start_with(configure).await;
    let mut silent = edge.connect(&world, b"h2").await;
    let mut told = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut told)).await;
    // With or without a goodbye of TLS.
    assert!(closed.is_ok(), "it stays open");
}
