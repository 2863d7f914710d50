//! Users: whose logins ended, and what was issued for them.

use async_trait::async_trait;

use super::SqlStore;
use super::agents::{USE_ONCE, issued_writ};
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
        // A list of a known few targets for each writ, so that the log's size does not matter. Of grants there is a list in the
        // writ's row: there the log's few entries about grants are looked through.
        let sql = "SELECT w.id, w.tenant, w.agent, w.subject, w.session, w.grants, w.issued, w.expires, w.epoch, w.holder, \
                   w.services \
                   FROM issued_writ w WHERE w.tenant = $1 AND w.subject = $2 AND w.expires >= $3 \
                   AND NOT EXISTS (SELECT 1 FROM revocation r WHERE r.target IN ('block:' || w.id, 'holder:' || w.holder)) \
                   AND NOT EXISTS (SELECT 1 FROM revocation r WHERE r.seq > w.epoch AND r.target IN ('everything', \
                   'tenant:' || w.tenant, 'subject:' || w.tenant || '/' || w.subject, 'agent:' || w.tenant || '/' || w.agent, \
                   'acting:' || w.tenant || '/' || w.agent || '/' || w.subject, 'session:' || w.tenant || '/' || w.session)) \
                   AND NOT EXISTS (SELECT 1 FROM revocation r WHERE r.target >= 'grant:' AND r.target < 'grant;' \
                   AND r.seq > w.epoch AND w.grants LIKE '%\"' || substr(r.target, 7) || '\"%') \
                   ORDER BY w.issued DESC, w.id LIMIT $4";
        let params = vec![text(tenant), text(subject), time(at), count(limit.into())];
        read_all(self.read(sql, params).await?, "issued_writ", issued_writ)
    }
}
