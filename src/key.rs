//! Ed25519 keys: who holds a writ, who signs one. The only signature algorithm in writ.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Verifier as _;
use zeroize::Zeroizing;

use crate::id::text_form;
use crate::secret::Secret;

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// A text or bytes that are no acceptable Ed25519 public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Wrong length, wrong prefix, wrong alphabet.
    #[error("not a public key: expected `did:key:z6Mk…` (Ed25519)")]
    Form,
    /// A point of small order or one that is not canonically encoded: signatures under it prove nothing.
    #[error("a weak public key: its encoding is not canonical or its order is small")]
    Weak,
}

/// An Ed25519 public key, shown as `did:key:z6Mk…` (W3C did:key, multicodec 0xed01, base58btc).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// From 32 bytes; refuses points of small order and encodings that are not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| InvalidKey::Form)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| InvalidKey::Form)?;
        // The other encodings that are not canonical, zero with a sign, are of points of small order.
        if !is_reduced(bytes) || is_of_small_order(bytes) {
            return Err(InvalidKey::Weak);
        }
        Ok(Self(key))
    }

    /// The key among `known` that has these bytes, or else [`from_bytes`](Self::from_bytes): what was unpacked once need not be again.
    pub(crate) fn of_bytes<'a>(bytes: &[u8], known: impl IntoIterator<Item = &'a Self>) -> Result<Self, InvalidKey> {
        match known.into_iter().find(|key| key.as_bytes() == bytes) {
            Some(key) => Ok(*key),
            None => Self::from_bytes(bytes),
        }
    }

    /// The key among `known` that has this text, or else as it is parsed: see [`of_bytes`](Self::of_bytes).
    pub(crate) fn of_text<'a>(text: &str, known: impl IntoIterator<Item = &'a Self>) -> Result<Self, InvalidKey> {
        let encoded = text.strip_prefix(DID_KEY).filter(|rest| rest.len() <= 64).ok_or(InvalidKey::Form)?;
        let bytes = bs58::decode(encoded).into_vec().map_err(|_| InvalidKey::Form)?;
        let key = bytes.strip_prefix(&ED25519_MULTICODEC).ok_or(InvalidKey::Form)?;
        Self::of_bytes(key, known)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether `signature` over `message` is this key's. Strict: one signature per key and message form (RFC 8032, cofactorless).
    ///
    /// Says what `verify_strict` of ed25519-dalek says, without unpacking `R` to see whether its order is small: `verify` compares
    /// the bytes of `R` with a canonical encoding, so one of small order has one of eight texts. A key of small order is none of ours.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        !is_of_small_order(signature.r_bytes()) && self.0.verify(message, &signature).is_ok()
    }

    /// JWK thumbprint (RFC 7638 with the OKP members of RFC 8037), base64url without padding.
    pub fn thumbprint(&self) -> String {
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(self.as_bytes()));
        URL_SAFE_NO_PAD.encode(sha256(jwk.as_bytes()))
    }
}

/// Whether the encoded coordinate is below 2^255 - 19.
fn is_reduced(point: &[u8; 32]) -> bool {
    point[31] & 0x7f != 0x7f || point[1..31].iter().any(|byte| *byte != 0xff) || point[0] < 0xed
}

/// Whether a point in canonical encoding is one of the eight whose order divides 8. The sign, the highest bit, tells two of them apart.
fn is_of_small_order(point: &[u8; 32]) -> bool {
    let mut coordinate = *point;
    coordinate[31] &= 0x7f;
    SMALL_ORDER.contains(&coordinate)
}

/// The coordinates of the points of small order: of orders 1, 2, 4 and, twice, 8.
const SMALL_ORDER: [[u8; 32]; 5] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    [
        one,
        minus_one,
        [0; 32],
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

const DID_KEY: &str = "did:key:z";
const ED25519_MULTICODEC: [u8; 2] = [0xed, 0x01];

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 34];
        bytes[..2].copy_from_slice(&ED25519_MULTICODEC);
        bytes[2..].copy_from_slice(self.as_bytes());
        write!(f, "{DID_KEY}{}", bs58::encode(bytes).into_string())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_text(text, [])
    }
}

text_form!(PublicKey);

/// An Ed25519 private key with its public half.
///
/// aws-lc derives and signs, in half of dalek's time. Dalek verifies, with a key that is unpacked once, which aws-lc cannot keep.
pub struct KeyPair {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
}

impl KeyPair {
    /// The key pair of a 32-byte seed that the caller drew at random, or read back.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        // Expect safety: every 32 bytes are a seed, so that nothing but memory can be wanting.
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes are a seed");
        Self { pair, seed: Zeroizing::new(*seed) }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        // Expect safety: it is a multiple of the base point by less than that point's order, and not by zero.
        PublicKey::from_bytes(&self.public_bytes()).expect("a derived key is a key")
    }

    /// The public half as bytes, which need not be unpacked.
    pub(crate) fn public_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        bytes
    }

    /// Signs `message` (RFC 8032, deterministic).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(message).as_ref());
        signature
    }

    /// The seed, to be sealed or written to a key file.
    pub fn seed(&self) -> Secret<[u8; 32]> {
        Secret::new(*self.seed)
    }

    /// PKCS #8 in PEM, the form of a key file. Without the public half, which OpenSSL up to 3.1 and Python do not read beside it.
    pub fn to_pem(&self) -> Zeroizing<String> {
        use ed25519_dalek::pkcs8::{EncodePrivateKey as _, KeypairBytes};
        // Expect safety: encoding 32 bytes of seed into a fixed structure has no failing input.
        KeypairBytes { secret_key: *self.seed, public_key: None }
            .to_pkcs8_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF)
            .expect("an Ed25519 key encodes")
    }

    /// Reads PKCS #8 in PEM.
    pub fn from_pem(text: &str) -> Result<Self, InvalidKeyFile> {
        use ed25519_dalek::pkcs8::DecodePrivateKey as _;
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(text).map_err(|_| InvalidKeyFile)?;
        Ok(Self::from_seed(key.as_bytes()))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public())
    }
}

