//! What can go wrong at the authority, and the one map to what its callers are told.

use http::StatusCode;

use crate::id::{AgentName, ServiceName};
use crate::identity::IdentityError;
use crate::policy::rules::InvalidSet;
use crate::policy::{ApprovalState, Role};
use crate::revocation::Target;
use crate::store::StoreError;
use crate::token::TokenError;
use crate::token::proof::ProofError;
use crate::vault::VaultError;
use crate::wire::refusal;

/// Why nothing is lent for a writ that an edge shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WritRefused {
    /// It is not believed, not current, or not meant for this edge.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It is revoked.
    #[error("the writ is revoked: {0}")]
    Revoked(Box<Target>),
    /// Everything is stopped.
    #[error("everything is stopped")]
    Stopped,
    /// It gives nothing at the service.
    #[error("the writ has no capability for service `{0}`")]
    NoCapability(ServiceName),
}

/// Why an approval cannot be used. Only edges are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalRefused {
    /// Of another request or another writ, or of none.
    #[error("the handle is not of this request and this writ")]
    Mismatch,
    /// It stands otherwise.
    #[error("the request is {0}")]
    Not(ApprovalState),
    /// Who approved may not any more.
    #[error("the operator who approved this may not approve any more")]
    ApproverGone,
}

impl ApprovalRefused {
    const fn code(self) -> &'static str {
        match self {
            // Approved is what it must be: that it stands otherwise is then no reason that an edge could know.
            Self::Mismatch | Self::Not(ApprovalState::Approved) => refusal::APPROVAL_MISMATCH,
            Self::Not(ApprovalState::Pending) => refusal::APPROVAL_PENDING,
            Self::Not(ApprovalState::Denied) => refusal::APPROVAL_DENIED,
            Self::Not(ApprovalState::Redeemed) => refusal::APPROVAL_USED,
            Self::Not(ApprovalState::Expired) => refusal::APPROVAL_EXPIRED,
            Self::ApproverGone => refusal::APPROVER_GONE,
        }
    }
}

