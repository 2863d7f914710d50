//! Agents and their grants: who may be issued what.

use std::collections::HashMap;

use serde_json::json;

use crate::audit::Actor;
use crate::authority::receipt::ReceiptText;
use crate::authority::{Authority, AuthorityError, change, change_with, random};
use crate::clock::Timestamp;
use crate::id::{AgentName, GrantId, Note, OperatorName, TenantName};
use crate::key::PublicKey;
use crate::policy::{Grant, GrantSubject};
use crate::store::{Agent, AgentStatus, StoreError};
use crate::token::Capability;
use crate::token::chain::ProofCovers;

/// The deepest delegation that a grant may allow: what fits into a token beside its authority block.
pub const DEPTH_MAX: u8 = 5;

/// An agent to be registered.
#[derive(Debug)]
pub struct NewAgent {
    /// Its name.
    pub name: AgentName,
    /// Its public key; none where it is known by a workload alone.
    pub key: Option<PublicKey>,
    /// Who answers for it.
    pub owner: Option<Note>,
    /// What it is for.
    pub purpose: Option<Note>,
}

impl NewAgent {
    pub(super) fn into_agent(self, tenant: TenantName, created: Timestamp) -> Agent {
        let Self { name, key, owner, purpose } = self;
        Agent { tenant, name, key, key_until: None, status: AgentStatus::Active, created, owner, purpose }
    }
}

/// What an operator states of a grant.
#[derive(Debug)]
pub struct NewGrant {
    /// Who may be given it.
    pub to: GrantSubject,
    /// What may be given: these, or less.
    pub capabilities: Vec<Capability>,
    /// The longest life of a writ, in seconds.
    pub ttl_s_max: u32,
    /// How many hops a writ may be delegated.
    pub depth_max: u8,
    /// Whether a writ may be minted without a key to prove.
    pub bearer: bool,
    /// What each proof must cover beyond RFC 9449.
    pub proof_covers: ProofCovers,
}

impl NewGrant {
    /// Refuses what no grant can be.
    pub(super) fn check(&self, most: usize) -> Result<(), AuthorityError> {
        let malformed = |message: String| Err(AuthorityError::Malformed(message));
        if !(1..=most).contains(&self.capabilities.len()) {
            return malformed(format!("`capabilities` must hold 1 to {most} of them"));
        }
        if !(1..=Grant::TTL_S_MAX).contains(&self.ttl_s_max) {
            return malformed(format!("`ttl_s_max` must be between 1 and {}", Grant::TTL_S_MAX));
        }
        if self.to.subject.is_some() && self.to.group.is_some() {
            return malformed("give `subject` or `group`, not both".into());
        }
        if self.depth_max > DEPTH_MAX {
            return malformed(format!("`depth_max` must be between 0 and {DEPTH_MAX}"));
        }
        Ok(())
    }

    pub(super) fn into_grant(self, tenant: TenantName, id: GrantId) -> Grant {
        let Self { to, capabilities, ttl_s_max, depth_max, bearer, proof_covers } = self;
        Grant { id, tenant, to, capabilities, ttl_s_max, depth_max, bearer, proof_covers }
    }
}

impl Authority {
    /// Registers an agent by its public key.
    pub async fn register_agent(
        &self,
        by: &OperatorName,
        tenant: TenantName,
        new: NewAgent,
    ) -> Result<Agent, AuthorityError> {
        let agent = new.into_agent(tenant, self.now());
        let detail = json!({ "key": agent.key, "owner": agent.owner, "purpose": agent.purpose });
        let event =
            change_with(Actor::Operator(by.clone()), "agent.register", &agent.name, Some(&agent.tenant), detail);
        self.store.register_agent(&agent, &event).await?;
        Ok(agent)
    }

