//! Connections whose client proved a key by TLS: as RFC 8705, with the key itself in the place of a certificate's digest.
//!
//! The certificate only carries the key. Nobody vouches for it: its names, times and issuer mean nothing. What counts is TLS's
//! own proof, a signature over this handshake.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConnection, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::key::PublicKey;

/// What stands before the 32 bytes of an Ed25519 key in a certificate (RFC 8410 section 4).
const ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Asks clients for a key, and goes on without.
#[derive(Debug)]
pub(super) struct HolderKeys(WebPkiSupportedAlgorithms);

impl HolderKeys {
    pub(super) fn new(provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self(provider.signature_verification_algorithms))
    }
}

/// The key that the client of this connection proved, if it proved one.
pub(super) fn proven_key(connection: &ServerConnection) -> Option<PublicKey> {
    key_of(connection.peer_certificates()?.first()?)
}

fn key_of(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    // The parser that the signature is checked with: there is no second opinion on which key this is.
    let info = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
    PublicKey::from_bytes(info.strip_prefix(&ED25519)?).ok()
}

impl ClientCertVerifier for HolderKeys {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match key_of(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    /// Never: only TLS 1.3 signs all of the handshake.
    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("a client's key counts over TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
