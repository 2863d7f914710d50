//! `/v1/agents`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Administrator, Body, OfTenant, Params, Reader, Segment};
use super::problem::Problem;
use super::revocations::ReceiptJson;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{AgentName, TenantName};
use crate::key::PublicKey;
use crate::revocation::Receipt;
use crate::store::{Agent, AgentStatus};

/// An agent to be registered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAgent {
    /// Its name, unique in the tenant.
    #[schema(value_type = String, example = "planner")]
    name: AgentName,
    /// Its public key, as `writ agent keygen` printed it.
    #[schema(value_type = String, example = "did:key:z6Mk...")]
    key: PublicKey,
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
    /// Its public key.
    #[schema(value_type = String)]
    key: PublicKey,
    /// `active` or `disabled`.
    #[schema(value_type = String)]
    status: AgentStatus,
    /// When it was registered, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
}

impl From<Agent> for AgentView {
    fn from(agent: Agent) -> Self {
        let Agent { tenant, name, key, status, created } = agent;
        Self { tenant, name, key, status, created }
    }
}

/// Registers an agent by its public key.
#[utoipa::path(post, path = "/v1/agents", tag = "agents", security(("operator" = ["admin"])), params(OfTenant), request_body = NewAgent,
    responses((status = 201, body = AgentView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn register(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Params(of): Params<OfTenant>,
    Body(new): Body<NewAgent>,
) -> Result<(StatusCode, Json<AgentView>), AuthorityError> {
    let agent = authority.register_agent(&by, of.tenant(), new.name, new.key).await?;
    Ok((StatusCode::CREATED, Json(agent.into())))
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
    Ok(Json(agents.into_iter().map(Into::into).collect()))
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
