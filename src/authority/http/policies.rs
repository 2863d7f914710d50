//! `/v1/policies`

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::{Administrator, OfTenant, Params, Reader, Segment, media_type, parse, read_body};
use super::problem::Problem;
use crate::authority::{Authority, AuthorityError};
use crate::clock::Timestamp;
use crate::id::{OperatorName, TenantName};
use crate::policy::rules::{Document, Finding};
use crate::store::StoredPolicies;

/// The longest document in bytes: the policies, escaped, and the rest.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// A policy set in its JSON form, or in TOML as `text/plain` or `application/toml`.
pub(super) struct DocumentBody(Document);

impl FromRequest<Arc<Authority>> for DocumentBody {
    type Rejection = AuthorityError;

    async fn from_request(request: Request, authority: &Arc<Authority>) -> Result<Self, Self::Rejection> {
        let media_type = media_type(request.headers());
        if !matches!(&*media_type, "application/json" | "application/toml" | "text/plain") {
            return Err(AuthorityError::MediaType("`application/json`, or TOML as `text/plain`"));
        }
        let bytes = read_body(authority, request.into_body(), DOCUMENT_BYTES_MAX).await?;
        if media_type == "application/json" {
            return parse(&bytes).map(Self);
        }
        let text =
            std::str::from_utf8(&bytes).map_err(|_| AuthorityError::Malformed("the body is not UTF-8".into()))?;
        toml::from_str(text).map(Self).map_err(|error| AuthorityError::Malformed(error.message().to_owned()))
    }
}

/// A version of a tenant's policy set.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PoliciesView {
    /// The tenant.
    #[schema(value_type = String)]
    tenant: TenantName,
    /// The version; 0 for the built-in set, which counts until one is stored.
    version: u64,
    /// Who stored it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    author: Option<OperatorName>,
    /// When, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    at: Option<Timestamp>,
    /// The document, as `spec/policy.md` defines it.
    #[schema(value_type = serde_json::Value)]
    document: serde_json::Value,
}

impl From<StoredPolicies> for PoliciesView {
    fn from(stored: StoredPolicies) -> Self {
        let StoredPolicies { tenant, version, document, author, at, .. } = stored;
        // Of another version of writ, it is shown as it is.
        let document = serde_json::from_str(&document).unwrap_or_else(|_| serde_json::Value::String(document.into()));
        Self { tenant, version, author: Some(author), at: Some(at), document }
    }
}

/// What came of storing a set.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PutView {
    /// The version it has.
    version: u64,
    /// The receipt for it: that no edge acts on another set.
    #[schema(value_type = serde_json::Value)]
    receipt: Box<serde_json::value::RawValue>,
}

/// Which part of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryOf {
    /// The tenant; `default` where it is left out.
    #[param(value_type = Option<String>)]
    tenant: Option<TenantName>,
    /// Only versions before this one.
    before: Option<u64>,
}

/// What is to be said about a set.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckView {
    /// Whether it would be stored.
    valid: bool,
    /// What was found: `line`, `severity`, `policy`, `code` and `message` of each.
    #[schema(value_type = Vec<serde_json::Value>)]
    findings: Vec<Finding>,
}

/// A tenant's policy set in force.
#[utoipa::path(get, path = "/v1/policies", tag = "policies", security(("operator" = ["reader"])), params(OfTenant),
    responses((status = 200, body = PoliciesView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
) -> Result<Json<PoliciesView>, AuthorityError> {
    let tenant = of.tenant();
    Ok(Json(match authority.policies(&tenant).await? {
        Some(stored) => stored.into(),
        None => {
            // Expect safety: the form of a document holds text and lists only.
            let document = serde_json::to_value(Document::grants_decide()).expect("a document's form is JSON");
            PoliciesView { tenant, version: 0, author: None, at: None, document }
        }
    }))
}

/// Makes a set the tenant's, as its next version. Answers once no edge acts on another: each has it, or its lease ran out.
/// An invalid set changes nothing.
#[utoipa::path(put, path = "/v1/policies", tag = "policies", security(("operator" = ["admin"])), params(OfTenant),
    request_body(description = "A policy set as `spec/policy.md` defines it.", content((serde_json::Value = "application/json"), (String = "text/plain"))),
    responses((status = 200, body = PutView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn put(
    State(authority): State<Arc<Authority>>,
    Administrator(by): Administrator,
    Params(of): Params<OfTenant>,
    DocumentBody(document): DocumentBody,
) -> Result<Json<PutView>, AuthorityError> {
    let put = authority.put_policies(&by, &of.tenant(), &document).await?;
    // Expect safety: a receipt is JSON.
    let receipt = serde_json::value::RawValue::from_string(put.receipt.into_string()).expect("a receipt is JSON");
    Ok(Json(PutView { version: put.version, receipt }))
}

/// A tenant's versions, the newest first, at most 100.
#[utoipa::path(get, path = "/v1/policies/history", tag = "policies", security(("operator" = ["reader"])), params(HistoryOf),
    responses((status = 200, body = Vec<PoliciesView>), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn history(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<HistoryOf>,
) -> Result<Json<Vec<PoliciesView>>, AuthorityError> {
    let stored = authority.policy_history(&of.tenant.unwrap_or_default(), of.before.unwrap_or(u64::MAX)).await?;
    Ok(Json(stored.into_iter().map(PoliciesView::from).collect()))
}

/// One version of a tenant's set.
#[utoipa::path(get, path = "/v1/policies/{version}", tag = "policies", security(("operator" = ["reader"])),
    params(("version" = u64, Path, description = "The version, from 1."), OfTenant),
    responses((status = 200, body = PoliciesView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn version(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Segment(version): Segment<u64>,
    Params(of): Params<OfTenant>,
) -> Result<Json<PoliciesView>, AuthorityError> {
    Ok(Json(authority.policies_at(&of.tenant(), version).await?.into()))
}

/// What is to be said about a set, which is not stored. One that cannot be read is refused as [`put`] refuses it.
#[utoipa::path(post, path = "/v1/policies/check", tag = "policies", security(("operator" = ["reader"])), params(OfTenant),
    request_body(description = "A policy set as `spec/policy.md` defines it.", content((serde_json::Value = "application/json"), (String = "text/plain"))),
    responses((status = 200, body = CheckView), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn check(
    State(authority): State<Arc<Authority>>,
    _by: Reader,
    Params(of): Params<OfTenant>,
    DocumentBody(document): DocumentBody,
) -> Result<Json<CheckView>, AuthorityError> {
    let findings = authority.dry_run(&of.tenant(), &document).await?;
    Ok(Json(CheckView { valid: crate::policy::rules::check::is_valid(&findings), findings }))
}
