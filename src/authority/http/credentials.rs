//! `/v1/credentials`. No route answers a secret.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Administrator, OfTenant, Params, Reader, SecretBody, Segment};
use super::problem::Problem;
use crate::authority::credentials::CredentialMetadata;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{CredentialName, Subject, TenantName};
use crate::store::CredentialKey;
use crate::vault::CredentialKind;
use crate::wire::WireSecret;

/// A credential to be stored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCredential {
    /// How it is presented.
    kind: Kind,
    /// The header or query parameter, for those two kinds.
    #[serde(default)]
    #[schema(example = "x-api-key")]
    name: Option<Box<str>>,
    /// The user name, for the kind `basic`.
    #[serde(default)]
    username: Option<Box<str>>,
    /// The secret.
    #[schema(value_type = String, write_only)]
    secret: WireSecret,
}

/// How a credential is presented.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// `Authorization: Bearer <secret>`.
    Bearer,
    /// A header of the given name.
    Header,
    /// `Authorization: Basic`, the secret being the password.
    Basic,
    /// A query parameter of the given name.
    Query,
}

impl NewCredential {
    fn kind(&self) -> Result<CredentialKind, AuthorityError> {
        let wrong = |message: &str| Err(AuthorityError::Malformed(message.into()));
        match (&self.kind, &self.name, &self.username) {
            (Kind::Bearer, None, None) => Ok(CredentialKind::Bearer),
            (Kind::Header, Some(name), None) => Ok(CredentialKind::Header { name: name.clone() }),
            (Kind::Query, Some(name), None) => Ok(CredentialKind::Query { name: name.clone() }),
            (Kind::Basic, None, Some(username)) => Ok(CredentialKind::Basic { username: username.clone() }),
            (Kind::Bearer, ..) => wrong("a credential of kind `bearer` has neither `name` nor `username`"),
            (Kind::Header | Kind::Query, ..) => {
                wrong("a credential of kind `header` or `query` has a `name` and no `username`")
            }
            (Kind::Basic, ..) => wrong("a credential of kind `basic` has a `username` and no `name`"),
        }
    }
}

/// The next secret of a credential.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NextSecret {
    /// The secret.
    #[schema(value_type = String, write_only)]
    secret: WireSecret,
}

/// A credential without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CredentialView {
    /// The tenant.
    #[schema(value_type = String)]
    tenant: TenantName,
    /// The name that services refer to.
    #[schema(value_type = String)]
    name: CredentialName,
    /// The user, for a credential of which each user has their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    subject: Option<Subject>,
    /// How it is presented.
    #[schema(value_type = Object, example = json!({"kind": "header", "name": "x-api-key"}))]
    presented: CredentialKind,
    /// Grows with every rotation.
    version: u32,
    /// When this version was stored, in milliseconds since 1970.
    #[schema(value_type = i64)]
    updated: Timestamp,
    /// The key-encryption key that it is wrapped under.
    kek: Box<str>,
}

impl From<CredentialMetadata> for CredentialView {
    fn from(credential: CredentialMetadata) -> Self {
        let CredentialMetadata { key: CredentialKey { tenant, name, subject }, kind, version, updated, kek } =
            credential;
        Self { tenant, name, subject, presented: kind, version, updated, kek }
    }
}

/// Whose credential is meant.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Owner {
    /// The tenant; `default` if not given.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantName>,
    /// The user whose own it is; none for one that the tenant shares.
    #[param(value_type = Option<String>)]
    subject: Option<Subject>,
}

impl Owner {
    fn key(self, name: CredentialName) -> CredentialKey {
        CredentialKey { tenant: self.tenant.unwrap_or_default(), name, subject: self.subject }
    }
}

/// A tenant's credentials, without their secrets.
#[utoipa::path(get, path = "/v1/credentials", tag = "credentials", security(("operator" = ["reader"])), params(OfTenant),
    responses((status = 200, body = Vec<CredentialView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
) -> Result<Json<Vec<CredentialView>>, AuthorityError> {
    let credentials = authority.credentials(&of.tenant()).await?;
    Ok(Json(credentials.into_iter().map(Into::into).collect()))
}

/// Stores a credential, or its next version.
#[utoipa::path(put, path = "/v1/credentials/{name}", tag = "credentials", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The credential."), Owner), request_body = NewCredential,
    responses((status = 200, body = CredentialView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<CredentialName>,
    Params(owner): Params<Owner>,
    SecretBody(new): SecretBody<NewCredential>,
) -> Result<Json<CredentialView>, AuthorityError> {
    let kind = new.kind()?;
    Ok(Json(authority.put_credential(&by, owner.key(name), kind, &new.secret.0).await?.into()))
}

/// Replaces the secret of a credential that exists. Edges drop the old one.
#[utoipa::path(post, path = "/v1/credentials/{name}/rotate", tag = "credentials", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The credential."), Owner), request_body = NextSecret,
    responses((status = 200, body = CredentialView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rotate(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<CredentialName>,
    Params(owner): Params<Owner>,
    SecretBody(new): SecretBody<NextSecret>,
) -> Result<Json<CredentialView>, AuthorityError> {
    Ok(Json(authority.rotate_credential(&by, owner.key(name), &new.secret.0).await?.into()))
}

/// Removes a credential. Edges drop it.
#[utoipa::path(delete, path = "/v1/credentials/{name}", tag = "credentials", security(("operator" = ["admin"])),
    params(("name" = String, Path, description = "The credential."), Owner),
    responses((status = 204, description = "Removed."), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Segment(name): Segment<CredentialName>,
    Params(owner): Params<Owner>,
) -> Result<StatusCode, AuthorityError> {
    authority.remove_credential(&by, &owner.key(name)).await?;
    Ok(StatusCode::NO_CONTENT)
}
