//! Agents, grants and issuance.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::id::{AgentName, BlockId, GrantId, Note, Subject, TenantName};
use crate::key::PublicKey;
use crate::policy::Grant;
use crate::policy::grant::GrantSubject;
use crate::revocation::{Entry, Target};
use crate::store::database::{Row, Value, bytes, count, json, read_all, read_first, text, text_or_null, time};
use crate::store::{Agent, AgentStatus, Agents, IssueContext, IssuedWrit, StoreError};

/// How many expired identifiers one call clears away at most.
const CLEARED_MAX: u64 = 1000;

/// The most writs that are recorded in one transaction: a revocation waits behind one of them.
pub(super) const ISSUED_TOGETHER: usize = 50;
/// The most single-use identifiers in one statement.
pub(super) const USED_TOGETHER: usize = 32;

/// A single-use identifier: until when it counts as used, and now.
#[derive(Clone, Copy)]
pub(super) struct SingleUse {
    id: [u8; 32],
    until: Timestamp,
    at: Timestamp,
}

/// Finds those of `count` ids that are used for the first time: of each, until when it counts as used, and behind them all, now.
pub(super) fn use_once(count: usize) -> String {
    let places: Vec<_> = (0..count).map(|n| format!("(${}, ${})", 2 * n + 1, 2 * n + 2)).collect();
    format!(
        "INSERT INTO used_id (id, until) VALUES {} ON CONFLICT (id) DO UPDATE SET until = excluded.until \
         WHERE used_id.until < ${} RETURNING id",
        places.join(", "),
        2 * count + 1
    )
}

/// The columns that [`agent`] reads, for an agent with the key that it has.
pub(super) const AGENT: &str =
    "a.tenant, a.name, a.key, CAST(NULL AS BIGINT), a.disabled_seq, a.created, a.owner, a.purpose";
/// The same for an agent found by a key that it had before.
pub(super) const AGENT_BEFORE: &str = "a.tenant, a.name, k.key, k.until, a.disabled_seq, a.created, a.owner, a.purpose";
/// Where such agents are, by their key or by their name.
pub(super) const BEFORE: &str = "agent_key_before k JOIN agent a ON a.tenant = k.tenant AND a.name = k.agent";

