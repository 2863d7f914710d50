//! Whom to believe: the web's root certificates, and those an operator added.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// The root certificates that a peer's chain must end in.
#[derive(Clone, Debug)]
pub struct TrustedRoots(RootCertStore);

/// PEM that holds no certificate that can be a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no root certificate in the PEM: give the certificate of the authority that signed the server's")]
pub struct InvalidRoots;

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
