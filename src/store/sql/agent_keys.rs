//! The keys of agents over time, and when agents were last seen.

use async_trait::async_trait;

use super::agents::{AGENT, AGENT_BEFORE, BEFORE, agent};
use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, TenantName};
use crate::key::PublicKey;
use crate::revocation::{Entry, Target};
use crate::store::agent_keys::{AgentKeys, KeyBefore, KeyRotation, Rotated};
use crate::store::database::{Row, Statement, read_all, read_first, text, time};
use crate::store::{Agent, StoreError};

impl Write<'_> {
    /// Ends the key that the agent has now, as `before` says.
    async fn end_key(&mut self, rotation: &KeyRotation, key: &PublicKey) -> Result<Option<Entry>, StoreError> {
        let KeyRotation { tenant, name, before, at, .. } = rotation;
        let insert = "INSERT INTO agent_key_before (key, tenant, agent, until) VALUES ($1, $2, $3, $4)";
        let forget_after = match before {
            KeyBefore::CountsUntil(until) => {
                self.change(insert, vec![text(key), text(tenant), text(name), time(*until)]);
                return Ok(None);
            }
            KeyBefore::Revoked { forget_after } => *forget_after,
        };
        let over = at.before(std::time::Duration::from_millis(1));
        let sql =
            "UPDATE agent_key_before SET until = $4 WHERE tenant = $1 AND agent = $2 AND until >= $3 RETURNING key";
        let rows = self.query(sql, vec![text(tenant), text(name), time(*at), time(over)]).await?;
        let mut ended: Vec<PublicKey> = read_all(rows, "agent_key_before", Row::parse)?;
        self.change(insert, vec![text(key), text(tenant), text(name), time(over)]);
        ended.push(*key);
        let entries = ended.into_iter().map(|key| self.append_entry(Target::Holder(key), forget_after, *at, None));
        Ok(entries.last())
    }
}

#[async_trait]
impl AgentKeys for SqlStore {
    async fn agent_keys(&self, tenant: &TenantName, name: &AgentName) -> Result<Vec<Agent>, StoreError> {
        let sql = format!(
            "SELECT {AGENT}, 0 FROM agent a WHERE a.tenant = $1 AND a.name = $2 UNION ALL \
             SELECT {AGENT_BEFORE}, 1 FROM {BEFORE} WHERE k.tenant = $1 AND k.agent = $2 ORDER BY 9, 4 DESC"
        );
        read_all(self.read(&sql, vec![text(tenant), text(name)]).await?, "agent", agent)
    }

    async fn rotate_agent_key(&self, rotation: &KeyRotation, event: &Change) -> Result<Rotated, StoreError> {
        let KeyRotation { tenant, name, to, from, at, .. } = rotation;
        let mut write = self.write().await?;
        write.conflict("an agent of that name or key");
        let sql = "SELECT key, disabled_seq FROM agent WHERE tenant = $1 AND name = $2";
        let rows = write.query(sql, vec![text(tenant), text(name)]).await?;
        let read = |row: &mut Row| Ok((row.parse_or_null::<PublicKey>()?, row.int_or_null::<u64>()?));
        let (key, disabled) = read_first(rows, "agent", read)?.ok_or(StoreError::NotFound("agent"))?;
        if from.is_some() && disabled.is_some() {
            return Ok(Rotated::Disabled);
        }
        if key == Some(*to) {
            return Ok(Rotated::Already);
        }
        if from.is_some() && *from != key {
            return Ok(Rotated::Stale);
        }
        write.key_is_new(to).await?;
        let entry = match key {
            Some(key) => write.end_key(rotation, &key).await?,
            None => None,
        };
        write.change(
            "UPDATE agent SET key = $3 WHERE tenant = $1 AND name = $2",
            vec![text(tenant), text(name), text(to)],
        );
        write.commit(*at, event).await?;
        Ok(Rotated::Done(entry.map(Box::new)))
    }

    async fn note_agents_seen(&self, seen: &[(TenantName, AgentName, Timestamp)]) -> Result<(), StoreError> {
        let sql = "INSERT INTO agent_seen (tenant, agent, at) VALUES ($1, $2, $3) ON CONFLICT (tenant, agent) \
                   DO UPDATE SET at = excluded.at WHERE agent_seen.at < excluded.at";
        let mut seen: Vec<_> = seen.iter().collect();
        // In one order at every replica, so that no two wait for each other.
        seen.sort();
        let rows = seen.into_iter().map(|(tenant, agent, at)| vec![text(tenant), text(agent), time(*at)]);
        let statement = Statement { sql: sql.into(), rows: rows.collect() };
        let transaction = self.database.begin().await?;
        Ok(transaction.commit_with(vec![statement]).await?)
    }

    async fn agents_seen(&self, tenant: &TenantName) -> Result<Vec<(AgentName, Timestamp)>, StoreError> {
        let sql = "SELECT agent, at FROM agent_seen WHERE tenant = $1 ORDER BY agent";
        let read = |row: &mut Row| Ok((row.parse()?, row.time()?));
        read_all(self.read(sql, vec![text(tenant)]).await?, "agent_seen", read)
    }
}
