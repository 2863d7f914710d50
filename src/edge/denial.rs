//! What a refused request is told (RFC 9457), and what the audit record keeps. The table from reason to status is here.
//!
//! An outsider learns one thing about a token that is not good: that it is not good. Nothing here repeats what was sent.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::catalog::{Ambiguous, BadArgument, BadBody, NoRoute};
use crate::clock::Timestamp;
use crate::dial::UpstreamError;
use crate::edge::framing::Refusal;
use crate::edge::journal::JournalError;
use crate::edge::lend::LendError;
use crate::edge::limits::Unlimited;
use crate::edge::replay::Unclaimable;
use crate::edge::streams::CutReason;
use crate::id::{LimitName, RequestId};
use crate::policy::limit::{Limits, Need, Uncountable};
use crate::policy::{ApprovalState, Demand, DenialReason, Denied, InvalidAsked, NotClear};
use crate::revocation::{NotLive, Target};
use crate::token::proof::ProofError;
use crate::token::{Capability, TokenError};
use crate::wire::Standing;

/// Marks an answer as the edge's own; an upstream's is removed.
pub const EDGE_HEADER: HeaderName = HeaderName::from_static("writ-edge");
/// Names the request in every answer.
pub const REQUEST_HEADER: HeaderName = HeaderName::from_static("writ-request");
/// The nonce to put into the next proof (RFC 9449 section 8).
pub const NONCE_HEADER: HeaderName = HeaderName::from_static("dpop-nonce");

/// The public code: what kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Malformed or ambiguous.
    Malformed,
    /// The body is too large.
    BodyTooLarge,
    /// The header fields are too large.
    HeadTooLarge,
    /// The body came too slowly.
    BodyTimeout,
    /// The body is not what the route reads.
    UnsupportedMediaType,
    /// No token, or one that is not good here and now.
    InvalidToken,
    /// No proof, or one that does not count.
    InvalidProof,
    /// The proof needs a nonce.
    UseNonce,
    /// The token is good, but not for this.
    InsufficientScope,
    /// It is not for the caller to do.
    AccessDenied,
    /// A person must agree first.
    ApprovalRequired,
    /// A person does not agree.
    ApprovalDenied,
    /// The approval is for something else, or none any more.
    ApprovalMismatch,
    /// The agent asks people too often.
    TooManyApprovals,
    /// Nothing is there.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// The request is for another host.
    Misdirected,
    /// A limit is used up.
    LimitExceeded,
    /// The edge can't decide now.
    Unavailable,
    /// The upstream can't be used.
    UpstreamFailed,
    /// The upstream takes too long.
    UpstreamTimeout,
}

impl Code {
    /// Status, code and title: the only place where they meet.
    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The request is malformed or ambiguous"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The request's body is too large"),
            Self::HeadTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", "The request's header is too large")
            }
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout", "The request's body came too slowly"),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body is not of the type that is read",
            ),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, "invalid_token", "The token is not valid"),
            Self::InvalidProof => {
                (StatusCode::UNAUTHORIZED, "invalid_dpop_proof", "The proof of possession does not count")
            }
            Self::UseNonce => (StatusCode::UNAUTHORIZED, "use_dpop_nonce", "The proof needs a nonce of this edge"),
            Self::InsufficientScope => (StatusCode::FORBIDDEN, "insufficient_scope", "The writ does not allow this"),
            Self::AccessDenied => (StatusCode::FORBIDDEN, "access_denied", "This is not allowed"),
            Self::ApprovalRequired => (StatusCode::FORBIDDEN, "approval_required", "A person must approve this first"),
            Self::ApprovalDenied => (StatusCode::FORBIDDEN, "approval_denied", "A person denied this"),
            Self::ApprovalMismatch => (StatusCode::FORBIDDEN, "approval_mismatch", "The approval is not for this call"),
            Self::TooManyApprovals => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_approvals", "Too many calls wait for a person")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "Nothing is offered here"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not with this method"),
            Self::Misdirected => (StatusCode::MISDIRECTED_REQUEST, "misdirected", "The request is for another host"),
            Self::LimitExceeded => (StatusCode::TOO_MANY_REQUESTS, "limit_exceeded", "A limit is used up"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The edge cannot decide now"),
            Self::UpstreamFailed => (StatusCode::BAD_GATEWAY, "upstream_failed", "The service could not be used"),
            Self::UpstreamTimeout => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "The service took too long"),
        }
    }

    /// The status.
    pub const fn status(self) -> StatusCode {
        self.row().0
    }

    /// The code as text.
    pub const fn as_str(self) -> &'static str {
        self.row().1
    }
}