pub(super) fn agent(row: &mut Row) -> Result<Agent, StoreError> {
    Ok(Agent {
        tenant: row.parse()?,
        name: row.parse()?,
        key: row.parse_or_null()?,
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

/// How an agent is found: what is read of it, where it stands, and by what.
pub(super) struct Known<'a> {
    /// What `read` of [`SqlStore::context`] reads, then those that [`agent`] reads.
    pub(super) columns: &'a str,
    pub(super) from: &'a str,
    /// A condition on the parameters from the second on. The first is the user.
    pub(super) by: &'a str,
}

impl SqlStore {
    /// The context of the agent that is found, with what `read` reads before it.
    pub(super) async fn context<T>(
        &self,
        Known { columns, from, by }: Known<'_>,
        params: Vec<Value>,
        read: impl Fn(&mut Row) -> Result<T, StoreError>,
    ) -> Result<Option<(T, IssueContext)>, StoreError> {
        // One statement: agent, grants, head, suspension and stop are of one moment without a transaction.
        let sql = format!(
            "SELECT h.revocation_seq, u.seq, s.seq, {columns}, g.id, g.tenant, \
             g.agent, g.subject, g.user_group, g.capabilities, g.ttl_s_max, g.depth_max, g.bearer, g.proof_covers \
             FROM {from} CROSS JOIN heads h \
             LEFT JOIN suspended_user u ON u.tenant = a.tenant AND u.subject = $1 \
             LEFT JOIN emergency_stop s ON s.one = 1 LEFT JOIN agent_grant g ON g.tenant = a.tenant AND g.agent = a.name \
             WHERE {by} ORDER BY g.position",
        );
        let mut context: Option<(T, IssueContext)> = None;
        for row in self.read(&sql, params).await? {
            let mut row = row.of("agent");
            let (epoch, suspended_at, stopped_at) = (row.int()?, row.int_or_null::<u64>()?, row.int_or_null::<u64>()?);
            let (known, agent) = (read(&mut row)?, agent(&mut row)?);
            let found = || IssueContext {
                agent,
                grants: Vec::new(),
                epoch,
                suspended: suspended_at.is_some(),
                stopped: stopped_at.is_some(),
            };
            let (_, context) = context.get_or_insert_with(|| (known, found()));
            if !row.next_is_null() {
                context.grants.push(grant(&mut row.of("agent_grant"))?);
            }
        }
        Ok(context)
    }

    /// The ids are digests: one call in 64 clears away for the others.
    pub(super) async fn forget_used_ids(&self, id: &[u8; 32], at: Timestamp) {
        if id[0] < 4 {
            let sql = "DELETE FROM used_id WHERE id IN (SELECT id FROM used_id WHERE until < $1 LIMIT $2)";
            if let Err(error) = self.database.write(sql, vec![time(at), count(CLEARED_MAX)]).await {
                tracing::warn!(error = %StoreError::from(error), "expired single-use ids stay for now");
            }
        }
    }
}

impl SqlStore {
    async fn record_all_issued(&self, writs: &[(IssuedWrit, Change)]) -> Result<Vec<()>, StoreError> {
        let mut write = self.write().await?;
        write.conflict("a writ of that id");
        let rows = writs.iter().map(|(writ, _)| issued_row(writ)).collect::<Result<_, _>>()?;
        write.change_all(
            "INSERT INTO issued_writ (id, tenant, agent, subject, session, grants, issued, expires, epoch, holder, services) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            rows,
        );
        write.commit_all(writs.iter().map(|(writ, event)| (writ.issued, event))).await?;
        Ok(vec![(); writs.len()])
    }

    /// Of the same identifier given twice, the first counts.
    async fn use_all_once(&self, uses: &[SingleUse]) -> Result<Vec<bool>, StoreError> {
        // In one order, so that two replicas never wait for each other.
        let distinct: BTreeMap<&[u8; 32], &SingleUse> = uses.iter().rev().map(|one| (&one.id, one)).collect();
        let mut params: Vec<_> = distinct.values().flat_map(|one| [bytes(&one.id), time(one.until)]).collect();
        // The earliest now of all: what is over then is over for each.
        let at = uses.iter().map(|one| one.at).min().unwrap_or(Timestamp::from_secs(0));
        params.push(time(at));
        // A row's own lock decides between two that come at once. If the answer is lost, the ids are used up: who repeats
        // the call is refused, which is the safe side.
        let rows = self.database.write(&use_once(distinct.len()), params).await?;
        let mut first: HashSet<[u8; 32]> = read_all(rows, "used_id", Row::bytes)?.into_iter().collect();
        Ok(uses.iter().map(|one| first.remove(&one.id)).collect())
    }
}

fn issued_row(writ: &IssuedWrit) -> Result<Vec<Value>, StoreError> {
    Ok(vec![
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
    ])
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
        let nothing = |_: &mut Row| Ok(());
        let params = || vec![text_or_null(subject), text(key)];
        let present = Known { columns: AGENT, from: "agent a", by: "a.key = $2" };
        if let Some(((), context)) = self.context(present, params(), nothing).await? {
            return Ok(context);
        }
        let before = Known { columns: AGENT_BEFORE, from: BEFORE, by: "k.key = $2" };
        self.context(before, params(), nothing).await?.map(|((), context)| context).ok_or(StoreError::NotFound("agent"))
    }

    async fn record_issued(&self, writ: &IssuedWrit, event: &Change) -> Result<(), StoreError> {
        let store = self.clone();
        let record = move |writs: Arc<[_]>| {
            let store = store.clone();
            async move { store.record_all_issued(&writs).await }
        };
        self.issuing.call((writ.clone(), event.clone()), record).await
    }

    async fn issued(&self, id: BlockId) -> Result<Option<IssuedWrit>, StoreError> {
        let sql = "SELECT id, tenant, agent, subject, session, grants, issued, expires, epoch, holder, services \
                   FROM issued_writ WHERE id = $1";
        read_first(self.read(sql, vec![text(&id)]).await?, "issued_writ", issued_writ)
    }

    async fn use_once(&self, id: &[u8; 32], until: Timestamp, at: Timestamp) -> Result<bool, StoreError> {
        let store = self.clone();
        let use_all = move |uses: Arc<[SingleUse]>| {
            let store = store.clone();
            async move { store.use_all_once(&uses).await }
        };
        let first = self.using.call(SingleUse { id: *id, until, at }, use_all).await?;
        self.forget_used_ids(id, at).await;
        Ok(first)
    }
}
