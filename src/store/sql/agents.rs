//! Agents, grants and issuance.

use async_trait::async_trait;

use super::SqlStore;
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId, GrantId, Subject, TenantName};
use crate::key::PublicKey;
use crate::policy::Grant;
use crate::policy::grant::GrantSubject;
use crate::revocation::{Entry, Target};
use crate::store::database::{Row, Value, bytes, count, json, read_all, read_first, text, text_or_null, time};
use crate::store::{Agent, AgentStatus, Agents, IssueContext, IssuedWrit, StoreError};

/// How many expired identifiers one call clears away at most.
const CLEARED_MAX: u64 = 1000;

/// Finds a row the first time: of an id, until when it counts as used, and now.
pub(super) const USE_ONCE: &str = "INSERT INTO used_id (id, until) VALUES ($1, $2) ON CONFLICT (id) \
     DO UPDATE SET until = excluded.until WHERE used_id.until < $3 RETURNING until";

fn agent(row: &mut Row) -> Result<Agent, StoreError> {
    Ok(Agent {
        tenant: row.parse()?,
        name: row.parse()?,
        key: row.parse()?,
        status: match row.int_or_null::<u64>()? {
            None => AgentStatus::Active,
            Some(_) => AgentStatus::Disabled,
        },
        created: row.time()?,
    })
}

fn grant(row: &mut Row) -> Result<Grant, StoreError> {
    Ok(Grant {
        id: row.parse()?,
        tenant: row.parse()?,
        to: GrantSubject { agent: row.parse()?, subject: row.parse_or_null()?, group: row.parse_or_null()? },
        capabilities: row.json()?,
        ttl_s_max: row.int()?,
        depth_max: row.int()?,
        bearer: row.bool()?,
        proof_covers: row.json()?,
    })
}

pub(super) fn issued_writ(row: &mut Row) -> Result<IssuedWrit, StoreError> {
    Ok(IssuedWrit {
        id: row.parse()?,
        tenant: row.parse()?,
        agent: row.parse()?,
        subject: row.parse_or_null()?,
        session: row.parse_or_null()?,
        grants: row.json()?,
        issued: row.time()?,
        expires: row.time()?,
        epoch: row.int()?,
        holder: row.parse_or_null()?,
        services: if row.next_is_null() { None } else { Some(row.json()?) },
    })
}

#[async_trait]
impl Agents for SqlStore {
    async fn register_agent(&self, agent: &Agent, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("an agent of that name or key");
        write.change(
            "INSERT INTO agent (tenant, name, key, disabled_seq, created) VALUES ($1, $2, $3, $4, $5)",
            vec![
                text(&agent.tenant),
                text(&agent.name),
                text(&agent.key),
                // A disabled agent comes about by `disable_agent` only, which knows the entry.
                Value::Null,
                time(agent.created),
            ],
        );
        write.commit(agent.created, event).await
    }

    async fn agents(&self, tenant: &TenantName) -> Result<Vec<Agent>, StoreError> {
        let sql = "SELECT tenant, name, key, disabled_seq, created FROM agent WHERE tenant = $1 ORDER BY name";
        read_all(self.read(sql, vec![text(tenant)]).await?, "agent", agent)
    }

    async fn agent_by_key(&self, key: &PublicKey) -> Result<Option<Agent>, StoreError> {
        let sql = "SELECT tenant, name, key, disabled_seq, created FROM agent WHERE key = $1";
        read_first(self.read(sql, vec![text(key)]).await?, "agent", agent)
    }

    async fn disable_agent(
        &self,
        tenant: &TenantName,
        name: &AgentName,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Entry, StoreError> {
        let mut write = self.write().await?;
        let sql = "SELECT disabled_seq FROM agent WHERE tenant = $1 AND name = $2";
        let rows = write.query(sql, vec![text(tenant), text(name)]).await?;
        let disabled = read_first(rows, "agent", Row::int_or_null)?.ok_or(StoreError::NotFound("agent"))?;
        if let Some(seq) = disabled {
            return write.entry_at(seq).await;
        }
        let entry = write.append_entry(Target::Agent(tenant.clone(), name.clone()), forget_after, at, None);
        write.change(
            "UPDATE agent SET disabled_seq = $3 WHERE tenant = $1 AND name = $2",
            vec![text(tenant), text(name), count(entry.seq)],
        );
        write.commit(at, event).await?;
        Ok(entry)
    }

    async fn add_grant(&self, grant: &Grant, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("a grant of that id");
        let sql = "SELECT 1 FROM agent WHERE tenant = $1 AND name = $2";
        if !write.finds(sql, vec![text(&grant.tenant), text(&grant.to.agent)]).await? {
            return Err(StoreError::NotFound("agent"));
        }
        let position = write.position();
        write.change(
            "INSERT INTO agent_grant (id, position, tenant, agent, subject, user_group, capabilities, ttl_s_max, depth_max, \
             bearer, proof_covers) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            vec![
                text(&grant.id),
                count(position),
                text(&grant.tenant),
                text(&grant.to.agent),
                text_or_null(grant.to.subject.as_ref()),
                text_or_null(grant.to.group.as_ref()),
                json(&grant.capabilities)?,
                count(grant.ttl_s_max.into()),
                count(grant.depth_max.into()),
                Value::Bool(grant.bearer),
                json(&grant.proof_covers)?,
            ],
        );
        write.commit(at, event).await
    }