/// Why a request is refused: for the caller, and for the record.
#[derive(Clone, Debug)]
pub struct Denial {
    code: Code,
    /// The exact reason code, for the audit record.
    reason: &'static str,
    /// What the caller is told. Never what it sent.
    told: Cow<'static, str>,
    /// What an operator is told, where that is more.
    detail: Option<Box<str>>,
    needed: Option<Box<Capability>>,
    allow: Box<[Box<str>]>,
    limit: Option<Box<InTheWay>>,
    approval: Option<Box<Waiting>>,
}

/// The limit that stands in the way.
#[derive(Clone, Debug)]
struct InTheWay {
    limit: LimitName,
    /// After how many seconds to try again, where that helps.
    retry_after_s: Option<u64>,
}

/// A call that waits for a person, for its caller.
#[derive(Clone, Debug)]
struct Waiting {
    standing: Standing,
    approvers: Vec<Box<str>>,
}

/// The one text about a token that is not good, whatever is wrong with it.
const INVALID_TOKEN: &str =
    "the token is missing, unknown, expired, revoked or not meant for this edge: ask for a new one";

impl Denial {
    fn new(code: Code, reason: &'static str, told: impl Into<Cow<'static, str>>) -> Self {
        let (needed, allow, approval, limit) = (None, Box::default(), None, None);
        Self { code, reason, told: told.into(), detail: None, needed, allow, approval, limit }
    }

    /// About the token: outsiders get one text, the record gets the reason.
    fn token(reason: &'static str, detail: String) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(Code::InvalidToken, reason, INVALID_TOKEN) }
    }

    /// Another token helps against every revocation but that of a credential, which an operator must store anew.
    fn revoked(target: &Target, detail: String) -> Self {
        match target {
            Target::Credential(..) => {
                let told = "the credential of this service was revoked: an operator must store a new one";
                Self { detail: Some(detail.into()), ..Self::new(Code::AccessDenied, "credential_revoked", told) }
            }
            _ => Self::token("revoked", detail),
        }
    }

    /// A malformed request that only the edge knows of.
    pub(super) fn malformed(reason: &'static str, told: &'static str) -> Self {
        Self::new(Code::Malformed, reason, told)
    }

    /// A method that is not served.
    pub(super) fn method() -> Self {
        Self::new(Code::MethodNotAllowed, "method", "this method is not served")
    }

    /// `Host` names something else than this edge.
    pub(super) fn host() -> Self {
        Self::new(Code::Misdirected, "host", "the `Host` header must be exactly that of the edge's configured origin")
    }

    /// No token, or in another place than the `Authorization` header.
    pub(super) fn no_token() -> Self {
        Self::token("token_missing", "no `Authorization: DPoP` or `Bearer` header".to_owned())
    }

    /// As many requests as may be are under way.
    pub(super) fn edge_busy() -> Self {
        Self::new(Code::Unavailable, "edge_busy", "the edge works on as many requests as it may: try again")
    }

    /// As many requests as may be are under way to the service.
    pub(super) fn service_busy() -> Self {
        let told =
            "the service works on as many requests of this edge as it may (`limits.service_requests_max`): try again";
        Self::new(Code::Unavailable, "service_busy", told)
    }

    /// The bodies of all requests take as much memory as they may.
    pub(super) fn bodies_full() -> Self {
        Self::new(Code::Unavailable, "bodies_full", "the edge holds as many bytes of bodies as it may: try again")
    }

    /// Nothing is known yet.
    pub(super) fn no_settings() -> Self {
        Self::new(Code::Unavailable, "no_settings", "the edge has not reached its authority yet: try again")
    }

    /// `Writ-Approval` is not one handle.
    pub(super) fn approval_malformed() -> Self {
        Self::malformed(
            "approval_malformed",
            "send `Writ-Approval` once, with the handle that the edge answered as `approval`",
        )
    }

