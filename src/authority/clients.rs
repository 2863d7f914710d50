//! Who calls the revocation and introspection endpoints: agents and relying services, by `private_key_jwt`.

use serde_json::json;

use crate::audit::Actor;
use crate::authority::assertion::{Assertion, InvalidAssertion};
use crate::authority::issue::{IssueError, not_registered};
use crate::authority::once::Uses;
use crate::authority::workloads::{KnownAgent, client_error};
use crate::authority::{Authority, AuthorityError, change, change_with};
use crate::clock::Timestamp;
use crate::id::{AudienceName, OperatorName, RelyingName, Subject, TenantName};
use crate::key::PublicKey;
use crate::store::{Agent, AgentStatus, IssueContext, RelyingService, StoreError};

/// How a client says who it is.
#[derive(Debug)]
pub struct ClientCredentials {
    /// The assertion by its registered key, or the token of a workload issuer.
    pub assertion: String,
    /// What it is said to be.
    pub kind: AssertionKind,
    /// The client id, where the request names it beside the assertion.
    pub client_id: Option<String>,
}

/// What a client assertion is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionKind {
    /// A JWT (RFC 7523).
    Jwt,
    /// A JWT-SVID (draft-ietf-oauth-spiffe-client-auth).
    JwtSvid,
}

impl Authority {
    /// Reads the assertion of a request to `endpoint`. Its signature is unchecked.
    fn read_assertion(
        &self,
        client: &ClientCredentials,
        endpoint: &str,
        now: Timestamp,
    ) -> Result<Assertion, InvalidAssertion> {
        let assertion = Assertion::read(&client.assertion, [self.issuer(), endpoint], now)?;
        if client.client_id.as_ref().is_some_and(|id| *id != assertion.client) {
            return Err(InvalidAssertion("its `iss` is not the `client_id` of the request"));
        }
        Ok(assertion)
    }

    /// The agent that calls `endpoint`, known by its key. The assertion is used up.
    pub async fn agent_client(&self, client: &ClientCredentials, endpoint: &str) -> Result<Agent, IssueError> {
        let mut uses = Uses::none(self.now());
        let known = self.agent_of_key(client, endpoint, None, &mut uses).await;
        self.spent(known.map(|(_, context)| context.agent), uses).await
    }

    /// The agent that asks for a writ, with what it was granted and whether `subject` is suspended. An assertion by its key is to be
    /// used up.
    pub(super) async fn known_agent(
        &self,
        client: &ClientCredentials,
        subject: Option<&Subject>,
        uses: &mut Uses,
    ) -> Result<KnownAgent, IssueError> {
        let now = uses.now;
        match self.providers.workload(&client.assertion, now).await {
            Some(workload) => self.agent_of_workload(client, workload.map_err(client_error)?, subject, now).await,
            None if client.kind == AssertionKind::JwtSvid => Err(IssueError::Client(
                "the JWT-SVID's trust domain is none of `identity.workload` in the settings".into(),
            )),
            None => {
                let (key, context) = self.agent_of_key(client, &self.token_endpoint(), subject, uses).await?;
                Ok(KnownAgent::by_key(key, context))
            }
        }
    }

    async fn agent_of_key(
        &self,
        client: &ClientCredentials,
        endpoint: &str,
        subject: Option<&Subject>,
        uses: &mut Uses,
    ) -> Result<(PublicKey, IssueContext), IssueError> {
        let now = uses.now;
        let assertion = self.read_assertion(client, endpoint, now)?;
        let key = match assertion.kid {
            Some(key) => key,
            None => self.key_that_signed(&assertion, now).await?.ok_or_else(not_registered)?,
        };
        // Before the store is asked about a key: a stranger costs one signature.
        if !assertion.is_by(&key) {
            return Err(not_registered());
        }
        let context = match self.store.issue_context(&key, subject).await {
            Err(StoreError::NotFound(_)) => return Err(not_registered()),
            other => other?,
        };
        let same = context.agent.name == assertion.agent && context.agent.tenant == assertion.tenant;
        if !same || !context.agent.key_counts(now) {
            return Err(not_registered());
        }
        if context.agent.status == AgentStatus::Disabled {
            return Err(IssueError::Client(AuthorityError::Disabled(context.agent.name).to_string()));
        }
        add_assertion(uses, &assertion, &key);
        self.seen.agent(&context.agent.tenant, &context.agent.name, now);
        Ok((key, context))
    }

    /// The relying service that calls `endpoint`. The assertion is used up.
    pub async fn relying_client(
        &self,
        client: &ClientCredentials,
        endpoint: &str,
    ) -> Result<RelyingService, IssueError> {
        let now = self.now();
        let assertion = self.read_assertion(client, endpoint, now)?;
        let named = |service: &RelyingService| {
            service.name.as_str() == assertion.agent.as_str() && service.tenant == assertion.tenant
        };
        let found = match assertion.kid {
            Some(key) => self.store.relying_by_key(&key).await?.filter(named),
            None => self.store.relying(&assertion.tenant).await?.into_iter().find(named),
        };
        let service = found.filter(|service| assertion.is_by(&service.key)).ok_or_else(|| {
            IssueError::Client(
                "the client assertion is not by a registered relying service's key: check it with `writ relying list`"
                    .into(),
            )
        })?;
        let mut uses = Uses::none(now);
        add_assertion(&mut uses, &assertion, &service.key);
        self.spent(Ok(service), uses).await
    }

    /// Registers a relying service: it may ask about the writs of one tenant for one deployment.
    pub async fn add_relying(
        &self,
        by: &OperatorName,
        tenant: TenantName,
        name: RelyingName,
        key: PublicKey,
        audience: Option<AudienceName>,
    ) -> Result<RelyingService, AuthorityError> {
        let service = RelyingService { tenant, name, key, audience: self.audience(audience)?, created: self.now() };
        let detail = json!({ "key": key, "audience": service.audience });
        let actor = Actor::Operator(by.clone());
        let event = change_with(actor, "relying.add", &service.name, Some(&service.tenant), detail);
        self.store.add_relying(&service, &event).await?;
        Ok(service)
    }

    /// A tenant's relying services, by name.
    pub async fn relying(&self, tenant: &TenantName) -> Result<Vec<RelyingService>, AuthorityError> {
        Ok(self.store.relying(tenant).await?)
    }

    /// Removes a relying service: its key counts no longer.
    pub async fn remove_relying(
        &self,
        by: &OperatorName,
        tenant: &TenantName,
        name: &RelyingName,
    ) -> Result<(), AuthorityError> {
        let event = change(Actor::Operator(by.clone()), "relying.remove", name, Some(tenant));
        Ok(self.store.remove_relying(tenant, name, self.now(), &event).await?)
    }
}

/// An assertion that `key` signed is to be used up.
fn add_assertion(uses: &mut Uses, assertion: &Assertion, key: &PublicKey) {
    let (id, until) = assertion.single_use(key);
    uses.add(id, until, || InvalidAssertion("it was used before: make a fresh one for each request").into());
}
