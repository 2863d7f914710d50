//! Agents and their grants: who may be issued what.

use serde_json::json;

use crate::audit::Actor;
use crate::authority::receipt::ReceiptText;
use crate::authority::{Authority, AuthorityError, change_with, random};
use crate::id::{AgentName, GrantId, OperatorName, TenantName};
use crate::key::PublicKey;
use crate::policy::{Grant, GrantSubject};
use crate::store::{Agent, AgentStatus};
use crate::token::Capability;
use crate::token::chain::ProofCovers;

/// The deepest delegation that a grant may allow: what fits into a token beside its authority block.
pub const DEPTH_MAX: u8 = 5;

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

impl Authority {
    /// Registers an agent by its public key.
    pub async fn register_agent(
        &self,
        by: &OperatorName,
        tenant: TenantName,
        name: AgentName,
        key: PublicKey,
    ) -> Result<Agent, AuthorityError> {
        let agent = Agent { tenant, name, key, status: AgentStatus::Active, created: self.now() };
        let event = change_with(
            Actor::Operator(by.clone()),
            "agent.register",
            &agent.name,
            Some(&agent.tenant),
            json!({ "key": key }),
        );
        self.store.register_agent(&agent, &event).await?;
        Ok(agent)
    }

    /// A tenant's agents by name.
    pub async fn agents(&self, tenant: &TenantName) -> Result<Vec<Agent>, AuthorityError> {
        Ok(self.store.agents(tenant).await?)
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
        let malformed = |message: String| Err(AuthorityError::Malformed(message));
        let most = self.limits.capabilities_max;
        if !(1..=most).contains(&new.capabilities.len()) {
            return malformed(format!("`capabilities` must hold 1 to {most} of them"));
        }
        if !(1..=Grant::TTL_S_MAX).contains(&new.ttl_s_max) {
            return malformed(format!("`ttl_s_max` must be between 1 and {}", Grant::TTL_S_MAX));
        }
        if new.to.subject.is_some() && new.to.group.is_some() {
            return malformed("give `subject` or `group`, not both".into());
        }
        if new.depth_max > DEPTH_MAX {
            return malformed(format!("`depth_max` must be between 0 and {DEPTH_MAX}"));
        }
        let NewGrant { to, capabilities, ttl_s_max, depth_max, bearer, proof_covers } = new;
        let id = GrantId::from_bytes(random()?);
        let grant = Grant { id, tenant, to, capabilities, ttl_s_max, depth_max, bearer, proof_covers };
        let detail = json!({
            "agent": grant.to.agent,
            "subject": grant.to.subject,
            "group": grant.to.group,
            "capabilities": grant.capabilities,
            "ttl_s_max": ttl_s_max,
            "depth_max": depth_max,
            "bearer": bearer,
        });
        let event = change_with(Actor::Operator(by.clone()), "grant.add", id, Some(&grant.tenant), detail);
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
