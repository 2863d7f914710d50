//! The keys of a provider, pinned by its certificates, and the signature algorithms that count.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};

/// Object identifiers, DER without tag and length.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
}

/// By the names of RFC 9231. SHA-1, HMAC and all else have no row.
const ALGORITHMS: [(&str, Kind, &'static dyn VerificationAlgorithm); 5] = [
    ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", Kind::Rsa, &RSA_PKCS1_2048_8192_SHA256),
    ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha384", Kind::Rsa, &RSA_PKCS1_2048_8192_SHA384),
    ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", Kind::Rsa, &RSA_PKCS1_2048_8192_SHA512),
    ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", Kind::P256, &ECDSA_P256_SHA256_FIXED),
    ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384", Kind::P384, &ECDSA_P384_SHA384_FIXED),
];

/// A public key, with the algorithms that it may sign by.
#[derive(Debug)]
pub(super) struct SigningKey {
    kind: Kind,
    /// An `RSAPublicKey`, or an uncompressed point.
    bytes: Box<[u8]>,
}

/// A file that holds no keys to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSamlKey {
    /// No certificate and no public key in it.
    #[error("holds no certificate and no public key in PEM")]
    None,
    /// A private key in it.
    #[error("holds a private key: give the provider's certificate only, and replace that key")]
    Private,
    /// A key of another kind or size.
    #[error("holds a key that is not RSA of 2048 to 8192 bits, P-256 or P-384")]
    Kind,
}

/// Whether `uri` names an algorithm that counts.
pub(super) fn is_known(uri: &str) -> bool {
    ALGORITHMS.iter().any(|(known, ..)| *known == uri)
}

impl SigningKey {
    /// Whether this key signed `message` by the algorithm `uri`, which must be one for keys of its kind.
    pub(super) fn signed(&self, uri: &str, message: &[u8], signature: &[u8]) -> bool {
        ALGORITHMS
            .iter()
            .filter(|(known, kind, _)| *known == uri && *kind == self.kind)
            .any(|(_, _, algorithm)| UnparsedPublicKey::new(*algorithm, &self.bytes).verify(message, signature).is_ok())
    }
}

/// The keys of a PEM file: of its certificates, and bare ones. A certificate's dates, names and signer are not looked at: that it
/// stands in the file is what makes it trusted.
pub(super) fn read(pem: &[u8]) -> Result<Vec<SigningKey>, InvalidSamlKey> {
    if PrivateKeyDer::pem_slice_iter(pem).next().is_some() {
        return Err(InvalidSamlKey::Private);
    }
    let mut keys = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| InvalidSamlKey::None)?;
        keys.push(public_key_info(&certificate).and_then(signing_key).ok_or(InvalidSamlKey::Kind)?);
    }
    for info in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
        let info = info.map_err(|_| InvalidSamlKey::None)?;
        keys.push(element(&info, SEQUENCE).and_then(|(info, _)| signing_key(info)).ok_or(InvalidSamlKey::Kind)?);
    }
    if keys.is_empty() { Err(InvalidSamlKey::None) } else { Ok(keys) }
}

/// Of a certificate, any version: the content of its `subjectPublicKeyInfo` (RFC 5280 section 4.1).
fn public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, after)) = element(rest, VERSION) {
        rest = after;
    }
    // Serial number, signature, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    element(rest, SEQUENCE).map(|(info, _)| info)
}

fn signing_key(info: &[u8]) -> Option<SigningKey> {
    let (algorithm, rest) = element(info, SEQUENCE)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    // No unused bits.
    let bytes = bits.strip_prefix(&[0])?;
    let (name, parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
    let kind = match name {
        RSA_ENCRYPTION => rsa_fits(bytes).then_some(Kind::Rsa)?,
        EC_PUBLIC_KEY => match (element(parameters, OBJECT_IDENTIFIER)?.0, bytes) {
            (P256, [4, point @ ..]) if point.len() == 64 => Kind::P256,
            (P384, [4, point @ ..]) if point.len() == 96 => Kind::P384,
            _ => return None,
        },
        _ => return None,
    };
    Some(SigningKey { kind, bytes: bytes.into() })
}

fn rsa_fits(key: &[u8]) -> bool {
    let modulus = element(key, SEQUENCE).and_then(|(parts, _)| element(parts, INTEGER)).map(|(modulus, _)| modulus);
    modulus.is_some_and(|modulus| (256..=1024).contains(&modulus.strip_prefix(&[0]).unwrap_or(modulus).len()))
}

/// The content of the DER element of that tag at the beginning of `der`, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (*first == tag).then_some(())?;
    rest.split_at_checked(length)
}
