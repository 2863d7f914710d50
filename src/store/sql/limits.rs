//! Counts of limits, and what edges hold of them.

use async_trait::async_trait;

use super::{SqlStore, Write};
use crate::clock::Timestamp;
use crate::id::{LimitName, TenantName};
use crate::key::sha256;
use crate::policy::limit::{Allotted, Bucket, Limits, allot};
use crate::store::database::{
    Row, Statement, Transaction, Value, bytes, count, json, read_all, read_first, text, time,
};
use crate::store::{CountedSoFar, Drawing, LimitCounts, LimitSets, StoreError};

/// Finds the count or begins it, and locks its row either way.
const LOCK_COUNT: &str = "INSERT INTO limit_count (id, tenant, name, counted, key, start, ends, used) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, 0) ON CONFLICT (id) DO UPDATE SET used = limit_count.used RETURNING used";
const SELECT_HOLDING: &str = "SELECT seq, held FROM limit_holding WHERE count = $1 AND holder = $2";
const PUT_HOLDING: &str = "INSERT INTO limit_holding (count, holder, seq, held) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (count, holder) DO UPDATE SET seq = excluded.seq, held = excluded.held";

/// The key of a count's row.
fn id(bucket: &Bucket) -> [u8; 32] {
    // None of the texts holds a zero byte, so no two counts have one spelling.
    let Bucket { tenant, limit, counted, key, start } = bucket;
    sha256(format!("{tenant}\0{limit}\0{counted}\0{key}\0{}", start.millis()).as_bytes())
}

impl Write<'_> {
    /// Replaces a tenant's limits at the commit.
    pub(super) fn set_limits(&mut self, tenant: &TenantName, limits: &Limits) -> Result<(), StoreError> {
        let sql = "INSERT INTO limit_set (tenant, json) VALUES ($1, $2) \
                   ON CONFLICT (tenant) DO UPDATE SET json = excluded.json";
        self.change(sql, vec![text(tenant), json(limits)?]);
        Ok(())
    }
}

async fn draw(
    transaction: &mut dyn Transaction,
    id: &[u8; 32],
    drawing: &Drawing,
) -> Result<Option<Allotted>, StoreError> {
    let Drawing { ask, holder, seq, max, ends } = drawing;
    let Bucket { tenant, limit, counted, key, start } = &ask.bucket;
    let row = vec![bytes(id), text(tenant), text(limit), text(counted), text(key), time(*start), time(*ends)];
    let used: i64 = read_first(transaction.query(LOCK_COUNT, row).await?, "limit_count", Row::int)?
        .ok_or(StoreError::Corrupt { table: "limit_count" })?;
    let holding = transaction.query(SELECT_HOLDING, vec![bytes(id), text(holder)]).await?;
    let holding = read_first(holding, "limit_holding", |row| Ok((row.int::<u64>()?, row.int::<i64>()?)))?;
    let held = match holding {
        Some((answered, _)) if *seq <= answered => return Ok(None),
        Some((_, held)) => held,
        None => 0,
    };
    let allotted = allot(ask, *max, used, held);
    let put = vec![bytes(id), text(holder), count(*seq), Value::Int(allotted.held)];
    let statement = |sql: &str, row| Statement { sql: sql.to_owned(), rows: vec![row] };
    let update = "UPDATE limit_count SET used = $2 WHERE id = $1";
    let update = statement(update, vec![bytes(id), Value::Int(allotted.used)]);
    transaction.run(vec![statement(PUT_HOLDING, put), update]).await?;
    Ok(Some(allotted))
}

#[async_trait]
impl LimitSets for SqlStore {
    async fn limit_sets(&self) -> Result<Vec<(TenantName, Limits)>, StoreError> {
        let rows = self.read("SELECT tenant, json FROM limit_set ORDER BY tenant", Vec::new()).await?;
        read_all(rows, "limit_set", |row| Ok((row.parse()?, row.json()?)))
    }
}

#[async_trait]
impl LimitCounts for SqlStore {
    async fn allot(&self, drawings: &[Drawing]) -> Result<Vec<Option<Allotted>>, StoreError> {
        let mut ordered: Vec<([u8; 32], usize)> =
            drawings.iter().enumerate().map(|(n, drawing)| (id(&drawing.ask.bucket), n)).collect();
        // In one order everywhere, so that two transactions never wait for each other's rows.
        ordered.sort_unstable();
        let mut answers = vec![None; drawings.len()];
        let mut transaction = self.database.begin().await?;
        for (id, n) in ordered {
            answers[n] = draw(&mut *transaction, &id, &drawings[n]).await?;
        }
        transaction.commit().await?;
        Ok(answers)
    }

    async fn limit_counts(
        &self,
        tenant: &TenantName,
        name: Option<&LimitName>,
        at: Timestamp,
        limit: u32,
    ) -> Result<Vec<CountedSoFar>, StoreError> {
        let mut params = vec![text(tenant), time(at), count(limit.into())];
        let mut named = "";
        if let Some(name) = name {
            params.push(text(name));
            named = "AND name = $4";
        }
        let sql = format!(
            "SELECT name, counted, key, start, ends, used FROM limit_count \
             WHERE tenant = $1 AND ends > $2 {named} ORDER BY name, key, start, counted LIMIT $3"
        );
        let read = |row: &mut Row| {
            Ok(CountedSoFar {
                limit: row.parse()?,
                counted: row.text()?,
                key: row.text()?,
                start: row.time()?,
                ends: row.time()?,
                used: row.int()?,
            })
        };
        read_all(self.read(&sql, params).await?, "limit_count", read)
    }
}