    /// A person must agree, and this is where that stands.
    pub(super) fn approval_required(standing: &Standing, demands: &[Demand]) -> Self {
        let approvers = Demand::approvers(demands);
        let who: Vec<String> = approvers.iter().map(|text| format!("`{text}`")).collect();
        let (handle, expires) = (standing.handle, standing.expires);
        let told = match standing.state {
            ApprovalState::Approved => format!(
                "a person approved this call: repeat exactly this request with the header `Writ-Approval: {handle}` before {expires}"
            ),
            _ => format!(
                "a person of {} must approve this call before {expires}, and has been asked. Then repeat exactly this request with the \
                 header `Writ-Approval: {handle}`, once; add `Prefer: wait=60` and the edge waits that many seconds for the decision",
                who.join(", ")
            ),
        };
        let waiting = Waiting { standing: *standing, approvers };
        Self { approval: Some(Box::new(waiting)), ..Self::new(Code::ApprovalRequired, "approval_required", told) }
    }

    /// A person said no.
    pub(super) fn approval_denied() -> Self {
        let told = "a person denied this call: do not repeat it, ask for something else";
        Self::new(Code::ApprovalDenied, "approval_denied", told)
    }

    /// The handle is of something else.
    pub(super) fn approval_mismatch() -> Self {
        let told = "the approval is for another request or another writ: repeat the request exactly as it was, with the same writ, or leave \
                    `Writ-Approval` out to ask anew";
        Self::new(Code::ApprovalMismatch, "approval_mismatch", told)
    }

    /// The authority's answer is no approval of this.
    pub(super) fn approval_not(detail: &str) -> Self {
        Self { detail: Some(detail.into()), ..Self::approval_mismatch() }
    }

    /// It was used.
    pub(super) fn approval_used() -> Self {
        let told = "this approval was used: each counts once, so leave `Writ-Approval` out to ask anew";
        Self::new(Code::ApprovalMismatch, "approval_used", told)
    }

    /// Its time is over.
    pub(super) fn approval_expired() -> Self {
        let told = "this approval is over: leave `Writ-Approval` out to ask anew";
        Self::new(Code::ApprovalMismatch, "approval_expired", told)
    }

    /// Who approved does not count any more.
    pub(super) fn approver_gone() -> Self {
        let told = "who approved this may not approve any more: leave `Writ-Approval` out to ask anew";
        Self::new(Code::ApprovalMismatch, "approver_gone", told)
    }

    /// The agent asks too often.
    pub(super) fn too_many_approvals() -> Self {
        let told = "too many calls of this agent wait for people: wait until some are decided or over";
        Self::new(Code::TooManyApprovals, "too_many_approvals", told)
    }

    /// The authority does not take the writ for a live one.
    pub(super) fn approval_writ_refused(detail: &str) -> Self {
        Self::token("approval_refused", detail.to_owned())
    }

    /// Nobody can be asked now.
    pub(super) fn approval_unavailable(detail: &str) -> Self {
        let told = "the authority cannot be asked for a person's approval: try again";
        Self { detail: Some(detail.into()), ..Self::new(Code::Unavailable, "approval_unavailable", told) }
    }

    /// The tenant's policies cannot be read: nothing is allowed.
    pub(super) fn policy_unreadable(detail: String) -> Self {
        let told = "the edge cannot read the tenant's policies: an operator must update it, or store them anew";
        Self { detail: Some(detail.into()), ..Self::new(Code::Unavailable, "policy_unreadable", told) }
    }

    /// The body is longer than the edge takes.
    pub(super) fn body_too_large() -> Self {
        Self::new(Code::BodyTooLarge, "body_too_large", "the body is longer than this edge takes")
    }

    /// The body stopped coming.
    pub(super) fn body_timeout() -> Self {
        Self::new(Code::BodyTimeout, "body_timeout", "the body came too slowly")
    }

    /// The body broke off, or its framing is ambiguous.
    pub(super) fn body_broken() -> Self {
        Self::malformed("body_broken", "the body broke off or is malformed")
    }

    /// The answer is in an encoding that hides what it says.
    pub(super) fn upstream_encoding() -> Self {
        Self::new(
            Code::UpstreamFailed,
            "upstream_encoding",
            "the service answered in an encoding that cannot be checked",
        )
    }

    /// The answer asks to change the protocol.
    pub(super) fn upstream_upgrade() -> Self {
        Self::new(Code::UpstreamFailed, "upstream_upgrade", "the service answered with a protocol upgrade")
    }

