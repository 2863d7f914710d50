//! Who may provision: secrets that an operator gives to a provider's SCIM client.

use serde_json::json;

use super::Provisioner;
use crate::audit::Actor;
use crate::authority::{Authority, AuthorityError, change, change_with, fresh_secret, random};
use crate::id::{OperatorName, ProviderName, ScimTokenId};
use crate::key::sha256;
use crate::secret::Secret;
use crate::store::ScimToken;

/// How a secret begins.
pub const SECRET_PREFIX: &str = "writ-scim-";

impl Authority {
    /// The client with this secret.
    pub async fn scim_client(&self, secret: &str) -> Result<Provisioner, AuthorityError> {
        let now = self.clock.monotonic();
        if self.seen.provisioners.too_many(now) {
            return Err(AuthorityError::TooManyFailures);
        }
        // Looked up by hash: how long that takes tells nothing about the secret.
        let found = match secret.starts_with(SECRET_PREFIX) {
            true => self.store.scim_token_by_secret(&sha256(secret.as_bytes())).await?,
            false => None,
        };
        let Some(token) = found else {
            self.seen.provisioners.add(now);
            return Err(AuthorityError::NoScimToken);
        };
        let terms = self.terms.directory(&token.provider);
        terms.map(|terms| Provisioner::new(terms, token.id)).ok_or(AuthorityError::NoScimToken)
    }

    /// Adds a secret for the SCIM client of a provider. It is returned this once.
    pub async fn add_scim_token(
        &self,
        by: &OperatorName,
        provider: ProviderName,
    ) -> Result<(ScimToken, Secret<String>), AuthorityError> {
        if self.terms.directory(&provider).is_none() {
            return Err(AuthorityError::NoProvider);
        }
        let secret = fresh_secret(SECRET_PREFIX)?;
        let id = ScimTokenId::from_bytes(random()?);
        let secret_sha256 = sha256(secret.expose().as_bytes());
        let token = ScimToken { id, provider, secret_sha256, created: self.now() };
        let detail = json!({ "provider": token.provider });
        let event = change_with(Actor::Operator(by.clone()), "scim.token.add", id, None, detail);
        self.store.add_scim_token(&token, &event).await?;
        Ok((token, secret))
    }

    /// The secrets of all SCIM clients, by provider and age.
    pub async fn scim_tokens(&self) -> Result<Vec<ScimToken>, AuthorityError> {
        Ok(self.store.scim_tokens().await?)
    }

    /// Removes the secret of a SCIM client: it counts no longer. What it provisioned stays.
    pub async fn remove_scim_token(&self, by: &OperatorName, id: ScimTokenId) -> Result<(), AuthorityError> {
        let event = change(Actor::Operator(by.clone()), "scim.token.remove", id, None);
        Ok(self.store.remove_scim_token(id, self.now(), &event).await?)
    }
}