/// Why the authority did not do what it was asked. Each message is safe to send and says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// No operator secret, or not one of ours. One answer for all of that.
    #[error(
        "send `Authorization: Bearer <secret>`: sign in with `writ login`, or use the secret that `writ init` or \
         `POST /v1/operators` showed"
    )]
    Unauthenticated,
    /// An operator whose role does not allow it.
    #[error("your role is `{0}`, which does not allow this: ask an operator whose role does (`spec/operators.md`)")]
    NotForRole(Role),
    /// Nobody signs in here.
    #[error("nobody can sign in here: `sign_in` is missing in the settings, so use an operator secret")]
    NoSignIn,
    /// A sign-in that came to nothing.
    #[error("{0}")]
    SignIn(String),
    /// A secret that is no session's.
    #[error("you use an operator secret, not a session: there is nothing to sign out of")]
    NoSession,
    /// Too many wrong secrets in a short time.
    #[error("too many requests with a wrong secret or code: wait a second")]
    TooManyFailures,
    /// No user's token.
    #[error("send `Authorization: Bearer <token>`, your own ID token from your identity provider")]
    NoUser,
    /// No secret of a SCIM client, or not one of ours.
    #[error("send `Authorization: Bearer <secret>`, the secret that `writ scim token add` showed for this provider")]
    NoScimToken,
    /// Nobody who may say that a user's tokens are to be revoked.
    #[error(
        "send `Authorization: Bearer <token>`, a token that this provider signed (`global-token-revocation+jwt`) or its SCIM client's secret"
    )]
    NoRevocationCaller,
    /// A token that identifies nobody, or a provider that does not answer.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// No identity provider of that name.
    #[error(
        "there is no identity provider of that name for this: `identity.provider`, `identity.saml` and `identity.workload` in the settings list them"
    )]
    NoProvider,
    /// A user revokes more often than anybody would.
    #[error("you have ended what is yours many times just now: wait a minute")]
    TooOften,
    /// A part of the request is not what it must be.
    #[error("{0}")]
    Malformed(String),
    /// The body is larger than this route takes.
    #[error("the body is larger than {0} bytes: send less at once")]
    TooLarge(usize),
    /// The body did not come in time.
    #[error("the body did not arrive in time: send it without pauses")]
    TooSlow,
    /// The answer took longer than any answer should.
    #[error("the answer took too long: look whether it happened before you repeat it")]
    Overran,
    /// A bug in writ.
    #[error("a bug in writ ended this request: look whether it happened before you repeat it, and report it")]
    Panicked,
    /// The body is of another type.
    #[error("send the body as {0}")]
    MediaType(&'static str),
    /// No such route.
    #[error("there is no such route: `spec/openapi.json` lists all of them")]
    NoRoute,
    /// The route takes other methods.
    #[error("this route does not take that method: `spec/openapi.json` lists those it takes")]
    NoMethod,
    /// Revoking everything was not confirmed.
    #[error(
        "this ends every writ of the installation, and issues none until another operator lifts it: repeat the request with `\"confirm\": true`"
    )]
    Unconfirmed,
    /// Everything is stopped.
    #[error("an operator stopped everything: another one can lift that with `writ stop lift`")]
    Stopped,
    /// A stop is lifted by two.
    #[error("you made this stop: another person, who was an operator already when it was made, must lift it")]
    SecondOperator,
    /// An operator who came after a stop does not lift it.
    #[error("you were added after this stop was made: an operator who was one already must lift it")]
    OperatorTooNew,
    /// The last operator stays.
    #[error("this is the last operator who may change anything: add another one first with `writ operator add`")]
    LastOperator,
    /// What a holder shows is not its own to end. One answer for a chain without it, and for a block above it.
    #[error("a holder can revoke the block that made it a holder, and those below it: `writ inspect` shows the chain")]
    NotYours,
    /// A holder shows a writ that was never issued here, though a root key signed it.
    #[error("this authority has no record of issuing this writ: ask an operator to revoke it")]
    UnknownWrit,
    /// Too many revocations by holders.
    #[error("too many revocations by holders at once, or by this one within a minute: try again shortly")]
    TooManyWitnesses,
    /// Holders have filled what the log has room for below a block.
    #[error(
        "holders have revoked too much below this writ: revoke a block further up, or ask the holder above or an operator"
    )]
    NoRoomForWitnesses,
    /// The idempotency key was used for something else.
    #[error("the idempotency key was used for `{0}` before: use a fresh one")]
    KeyReused(Box<Target>),
    /// An audience that is not configured.
    #[error("there is no edge deployment of that name: `authority.audiences` in the settings lists them")]
    UnknownAudience,
    /// A new root key must be known everywhere before it signs.
    #[error("`overlap_s` must be between {min} and {max}, so that every edge knows the key before it signs")]
    Overlap {
        /// The least, in seconds.
        min: u64,
        /// The most, in seconds.
        max: u64,
    },
    /// A revocation is committed, and whether every edge has it could not be found out or written down.
    #[error(
        "the revocation stands as entry {seq} of the log, and its receipt is pending: ask `GET /v1/revocations/{seq}/receipt`"
    )]
    Unproven {
        /// Its place in the log.
        seq: u64,
        /// Why.
        source: StoreError,
    },
    /// No root key signs at present.
    #[error("no root key signs at present: rotate with `POST /v1/keys`")]
    NoRootKey,
    /// A message of an edge without a proof that counts.
    #[error("{0}")]
    EdgeProof(#[from] ProofError),
    /// An edge's proof came a second time.
    #[error("the proof was used before: make a fresh one for each message")]
    Replayed,
    /// Too many proofs are remembered to tell whether one is a replay.
    #[error("too many messages at once: wait a moment")]
    Busy,
    /// The key of a message is no edge's.
    #[error("no edge has this key: join again with a fresh ticket")]
    UnknownEdge,
    /// The edge knows more of the log than there is.
    #[error(
        "the revocation log ends before what this edge knows: the store was restored from an old backup, so repeat the revocations it lacks"
    )]
    LogWentBack,
    /// A join ticket that buys nothing.
    #[error("the join ticket was used, has expired or was replaced: make a new one with `writ edge ticket`")]
    TicketRefused,
    /// An enrolment code that buys nothing.
    #[error("the enrolment code is wrong, used up or over: ask an operator for one, made with `writ agent code`")]
    EnrolmentRefused,
    /// An agent asks for another key, and what it proved is not its present one.
    #[error("that is no agent's present key: sign with the key that `writ agent show` lists first")]
    UnknownAgentKey,
    /// An agent that asks people too often.
    #[error("the agent has put too many requests before people: wait until some are decided or over")]
    TooManyApprovals,
    /// An approval that cannot be used.
    #[error(transparent)]
    Approval(#[from] ApprovalRefused),
    /// Somebody whom no policy asks.
    #[error("this needs somebody of: {0}. You are none of them")]
    NotAsked(String),
    /// Whose own request it is.
    #[error("you are the person on whose behalf this is asked: somebody else must approve it")]
    OwnRequest,
    /// What is confirmed is not what is asked.
    #[error("`digest` is not that of this request: look at it with `writ approval show` and confirm that digest")]
    OtherDigest,
    /// Somebody decided already, or the time is over.
    #[error("this request is {0}: nothing is left to decide")]
    Decided(ApprovalState),
    /// What an edge shipped contradicts what it shipped before.
    #[error("the records differ from those that are stored, or leave a gap: ship from the stored head on")]
    AuditConflict,
    /// A token that an operator showed is not believed.
    #[error("the token does not count: {0}")]
    Token(#[from] TokenError),
    /// A policy set that cannot be one, or names what does not exist.
    #[error("the policy set is invalid, and the one in force stays: {0}")]
    Policy(Box<InvalidSet>),
    /// A service cannot change in this way, because the policy set in force names what would be gone.
    #[error("service `{0}` stays as it is, because the policy set in force needs it: {1}; change the policy first")]
    PolicyNeedsService(ServiceName, Box<InvalidSet>),
    /// Nothing is lent for a writ. Only edges are told.
    #[error("{0}")]
    WritRefused(#[from] WritRefused),
    /// The service has no credential, or it is not stored.
    #[error("{0}")]
    NoCredential(String),
    /// A credential or its kind cannot be stored.
    #[error(transparent)]
    Credential(#[from] crate::vault::InvalidCredential),
    /// An agent that may not be issued writs.
    #[error("agent `{0}` is disabled")]
    Disabled(AgentName),
    /// The state is not there.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A sealed secret does not open.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: try again")]
    NoRandomness,
}

impl AuthorityError {
    /// The status and the code: the only place where they are decided. `spec/authority.md` lists them.
    pub const fn status_and_code(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthenticated => (S::UNAUTHORIZED, "unauthenticated"),
            Self::NoSignIn => (S::NOT_FOUND, "no_sign_in"),
            Self::SignIn(_) => (S::FORBIDDEN, "sign_in_refused"),
            Self::NoSession => (S::CONFLICT, "no_session"),
            Self::NotForRole(_) => (S::FORBIDDEN, "role"),
            Self::NoUser | Self::NoScimToken | Self::NoRevocationCaller => (S::UNAUTHORIZED, "unauthenticated"),
            Self::Identity(IdentityError::Refused(_)) => (S::UNAUTHORIZED, "identity_refused"),
            Self::Identity(IdentityError::Unavailable(_)) => (S::SERVICE_UNAVAILABLE, "provider_unavailable"),
            Self::NoProvider => (S::NOT_FOUND, "no_provider"),
            Self::TooOften => (S::TOO_MANY_REQUESTS, "too_often"),
            Self::TooManyFailures => (S::TOO_MANY_REQUESTS, "too_many_failures"),
            Self::Malformed(_) | Self::Credential(_) => (S::BAD_REQUEST, "malformed"),
            Self::TooLarge(_) => (S::PAYLOAD_TOO_LARGE, "too_large"),
            Self::TooSlow => (S::REQUEST_TIMEOUT, "too_slow"),
            Self::Overran => (S::GATEWAY_TIMEOUT, "overran"),
            Self::Panicked => (S::INTERNAL_SERVER_ERROR, "internal"),
            Self::MediaType(_) => (S::UNSUPPORTED_MEDIA_TYPE, "media_type"),
            Self::NoRoute => (S::NOT_FOUND, "no_route"),
            Self::NoMethod => (S::METHOD_NOT_ALLOWED, "no_method"),
            Self::Unconfirmed => (S::BAD_REQUEST, "unconfirmed"),
            Self::Stopped => (S::SERVICE_UNAVAILABLE, "stopped"),
            Self::SecondOperator | Self::OperatorTooNew => (S::FORBIDDEN, "second_operator"),
            Self::NotYours => (S::FORBIDDEN, "not_yours"),
            Self::UnknownWrit => (S::FORBIDDEN, "unknown_writ"),
            Self::TooManyWitnesses | Self::NoRoomForWitnesses => (S::TOO_MANY_REQUESTS, "too_many_witnesses"),
            Self::LastOperator => (S::CONFLICT, "last_operator"),
            Self::KeyReused(_) => (S::CONFLICT, "key_reused"),
            Self::UnknownAudience => (S::BAD_REQUEST, "unknown_audience"),
            Self::Overlap { .. } => (S::BAD_REQUEST, "overlap"),
            Self::Unproven { .. } => (S::SERVICE_UNAVAILABLE, "receipt_pending"),
            Self::NoRootKey => (S::SERVICE_UNAVAILABLE, "no_root_key"),
            Self::EdgeProof(_) => (S::UNAUTHORIZED, "invalid_dpop_proof"),
            Self::Replayed => (S::UNAUTHORIZED, "proof_replayed"),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy"),
            Self::UnknownEdge => (S::FORBIDDEN, refusal::UNKNOWN_EDGE),
            Self::TicketRefused => (S::NOT_FOUND, refusal::TICKET_REFUSED),
            Self::EnrolmentRefused => (S::FORBIDDEN, "enrolment_refused"),
            Self::UnknownAgentKey => (S::FORBIDDEN, "unknown_agent_key"),
            Self::TooManyApprovals => (S::TOO_MANY_REQUESTS, refusal::TOO_MANY_APPROVALS),
            Self::Approval(refused) => (S::FORBIDDEN, refused.code()),
            Self::NotAsked(_) => (S::FORBIDDEN, "not_asked"),
            Self::OwnRequest => (S::FORBIDDEN, "own_request"),
            Self::OtherDigest => (S::CONFLICT, "other_digest"),
            Self::Decided(_) => (S::CONFLICT, "decided"),
            Self::AuditConflict => (S::CONFLICT, refusal::AUDIT_CONFLICT),
            Self::LogWentBack => (S::SERVICE_UNAVAILABLE, "log_went_back"),
            Self::Token(_) => (S::FORBIDDEN, "invalid_token"),
            Self::Policy(_) => (S::UNPROCESSABLE_ENTITY, "invalid_policy"),
            Self::PolicyNeedsService(..) => (S::CONFLICT, "policy_needs_service"),
            Self::WritRefused(_) => (S::UNAUTHORIZED, refusal::WRIT_REFUSED),
            Self::NoCredential(_) => (S::FORBIDDEN, refusal::NO_CREDENTIAL),
            Self::Disabled(_) => (S::FORBIDDEN, "disabled"),
            Self::Store(error) => match error {
                StoreError::Unavailable(_) => (S::SERVICE_UNAVAILABLE, "unavailable"),
                StoreError::Conflict(_) => (S::CONFLICT, "conflict"),
                StoreError::NotFound(_) => (S::NOT_FOUND, "not_found"),
                StoreError::Overtaken => (S::CONFLICT, "overtaken"),
                StoreError::TooNew | StoreError::TooOld => (S::SERVICE_UNAVAILABLE, "database_schema"),
                StoreError::Unknown(_) => (S::SERVICE_UNAVAILABLE, "outcome_unknown"),
                StoreError::Corrupt { .. } | StoreError::Failed(_) => (S::INTERNAL_SERVER_ERROR, "internal"),
            },
            Self::Vault(_) => (S::INTERNAL_SERVER_ERROR, "vault"),
            Self::NoRandomness => (S::SERVICE_UNAVAILABLE, "no_randomness"),
        }
    }

    /// After how many seconds to try again, where that is known.
    pub const fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::TooManyFailures | Self::TooManyWitnesses => Some(1),
            // Room comes as writs expire.
            Self::NoRoomForWitnesses => Some(60),
            _ => None,
        }
    }

    /// The sentence for the caller. What a driver or a corrupt row says stays in the log.
    pub fn detail(&self) -> String {
        match self {
            Self::Store(StoreError::Corrupt { .. } | StoreError::Failed(_)) => {
                "the database refused or holds a damaged row: the authority's log says which".into()
            }
            Self::Store(StoreError::Unknown(_)) => {
                "the database went away during the commit: look whether it happened before you repeat it".into()
            }
            Self::Store(StoreError::Unavailable(_)) => "the database does not answer: try again".into(),
            other => other.to_string(),
        }
    }
}
