//! `/v1/revocations/explain`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Reader, SecretBody};
use super::problem::Problem;
use super::revocations::RevocationBody;
use crate::authority::explain::Explanation;
use crate::authority::{Authority, AuthorityError};
use crate::id::TenantName;
use crate::revocation::Target;

/// So many of the writs are of this one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShareView {
    /// The tenant.
    #[schema(value_type = String)]
    tenant: TenantName,
    /// The agent, the user or the service.
    name: String,
    /// How many of the writs.
    writs: u64,
}

/// What a revocation would do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExplanationView {
    /// What would be revoked.
    #[schema(value_type = String)]
    target: Target,
    /// Whether anything of that name or id was ever seen. What is not can be revoked all the same.
    known: bool,
    /// Where in the chain of the token that was shown the block stands: 0 for its authority block.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<usize>,
    /// How many writs that were issued and are live now it would reach.
    writs: u64,
    /// Of how many agents.
    agents: u64,
    /// For how many users.
    users: u64,
    /// At most 20 of the agents, those with the most writs first.
    top_agents: Vec<ShareView>,
    /// At most 20 of the users, those with the most writs first.
    top_users: Vec<ShareView>,
    /// The services at which those writs have a capability.
    services: Vec<ShareView>,
    /// How many writs of an older version there are, of which holder, session and services are not known.
    unknown: u64,
    /// What would happen besides.
    also: Vec<&'static str>,
    /// What would not die, or cannot be counted.
    but: Vec<&'static str>,
}

fn shares<T: ToString>(counted: Vec<(TenantName, T, u64)>) -> Vec<ShareView> {
    counted.into_iter().map(|(tenant, name, writs)| ShareView { tenant, name: name.to_string(), writs }).collect()
}

impl From<Explanation> for ExplanationView {
    fn from(Explanation { target, reach, position, also, but }: Explanation) -> Self {
        Self {
            target,
            known: reach.known,
            position,
            writs: reach.writs,
            agents: reach.agents,
            users: reach.users,
            top_agents: shares(reach.top_agents),
            top_users: shares(reach.top_users),
            services: shares(reach.services),
            unknown: reach.unknown,
            also,
            but,
        }
    }
}

/// What a revocation would do. Takes the same body, changes nothing, and needs no `confirm`.
#[utoipa::path(post, path = "/v1/revocations/explain", tag = "revocations", security(("operator" = ["reader"])), request_body = RevocationBody,
    responses((status = 200, body = ExplanationView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn explain(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    SecretBody(body): SecretBody<RevocationBody>,
) -> Result<Json<ExplanationView>, AuthorityError> {
    Ok(Json(authority.explain(&body.into_request()?.what).await?.into()))
}
