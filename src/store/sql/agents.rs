//! Agents, grants, and what was issued.

use async_trait::async_trait;

use super::issuing::issued_writ;
use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId, GrantId, Note, Subject, TenantName};
use crate::key::PublicKey;
use crate::policy::Grant;
use crate::policy::grant::GrantSubject;
use crate::revocation::{Entry, Target};
use crate::store::database::{Row, Value, count, json, read_all, read_first, text, text_or_null, time};
use crate::store::{Agent, AgentStatus, Agents, IssueContext, IssuedWrit, Recorded, SingleUse, StoreError};

/// The columns that [`agent`] reads, for an agent with the key that it has.
pub(super) const AGENT: &str =
    "a.tenant, a.name, a.key, CAST(NULL AS BIGINT), a.disabled_seq, a.created, a.owner, a.purpose";
/// The same for an agent found by a key that it had before.
pub(super) const AGENT_BEFORE: &str = "a.tenant, a.name, k.key, k.until, a.disabled_seq, a.created, a.owner, a.purpose";
/// Where such agents are, by their key or by their name.
pub(super) const BEFORE: &str = "agent_key_before k JOIN agent a ON a.tenant = k.tenant AND a.name = k.agent";

pub(super) fn agent(row: &mut Row) -> Result<Agent, StoreError> {
    agent_by(row, None)
}

/// The same where it was likely found by this key.
pub(super) fn agent_by(row: &mut Row, key: Option<&PublicKey>) -> Result<Agent, StoreError> {
    Ok(Agent {
        tenant: row.parse()?,
        name: row.parse()?,
        key: row.key_or_null(key)?,
        key_until: row.time_or_null()?,
        status: match row.int_or_null::<u64>()? {
            None => AgentStatus::Active,
            Some(_) => AgentStatus::Disabled,
        },
        created: row.time()?,
        owner: row.parse_or_null()?,
        purpose: row.parse_or_null()?,
    })
}

impl Write<'_> {
    /// Adds an agent whose name and key nobody has or had.
    pub(super) async fn insert_agent(&mut self, agent: &Agent) -> Result<(), StoreError> {
        self.conflict("an agent of that name or key");
        if let Some(key) = &agent.key {
            self.key_is_new(key).await?;
        }
        let sql = "INSERT INTO agent (tenant, name, key, disabled_seq, created, owner, purpose) \
                   VALUES ($1, $2, $3, NULL, $4, $5, $6) RETURNING name";
        let params = vec![
            text(&agent.tenant),
            text(&agent.name),
            text_or_null(agent.key.as_ref()),
            time(agent.created),
            text_or_null(agent.owner.as_ref()),
            text_or_null(agent.purpose.as_ref()),
        ];
        // Now, not at the commit: a grant may follow.
        self.finds(sql, params).await.map(drop)
    }

    /// Refuses a key that an agent had before.
    pub(super) async fn key_is_new(&mut self, key: &PublicKey) -> Result<(), StoreError> {
        if self.finds("SELECT 1 FROM agent_key_before WHERE key = $1", vec![text(key)]).await? {
            return Err(StoreError::Conflict("an agent of that name or key"));
        }
        Ok(())
    }

    pub(super) fn insert_grant(&mut self, grant: &Grant) -> Result<(), StoreError> {
        let position = self.position();
        self.change(
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
        Ok(())
    }
}

pub(super) fn grant(row: &mut Row) -> Result<Grant, StoreError> {
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

#[async_trait]
impl Agents for SqlStore {
    async fn register_agent(&self, agent: &Agent, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.insert_agent(agent).await?;
        write.commit(agent.created, event).await
    }

    async fn agents(&self, tenant: &TenantName) -> Result<Vec<Agent>, StoreError> {
        let sql = format!("SELECT {AGENT} FROM agent a WHERE a.tenant = $1 ORDER BY a.name");
        read_all(self.read(&sql, vec![text(tenant)]).await?, "agent", agent)
    }

    async fn agent_by_key(&self, key: &PublicKey) -> Result<Option<Agent>, StoreError> {
        let sql = format!("SELECT {AGENT} FROM agent a WHERE a.key = $1");
        if let Some(found) = read_first(self.read(&sql, vec![text(key)]).await?, "agent", agent)? {
            return Ok(Some(found));
        }
        let sql = format!("SELECT {AGENT_BEFORE} FROM {BEFORE} WHERE k.key = $1");
        read_first(self.read(&sql, vec![text(key)]).await?, "agent_key_before", agent)
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

    async fn enable_agent(
        &self,
        tenant: &TenantName,
        name: &AgentName,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let params = || vec![text(tenant), text(name)];
        if !write.finds("SELECT 1 FROM agent WHERE tenant = $1 AND name = $2", params()).await? {
            return Err(StoreError::NotFound("agent"));
        }
        let sql = "UPDATE agent SET disabled_seq = NULL WHERE tenant = $1 AND name = $2 AND disabled_seq IS NOT NULL \
                   RETURNING name";
        if !write.finds(sql, params()).await? {
            return Ok(());
        }
        write.commit(at, event).await
    }

    async fn describe_agent(
        &self,
        tenant: &TenantName,
        name: &AgentName,
        owner: Option<&Note>,
        purpose: Option<&Note>,
        at: Timestamp,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let sql = "UPDATE agent SET owner = $3, purpose = $4 WHERE tenant = $1 AND name = $2 RETURNING name";
        if !write.finds(sql, vec![text(tenant), text(name), text_or_null(owner), text_or_null(purpose)]).await? {
            return Err(StoreError::NotFound("agent"));
        }
        write.commit(at, event).await
    }

    async fn add_grant(&self, grant: &Grant, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.conflict("a grant of that id");
        let sql = "SELECT 1 FROM agent WHERE tenant = $1 AND name = $2";
        if !write.finds(sql, vec![text(&grant.tenant), text(&grant.to.agent)]).await? {
            return Err(StoreError::NotFound("agent"));
        }
        write.insert_grant(grant)?;
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
        self.shared_context(key, subject).await
    }

    async fn record_issued(
        &self,
        writ: &IssuedWrit,
        uses: &[SingleUse],
        event: &Change,
    ) -> Result<Recorded, StoreError> {
        self.shared_record(writ, uses, event).await
    }

    async fn issued(&self, id: BlockId) -> Result<Option<IssuedWrit>, StoreError> {
        let sql = "SELECT id, tenant, agent, subject, session, grants, issued, expires, epoch, holder, services \
                   FROM issued_writ WHERE id = $1";
        read_first(self.read(sql, vec![text(&id)]).await?, "issued_writ", issued_writ)
    }

    async fn use_once(&self, id: &[u8; 32], until: Timestamp, at: Timestamp) -> Result<bool, StoreError> {
        self.shared_use(SingleUse { id: *id, until }, at).await
    }
}
