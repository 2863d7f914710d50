//! Revoking: what an operator names becomes a target, the target an entry of the log, the entry a receipt.

use std::sync::Arc;

use serde_json::json;

use crate::audit::Actor;
use crate::authority::receipt::ReceiptText;
use crate::authority::{Authority, AuthorityError, FORGET_MARGIN, change_with};
use crate::clock::Timestamp;
use crate::id::{BlockId, OperatorName};
use crate::revocation::{Entry, Target};
use crate::store::{NewRevocation, StoreError};

/// The longest idempotency key and the longest reason, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// What an operator wants revoked.
#[derive(Debug)]
pub struct RevocationRequest {
    /// What it kills.
    pub what: Named,
    /// Why, for the audit log.
    pub reason: Option<String>,
    /// The client's own name for this request: sent again, it gets the same answer.
    pub idempotency_key: Option<String>,
    /// That the operator knows what ending everything means.
    pub confirm: bool,
}

/// How the operator names it.
#[derive(Debug)]
pub enum Named {
    /// By its target.
    Target(Target),
    /// By showing a token: its last holder's block, or the one named.
    Token {
        /// The token's text.
        token: String,
        /// One of its blocks; the last one if not named.
        block: Option<BlockId>,
    },
}

impl Authority {
    /// Revokes, and returns once no edge can serve it.
    pub async fn revoke(&self, by: &OperatorName, request: RevocationRequest) -> Result<ReceiptText, AuthorityError> {
        let (target, forget_after) = self.target(&request.what).await?;
        if target == Target::Everything && !request.confirm {
            return Err(AuthorityError::Unconfirmed);
        }
        let text = |text: &Option<String>, name: &str| match text {
            Some(text)
                if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(crate::id::is_deceptive) =>
            {
                Err(AuthorityError::Malformed(format!(
                    "`{name}` must be 1 to {TEXT_BYTES_MAX} bytes without control characters"
                )))
            }
            _ => Ok(()),
        };
        text(&request.reason, "reason")?;
        text(&request.idempotency_key, "idempotency_key")?;
        let Some(key) = &request.idempotency_key else {
            return self.revoke_target(by, target, forget_after, request.reason, None).await;
        };
        // An operator's keys are their own: nobody learns by a guessed key what another one revoked. A name that somebody was
        // given can't hold a slash, one of a provider's users can, and neither holds a line break.
        let key = if by.is_signed_in() { format!("{by}\n{key}") } else { format!("{by}/{key}") };
        self.revoke_target(by, target, forget_after, request.reason, Some(&key)).await
    }

    async fn revoke_target(
        &self,
        by: &OperatorName,
        target: Target,
        forget_after: Timestamp,
        reason: Option<String>,
        idempotency_key: Option<&str>,
    ) -> Result<ReceiptText, AuthorityError> {
        let tenant = match &target {
            Target::Subject(tenant, _)
            | Target::Session(tenant, _)
            | Target::Agent(tenant, _)
            | Target::Acting(tenant, ..)
            | Target::Service(tenant, _)
            | Target::Credential(tenant, _)
            | Target::Tenant(tenant) => Some(tenant.clone()),
            Target::Block(_) | Target::Holder(_) | Target::Grant(_) | Target::Everything => None,
        };
        let detail = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
        let event = change_with(Actor::Operator(by.clone()), "revocation.add", &target, tenant.as_ref(), detail);
        let revocation = NewRevocation {
            target: target.clone(),
            forget_after,
            at: self.now(),
            idempotency_key: idempotency_key.map(Into::into),
        };
        let entry = self.store.revoke(&revocation, &event).await?;
        if entry.target != target {
            return Err(AuthorityError::KeyReused(Box::new(entry.target)));
        }
        self.receipt_for(&entry).await
    }

    /// What is meant, and until when anything of it could be valid.
    pub(super) async fn target(&self, what: &Named) -> Result<(Target, Timestamp), AuthorityError> {
        match what {
            Named::Target(Target::Block(id)) => {
                let issued = self.store.issued(*id).await?;
                let forget_after = issued.map_or_else(|| self.forget_after(), |writ| writ.expires.after(FORGET_MARGIN));
                Ok((Target::Block(*id), forget_after))
            }
            // A version that was stored before has no end.
            Named::Target(target @ Target::Credential(..)) => Ok((target.clone(), Entry::FOREVER)),
            Named::Target(target) => Ok((target.clone(), self.forget_after())),
            Named::Token { token, block } => {
                // Expired tokens and retired root keys too: revoking what is over is not an error.
                let chain = self.witness(token).await?;
                let id = match block {
                    Some(block) if chain.block_ids().any(|id| id == *block) => *block,
                    Some(_) => {
                        let message = "`block` is not one of the token's blocks: `writ inspect` shows them";
                        return Err(AuthorityError::Malformed(message.into()));
                    }
                    None => chain.block_ids().last().unwrap_or(chain.authority().id),
                };
                // The whole chain's end would do; the authority block's is the later one and cannot be mistaken.
                Ok((Target::Block(id), chain.authority().expires.after(FORGET_MARGIN)))
            }
        }
    }

    /// The entry at `seq`.
    pub async fn revocation(&self, seq: u64) -> Result<Entry, AuthorityError> {
        let before = seq.checked_sub(1).ok_or(StoreError::NotFound("revocation"))?;
        let found = self.store.revocations_after(before, 1).await?;
        Ok(found.into_iter().find(|entry| entry.seq == seq).ok_or(StoreError::NotFound("revocation"))?)
    }

    /// Entries after `seq`, in order, and the log's head.
    pub async fn revocations(&self, after: u64, limit: u32) -> Result<(u64, Arc<[Entry]>), AuthorityError> {
        let head = self.store.revocation_head().await?;
        Ok((head, self.store.revocations_after(after, limit).await?.into()))
    }
}
