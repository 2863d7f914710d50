//! Token exchange (RFC 8693): from a provider's word about a user, and an agent's proof of its key, to a writ.

use std::time::Duration;

use crate::authority::issue::{IssueError, Issued, OnBehalf, TokenRequest};
use crate::authority::once::Uses;
use crate::authority::workloads::KnownAgent;
use crate::authority::{Authority, is_client_id};
use crate::clock::Timestamp;
use crate::id::{AgentName, AudienceName, Group};
use crate::identity::{IdentityError, IdentityGrant, TokenKind, VerifiedIdentity};
use crate::key::{PublicKey, sha256};
use crate::policy::Grant;
use crate::revocation::{Entry, Target};
use crate::store::IssueContext;
use crate::token::Capability;

/// The most capabilities of an assertion's scope that are looked at.
const SCOPE_MAX: usize = 64;

/// A request to exchange a user's token for a writ.
#[derive(Debug)]
pub struct ExchangeRequest {
    /// Who asks for what. Names no user.
    pub request: TokenRequest,
    /// The user's token.
    pub subject_token: String,
    /// What kind of token that is.
    pub kind: TokenKind,
    /// Where the writ is to be used, by URL (RFC 8707).
    pub resource: Option<String>,
}

/// A request for a writ by a provider's grant.
#[derive(Debug)]
pub struct GrantedRequest {
    /// Who asks for what. Names no user.
    pub request: TokenRequest,
    /// The identity assertion authorization grant.
    pub assertion: String,
    /// Where the writ is to be used, by URL (RFC 8707).
    pub resource: Option<String>,
}

impl From<IdentityError> for IssueError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Refused(_) => Self::User(error.to_string()),
            IdentityError::Unavailable(_) => Self::Unavailable(error.to_string()),
        }
    }
}

impl Authority {
    /// Issues a writ for the user whom a provider vouches for, or says what would have to change.
    ///
    /// The log's head is read before the user is looked at, and what ended the user's logins after it. So an end that
    /// commits before that second read is seen, and one that commits later has a larger number than the writ's epoch.
    pub async fn exchange(&self, exchange: ExchangeRequest) -> Result<Issued, IssueError> {
        let mut uses = Uses::none(self.now());
        let issued = self.exchange_using(exchange, &mut uses).await;
        self.spent(issued, uses).await
    }

    async fn exchange_using(&self, exchange: ExchangeRequest, uses: &mut Uses) -> Result<Issued, IssueError> {
        let now = uses.now;
        let ExchangeRequest { request, subject_token, kind, resource } = exchange;
        let known = self.asking_agent(&request, None, uses).await?;
        let audience = self.audience_at(request.audience.clone(), resource.as_deref()).await?;
        let holder = self.holder(&request, &known, uses).await?;
        let user = self.providers.verify(&known.context.agent.tenant, &subject_token, kind, now).await?;
        self.issue_for(user, (known, holder), audience, &request, uses).await
    }

    /// The key that the request proves, to which a writ for a user is always bound.
    async fn holder(
        &self,
        request: &TokenRequest,
        known: &KnownAgent,
        uses: &mut Uses,
    ) -> Result<PublicKey, IssueError> {
        let proven = self.proven_key(request, known, uses).await?;
        proven.ok_or_else(|| IssueError::Proof("a writ for a user is bound to a key: send a `DPoP` header".into()))
    }

    /// Issues a writ for the user for whom a provider grants it to the agent (ID-JAG), or says what would have to change.
    /// Otherwise as [`exchange`](Self::exchange).
    pub async fn granted(&self, granted: GrantedRequest) -> Result<Issued, IssueError> {
        let mut uses = Uses::none(self.now());
        let issued = self.granted_using(granted, &mut uses).await;
        self.spent(issued, uses).await
    }

