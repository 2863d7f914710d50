//! Lending: an edge gets the credential that a live writ is good for, for a short time, and every lending is recorded.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::audit::Actor;
use crate::authority::error::WritRefused;
use crate::authority::{Authority, AuthorityError, change_with, keys};
use crate::catalog::CredentialPer;
use crate::clock::Timestamp;
use crate::id::{CredentialName, ServiceName, Subject, TenantName};
use crate::revocation::{Loan, RevocationSet, Target, Use};
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
    /// The edge's word is not enough: the authority verifies the token for itself, and asks the store what of it is revoked.
    pub async fn lend(&self, edge: &Edge, request: &LendRequest) -> Result<LendReply, AuthorityError> {
        let heads = self.heads.read().await?;
        let edge = &self.edge_at(&edge.key, &heads).await?;
        let now = self.now();
        // The stop's entry kills every writ; this holds even for one that a restored store knows nothing of.
        if self.store.stop().await?.is_some() {
            return Err(WritRefused::Stopped.into());
        }
        let published = self.published_since(heads.catalog_version).await?;
        let chain = self.believed(edge, &request.token, &published.trusted(now), now)?;
        let key = credential_of(&published, &chain, &request.service);
        let record = match &key {
            Ok(key) => self.store.credential(key).await?,
            Err(_) => None,
        };
        // After the record was read: a revocation of the credential that is older than this look finds the version it is of.
        self.check_live(&chain, request, record.as_ref()).await?;
        let key = key?;
        let reply = self.opened(record.ok_or_else(|| not_stored(&key))?, &chain, now)?;
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

    /// The chain of the writ that was shown: authentic, current, meant for this edge.
    pub(super) fn believed(
        &self,
        edge: &Edge,
        token: &str,
        keys: &RootKeys,
        now: Timestamp,
    ) -> Result<Arc<Chain>, WritRefused> {
        let expected = Expected { issuer: self.issuer().into(), audience: edge.audience.clone() };
        let chain = Arc::new(verify(&RawToken::parse(token, &self.limits)?, keys, &self.limits)?);
        Ok(current(&chain, keys, &expected, now)?.chain().clone())
    }

    /// Refuses what is revoked by now: the writ, the service for it, or this version of the credential; and a writ that is
    /// good for nothing at the service.
    async fn check_live(
        &self,
        chain: &Chain,
        request: &LendRequest,
        record: Option<&CredentialRecord>,
    ) -> Result<(), AuthorityError> {
        let loan = record.map(|record| Loan { credential: record.key.name.clone(), epoch: record.stored_epoch });
        match self.revoked_now(Use { chain, service: &request.service, loan: loan.as_ref() }).await? {
            None => {}
            Some(Target::Credential(tenant, name)) => return Err(revoked_credential(&tenant, &name)),
            Some(target) => return Err(WritRefused::Revoked(Box::new(target)).into()),
        }
        if !chain.authority().capabilities.iter().any(|capability| capability.service == request.service) {
            return Err(WritRefused::NoCapability(request.service.clone()).into());
        }
        Ok(())
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
            epoch: record.stored_epoch,
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

impl Authority {
    /// What of a use is revoked, by the store as it is after this call.
    pub(super) async fn revoked_now(&self, used: Use<'_>) -> Result<Option<Target>, AuthorityError> {
        Ok(self.log_about(&used.targets().into_iter().collect()).await?.revokes_use(used))
    }

    /// What the store's log says of these targets after this call.
    pub(super) async fn log_about(&self, targets: &BTreeSet<Target>) -> Result<RevocationSet, AuthorityError> {
        let targets: Vec<Target> = targets.iter().cloned().collect();
        let mut set = RevocationSet::default();
        set.add_entries(&self.store.latest_revocations(&targets).await?);
        Ok(set)
    }
}

fn revoked_credential(tenant: &TenantName, name: &CredentialName) -> AuthorityError {
    AuthorityError::NoCredential(format!(
        "credential `{name}` of tenant `{tenant}` was revoked: an operator can store a new version with `writ credential rotate`"
    ))
}

fn not_stored(key: &CredentialKey) -> AuthorityError {
    let whose = key.subject.as_ref().map_or_else(String::new, |subject| format!(" of user `{subject}`"));
    AuthorityError::NoCredential(format!(
        "credential `{}`{whose} of tenant `{}` is not stored: an operator can add it with `writ credential add`",
        key.name, key.tenant
    ))
}
