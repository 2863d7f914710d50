//! The token as it arrives: text of bounded size in strict base64, nothing else known.

use std::fmt;

use crate::key::sha256;
use crate::token::limits::Limits;
use crate::token::verify::TokenError;

/// SHA-256 of a token's text. The `ath` of its proofs, and a cache key.
///
/// Safe to log. Never an identity for revocation: a holder can give the same blocks another text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenDigest(pub [u8; 32]);

/// A token's text, within the size limit and strictly base64url without padding. Its signatures are unchecked.
#[derive(Clone)]
pub struct RawToken {
    text: Box<str>,
    bytes: Box<[u8]>,
    digest: TokenDigest,
}

impl RawToken {
    /// Takes a token's text in.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, TokenError> {
        let _ = (text, limits, sha256(b""));
        todo!()
    }

    /// The text, to be sent to an edge. A bearer writ is a secret: do not log it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text.
    pub const fn digest(&self) -> TokenDigest {
        self.digest
    }

    /// The decoded bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for RawToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawToken(sha256:{})", hex::encode(self.digest.0))
    }
}
