//! `/v1/enrolment-codes`, and `/v1/agent/enrol` for those who have one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::agents::{AgentView, proven};
use super::extract::{Administrator, Body, OfTenant, Params, Reader, Segment};
use super::problem::Problem;
use crate::authority::enrolment::NewCode;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{AgentName, EnrolmentId, Note, OperatorName, TenantName};
use crate::policy::Grant;
use crate::store::{EnrolmentCode, EnrolmentGrant, EnrolmentNames};
use crate::token::Capability;
use crate::wire::WireSecret;

/// Where agents register themselves.
pub const ENROL_PATH: &str = "/v1/agent/enrol";

/// A code to be made: for a `name`, or for several agents whose names begin with a `prefix`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCodeBody {
    /// The name of the agent.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "planner")]
    name: Option<AgentName>,
    /// How the names of the agents begin.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "ci-")]
    prefix: Option<AgentName>,
    /// Who answers for them.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    owner: Option<Note>,
    /// What they are for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    purpose: Option<Note>,
    /// What each may be given for itself; nothing if not given.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<Capability>,
    /// The longest life of such a writ, in seconds; 900 if not given.
    #[serde(default = "ttl_s_max_default")]
    #[schema(minimum = 1, maximum = 86_400)]
    ttl_s_max: u32,
    /// How many hops such a writ may be delegated; 3 if not given.
    #[serde(default = "depth_default")]
    #[schema(maximum = 5)]
    depth_max: u8,
    /// How many agents can register with it; 1 if not given.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 10_000)]
    uses: u32,
    /// For how many seconds it can be used; 3600 if not given.
    #[serde(default = "ttl_s_default")]
    #[schema(minimum = 1, maximum = 2_592_000)]
    ttl_s: u64,
}

const fn ttl_s_max_default() -> u32 {
    Grant::TTL_S_DEFAULT
}

const fn depth_default() -> u8 {
    3
}

const fn one() -> u32 {
    1
}

const fn ttl_s_default() -> u64 {
    3600
}

impl NewCodeBody {
    fn read(self) -> Result<NewCode, AuthorityError> {
        let Self { name, prefix, owner, purpose, capabilities, ttl_s_max, depth_max, uses, ttl_s } = self;
        let names = match (name, prefix) {
            (Some(name), None) => EnrolmentNames::Only(name),
            (None, Some(prefix)) => EnrolmentNames::Beginning(prefix),
            _ => return Err(AuthorityError::Malformed("give either `name` or `prefix`".into())),
        };
        let granted = (!capabilities.is_empty()).then_some(EnrolmentGrant { capabilities, ttl_s_max, depth_max });
        Ok(NewCode { names, owner, purpose, granted, uses, ttl: Duration::from_secs(ttl_s) })
    }
}

/// An enrolment code, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CodeView {
    /// Its id: 32 hexadecimal digits.
    #[schema(value_type = String)]
    id: EnrolmentId,
    /// The tenant of the agents.
    #[schema(value_type = String)]
    tenant: TenantName,
    /// The name of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    name: Option<AgentName>,
    /// How the names of the agents begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    prefix: Option<AgentName>,
    /// Who answers for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    owner: Option<Note>,
    /// What they are for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    purpose: Option<Note>,
    /// What each may be given for itself.
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<Capability>,
    /// How many agents can still register with it.
    uses_left: u32,
    /// The last moment that it can be used, in milliseconds since 1970.
    #[schema(value_type = i64)]
    expires: Timestamp,
    /// The operator who made it.
    #[schema(value_type = String)]
    by: OperatorName,
}

impl From<EnrolmentCode> for CodeView {
    fn from(code: EnrolmentCode) -> Self {
        let EnrolmentCode { id, tenant, names, owner, purpose, granted, uses_left, expires, by } = code;
        let (name, prefix) = match names {
            EnrolmentNames::Only(name) => (Some(name), None),
            EnrolmentNames::Beginning(prefix) => (None, Some(prefix)),
        };
        let capabilities = granted.map(|granted| granted.capabilities).unwrap_or_default();
        Self { id, tenant, name, prefix, owner, purpose, capabilities, uses_left, expires, by }
    }
}

/// An enrolment code. Shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CodeMade {
    /// What agents send.
    #[schema(value_type = String)]
    code: WireSecret,
    #[serde(flatten)]
    about: CodeView,
}

/// An agent that registers itself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrolBody {
    /// The code.
    #[schema(value_type = String, write_only)]
    code: WireSecret,
    /// The name it wants; left out where the code says it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Option<AgentName>,
}

/// Makes a code with which agents register themselves.
#[utoipa::path(post, path = "/v1/enrolment-codes", tag = "agents", security(("operator" = ["admin"])), params(OfTenant), request_body = NewCodeBody,
    responses((status = 201, body = CodeMade), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Params(of): Params<OfTenant>,
    Body(new): Body<NewCodeBody>,
) -> Result<(StatusCode, Json<CodeMade>), AuthorityError> {
    let (code, secret) = authority.add_enrolment_code(&by, of.tenant(), new.read()?).await?;
    Ok((StatusCode::CREATED, Json(CodeMade { code: WireSecret(secret), about: code.into() })))
}

/// A tenant's codes that can be used, those that end first first.
#[utoipa::path(get, path = "/v1/enrolment-codes", tag = "agents", security(("operator" = ["reader"])), params(OfTenant),
    responses((status = 200, body = Vec<CodeView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
) -> Result<Json<Vec<CodeView>>, AuthorityError> {
    Ok(Json(authority.enrolment_codes(&of.tenant()).await?.into_iter().map(Into::into).collect()))
}

/// Removes a code. Agents that registered with it stay.
#[utoipa::path(delete, path = "/v1/enrolment-codes/{id}", tag = "agents", security(("operator" = ["admin"])),
    params(("id" = String, Path, description = "The code's id."), OfTenant),
    responses((status = 204, description = "Removed."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(id): Segment<EnrolmentId>,
    Params(of): Params<OfTenant>,
) -> Result<StatusCode, AuthorityError> {
    authority.remove_enrolment_code(&by, &of.tenant(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Registers the agent that proves a key, with a code that an operator made.
#[utoipa::path(post, path = "/v1/agent/enrol", tag = "agents", request_body = EnrolBody,
    params(("DPoP" = String, Header, description = "A proof by the key that the agent will have, with `bdh`.")),
    responses((status = 201, body = AgentView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn enrol(
    State(authority): State<Arc<Authority>>,
    request: Request,
) -> Result<(StatusCode, Json<AgentView>), AuthorityError> {
    let (key, EnrolBody { code, name }) = proven::<EnrolBody>(&authority, ENROL_PATH, request).await?;
    let agent = authority.enrol(key, code.0.expose(), name).await?;
    Ok((StatusCode::CREATED, Json(AgentView::of(agent, None))))
}
