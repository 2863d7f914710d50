//! Users: whose logins ended, and what was issued for them.

use async_trait::async_trait;

use super::issuing::{USE_ONCE, issued_writ};
use super::reach::LIVE;
use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{Subject, TenantName};
use crate::revocation::Entry;
use crate::store::database::{bytes, count, read_all, text, time};
use crate::store::{IssuedWrit, NewRevocation, StoreError, Users};

impl SqlStore {
    /// Begins to end something, unless the message that asks for it was used up before.
    async fn ended(
        &self,
        revocation: &NewRevocation,
        once: Option<(&[u8; 32], Timestamp)>,
    ) -> Result<Option<(Write<'_>, Entry)>, StoreError> {
        let mut write = self.write().await?;
        let NewRevocation { target, forget_after, at, .. } = revocation;
        if let Some((id, until)) = once
            && !write.uses_up(id, until, *at).await?
        {
            return Ok(None);
        }
        let entry = write.append_entry(target.clone(), *forget_after, *at, None);
        Ok(Some((write, entry)))
    }
}

impl Write<'_> {
    /// Uses up an identifier until then: whether this is the first time.
    async fn uses_up(&mut self, id: &[u8; 32], until: Timestamp, at: Timestamp) -> Result<bool, StoreError> {
        self.finds(USE_ONCE, vec![bytes(id), time(until), time(at)]).await
    }
}

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
        let Some((write, entry)) = self.ended(revocation, once).await? else { return Ok(None) };
        write.commit(revocation.at, event).await?;
        Ok(Some(entry))
    }

    async fn suspend_user(
        &self,
        revocation: &NewRevocation,
        once: Option<(&[u8; 32], Timestamp)>,
        event: &Change,
    ) -> Result<Option<Entry>, StoreError> {
        let Some((mut write, entry)) = self.ended(revocation, once).await? else { return Ok(None) };
        write.stop_issuing(&entry, event);
        write.commit(revocation.at, event).await?;
        Ok(Some(entry))
    }

    async fn record_said(
        &self,
        (id, until): (&[u8; 32], Timestamp),
        at: Timestamp,
        event: &Change,
    ) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        if !write.uses_up(id, until, at).await? {
            return Ok(false);
        }
        write.commit(at, event).await?;
        Ok(true)
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
