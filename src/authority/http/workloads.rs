//! `/v1/workloads`, and those of one agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Administrator, Body, OfTenant, Params, Reader, Segment};
use super::problem::Problem;
use super::revocations::ReceiptJson;
use crate::authority::workloads::NewWorkload;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{AgentName, ProviderName, TenantName, WorkloadSubject};
use crate::revocation::Receipt;
use crate::store::AgentWorkload;

/// A workload by which an agent is known.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWorkloadBody {
    /// Its issuer, as the settings call it.
    #[schema(value_type = String, example = "ci")]
    issuer: ProviderName,
    /// What the issuer calls it, letter by letter.
    #[schema(value_type = String, example = "repo:acme/web:ref:refs/heads/main")]
    subject: WorkloadSubject,
    /// What else its tokens must say: claims and their exact texts.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    claims: BTreeMap<Box<str>, Box<str>>,
}

impl From<NewWorkloadBody> for NewWorkload {
    fn from(NewWorkloadBody { issuer, subject, claims }: NewWorkloadBody) -> Self {
        Self { issuer, subject, claims }
    }
}

/// A workload that is an agent's no more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OldWorkloadBody {
    /// Its issuer, as the settings call it.
    #[schema(value_type = String)]
    issuer: ProviderName,
    /// What the issuer calls it.
    #[schema(value_type = String)]
    subject: WorkloadSubject,
}

/// A workload that is an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WorkloadView {
    /// The tenant of the agent.
    #[schema(value_type = String)]
    tenant: TenantName,
    /// The agent.
    #[schema(value_type = String)]
    agent: AgentName,
    /// Its issuer, as the settings call it.
    #[schema(value_type = String)]
    issuer: ProviderName,
    /// What the issuer calls it.
    #[schema(value_type = String)]
    subject: WorkloadSubject,
    /// What else its tokens must say.
    #[schema(value_type = BTreeMap<String, String>)]
    claims: BTreeMap<Box<str>, Box<str>>,
    /// When that was stated, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
}

impl From<AgentWorkload> for WorkloadView {
    fn from(AgentWorkload { issuer, subject, tenant, agent, claims, created }: AgentWorkload) -> Self {
        Self { tenant, agent, issuer, subject, claims, created }
    }
}

/// States that a workload is an agent: whoever shows its token is the agent.
#[utoipa::path(post, path = "/v1/agents/{name}/workloads", tag = "agents", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The agent."), OfTenant), request_body = NewWorkloadBody,
    responses((status = 201, body = WorkloadView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<AgentName>,
    Params(of): Params<OfTenant>,
    Body(new): Body<NewWorkloadBody>,
) -> Result<(StatusCode, Json<WorkloadView>), AuthorityError> {
    let workload = authority.add_workload(&by, of.tenant(), name, new.into()).await?;
    Ok((StatusCode::CREATED, Json(workload.into())))
}

/// A tenant's workloads that are agents, by agent.
#[utoipa::path(get, path = "/v1/workloads", tag = "agents", security(("operator" = ["reader"])), params(OfTenant),
    responses((status = 200, body = Vec<WorkloadView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
) -> Result<Json<Vec<WorkloadView>>, AuthorityError> {
    let workloads = authority.workloads(&of.tenant()).await?;
    Ok(Json(workloads.into_iter().map(Into::into).collect()))
}

/// Takes a workload from an agent and ends what the agent was issued; answers once no edge serves it.
#[utoipa::path(post, path = "/v1/agents/{name}/workloads/remove", tag = "agents", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The agent."), OfTenant), request_body = OldWorkloadBody,
    responses((status = 200, body = Receipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<AgentName>,
    Params(of): Params<OfTenant>,
    Body(OldWorkloadBody { issuer, subject }): Body<OldWorkloadBody>,
) -> Result<ReceiptJson, AuthorityError> {
    Ok(authority.remove_workload(&by, of.tenant(), name, issuer, subject).await?.into())
}
