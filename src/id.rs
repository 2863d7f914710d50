//! Names people choose and ids machines draw. Each exists only if it parsed, and has one text form.

use std::fmt;
use std::str::FromStr;

use crate::small::Text;

/// A text that is not a name: says which kind of name and what a name looks like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}: use 1 to 64 of a-z, 0-9, `-`, `_` and `.`, beginning with a letter or digit")]
pub struct InvalidName {
    kind: &'static str,
    text: String,
}

/// A text that is not an id: 32 hexadecimal digits were expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {0}: expected 32 lower-case hexadecimal digits")]
pub struct InvalidId(&'static str);

const NAME_BYTES_MAX: usize = 64;

fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    bytes.len() <= NAME_BYTES_MAX
        && bytes.first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && bytes.iter().all(|b| inner(*b))
}

/// What an error may echo of a text that was refused: short, and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

macro_rules! text_form {
    ($type:ident) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_form;

/// Bytes as lower-case hexadecimal digits.
pub(crate) struct Hex<'b>(pub(crate) &'b [u8]);

impl Hex<'_> {
    /// Appends the digits.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.resize(begin + 2 * self.0.len(), b'0');
        // There is room for exactly the digits, so it does not fail.
        let _ = hex::encode_to_slice(self.0, &mut out[begin..]);
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for bytes in self.0.chunks(32) {
            let digits = &mut [0; 64][..2 * bytes.len()];
            hex::encode_to_slice(bytes, digits).map_err(|_| fmt::Error)?;
            f.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $type:ident, $kind:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 1 to 64 of `a-z`, `0-9`, `-`, `_` and `.`, beginning with a letter or digit.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Text);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(InvalidName { kind: $kind, text: shown(text) }) }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        text_form!($type);
    )*};
}

macro_rules! ids {
    ($($(#[$doc:meta])* $type:ident, $kind:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 16 random bytes, shown as 32 lower-case hexadecimal digits. Public: safe to log and to index.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type([u8; 16]);

        impl $type {
            /// An id from 16 bytes that the caller drew at random, or read back.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 16];
                // One text form: the decoder would take upper case too.
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(InvalidId($kind));
                }
                hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidId($kind))?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&Hex(&self.0), f)
            }
        }

        text_form!($type);
    )*};
}

names! {
    /// An isolated customer or department: its agents, services and secrets are invisible to others.
    TenantName, "a tenant name";
    /// A registered agent.
    AgentName, "an agent name";
    /// An upstream service of the catalog; the first part of a capability and the first path segment at the edge.
    ServiceName, "a service name";
    /// A vaulted downstream credential.
    CredentialName, "a credential name";
    /// One edge process.
    EdgeName, "an edge name";
    /// A set of edges that share an audience; a writ is minted for one.
    AudienceName, "an audience name";
    /// A service that asks the authority whether writs are active.
    RelyingName, "a relying service's name";
    /// An identity provider, as the settings call it.
    ProviderName, "an identity provider's name";
    /// A policy of a tenant's set: its `@id`.
    PolicyName, "a policy's `@id`";
    /// A limit of a tenant's policy set.
    LimitName, "a limit's name";
}

/// A person or machine that administers the authority: a name that an operator gave, or `<provider>:<user>` for somebody whom
/// an identity provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorName(Box<str>);

impl OperatorName {
    /// The name of a user of `provider`.
    pub fn signed_in(provider: &ProviderName, user: &Subject) -> Self {
        Self(format!("{provider}:{user}").into())
    }