    /// A tenant's agents by name, and when each was last seen: to the minute, and by this process to the moment.
    pub async fn agents(&self, tenant: &TenantName) -> Result<Vec<(Agent, Option<Timestamp>)>, AuthorityError> {
        let mut seen: HashMap<_, _> = self.store.agents_seen(tenant).await?.into_iter().collect();
        let agents = self.store.agents(tenant).await?;
        let with = |agent: Agent| {
            let here = self.seen.agent_seen(tenant, &agent.name);
            let seen = seen.remove(&agent.name).max(here);
            (agent, seen)
        };
        Ok(agents.into_iter().map(with).collect())
    }

    /// An agent, once for each key that counts, the present one first; and when it was last seen.
    pub async fn agent(
        &self,
        tenant: &TenantName,
        name: &AgentName,
    ) -> Result<(Vec<Agent>, Option<Timestamp>), AuthorityError> {
        let now = self.now();
        let mut keys = self.store.agent_keys(tenant, name).await?;
        keys.retain(|agent| agent.key_counts(now));
        if keys.is_empty() {
            return Err(StoreError::NotFound("agent").into());
        }
        let seen = self.store.agents_seen(tenant).await?.into_iter().find(|(agent, _)| agent == name);
        Ok((keys, seen.map(|(_, at)| at).max(self.seen.agent_seen(tenant, name))))
    }

    /// Replaces what is written beside an agent.
    pub async fn describe_agent(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        name: &AgentName,
        owner: Option<&Note>,
        purpose: Option<&Note>,
    ) -> Result<(), AuthorityError> {
        let detail = json!({ "owner": owner, "purpose": purpose });
        let event = change_with(Actor::Operator(by.clone()), "agent.describe", name, Some(tenant), detail);
        Ok(self.store.describe_agent(tenant, name, owner, purpose, self.now(), &event).await?)
    }

    /// Lets a disabled agent be issued writs again. Its old writs stay dead.
    pub async fn enable_agent(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        name: &AgentName,
    ) -> Result<(), AuthorityError> {
        let event = change(Actor::Operator(by.clone()), "agent.enable", name, Some(tenant));
        Ok(self.store.enable_agent(tenant, name, self.now(), &event).await?)
    }

    /// Disables an agent and revokes what it was issued. Returns once no edge serves it.
    pub async fn disable_agent(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        name: &AgentName,
    ) -> Result<ReceiptText, AuthorityError> {
        let event = change_with(Actor::Operator(by.clone()), "agent.disable", name, Some(tenant), json!({}));
        let entry = self.store.disable_agent(tenant, name, self.forget_after(), self.now(), &event).await?;
        self.receipt_for(&entry).await
    }

    /// Adds a grant to an agent that exists.
    pub async fn add_grant(
        &self,
        by: &OperatorName,
        tenant: TenantName,
        new: NewGrant,
    ) -> Result<Grant, AuthorityError> {
        new.check(self.limits.capabilities_max)?;
        let grant = new.into_grant(tenant, GrantId::from_bytes(random()?));
        let detail = json!({
            "agent": grant.to.agent,
            "subject": grant.to.subject,
            "group": grant.to.group,
            "capabilities": grant.capabilities,
            "ttl_s_max": grant.ttl_s_max,
            "depth_max": grant.depth_max,
            "bearer": grant.bearer,
        });
        let event = change_with(Actor::Operator(by.clone()), "grant.add", grant.id, Some(&grant.tenant), detail);
        self.store.add_grant(&grant, self.now(), &event).await?;
        Ok(grant)
    }

    /// A tenant's grants, oldest first; of one agent if named.
    pub async fn grants(&self, tenant: &TenantName, agent: Option<&AgentName>) -> Result<Vec<Grant>, AuthorityError> {
        Ok(self.store.grants(tenant, agent).await?)
    }

    /// Removes a grant and revokes what was minted under it. Returns once no edge serves it.
    pub async fn remove_grant(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        id: GrantId,
    ) -> Result<ReceiptText, AuthorityError> {
        let event = change_with(Actor::Operator(by.clone()), "grant.remove", id, Some(tenant), json!({}));
        let entry = self.store.remove_grant(tenant, id, self.forget_after(), self.now(), &event).await?;
        self.receipt_for(&entry).await
    }
}
