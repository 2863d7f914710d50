//! From text to a chain that is believed.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::AudienceName;
use crate::key::PublicKey;
use crate::token::chain::{Chain, VerifiedToken};
use crate::token::limits::Limits;
use crate::token::raw::RawToken;

/// A root public key, by the id that stands in a token.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RootKey {
    /// The id; never reused.
    pub id: u32,
    /// The key.
    pub key: PublicKey,
    /// The last moment tokens signed by it count, once it is retired.
    pub until: Option<Timestamp>,
}

/// The root keys that an edge or a relying service trusts for one issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RootKeys {
    /// The keys, none with the id of another.
    pub keys: Vec<RootKey>,
}

/// Who is asking: a token for somebody else is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The issuer URL, compared byte by byte.
    pub issuer: Box<str>,
    /// The edge deployment.
    pub audience: AudienceName,
}

/// Why a token is not believed. Outsiders are told one thing for all of them; the audit record keeps the difference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Over a size or count limit.
    #[error("the token is larger than the limit: {0}")]
    TooLarge(&'static str),
    /// Not base64url, not a Biscuit, or not in its canonical encoding.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// No trusted root key has its key id, or that key is retired.
    #[error("the token's root key is unknown or retired")]
    UnknownRoot,
    /// A signature does not hold.
    #[error("a signature of the token does not hold")]
    Signature,
    /// A block breaks the profile.
    #[error("block {block} breaks the profile: {rule}")]
    Profile {
        /// The block, 0 for the authority block.
        block: usize,
        /// The rule of `spec/token.md`.
        rule: &'static str,
    },
    /// A hop states a fact that a holder can't state. The token is authentic; what it claims is not its to give.
    #[error("block {block} states a fact that a holder cannot state")]
    Overreach {
        /// The block.
        block: usize,
    },
    /// A hop is not signed by the holder before it, or a key stands twice in the chain.
    #[error("hop {hop} does not follow from the holder before it: {rule}")]
    Holder {
        /// The hop, 1 for the first.
        hop: usize,
        /// What does not align.
        rule: &'static str,
    },
    /// More hops than the authority block allows.
    #[error("the chain is deeper than its authority allows")]
    TooDeep,
    /// Minted by another issuer or for another edge deployment.
    #[error("the token is meant for another issuer or audience")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYet,
}

/// Checks signatures, profile, holder alignment and depth, in the order of `spec/token.md`.
pub fn verify(raw: &RawToken, keys: &RootKeys, limits: &Limits) -> Result<Chain, TokenError> {
    let _ = (raw, keys, limits);
    todo!()
}

/// Checks what changes with time and place: root key still trusted, issuer and audience, validity. Cheap: run it on every request.
pub fn current(
    chain: &Arc<Chain>,
    keys: &RootKeys,
    expected: &Expected,
    now: Timestamp,
) -> Result<VerifiedToken, TokenError> {
    let _ = (chain, keys, expected, now);
    todo!()
}
