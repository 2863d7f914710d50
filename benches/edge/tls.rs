//! The edge over TLS, and clients that prove the key of their writ by it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsConnector;
use writ::key::KeyPair;

/// What `edge.toml` says of it.
pub(crate) const SETTINGS: &str = "mutual_tls = true\n";

/// Puts a certificate and its key into `dir`; the table of `edge.toml` that names them.
pub(crate) fn certified(dir: &Path) -> (String, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let table = format!("[tls]\ncertificate = '{}'\nkey = '{}'\n", certificate.display(), key.display());
    (table, made.cert.der().clone())
}

/// Connects to whoever has `server`, and proves `holder`.
pub(crate) fn connector(server: &CertificateDer<'static>, holder: Option<&KeyPair>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let config = match holder {
        None => config.with_no_client_auth(),
        Some(holder) => {
            let pair = rcgen::KeyPair::from_pem(&holder.to_pem()).unwrap();
            let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap().der().clone();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}
