//! Which key an agent is known by, and how it gets another one.

use std::time::Duration;

use serde_json::json;

use crate::audit::Actor;
use crate::authority::assertion::Assertion;
use crate::authority::receipt::ReceiptText;
use crate::authority::{Authority, AuthorityError, change_with};
use crate::clock::Timestamp;
use crate::id::{AgentName, OperatorName, TenantName};
use crate::key::{PublicKey, sha256};
use crate::store::{Agent, KeyBefore, KeyRotation, Rotated, StoreError};
use crate::token::chain::ProofCovers;
use crate::token::proof::{self, NonceRule, ProvenRequest};

/// For how long the key before may go on counting.
pub const OVERLAP_MAX: Duration = Duration::from_secs(7 * 86_400);

/// What an operator wants to become of the key before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It counts for so long.
    For(Duration),
    /// It ends now, and every chain that holds it dies.
    Revoked,
}

/// What came of a rotation.
#[derive(Debug)]
pub enum KeyChanged {
    /// The agent, once for each key that counts.
    Overlapping(Vec<Agent>),
    /// No edge serves a chain with the key before.
    Receipt(ReceiptText),
}

impl Authority {
    /// The key by which an agent signed an assertion that does not say so: its present one, or one before it that still counts.
    pub(super) async fn key_that_signed(
        &self,
        assertion: &Assertion,
        now: Timestamp,
    ) -> Result<Option<PublicKey>, StoreError> {
        let keys = self.store.agent_keys(&assertion.tenant, &assertion.agent).await?;
        let mut keys = keys.into_iter().filter(|agent| agent.key_counts(now)).filter_map(|agent| agent.key);
        Ok(keys.find(|key| assertion.is_by(key)))
    }

    /// Gives an agent another key.
    pub async fn rotate_agent_key(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        name: &AgentName,
        to: PublicKey,
        overlap: Overlap,
    ) -> Result<KeyChanged, AuthorityError> {
        self.rotate(Actor::Operator(by.clone()), tenant, name, to, None, overlap).await
    }

    /// Gives the agent that proved `from` another key, which `proof` proves: for the same URL, and over the text of the key before,
    /// so that it is of use to nobody else.
    pub async fn rotate_own_key(
        &self,
        path: &str,
        from: PublicKey,
        to: PublicKey,
        proof: &str,
        overlap: Duration,
    ) -> Result<Vec<Agent>, AuthorityError> {
        let url = format!("{}{path}", self.issuer());
        let body_sha256 = Some(sha256(from.to_string().as_bytes()));
        let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256 };
        let covers = ProofCovers { query: false, body: true };
        proof::check(proof, Some(&to), &request, None, covers, NonceRule::Optional, self.now())?;
        let agent = self.store.agent_by_key(&from).await?.ok_or(AuthorityError::UnknownAgentKey)?;
        let by = Actor::Agent(agent.name.clone());
        match self.rotate(by, &agent.tenant, &agent.name, to, Some(from), Overlap::For(overlap)).await? {
            KeyChanged::Overlapping(keys) => Ok(keys),
            KeyChanged::Receipt(_) => Ok(Vec::new()),
        }
    }

    async fn rotate(
        &self,
        by: Actor,
        tenant: &TenantName,
        name: &AgentName,
        to: PublicKey,
        from: Option<PublicKey>,
        overlap: Overlap,
    ) -> Result<KeyChanged, AuthorityError> {
        let at = self.now();
        let before = match overlap {
            Overlap::For(overlap) if overlap > OVERLAP_MAX => {
                let message = format!("`overlap_s` must be at most {}", OVERLAP_MAX.as_secs());
                return Err(AuthorityError::Malformed(message));
            }
            Overlap::For(overlap) => KeyBefore::CountsUntil(at.after(overlap)),
            Overlap::Revoked => KeyBefore::Revoked { forget_after: self.forget_after() },
        };
        let until = match before {
            KeyBefore::CountsUntil(until) => Some(until),
            KeyBefore::Revoked { .. } => None,
        };
        let detail = json!({ "key": to, "before_until": until, "revoked": until.is_none() });
        let event = change_with(by, "agent.rotate", name, Some(tenant), detail);
        let rotation = KeyRotation { tenant: tenant.clone(), name: name.clone(), to, from, before, at };
        match self.store.rotate_agent_key(&rotation, &event).await? {
            Rotated::Done(Some(entry)) => Ok(KeyChanged::Receipt(self.receipt_for(&entry).await?)),
            Rotated::Done(None) | Rotated::Already => Ok(KeyChanged::Overlapping(self.agent(tenant, name).await?.0)),
            Rotated::Stale => Err(AuthorityError::UnknownAgentKey),
            Rotated::Disabled => Err(AuthorityError::Disabled(name.clone())),
        }
    }

    /// Writes down when agents were seen here lately.
    pub(super) async fn note_agents_seen(&self) -> Result<(), AuthorityError> {
        let seen = self.seen.agents_to_note(self.clock.monotonic());
        if seen.is_empty() { Ok(()) } else { Ok(self.store.note_agents_seen(&seen).await?) }
    }
}
