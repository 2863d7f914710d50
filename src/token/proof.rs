//! Proof of possession: DPoP (RFC 9449) by the token's last holder, Ed25519 only.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::key::{KeyPair, PublicKey, sha256};
use crate::token::chain::{ProofCovers, VerifiedToken};
use crate::token::raw::TokenDigest;
use crate::token::strict_json::Members;

/// The oldest proof that counts, in seconds.
pub const AGE_S_MAX: i64 = 30;
/// How far ahead a prover's clock may be, in seconds.
pub const AHEAD_S_MAX: i64 = 5;
/// The longest proof in bytes.
pub const PROOF_BYTES_MAX: usize = 2048;
/// The longest `jti` in bytes.
pub const JTI_BYTES_MAX: usize = 256;

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

impl ProofId {
    /// The name of a proof that `key` [made](make) with `jti`.
    pub fn of_made(key: &PublicKey, jti: &[u8; 16]) -> Self {
        Self::of(key, &URL_SAFE_NO_PAD.encode(jti))
    }

    fn of(key: &PublicKey, jti: &str) -> Self {
        let digest = sha256(&[key.as_bytes(), jti.as_bytes()].concat());
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

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
    /// A bound token came with the `Bearer` scheme. About the token, not the proof.
    #[error("the token is bound to a key: send it with the `DPoP` scheme and a proof")]
    Downgrade,
    /// It came with the `Bearer` scheme over a connection that another key proved. About the token, not the proof.
    #[error(
        "the connection is proven by another key than the token's holder: connect with the holder's key, or send a proof"
    )]
    Connection,
    /// A bearer writ where none is accepted. About the token, not the proof.
    #[error("bearer writs are not accepted here: ask the authority for one bound to a key")]
    BearerRefused,
}

impl ProofError {
    /// The reason code of `spec/token.md`, for the audit record.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "proof_missing",
            Self::Malformed(_) => "proof_malformed",
            Self::Key => "proof_key",
            Self::Signature => "proof_signature",
            Self::Mismatch(_) => "proof_mismatch",
            Self::Time => "proof_time",
            Self::Nonce => "proof_nonce",
            Self::Downgrade => "token_downgrade",
            Self::Connection => "token_connection",
            Self::BearerRefused => "token_bearer_refused",
        }
    }
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
#[derive(Clone, Debug)]
pub struct HeldToken {
    token: VerifiedToken,
    proof: Option<Proof>,
}

impl HeldToken {
    /// The token.
    pub const fn token(&self) -> &VerifiedToken {
        &self.token
    }

    /// Whether the holder proved the connection and not the request.
    pub fn is_by_connection(&self) -> bool {
        self.proof.is_none() && self.token.chain().holder().is_some()
    }

    /// The proof; `None` for a bearer writ, and where the connection is proven.
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
    let x = URL_SAFE_NO_PAD.encode(holder.public_bytes());
    let header = format!(r#"{{"typ":"{TYP}","alg":"{ALG}","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}}}"#);
    let claims = Claims {
        jti: URL_SAFE_NO_PAD.encode(jti),
        htm: request.method,
        htu: request.url,
        iat: now.secs(),
        ath: token.map(|token| URL_SAFE_NO_PAD.encode(token.0)),
        nonce,
        htq: covers.query.then(|| request.query_hash()),
        bdh: covers.body.then(|| URL_SAFE_NO_PAD.encode(request.body_sha256.unwrap_or_else(|| sha256(b"")))),
    };
    // Expect safety: a structure of strings and one integer serialises.
    let claims = serde_json::to_vec(&claims).expect("claims serialise");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(holder.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

const TYP: &str = "dpop+jwt";
const ALG: &str = "EdDSA";

#[derive(Serialize)]
struct Claims<'a> {
    jti: String,
    htm: &'a str,
    htu: &'a str,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ath: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    htq: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bdh: Option<String>,
}

impl ProvenRequest<'_> {
    /// The `htq` of the request: of the empty string where there is no query.
    fn query_hash(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.query.unwrap_or("").as_bytes()))
    }
}

/// Checks a proof by `key`. With `token`, its `ath` must match (an edge); without, it must have none (the token endpoint).
///
/// Says nothing about replay: remember [`Proof::id`] until [`Proof::replayable_until`].
pub fn check(
    proof: &str,
    key: Option<&PublicKey>,
    request: &ProvenRequest<'_>,
    token: Option<TokenDigest>,
    covers: ProofCovers,
    nonce: NonceRule<'_>,
    now: Timestamp,
) -> Result<(PublicKey, Proof), ProofError> {
    let decoded = Decoded::of(proof)?;
    let jws = decoded.jws(key)?;
    if key.is_some_and(|key| *key != jws.key) {
        return Err(ProofError::Key);
    }
    let proof = jws.check(request, token, covers, nonce, now)?;
    Ok((jws.key, proof))
}

