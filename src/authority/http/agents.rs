//! `/v1/agents`

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{
    Administrator, Body, JSON_BYTES_MAX, OfTenant, Params, Reader, Segment, parse_secret, proof, read_json,
};
use super::problem::Problem;
use super::revocations::ReceiptJson;
use super::workloads::NewWorkloadBody;
use crate::authority::agent_keys::{KeyChanged, Overlap};
use crate::authority::agents::NewAgent;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{AgentName, Note, TenantName};
use crate::key::PublicKey;
use crate::revocation::Receipt;
use crate::store::{Agent, AgentStatus, StoreError};

/// Where an agent gives itself another key.
pub const OWN_KEY_PATH: &str = "/v1/agent/key";

/// An agent to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAgentBody {
    /// Its name, unique in the tenant.
    #[schema(value_type = String, example = "planner")]
    name: AgentName,
    /// Its public key, as `writ agent keygen` printed it. May be left out beside `workload`.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "did:key:z6Mk...")]
    key: Option<PublicKey>,
    /// A workload by which it is known, instead of a key or beside one.
    #[serde(default)]
    workload: Option<NewWorkloadBody>,
    /// Who answers for it: a person, a team.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    owner: Option<Note>,
    /// What it is for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    purpose: Option<Note>,
}

/// A registered agent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentView {
    /// The tenant it belongs to.
    #[schema(value_type = String)]
    tenant: TenantName,
    /// Its name.
    #[schema(value_type = String)]
    name: AgentName,
    /// Its public key; absent if it is known by its workloads alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key: Option<PublicKey>,
    /// `active` or `disabled`.
    #[schema(value_type = String)]
    status: AgentStatus,
    /// When it was registered, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    owner: Option<Note>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    purpose: Option<Note>,
    /// When it last proved who it is, in milliseconds since 1970; absent if it never did. Written down once a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    seen: Option<Timestamp>,
}

impl AgentView {
    pub(super) fn of(agent: Agent, seen: Option<Timestamp>) -> Self {
        let Agent { tenant, name, key, key_until: _, status, created, owner, purpose } = agent;
        Self { tenant, name, key, status, created, owner, purpose, seen }
    }
}

/// A key that an agent had before, and that still counts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyBeforeView {
    /// The key.
    #[schema(value_type = String)]
    key: PublicKey,
    /// The last moment that it counts, in milliseconds since 1970.
    #[schema(value_type = i64)]
    until: Timestamp,
}

/// An agent with every key that counts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AgentDetail {
    #[serde(flatten)]
    agent: AgentView,
    /// Keys that it had before, and that still count.
    keys_before: Vec<KeyBeforeView>,
}

impl AgentDetail {
    fn of(keys: Vec<Agent>, seen: Option<Timestamp>) -> Result<Self, AuthorityError> {
        let mut keys = keys.into_iter();
        let agent = keys.next().ok_or(StoreError::NotFound("agent"))?;
        let before = keys.filter_map(|agent| Some(KeyBeforeView { key: agent.key?, until: agent.key_until? }));
        let keys_before = before.collect();
        Ok(Self { agent: AgentView::of(agent, seen), keys_before })
    }
}

/// What is written beside an agent. What is left out is removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    /// Who answers for it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    owner: Option<Note>,
    /// What it is for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    purpose: Option<Note>,
}

/// Another key for an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// The key.
    #[schema(value_type = String, example = "did:key:z6Mk...")]
    key: PublicKey,
    /// For how many seconds the key before still counts; 3600 if not given.
    #[serde(default)]
    #[schema(maximum = 604_800)]
    overlap_s: Option<u64>,
    /// End the key before at once, and every chain that holds it. Not beside `overlap_s`.
    #[serde(default)]
    now: bool,
}

/// Another key for the agent that asks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnNewKey {
    /// The key.
    #[schema(value_type = String, example = "did:key:z6Mk...")]
    key: PublicKey,
    /// A DPoP proof by that key for the same method and URL, its `bdh` over the text of the key before.
    proof: String,
    /// For how many seconds the key before still counts; 3600 if not given.
    #[serde(default = "overlap_s_default")]
    #[schema(maximum = 604_800)]
    overlap_s: u64,
}

const fn overlap_s_default() -> u64 {
    3600
}

