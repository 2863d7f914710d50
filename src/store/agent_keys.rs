//! The keys of agents over time, and when agents were last seen.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, TenantName};
use crate::key::PublicKey;
use crate::revocation::Entry;
use crate::store::{Agent, StoreError};

/// A new key for an agent.
#[derive(Clone, Debug)]
pub struct KeyRotation {
    /// The tenant.
    pub tenant: TenantName,
    /// The agent.
    pub name: AgentName,
    /// The new key.
    pub to: PublicKey,
    /// The key that it must have, where the agent itself asks.
    pub from: Option<PublicKey>,
    /// What becomes of the key before.
    pub before: KeyBefore,
    /// When.
    pub at: Timestamp,
}

/// What becomes of a key that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyBefore {
    /// It counts until then.
    CountsUntil(Timestamp),
    /// It counts no longer, nor does any before it, and every chain with one of them dies.
    Revoked {
        /// The last moment that anything of them could be valid.
        forget_after: Timestamp,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The agent has the new key. With the last entry of the revocation log that was appended, if one was.
    Done(Option<Box<Entry>>),
    /// It had that key already; nothing changed.
    Already,
    /// It has another key than it was said to have; nothing changed.
    Stale,
    /// It is disabled, and cannot ask for itself; nothing changed.
    Disabled,
}

/// Keys of agents.
#[async_trait]
pub trait AgentKeys: Send + Sync {
    /// The agent once for each key that it has or ever had: the present one first, then the one that counts longest.
    async fn agent_keys(&self, tenant: &TenantName, name: &AgentName) -> Result<Vec<Agent>, StoreError>;

    /// Replaces an agent's key. A key that any agent has or ever had is a conflict.
    async fn rotate_agent_key(&self, rotation: &KeyRotation, event: &Change) -> Result<Rotated, StoreError>;

    /// Notes when agents proved who they are, each at most once; the latest stays. Leaves no audit record.
    async fn note_agents_seen(&self, seen: &[(TenantName, AgentName, Timestamp)]) -> Result<(), StoreError>;

    /// When a tenant's agents were last seen, by name; those that never were are left out.
    async fn agents_seen(&self, tenant: &TenantName) -> Result<Vec<(AgentName, Timestamp)>, StoreError>;
}
