//! What a holder does offline: delegate to another key, narrow, seal.

use biscuit_auth::builder::Term;

use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId};
use crate::key::{KeyPair, PublicKey};
use crate::token::block::{BlockWriter, Party, date, key, string};
use crate::token::capability::Capability;
use crate::token::container::Container;
use crate::token::inspect::inspect;
use crate::token::limits::Limits;
use crate::token::raw::RawToken;
use crate::token::verify::TokenError;

/// The next holder, as the delegator names it.
#[derive(Clone, Debug)]
pub struct NewHop {
    /// Its key.
    pub holder: PublicKey,
    /// Fresh random bytes: what [`Hop::id_of`](crate::token::Hop::id_of) makes the hop's id of.
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
    NotTheHolder(Box<PublicKey>),
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
///
/// Offline: nobody is asked. The result keeps to the profile, and its hop may end later than its parent without effect.
pub fn delegate(
    token: &RawToken,
    holder: &KeyPair,
    hop: &NewHop,
    next_key_seed: &[u8; 32],
    limits: &Limits,
) -> Result<RawToken, HopError> {
    let container = open(token, limits)?;
    let expected = inspect(token, limits)?.claims().holder().ok_or(HopError::Bearer)?;
    if expected != holder.public() {
        return Err(HopError::NotTheHolder(Box::new(expected)));
    }
    let mut block = BlockWriter::after(&container, Party::Third);
    block.fact("cnf", vec![key(&hop.holder)]);
    block.fact("id", vec![Term::Bytes(hop.id.as_bytes().to_vec())]);
    block.fact("exp", vec![date(hop.expires)]);
    if let Some(not_before) = hop.not_before {
        block.fact("nbf", vec![date(not_before)]);
    }
    if let Some(agent) = &hop.agent {
        block.fact("agent", vec![string(agent.as_str())]);
    }
    write_checks(&mut block, &hop.narrowing, limits)?;
    let appended = container.append(block.finish(), Some(holder), next_key_seed);
    finish(&appended.ok_or(HopError::Sealed)?, limits)
}

/// Appends an ordinary block of checks. Anybody who has the token can.
pub fn narrow(
    token: &RawToken,
    narrowing: &Narrowing,
    next_key_seed: &[u8; 32],
    limits: &Limits,
) -> Result<RawToken, HopError> {
    let container = open(token, limits)?;
    let mut block = BlockWriter::after(&container, Party::First);
    write_checks(&mut block, narrowing, limits)?;
    let appended = container.append(block.finish(), None, next_key_seed);
    finish(&appended.ok_or(HopError::Sealed)?, limits)
}

/// Closes the token: it verifies as before, and nothing can be appended.
pub fn seal(token: &RawToken, limits: &Limits) -> Result<RawToken, HopError> {
    finish(&open(token, limits)?.seal().ok_or(HopError::Sealed)?, limits)
}

/// The container of a token that keeps to the profile and is not sealed.
fn open(token: &RawToken, limits: &Limits) -> Result<Container, HopError> {
    if inspect(token, limits)?.claims().is_sealed() {
        return Err(HopError::Sealed);
    }
    Ok(Container::decode(token, limits)?)
}

fn write_checks(block: &mut BlockWriter, narrowing: &Narrowing, limits: &Limits) -> Result<(), HopError> {
    if !narrowing.capabilities.is_empty() {
        block.check_capabilities(&narrowing.capabilities);
    }
    if let Some(until) = narrowing.until {
        block.check_until(until);
    }
    for text in &narrowing.checks {
        block.check(text, limits).map_err(|rule| HopError::Check { check: text.chars().take(80).collect(), rule })?;
    }
    Ok(())
}

fn finish(container: &Container, limits: &Limits) -> Result<RawToken, HopError> {
    let token = RawToken::from_bytes(&container.encode(), limits)?;
    inspect(&token, limits)?;
    Ok(token)
}