    async fn grants(&self, tenant: &TenantName, agent: Option<&AgentName>) -> Result<Vec<Grant>, StoreError> {
        let columns = "SELECT id, tenant, agent, subject, user_group, capabilities, ttl_s_max, depth_max, bearer, proof_covers \
                       FROM agent_grant WHERE tenant = $1";
        let rows = match agent {
            Some(agent) => {
                let sql = format!("{columns} AND agent = $2 ORDER BY position");
                self.read(&sql, vec![text(tenant), text(agent)]).await?
            }
            None => self.read(&format!("{columns} ORDER BY position"), vec![text(tenant)]).await?,
        };
        read_all(rows, "agent_grant", grant)
    }

    async fn remove_grant(
        &self,
        tenant: &TenantName,
        id: GrantId,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Entry, StoreError> {
        let mut write = self.write().await?;
        let sql = "DELETE FROM agent_grant WHERE tenant = $1 AND id = $2 RETURNING id";
        if !write.finds(sql, vec![text(tenant), text(&id)]).await? {
            return Err(StoreError::NotFound("grant"));
        }
        let entry = write.append_entry(Target::Grant(id), forget_after, at, None);
        write.commit(at, event).await?;
        Ok(entry)
    }

    async fn issue_context(&self, key: &PublicKey, subject: Option<&Subject>) -> Result<IssueContext, StoreError> {
        // One statement: agent, grants, head, suspension and stop are of one moment without a transaction.
        let sql = "SELECT h.revocation_seq, u.seq, s.seq, a.tenant, a.name, a.key, a.disabled_seq, a.created, g.id, g.tenant, \
                   g.agent, g.subject, g.user_group, g.capabilities, g.ttl_s_max, g.depth_max, g.bearer, g.proof_covers \
                   FROM agent a CROSS JOIN heads h \
                   LEFT JOIN suspended_user u ON u.tenant = a.tenant AND u.subject = $2 \
                   LEFT JOIN emergency_stop s ON s.one = 1 LEFT JOIN agent_grant g ON g.tenant = a.tenant AND g.agent = a.name \
                   WHERE a.key = $1 ORDER BY g.position";
        let mut context: Option<IssueContext> = None;
        for row in self.read(sql, vec![text(key), text_or_null(subject)]).await? {
            let mut row = row.of("agent");
            let (epoch, suspended_at, stopped_at) = (row.int()?, row.int_or_null::<u64>()?, row.int_or_null::<u64>()?);
            let agent = agent(&mut row)?;
            let context = context.get_or_insert_with(|| IssueContext {
                agent,
                grants: Vec::new(),
                epoch,
                suspended: suspended_at.is_some(),
                stopped: stopped_at.is_some(),
            });
            if !row.next_is_null() {
                context.grants.push(grant(&mut row.of("agent_grant"))?);
            }
        }
        context.ok_or(StoreError::NotFound("agent"))
    }

    async fn record_issued(&self, writ: &IssuedWrit, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("a writ of that id");
        write.change(
            "INSERT INTO issued_writ (id, tenant, agent, subject, session, grants, issued, expires, epoch, holder, services) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            vec![
                text(&writ.id),
                text(&writ.tenant),
                text(&writ.agent),
                text_or_null(writ.subject.as_ref()),
                text_or_null(writ.session.as_ref()),
                json(&writ.grants)?,
                time(writ.issued),
                time(writ.expires),
                count(writ.epoch),
                text_or_null(writ.holder.as_ref()),
                writ.services.as_ref().map_or(Ok(Value::Null), json)?,
            ],
        );
        write.commit(writ.issued, event).await
    }

    async fn issued(&self, id: BlockId) -> Result<Option<IssuedWrit>, StoreError> {
        let sql = "SELECT id, tenant, agent, subject, session, grants, issued, expires, epoch, holder, services \
                   FROM issued_writ WHERE id = $1";
        read_first(self.read(sql, vec![text(&id)]).await?, "issued_writ", issued_writ)
    }

    async fn use_once(&self, id: &[u8; 32], until: Timestamp, at: Timestamp) -> Result<bool, StoreError> {
        // The row's own lock decides between two that come at once. If the answer is lost, the id is used up: who repeats
        // the call is refused, which is the safe side.
        let first = !self.database.write(USE_ONCE, vec![bytes(id), time(until), time(at)]).await?.is_empty();
        // The ids are digests: one call in 64 clears away for the others.
        if id[0] < 4 {
            let sql = "DELETE FROM used_id WHERE id IN (SELECT id FROM used_id WHERE until < $1 LIMIT $2)";
            if let Err(error) = self.database.write(sql, vec![time(at), count(CLEARED_MAX)]).await {
                tracing::warn!(error = %StoreError::from(error), "expired single-use ids stay for now");
            }
        }
        Ok(first)
    }
}
