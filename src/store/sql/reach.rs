//! What a revocation would reach.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::SqlStore;
use crate::clock::Timestamp;
use crate::id::{ServiceName, TenantName};
use crate::revocation::Target;
use crate::store::database::{Row, Value, read_all, read_first, text, time};
use crate::store::reach::NAMED_MAX;
use crate::store::{Reach, Reaching, StoreError};

/// How many different lists of services are looked at.
const LISTS_MAX: u64 = 10_000;

/// Issued, valid at `$1`, and killed by no entry of the log. A few targets are looked up for each writ, so the log's size does not matter;
/// only of the log's few entries about grants each is looked at.
pub(super) const LIVE: &str = "FROM issued_writ w WHERE w.expires >= $1 \
     AND NOT EXISTS (SELECT 1 FROM revocation r WHERE r.target IN ('block:' || w.id, 'holder:' || w.holder)) \
     AND NOT EXISTS (SELECT 1 FROM revocation r WHERE r.seq > w.epoch AND r.target IN ('everything', \
       'tenant:' || w.tenant, 'agent:' || w.tenant || '/' || w.agent, 'subject:' || w.tenant || '/' || w.subject, \
       'session:' || w.tenant || '/' || w.session, 'acting:' || w.tenant || '/' || w.agent || '/' || w.subject)) \
     AND NOT EXISTS (SELECT 1 FROM revocation r WHERE r.seq > w.epoch AND r.target >= 'grant:' AND r.target < 'grant;' \
       AND replace(w.grants, substr(r.target, 7), '') <> w.grants)";

/// The condition that a target sets on an issued writ, and its parameters from `$2` on.
fn condition(target: &Target, services: &[ServiceName]) -> (String, Vec<Value>) {
    let quoted = |name: &ServiceName| Value::Text(format!("\"{name}\""));
    match target {
        Target::Block(id) => ("w.id = $2".into(), vec![text(id)]),
        Target::Holder(key) => ("w.holder = $2".into(), vec![text(key)]),
        Target::Subject(tenant, subject) => {
            ("w.tenant = $2 AND w.subject = $3".into(), vec![text(tenant), text(subject)])
        }
        Target::Session(tenant, sid) => ("w.tenant = $2 AND w.session = $3".into(), vec![text(tenant), text(sid)]),
        Target::Agent(tenant, agent) => ("w.tenant = $2 AND w.agent = $3".into(), vec![text(tenant), text(agent)]),
        Target::Acting(tenant, agent, subject) => {
            ("w.tenant = $2 AND w.agent = $3 AND w.subject = $4".into(), vec![text(tenant), text(agent), text(subject)])
        }
        Target::Grant(id) => ("replace(w.grants, $2, '') <> w.grants".into(), vec![text(id)]),
        Target::Service(tenant, service) => {
            ("w.tenant = $2 AND replace(w.services, $3, '') <> w.services".into(), vec![text(tenant), quoted(service)])
        }
        Target::Credential(tenant, _) => {
            let mut params = vec![text(tenant)];
            params.extend(services.iter().map(quoted));
            let any: Vec<String> =
                (0..services.len()).map(|n| format!("replace(w.services, ${}, '') <> w.services", n + 3)).collect();
            let any = if any.is_empty() { "1 = 0".to_owned() } else { any.join(" OR ") };
            (format!("w.tenant = $2 AND ({any})"), params)
        }
        Target::Tenant(tenant) => ("w.tenant = $2".into(), vec![text(tenant)]),
        Target::Everything => ("1 = 1".into(), Vec::new()),
    }
}

