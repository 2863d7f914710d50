//! Codes with which agents register themselves.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, EnrolmentId, Note, OperatorName, TenantName};
use crate::policy::Grant;
use crate::store::{Agent, StoreError};
use crate::token::Capability;

/// A code, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentCode {
    /// Names it.
    pub id: EnrolmentId,
    /// The tenant of the agents.
    pub tenant: TenantName,
    /// How they are called.
    pub names: EnrolmentNames,
    /// Who answers for them.
    pub owner: Option<Note>,
    /// What they are for.
    pub purpose: Option<Note>,
    /// What each is granted at once.
    pub granted: Option<EnrolmentGrant>,
    /// How many agents can still register with it.
    pub uses_left: u32,
    /// The last moment that it can be used.
    pub expires: Timestamp,
    /// Who made it.
    pub by: OperatorName,
}

/// How an agent that registers itself may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolmentNames {
    /// Exactly so.
    Only(AgentName),
    /// As it likes, beginning with this.
    Beginning(AgentName),
}

/// What an agent is granted when it registers itself: for itself, never for a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentGrant {
    /// What may be given: these, or less.
    pub capabilities: Vec<Capability>,
    /// The longest life of a writ, in seconds.
    pub ttl_s_max: u32,
    /// How many hops a writ may be delegated.
    pub depth_max: u8,
}

/// Enrolment codes.
#[async_trait]
pub trait Enrolments: Send + Sync {
    /// Adds a code with the hash of its secret, and drops those that are over.
    async fn add_enrolment_code(
        &self,
        code: &EnrolmentCode,
        secret_sha256: &[u8; 32],
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError>;

    /// A tenant's codes that can be used at `at`, those that end first first.
    async fn enrolment_codes(&self, tenant: &TenantName, at: Timestamp) -> Result<Vec<EnrolmentCode>, StoreError>;

    /// The code with this secret, used up and expired ones included as long as they are kept.
    async fn enrolment_code(&self, secret_sha256: &[u8; 32]) -> Result<Option<EnrolmentCode>, StoreError>;

    /// Removes a code. `NotFound` if the tenant has none of that id.
    async fn remove_enrolment_code(
        &self,
        tenant: &TenantName,
        id: EnrolmentId,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError>;

    /// Registers an agent with a code, and its grant, in one transaction that uses the code once. False, and nothing changed, if
    /// it is used up, over or removed. A name or key that exists is a conflict, and leaves the code as it was.
    async fn enrol(
        &self,
        id: EnrolmentId,
        agent: &Agent,
        grant: Option<&Grant>,
        event: &Change,
    ) -> Result<bool, StoreError>;
}
