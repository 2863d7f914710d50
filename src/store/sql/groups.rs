//! Groups of the directory, and what ends for whoever leaves one.

use super::directory::{found, with_ended};
use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, GrantId, Group, ProviderName, ResourceId, Subject};
use crate::revocation::Target;
use crate::store::StoreError;
use crate::store::database::{Row, count, read_all, read_first, text, text_or_null, time};
use crate::store::directory::{DirectoryGroup, ENDS_MAX, Ended, Find, GroupChange, LEAVERS_MAX};

const GROUP: &str = "SELECT provider, id, position, name, external_id, version, created, updated, ended_seq \
     FROM directory_group WHERE provider = $1";

fn group(row: &mut Row) -> Result<DirectoryGroup, StoreError> {
    Ok(DirectoryGroup {
        provider: row.parse()?,
        id: row.parse()?,
        position: row.int()?,
        name: row.parse()?,
        external_id: row.text_or_null()?,
        version: row.int()?,
        created: row.time()?,
        updated: row.time()?,
        ended: row.int_or_null()?,
    })
}

impl SqlStore {
    pub(super) async fn read_groups(
        &self,
        provider: &ProviderName,
        find: &Find<'_>,
        limit: u32,
    ) -> Result<Vec<DirectoryGroup>, StoreError> {
        let (by, params) = found(find, "name_key", provider, limit);
        read_all(self.read(&format!("{GROUP}{by}"), params).await?, "directory_group", group)
    }

    pub(super) async fn write_group(
        &self,
        change: &GroupChange<'_>,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Option<Ended>, StoreError> {
        let GroupChange { group, removed, joining, leaving, .. } = change;
        let (provider, id) = (&group.provider, group.id);
        let mut write = self.write().await?;
        write.conflict("a group of that id");
        if !write.follows("directory_group", provider, id, group.version).await? {
            return Ok(None);
        }
        let before = write.group_name(provider, id).await?;
        // Whoever leaves the group, or the name with it.
        let leavers = match &before {
            Some(before) if *removed || *before != group.name => write.members(provider, id).await?,
            Some(_) => leaving.to_vec(),
            None => Vec::new(),
        };
        write.change_members(provider, id, joining, leaving, *removed).await?;
        write.write_group(group, *removed).await?;
        let mut targets = match &before {
            Some(name) if !leavers.is_empty() => write.ends(change, name, &leavers).await?,
            _ => Vec::new(),
        };
        let renamed = before.as_ref().is_some_and(|before| *before != group.name);
        let joiners = match &before {
            _ if *removed => Vec::new(),
            // With the name changes what everybody is in.
            Some(_) if renamed => write.members(provider, id).await?,
            _ => joining.to_vec(),
        };
        if let Some(name) = &before {
            targets.extend(write.ends_by_policy(change, name, &leavers, false).await?);
        }
        targets.extend(write.ends_by_policy(change, &group.name, &joiners, true).await?);
        targets.sort_unstable();
        targets.dedup();
        let entries: Vec<_> =
            targets.into_iter().map(|target| write.append_entry(target, forget_after, at, None)).collect();
        let ended = entries.last().cloned().map_or(Ended::Nothing, |entry| Ended::Now(Box::new(entry)));
        if *removed {
            write.is_gone(provider, id, &ended);
        } else if let Ended::Now(entry) = &ended {
            let sql = "UPDATE directory_group SET ended_seq = $3 WHERE provider = $1 AND id = $2";
            write.change(sql, vec![text(provider), text(&id), count(entry.seq)]);
        }
        write.commit(at, &with_ended(event, &entries)).await?;
        Ok(Some(match (ended, group.ended) {
            // Whoever repeats a change waits for what it ended the first time.
            (Ended::Nothing, Some(seq)) => Ended::Before(seq),
            (ended, _) => ended,
        }))
    }
}

