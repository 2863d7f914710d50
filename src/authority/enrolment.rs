//! Agents that register themselves, with a code that an operator gave out.

use std::time::Duration;

use serde_json::json;

use crate::audit::Actor;
use crate::authority::agents::{NewAgent, NewGrant};
use crate::authority::{Authority, AuthorityError, change, change_with, fresh_secret, random};
use crate::id::{AgentName, EnrolmentId, GrantId, Note, OperatorName, TenantName};
use crate::key::{PublicKey, sha256};
use crate::policy::{Grant, GrantSubject};
use crate::secret::Secret;
use crate::store::{Agent, EnrolmentCode, EnrolmentGrant, EnrolmentNames};
use crate::token::chain::ProofCovers;

/// How every code begins, so that scanners find a leaked one.
pub const ENROLMENT_CODE_PREFIX: &str = "writ-enrol-";
/// The longest life of a code.
pub const CODE_TTL_MAX: Duration = Duration::from_secs(30 * 86_400);
/// The most agents that can register with one code.
pub const CODE_USES_MAX: u32 = 10_000;

/// What an operator states of a code.
#[derive(Debug)]
pub struct NewCode {
    /// How agents may be called.
    pub names: EnrolmentNames,
    /// Who answers for them.
    pub owner: Option<Note>,
    /// What they are for.
    pub purpose: Option<Note>,
    /// What each is granted at once.
    pub granted: Option<EnrolmentGrant>,
    /// How many can register with it.
    pub uses: u32,
    /// For how long.
    pub ttl: Duration,
}

impl NewCode {
    fn check(&self, capabilities_max: usize) -> Result<(), AuthorityError> {
        let malformed = |message: String| Err(AuthorityError::Malformed(message));
        if !(1..=CODE_USES_MAX).contains(&self.uses) {
            return malformed(format!("`uses` must be between 1 and {CODE_USES_MAX}"));
        }
        if self.uses > 1 && matches!(self.names, EnrolmentNames::Only(_)) {
            return malformed("a code for one `name` has one use: give a `prefix` for several agents".into());
        }
        if self.ttl.is_zero() || self.ttl > CODE_TTL_MAX {
            return malformed(format!("`ttl_s` must be between 1 and {}", CODE_TTL_MAX.as_secs()));
        }
        match (&self.granted, &self.names) {
            (Some(granted), EnrolmentNames::Only(name) | EnrolmentNames::Beginning(name)) => {
                granted_to(granted.clone(), name.clone()).check(capabilities_max)
            }
            (None, _) => Ok(()),
        }
    }
}

/// What an agent is granted for itself: never for a user, never without a key to prove.
fn granted_to(granted: EnrolmentGrant, agent: AgentName) -> NewGrant {
    let EnrolmentGrant { capabilities, ttl_s_max, depth_max } = granted;
    let to = GrantSubject { agent, subject: None, group: None };
    NewGrant { to, capabilities, ttl_s_max, depth_max, bearer: false, proof_covers: ProofCovers::default() }
}

impl EnrolmentCode {
    /// The name that an agent gets which asks for `wanted`.
    fn name(&self, wanted: Option<AgentName>) -> Result<AgentName, AuthorityError> {
        match (&self.names, wanted) {
            (EnrolmentNames::Only(name), None) => Ok(name.clone()),
            (EnrolmentNames::Only(name), Some(wanted)) if wanted == *name => Ok(wanted),
            (EnrolmentNames::Beginning(prefix), Some(wanted)) if wanted.as_str().starts_with(prefix.as_str()) => {
                Ok(wanted)
            }
            (EnrolmentNames::Only(name), Some(_)) => {
                Err(AuthorityError::Malformed(format!("the code is for the name `{name}`: leave `name` out")))
            }
            (EnrolmentNames::Beginning(prefix), _) => {
                Err(AuthorityError::Malformed(format!("the code asks for a `name` that begins with `{prefix}`")))
            }
        }
    }
}

