//! Whom to believe: the web's root certificates, and those an operator added.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::key::KeyPair;

/// The root certificates that a peer's chain must end in.
#[derive(Clone, Debug)]
pub struct TrustedRoots(RootCertStore);

/// PEM that holds no certificate that can be a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no root certificate in the PEM: give the certificate of the authority that signed the server's")]
pub struct InvalidRoots;

/// A key cannot be put into a certificate, or the library does not take it.
#[derive(Debug, thiserror::Error)]
#[error("the key cannot be used for TLS: {0}")]
pub struct UnusableKey(Box<str>);

/// The protocols that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocols {
    Http1,
    Http1And2,
}

impl TrustedRoots {
    /// Those of the web (Mozilla's list).
    pub fn web() -> Self {
        Self(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// These and every certificate of `pem`.
    pub fn with_pem(mut self, pem: &[u8]) -> Result<Self, InvalidRoots> {
        let mut added = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_| InvalidRoots)?;
            self.0.add(certificate).map_err(|_| InvalidRoots)?;
            added += 1;
        }
        if added == 0 { Err(InvalidRoots) } else { Ok(self) }
    }

    pub(super) fn client_config(&self, protocols: Protocols) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            // Expect safety: this provider supports the default versions of its own crate.
            .expect("the provider supports the default protocol versions")
            .with_root_certificates(self.0.clone())
            .with_no_client_auth();
        config.alpn_protocols = match protocols {
            Protocols::Http1 => vec![b"http/1.1".to_vec()],
            Protocols::Http1And2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Arc::new(config)
    }
}

/// What proves `key` to a server that asks for one (RFC 8705 section 2.2): a certificate signed by itself, with nothing in it
/// but the key.
pub(super) fn proving(config: &ClientConfig, key: &KeyPair) -> Result<ClientConfig, UnusableKey> {
    let unusable = |error: &dyn std::fmt::Display| UnusableKey(error.to_string().into());
    let pair = rcgen::KeyPair::from_pem(&key.to_pem()).map_err(|error| unusable(&error))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let certificate = params.self_signed(&pair).map_err(|error| unusable(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let provider = config.crypto_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|error| unusable(&error))?;
    let chain = vec![certificate.der().clone()];
    let mut config = config.clone();
    config.client_auth_cert_resolver =
        Arc::new(rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key)));
    Ok(config)
}
