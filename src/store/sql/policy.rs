//! Policy sets.

use async_trait::async_trait;

use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{Group, TenantName};
use crate::store::database::{Row, Value, count, read_all, read_first, text, time};
use crate::store::{NewPolicies, Policies, StoreError, StoredPolicies};

fn stored(row: &mut Row) -> Result<StoredPolicies, StoreError> {
    Ok(StoredPolicies {
        tenant: row.parse()?,
        version: row.int()?,
        outdates: row.int()?,
        document: row.text()?,
        author: row.parse()?,
        at: row.time()?,
    })
}

#[async_trait]
impl Policies for SqlStore {
    async fn put_policies(
        &self,
        new: &NewPolicies<'_>,
        at: Timestamp,
        event: &Change,
    ) -> Result<(StoredPolicies, u64), StoreError> {
        let mut write = self.write().await?;
        if write.heads.catalog_version != new.checked {
            return Err(StoreError::Overtaken);
        }
        let before = write.newest_policies(new.tenant).await?;
        let version = before.map_or(0, |(version, _)| version) + 1;
        let asked_before = write.policy_groups(new.tenant).await?;
        let further = new.groups.iter().any(|(group, _)| !asked_before.iter().any(|(known, _)| known == group));
        let outdates = if further { version } else { before.map_or(0, |(_, outdates)| outdates) };
        let sql =
            "INSERT INTO policy_set (tenant, version, outdates, document, author, at) VALUES ($1, $2, $3, $4, $5, $6)";
        let row =
            vec![text(new.tenant), count(version), count(outdates), text(new.document), text(new.author), time(at)];
        write.change(sql, row);
        write.change("DELETE FROM policy_group WHERE tenant = $1", vec![text(new.tenant)]);
        for (group, forbids) in &new.groups {
            let sql = "INSERT INTO policy_group (tenant, name, forbids) VALUES ($1, $2, $3)";
            write.change(sql, vec![text(new.tenant), text(group), Value::Bool(*forbids)]);
        }
        write.set_limits(new.tenant, new.limits)?;
        let catalog = write.catalog_changes();
        write.commit(at, event).await?;
        let stored = StoredPolicies {
            tenant: new.tenant.clone(),
            version,
            outdates,
            document: new.document.into(),
            author: new.author.clone(),
            at,
        };
        Ok((stored, catalog))
    }

    async fn policies(&self) -> Result<Vec<StoredPolicies>, StoreError> {
        let sql = "SELECT p.tenant, p.version, p.outdates, p.document, p.author, p.at FROM policy_set p WHERE p.version = \
                   (SELECT MAX(n.version) FROM policy_set n WHERE n.tenant = p.tenant) ORDER BY p.tenant";
        read_all(self.read(sql, Vec::new()).await?, "policy_set", stored)
    }

    async fn policy_history(
        &self,
        tenant: &TenantName,
        before: u64,
        limit: u32,
    ) -> Result<Vec<StoredPolicies>, StoreError> {
        let sql = "SELECT tenant, version, outdates, document, author, at FROM policy_set \
                   WHERE tenant = $1 AND version < $2 ORDER BY version DESC LIMIT $3";
        let params = vec![text(tenant), count(before), count(limit.into())];
        read_all(self.read(sql, params).await?, "policy_set", stored)
    }
}

impl Write<'_> {
    /// Version and `outdates` of a tenant's newest set.
    async fn newest_policies(&mut self, tenant: &TenantName) -> Result<Option<(u64, u64)>, StoreError> {
        let sql = "SELECT version, outdates FROM policy_set WHERE tenant = $1 ORDER BY version DESC LIMIT 1";
        let rows = self.query(sql, vec![text(tenant)]).await?;
        read_first(rows, "policy_set", |row| Ok((row.int()?, row.int()?)))
    }

    /// Refuses a change that was checked with another version of the tenant's set than the newest.
    pub(super) async fn policies_are(&mut self, tenant: &TenantName, checked: u64) -> Result<(), StoreError> {
        let newest = self.newest_policies(tenant).await?.map_or(0, |(version, _)| version);
        if newest == checked { Ok(()) } else { Err(StoreError::Overtaken) }
    }

    async fn policy_groups(&mut self, tenant: &TenantName) -> Result<Vec<(Group, bool)>, StoreError> {
        let rows = self.query("SELECT name, forbids FROM policy_group WHERE tenant = $1", vec![text(tenant)]).await?;
        read_all(rows, "policy_group", |row| Ok((row.parse()?, row.bool()?)))
    }

    /// Whether the tenant's newest set asks for this group, and whether a forbid of it does.
    pub(super) async fn policy_asks_for(
        &mut self,
        tenant: &TenantName,
        group: &Group,
    ) -> Result<Option<bool>, StoreError> {
        let asked = self.policy_groups(tenant).await?;
        Ok(asked.into_iter().find(|(name, _)| name == group).map(|(_, forbids)| forbids))
    }
}