    async fn granted_using(&self, granted: GrantedRequest, uses: &mut Uses) -> Result<Issued, IssueError> {
        let now = uses.now;
        let GrantedRequest { mut request, assertion, resource } = granted;
        let known = self.asking_agent(&request, None, uses).await?;
        let holder = self.holder(&request, &known, uses).await?;
        let agent = &known.context.agent;
        let IdentityGrant { user, client_id, scope, resources } =
            self.providers.grant(&agent.tenant, &assertion, self.issuer(), now).await?;
        if !is_client_id(&client_id, &agent.tenant, &agent.name) {
            return Err(IssueError::User("the assertion's `client_id` is another client's".into()));
        }
        if let Some(scope) = scope {
            request.capabilities = narrowed(request.capabilities, &scope)?;
        }
        let audience = self.audience_within(request.audience.clone(), resource.as_deref(), &resources).await?;
        self.issue_for(user, (known, holder), audience, &request, uses).await
    }

    /// Issues to an agent that proved its key what it was granted for a user.
    async fn issue_for(
        &self,
        user: VerifiedIdentity,
        (known, holder): (KnownAgent, PublicKey),
        audience: AudienceName,
        request: &TokenRequest,
        uses: &mut Uses,
    ) -> Result<Issued, IssueError> {
        let (now, context) = (uses.now, &known.context);
        check_actor(&user, context, &holder)?;
        let groups = self.check_login(&user, Some(&context.agent.name)).await?;
        let for_user = |grant: &&Grant| grant.to.is_for(user.subject(), &groups);
        let grants: Vec<Grant> = context.grants.iter().filter(for_user).cloned().collect();
        let longest = longest(&user, now)?;
        let ttl = request.ttl.map(|ttl| ttl.min(longest));
        let mut issuance = Grant::issue(&context.agent.name, &grants, &request.capabilities, ttl, true)
            .map_err(|denied| super::issue::on_behalf(denied, Some(user.subject())))?;
        issuance.ttl = issuance.ttl.min(longest);
        if user.is_single_use() {
            // What the agent made for this request first: where that counts no longer, the user's token is left as it is.
            self.spent(Ok(()), uses.taken()).await?;
            self.use_up(&user, now).await?;
        }
        let on_behalf = OnBehalf { groups, ..OnBehalf::from(&user) };
        self.minted(known, audience, Some(on_behalf), issuance, Some(holder), uses).await
    }

    /// The edge deployment that is asked for, which must be one at which `resources` stand, if there are any.
    async fn audience_within(
        &self,
        audience: Option<AudienceName>,
        resource: Option<&str>,
        resources: &[String],
    ) -> Result<AudienceName, IssueError> {
        let mut within: Vec<AudienceName> = Vec::new();
        for resource in resources {
            match self.audience_at(None, Some(resource)).await {
                Ok(found) if !within.contains(&found) => within.push(found),
                // What is elsewhere is somebody else's.
                Ok(_) | Err(IssueError::Target(_)) => {}
                Err(other) => return Err(other),
            }
        }
        let asked = match (&audience, resource, within.as_slice()) {
            (None, None, [only]) => only.clone(),
            _ => self.audience_at(audience, resource).await?,
        };
        if resources.is_empty() || within.contains(&asked) {
            return Ok(asked);
        }
        Err(IssueError::Target("the assertion's `resource` is not at the edge deployment that is asked for".into()))
    }

