//! Issuing: from an agent's authenticated request to a writ that its grants allow.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::audit::Actor;
use crate::authority::assertion::InvalidAssertion;
use crate::authority::clients::ClientCredentials;
use crate::authority::once::Uses;
use crate::authority::permitted::permitted;
use crate::authority::workloads::{Knowledge, KnownAgent};
use crate::authority::{Authority, AuthorityError, change_with, random};
use crate::clock::Timestamp;
use crate::id::{AudienceName, BlockId, Group, ProviderName, ServiceName, Subject};
use crate::identity::VerifiedIdentity;
use crate::key::{PublicKey, sha256};
use crate::policy::{Grant, Issuance, IssuanceDenied};
use crate::store::{IssueContext, IssuedWrit, StoreError};
use crate::token::chain::{Authority as AuthorityBlock, ProofCovers};
use crate::token::claims::Claim;
use crate::token::mint::mint;
use crate::token::proof::{self, NonceRule, ProofError, ProvenRequest};
use crate::token::{Capability, RawToken};

/// How far an edge's clock may be behind, for a fresh writ to be valid there at once.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

/// A token request in its parts.
#[derive(Debug)]
pub struct TokenRequest {
    /// Who asks.
    pub client: ClientCredentials,
    /// What is asked for.
    pub capabilities: Vec<Capability>,
    /// For how long.
    pub ttl: Option<Duration>,
    /// For which edge deployment.
    pub audience: Option<AudienceName>,
    /// On behalf of which user: only grants that name this user count.
    pub subject: Option<Subject>,
    /// The `DPoP` header.
    pub proof: Option<String>,
}

/// Whom a writ is for.
#[derive(Debug)]
pub(super) struct OnBehalf {
    /// The user.
    pub(super) subject: Subject,
    /// The session at the identity provider.
    pub(super) session: Option<Subject>,
    /// Who vouched for the user; `None` where the agent's word is enough.
    pub(super) provider: Option<ProviderName>,
    /// The user's groups.
    pub(super) groups: Vec<Group>,
    /// What the provider says of the login.
    pub(super) claims: Vec<Claim>,
}

impl From<&VerifiedIdentity> for OnBehalf {
    fn from(user: &VerifiedIdentity) -> Self {
        let provider = Some(user.provider().clone());
        Self {
            subject: user.subject().clone(),
            session: user.session().cloned(),
            provider,
            groups: Vec::new(),
            claims: user.claims().to_vec(),
        }
    }
}

/// A writ that was minted.
#[derive(Debug)]
pub struct Issued {
    /// The writ.
    pub token: RawToken,
    /// Whether its holder must prove a key.
    pub bound: bool,
    /// How long it lives.
    pub ttl: Duration,
    /// What it allows.
    pub capabilities: Vec<Capability>,
}

/// Why no writ was issued, in the words of RFC 6749 section 5.2, RFC 8707 and RFC 9449.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// `invalid_client`: it is not shown who asks.
    #[error("{0}")]
    Client(String),
    /// `invalid_dpop_proof`: no key was proven, or another than the registered one.
    #[error("{0}")]
    Proof(String),
    /// `invalid_scope`: no grant covers it.
    #[error("{0}")]
    Scope(String),
    /// `invalid_grant`: the user's writs were revoked, and nobody has said since that there may be new ones.
    #[error("user `{0}` is suspended: an operator can lift that with `writ user reactivate`")]
    Suspended(Subject),
    /// `invalid_grant`: the provider's directory says that the user is inactive, or not there any more.
    #[error(
        "user `{0}` is inactive in the identity provider's directory, or is spelled otherwise there: the provider must make them active \
         (SCIM)"
    )]
    Inactive(Subject),
    /// `invalid_request` (RFC 8693 section 2.2.2): the user's token does not count, or nothing is issued for them this way.
    #[error("{0}")]
    User(String),
    /// `temporarily_unavailable`: nobody can say now who the user is.
    #[error("{0}")]
    Unavailable(String),
    /// `invalid_scope`: the tenant's policies do not let this agent be given it.
    #[error("{0}")]
    Policy(String),
    /// `invalid_target`: there is no such edge deployment.
    #[error("{0}")]
    Target(String),
    /// Not the client's fault.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl From<StoreError> for IssueError {
    fn from(error: StoreError) -> Self {
        Self::Authority(error.into())
    }
}

impl From<InvalidAssertion> for IssueError {
    fn from(error: InvalidAssertion) -> Self {
        Self::Client(error.to_string())
    }
}

