//! Agents that are known by the platform they run on: which workload is which agent, and who asks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::audit::Actor;
use crate::authority::agents::NewAgent;
use crate::authority::clients::{AssertionKind, ClientCredentials};
use crate::authority::issue::IssueError;
use crate::authority::receipt::ReceiptText;
use crate::authority::{Authority, AuthorityError, change_with, is_client_id};
use crate::clock::Timestamp;
use crate::config::identity::Reuse;
use crate::id::{AgentName, OperatorName, ProviderName, Subject, TenantName, WorkloadSubject};
use crate::identity::{IdentityError, VerifiedWorkload};
use crate::key::PublicKey;
use crate::store::{Agent, AgentStatus, AgentWorkload, IssueContext};

/// The most claims that a workload's tokens can be asked for.
const CLAIMS_MAX: usize = 16;
/// The longest name or text of such a claim in bytes.
const CLAIM_BYTES_MAX: usize = 1024;

/// What an operator states of a workload.
#[derive(Debug)]
pub struct NewWorkload {
    /// Its issuer, as the settings call it.
    pub issuer: ProviderName,
    /// What the issuer calls it.
    pub subject: WorkloadSubject,
    /// What else its tokens must say.
    pub claims: BTreeMap<Box<str>, Box<str>>,
}

/// An agent that has shown who it is.
#[derive(Debug)]
pub(super) struct KnownAgent {
    /// What it may be issued.
    pub(super) context: IssueContext,
    /// By what it is known.
    pub(super) by: Knowledge,
}

/// By what an agent is known.
#[derive(Debug)]
pub(super) enum Knowledge {
    /// A key that is registered for it: nobody else is bound to a writ.
    Key(PublicKey),
    /// The word of the platform on which it runs, which names no key.
    Workload(Box<VerifiedWorkload>),
}

impl KnownAgent {
    pub(super) const fn by_key(key: PublicKey, context: IssueContext) -> Self {
        Self { context, by: Knowledge::Key(key) }
    }

    /// The longest life of a writ, where the way in which the agent is known limits it.
    pub(super) fn writ_ttl_max(&self) -> Option<Duration> {
        match &self.by {
            Knowledge::Key(_) => None,
            Knowledge::Workload(workload) => Some(workload.writ_ttl_max),
        }
    }

    /// The workload, for the audit log.
    pub(super) fn workload(&self) -> Option<Value> {
        match &self.by {
            Knowledge::Key(_) => None,
            Knowledge::Workload(workload) => Some(json!({ "issuer": workload.issuer, "subject": workload.subject })),
        }
    }
}

impl Authority {
    /// Registers an agent that is known by a workload, whether or not it has a key as well.
    pub async fn register_workload_agent(
        &self,
        by: &OperatorName,
        tenant: TenantName,
        new: NewAgent,
        workload: NewWorkload,
    ) -> Result<Agent, AuthorityError> {
        let workload = self.checked_workload(tenant.clone(), new.name.clone(), workload)?;
        let agent = new.into_agent(tenant, workload.created);
        let mut detail = told(&workload);
        for (name, value) in
            [("key", json!(agent.key)), ("owner", json!(agent.owner)), ("purpose", json!(agent.purpose))]
        {
            detail[name] = value;
        }
        let by = Actor::Operator(by.clone());
        let event = change_with(by, "agent.register", &agent.name, Some(&agent.tenant), detail);
        self.store.register_workload_agent(&agent, &workload, &event).await?;
        Ok(agent)
    }

    /// States that a workload is an agent that exists.
    pub async fn add_workload(
        &self,
        by: &OperatorName,
        tenant: TenantName,
        agent: AgentName,
        workload: NewWorkload,
    ) -> Result<AgentWorkload, AuthorityError> {
        let workload = self.checked_workload(tenant, agent, workload)?;
        let by = Actor::Operator(by.clone());
        let event = change_with(by, "workload.add", &workload.agent, Some(&workload.tenant), told(&workload));
        self.store.add_workload(&workload, &event).await?;
        Ok(workload)
    }

    fn checked_workload(
        &self,
        tenant: TenantName,
        agent: AgentName,
        NewWorkload { issuer, subject, claims }: NewWorkload,
    ) -> Result<AgentWorkload, AuthorityError> {
        if !self.providers.vouches_for_workloads(&issuer, &tenant) {
            return Err(AuthorityError::Malformed(format!(
                "`{issuer}` vouches for no workload of tenant `{tenant}`: `identity.workload` in the settings lists those who do"
            )));
        }
        let fits = |text: &str| (1..=CLAIM_BYTES_MAX).contains(&text.len());
        if claims.len() > CLAIMS_MAX || !claims.iter().all(|(name, value)| fits(name) && fits(value)) {
            let message = format!("`claims` must hold at most {CLAIMS_MAX} texts of 1 to {CLAIM_BYTES_MAX} bytes");
            return Err(AuthorityError::Malformed(message));
        }
        Ok(AgentWorkload { issuer, subject, tenant, agent, claims, created: self.now() })
    }

