//! Agents, what they were granted, and what was issued to them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId, GrantId, Note, ServiceName, Subject, TenantName};
use crate::key::PublicKey;
use crate::policy::Grant;
use crate::revocation::Entry;
use crate::store::StoreError;

/// A registered agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The tenant it belongs to.
    pub tenant: TenantName,
    /// Its name, unique in the tenant.
    pub name: AgentName,
    /// Its public key, unique in the installation; `None` for one that is known by its workloads alone. Where an agent is found by
    /// a key that was replaced, that key.
    pub key: Option<PublicKey>,
    /// The last moment that this key counts, if it was replaced.
    pub key_until: Option<Timestamp>,
    /// Whether it may be issued writs.
    pub status: AgentStatus,
    /// When it was registered.
    pub created: Timestamp,
    /// Who answers for it.
    pub owner: Option<Note>,
    /// What it is for.
    pub purpose: Option<Note>,
}

impl Agent {
    /// Whether [`Self::key`] counts.
    pub fn key_counts(&self, now: Timestamp) -> bool {
        self.key_until.is_none_or(|until| now <= until)
    }
}

/// Whether an agent may be issued writs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// It may.
    Active,
    /// It may not, and what it had was revoked.
    Disabled,
}

/// What is known about an agent at one moment of the revocation log: everything an issuance decides on.
#[derive(Clone, Debug)]
pub struct IssueContext {
    /// The agent.
    pub agent: Agent,
    /// Its grants.
    pub grants: Vec<Grant>,
    /// The log's head: the writ's epoch.
    pub epoch: u64,
    /// The catalog's version.
    pub catalog_version: u64,
    /// Whether the user that was asked about is suspended.
    pub suspended: bool,
    /// Whether everything is stopped.
    pub stopped: bool,
}

/// What is kept of an issued writ: enough to find and revoke it, never the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedWrit {
    /// The id of its authority block.
    pub id: BlockId,
    /// The tenant.
    pub tenant: TenantName,
    /// The agent.
    pub agent: AgentName,
    /// The user it acts for, if any.
    pub subject: Option<Subject>,
    /// The identity-provider session it was minted in, if any.
    pub session: Option<Subject>,
    /// The grants it was minted under.
    pub grants: Vec<GrantId>,
    /// When it was minted.
    pub issued: Timestamp,
    /// The last moment it is valid.
    pub expires: Timestamp,
    /// The log's head when it was minted.
    pub epoch: u64,
    /// The key it was minted for; `None` for a bearer writ, or where that was not kept.
    pub holder: Option<PublicKey>,
    /// The services at which it has a capability; `None` where that was not kept.
    pub services: Option<Vec<ServiceName>>,
}

/// A single-use identifier (an assertion's `jti`, a proof's id) by its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleUse {
    /// The digest.
    pub id: [u8; 32],
    /// The last moment that it counts as used.
    pub until: Timestamp,
}

/// What became of a writ that was to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Recorded {
    /// It is recorded.
    Yes,
    /// It is not: the identifier at this place of those that it was to use up was used before.
    UsedBefore(usize),
}

/// Agents, grants and issuance.
#[async_trait]
pub trait Agents: Send + Sync {
    /// Registers an agent. A name that exists, in whatever status, and a key that any agent has or ever had, is a conflict.
    async fn register_agent(&self, agent: &Agent, event: &Change) -> Result<(), StoreError>;

    /// A tenant's agents by name.
    async fn agents(&self, tenant: &TenantName) -> Result<Vec<Agent>, StoreError>;

    /// The agent that has this key, or ever had it, in whatever status.
    async fn agent_by_key(&self, key: &PublicKey) -> Result<Option<Agent>, StoreError>;

    /// Disables an agent and revokes what it was issued, in one transaction. Twice is not an error: the entry is the first one's.
    async fn disable_agent(
        &self,
        tenant: &TenantName,
        name: &AgentName,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Entry, StoreError>;

    /// Lets a disabled agent be issued writs again. What was revoked stays revoked. Of one that is active nothing changes, and no
    /// record is left.
    async fn enable_agent(
        &self,
        tenant: &TenantName,
        name: &AgentName,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError>;

    /// Replaces what is written beside an agent.
    async fn describe_agent(
        &self,
        tenant: &TenantName,
        name: &AgentName,
        owner: Option<&Note>,
        purpose: Option<&Note>,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError>;

    /// Adds a grant to an agent that exists.
    async fn add_grant(&self, grant: &Grant, at: Timestamp, event: &Change) -> Result<(), StoreError>;

    /// A tenant's grants, oldest first; of one agent if named.
    async fn grants(&self, tenant: &TenantName, agent: Option<&AgentName>) -> Result<Vec<Grant>, StoreError>;

    /// Removes a grant and revokes what was minted under it, in one transaction.
    async fn remove_grant(
        &self,
        tenant: &TenantName,
        id: GrantId,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Entry, StoreError>;

    /// The agent with this key, its grants, the log's head, the catalog's version, and whether a stop or the suspension of
    /// `subject` forbids to issue, all of one moment. `NotFound` if no agent has the key, or ever had it. Those who ask at the
    /// same time share a read that began after they asked, and none fails for what is found for another.
    async fn issue_context(&self, key: &PublicKey, subject: Option<&Subject>) -> Result<IssueContext, StoreError>;

    /// Uses up single-use identifiers and records an issued writ, unless one of them was used before: then the others are used
    /// up and nothing is recorded. Those that come at the same time share a transaction, and none fails for what another says.
    async fn record_issued(
        &self,
        writ: &IssuedWrit,
        uses: &[SingleUse],
        event: &Change,
    ) -> Result<Recorded, StoreError>;

    /// The issued writ with this id, if it is known.
    async fn issued(&self, id: BlockId) -> Result<Option<IssuedWrit>, StoreError>;

    /// Uses up a single-use identifier until it expires: true the first time. Identifiers whose time is over at `at` may be
    /// dropped.
    async fn use_once(&self, id: &[u8; 32], until: Timestamp, at: Timestamp) -> Result<bool, StoreError>;
}