/// Registers an agent by its public key, or a workload.
#[utoipa::path(post, path = "/v1/agents", tag = "agents", security(("operator" = ["admin"])), params(OfTenant), request_body = NewAgentBody,
    responses((status = 201, body = AgentView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn register(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Params(of): Params<OfTenant>,
    Body(new): Body<NewAgentBody>,
) -> Result<(StatusCode, Json<AgentView>), AuthorityError> {
    let NewAgentBody { name, key, workload, owner, purpose } = new;
    let new = NewAgent { name, key, owner, purpose };
    let agent = match workload {
        Some(workload) => authority.register_workload_agent(&by, of.tenant(), new, workload.into()).await?,
        None if key.is_none() => return Err(AuthorityError::Malformed("give `key`, `workload`, or both".into())),
        None => authority.register_agent(&by, of.tenant(), new).await?,
    };
    Ok((StatusCode::CREATED, Json(AgentView::of(agent, None))))
}

/// A tenant's agents by name.
#[utoipa::path(get, path = "/v1/agents", tag = "agents", security(("operator" = ["reader"])), params(OfTenant),
    responses((status = 200, body = Vec<AgentView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
) -> Result<Json<Vec<AgentView>>, AuthorityError> {
    let agents = authority.agents(&of.tenant()).await?;
    Ok(Json(agents.into_iter().map(|(agent, seen)| AgentView::of(agent, seen)).collect()))
}

/// One agent, with every key that counts.
#[utoipa::path(get, path = "/v1/agents/{name}", tag = "agents", security(("operator" = ["reader"])),
    params(("name" = String, Path, description = "The agent."), OfTenant),
    responses((status = 200, body = AgentDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Segment(name): Segment<AgentName>,
    Params(of): Params<OfTenant>,
) -> Result<Json<AgentDetail>, AuthorityError> {
    let (keys, seen) = authority.agent(&of.tenant(), &name).await?;
    Ok(Json(AgentDetail::of(keys, seen)?))
}

/// Replaces what is written beside an agent.
#[utoipa::path(put, path = "/v1/agents/{name}/description", tag = "agents", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The agent."), OfTenant), request_body = Description,
    responses((status = 204, description = "Replaced."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn describe(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<AgentName>,
    Params(of): Params<OfTenant>,
    Body(Description { owner, purpose }): Body<Description>,
) -> Result<StatusCode, AuthorityError> {
    authority.describe_agent(&by, &of.tenant(), &name, owner.as_ref(), purpose.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives an agent another key. The one before counts for a while, or ends at once: then this answers once no edge serves it.
#[utoipa::path(post, path = "/v1/agents/{name}/keys", tag = "agents", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The agent."), OfTenant), request_body = NewKey,
    responses((status = 200, description = "An `AgentDetail`; with `now` a `Receipt`.", body = AgentDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rotate(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<AgentName>,
    Params(of): Params<OfTenant>,
    Body(new): Body<NewKey>,
) -> Result<Response, AuthorityError> {
    let overlap = match (new.overlap_s, new.now) {
        (Some(_), true) => return Err(AuthorityError::Malformed("give `overlap_s` or `now`, not both".into())),
        (None, true) => Overlap::Revoked,
        (seconds, false) => Overlap::For(Duration::from_secs(seconds.unwrap_or(overlap_s_default()))),
    };
    Ok(match authority.rotate_agent_key(&by, &of.tenant(), &name, new.key, overlap).await? {
        KeyChanged::Receipt(receipt) => ReceiptJson::from(receipt).into_response(),
        KeyChanged::Overlapping(keys) => Json(AgentDetail::of(keys, None)?).into_response(),
    })
}

/// Gives the agent that asks another key. Proven by both.
#[utoipa::path(post, path = "/v1/agent/key", tag = "agents", request_body = OwnNewKey,
    params(("DPoP" = String, Header, description = "A proof by the agent's present key, with `bdh`.")),
    responses((status = 200, body = AgentDetail), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rotate_own(
    State(authority): State<Arc<Authority>>,
    request: Request,
) -> Result<Json<AgentDetail>, AuthorityError> {
    let (from, new) = proven::<OwnNewKey>(&authority, OWN_KEY_PATH, request).await?;
    let overlap = Duration::from_secs(new.overlap_s);
    let keys = authority.rotate_own_key(OWN_KEY_PATH, from, new.key, &new.proof, overlap).await?;
    Ok(Json(AgentDetail::of(keys, None)?))
}

/// The body of a request, and the key by which a proof covers it.
pub(super) async fn proven<T: DeserializeOwned>(
    authority: &Authority,
    path: &str,
    request: Request,
) -> Result<(PublicKey, T), AuthorityError> {
    let headers = request.headers().clone();
    let body = read_json(authority, request, JSON_BYTES_MAX).await?;
    let key = authority.witness_proof(path, proof(&headers)?, &body)?;
    Ok((key, parse_secret(&body)?))
}

/// Disables an agent and revokes what it was issued; answers once no edge serves it.
#[utoipa::path(post, path = "/v1/agents/{name}/disable", tag = "agents", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The agent."), OfTenant),
    responses((status = 200, body = Receipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn disable(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<AgentName>,
    Params(of): Params<OfTenant>,
) -> Result<ReceiptJson, AuthorityError> {
    Ok(authority.disable_agent(&by, &of.tenant(), &name).await?.into())
}

/// Lets a disabled agent be issued writs again. What was revoked stays revoked.
#[utoipa::path(post, path = "/v1/agents/{name}/enable", tag = "agents", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The agent."), OfTenant),
    responses((status = 204, description = "Enabled."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn enable(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<AgentName>,
    Params(of): Params<OfTenant>,
) -> Result<StatusCode, AuthorityError> {
    authority.enable_agent(&by, &of.tenant(), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