    /// Whether it is a user of an identity provider; no operator is given such a name.
    pub fn is_signed_in(&self) -> bool {
        self.0.contains(':')
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OperatorName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = match text.split_once(':') {
            None => is_name(text),
            Some((provider, user)) => is_name(provider) && user.parse::<Subject>().is_ok(),
        };
        if fits { Ok(Self(text.into())) } else { Err(InvalidName { kind: "an operator name", text: shown(text) }) }
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(OperatorName);

ids! {
    /// Names one block of one writ, from inside its signed payload. Revoking it kills that block and all that was derived from it.
    BlockId, "a block id";
    /// Names one grant.
    GrantId, "a grant id";
    /// Names one session of an operator. Not its secret.
    SessionId, "a session id";
    /// Names one code with which agents register themselves. Not the code.
    EnrolmentId, "an enrolment code's id";
    /// Names one request at the edge: the audit record, the denial and the response header carry it.
    RequestId, "a request id";
    /// Names a user or a group of a directory, for the client that provisions it.
    ResourceId, "a resource id";
    /// Names one request that waits for a person's approval. Worth nothing without the writ that asked.
    ApprovalId, "an approval's handle";
    /// Names one run of an edge, from its start to its end.
    ProcessId, "the id of an edge's run";
    /// Names the secret of a client that provisions a directory. Not the secret.
    ScimTokenId, "a SCIM token's id";
}

impl TenantName {
    /// The tenant of whatever names none.
    pub const DEFAULT: &str = "default";
}

impl Default for TenantName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

macro_rules! foreign_names {
    ($($(#[$doc:meta])* $type:ident, $error:ident, $kind:literal, $max:literal;)*) => {$(
        $(#[$doc])*
        ///
        #[doc = concat!("1 to ", $max, " bytes without control characters, bidirectional marks or invisible characters.")]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Text);

        #[doc = concat!("A text that is not ", $kind, ".")]
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[error("not {}: use 1 to {} bytes without control characters", $kind, $max)]
        pub struct $error;

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if text.is_empty() || text.len() > $max || text.chars().any(is_deceptive) {
                    return Err($error);
                }
                Ok(Self(text.into()))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        text_form!($type);
    )*};
}

foreign_names! {
    /// A user, as the identity provider names them (`sub`), or a session of theirs (`sid`).
    Subject, InvalidSubject, "a subject", 255;
    /// A group of users, as the identity provider names it.
    Group, InvalidGroup, "a group", 255;
    /// What an operator writes beside a thing: whose it is, what it is for.
    Note, InvalidNote, "a note", 255;
    /// A workload, as the platform that it runs on names it (`sub`). Never a user.
    WorkloadSubject, InvalidWorkloadSubject, "a workload's `sub`", 1024;
}

/// Control characters, and the format characters that reorder or hide text on a terminal or a page.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_deceive_are_refused() {
        for text in ["", "A", "-a", ".a", "a/b", "a:b", "a\n", "ä", &"a".repeat(65), "../x"] {
            assert!(text.parse::<AgentName>().is_err(), "{text:?}");
        }
        assert!("\u{202e}mallory".parse::<Subject>().is_err());
        assert!("a\u{1b}[2J".parse::<Subject>().is_err());
    }

    #[test]
    fn an_operator_has_a_name_of_its_own_or_is_a_user_of_a_provider() {
        let (provider, user) = ("corp".parse().unwrap(), "Alice:1@example.com".parse().unwrap());
        let signed_in = OperatorName::signed_in(&provider, &user);
        assert_eq!(signed_in.to_string().parse::<OperatorName>().unwrap(), signed_in);
        assert!(signed_in.is_signed_in() && !"alice".parse::<OperatorName>().unwrap().is_signed_in());
        for text in ["", "Alice", "corp:", ":alice", "Corp:alice", "corp:a\nb", "corp/x:alice"] {
            assert!(text.parse::<OperatorName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_id_has_one_text_form() {
        assert!("00000000000000000000000000000AAA".parse::<BlockId>().is_err());
        assert!("0000".parse::<BlockId>().is_err());
    }

    proptest! {
        #[test]
        fn names_round_trip(text in "[a-z0-9][a-z0-9._-]{0,63}") {
            prop_assert_eq!(text.parse::<ServiceName>().unwrap().to_string(), text);
        }

        #[test]
        fn ids_round_trip(bytes: [u8; 16]) {
            let id = GrantId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<GrantId>().unwrap(), id);
        }
    }
}
