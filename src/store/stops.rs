//! What keeps writs from being issued until an operator says otherwise: users who are suspended, and the stop of everything.
//!
//! Both come about by a revocation, in its transaction: see [`Revocations::revoke`](crate::store::Revocations::revoke).

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{OperatorName, Subject, TenantName};
use crate::store::StoreError;

/// A user who is issued nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspendedUser {
    /// The tenant.
    pub tenant: TenantName,
    /// The user.
    pub subject: Subject,
    /// The latest entry of the revocation log that revoked the user.
    pub seq: u64,
    /// When that was.
    pub at: Timestamp,
}

/// Everything is stopped: nothing is issued, nothing is lent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The first entry of the revocation log that stopped everything.
    pub seq: u64,
    /// When that was.
    pub at: Timestamp,
    /// The operator who did it, if one did.
    pub by: Option<OperatorName>,
    /// The person behind that operator, where it is known.
    pub person: Option<OperatorName>,
}

/// What came of lifting a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// It is lifted.
    Lifted,
    /// It was made by the same operator, or by the same person under another name.
    SameOperator,
    /// The operator was added after the stop was made.
    AddedSince,
}

/// Suspended users and the stop.
#[async_trait]
pub trait Stops: Send + Sync {
    /// A tenant's suspended users, by name.
    async fn suspended_users(&self, tenant: &TenantName) -> Result<Vec<SuspendedUser>, StoreError>;

    /// Lets a user be issued writs again. What was revoked stays revoked. `NotFound` if the user is not suspended.
    async fn reactivate_user(
        &self,
        tenant: &TenantName,
        subject: &Subject,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError>;

    /// The stop, if there is one.
    async fn stop(&self) -> Result<Option<Stop>, StoreError>;

    /// Lifts the stop, if `by` is another operator and, as far as known, another person than made it, and was an operator already
    /// when it was made.
    /// What was revoked stays revoked. `NotFound` if nothing is stopped, or there is no such operator.
    async fn lift_stop(&self, by: &OperatorName, at: Timestamp, event: &Change) -> Result<Lift, StoreError>;
}