    /// What a limit says to a request. `limits` are those by which the request was counted, at `now`.
    pub(super) fn unlimited(unlimited: Unlimited, limits: &Limits, now: Timestamp) -> Self {
        match unlimited {
            Unlimited::Over(need) => Self::over(&need, limits, now),
            Unlimited::TooMuch(need) => Self::too_much(&need, limits),
            Unlimited::Unknown(need) => {
                let name = need.bucket.limit;
                let told = format!("how much is left of limit `{name}` cannot be found out now: try again");
                Self::new(Code::Unavailable, "limit_unknown", told).in_the_way(name, None)
            }
            Unlimited::Full => {
                Self::new(Code::Unavailable, "limits_full", "the edge counts as much as it can: try again")
            }
        }
    }

    fn over(need: &Need, limits: &Limits, now: Timestamp) -> Self {
        let name = &need.bucket.limit;
        let what = limits.named(name).map_or_else(String::new, |limit| format!(" ({limit})"));
        let told = format!(
            "limit `{name}`{what} is used up for `{}` until {}: try again then, or ask an operator to change it",
            need.bucket.key, need.ends
        );
        let left_s = need.ends.since(now).as_millis().div_ceil(1000).max(1);
        let retry_after_s = Some(u64::try_from(left_s).unwrap_or(u64::MAX));
        Self::new(Code::LimitExceeded, "limit_exceeded", told).in_the_way(name.clone(), retry_after_s)
    }

    fn too_much(need: &Need, limits: &Limits) -> Self {
        let name = &need.bucket.limit;
        let what = limits.named(name).map_or_else(String::new, |limit| format!(" ({limit})"));
        let told = format!(
            "this request alone takes more than limit `{name}`{what} ever allows: send less at once, or ask an operator to change it"
        );
        Self::new(Code::AccessDenied, "limit_too_small", told).in_the_way(name.clone(), None)
    }

    fn in_the_way(self, limit: LimitName, retry_after_s: Option<u64>) -> Self {
        Self { limit: Some(Box::new(InTheWay { limit, retry_after_s })), ..self }
    }

    /// After how many seconds to try again.
    fn retry_after_s(&self) -> Option<u64> {
        match (self.code, &self.limit) {
            (Code::Unavailable, _) => Some(1),
            (_, Some(in_the_way)) => in_the_way.retry_after_s,
            (_, None) => None,
        }
    }

    /// The answer did not come in time.
    pub(super) fn upstream_timeout() -> Self {
        Self::new(Code::UpstreamTimeout, "upstream_timeout", "the service did not answer in time")
    }

    /// A lent credential or a service that does not fit a request.
    pub(super) fn unusable(detail: String) -> Self {
        let told = "the service or its credential is not usable: an operator must repair it";
        Self { detail: Some(detail.into()), ..Self::new(Code::UpstreamFailed, "credential_unusable", told) }
    }

    /// The public code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The exact reason code.
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// The reason in a sentence for an operator.
    pub(super) fn detail(&self) -> Box<str> {
        self.detail.clone().unwrap_or_else(|| self.told.as_ref().into())
    }

    /// What the caller gets.
    pub(super) fn answer(&self, request: RequestId, nonce: Option<&str>) -> Response<Bytes> {
        let (status, code, title) = self.code.row();
        let problem = Problem {
            kind: format!("urn:writ:denial:{code}"),
            title,
            status: status.as_u16(),
            detail: &self.told,
            code,
            // The exact reason of a bad token is nobody's business.
            reason: if self.code == Code::InvalidToken { code } else { self.reason },
            needed: self.needed.as_ref().map(ToString::to_string),
            approval: self.approval.as_ref().map(|waiting| waiting.standing.handle.to_string()),
            state: self.approval.as_ref().map(|waiting| waiting.standing.state),
            approvers: self.approval.as_ref().map(|waiting| &*waiting.approvers),
            expires: self.approval.as_ref().map(|waiting| waiting.standing.expires.to_string()),
            limit: self.limit.as_ref().map(|in_the_way| in_the_way.limit.as_str()),
            request: request.to_string(),
        };
        // Expect safety: a struct of strings and a number serialises.
        let body = serde_json::to_vec(&problem).expect("a problem serialises");
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(EDGE_HEADER, HeaderValue::from_static("denied"));
        insert(headers, REQUEST_HEADER, &problem.request);
        if let Some(nonce) = nonce {
            insert(headers, NONCE_HEADER, nonce);
        }
        if let Some(challenge) = self.challenge() {
            insert(headers, header::WWW_AUTHENTICATE, &challenge);
        }
        if !self.allow.is_empty() {
            insert(headers, header::ALLOW, &self.allow.join(", "));
        }
        if let Some(secs) = self.retry_after_s() {
            headers.insert(header::RETRY_AFTER, secs.into());
        }
        response
    }

