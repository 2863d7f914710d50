//! Approvals: edges put requests before people, people decide, and an edge uses each approval once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::audit::{Actor, Change};
use crate::authority::error::{ApprovalRefused, WritRefused};
use crate::authority::installation::Caller;
use crate::authority::{Authority, AuthorityError, change_with, random};
use crate::clock::Timestamp;
use crate::id::{ApprovalId, Note, OperatorName, Subject, TenantName};
use crate::policy::{Approval, ApprovalState, Asked, Asker, Demand};
use crate::revocation::Use;
use crate::store::{
    ApprovalQuota, ApprovalRecord, ApprovalSummary, ApproverLogin, Decided, Edge, KeptAsked, Listed, NewApproval, Put,
    Redemption, Ruling, StoreError,
};
use crate::token::Chain;
use crate::vault::Binding;
use crate::wire::{AskRequest, RedeemRequest, Standing};

/// How long a request waits for a decision at most.
const DECIDE_WITHIN: Duration = Duration::from_secs(3600);
/// How long an approval can be used at most.
const USE_WITHIN: Duration = Duration::from_secs(900);
/// How long a request is kept once it is over, with what would have been sent.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// How many undecided requests an agent may have.
const PENDING_OF_AGENT: u32 = 20;
/// How many a tenant may have.
const PENDING_OF_TENANT: u32 = 1000;
/// How many requests an agent may put within an hour.
const PER_HOUR_OF_AGENT: u32 = 120;
/// How many requests are listed, and written down as expired at a time.
const LIST_MAX: u32 = 200;

impl Authority {
    /// Puts before people what an edge would send, if the writ it shows is live here and now and covers it.
    pub async fn ask_approval(&self, edge: &Edge, request: AskRequest) -> Result<Standing, AuthorityError> {
        let now = self.now();
        let chain = self.asking(edge, &request.token, &request.asked, now).await?;
        let (handle, asker) = (ApprovalId::from_bytes(random()?), Asker::of(&chain));
        let new = NewApproval {
            handle,
            asked: self.seal_asked(&asker.tenant, handle, &request.asked)?,
            asker,
            edge: edge.name.clone(),
            created: now,
            expires: now.after(DECIDE_WITHIN).min(chain.expires()),
            writ_expires: chain.expires(),
        };
        let quota = ApprovalQuota {
            pending_of_agent: PENDING_OF_AGENT,
            pending_of_tenant: PENDING_OF_TENANT,
            recent_of_agent: PER_HOUR_OF_AGENT,
            since: now.before(Duration::from_secs(3600)),
        };
        let event = about(Actor::Edge(edge.name.clone()), "approval.ask", &new, json!({ "request": request.request }));
        match self.store.put_approval(&new, &quota, &event).await? {
            Put::Added => Ok(Standing { handle: new.handle, state: ApprovalState::Pending, expires: new.expires }),
            Put::Known { handle, state, expires } => Ok(Standing { handle, state, expires }),
            Put::TooMany => Err(AuthorityError::TooManyApprovals),
        }
    }

    /// Where a request stands: for an edge whose caller waits. Whoever may use an approval is another question.
    pub async fn approval_standing(&self, handle: ApprovalId) -> Result<Standing, AuthorityError> {
        let found = self.store.approval_state(handle, self.now()).await?;
        let (state, expires) = found.ok_or(ApprovalRefused::Mismatch)?;
        Ok(Standing { handle, state, expires })
    }

    /// Uses an approval up: for exactly the request and the chain that it was given for, once.
    pub async fn redeem_approval(&self, edge: &Edge, request: &RedeemRequest) -> Result<Approval, AuthorityError> {
        let now = self.now();
        let chain = self.asking(edge, &request.token, &request.asked, now).await?;
        let (asked, asker) = (request.asked.digest(), Asker::of(&chain));
        let detail = json!({ "request": request.request, "asked_sha256": hex::encode(asked) });
        let actor = Actor::Edge(edge.name.clone());
        let event = change_with(actor, "approval.redeem", request.handle, Some(&asker.tenant), detail);
        let redeemed = self.store.redeem_approval(request.handle, &asked, &asker.digest(), now, &event).await?;
        let ApprovalRecord { new, decided, .. } = match redeemed {
            Redemption::Redeemed(record) => *record,
            Redemption::Mismatch => return Err(ApprovalRefused::Mismatch.into()),
            Redemption::Not(state) => return Err(ApprovalRefused::Not(state).into()),
            Redemption::ApproverGone => return Err(ApprovalRefused::ApproverGone.into()),
        };
        let decided = decided.ok_or(StoreError::Corrupt { table: "approval" })?;
        let approval = Approval {
            issuer: self.issuer().into(),
            tenant: new.asker.tenant,
            handle: request.handle,
            asked,
            asker: asker.digest(),
            policy_version: request.asked.parts().policy_version,
            approver: decided.by,
            satisfies: decided.satisfies,
            edge: edge.name.clone(),
            request: request.request,
            expires: new.expires,
            signature: String::new(),
        };
        Ok(approval.signed(&self.key))
    }

