//! What a writ says of its user's login, for policies.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{Group, ProviderName, is_deceptive, shown, text_form};

/// What the authority states for policies, in the authority block: nobody else can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFacts {
    /// The version of the tenant's policy set that it was minted under; 0 for the built-in one.
    pub version: u64,
    /// Those of the user's groups that policies ask for.
    pub groups: Vec<Group>,
    /// What the identity provider said of the user's login; no name twice.
    pub claims: Vec<Claim>,
}

/// A claim that an identity provider made of the user, as the authority took it over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// Its name in policies: `context.session.<name>`.
    pub name: ClaimName,
    /// Its value.
    pub value: ClaimValue,
}

/// The value of a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClaimValue {
    /// A boolean.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    String(Box<str>),
    /// Texts, each once, sorted; at least one.
    Strings(Vec<Box<str>>),
}

/// The name of a claim: 1 to 64 of letters, digits, `_`, `-`, `.`, `:` and `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimName(Box<str>);

/// A text that is no claim's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a claim's name: use 1 to 64 letters, digits, `_`, `-`, `.`, `:` and `/`")]
pub struct InvalidClaimName(String);

/// The most claims in a writ, each text of a list counted.
pub const CLAIMS_MAX: usize = 16;
/// The name under which a writ says which identity provider vouched for its user.
pub const PROVIDER_CLAIM: &str = "provider";
/// The most groups in a writ.
pub const GROUPS_MAX: usize = 16;
/// The longest text of a claim in bytes.
pub const CLAIM_BYTES_MAX: usize = 256;

impl ClaimName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ClaimValue {
    /// The texts as a value: sorted, each once.
    pub fn strings(mut texts: Vec<Box<str>>) -> Self {
        texts.sort_unstable();
        texts.dedup();
        Self::Strings(texts)
    }

    /// The claim that names the identity provider.
    pub fn provider(name: &ProviderName) -> Claim {
        Claim { name: ClaimName(PROVIDER_CLAIM.into()), value: Self::String(name.as_str().into()) }
    }

    /// How many facts of a writ it takes.
    pub const fn facts(&self) -> usize {
        match self {
            Self::Strings(texts) => texts.len(),
            Self::Boolean(_) | Self::Integer(_) | Self::String(_) => 1,
        }
    }

    /// Whether a text may be a claim's, or one of its texts.
    pub fn is_text(text: &str) -> bool {
        text.len() <= CLAIM_BYTES_MAX && !text.chars().any(is_deceptive)
    }
}

impl FromStr for ClaimName {
    type Err = InvalidClaimName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':' | b'/');
        if (1..=64).contains(&text.len()) && text.bytes().all(named) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidClaimName(shown(text)))
        }
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(ClaimName);
