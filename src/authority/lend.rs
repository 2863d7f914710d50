//! Lending: an edge gets the credential that a live writ is good for, for a short time, and every lending is recorded.

use std::sync::Arc;

use serde_json::json;

use crate::audit::Actor;
use crate::authority::error::WritRefused;
use crate::authority::{Authority, AuthorityError, change_with, keys};
use crate::catalog::CredentialPer;
use crate::clock::Timestamp;
use crate::id::{ServiceName, Subject};
use crate::secret::Secret;
use crate::store::{CredentialKey, CredentialRecord, Edge};
use crate::token::chain::Chain;
use crate::token::verify::{Expected, current};
use crate::token::{RawToken, RootKeys, verify};
use crate::vault::VaultError;
use crate::wire::{LendReply, LendRequest, WireSecret};

impl Authority {
    /// Lends an edge the credential of one service, if the writ it shows is live here and now.
    ///
    /// The edge's word is not enough: the authority verifies the token for itself, against a log that is caught up first.
    pub async fn lend(&self, edge: &Edge, request: &LendRequest) -> Result<LendReply, AuthorityError> {
        let now = self.now();
        let published = self.refreshed().await?;
        let chain = self.live(edge, request, &published.trusted(now), now).await?;
        let key = credential_of(&published, &chain, &request.service)?;
        let record = self.store.credential(&key).await?.ok_or_else(|| not_stored(&key))?;
        let reply = self.opened(record, &chain, now)?;
        let detail = json!({
            "service": request.service,
            "request": request.request,
            "version": reply.version,
            "block": chain.authority().id,
            "token_sha256": hex::encode(chain.digest().0),
        });
        let actor = Actor::Edge(edge.name.clone());
        let event = change_with(actor, "credential.lend", key.name, Some(&key.tenant), detail);
        // Recorded before it is handed out.
        self.store.record(now, &event).await?;
        Ok(reply)
    }

    /// The chain of the writ that was shown, live and good for something at the service.
    async fn live(
        &self,
        edge: &Edge,
        request: &LendRequest,
        keys: &RootKeys,
        now: Timestamp,
    ) -> Result<Arc<Chain>, AuthorityError> {
        let expected = Expected { issuer: self.issuer().into(), audience: edge.audience.clone() };
        let believed = || {
            let chain = Arc::new(verify(&RawToken::parse(&request.token, &self.limits)?, keys, &self.limits)?);
            current(&chain, keys, &expected, now)
        };
        let token = believed().map_err(WritRefused::from)?;
        self.log.catch_up(&*self.store).await?;
        if let Some(target) = self.log.revokes(token.chain()) {
            return Err(WritRefused::Revoked(Box::new(target)).into());
        }
        if !token.chain().authority().capabilities.iter().any(|capability| capability.service == request.service) {
            return Err(WritRefused::NoCapability(request.service.clone()).into());
        }
        Ok(Arc::clone(token.chain()))
    }

    fn opened(&self, record: CredentialRecord, chain: &Chain, now: Timestamp) -> Result<LendReply, AuthorityError> {
        let name = keys::credential_record(&record.key);
        let opened = self.keyring.open(&keys::credential_binding(&record, &name), &record.sealed)?;
        let secret = std::str::from_utf8(opened.expose()).map_err(|_| VaultError::DoesNotOpen)?.to_owned();
        // Never longer than the writ that it is lent for.
        let keep = self.terms.keep.min(chain.expires().since(now));
        Ok(LendReply {
            credential: record.key.name,
            kind: record.kind,
            secret: WireSecret(Secret::new(secret)),
            version: record.version,
            keep_ms: u64::try_from(keep.as_millis()).unwrap_or(0),
        })
    }
}

/// Which credential a service takes for this writ: of its tenant, and of its user where each has their own.
fn credential_of(
    published: &keys::Published,
    chain: &Chain,
    service: &ServiceName,
) -> Result<CredentialKey, AuthorityError> {
    let authority = chain.authority();
    let none = |message: String| AuthorityError::NoCredential(message);
    let offered = published
        .service(&authority.tenant, service)
        .ok_or_else(|| none(format!("tenant `{}` has no service `{service}`", authority.tenant)))?;
    let name = offered.credential().ok_or_else(|| none(format!("service `{service}` takes no credential")))?;
    let subject: Option<Subject> = match offered.credential_per() {
        CredentialPer::Shared => None,
        CredentialPer::User => Some(authority.subject.clone().ok_or_else(|| {
            none(format!("service `{service}` takes the credential of a user, and the writ was minted for none"))
        })?),
    };
    Ok(CredentialKey { tenant: authority.tenant.clone(), name: name.clone(), subject })
}

fn not_stored(key: &CredentialKey) -> AuthorityError {
    let whose = key.subject.as_ref().map_or_else(String::new, |subject| format!(" of user `{subject}`"));
    AuthorityError::NoCredential(format!(
        "credential `{}`{whose} of tenant `{}` is not stored: an operator can add it with `writ credential add`",
        key.name, key.tenant
    ))
}
