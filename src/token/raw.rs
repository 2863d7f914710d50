//! The token as it arrives: text of bounded size in strict base64, nothing else known.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::id::Hex;
use crate::key::sha256;
use crate::token::limits::Limits;
use crate::token::verify::TokenError;

/// SHA-256 of a token's text. The `ath` of its proofs, and a cache key.
///
/// Safe to log. Never an identity for revocation: a holder can give the same blocks another text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenDigest(pub [u8; 32]);

/// A token's text as somebody shows it, within the size limit and not read: enough to know a token again.
#[derive(Clone)]
pub struct ShownToken {
    text: Box<str>,
    digest: TokenDigest,
}

impl ShownToken {
    /// Takes a token's text in.
    pub fn new(text: &str, limits: &Limits) -> Result<Self, TokenError> {
        if text.len() > limits.text_bytes_max {
            return Err(TokenError::TooLarge("text bytes"));
        }
        Ok(Self { digest: TokenDigest(sha256(text.as_bytes())), text: text.into() })
    }

    /// The text. A bearer writ is a secret: do not log it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the text.
    pub const fn digest(&self) -> TokenDigest {
        self.digest
    }

    /// Reads the text.
    pub fn read(self) -> Result<RawToken, TokenError> {
        // The engine refuses padding, whitespace and set trailing bits: each byte string has one text.
        let bytes = URL_SAFE_NO_PAD.decode(&*self.text);
        let bytes = bytes.map_err(|_| TokenError::Malformed("not base64url without padding"))?;
        Ok(RawToken { shown: self, bytes: bytes.into() })
    }
}

impl fmt::Debug for ShownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShownToken(sha256:{})", Hex(&self.digest.0))
    }
}

/// A token's text, within the size limit and strictly base64url without padding. Its signatures are unchecked.
#[derive(Clone)]
pub struct RawToken {
    shown: ShownToken,
    bytes: Box<[u8]>,
}

impl RawToken {
    /// Takes a token's text in.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, TokenError> {
        ShownToken::new(text, limits)?.read()
    }

    pub(super) fn from_bytes(bytes: &[u8], limits: &Limits) -> Result<Self, TokenError> {
        Self::parse(&URL_SAFE_NO_PAD.encode(bytes), limits)
    }

    /// The token as an edge sees it that may know it already.
    pub const fn shown(&self) -> &ShownToken {
        &self.shown
    }

    /// The text, to be sent to an edge. A bearer writ is a secret: do not log it.
    pub fn text(&self) -> &str {
        &self.shown.text
    }

    /// SHA-256 of the text.
    pub const fn digest(&self) -> TokenDigest {
        self.shown.digest
    }

    /// The decoded bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for RawToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawToken(sha256:{})", Hex(&self.digest().0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_one_text_stands_for_given_bytes() {
        let parse = |text: &str| RawToken::parse(text, &Limits::default());
        assert_eq!(parse("AAE").unwrap().bytes(), [0, 1]);
        for text in ["AAE=", "AAF", "AA E", "AAE\n", " AAE", "A+E", "A/E", "AAEé", "A"] {
            assert_eq!(parse(text).unwrap_err(), TokenError::Malformed("not base64url without padding"), "{text:?}");
        }
    }

    #[test]
    fn an_oversized_text_is_refused_before_it_is_decoded() {
        let limits = Limits { text_bytes_max: 4, ..Limits::default() };
        assert_eq!(RawToken::parse("!!!!!", &limits).unwrap_err(), TokenError::TooLarge("text bytes"));
    }

    proptest! {
        #[test]
        fn texts_round_trip(bytes: Vec<u8>) {
            let token = RawToken::from_bytes(&bytes, &Limits::default()).unwrap();
            prop_assert_eq!(token.bytes(), &bytes);
            prop_assert_eq!(RawToken::parse(token.text(), &Limits::default()).unwrap().digest(), token.digest());
        }
    }
}
