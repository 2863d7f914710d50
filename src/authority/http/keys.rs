//! `/v1/keys`: the root keys.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Administrator, Body, Segment};
use super::problem::Problem;
use super::revocations::ReceiptJson;
use crate::authority::keys::PublicRoot;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::key::PublicKey;
use crate::revocation::Receipt;

/// The public keys of this authority.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeysView {
    /// The issuer that stands in every writ.
    issuer: String,
    /// The key that signs what edges are told, receipts and checkpoints.
    #[schema(value_type = String)]
    authority_key: PublicKey,
    /// The keys that sign writs, retired ones included.
    root_keys: Vec<RootKeyView>,
}

/// A root key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RootKeyView {
    /// The id that stands in tokens; never reused.
    id: u32,
    /// The key.
    #[schema(value_type = String)]
    key: PublicKey,
    /// When it was created, in milliseconds since 1970.
    #[schema(value_type = i64)]
    created: Timestamp,
    /// From when on it signs.
    #[schema(value_type = i64)]
    signs_from: Timestamp,
    /// The last moment its writs count, once it is retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    until: Option<Timestamp>,
}

impl From<PublicRoot> for RootKeyView {
    fn from(root: PublicRoot) -> Self {
        let PublicRoot { id, key, created, signs_from, until } = root;
        Self { id, key, created, signs_from, until }
    }
}

/// How one root key follows another.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// For how long both are known before the new one signs, in seconds; 60 if not given.
    #[serde(default = "overlap_s_default")]
    overlap_s: u64,
}

const fn overlap_s_default() -> u64 {
    60
}

/// The public keys. Open to everybody.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", responses((status = 200, body = KeysView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(State(authority): State<Arc<Authority>>) -> Result<Json<KeysView>, AuthorityError> {
    let root_keys = authority.root_keys().await?.into_iter().map(Into::into).collect();
    Ok(Json(KeysView { issuer: authority.issuer().into(), authority_key: authority.public_key(), root_keys }))
}

/// Adds a root key that signs once every edge knows it; the others end when what they signed has expired.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", security(("operator" = ["admin"])), request_body = Rotation,
    responses((status = 201, body = RootKeyView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rotate(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Body(rotation): Body<Rotation>,
) -> Result<(StatusCode, Json<RootKeyView>), AuthorityError> {
    let added = authority.rotate_root_key(&by, Duration::from_secs(rotation.overlap_s)).await?;
    Ok((StatusCode::CREATED, Json(added.into())))
}

/// Ends a root key now, because others may know it; answers once no edge trusts it.
#[utoipa::path(post, path = "/v1/keys/{id}/retire", tag = "keys", security(("operator" = ["admin"])),
    params(("id" = u32, Path, description = "The key's id.")),
    responses((status = 200, body = Receipt), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn retire(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(id): Segment<u32>,
) -> Result<ReceiptJson, AuthorityError> {
    Ok(authority.retire_root_key(&by, id).await?.into())
}