/// A query that finds a row if the target's name or id was ever seen, with its parameters.
fn trace(target: &Target) -> Option<(&'static str, Vec<Value>)> {
    Some(match target {
        Target::Block(id) => (
            "SELECT 1 FROM issued_writ WHERE id = $1 UNION ALL SELECT 1 FROM audit_block WHERE block = $1 \
             UNION ALL SELECT 1 FROM revocation WHERE target = 'block:' || $1 LIMIT 1",
            vec![text(id)],
        ),
        Target::Holder(key) => (
            "SELECT 1 FROM agent WHERE key = $1 UNION ALL SELECT 1 FROM issued_writ WHERE holder = $1 \
             UNION ALL SELECT 1 FROM revocation WHERE target = 'holder:' || $1 LIMIT 1",
            vec![text(key)],
        ),
        Target::Subject(tenant, subject) => (
            "SELECT 1 FROM agent_grant WHERE tenant = $1 AND subject = $2 UNION ALL \
             SELECT 1 FROM issued_writ WHERE tenant = $1 AND subject = $2 UNION ALL \
             SELECT 1 FROM suspended_user WHERE tenant = $1 AND subject = $2 LIMIT 1",
            vec![text(tenant), text(subject)],
        ),
        Target::Session(tenant, sid) => {
            ("SELECT 1 FROM issued_writ WHERE tenant = $1 AND session = $2 LIMIT 1", vec![text(tenant), text(sid)])
        }
        Target::Agent(tenant, agent) => {
            ("SELECT 1 FROM agent WHERE tenant = $1 AND name = $2", vec![text(tenant), text(agent)])
        }
        Target::Acting(tenant, agent, subject) => (
            "SELECT 1 FROM agent_grant WHERE tenant = $1 AND agent = $2 AND subject = $3 UNION ALL \
             SELECT 1 FROM issued_writ WHERE tenant = $1 AND agent = $2 AND subject = $3 LIMIT 1",
            vec![text(tenant), text(agent), text(subject)],
        ),
        Target::Grant(id) => (
            "SELECT 1 FROM agent_grant WHERE id = $1 UNION ALL \
             SELECT 1 FROM issued_writ WHERE replace(grants, $1, '') <> grants LIMIT 1",
            vec![text(id)],
        ),
        Target::Service(tenant, service) => {
            ("SELECT 1 FROM service WHERE tenant = $1 AND name = $2", vec![text(tenant), text(service)])
        }
        Target::Credential(tenant, name) => {
            ("SELECT 1 FROM credential_version WHERE tenant = $1 AND name = $2 LIMIT 1", vec![text(tenant), text(name)])
        }
        Target::Tenant(tenant) => ("SELECT 1 FROM agent WHERE tenant = $1 LIMIT 1", vec![text(tenant)]),
        Target::Everything => return None,
    })
}

/// The services of lists that so many writs share.
fn of_lists(rows: Vec<Row>) -> Result<Vec<(TenantName, ServiceName, u64)>, StoreError> {
    let mut counted: BTreeMap<(TenantName, ServiceName), u64> = BTreeMap::new();
    let lists =
        read_all(rows, "issued_writ", |row| Ok((row.parse()?, row.json::<Vec<ServiceName>>()?, row.int::<u64>()?)))?;
    for (tenant, services, writs) in lists {
        let tenant: TenantName = tenant;
        for service in services {
            *counted.entry((tenant.clone(), service)).or_default() += writs;
        }
    }
    Ok(counted.into_iter().map(|((tenant, service), writs)| (tenant, service, writs)).collect())
}

#[async_trait]
impl Reaching for SqlStore {
    async fn reach(&self, target: &Target, services: &[ServiceName], at: Timestamp) -> Result<Reach, StoreError> {
        let known = match trace(target) {
            Some((sql, params)) => !self.read(sql, params).await?.is_empty(),
            None => true,
        };
        let (condition, mut params) = condition(target, services);
        params.insert(0, time(at));
        let select = async |what: &str, rest: &str| {
            self.read(&format!("SELECT {what} {LIVE} AND ({condition}) {rest}"), params.clone()).await
        };
        let counts =
            "COUNT(*), COUNT(DISTINCT w.tenant || '/' || w.agent), COUNT(DISTINCT w.tenant || '/' || w.subject)";
        let counted =
            read_first(select(counts, "").await?, "issued_writ", |row| Ok((row.int()?, row.int()?, row.int()?)))?;
        let (writs, agents, users) = counted.ok_or(StoreError::Corrupt { table: "issued_writ" })?;
        let most = format!("ORDER BY 3 DESC, 1, 2 LIMIT {NAMED_MAX}");
        let by_agent = select("w.tenant, w.agent, COUNT(*)", &format!("GROUP BY w.tenant, w.agent {most}")).await?;
        let of_users = format!("AND w.subject IS NOT NULL GROUP BY w.tenant, w.subject {most}");
        let by_user = select("w.tenant, w.subject, COUNT(*)", &of_users).await?;
        let lists =
            format!("AND w.services IS NOT NULL GROUP BY w.tenant, w.services ORDER BY 3 DESC LIMIT {LISTS_MAX}");
        let by_list = select("w.tenant, w.services, COUNT(*)", &lists).await?;
        let sql = "SELECT COUNT(*) FROM issued_writ WHERE expires >= $1 AND services IS NULL";
        let unknown = read_first(self.read(sql, vec![time(at)]).await?, "issued_writ", Row::int)?;
        Ok(Reach {
            known,
            writs,
            agents,
            users,
            top_agents: read_all(by_agent, "issued_writ", |row| Ok((row.parse()?, row.parse()?, row.int()?)))?,
            top_users: read_all(by_user, "issued_writ", |row| Ok((row.parse()?, row.parse()?, row.int()?)))?,
            services: of_lists(by_list)?,
            unknown: unknown.unwrap_or(0),
        })
    }
}
