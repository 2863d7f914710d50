//! Approvals: requests that wait for a person, what was decided, and that each approval is used once.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, ApprovalId, EdgeName, Note, OperatorName, Subject, TenantName};
use crate::policy::{ApprovalState, Asked, Asker, Demand};
use crate::store::StoreError;
use crate::token::{Capability, Operation};
use crate::vault::Sealed;

/// A request that an edge puts before people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApproval {
    /// Its handle.
    pub handle: ApprovalId,
    /// What would be sent.
    pub asked: KeptAsked,
    /// Who asks.
    pub asker: Asker,
    /// Which edge puts it.
    pub edge: EdgeName,
    /// When.
    pub created: Timestamp,
    /// The last moment that it can be decided.
    pub expires: Timestamp,
    /// The last moment that the writ is valid.
    pub writ_expires: Timestamp,
}

/// How many requests may wait for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApprovalQuota {
    /// Of one agent, undecided at one time.
    pub pending_of_agent: u32,
    /// Of one tenant, undecided at one time.
    pub pending_of_tenant: u32,
    /// Of one agent, put at or after [`since`](Self::since).
    pub recent_of_agent: u32,
    /// From when on they are recent.
    pub since: Timestamp,
}

/// A request that was put before people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRecord {
    /// As it was put; `expires` is the end of the state it is in now.
    pub new: NewApproval,
    /// Where it stands.
    pub state: ApprovalState,
    /// What was decided, once somebody did.
    pub decided: Option<Decided>,
}

/// The same in short: for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalSummary {
    /// Its handle.
    pub handle: ApprovalId,
    /// The agent that asks.
    pub agent: AgentName,
    /// For whom, if for a user.
    pub subject: Option<Subject>,
    /// What would be sent.
    pub asked: AskedSummary,
    /// When it was put.
    pub created: Timestamp,
    /// The end of the state it is in.
    pub expires: Timestamp,
    /// Where it stands.
    pub state: ApprovalState,
    /// Who decided, once somebody did.
    pub decided_by: Option<OperatorName>,
}

/// What would be sent, as it is kept: only who has the vault's keys can read all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAsked {
    /// Its digest.
    pub digest: [u8; 32],
    /// The same in short.
    pub summary: AskedSummary,
    /// Its JSON, sealed for its tenant and handle. `None` once it can neither be decided nor sent.
    pub sealed: Option<Sealed>,
}

/// A request in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedSummary {
    /// The method.
    pub method: Box<str>,
    /// Where it is sent, without the query.
    pub url: Box<str>,
    /// How long its body is.
    pub body_bytes: usize,
    /// What it does.
    pub does: Vec<Capability>,
    /// What demands a person.
    pub demands: Vec<Demand>,
    /// The version of the policy set that does.
    #[serde(default)]
    pub policy_version: u64,
}

/// Which requests are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Those that wait for a decision.
    Pending,
    /// All that are kept.
    All,
}

impl From<&Asked> for AskedSummary {
    fn from(asked: &Asked) -> Self {
        let parts = asked.parts();
        Self {
            method: parts.method.clone(),
            url: parts.url.split('?').next().unwrap_or_default().into(),
            body_bytes: parts.body.len(),
            does: parts.operations.iter().map(Operation::needed).collect(),
            demands: parts.demands.clone(),
            policy_version: parts.policy_version,
        }
    }
}

/// What was decided, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The operator.
    pub by: OperatorName,
    /// When.
    pub at: Timestamp,
    /// Which `@approval` texts the operator satisfied then.
    pub satisfies: Vec<Box<str>>,
    /// What the operator wrote beside it.
    pub note: Option<Note>,
    /// By which login, for an operator who signed in: what ends it ends the approval.
    pub login: Option<ApproverLogin>,
}

/// The login of an operator who decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApproverLogin {
    /// The tenant whose users the provider knows.
    pub tenant: TenantName,
    /// The user there.
    pub subject: Subject,
    /// The provider's own session, if it named one.
    pub session: Option<Subject>,
    /// The revocation log's head before the provider was asked.
    pub epoch: u64,
}

/// A decision to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It may be sent once, until then.
    Approve {
        /// The last moment that an edge can use it.
        until: Timestamp,
    },
    /// It may not be sent. Until it expires, the same request is not put again.
    Deny,
}

/// What came of putting a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It waits for people now.
    Added,
    /// The same request of the same chain was put before, and is pending, approved or denied.
    Known {
        /// The handle that it has.
        handle: ApprovalId,
        /// Where it stands.
        state: ApprovalState,
        /// The end of that state.
        expires: Timestamp,
    },
    /// The agent has put too many.
    TooMany,
}

/// What came of using an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redemption {
    /// It is used up by this.
    Redeemed(Box<ApprovalRecord>),
    /// It stands otherwise: pending, denied, redeemed or expired.
    Not(ApprovalState),
    /// It is for another request or another chain.
    Mismatch,
    /// Who approved it is no operator any more, or may not approve, or the login was ended.
    ApproverGone,
}

/// Approvals. A request whose time is over counts as expired, whether that was written down or not.
#[async_trait]
pub trait Approvals: Send + Sync {
    /// Puts a request before people. The same request of the same chain that is pending, approved or denied is known and changes nothing.
    async fn put_approval(&self, new: &NewApproval, quota: &ApprovalQuota, event: &Change) -> Result<Put, StoreError>;

    /// The request with this handle, as it stands at `at`.
    async fn approval(&self, handle: ApprovalId, at: Timestamp) -> Result<Option<ApprovalRecord>, StoreError>;

    /// Where the request with this handle stands at `at`, and until when, without reading the request.
    async fn approval_state(
        &self,
        handle: ApprovalId,
        at: Timestamp,
    ) -> Result<Option<(ApprovalState, Timestamp)>, StoreError>;

    /// A tenant's requests as they stand at `at`, the latest first, at most `limit`: those that are pending, or all that are kept.
    async fn approvals(
        &self,
        tenant: &TenantName,
        listed: Listed,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<ApprovalSummary>, StoreError>;

    /// Decides a request that is pending at `decided.at`; answers where it stands otherwise. `NotFound` if there is none. Of one that
    /// is denied, what would have been sent is forgotten.
    async fn rule_approval(
        &self,
        handle: ApprovalId,
        ruling: &Ruling,
        decided: &Decided,
        event: &Change,
    ) -> Result<Result<(), ApprovalState>, StoreError>;

    /// Uses an approval for the request and the chain with these digests: once, however many try at one time. What would be sent is
    /// forgotten.
    async fn redeem_approval(
        &self,
        handle: ApprovalId,
        asked: &[u8; 32],
        asker: &[u8; 32],
        at: Timestamp,
        event: &Change,
    ) -> Result<Redemption, StoreError>;

    /// Requests whose time was over at `at` and that are not written down as expired, at most `limit`.
    async fn overdue_approvals(&self, at: Timestamp, limit: u32) -> Result<Vec<(ApprovalId, TenantName)>, StoreError>;

    /// Writes down that a request's time was over at `at`, and forgets what would have been sent. False, and nothing changed, if
    /// that is done or not so.
    async fn expire_approval(&self, handle: ApprovalId, at: Timestamp, event: &Change) -> Result<bool, StoreError>;

    /// Forgets requests that ended before `before`. Leaves no audit record.
    async fn forget_approvals(&self, before: Timestamp) -> Result<(), StoreError>;
}
