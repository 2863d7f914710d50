//! What may be issued: a grant says which agent may be given which capabilities, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{AgentName, GrantId, Group, Subject, TenantName};
use crate::token::Capability;
use crate::token::chain::ProofCovers;

/// An operator's decision that an agent may be given capabilities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Names the grant.
    pub id: GrantId,
    /// The tenant of the agent and the services.
    pub tenant: TenantName,
    /// Who may be given it.
    pub to: GrantSubject,
    /// What may be given: these, or less.
    pub capabilities: Vec<Capability>,
    /// The longest life of a writ, in seconds; 1 to [`Grant::TTL_S_MAX`].
    pub ttl_s_max: u32,
    /// How many hops a writ may be delegated.
    pub depth_max: u8,
    /// Whether a writ may be minted without a key to prove. Dangerous: whoever sees it can use it.
    pub bearer: bool,
    /// What each proof must cover beyond RFC 9449.
    pub proof_covers: ProofCovers,
}

/// Who may be given a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantSubject {
    /// The agent.
    pub agent: AgentName,
    /// The user it acts for; `None` when it acts for itself, or for a group's users.
    pub subject: Option<Subject>,
    /// The group for whose users it acts, each of them; never beside a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

impl GrantSubject {
    /// Whether it is for a user who is in `groups`. A grant for the agent itself is not.
    pub fn is_for(&self, user: &Subject, groups: &[Group]) -> bool {
        match (&self.subject, &self.group) {
            (Some(subject), None) => subject == user,
            (None, Some(group)) => groups.contains(group),
            // Of both it would not be clear whether either suffices.
            (None, None) | (Some(_), Some(_)) => false,
        }
    }
}

/// What a writ is minted with once the grants allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuance {
    /// The capabilities asked for, each allowed by a grant.
    pub capabilities: Vec<Capability>,
    /// The grants that allowed them.
    pub grants: Vec<GrantId>,
    /// How long it may live: the least of what was asked and what the grants say.
    pub ttl: Duration,
    /// The least of the grants' depths.
    pub depth_max: u8,
    /// What any of the grants demands.
    pub proof_covers: ProofCovers,
}

/// Why nothing is issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuanceDenied {
    /// No grant allows a capability that was asked for.
    #[error(
        "no grant gives agent `{agent}` the capability `{capability}`: an operator can add one with `writ grant add`"
    )]
    NotGranted {
        /// Who asked.
        agent: AgentName,
        /// For what.
        capability: Capability,
    },
    /// Without a key to prove, and the grants do not allow bearer writs.
    #[error("the grants demand a key: send a `DPoP` header with the token request")]
    BearerNotGranted,
    /// Nothing was asked for.
    #[error("ask for at least one capability in `scope`")]
    NothingAsked,
}

impl Grant {
    /// The longest life any grant may give, in seconds: one day.
    pub const TTL_S_MAX: u32 = 86_400;
    /// The life of a writ where nobody asks for less, in seconds.
    pub const TTL_S_DEFAULT: u32 = 900;

