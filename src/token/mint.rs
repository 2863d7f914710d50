//! Minting: the authority block, signed by a root key.

use crate::key::KeyPair;
use crate::token::chain::Authority;
use crate::token::limits::Limits;
use crate::token::raw::RawToken;
use crate::token::verify::TokenError;

/// Mints the writ that `authority` describes, signed by `root` under `root_key_id`.
///
/// `next_key_seed` is 32 fresh random bytes: whoever knows them can append blocks to the token.
pub fn mint(
    authority: &Authority,
    root: &KeyPair,
    root_key_id: u32,
    next_key_seed: &[u8; 32],
    limits: &Limits,
) -> Result<RawToken, TokenError> {
    let _ = (authority, root, root_key_id, next_key_seed, limits);
    todo!()
}
