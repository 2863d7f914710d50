//! From text to a chain that is believed.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::AudienceName;
use crate::key::PublicKey;
use crate::token::chain::{Authority, Chain, Hop, LiveMark, VerifiedToken};
use crate::token::container::{Container, End};
use crate::token::limits::Limits;
use crate::token::profile::{self, Contents};
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

impl TokenError {
    /// The reason code of `spec/token.md`, for the audit record. Outsiders are not told.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "token_too_large",
            Self::Malformed(_) => "token_malformed",
            Self::UnknownRoot => "token_unknown_root",
            Self::Signature => "token_signature",
            Self::Profile { .. } => "token_profile",
            Self::Overreach { .. } => "token_overreach",
            Self::Holder { .. } => "token_holder",
            Self::TooDeep => "token_too_deep",
            Self::Audience => "token_audience",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet",
        }
    }
}

impl RootKeys {
    pub(super) fn with_id(&self, id: u32) -> Result<&RootKey, TokenError> {
        self.keys.iter().find(|key| key.id == id).ok_or(TokenError::UnknownRoot)
    }
}

/// Checks signatures, profile, holder alignment and depth, in the order of `spec/token.md`.
pub fn verify(raw: &RawToken, keys: &RootKeys, limits: &Limits) -> Result<Chain, TokenError> {
    let container = Container::decode(raw, limits)?;
    let root = keys.with_id(container.root_key_id);
    let keys = container.keys(0, None, container.end_key())?;
    container.verify(&keys, root?.key)?;
    chain(raw, &container, profile::read(&container, &keys, limits)?)
}

/// The chain of a container whose blocks state `contents`, whether or not its signatures hold.
pub(super) fn chain(raw: &RawToken, container: &Container, contents: Contents) -> Result<Chain, TokenError> {
    let Contents { authority, hops, checks } = contents;
    align(&authority, &hops)?;
    if hops.len() > usize::from(authority.depth_max) {
        return Err(TokenError::TooDeep);
    }
    Ok(Chain {
        digest: raw.digest(),
        root_key_id: container.root_key_id,
        authority,
        hops,
        checks,
        sealed: matches!(container.end, End::Sealed(_)),
        blocks: container.blocks.len(),
        live_mark: LiveMark::default(),
    })
}

/// Each hop is signed by the holder before it, and nobody holds the token twice.
fn align(authority: &Authority, hops: &[Hop]) -> Result<(), TokenError> {
    let mut holders = Vec::with_capacity(1 + hops.len());
    holders.extend(authority.holder);
    for (index, hop) in hops.iter().enumerate() {
        let breaks = |rule| TokenError::Holder { hop: index + 1, rule };
        match holders.last() {
            None => return Err(breaks("a bearer writ has no holder who could delegate it")),
            Some(holder) if *holder != hop.signed_by => return Err(breaks("it is signed by another key")),
            Some(_) if holders.contains(&hop.holder) => return Err(breaks("its key already holds the token")),
            Some(_) => holders.push(hop.holder),
        }
    }
    Ok(())
}

/// Checks what changes with time and place: root key still trusted, issuer and audience, validity. Cheap: run it on every request.
///
/// Time has the granularity of a second and both ends count: a token is valid from the first moment of the second `nbf`
/// to the last moment of the second `exp`.
pub fn current(
    chain: &Arc<Chain>,
    keys: &RootKeys,
    expected: &Expected,
    now: Timestamp,
) -> Result<VerifiedToken, TokenError> {
    let now = now.secs();
    if keys.with_id(chain.root_key_id)?.until.is_some_and(|until| until.secs() < now) {
        return Err(TokenError::UnknownRoot);
    }
    let authority = chain.authority();
    if authority.issuer != expected.issuer || authority.audience != expected.audience {
        return Err(TokenError::Audience);
    }
    if chain.not_before().secs() > now {
        return Err(TokenError::NotYet);
    }
    if chain.expires().secs() < now {
        return Err(TokenError::Expired);
    }
    Ok(VerifiedToken { chain: Arc::clone(chain) })
}
