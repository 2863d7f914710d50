//! What users do for themselves: see and end what agents may do for them.

use serde_json::json;

use crate::audit::Actor;
use crate::authority::receipt::ReceiptText;
use crate::authority::{Authority, AuthorityError, FORGET_MARGIN, change_with};
use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId, TenantName};
use crate::identity::VerifiedIdentity;
use crate::revocation::Target;
use crate::store::{IssuedWrit, NewRevocation, StoreError};

/// The most writs that a user is shown at once.
const WRITS_MAX: u32 = 1000;

/// What of their own a user ends.
#[derive(Debug)]
pub enum Mine {
    /// Every writ that was issued for them.
    All,
    /// What one agent has for them.
    Agent(AgentName),
    /// One writ, or a hop of it, by showing the token.
    Token(String),
    /// One writ, by its id.
    Writ(BlockId),
}

impl Authority {
    /// The user of `tenant` who sends `token`: an ID token, or an access token for this authority.
    pub async fn user(&self, tenant: &TenantName, token: &str) -> Result<VerifiedIdentity, AuthorityError> {
        let kind = self.providers.kind(token);
        Ok(self.providers.verify(tenant, token, kind, self.now()).await?)
    }

    /// The live writs that were issued for a user, the latest first.
    pub async fn my_writs(&self, user: &VerifiedIdentity) -> Result<Vec<IssuedWrit>, AuthorityError> {
        Ok(self.store.issued_for(user.tenant(), user.subject(), self.now(), WRITS_MAX).await?)
    }

    /// Ends what is theirs, and returns once no edge serves it. Suspends nobody: they can log in again.
    pub async fn revoke_mine(&self, user: &VerifiedIdentity, what: Mine) -> Result<ReceiptText, AuthorityError> {
        self.seen.user_revokes(user.tenant(), user.subject(), self.clock.monotonic())?;
        let (tenant, subject) = (user.tenant().clone(), user.subject().clone());
        let (target, forget_after) = match what {
            Mine::All => (Target::Subject(tenant, subject), self.forget_after()),
            Mine::Agent(agent) => (Target::Acting(tenant, agent, subject), self.forget_after()),
            Mine::Writ(id) => {
                let issued = self.store.issued(id).await?;
                let of_user = |writ: &IssuedWrit| writ.tenant == tenant && writ.subject.as_ref() == Some(&subject);
                // Somebody else's is told as one that nobody has.
                let writ = issued.filter(of_user).ok_or(StoreError::NotFound("writ of yours"))?;
                (Target::Block(id), writ.expires.after(FORGET_MARGIN))
            }
            Mine::Token(token) => self.my_token(user, &token).await?,
        };
        let revocation = NewRevocation { target, forget_after, at: self.now(), idempotency_key: None };
        let detail = json!({ "provider": user.provider(), "session": user.session() });
        let by = Actor::User(user.subject().clone());
        let event = change_with(by, "revocation.add", &revocation.target, Some(user.tenant()), detail);
        let entry = match revocation.target {
            // Revoked before is revoked: there is no second entry.
            Target::Block(_) => Some(self.store.revoke(&revocation, &event).await?),
            _ => self.store.end_logins(&revocation, None, &event).await?,
        };
        self.receipt_for(&entry.ok_or(StoreError::NotFound("entry"))?).await
    }

    /// The last block of a token that was issued for the user.
    async fn my_token(&self, user: &VerifiedIdentity, token: &str) -> Result<(Target, Timestamp), AuthorityError> {
        let chain = self.witness(token).await?;
        let authority = chain.authority();
        if authority.tenant != *user.tenant() || authority.subject.as_ref() != Some(user.subject()) {
            return Err(StoreError::NotFound("writ of yours").into());
        }
        let id = chain.block_ids().last().unwrap_or(authority.id);
        Ok((Target::Block(id), authority.expires.after(FORGET_MARGIN)))
    }
}