/// A proof that holds for a request whose body was not read so far.
#[derive(Debug)]
pub struct ProvenHead {
    /// Who proved it.
    pub key: PublicKey,
    /// Which proof it is.
    pub proof: Proof,
    bdh: Option<String>,
}

impl ProvenHead {
    /// Checks a proof by any key for the head of a request without a token. Says nothing about replay, nor about the body.
    pub fn check(proof: &str, request: &ProvenRequest<'_>, now: Timestamp) -> Result<Self, ProofError> {
        let covers = ProofCovers { query: false, body: false };
        let decoded = Decoded::of(proof)?;
        let jws = decoded.jws(None)?;
        let proof = jws.check(request, None, covers, NonceRule::Optional, now)?;
        Ok(Self { key: jws.key, proof, bdh: jws.claims.text("bdh").map(Cow::into_owned) })
    }

    /// Whether it covers the body with this hash.
    pub fn check_body(&self, sha256: &[u8; 32]) -> Result<(), ProofError> {
        match &self.bdh {
            Some(bdh) if *bdh == URL_SAFE_NO_PAD.encode(sha256) => Ok(()),
            Some(_) | None => Err(ProofError::Mismatch("`bdh`")),
        }
    }
}

/// A proof in its parts, out of base64.
struct Decoded<'a> {
    signed: &'a [u8],
    signature: Vec<u8>,
    header: Vec<u8>,
    claims: Vec<u8>,
}

/// A proof in its parts; its signature is unchecked.
struct Jws<'a> {
    signed: &'a [u8],
    signature: [u8; 64],
    key: PublicKey,
    claims: Members<'a>,
}

impl<'a> Decoded<'a> {
    fn of(proof: &'a str) -> Result<Self, ProofError> {
        if proof.is_empty() {
            return Err(ProofError::Missing);
        }
        if proof.len() > PROOF_BYTES_MAX {
            return Err(ProofError::Malformed("it is too long"));
        }
        let three_parts = || ProofError::Malformed("it is not three parts of base64url");
        let (signed, signature) = proof.rsplit_once('.').ok_or_else(three_parts)?;
        let (header, claims) = signed.split_once('.').ok_or_else(three_parts)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| three_parts());
        Ok(Self {
            header: decode(header)?,
            claims: decode(claims)?,
            signature: decode(signature)?,
            signed: signed.as_bytes(),
        })
    }

    /// Its key is most likely `key`.
    fn jws(&self, key: Option<&PublicKey>) -> Result<Jws<'_>, ProofError> {
        let members = |bytes| {
            Members::parse(bytes).ok_or(ProofError::Malformed("a part is not a JSON object without duplicate names"))
        };
        let signature = self.signature.as_slice();
        Ok(Jws {
            signed: self.signed,
            signature: signature.try_into().map_err(|_| ProofError::Malformed("its signature is not 64 bytes"))?,
            key: header_key(&members(&self.header)?, key)?,
            claims: members(&self.claims)?,
        })
    }
}

impl Jws<'_> {
    /// Its signature and all that its claims must say; by whatever key it is.
    fn check(
        &self,
        request: &ProvenRequest<'_>,
        token: Option<TokenDigest>,
        covers: ProofCovers,
        nonce: NonceRule<'_>,
        now: Timestamp,
    ) -> Result<Proof, ProofError> {
        if !self.key.verifies(self.signed, &self.signature) {
            return Err(ProofError::Signature);
        }
        check_request(&self.claims, request, token, covers)?;
        let iat = self.claims.integer("iat").ok_or(ProofError::Malformed("`iat` is not a whole number"))?;
        // The distance saturates for an `iat` at the ends of time, and is then outside the window.
        if !(-AHEAD_S_MAX..=AGE_S_MAX).contains(&now.secs().saturating_sub(iat)) {
            return Err(ProofError::Time);
        }
        let jti = self.claims.text("jti").filter(|jti| (1..=JTI_BYTES_MAX).contains(&jti.len()));
        let jti = jti.ok_or(ProofError::Malformed("`jti` is not a string of 1 to 256 bytes"))?;
        check_nonce(&self.claims, nonce)?;
        let id = ProofId::of(&self.key, &jti);
        let replayable_until = Timestamp::from_secs(iat.saturating_add(AGE_S_MAX)).after(Duration::from_millis(999));
        Ok(Proof { id, replayable_until })
    }
}

