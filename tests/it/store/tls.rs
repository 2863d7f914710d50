//! TLS to Postgres: the server proves its name, or nothing is sent to it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use writ::store::StoreError;

use super::make::{AT, event};
use crate::support::postgres::Server;

/// A server that takes TLS only, on loopback, with a certificate of a private authority for `name`.
fn server_named(name: &str) -> (Server, u16, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (authority_key, server_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    file("root.pem", &root.pem());
    let (certificate, key) = (file("server.pem", &certificate.pem()), file("server.key", &server_key.serialize_pem()));
    // Free at this moment; somebody else would have to take it within milliseconds.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={certificate}"),
        format!("ssl_key_file={}", Server::own_file(&key)),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
    ];
    (Server::start(&settings.each_ref().map(String::as_str)), port, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_must_prove_its_name_under_a_certificate_that_is_trusted() {
    let (server, port, dir) = tokio::task::spawn_blocking(|| server_named("localhost")).await.unwrap();
    let root = dir.path().join("root.pem").to_str().unwrap().replace('/', "%2F");
    let open = async |host: &str, rest: &str| {
        writ::store::open(&format!("postgres://postgres@{host}:{port}/postgres?{rest}").parse().unwrap()).await
    };

    let trusted = format!("sslmode=require&sslrootcert={root}");
    let store = open("localhost", &trusted).await.unwrap();
    store.record(AT, &event()).await.unwrap();
    let encrypted = "DO $$ BEGIN ASSERT (SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'writ' AND NOT ssl) = 0; END $$";
    server.sql("postgres", encrypted).await;

    for (host, rest) in [("localhost", "sslmode=require"), ("127.0.0.1", trusted.as_str())] {
        let error = open(host, rest).await.err().unwrap();
        assert!(matches!(error, StoreError::Unavailable(_)), "{host} {rest}: {error:?}");
    }
    for root in ["%2Fnowhere.pem", "%2Fetc%2Fhostname"] {
        let error = open("localhost", &format!("sslmode=require&sslrootcert={root}")).await.err().unwrap();
        assert!(error.to_string().contains("sslrootcert"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = ["listen_addresses=127.0.0.1".to_owned(), format!("port={port}")];
    let start = move || Server::start(&settings.each_ref().map(String::as_str));
    let _server = tokio::task::spawn_blocking(start).await.unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let error = writ::store::open(&format!("{url}?sslmode=require").parse().unwrap()).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    writ::store::open(&url.parse().unwrap()).await.unwrap();
}
