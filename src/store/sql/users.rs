//! Users: whose logins ended, and what was issued for them.

use async_trait::async_trait;

use super::SqlStore;
use super::agents::{USE_ONCE, issued_writ};
use super::reach::LIVE;
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{Subject, TenantName};
use crate::revocation::Entry;
use crate::store::database::{bytes, count, read_all, text, time};
use crate::store::{IssuedWrit, NewRevocation, StoreError, Users};

#[async_trait]
impl Users for SqlStore {
    async fn is_suspended(&self, tenant: &TenantName, subject: &Subject) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM suspended_user WHERE tenant = $1 AND subject = $2";
        Ok(!self.read(sql, vec![text(tenant), text(subject)]).await?.is_empty())
    }

    async fn end_logins(
        &self,
        revocation: &NewRevocation,
        once: Option<(&[u8; 32], Timestamp)>,
        event: &Change,
    ) -> Result<Option<Entry>, StoreError> {
        let mut write = self.write().await?;
        let NewRevocation { target, forget_after, at, .. } = revocation;
        if let Some((id, until)) = once
            && !write.finds(USE_ONCE, vec![bytes(id), time(until), time(*at)]).await?
        {
            return Ok(None);
        }
        let entry = write.append_entry(target.clone(), *forget_after, *at, None);
        write.commit(*at, event).await?;
        Ok(Some(entry))
    }

    async fn issued_for(
        &self,
        tenant: &TenantName,
        subject: &Subject,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<IssuedWrit>, StoreError> {
        let sql = format!(
            "SELECT w.id, w.tenant, w.agent, w.subject, w.session, w.grants, w.issued, w.expires, w.epoch, w.holder, w.services \
             {LIVE} AND w.tenant = $2 AND w.subject = $3 ORDER BY w.issued DESC, w.id LIMIT $4"
        );
        let params = vec![time(at), text(tenant), text(subject), count(limit.into())];
        read_all(self.read(&sql, params).await?, "issued_writ", issued_writ)
    }
}