impl From<ProofError> for IssueError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Key => Self::Proof("the proof must be by the agent's registered key".into()),
            other => Self::Proof(other.to_string()),
        }
    }
}

impl From<IssuanceDenied> for IssueError {
    fn from(error: IssuanceDenied) -> Self {
        match error {
            IssuanceDenied::BearerNotGranted => Self::Proof(error.to_string()),
            IssuanceDenied::NotGranted { .. } | IssuanceDenied::NothingAsked => Self::Scope(error.to_string()),
        }
    }
}

/// One answer for an unknown agent and for a signature that does not hold: a stranger learns no names.
pub(super) fn not_registered() -> IssueError {
    IssueError::Client(
        "the client assertion is not by a registered agent's key: check the client id and the key with `writ agent list`"
            .into(),
    )
}

impl Authority {
    /// Issues a writ, or says what would have to change.
    ///
    /// Agent, grants, suspension, stop and the log's head are read at one moment; the writ carries that head as its epoch. A
    /// revocation that commits at any later moment has a larger number, and so kills it; one that committed earlier and
    /// suspends or stops is seen.
    pub async fn issue(&self, request: TokenRequest) -> Result<Issued, IssueError> {
        let mut uses = Uses::none(self.now());
        let issued = self.issue_using(request, &mut uses).await;
        self.spent(issued, uses).await
    }

    async fn issue_using(&self, request: TokenRequest, uses: &mut Uses) -> Result<Issued, IssueError> {
        let known = self.asking_agent(&request, request.subject.as_ref(), uses).await?;
        let context = &known.context;
        let audience =
            self.audience(request.audience.clone()).map_err(|error| IssueError::Target(error.to_string()))?;
        // An agent's word is not enough where there is somebody who knows the users.
        if request.subject.is_some() && self.providers.speak_for(&context.agent.tenant) {
            return Err(IssueError::User(
                "users of this tenant are known by an identity provider: exchange the user's token instead of `subject` \
                 (RFC 8693)"
                    .into(),
            ));
        }
        let holder = self.proven_key(&request, &known, uses).await?;
        let grants: Vec<Grant> = context
            .grants
            .iter()
            .filter(|grant| grant.to.group.is_none() && grant.to.subject == request.subject)
            .cloned()
            .collect();
        let issuance = Grant::issue(&context.agent.name, &grants, &request.capabilities, request.ttl, holder.is_some())
            .map_err(|denied| on_behalf(denied, request.subject.as_ref()))?;
        // Told only to an agent with a grant for the user.
        if let Some(subject) = request.subject.as_ref().filter(|_| context.suspended) {
            return Err(IssueError::Suspended(subject.clone()));
        }
        let on_behalf = request.subject.map(|subject| OnBehalf {
            subject,
            session: None,
            provider: None,
            groups: Vec::new(),
            claims: Vec::new(),
        });
        self.minted(known, audience, on_behalf, issuance, holder, uses).await
    }

    /// The agent that asks, with what it was granted. An assertion by its key is to be used up. Nobody, while everything is stopped.
    pub(super) async fn asking_agent(
        &self,
        request: &TokenRequest,
        subject: Option<&Subject>,
        uses: &mut Uses,
    ) -> Result<KnownAgent, IssueError> {
        let known = self.known_agent(&request.client, subject, uses).await?;
        if known.context.stopped {
            return Err(AuthorityError::Stopped.into());
        }
        Ok(known)
    }

    /// The key that the request proves, if it does: the agent's registered one, or any where a platform vouches for the agent. The
    /// proof is to be used up; with a platform's token, which is used as far as it is, it is used up here.
    pub(super) async fn proven_key(
        &self,
        request: &TokenRequest,
        known: &KnownAgent,
        uses: &mut Uses,
    ) -> Result<Option<PublicKey>, IssueError> {
        let (key, workload) = match &known.by {
            // Only the registered key: a writ bound to another one would let an agent's assertion be spent by a thief.
            Knowledge::Key(key) => (Some(key), None),
            Knowledge::Workload(workload) => (None, Some(workload)),
        };
        let Some(proof) = &request.proof else {
            return match workload {
                None => Ok(None),
                Some(_) => Err(IssueError::Proof("a workload's writ is bound to a key: send a `DPoP` header".into())),
            };
        };
        let endpoint = self.token_endpoint();
        let proven = ProvenRequest { method: "POST", url: &endpoint, query: None, body_sha256: None };
        let now = uses.now;
        let (key, proof) = proof::check(proof, key, &proven, None, ProofCovers::default(), NonceRule::Optional, now)?;
        let id = sha256(&[b"writ proof\0".as_slice(), &proof.id.0].concat());
        let used_before = || IssueError::Proof("the proof was used before: make a fresh one for each request".into());
        uses.add(id, proof.replayable_until, used_before);
        if let Some(workload) = workload {
            // Before its token: who replays both must not find the token used with this key.
            self.spent(Ok(()), uses.taken()).await?;
            self.use_workload(workload, &key, now).await?;
        }
        Ok(Some(key))
    }

