//! One line of the revocation log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId, CredentialName, GrantId, ServiceName, Subject, TenantName, text_form};
use crate::key::PublicKey;

/// What a revocation kills.
///
/// A block or a key kills for good. The others kill what is older than the entry (an `epoch` below its `seq`): a writ by when
/// it was minted, a credential by when its version was stored. What comes later, after a new decision, lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A block, and everything derived from it, known to us or not.
    Block(BlockId),
    /// A holder's key, wherever it stands in a chain.
    Holder(PublicKey),
    /// A user's writs.
    Subject(TenantName, Subject),
    /// The writs minted in a session at the identity provider.
    Session(TenantName, Subject),
    /// An agent's writs, and all that was delegated from them.
    Agent(TenantName, AgentName),
    /// An agent's writs for one user, and all that was delegated from them. The agent's others live, and so do the user's.
    Acting(TenantName, AgentName, Subject),
    /// The writs minted under a grant.
    Grant(GrantId),
    /// Every use of a service by an older writ, which lives on at other services. Looked at when the credential is used.
    Service(TenantName, ServiceName),
    /// Every older version of a credential, of each user who has their own: lent no more, and used by no edge that was
    /// lent it. Kills no writ.
    Credential(TenantName, CredentialName),
    /// Every writ of a tenant.
    Tenant(TenantName),
    /// Every writ.
    Everything,
}

/// A text that is not a revocation target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a revocation target: use `block:<id>`, `holder:<did:key>`, `subject:<tenant>/<sub>`, `session:<tenant>/<sid>`, \
     `agent:<tenant>/<name>`, `acting:<tenant>/<agent>/<sub>`, `grant:<id>`, `service:<tenant>/<name>`, `credential:<tenant>/<name>`, `tenant:<name>` or \
     `everything`"
)]
pub struct InvalidTarget;

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(id) => write!(f, "block:{id}"),
            Self::Holder(key) => write!(f, "holder:{key}"),
            Self::Subject(tenant, subject) => write!(f, "subject:{tenant}/{subject}"),
            Self::Session(tenant, session) => write!(f, "session:{tenant}/{session}"),
            Self::Agent(tenant, agent) => write!(f, "agent:{tenant}/{agent}"),
            Self::Acting(tenant, agent, subject) => write!(f, "acting:{tenant}/{agent}/{subject}"),
            Self::Grant(id) => write!(f, "grant:{id}"),
            Self::Service(tenant, service) => write!(f, "service:{tenant}/{service}"),
            Self::Credential(tenant, credential) => write!(f, "credential:{tenant}/{credential}"),
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Self::Everything => f.write_str("everything"),
        }
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "everything" {
            return Ok(Self::Everything);
        }
        let (kind, rest) = text.split_once(':').ok_or(InvalidTarget)?;
        let pair = || rest.split_once('/').ok_or(InvalidTarget);
        fn parse<T: FromStr>(text: &str) -> Result<T, InvalidTarget> {
            text.parse().map_err(|_| InvalidTarget)
        }
        match kind {
            "block" => Ok(Self::Block(parse(rest)?)),
            "holder" => Ok(Self::Holder(parse(rest)?)),
            "subject" => pair().and_then(|(tenant, sub)| Ok(Self::Subject(parse(tenant)?, parse(sub)?))),
            "session" => pair().and_then(|(tenant, sid)| Ok(Self::Session(parse(tenant)?, parse(sid)?))),
            "agent" => pair().and_then(|(tenant, agent)| Ok(Self::Agent(parse(tenant)?, parse(agent)?))),
            "acting" => {
                let (tenant, rest) = pair()?;
                let (agent, subject) = rest.split_once('/').ok_or(InvalidTarget)?;
                Ok(Self::Acting(parse(tenant)?, parse(agent)?, parse(subject)?))
            }
            "grant" => Ok(Self::Grant(parse(rest)?)),
            "service" => pair().and_then(|(tenant, name)| Ok(Self::Service(parse(tenant)?, parse(name)?))),
            "credential" => pair().and_then(|(tenant, name)| Ok(Self::Credential(parse(tenant)?, parse(name)?))),
            "tenant" => Ok(Self::Tenant(parse(rest)?)),
            _ => Err(InvalidTarget),
        }
    }
}

text_form!(Target);

/// One line of the revocation log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the log: commit order, without gaps, from 1.
    pub seq: u64,
    /// What it kills.
    pub target: Target,
    /// When it was committed, by the authority's wall clock.
    pub at: Timestamp,
    /// The last moment that anything it could kill is valid; the entry may be forgotten after it.
    pub forget_after: Timestamp,
}

impl Entry {
    /// The `forget_after` of an entry that is kept for good, because what it kills has no end: 9999-12-31T23:59:59Z.
    pub const FOREVER: Timestamp = Timestamp::from_secs(253_402_300_799);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;
    use proptest::prelude::*;

    #[test]
    fn an_unknown_kind_does_not_parse() {
        for text in
            ["", "block", "block:", "block:xyz", "agent:a", "acting:a/b", "planet:earth", "everything:", "Everything"]
        {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn targets_round_trip(id: [u8; 16], seed: [u8; 32], tenant in "[a-z]{1,8}", rest in "[a-z0-9/:@ ]{1,16}", agent in "[a-z]{1,8}") {
            let tenant: TenantName = tenant.parse().unwrap();
            for target in [
                Target::Block(BlockId::from_bytes(id)),
                Target::Holder(KeyPair::from_seed(&seed).public()),
                Target::Subject(tenant.clone(), rest.parse().unwrap()),
                Target::Session(tenant.clone(), rest.parse().unwrap()),
                Target::Agent(tenant.clone(), agent.parse().unwrap()),
                Target::Acting(tenant.clone(), agent.parse().unwrap(), rest.parse().unwrap()),
                Target::Grant(GrantId::from_bytes(id)),
                Target::Service(tenant.clone(), agent.parse().unwrap()),
                Target::Credential(tenant.clone(), agent.parse().unwrap()),
                Target::Tenant(tenant),
                Target::Everything,
            ] {
                prop_assert_eq!(target.to_string().parse::<Target>().unwrap(), target);
            }
        }
    }
}