impl Write<'_> {
    async fn group_name(&mut self, provider: &ProviderName, id: ResourceId) -> Result<Option<Group>, StoreError> {
        let sql = "SELECT name FROM directory_group WHERE provider = $1 AND id = $2";
        read_first(self.query(sql, vec![text(provider), text(&id)]).await?, "directory_group", Row::parse)
    }

    async fn members(&mut self, provider: &ProviderName, id: ResourceId) -> Result<Vec<ResourceId>, StoreError> {
        let sql = "SELECT user_id FROM directory_member WHERE provider = $1 AND group_id = $2";
        read_all(self.query(sql, vec![text(provider), text(&id)]).await?, "directory_member", Row::parse)
    }

    async fn change_members(
        &mut self,
        provider: &ProviderName,
        id: ResourceId,
        joining: &[ResourceId],
        leaving: &[ResourceId],
        removed: bool,
    ) -> Result<(), StoreError> {
        let row = |user: &ResourceId| vec![text(provider), text(&id), text(user)];
        if removed {
            let sql = "DELETE FROM directory_member WHERE provider = $1 AND group_id = $2";
            return self.run(sql, vec![vec![text(provider), text(&id)]]).await;
        }
        let sql = "DELETE FROM directory_member WHERE provider = $1 AND group_id = $2 AND user_id = $3";
        self.run(sql, leaving.iter().map(row).collect()).await?;
        let sql = "INSERT INTO directory_member (provider, group_id, user_id) VALUES ($1, $2, $3) \
                   ON CONFLICT (provider, group_id, user_id) DO NOTHING";
        self.run(sql, joining.iter().map(row).collect()).await
    }

    async fn write_group(&mut self, group: &DirectoryGroup, removed: bool) -> Result<(), StoreError> {
        let (provider, id) = (text(&group.provider), text(&group.id));
        if removed {
            let sql = "DELETE FROM directory_group WHERE provider = $1 AND id = $2";
            return self.run(sql, vec![vec![provider, id]]).await;
        }
        let position = self.position();
        let row = vec![
            provider,
            id,
            count(position),
            text(&group.name),
            text(&group.name_key()),
            text_or_null(group.external_id.as_ref()),
            count(group.version),
            time(group.created),
            time(group.updated),
        ];
        let sql = "INSERT INTO directory_group (provider, id, position, name, name_key, external_id, version, created, \
                   updated) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (provider, id) DO UPDATE SET \
                   name = excluded.name, name_key = excluded.name_key, external_id = excluded.external_id, \
                   version = excluded.version, updated = excluded.updated";
        self.run(sql, vec![row]).await
    }

    /// What ends because writs say of `users` that they are, or are not, in the group `name`, and policies ask for it: a permit
    /// no longer stands for whoever leaves, and a forbid does for whoever joins. Of very many, the tenant's writs end.
    async fn ends_by_policy(
        &mut self,
        change: &GroupChange<'_>,
        name: &Group,
        users: &[ResourceId],
        join: bool,
    ) -> Result<Vec<Target>, StoreError> {
        let GroupChange { group, tenant, user_prefix, .. } = change;
        if users.is_empty() {
            return Ok(Vec::new());
        }
        match self.policy_asks_for(tenant, name).await? {
            Some(forbids) if forbids || !join => {}
            Some(_) | None => return Ok(Vec::new()),
        }
        if users.len() > ENDS_MAX {
            return Ok(vec![Target::Tenant((*tenant).clone())]);
        }
        let mut targets = Vec::new();
        for user in users {
            let sql = "SELECT name FROM directory_user WHERE provider = $1 AND id = $2";
            let rows = self.query(sql, vec![text(&group.provider), text(user)]).await?;
            let Some(user) = read_first(rows, "directory_user", Row::text)? else { continue };
            let corrupt = |_| StoreError::Corrupt { table: "directory_user" };
            let subject: Subject = format!("{user_prefix}{user}").parse().map_err(corrupt)?;
            targets.push(Target::Subject((*tenant).clone(), subject));
        }
        Ok(targets)
    }

    /// What ends because `leavers` are out of the group: nothing for those who are in another one of the same name.
    async fn ends(
        &mut self,
        change: &GroupChange<'_>,
        name: &Group,
        leavers: &[ResourceId],
    ) -> Result<Vec<Target>, StoreError> {
        let GroupChange { tenant, .. } = change;
        if change.roles.contains(name) {
            let subjects = self.out_of(change, name, leavers).await?;
            return Ok(subjects.into_iter().map(|subject| Target::Subject((*tenant).clone(), subject)).collect());
        }
        let sql = "SELECT id, agent FROM agent_grant WHERE tenant = $1 AND user_group = $2 ORDER BY position";
        let rows = self.query(sql, vec![text(tenant), text(name)]).await?;
        let grants = read_all(rows, "agent_grant", |row| Ok((row.parse::<GrantId>()?, row.parse::<AgentName>()?)))?;
        let agents: std::collections::BTreeSet<&AgentName> = grants.iter().map(|(_, agent)| agent).collect();
        if leavers.len().saturating_mul(agents.len()) > LEAVERS_MAX {
            return Ok(grants.into_iter().map(|(id, _)| Target::Grant(id)).collect());
        }
        if agents.is_empty() {
            return Ok(Vec::new());
        }
        let subjects = self.out_of(change, name, leavers).await?;
        let acting = |subject: &Subject| {
            let subject = subject.clone();
            agents.iter().map(move |agent| Target::Acting((*tenant).clone(), (*agent).clone(), subject.clone()))
        };
        Ok(subjects.iter().flat_map(acting).collect())
    }

    /// Those of `leavers` who are in no group of that name any more, as tokens name them.
    async fn out_of(
        &mut self,
        change: &GroupChange<'_>,
        name: &Group,
        leavers: &[ResourceId],
    ) -> Result<Vec<Subject>, StoreError> {
        let provider = &change.group.provider;
        let mut subjects = Vec::new();
        for user in leavers {
            let sql = "SELECT name FROM directory_user WHERE provider = $1 AND id = $2 AND NOT EXISTS \
                       (SELECT 1 FROM directory_member m JOIN directory_group g ON g.provider = m.provider AND g.id = m.group_id \
                       WHERE m.provider = $1 AND m.user_id = $2 AND g.name = $3)";
            let rows = self.query(sql, vec![text(provider), text(user), text(name)]).await?;
            let Some(user) = read_first(rows, "directory_user", Row::text)? else { continue };
            let corrupt = |_| StoreError::Corrupt { table: "directory_user" };
            subjects.push(format!("{}{user}", change.user_prefix).parse().map_err(corrupt)?);
        }
        Ok(subjects)
    }
}