/// A key file that does not hold an Ed25519 private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 private key in PKCS #8 PEM: make one with `writ agent keygen`")]
pub struct InvalidKeyFile;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::edwards::CompressedEdwardsY;
    use curve25519_dalek::{EdwardsPoint, Scalar};
    use proptest::prelude::*;

    #[test]
    fn the_text_form_is_the_w3c_did_key_example() {
        let text = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
        let key: PublicKey = text.parse().unwrap();
        assert_eq!(hex::encode(key.as_bytes()), "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29");
        assert_eq!(key.to_string(), text);
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037_appendix_a_3() {
        let key = PublicKey::from_bytes(
            &hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap(),
        )
        .unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn small_order_and_non_canonical_keys_are_refused() {
        assert_eq!(PublicKey::from_bytes(&[0; 32]), Err(InvalidKey::Weak));
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey::from_bytes(&identity), Err(InvalidKey::Weak));
        let mut non_canonical = [0xff; 32];
        non_canonical[0] = 0xee;
        non_canonical[31] = 0x7f;
        assert!(PublicKey::from_bytes(&non_canonical).is_err());
    }

    #[test]
    fn the_points_of_small_order_are_the_eight_that_the_curve_has() {
        let known = EIGHT_TORSION.map(|point| point.compress().to_bytes());
        assert!(known.iter().all(is_of_small_order));
        let coordinates = known.iter().map(|point| {
            let mut coordinate = *point;
            coordinate[31] &= 0x7f;
            coordinate
        });
        assert_eq!(coordinates.collect::<BTreeSet<_>>(), BTreeSet::from(SMALL_ORDER));
        assert!(known.iter().all(|point| PublicKey::from_bytes(point) == Err(InvalidKey::Weak)));
    }

    /// A signature over `message` by whoever knows the seed, with key and `R` moved by points of small order.
    fn moved(seed: &[u8; 32], nonce: Scalar, (key_by, r_by): (usize, usize), message: &[u8]) -> ([u8; 32], [u8; 64]) {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed).to_scalar();
        let encoded = |scalar: &Scalar, by: usize| (EdwardsPoint::mul_base(scalar) + EIGHT_TORSION[by]).compress().0;
        let (key, r) = (encoded(&secret, key_by), encoded(&nonce, r_by));
        let challenge = digest::digest(&digest::SHA512, &[&r[..], &key, message].concat());
        let challenge = Scalar::from_bytes_mod_order_wide(challenge.as_ref().try_into().unwrap());
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(&(nonce + challenge * secret).to_bytes());
        (key, signature)
    }

    #[test]
    fn a_key_file_round_trips_and_debug_hides_the_seed() {
        let pair = KeyPair::from_seed(&[7; 32]);
        let again = KeyPair::from_pem(&pair.to_pem()).unwrap();
        assert_eq!(again.public(), pair.public());
        assert!(!format!("{pair:?}").contains("0707"));
    }

    proptest! {
        #[test]
        fn a_signature_holds_exactly_where_the_strict_check_of_dalek_says_so(
            seed: [u8; 32], nonce: [u8; 32], no_nonce in 0u8..4, key_by in 0usize..8, r_by in 0usize..8, flip in 0usize..1024,
        ) {
            let nonce = if no_nonce == 0 { Scalar::ZERO } else { Scalar::from_bytes_mod_order(nonce) };
            let (key, mut signature) = moved(&seed, nonce, (key_by, r_by), b"text");
            if flip < 512 {
                signature[flip / 8] ^= 1 << (flip % 8);
            }
            let key = PublicKey::from_bytes(&key).unwrap();
            let strict = key.0.verify_strict(b"text", &ed25519_dalek::Signature::from_bytes(&signature)).is_ok();
            prop_assert_eq!(key.verifies(b"text", &signature), strict);
        }

        #[test]
        fn a_key_is_taken_exactly_where_its_encoding_is_canonical_and_its_order_large(
            bytes: [u8; 32], kind in 0u8..3, low: u8, sign: bool,
        ) {
            let mut bytes = bytes;
            if kind == 0 {
                bytes = [0xff; 32];
                bytes[0] = low;
                bytes[31] = if sign { 0xff } else { 0x7f };
            }
            let expected = CompressedEdwardsY(bytes).decompress();
            let expected = expected.filter(|point| point.compress().to_bytes() == bytes && !point.is_small_order());
            prop_assert_eq!(PublicKey::from_bytes(&bytes).is_ok(), expected.is_some());
        }

        #[test]
        fn a_key_pair_derives_and_signs_what_dalek_does(seed: [u8; 32], message: Vec<u8>) {
            use ed25519_dalek::Signer as _;
            let (ours, dalek) = (KeyPair::from_seed(&seed), ed25519_dalek::SigningKey::from_bytes(&seed));
            prop_assert_eq!(ours.public().0, dalek.verifying_key());
            prop_assert_eq!(ours.sign(&message), dalek.sign(&message).to_bytes());
            let kept = ours.seed();
            prop_assert_eq!(kept.expose(), &seed);
        }

        #[test]
        fn public_keys_round_trip(seed: [u8; 32]) {
            let key = KeyPair::from_seed(&seed).public();
            prop_assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
            prop_assert_eq!(PublicKey::from_bytes(key.as_bytes()).unwrap(), key);
        }
    }
}
