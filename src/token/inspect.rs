//! Reading a token without believing it: for people who debug.

use crate::token::chain::Chain;
use crate::token::container::Container;
use crate::token::limits::Limits;
use crate::token::raw::RawToken;
use crate::token::verify::{self, TokenError};

/// What a token says, its signatures unchecked. No path leads from here to a request.
#[derive(Debug)]
pub struct Unverified(Chain);

impl Unverified {
    /// What it would be if its signatures held.
    pub const fn claims(&self) -> &Chain {
        &self.0
    }
}

/// Reads a token without checking its signatures. The profile must hold.
pub fn inspect(raw: &RawToken, limits: &Limits) -> Result<Unverified, TokenError> {
    let container = Container::decode(raw, limits)?;
    verify::chain(raw, &container, limits).map(Unverified)
}
