//! What a holder does offline: delegate to another key, narrow, seal.

use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId};
use crate::key::{KeyPair, PublicKey};
use crate::token::capability::Capability;
use crate::token::limits::Limits;
use crate::token::raw::RawToken;
use crate::token::verify::TokenError;

/// The next holder, as the delegator names it.
#[derive(Clone, Debug)]
pub struct NewHop {
    /// Its key.
    pub holder: PublicKey,
    /// Fresh random bytes.
    pub id: BlockId,
    /// The last moment it may use the token (inclusive).
    pub expires: Timestamp,
    /// The first moment it may use the token.
    pub not_before: Option<Timestamp>,
    /// What to call it.
    pub agent: Option<AgentName>,
    /// What it may do with it.
    pub narrowing: Narrowing,
}

/// How a token becomes less: each part that is given is one check more.
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    /// Only operations that one of these allows; empty leaves the capabilities as they are.
    pub capabilities: Vec<Capability>,
    /// Only until then (inclusive).
    pub until: Option<Timestamp>,
    /// Further checks in Datalog, within the profile: `check if arg("amount", $x), $x <= 500`.
    pub checks: Vec<String>,
}

/// Why a token could not be delegated, narrowed or sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// Sealed tokens stay as they are.
    #[error("the token is sealed: ask its holder's delegator for one that is not")]
    Sealed,
    /// A bearer writ has no holder who could sign a hop.
    #[error("a bearer writ cannot be delegated: ask the authority for one bound to a key")]
    Bearer,
    /// The key is not the last holder's.
    #[error("only {0} can delegate this token: use that key")]
    NotTheHolder(PublicKey),
    /// A check is not within the profile.
    #[error("`{check}` is not a check that a writ may carry: {rule}")]
    Check {
        /// The check as given, shortened.
        check: String,
        /// The rule of `spec/token.md`.
        rule: &'static str,
    },
    /// The result would not verify.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Appends a hop signed by `holder` that hands the token on. `next_key_seed` is 32 fresh random bytes.
pub fn delegate(
    token: &RawToken,
    holder: &KeyPair,
    hop: &NewHop,
    next_key_seed: &[u8; 32],
    limits: &Limits,
) -> Result<RawToken, HopError> {
    let _ = (token, holder, hop, next_key_seed, limits);
    todo!()
}

/// Appends an ordinary block of checks. Anybody who has the token can.
pub fn narrow(
    token: &RawToken,
    narrowing: &Narrowing,
    next_key_seed: &[u8; 32],
    limits: &Limits,
) -> Result<RawToken, HopError> {
    let _ = (token, narrowing, next_key_seed, limits);
    todo!()
}

/// Closes the token: it verifies as before, and nothing can be appended.
pub fn seal(token: &RawToken, limits: &Limits) -> Result<RawToken, HopError> {
    let _ = (token, limits);
    todo!()
}