    /// The chain of the writ that an edge shows, verified and looked up here, if it covers what is asked.
    async fn asking(
        &self,
        edge: &Edge,
        token: &str,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<Arc<Chain>, AuthorityError> {
        let heads = self.heads.read().await?;
        let edge = &self.edge_at(&edge.key, &heads).await?;
        if self.store.stop().await?.is_some() {
            return Err(WritRefused::Stopped.into());
        }
        let published = self.published_since(heads.catalog_version).await?;
        let chain = self.believed(edge, token, &published.trusted(now), now)?;
        for operation in &asked.parts().operations {
            let service = &operation.service;
            if let Some(target) = self.revoked_now(Use { chain: &chain, service, loan: None }).await? {
                return Err(WritRefused::Revoked(Box::new(target)).into());
            }
            if !chain.authority().capabilities.iter().any(|capability| capability.allows(operation)) {
                return Err(WritRefused::NoCapability(service.clone()).into());
            }
        }
        Ok(chain)
    }
}

/// What operators do.
impl Authority {
    /// A tenant's requests, the latest first.
    pub async fn approvals(&self, tenant: &TenantName, listed: Listed) -> Result<Vec<ApprovalSummary>, AuthorityError> {
        Ok(self.store.approvals(tenant, listed, self.now(), LIST_MAX).await?)
    }

    /// One request of a tenant, with what would be sent as long as that can be decided or used.
    pub async fn approval(
        &self,
        tenant: &TenantName,
        handle: ApprovalId,
    ) -> Result<(ApprovalRecord, Option<Asked>), AuthorityError> {
        let record = self.approval_record(tenant, handle).await?;
        let asked = self.open_asked(&record)?;
        Ok((record, asked))
    }

    async fn approval_record(&self, tenant: &TenantName, handle: ApprovalId) -> Result<ApprovalRecord, AuthorityError> {
        let found = self.store.approval(handle, self.now()).await?;
        let found = found.filter(|record| record.new.asker.tenant == *tenant);
        Ok(found.ok_or(StoreError::NotFound("approval"))?)
    }

    /// Approves the request whose digest the operator confirms: whom a policy names, and not the person it is asked for.
    pub async fn approve(
        &self,
        by: &Caller,
        tenant: &TenantName,
        handle: ApprovalId,
        digest: &[u8; 32],
        note: Option<Note>,
    ) -> Result<(), AuthorityError> {
        let (record, asked) = self.approval(tenant, handle).await?;
        // By what is sealed, and so bound to the digest: the summary beside it is only to be read.
        let Some(asked) = asked else {
            return Err(AuthorityError::Decided(match record.state {
                ApprovalState::Pending => ApprovalState::Expired,
                state => state,
            }));
        };
        let satisfies = satisfied(&asked.parts().demands, by)?;
        if record.new.asked.digest != *digest {
            return Err(AuthorityError::OtherDigest);
        }
        if let Some(subject) = &record.new.asker.subject
            && self.persons_of(by).await?.iter().any(|person| is_same_person(person, subject))
        {
            return Err(AuthorityError::OwnRequest);
        }
        let until = self.now().after(USE_WITHIN).min(record.new.writ_expires);
        self.rule(by, &record, &Ruling::Approve { until }, satisfies, note).await
    }

    /// Denies a request: whom a policy names.
    pub async fn deny(
        &self,
        by: &Caller,
        tenant: &TenantName,
        handle: ApprovalId,
        note: Option<Note>,
    ) -> Result<(), AuthorityError> {
        let record = self.approval_record(tenant, handle).await?;
        let satisfies = satisfied(&record.new.asked.summary.demands, by)?;
        self.rule(by, &record, &Ruling::Deny, satisfies, note).await
    }

    async fn rule(
        &self,
        by: &Caller,
        record: &ApprovalRecord,
        ruling: &Ruling,
        satisfies: Vec<Box<str>>,
        note: Option<Note>,
    ) -> Result<(), AuthorityError> {
        let action = match ruling {
            Ruling::Approve { .. } => "approval.approve",
            Ruling::Deny => "approval.deny",
        };
        let detail = json!({ "as": satisfies, "note": note });
        let event = about(Actor::Operator(by.name.clone()), action, &record.new, detail);
        let login = by.session.as_ref().map(|session| ApproverLogin {
            tenant: session.tenant.clone(),
            subject: session.subject.clone(),
            session: session.session.clone(),
            epoch: session.epoch,
        });
        let decided = Decided { by: by.name.clone(), at: self.now(), satisfies, note, login };
        let ruled = self.store.rule_approval(record.new.handle, ruling, &decided, &event).await?;
        ruled.map_err(AuthorityError::Decided)
    }