    /// RFC 6750 section 3 and RFC 9449 section 7.1.
    fn challenge(&self) -> Option<String> {
        let error = self.code.as_str();
        match self.code {
            Code::InvalidToken | Code::InvalidProof | Code::UseNonce => {
                Some(format!(r#"DPoP algs="EdDSA", error="{error}""#))
            }
            Code::InsufficientScope => {
                let scope = self.needed.as_ref().map(|needed| format!(r#", scope="{needed}""#)).unwrap_or_default();
                Some(format!(r#"DPoP algs="EdDSA", error="{error}"{scope}"#))
            }
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<ApprovalState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approvers: Option<&'a [Box<str>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'a str>,
    request: String,
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Ids, nonces, methods and capabilities are plain ASCII; whatever is not is left out.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        let code = if refusal == Refusal::TooLarge { Code::HeadTooLarge } else { Code::Malformed };
        Self::new(code, refusal.code(), refusal.to_string())
    }
}

impl From<Ambiguous> for Denial {
    fn from(error: Ambiguous) -> Self {
        Self::new(Code::Malformed, error.code(), error.to_string())
    }
}

impl From<TokenError> for Denial {
    fn from(error: TokenError) -> Self {
        match error {
            // Authentic, and more than its holder may say: an offence of the caller's, not a bad token.
            TokenError::Overreach { .. } => Self::new(Code::AccessDenied, error.code(), error.to_string()),
            _ => Self::token(error.code(), error.to_string()),
        }
    }
}

impl From<ProofError> for Denial {
    fn from(error: ProofError) -> Self {
        let code = match error {
            ProofError::Downgrade | ProofError::Connection | ProofError::BearerRefused => Code::InvalidToken,
            ProofError::Nonce => Code::UseNonce,
            ProofError::Missing
            | ProofError::Malformed(_)
            | ProofError::Key
            | ProofError::Signature
            | ProofError::Mismatch(_)
            | ProofError::Time => Code::InvalidProof,
        };
        Self::new(code, error.code(), error.to_string())
    }
}

impl From<Unclaimable> for Denial {
    fn from(error: Unclaimable) -> Self {
        match error {
            Unclaimable::Used => Self::new(Code::InvalidProof, "proof_replayed", error.to_string()),
            Unclaimable::Full => Self::new(Code::Unavailable, "proof_memory_full", error.to_string()),
        }
    }
}

impl From<NotLive> for Denial {
    fn from(error: NotLive) -> Self {
        match error {
            NotLive::Revoked(ref target) => Self::revoked(target, error.to_string()),
            NotLive::NoLease => Self::new(Code::Unavailable, "no_lease", error.to_string()),
            NotLive::ClockSkew => Self::new(Code::Unavailable, "clock_skew", error.to_string()),
            NotLive::NotCurrent(error) => error.into(),
        }
    }
}

impl From<CutReason> for Denial {
    fn from(reason: CutReason) -> Self {
        match reason {
            CutReason::Revoked(ref target) => Self::revoked(target, reason.to_string()),
            CutReason::Expired => Self::token("token_expired", reason.to_string()),
            CutReason::RootRetired => Self::token("token_unknown_root", reason.to_string()),
            CutReason::LeaseEnded => Self::new(Code::Unavailable, "no_lease", reason.to_string()),
            CutReason::Denied(denied) => (*denied).into(),
            CutReason::PoliciesUnreadable(why) => Self::policy_unreadable(why.into()),
        }
    }
}

impl From<NoRoute> for Denial {
    fn from(error: NoRoute) -> Self {
        let (reason, told) = (error.code(), error.to_string());
        match error {
            NoRoute::Service | NoRoute::Path => Self::new(Code::NotFound, reason, told),
            NoRoute::Method { allowed } => {
                Self { allow: allowed.into(), ..Self::new(Code::MethodNotAllowed, reason, told) }
            }
        }
    }
}

impl From<BadBody> for Denial {
    fn from(error: BadBody) -> Self {
        let code = match error {
            BadBody::ContentType(_) | BadBody::ContentEncoding => Code::UnsupportedMediaType,
            BadBody::TooLong(_) => Code::BodyTooLarge,
            BadBody::TooDeep
            | BadBody::Syntax(_)
            | BadBody::DuplicateKey(_)
            | BadBody::Form(_)
            | BadBody::Rpc(_)
            | BadBody::Graphql(_)
            | BadBody::TooMany => Code::Malformed,
        };
        Self::new(code, error.code(), error.to_string())
    }
}

impl From<BadArgument> for Denial {
    fn from(error: BadArgument) -> Self {
        let code = match error {
            // Understood, and offered to nobody: as a path without a route is.
            BadArgument::UnknownCall(..) => Code::AccessDenied,
            _ => Code::Malformed,
        };
        Self::new(code, error.code(), error.to_string())
    }
}

impl From<Denied> for Denial {
    fn from(denied: Denied) -> Self {
        let (reason, told) = (denied.reason.code(), denied.reason.to_string());
        match denied.reason {
            DenialReason::NoCapability | DenialReason::Check { .. } => {
                Self { needed: Some(denied.needed.into()), ..Self::new(Code::InsufficientScope, reason, told) }
            }
            // Another writ would not help: it is for an operator to change.
            DenialReason::PolicyDenied
            | DenialReason::PolicyForbidden { .. }
            | DenialReason::ApprovalRequired { .. } => Self::new(Code::AccessDenied, reason, told),
            DenialReason::PolicyError { ref why, .. } => {
                let detail = format!("{told}: {why}");
                Self { detail: Some(detail.into()), ..Self::new(Code::AccessDenied, reason, told) }
            }
            DenialReason::Outdated => Self::token(reason, told),
        }
    }
}

impl From<NotClear> for Denial {
    fn from(error: NotClear) -> Self {
        match error {
            NotClear::NotLive(not_live) => not_live.into(),
            NotClear::PolicyChanged => Self::new(Code::Unavailable, "policy_changed", error.to_string()),
        }
    }
}

impl From<Uncountable> for Denial {
    fn from(error: Uncountable) -> Self {
        let told = error.to_string();
        Self::new(Code::AccessDenied, "limit_uncountable", told).in_the_way(error.limit, None)
    }
}

impl From<JournalError> for Denial {
    fn from(error: JournalError) -> Self {
        let told = "the edge cannot record the decision: try again";
        Self { detail: Some(error.to_string().into()), ..Self::new(Code::Unavailable, "journal", told) }
    }
}

impl From<InvalidAsked> for Denial {
    fn from(error: InvalidAsked) -> Self {
        match error {
            InvalidAsked::BodyTooLong | InvalidAsked::HeadTooLong => {
                Self::new(Code::BodyTooLarge, "approval_too_large", error.to_string())
            }
            InvalidAsked::Form(_) => Self::new(Code::Malformed, "approval_form", error.to_string()),
        }
    }
}

impl From<LendError> for Denial {
    fn from(error: LendError) -> Self {
        match error {
            LendError::Unavailable => Self::new(Code::Unavailable, "lend_unavailable", error.to_string()),
            LendError::Full => Self::new(Code::Unavailable, "lend_full", error.to_string()),
            LendError::NoCredential => Self::new(Code::AccessDenied, "no_credential", error.to_string()),
            LendError::Refused(_) => Self::token("lend_refused", error.to_string()),
        }
    }
}

impl From<UpstreamError> for Denial {
    fn from(error: UpstreamError) -> Self {
        let (code, reason) = match &error {
            UpstreamError::Refused(_) => (Code::UpstreamFailed, "upstream_address"),
            UpstreamError::Untrusted(_) => (Code::UpstreamFailed, "upstream_tls"),
            UpstreamError::Unreachable(_) => (Code::UpstreamFailed, "upstream_unreachable"),
            UpstreamError::ConnectTimeout => (Code::UpstreamTimeout, "upstream_connect_timeout"),
            UpstreamError::Broken(_) => (Code::UpstreamFailed, "upstream_broken"),
        };
        // The caller does not learn the address that a service's name leads to.
        let told = match &error {
            UpstreamError::Refused(_) => Cow::Borrowed("the service is at an address that it may not use"),
            other => Cow::Owned(other.to_string()),
        };
        let detail = std::error::Error::source(&error).map_or(error.to_string(), |source| format!("{error}: {source}"));
        Self { detail: Some(detail.into()), ..Self::new(code, reason, told) }
    }
}