    /// Decides what may be issued of `asked`, under `grants` (all of them this agent's), with a key (`bound`) or without.
    pub fn issue(
        agent: &AgentName,
        grants: &[Self],
        asked: &[Capability],
        ttl_asked: Option<Duration>,
        bound: bool,
    ) -> Result<Issuance, IssuanceDenied> {
        if asked.is_empty() {
            return Err(IssuanceDenied::NothingAsked);
        }
        let mut used: Vec<&Self> = Vec::new();
        for capability in asked {
            let mut covering = grants.iter().filter(|g| g.capabilities.iter().any(|held| held.covers(capability)));
            let mut any = false;
            let chosen = covering.find(|grant| {
                any = true;
                bound || grant.bearer
            });
            match chosen {
                Some(grant) if used.iter().any(|known| known.id == grant.id) => {}
                Some(grant) => used.push(grant),
                None if any => return Err(IssuanceDenied::BearerNotGranted),
                None => {
                    return Err(IssuanceDenied::NotGranted { agent: agent.clone(), capability: capability.clone() });
                }
            }
        }
        let ttl_s_max = used.iter().map(|grant| grant.ttl_s_max).fold(Self::TTL_S_MAX, u32::min);
        let ttl_s = u64::from(ttl_s_max.min(Self::TTL_S_DEFAULT.max(1)));
        Ok(Issuance {
            capabilities: asked.to_vec(),
            grants: used.iter().map(|grant| grant.id).collect(),
            ttl: ttl_asked
                .map_or(Duration::from_secs(ttl_s), |asked| asked.min(Duration::from_secs(u64::from(ttl_s_max)))),
            depth_max: used.iter().map(|grant| grant.depth_max).fold(u8::MAX, u8::min),
            proof_covers: ProofCovers {
                query: used.iter().any(|grant| grant.proof_covers.query),
                body: used.iter().any(|grant| grant.proof_covers.body),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(id: u8, capability: &str, ttl_s_max: u32, bearer: bool) -> Grant {
        Grant {
            id: GrantId::from_bytes([id; 16]),
            tenant: "t".parse().unwrap(),
            to: GrantSubject { agent: "a".parse().unwrap(), subject: None, group: None },
            capabilities: vec![capability.parse().unwrap()],
            ttl_s_max,
            depth_max: id,
            bearer,
            proof_covers: ProofCovers { query: id == 1, body: false },
        }
    }

    fn issue(grants: &[Grant], asked: &[&str], ttl_s: Option<u64>, bound: bool) -> Result<Issuance, IssuanceDenied> {
        let asked: Vec<Capability> = asked.iter().map(|text| text.parse().unwrap()).collect();
        Grant::issue(&"a".parse().unwrap(), grants, &asked, ttl_s.map(Duration::from_secs), bound)
    }

    #[test]
    fn less_than_a_grant_may_be_issued_and_more_may_not() {
        let grants = [grant(1, "notes:read:team", 600, false)];
        assert!(issue(&grants, &["notes:read/all:team/a"], None, true).is_ok());
        for more in ["notes:/:team", "notes:read:/", "notes:write:team", "other:read:team", "notes:readx:team"] {
            assert!(matches!(issue(&grants, &[more], None, true), Err(IssuanceDenied::NotGranted { .. })), "{more}");
        }
        assert_eq!(issue(&grants, &[], None, true), Err(IssuanceDenied::NothingAsked));
    }

    #[test]
    fn a_writ_under_several_grants_gets_the_strictest_of_each_limit() {
        let grants = [grant(1, "notes:read:team", 600, false), grant(3, "mail:send:team", 300, false)];
        let issuance = issue(&grants, &["notes:read:team", "mail:send:team"], Some(10_000), true).unwrap();
        assert_eq!(issuance.ttl, Duration::from_secs(300));
        assert_eq!(issuance.depth_max, 1);
        assert!(issuance.proof_covers.query);
        assert_eq!(issuance.grants.len(), 2);
    }

    #[test]
    fn a_bearer_writ_needs_a_grant_that_says_so() {
        let bound_only = [grant(1, "notes:read:team", 600, false)];
        assert_eq!(issue(&bound_only, &["notes:read:team"], None, false), Err(IssuanceDenied::BearerNotGranted));
        let bearer = [bound_only[0].clone(), grant(2, "notes:read:team", 600, true)];
        assert_eq!(issue(&bearer, &["notes:read:team"], None, false).unwrap().grants, [bearer[1].id]);
    }

    #[test]
    fn a_grant_is_for_its_user_or_for_the_users_of_its_group() {
        let to = |subject: Option<&str>, group: Option<&str>| GrantSubject {
            agent: "a".parse().unwrap(),
            subject: subject.map(|text| text.parse().unwrap()),
            group: group.map(|text| text.parse().unwrap()),
        };
        let (alice, staff) = ("alice".parse().unwrap(), ["staff".parse().unwrap()]);
        assert!(to(Some("alice"), None).is_for(&alice, &[]));
        assert!(to(None, Some("staff")).is_for(&alice, &staff));
        for other in [to(Some("bob"), None), to(None, Some("boss")), to(None, None), to(Some("alice"), Some("staff"))] {
            assert!(!other.is_for(&alice, &staff), "{other:?}");
        }
        assert!(!to(None, Some("staff")).is_for(&alice, &[]));
    }
}
