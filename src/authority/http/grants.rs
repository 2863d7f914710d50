//! `/v1/grants`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Administrator, Body, OfTenant, Params, Reader, Segment};
use super::problem::Problem;
use super::revocations::ReceiptJson;
use crate::authority::agents::NewGrant;
use crate::authority::{Authority, AuthorityError};
use crate::id::{AgentName, GrantId, Group, Subject, TenantName};
use crate::policy::{Grant, GrantSubject};
use crate::revocation::Receipt;
use crate::token::Capability;
use crate::token::chain::ProofCovers;

/// A grant to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGrantBody {
    /// Who may be given it.
    #[schema(value_type = String, example = "planner")]
    agent: AgentName,
    /// The user it acts for; none when it acts for itself.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    subject: Option<Subject>,
    /// The group whose users it acts for, by what their identity provider says. Not beside a user.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    group: Option<Group>,
    /// What may be given: these, or less.
    #[schema(value_type = Vec<String>, example = json!(["notes:read:team"]))]
    capabilities: Vec<Capability>,
    /// The longest life of a writ, in seconds; 900 if not given.
    #[serde(default = "ttl_s_default")]
    #[schema(minimum = 1, maximum = 86_400)]
    ttl_s_max: u32,
    /// How many hops a writ may be delegated; 3 if not given.
    #[serde(default = "depth_default")]
    #[schema(maximum = 5)]
    depth_max: u8,
    /// Whether a writ may be minted without a key to prove. Dangerous: whoever sees it can use it.
    #[serde(default)]
    bearer: bool,
    /// Whether each proof must cover the query.
    #[serde(default)]
    proof_covers_query: bool,
    /// Whether each proof must cover the body.
    #[serde(default)]
    proof_covers_body: bool,
}

const fn ttl_s_default() -> u32 {
    Grant::TTL_S_DEFAULT
}

const fn depth_default() -> u8 {
    3
}

/// A grant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GrantView {
    /// Its id: 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: GrantId,
    /// The tenant.
    #[schema(value_type = String)]
    tenant: TenantName,
    /// Who may be given it.
    #[schema(value_type = String)]
    agent: AgentName,
    /// The user it acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    subject: Option<Subject>,
    /// The group whose users it acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    group: Option<Group>,
    /// What may be given.
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<Capability>,
    /// The longest life of a writ, in seconds.
    ttl_s_max: u32,
    /// How many hops a writ may be delegated.
    depth_max: u8,
    /// Whether a writ may be minted without a key to prove.
    bearer: bool,
    /// Whether each proof must cover the query.
    proof_covers_query: bool,
    /// Whether each proof must cover the body.
    proof_covers_body: bool,
}

impl From<Grant> for GrantView {
    fn from(grant: Grant) -> Self {
        Self {
            id: grant.id,
            tenant: grant.tenant,
            agent: grant.to.agent,
            subject: grant.to.subject,
            group: grant.to.group,
            capabilities: grant.capabilities,
            ttl_s_max: grant.ttl_s_max,
            depth_max: grant.depth_max,
            bearer: grant.bearer,
            proof_covers_query: grant.proof_covers.query,
            proof_covers_body: grant.proof_covers.body,
        }
    }
}

/// Which grants are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OfAgent {
    /// The tenant; `default` if not given.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantName>,
    /// Only those of this agent.
    #[param(value_type = Option<String>)]
    agent: Option<AgentName>,
}

/// Adds a grant to an agent that exists.
#[utoipa::path(post, path = "/v1/grants", tag = "grants", security(("operator" = ["admin"])), params(OfTenant), request_body = NewGrantBody,
    responses((status = 201, body = GrantView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Params(of): Params<OfTenant>,
    Body(new): Body<NewGrantBody>,
) -> Result<(StatusCode, Json<GrantView>), AuthorityError> {
    let new = NewGrant {
        to: GrantSubject { agent: new.agent, subject: new.subject, group: new.group },
        capabilities: new.capabilities,
        ttl_s_max: new.ttl_s_max,
        depth_max: new.depth_max,
        bearer: new.bearer,
        proof_covers: ProofCovers { query: new.proof_covers_query, body: new.proof_covers_body },
    };
    let grant = authority.add_grant(&by, of.tenant(), new).await?;
    Ok((StatusCode::CREATED, Json(grant.into())))
}

/// A tenant's grants, oldest first.
#[utoipa::path(get, path = "/v1/grants", tag = "grants", security(("operator" = ["reader"])), params(OfAgent),
    responses((status = 200, body = Vec<GrantView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfAgent>,
) -> Result<Json<Vec<GrantView>>, AuthorityError> {
    let grants = authority.grants(&of.tenant.unwrap_or_default(), of.agent.as_ref()).await?;
    Ok(Json(grants.into_iter().map(Into::into).collect()))
}

/// Removes a grant and revokes what was minted under it; answers once no edge serves it.
#[utoipa::path(delete, path = "/v1/grants/{id}", tag = "grants", security(("operator" = ["admin"])),
    params(("id" = String, Path, description = "The grant."), OfTenant),
    responses((status = 200, body = Receipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(id): Segment<GrantId>,
    Params(of): Params<OfTenant>,
) -> Result<ReceiptJson, AuthorityError> {
    Ok(authority.remove_grant(&by, &of.tenant(), id).await?.into())
}