    /// The edge deployment that is named, or that stands at `resource`.
    async fn audience_at(
        &self,
        audience: Option<AudienceName>,
        resource: Option<&str>,
    ) -> Result<AudienceName, IssueError> {
        let target = |message: &str| IssueError::Target(message.into());
        let Some(resource) = resource else {
            return self.audience(audience).map_err(|error| IssueError::Target(error.to_string()));
        };
        let edges = self.store.registered().await?.edges;
        let below =
            |origin: &str| resource.strip_prefix(origin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let at: Vec<_> = edges.into_iter().filter(|edge| below(&edge.origin)).map(|edge| edge.audience).collect();
        let found = at.first().filter(|found| !resource.contains(['#', '?']) && at.iter().all(|other| other == *found));
        match found {
            None => Err(target("`resource` is no edge's origin, nor a URL below one: `writ edge list` shows them")),
            Some(found) if audience.is_some_and(|named| named != *found) => {
                Err(target("`resource` and `audience` are different edge deployments"))
            }
            Some(found) => Ok(found.clone()),
        }
    }

    /// Refuses a user who is suspended, or whom the provider's directory blocks, and a login that was ended. Read after the epoch
    /// of what is to be minted, for `agent` if it is for one. Answers the user's groups: those of the token and those of the directory.
    pub(super) async fn check_login(
        &self,
        user: &VerifiedIdentity,
        agent: Option<&AgentName>,
    ) -> Result<Vec<Group>, IssueError> {
        let (tenant, subject) = (user.tenant(), user.subject());
        let mut targets = vec![Target::Subject(tenant.clone(), subject.clone())];
        targets.extend(agent.map(|agent| Target::Acting(tenant.clone(), agent.clone(), subject.clone())));
        targets.extend(user.session().map(|session| Target::Session(tenant.clone(), session.clone())));
        if self.store.is_suspended(tenant, subject).await? {
            return Err(IssueError::Suspended(subject.clone()));
        }
        let standing = self.standing(user.provider(), subject).await?;
        if standing.blocked {
            return Err(IssueError::Inactive(subject.clone()));
        }
        // A session that was ended stays so; of a user or an agent, what comes after it counts.
        let over = |entry: &Entry| matches!(entry.target, Target::Session(..)) || !user.is_later_than(entry.at);
        if self.store.latest_revocations(&targets).await?.iter().any(over) {
            return Err(IssueError::User("the login that the token came from was ended: log in again".into()));
        }
        Ok(user.groups().iter().cloned().chain(standing.groups).collect())
    }

    async fn use_up(&self, user: &VerifiedIdentity, now: Timestamp) -> Result<(), IssueError> {
        let id = sha256(&[b"writ subject token\0".as_slice(), user.digest()].concat());
        if self.store.use_once(&id, user.expires().after(Duration::from_secs(1)), now).await? {
            return Ok(());
        }
        Err(IssueError::User("the user's token was exchanged before: get a fresh one from the provider".into()))
    }
}

/// What is asked for, if all of it is within `scope`; all of `scope` if nothing is asked for. Words of `scope` that are no
/// capabilities allow nothing here.
fn narrowed(asked: Vec<Capability>, scope: &str) -> Result<Vec<Capability>, IssueError> {
    let within: Vec<Capability> = scope.split(' ').filter_map(|word| word.parse().ok()).take(SCOPE_MAX).collect();
    if asked.is_empty() {
        return Ok(within);
    }
    match asked.iter().find(|one| !within.iter().any(|outer| outer.covers(one))) {
        None => Ok(asked),
        Some(beyond) => Err(IssueError::Scope(format!("the assertion's `scope` does not cover `{beyond}`"))),
    }
}

/// Refuses an agent that the token does not let act, or not by the key `holder`.
fn check_actor(user: &VerifiedIdentity, context: &IssueContext, holder: &PublicKey) -> Result<(), IssueError> {
    let agent = &context.agent;
    if user.may_act().is_some_and(|actor| !is_client_id(actor, &agent.tenant, &agent.name)) {
        return Err(IssueError::User(
            "the user's token names by `may_act` another client that may act for them".into(),
        ));
    }
    if user.bound_to().is_some_and(|thumbprint| thumbprint != holder.thumbprint()) {
        return Err(IssueError::User(
            "the user's token is bound by `cnf` to another key than the one that is proven".into(),
        ));
    }
    Ok(())
}

/// The longest life of a writ for this token, in whole seconds. A writ lives to the end of its last second; the token does not.
fn longest(user: &VerifiedIdentity, now: Timestamp) -> Result<Duration, IssueError> {
    let left = u64::try_from(user.expires().secs().saturating_sub(now.secs()).saturating_sub(1)).unwrap_or(0);
    if left == 0 {
        return Err(IssueError::User("the user's token is about to expire: get a fresh one from the provider".into()));
    }
    Ok(Duration::from_secs(left).min(user.writ_ttl_max()))
}
