//! What anybody may ask: how to get a token here, and whether the process lives.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::token::{CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE};
use super::{INTROSPECT_PATH, REVOKE_PATH, TOKEN_PATH};
use crate::authority::{Authority, AuthorityError};

/// Ed25519 under both of its names (RFC 9864).
const SIGNATURES: [&str; 2] = ["EdDSA", "Ed25519"];

/// Authorization server metadata (RFC 8414).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Metadata {
    issuer: String,
    token_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    grant_types_supported: [&'static str; 3],
    authorization_grant_profiles_supported: [&'static str; 1],
    response_types_supported: [&'static str; 0],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 2],
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; 2],
    introspection_endpoint_auth_methods_supported: [&'static str; 1],
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; 2],
    dpop_signing_alg_values_supported: [&'static str; 2],
}

/// Authorization server metadata (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "oauth",
    responses((status = 200, body = Metadata)))]
pub(super) async fn metadata(State(authority): State<Arc<Authority>>) -> Json<Metadata> {
    Json(Metadata {
        issuer: authority.issuer().into(),
        token_endpoint: format!("{}{TOKEN_PATH}", authority.issuer()),
        revocation_endpoint: format!("{}{REVOKE_PATH}", authority.issuer()),
        introspection_endpoint: format!("{}{INTROSPECT_PATH}", authority.issuer()),
        grant_types_supported: [CLIENT_CREDENTIALS, TOKEN_EXCHANGE, JWT_BEARER],
        authorization_grant_profiles_supported: ["urn:ietf:params:oauth:grant-profile:id-jag"],
        response_types_supported: [],
        token_endpoint_auth_methods_supported: ["private_key_jwt", "spiffe_jwt"],
        token_endpoint_auth_signing_alg_values_supported: SIGNATURES,
        revocation_endpoint_auth_methods_supported: ["private_key_jwt"],
        revocation_endpoint_auth_signing_alg_values_supported: SIGNATURES,
        introspection_endpoint_auth_methods_supported: ["private_key_jwt"],
        introspection_endpoint_auth_signing_alg_values_supported: SIGNATURES,
        dpop_signing_alg_values_supported: SIGNATURES,
    })
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The process can serve: its keys are loaded and the store answers.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = String), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn readyz(State(authority): State<Arc<Authority>>) -> Result<&'static str, AuthorityError> {
    authority.ready().await?;
    Ok("ready\n")
}