impl Authority {
    /// Makes a code, which is returned this once.
    pub async fn add_enrolment_code(
        &self,
        by: &OperatorName,
        tenant: TenantName,
        new: NewCode,
    ) -> Result<(EnrolmentCode, Secret<String>), AuthorityError> {
        new.check(self.limits.capabilities_max)?;
        let now = self.now();
        let NewCode { names, owner, purpose, granted, uses, ttl } = new;
        let id = EnrolmentId::from_bytes(random()?);
        let by = by.clone();
        let code =
            EnrolmentCode { id, tenant, names, owner, purpose, granted, uses_left: uses, expires: now.after(ttl), by };
        let secret = fresh_secret(ENROLMENT_CODE_PREFIX)?;
        let (name, prefix) = match &code.names {
            EnrolmentNames::Only(name) => (Some(name), None),
            EnrolmentNames::Beginning(prefix) => (None, Some(prefix)),
        };
        let detail = json!({
            "name": name,
            "prefix": prefix,
            "owner": code.owner,
            "purpose": code.purpose,
            "granted": code.granted,
            "uses": uses,
            "expires": code.expires,
        });
        let actor = Actor::Operator(code.by.clone());
        let event = change_with(actor, "enrolment_code.add", id, Some(&code.tenant), detail);
        self.store.add_enrolment_code(&code, &sha256(secret.expose().as_bytes()), now, &event).await?;
        Ok((code, secret))
    }

    /// A tenant's codes that can be used.
    pub async fn enrolment_codes(&self, tenant: &TenantName) -> Result<Vec<EnrolmentCode>, AuthorityError> {
        Ok(self.store.enrolment_codes(tenant, self.now()).await?)
    }

    /// Removes a code. Agents that registered with it stay.
    pub async fn remove_enrolment_code(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        id: EnrolmentId,
    ) -> Result<(), AuthorityError> {
        let event = change(Actor::Operator(by.clone()), "enrolment_code.remove", id, Some(tenant));
        Ok(self.store.remove_enrolment_code(tenant, id, self.now(), &event).await?)
    }

    /// Registers whoever proved `key` with a code. A code that is wrong, used up and over is told as one.
    pub async fn enrol(&self, key: PublicKey, code: &str, wanted: Option<AgentName>) -> Result<Agent, AuthorityError> {
        let tick = self.clock.monotonic();
        if self.seen.codes.too_many(tick) {
            return Err(AuthorityError::TooManyFailures);
        }
        let now = self.now();
        // Looked up by hash: how long that takes tells nothing about the code.
        let found = self.store.enrolment_code(&sha256(code.as_bytes())).await?;
        let Some(code) = found.filter(|code| code.uses_left > 0 && code.expires >= now) else {
            self.seen.codes.add(tick);
            return Err(AuthorityError::EnrolmentRefused);
        };
        let name = code.name(wanted)?;
        let EnrolmentCode { id, tenant, owner, purpose, granted, by, .. } = code;
        let agent = NewAgent { name, key: Some(key), owner, purpose }.into_agent(tenant, now);
        let grant_id = GrantId::from_bytes(random()?);
        let grant: Option<Grant> =
            granted.map(|granted| granted_to(granted, agent.name.clone()).into_grant(agent.tenant.clone(), grant_id));
        let detail = json!({
            "key": key,
            "owner": agent.owner,
            "purpose": agent.purpose,
            "code": id,
            "code_by": by,
            "grant": grant.as_ref().map(|grant| grant.id),
            "capabilities": grant.as_ref().map(|grant| &grant.capabilities),
        });
        let actor = Actor::Agent(agent.name.clone());
        let event = change_with(actor, "agent.enrol", &agent.name, Some(&agent.tenant), detail);
        if !self.store.enrol(id, &agent, grant.as_ref(), &event).await? {
            return Err(AuthorityError::EnrolmentRefused);
        }
        Ok(agent)
    }
}
