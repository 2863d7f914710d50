//! The signature algorithms that an issuer of tokens may use.

use std::fmt;
use std::str::FromStr;

/// A signature algorithm of JWS that a provider may use. Symmetric ones and `none` do not exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// A text that names no algorithm of [`SignatureAlgorithm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384` or `EdDSA`")]
pub struct InvalidAlgorithm;

const ALGORITHMS: [(SignatureAlgorithm, &str); 9] = [
    (SignatureAlgorithm::Rs256, "RS256"),
    (SignatureAlgorithm::Rs384, "RS384"),
    (SignatureAlgorithm::Rs512, "RS512"),
    (SignatureAlgorithm::Ps256, "PS256"),
    (SignatureAlgorithm::Ps384, "PS384"),
    (SignatureAlgorithm::Ps512, "PS512"),
    (SignatureAlgorithm::Es256, "ES256"),
    (SignatureAlgorithm::Es384, "ES384"),
    (SignatureAlgorithm::EdDsa, "EdDSA"),
];

impl FromStr for SignatureAlgorithm {
    type Err = InvalidAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The name that RFC 9864 gives it.
        if text == "Ed25519" {
            return Ok(Self::EdDsa);
        }
        ALGORITHMS.iter().find(|(_, name)| *name == text).map(|(algorithm, _)| *algorithm).ok_or(InvalidAlgorithm)
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALGORITHMS.iter().find(|(algorithm, _)| algorithm == self).map_or("", |(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_is_parsed_from_what_it_is_displayed_as() {
        for (algorithm, name) in ALGORITHMS {
            assert_eq!((name.parse(), algorithm.to_string().as_str()), (Ok(algorithm), name));
        }
        assert_eq!("Ed25519".parse(), Ok(SignatureAlgorithm::EdDsa));
        for other in ["", "none", "HS256", "es256", "ES512"] {
            assert_eq!(other.parse::<SignatureAlgorithm>(), Err(InvalidAlgorithm));
        }
    }
}
