//! Proof of possession: DPoP (RFC 9449) by the token's last holder, Ed25519 only.

use crate::clock::Timestamp;
use crate::key::{KeyPair, PublicKey};
use crate::token::chain::{ProofCovers, VerifiedToken};
use crate::token::raw::TokenDigest;

/// The oldest proof that counts, in seconds.
pub const AGE_S_MAX: i64 = 30;
/// How far ahead a prover's clock may be, in seconds.
pub const AHEAD_S_MAX: i64 = 5;
/// The longest proof in bytes.
pub const PROOF_BYTES_MAX: usize = 2048;

/// The request that a proof is for.
#[derive(Clone, Copy, Debug)]
pub struct ProvenRequest<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The configured origin plus the path, normalised. Never from the Host header.
    pub url: &'a str,
    /// The raw query without `?`; `None` when there is none.
    pub query: Option<&'a str>,
    /// SHA-256 of the body, where it was read.
    pub body_sha256: Option<[u8; 32]>,
}

/// Names one proof: a digest over its key and `jti`. Seen twice, it is a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProofId(pub [u8; 16]);

/// Which nonce a proof must carry (RFC 9449 section 8).
#[derive(Clone, Copy, Debug)]
pub enum NonceRule<'a> {
    /// None is demanded; one that is given is ignored.
    Optional,
    /// One of these.
    OneOf(&'a [&'a str]),
}

/// Why a proof does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No proof came with a bound token, or more than one.
    #[error("send exactly one `DPoP` header with a proof by the token's holder")]
    Missing,
    /// Not a JWS of the form RFC 9449 asks for.
    #[error("the proof is malformed: {0}")]
    Malformed(&'static str),
    /// Signed by another key than the last holder's.
    #[error("the proof is by another key than the token's holder")]
    Key,
    /// The signature does not hold.
    #[error("the proof's signature does not hold")]
    Signature,
    /// It is for another request, token, query or body.
    #[error("the proof is for another request: {0} differs")]
    Mismatch(&'static str),
    /// Too old, or from the future.
    #[error("the proof's `iat` is more than {AGE_S_MAX} s old or more than {AHEAD_S_MAX} s ahead")]
    Time,
    /// A nonce is demanded, and it carries none that counts.
    #[error("the proof needs the nonce of the `DPoP-Nonce` header")]
    Nonce,
}

/// A proof that holds: which it is, and until when a replay of it would still be in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The name to remember.
    pub id: ProofId,
    /// Remember it until then.
    pub replayable_until: Timestamp,
}

/// A verified token, presented by its holder (or a bearer writ where the operator allows them).
///
/// Says nothing about replay or revocation.
#[derive(Debug)]
pub struct HeldToken {
    token: VerifiedToken,
    proof: Option<Proof>,
}

impl HeldToken {
    /// The token.
    pub const fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// The proof; `None` for a bearer writ.
    pub const fn proof(&self) -> Option<Proof> {
        self.proof
    }
}

/// Where bearer writs are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerRule {
    /// Nowhere: the default.
    Refuse,
    /// Here, because the operator said so.
    Accept,
}

/// Makes a proof. `jti` is fresh random bytes; the extra claims are those `covers` asks for.
pub fn make(
    holder: &KeyPair,
    request: &ProvenRequest<'_>,
    token: Option<TokenDigest>,
    covers: ProofCovers,
    nonce: Option<&str>,
    jti: &[u8; 16],
    now: Timestamp,
) -> String {
    let _ = (holder, request, token, covers, nonce, jti, now);
    todo!()
}

/// Checks a proof by `key`. With `token`, its `ath` must match (an edge); without, it must have none (the token endpoint).
pub fn check(
    proof: &str,
    key: Option<&PublicKey>,
    request: &ProvenRequest<'_>,
    token: Option<TokenDigest>,
    covers: ProofCovers,
    nonce: NonceRule<'_>,
    now: Timestamp,
) -> Result<(PublicKey, Proof), ProofError> {
    let _ = (proof, key, request, token, covers, nonce, now);
    todo!()
}

/// From a verified token to one that its holder presents: `DPoP` scheme with a proof.
pub fn hold(
    token: VerifiedToken,
    proof: &str,
    request: &ProvenRequest<'_>,
    nonce: NonceRule<'_>,
    now: Timestamp,
) -> Result<HeldToken, ProofError> {
    let _ = (&token, proof, request, nonce, now);
    todo!()
}

/// From a verified token to one that anybody may present: `Bearer` scheme. A bound token is refused, as is any where the rule says so.
pub fn bear(token: VerifiedToken, rule: BearerRule) -> Result<HeldToken, ProofError> {
    let _ = (&token, rule);
    todo!()
}