    /// A tenant's workloads, by agent.
    pub async fn workloads(&self, tenant: &TenantName) -> Result<Vec<AgentWorkload>, AuthorityError> {
        Ok(self.store.workloads(tenant).await?)
    }

    /// Takes a workload from its agent and ends what the agent was issued. Returns once no edge serves it.
    pub async fn remove_workload(
        &self,
        by: &OperatorName,
        tenant: TenantName,
        agent: AgentName,
        issuer: ProviderName,
        subject: WorkloadSubject,
    ) -> Result<ReceiptText, AuthorityError> {
        let at = self.now();
        let workload = AgentWorkload { issuer, subject, tenant, agent, claims: BTreeMap::new(), created: at };
        let detail = json!({ "issuer": workload.issuer, "subject": workload.subject });
        let by = Actor::Operator(by.clone());
        let event = change_with(by, "workload.remove", &workload.agent, Some(&workload.tenant), detail);
        let entry = self.store.remove_workload(&workload, self.forget_after(), at, &event).await?;
        self.receipt_for(&entry).await
    }

    /// The agent whose workload a platform vouches for. Its token is not used up.
    pub(super) async fn agent_of_workload(
        &self,
        client: &ClientCredentials,
        workload: VerifiedWorkload,
        subject: Option<&Subject>,
        now: Timestamp,
    ) -> Result<KnownAgent, IssueError> {
        let refused = |message: String| Err(IssueError::Client(message));
        if client.kind == AssertionKind::JwtSvid && !workload.is_spiffe() {
            return refused("the client assertion's `sub` is no SPIFFE id: send it as `…:jwt-bearer`".into());
        }
        let found = self.store.workload_context(&workload.issuer, &workload.subject, subject).await?;
        let Some((stated, context)) = found.filter(|(stated, _)| stated.tenant == workload.tenant) else {
            return refused(format!(
                "workload `{}` of `{}` is no agent: an operator can say which it is with `writ agent workload add`",
                workload.subject, workload.issuer
            ));
        };
        let agent = &context.agent;
        if let Some((name, value)) = stated.claims.iter().find(|(name, value)| !workload.says(name, value)) {
            return refused(format!(
                "the workload's token must say `{value}` in `{name}` to be agent `{}`: `writ agent workload list`",
                agent.name
            ));
        }
        // The draft on SPIFFE names the client by its SPIFFE id.
        let named = |id: &String| is_client_id(id, &agent.tenant, &agent.name) || *id == *workload.subject.as_str();
        if !client.client_id.as_ref().is_none_or(named) {
            return refused("`client_id` is neither the agent that the workload is, nor the token's `sub`".into());
        }
        if agent.status == AgentStatus::Disabled {
            return refused(AuthorityError::Disabled(agent.name.clone()).to_string());
        }
        self.seen.agent(&agent.tenant, &agent.name, now);
        Ok(KnownAgent { context, by: Knowledge::Workload(Box::new(workload)) })
    }

    /// Uses a workload's token for `key`: once, or again and again for the key that it was used with first.
    pub(super) async fn use_workload(
        &self,
        workload: &VerifiedWorkload,
        key: &PublicKey,
        now: Timestamp,
    ) -> Result<(), IssueError> {
        if workload.bound_to.as_ref().is_some_and(|thumbprint| *thumbprint != key.thumbprint()) {
            return Err(IssueError::Client("the workload's token is bound by `cnf` to another key".into()));
        }
        let (counts, otherwise) = match workload.reuse {
            Reuse::Once => (self.store.use_once(&workload.id, workload.until, now).await?, "was used before"),
            Reuse::WhileFresh => (
                self.store.use_by_one(&workload.id, key, workload.until, now).await?,
                "was used with another key before",
            ),
        };
        if counts {
            return Ok(());
        }
        Err(IssueError::Client(format!("the workload's token {otherwise}: get a fresh one from the platform")))
    }
}

fn told(workload: &AgentWorkload) -> Value {
    json!({ "issuer": workload.issuer, "subject": workload.subject, "claims": workload.claims })
}

/// Of a workload's token: it is the client that is not known.
pub(super) fn client_error(error: IdentityError) -> IssueError {
    match error {
        IdentityError::Refused(_) => IssueError::Client(error.to_string()),
        IdentityError::Unavailable(_) => IssueError::Unavailable(error.to_string()),
    }
}
