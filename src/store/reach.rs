//! What a revocation would reach: the live writs that are known, and whose they are.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::id::{AgentName, ServiceName, Subject, TenantName};
use crate::revocation::Target;
use crate::store::StoreError;

/// How many agents and how many users are named, those with the most writs first.
pub const NAMED_MAX: u32 = 20;

/// Issued writs that are valid, not revoked, and would be killed or kept from a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Whether anything with that name or id was ever seen: issued, granted, registered, revoked, or shown to an edge.
    pub known: bool,
    /// How many writs.
    pub writs: u64,
    /// Of how many agents.
    pub agents: u64,
    /// For how many users.
    pub users: u64,
    /// At most [`NAMED_MAX`] of the agents, with how many of the writs each.
    pub top_agents: Vec<(TenantName, AgentName, u64)>,
    /// At most [`NAMED_MAX`] of the users, with how many of the writs each.
    pub top_users: Vec<(TenantName, Subject, u64)>,
    /// The services they have a capability at, with how many of the writs each.
    pub services: Vec<(TenantName, ServiceName, u64)>,
    /// How many valid writs there are of which holder, session and services are not known, because an older version of
    /// writ issued them: some of them may belong to the above.
    pub unknown: u64,
}

/// What a revocation would reach.
#[async_trait]
pub trait Reaching: Send + Sync {
    /// What an entry for `target` would reach at `at`. `services` are those that take the credential, where a credential is
    /// the target. Hops that were made offline are not known here.
    async fn reach(&self, target: &Target, services: &[ServiceName], at: Timestamp) -> Result<Reach, StoreError>;
}
