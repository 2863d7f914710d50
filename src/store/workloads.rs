//! Which workloads are which agents: known by the word of the platform that they run on, instead of a key.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, ProviderName, Subject, TenantName, WorkloadSubject};
use crate::key::PublicKey;
use crate::revocation::Entry;
use crate::store::{Agent, IssueContext, StoreError};

/// A workload that is an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentWorkload {
    /// Its issuer, as the settings call it.
    pub issuer: ProviderName,
    /// What the issuer calls it.
    pub subject: WorkloadSubject,
    /// The agent's tenant.
    pub tenant: TenantName,
    /// The agent.
    pub agent: AgentName,
    /// What else its tokens must say: claims and their exact texts.
    pub claims: BTreeMap<Box<str>, Box<str>>,
    /// When that was stated.
    pub created: Timestamp,
}

/// Workloads that are agents.
#[async_trait]
pub trait Workloads: Send + Sync {
    /// States that a workload is an agent that exists. A workload is one agent: a second statement is a conflict, the same one too.
    async fn add_workload(&self, workload: &AgentWorkload, event: &Change) -> Result<(), StoreError>;

    /// Registers an agent, as [`register_agent`](crate::store::Agents::register_agent) does, together with its first workload.
    async fn register_workload_agent(
        &self,
        agent: &Agent,
        workload: &AgentWorkload,
        event: &Change,
    ) -> Result<(), StoreError>;

    /// A tenant's workloads by agent, issuer and subject.
    async fn workloads(&self, tenant: &TenantName) -> Result<Vec<AgentWorkload>, StoreError>;

    /// Takes a workload from its agent and revokes what the agent was issued, in one transaction.
    async fn remove_workload(
        &self,
        workload: &AgentWorkload,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Entry, StoreError>;

    /// The workload that its issuer calls `subject`, with what [`issue_context`](crate::store::Agents::issue_context) says of its
    /// agent, all of one moment; `None` if it is nobody's.
    async fn workload_context(
        &self,
        issuer: &ProviderName,
        subject: &WorkloadSubject,
        user: Option<&Subject>,
    ) -> Result<Option<(AgentWorkload, IssueContext)>, StoreError>;

    /// Uses an identifier by `key`: true the first time, and every later time by the same key until the latest `until` that was
    /// given with it.
    async fn use_by_one(
        &self,
        id: &[u8; 32],
        key: &PublicKey,
        until: Timestamp,
        at: Timestamp,
    ) -> Result<bool, StoreError>;
}
