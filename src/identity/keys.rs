//! A provider's keys (RFC 7517), and whether one of them signed a token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};

use crate::config::identity::SignatureAlgorithm as A;
use crate::identity::jws::IdentityToken;
use crate::token::strict_json::Object;

/// The most keys that a provider may have.
const KEYS_MAX: usize = 64;
/// The bits of an RSA modulus. Above, a signature costs too much to check.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What keys of a set must be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyUse {
    /// Signatures: `use` is `sig`, or missing.
    Signatures,
    /// JWT-SVIDs: a SPIFFE bundle, in which every key says what it is for.
    JwtSvids,
}

/// A provider's public keys, each with the algorithms it may sign by.
#[derive(Debug, Default)]
pub(crate) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    algorithms: Vec<A>,
    key: DecodingKey,
}

/// A document that is not a key set, or not one to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidKeySet {
    #[error("its key set is not a JSON object with a list `keys`, without duplicate names")]
    Form,
    #[error("its key set has more than 64 keys")]
    TooMany,
    #[error("its key set shows a secret or private key: replace that key at the provider at once")]
    Private,
    #[error("its key set has no key that is usable: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519, for signatures")]
    Empty,
}

impl KeySet {
    /// Reads a key set. Keys that are not for signatures, of other kinds or too small are left out; one that should be secret
    /// spoils the set.
    pub(crate) fn parse(bytes: &[u8], for_use: KeyUse) -> Result<Self, InvalidKeySet> {
        let keys = Object::parse(bytes).and_then(|set| set.objects("keys")).ok_or(InvalidKeySet::Form)?;
        if keys.len() > KEYS_MAX {
            return Err(InvalidKeySet::TooMany);
        }
        if keys.iter().any(|key| ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"].iter().any(|part| key.has(part)))
        {
            return Err(InvalidKeySet::Private);
        }
        let keys: Vec<Key> = keys.iter().filter(|key| for_use.is_of(key)).filter_map(read_key).collect();
        if keys.is_empty() { Err(InvalidKeySet::Empty) } else { Ok(Self(keys)) }
    }

    /// Whether a key of this set signed `token` by its `alg`, which that key must be for.
    pub(crate) fn signed(&self, token: &IdentityToken) -> bool {
        let named = |key: &&Key| token.kid.is_none() || key.kid == token.kid;
        self.0.iter().filter(named).filter(|key| key.algorithms.contains(&token.algorithm)).any(|key| {
            // An error is a signature or key of another form: as good as a signature that does not hold.
            crypto::verify(&token.signature, token.signed.as_bytes(), &key.key, library(token.algorithm))
                .unwrap_or(false)
        })
    }
}

impl KeyUse {
    fn is_of(self, jwk: &Object) -> bool {
        match (self, jwk.text("use").as_deref()) {
            (Self::Signatures, Some("sig")) | (Self::JwtSvids, Some("jwt-svid")) => true,
            (Self::Signatures, None) => !jwk.has("use"),
            _ => false,
        }
    }
}

/// The key, if it is of a kind that is supported, and for verifying if it says what for.
fn read_key(jwk: &Object) -> Option<Key> {
    if jwk.has("key_ops") && !jwk.texts("key_ops")?.iter().any(|op| op == "verify") {
        return None;
    }
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(jwk.text(name)?).ok();
    let (key, algorithms): (_, &[A]) = match (&*jwk.text("kty")?, jwk.text("crv").as_deref()) {
        ("RSA", None) => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            // The least exponent in use is 3, and a long one only makes a check expensive.
            let exponent_fits = (1..=4).contains(&e.len()) && e != [1];
            if !RSA_BITS.contains(&bits(&n)) || !exponent_fits {
                return None;
            }
            let all: &[A] = &[A::Rs256, A::Rs384, A::Rs512, A::Ps256, A::Ps384, A::Ps512];
            (DecodingKey::from_rsa_raw_components(&n, &e), all)
        }
        ("EC", Some("P-256")) => (point(&bytes("x")?, &bytes("y")?, 32)?, &[A::Es256]),
        ("EC", Some("P-384")) => (point(&bytes("x")?, &bytes("y")?, 48)?, &[A::Es384]),
        ("OKP", Some("Ed25519")) => {
            // A weak key signs everything.
            let key = crate::key::PublicKey::from_bytes(&bytes("x")?).ok()?;
            (DecodingKey::from_ed_der(key.as_bytes()), &[A::EdDsa])
        }
        _ => return None,
    };
    let algorithms = match jwk.text("alg") {
        None if jwk.has("alg") => return None,
        None => algorithms.to_vec(),
        Some(only) => {
            let only = only.parse().ok()?;
            algorithms.contains(&only).then(|| vec![only])?
        }
    };
    Some(Key { kid: jwk.text("kid"), algorithms, key })
}

fn point(x: &[u8], y: &[u8], coordinate_bytes: usize) -> Option<DecodingKey> {
    (x.len() == coordinate_bytes && y.len() == coordinate_bytes)
        .then(|| DecodingKey::from_ec_der(&[&[4], x, y].concat()))
}

fn bits(big_endian: &[u8]) -> usize {
    let significant: &[u8] = match big_endian.iter().position(|byte| *byte != 0) {
        Some(first) => &big_endian[first..],
        None => return 0,
    };
    significant.len() * 8 - significant[0].leading_zeros() as usize
}

const fn library(algorithm: A) -> Algorithm {
    match algorithm {
        A::Rs256 => Algorithm::RS256,
        A::Rs384 => Algorithm::RS384,
        A::Rs512 => Algorithm::RS512,
        A::Ps256 => Algorithm::PS256,
        A::Ps384 => Algorithm::PS384,
        A::Ps512 => Algorithm::PS512,
        A::Es256 => Algorithm::ES256,
        A::Es384 => Algorithm::ES384,
        A::EdDsa => Algorithm::EdDSA,
    }
}