    /// Every name by which the operator is known to sign in.
    async fn persons_of(&self, by: &Caller) -> Result<Vec<OperatorName>, AuthorityError> {
        if by.session.is_some() {
            return Ok(vec![by.name.clone()]);
        }
        let operators = self.store.operators().await?;
        Ok(operators.into_iter().filter(|operator| operator.name == by.name).filter_map(|own| own.person).collect())
    }

    /// Writes down what is expired, and forgets what has been over for a day.
    pub(super) async fn expire_approvals(&self) {
        if let Err(error) = self.expire_some().await {
            tracing::warn!(%error, "expired approvals were not written down; the next attempt follows");
        }
    }

    async fn expire_some(&self) -> Result<(), AuthorityError> {
        let now = self.now();
        for (handle, tenant) in self.store.overdue_approvals(now, LIST_MAX).await? {
            let event = change_with(Actor::Authority, "approval.expire", handle, Some(&tenant), json!({}));
            self.store.expire_approval(handle, now, &event).await?;
        }
        Ok(self.store.forget_approvals(now.before(KEEP)).await?)
    }
}

/// What would be sent is as secret as what is in it: at rest only the authority reads it.
impl Authority {
    fn seal_asked(&self, tenant: &TenantName, handle: ApprovalId, asked: &Asked) -> Result<KeptAsked, AuthorityError> {
        let json =
            serde_json::to_vec(asked).map_err(|_| AuthorityError::Malformed("the request does not fit".into()))?;
        let sealed = self.keyring.seal(&binding(tenant, &record(handle)), &json)?;
        Ok(KeptAsked { digest: asked.digest(), summary: asked.into(), sealed: Some(sealed) })
    }

    fn open_asked(&self, kept: &ApprovalRecord) -> Result<Option<Asked>, AuthorityError> {
        let new = &kept.new;
        // What is over is not shown, whether its expiry was written down or not.
        if !matches!(kept.state, ApprovalState::Pending | ApprovalState::Approved) {
            return Ok(None);
        }
        let Some(sealed) = &new.asked.sealed else { return Ok(None) };
        let json = self.keyring.open(&binding(&new.asker.tenant, &record(new.handle)), sealed)?;
        let asked: Option<Asked> = serde_json::from_slice(json.expose()).ok();
        let asked = asked.filter(|asked| asked.digest() == new.asked.digest);
        Ok(Some(asked.ok_or(StoreError::Corrupt { table: "approval" })?))
    }
}

fn record(handle: ApprovalId) -> String {
    format!("approval/{handle}")
}

fn binding<'a>(tenant: &'a TenantName, record: &'a str) -> Binding<'a> {
    Binding { tenant: tenant.as_str(), record, field: "asked", version: 1 }
}

/// As whom the operator decides.
fn satisfied(demands: &[Demand], by: &Caller) -> Result<Vec<Box<str>>, AuthorityError> {
    let groups = by.session.as_ref().map_or(&[][..], |session| &session.groups);
    Demand::satisfied_by(demands, by.role, groups)
        .ok_or_else(|| AuthorityError::NotAsked(Demand::approvers(demands).join(", ")))
}

/// Whether an operator is the user that a writ was minted for. Without regard to case and to who vouches: too often is right.
fn is_same_person(person: &OperatorName, subject: &Subject) -> bool {
    let user = person.as_str().split_once(':').map_or(person.as_str(), |(_, user)| user);
    user.to_lowercase() == subject.as_str().to_lowercase()
}

/// What the log keeps of a request: never its query, headers or body.
fn about(actor: Actor, action: &str, new: &NewApproval, more: serde_json::Value) -> Change {
    let summary = &new.asked.summary;
    let does: Vec<String> = summary.does.iter().map(ToString::to_string).collect();
    let mut detail = json!({
        "asked_sha256": hex::encode(new.asked.digest),
        "asker_sha256": hex::encode(new.asker.digest()),
        "agent": new.asker.agent,
        "subject": new.asker.subject,
        "blocks": new.asker.blocks,
        "method": summary.method,
        "does": does,
        "demands": summary.demands,
        "policy_version": summary.policy_version,
    });
    if let (Some(detail), serde_json::Value::Object(more)) = (detail.as_object_mut(), more) {
        detail.extend(more);
    }
    change_with(actor, action, new.handle, Some(&new.asker.tenant), detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_the_user_by_the_name_behind_the_provider_whatever_its_case() {
        let same = |person: &str, user: &str| is_same_person(&person.parse().unwrap(), &user.parse().unwrap());
        for (person, user) in
            [("corp:alice", "alice"), ("corp:Alice@X.example", "alice@x.example"), ("other:a:b", "a:b")]
        {
            assert!(same(person, user), "{person} {user}");
        }
        for (person, user) in [("corp:alice", "bob"), ("corp:alice", "corp:alice"), ("corp:alice", "alice2")] {
            assert!(!same(person, user), "{person} {user}");
        }
    }
}