    pub(super) async fn minted(
        &self,
        known: KnownAgent,
        audience: AudienceName,
        on_behalf: Option<OnBehalf>,
        mut issuance: Issuance,
        holder: Option<PublicKey>,
        uses: &mut Uses,
    ) -> Result<Issued, IssueError> {
        let now = uses.now;
        issuance.ttl = known.writ_ttl_max().map_or(issuance.ttl, |most| issuance.ttl.min(most));
        let workload = known.workload();
        let IssueContext { agent, epoch, catalog_version, .. } = known.context;
        // Another replica may have ended a root key, whose writs no edge would take, or stored other policies.
        let published = self.published_since(catalog_version).await?;
        let permitted = permitted(&published, &agent, on_behalf.as_ref(), &issuance.capabilities, holder, now)?;
        if let Some(ttl_max) = permitted.ttl_max {
            issuance.ttl = issuance.ttl.min(ttl_max);
        }
        let (subject, session, provider) = match on_behalf {
            Some(OnBehalf { subject, session, provider, .. }) => (Some(subject), session, provider),
            None => (None, None, None),
        };
        // Whole seconds, rounded down, as the token has them.
        let issued = Timestamp::from_secs(now.secs());
        let block = AuthorityBlock {
            issuer: self.issuer().into(),
            audience,
            tenant: agent.tenant.clone(),
            subject: subject.clone(),
            session: session.clone(),
            agent: agent.name.clone(),
            holder,
            capabilities: issuance.capabilities.clone(),
            grants: issuance.grants.clone(),
            id: BlockId::from_bytes(random()?),
            // Back by what an edge's clock may be behind.
            not_before: issued.before(CLOCK_SLACK),
            expires: issued.after(issuance.ttl),
            depth_max: issuance.depth_max,
            epoch,
            proof_covers: issuance.proof_covers,
            policy: permitted.facts,
        };
        let (root, root_id) = published.signer(now)?;
        let seed = zeroize::Zeroizing::new(random()?);
        let token = mint(&block, root, root_id, &seed, &self.limits).map_err(AuthorityError::from)?;
        let writ = IssuedWrit {
            id: block.id,
            tenant: agent.tenant,
            agent: agent.name.clone(),
            subject,
            session,
            grants: issuance.grants,
            issued,
            expires: block.expires,
            epoch,
            holder: block.holder,
            services: Some(services_of(&block.capabilities)),
        };
        let detail = json!({
            "agent": writ.agent,
            "subject": writ.subject,
            "session": writ.session,
            "provider": provider,
            "workload": workload,
            "capabilities": block.capabilities,
            "grants": writ.grants,
            "expires": writ.expires,
            "epoch": epoch,
            "holder": block.holder,
            "audience": block.audience,
            "root_key": root_id,
            "token_sha256": hex::encode(token.digest().0),
            "policy": { "version": block.policy.version, "policies": permitted.by },
            "groups": block.policy.groups,
        });
        let event = change_with(Actor::Agent(agent.name), "writ.issue", writ.id, Some(&writ.tenant), detail);
        let uses = uses.taken();
        let recorded = self.store.record_issued(&writ, uses.ids(), &event).await?;
        uses.recorded(recorded)?;
        Ok(Issued { token, bound: holder.is_some(), ttl: issuance.ttl, capabilities: issuance.capabilities })
    }
}

/// The services of capabilities, each once.
fn services_of(capabilities: &[Capability]) -> Vec<ServiceName> {
    let services: BTreeSet<_> = capabilities.iter().map(|capability| capability.service.clone()).collect();
    services.into_iter().collect()
}

/// A denial that names the user too, where one was asked for: grants for an agent itself do not count then.
pub(super) fn on_behalf(denied: IssuanceDenied, subject: Option<&Subject>) -> IssueError {
    match (denied, subject) {
        (IssuanceDenied::NotGranted { agent, capability }, Some(subject)) => IssueError::Scope(format!(
            "no grant gives agent `{agent}` the capability `{capability}` on behalf of `{subject}`: an operator can add one \
             with `writ grant add --subject` or `--group`"
        )),
        (denied, _) => denied.into(),
    }
}