/// The key of a header that says exactly what it must. Nothing in it chooses how the proof is checked.
fn header_key(header: &Members<'_>, likely: Option<&PublicKey>) -> Result<PublicKey, ProofError> {
    if header.text("typ").as_deref() != Some(TYP) {
        return Err(ProofError::Malformed("`typ` is not `dpop+jwt`"));
    }
    // `Ed25519` is RFC 9864's name for the same: the key says the curve, and it is the only one there is.
    if !matches!(header.text("alg").as_deref(), Some(ALG | "Ed25519")) {
        return Err(ProofError::Malformed("`alg` is not `EdDSA`"));
    }
    if !header.has_exactly(&["alg", "jwk", "typ"]) {
        return Err(ProofError::Malformed("its header has more than `typ`, `alg` and `jwk`"));
    }
    let jwk = header.object("jwk").filter(|jwk| {
        jwk.has_exactly(&["crv", "kty", "x"])
            && jwk.text("kty").as_deref() == Some("OKP")
            && jwk.text("crv").as_deref() == Some("Ed25519")
    });
    let bytes = jwk.and_then(|jwk| URL_SAFE_NO_PAD.decode(&*jwk.text("x")?).ok());
    bytes
        .and_then(|bytes| PublicKey::of_bytes(&bytes, likely).ok())
        .ok_or(ProofError::Malformed("`jwk` is not exactly an Ed25519 public key"))
}

fn check_request(
    claims: &Members<'_>,
    request: &ProvenRequest<'_>,
    token: Option<TokenDigest>,
    covers: ProofCovers,
) -> Result<(), ProofError> {
    if claims.text("htm").as_deref() != Some(request.method) {
        return Err(ProofError::Mismatch("`htm`"));
    }
    let htu = claims.text("htu");
    let same = |htu: &str| normalised(htu).as_deref() == Some(request.url);
    if !htu.as_deref().is_some_and(same) {
        return Err(ProofError::Mismatch("`htu`"));
    }
    let ath = token.map(|token| URL_SAFE_NO_PAD.encode(token.0));
    if claims.has("ath") != ath.is_some() || claims.text("ath").as_deref() != ath.as_deref() {
        return Err(ProofError::Mismatch("`ath`"));
    }
    // Given but not asked for, it must be right all the same.
    if (covers.query || claims.has("htq")) && claims.text("htq").as_deref() != Some(&request.query_hash()) {
        return Err(ProofError::Mismatch("`htq`"));
    }
    let bdh = request.body_sha256.map(|hash| URL_SAFE_NO_PAD.encode(hash));
    let bdh_counts = covers.body || (claims.has("bdh") && bdh.is_some());
    if bdh_counts && (bdh.is_none() || claims.text("bdh").as_deref() != bdh.as_deref()) {
        return Err(ProofError::Mismatch("`bdh`"));
    }
    Ok(())
}

/// `htu` after the scheme-based normalisation of RFC 3986 sections 6.2.2.1 and 6.2.3, as far as RFC 9449 section 4.3 asks
/// for it: letter case of scheme and host, the default port, the empty path. `None` for what an `htu` can't be.
fn normalised(htu: &str) -> Option<String> {
    if !htu.is_ascii() || htu.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b' ' | b'?' | b'#' | b'\\'))
    {
        return None;
    }
    let (scheme, rest) = htu.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    let path = if path.is_empty() { "/" } else { path };
    Some(format!("{scheme}://{}{path}", authority.to_ascii_lowercase()))
}

fn check_nonce(claims: &Members<'_>, rule: NonceRule<'_>) -> Result<(), ProofError> {
    match rule {
        NonceRule::Optional => Ok(()),
        NonceRule::OneOf(nonces) => match claims.text("nonce") {
            Some(nonce) if nonces.contains(&&*nonce) => Ok(()),
            Some(_) | None => Err(ProofError::Nonce),
        },
    }
}

/// From a verified token to one that its holder presents: `DPoP` scheme with a proof.
pub fn hold(
    token: VerifiedToken,
    proof: &str,
    request: &ProvenRequest<'_>,
    nonce: NonceRule<'_>,
    now: Timestamp,
) -> Result<HeldToken, ProofError> {
    let chain = token.chain();
    // A bearer writ has no holder, so no proof can be its holder's.
    let holder = chain.holder().ok_or(ProofError::Key)?;
    let covers = chain.authority().proof_covers;
    let (_, proof) = check(proof, Some(&holder), request, Some(chain.digest()), covers, nonce, now)?;
    Ok(HeldToken { token, proof: Some(proof) })
}

/// From a verified token to one that anybody may present: `Bearer` scheme. A bound token is refused, as is any where the rule says so.
pub fn bear(token: VerifiedToken, rule: BearerRule) -> Result<HeldToken, ProofError> {
    match (token.chain().holder(), rule) {
        (Some(_), _) => Err(ProofError::Downgrade),
        (None, BearerRule::Refuse) => Err(ProofError::BearerRefused),
        (None, BearerRule::Accept) => Ok(HeldToken { token, proof: None }),
    }
}

/// From a bound token to one whose holder proved the connection that it came by: `Bearer` scheme, and TLS client authentication
/// with the holder's own key. As RFC 8705 section 3, where a certificate's digest stands for the key.
pub fn hold_by_connection(token: VerifiedToken, proven: &PublicKey) -> Result<HeldToken, ProofError> {
    if token.chain().holder() != Some(*proven) {
        return Err(ProofError::Connection);
    }
    Ok(HeldToken { token, proof: None })
}
