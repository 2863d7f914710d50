//! Users, as far as they were told apart: whose logins ended, and what was issued for them.

use async_trait::async_trait;

use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{Subject, TenantName};
use crate::revocation::Entry;
use crate::store::{IssuedWrit, NewRevocation, StoreError};

/// Users.
#[async_trait]
pub trait Users: Send + Sync {
    /// Whether an operator has to reactivate a user before they are issued anything. Sees everything that was committed before
    /// the call.
    async fn is_suspended(&self, tenant: &TenantName, subject: &Subject) -> Result<bool, StoreError>;

    /// Appends an entry and suspends nobody: a user whose logins ended can log in again.
    ///
    /// With `once`, the name of what asked for it and until when that could come again, that name is used up in the same
    /// transaction; if it was before, nothing changes and the answer is `None`.
    async fn end_logins(
        &self,
        revocation: &NewRevocation,
        once: Option<(&[u8; 32], Timestamp)>,
        event: &Change,
    ) -> Result<Option<Entry>, StoreError>;

    /// Appends an entry that revokes a user, who is suspended with it. `once` as in [`end_logins`](Self::end_logins).
    async fn suspend_user(
        &self,
        revocation: &NewRevocation,
        once: Option<(&[u8; 32], Timestamp)>,
        event: &Change,
    ) -> Result<Option<Entry>, StoreError>;

    /// Records what was said and ends nothing. `once` as in [`end_logins`](Self::end_logins); answers whether it was recorded.
    async fn record_said(
        &self,
        once: (&[u8; 32], Timestamp),
        at: Timestamp,
        event: &Change,
    ) -> Result<bool, StoreError>;

    /// The writs issued for a user that are valid at `at` and killed by no entry of the log; the latest first, at most `limit`.
    async fn issued_for(
        &self,
        tenant: &TenantName,
        subject: &Subject,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<IssuedWrit>, StoreError>;
}
