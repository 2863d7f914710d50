//! Workloads that are agents.

use async_trait::async_trait;

use super::agents::AGENT;
use super::issuing::Known;
use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{ProviderName, Subject, TenantName, WorkloadSubject};
use crate::key::PublicKey;
use crate::revocation::{Entry, Target};
use crate::store::database::{Row, bytes, json, read_all, read_first, text, text_or_null, time};
use crate::store::{Agent, AgentWorkload, IssueContext, StoreError, Workloads};

const COLUMNS: &str = "issuer, subject, tenant, agent, claims, created";

/// Finds the key that used the id first, which is the id's as long as anything of that name could come again.
const USE_BY_ONE: &str = "INSERT INTO used_id (id, until, holder) VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET \
     holder = CASE WHEN used_id.until < $4 THEN excluded.holder ELSE used_id.holder END, \
     until = CASE WHEN used_id.until < excluded.until THEN excluded.until ELSE used_id.until END RETURNING holder";

fn workload(row: &mut Row) -> Result<AgentWorkload, StoreError> {
    Ok(AgentWorkload {
        issuer: row.parse()?,
        subject: row.parse()?,
        tenant: row.parse()?,
        agent: row.parse()?,
        claims: row.json()?,
        created: row.time()?,
    })
}

impl Write<'_> {
    async fn insert_workload(&mut self, workload: &AgentWorkload) -> Result<(), StoreError> {
        self.conflict("an agent with that workload");
        let sql = format!("INSERT INTO agent_workload ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6) RETURNING agent");
        let params = vec![
            text(&workload.issuer),
            text(&workload.subject),
            text(&workload.tenant),
            text(&workload.agent),
            json(&workload.claims)?,
            time(workload.created),
        ];
        self.finds(&sql, params).await.map(drop)
    }
}

#[async_trait]
impl Workloads for SqlStore {
    async fn add_workload(&self, workload: &AgentWorkload, event: &Change) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let sql = "SELECT 1 FROM agent WHERE tenant = $1 AND name = $2";
        if !write.finds(sql, vec![text(&workload.tenant), text(&workload.agent)]).await? {
            return Err(StoreError::NotFound("agent"));
        }
        write.insert_workload(workload).await?;
        write.commit(workload.created, event).await
    }

    async fn register_workload_agent(
        &self,
        agent: &Agent,
        workload: &AgentWorkload,
        event: &Change,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.insert_agent(agent).await?;
        write.insert_workload(workload).await?;
        write.commit(agent.created, event).await
    }

    async fn workloads(&self, tenant: &TenantName) -> Result<Vec<AgentWorkload>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM agent_workload WHERE tenant = $1 ORDER BY agent, issuer, subject");
        read_all(self.read(&sql, vec![text(tenant)]).await?, "agent_workload", workload)
    }

    async fn remove_workload(
        &self,
        workload: &AgentWorkload,
        forget_after: Timestamp,
        at: Timestamp,
        event: &Change,
    ) -> Result<Entry, StoreError> {
        let AgentWorkload { issuer, subject, tenant, agent, .. } = workload;
        let mut write = self.write().await?;
        let sql = "DELETE FROM agent_workload WHERE issuer = $1 AND subject = $2 AND tenant = $3 AND agent = $4 \
                   RETURNING agent";
        if !write.finds(sql, vec![text(issuer), text(subject), text(tenant), text(agent)]).await? {
            return Err(StoreError::NotFound("workload of that agent"));
        }
        let entry = write.append_entry(Target::Agent(tenant.clone(), agent.clone()), forget_after, at, None);
        write.commit(at, event).await?;
        Ok(entry)
    }

    async fn workload_context(
        &self,
        issuer: &ProviderName,
        subject: &WorkloadSubject,
        user: Option<&Subject>,
    ) -> Result<Option<(AgentWorkload, IssueContext)>, StoreError> {
        let known = Known {
            columns: &format!("w.issuer, w.subject, w.tenant, w.agent, w.claims, w.created, {AGENT}"),
            asked: &["issuer", "workload"],
            found: "agent_workload w ON w.issuer = asked.issuer AND w.subject = asked.workload \
                    JOIN agent a ON a.tenant = w.tenant AND a.name = w.agent",
            keys: &[],
        };
        let question = (text_or_null(user), vec![text(issuer), text(subject)]);
        self.contexts(known, vec![question], workload).await?.pop().unwrap_or(Ok(None))
    }

    async fn use_by_one(
        &self,
        id: &[u8; 32],
        key: &PublicKey,
        until: Timestamp,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let rows = self.database.write(USE_BY_ONE, vec![bytes(id), time(until), text(key), time(at)]).await?;
        // An id that was used up without a key belongs to none.
        let first = read_first(rows, "used_id", Row::parse_or_null::<PublicKey>)?.flatten();
        self.forget_used_ids(id, at);
        Ok(first == Some(*key))
    }
}
