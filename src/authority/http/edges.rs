//! `/v1/edges`: what operators do with edges.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Administrator, Body, Reader, Segment};
use super::problem::Problem;
use crate::authority::edges::EdgeStatus;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{AudienceName, EdgeName};
use crate::key::PublicKey;
use crate::wire::WireSecret;

/// The edge that a ticket is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTicketBody {
    /// The name it will have.
    #[schema(value_type = String, example = "edge-1")]
    name: EdgeName,
    /// The deployment it will belong to; may be left out where there is only one.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    audience: Option<AudienceName>,
}

/// A join ticket. Shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TicketView {
    /// The line to hand to `writ edge`. Usable once.
    #[schema(value_type = String)]
    ticket: WireSecret,
    /// The last moment it can be used, in milliseconds since 1970.
    #[schema(value_type = i64)]
    expires: Timestamp,
}

/// An edge.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EdgeView {
    /// Its name.
    #[schema(value_type = String)]
    name: EdgeName,
    /// The key it proves in every message.
    #[schema(value_type = String)]
    key: PublicKey,
    /// The deployment it belongs to.
    #[schema(value_type = String)]
    audience: AudienceName,
    /// The origin at which agents reach it.
    origin: Box<str>,
    /// Whether it demands its own nonce in every proof.
    nonce: bool,
    /// When it joined, in milliseconds since 1970.
    #[schema(value_type = i64)]
    joined: Timestamp,
    /// When this authority process last heard from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    last_seen: Option<Timestamp>,
    /// How much of the revocation log it acknowledged to this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_seq: Option<u64>,
    /// Which version of the settings it acknowledged to this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_settings: Option<u64>,
    /// Whether a lease from this process may still hold.
    leased: bool,
}

impl From<EdgeStatus> for EdgeView {
    fn from(status: EdgeStatus) -> Self {
        let EdgeStatus { edge, heard, leased } = status;
        Self {
            name: edge.name,
            key: edge.key,
            audience: edge.audience,
            origin: edge.origin,
            nonce: edge.nonce,
            joined: edge.joined,
            last_seen: heard.as_ref().map(|heard| heard.at),
            acknowledged_seq: heard.as_ref().map(|heard| heard.seq),
            acknowledged_settings: heard.as_ref().map(|heard| heard.settings),
            leased,
        }
    }
}

/// Makes a ticket by which one edge can join, once.
#[utoipa::path(post, path = "/v1/edges/tickets", tag = "edges", security(("operator" = ["admin"])), request_body = NewTicketBody,
    responses((status = 201, body = TicketView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn ticket(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Body(new): Body<NewTicketBody>,
) -> Result<(StatusCode, Json<TicketView>), AuthorityError> {
    let ticket = authority.add_ticket(&by, new.name, new.audience).await?;
    Ok((StatusCode::CREATED, Json(TicketView { ticket: WireSecret(ticket.text), expires: ticket.expires })))
}

/// Every edge by name.
#[utoipa::path(get, path = "/v1/edges", tag = "edges", security(("operator" = ["reader"])),
    responses((status = 200, body = Vec<EdgeView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
) -> Result<Json<Vec<EdgeView>>, AuthorityError> {
    Ok(Json(authority.edges().await?.into_iter().map(Into::into).collect()))
}

/// Removes an edge: it serves until its lease ends, and no longer.
#[utoipa::path(delete, path = "/v1/edges/{name}", tag = "edges", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The edge.")),
    responses((status = 204, description = "Removed."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<EdgeName>,
) -> Result<StatusCode, AuthorityError> {
    authority.remove_edge(&by, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
