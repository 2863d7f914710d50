//! Receipts as they were given, and the edges that a receipt has to wait for.

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::SqlStore;
use crate::key::PublicKey;
use crate::store::database::{Row, count, read_first, text};
use crate::store::{Acknowledged, Call, Owed, OwedEdge, Receipts, Standing, StoreError};

/// One statement, so that all of it is of one moment. The first column says what a row is.
const SELECT_OWED: &str = "SELECT 0 AS kind, body AS name, NULL AS key, 0 AS seq, 0 AS settings FROM receipt WHERE seq = $1 \
     UNION ALL SELECT 1, e.name, e.key, COALESCE(h.seq, 0), COALESCE(h.settings, 0) \
         FROM edge e LEFT JOIN edge_heard h ON h.key = e.key \
     UNION ALL SELECT 2, g.name, g.key, COALESCE(h.seq, 0), COALESCE(h.settings, 0) \
         FROM edge_gone g LEFT JOIN edge_heard h ON h.key = g.key \
     ORDER BY name, key";

/// The most edges in one statement.
const EDGES_TOGETHER: usize = 100;

fn edge(row: &mut Row, standing: Standing) -> Result<OwedEdge, StoreError> {
    let (name, key) = (row.parse()?, row.parse()?);
    Ok(OwedEdge { name, key, standing, recorded: Acknowledged { seq: row.int()?, settings: row.int()? } })
}

#[async_trait]
impl Receipts for SqlStore {
    async fn owed(&self, seq: u64) -> Result<Owed, StoreError> {
        let mut owed = Owed::default();
        for row in self.read(SELECT_OWED, vec![count(seq)]).await? {
            let mut row = row.of("edge");
            match row.int::<u8>()? {
                0 => owed.receipt = Some(row.text()?),
                1 => owed.edges.push(edge(&mut row, Standing::Registered)?),
                2 => owed.edges.push(edge(&mut row, Standing::Gone)?),
                _ => return Err(row.corrupt()),
            }
        }
        Ok(owed)
    }

    async fn add_receipt(&self, seq: u64, receipt: &str) -> Result<Box<str>, StoreError> {
        let sql = "INSERT INTO receipt (seq, body) VALUES ($1, $2) ON CONFLICT (seq) DO NOTHING RETURNING body";
        let added = self.database.write(sql, vec![count(seq), text(receipt)]).await?;
        if let Some(added) = read_first(added, "receipt", Row::text)? {
            return Ok(added);
        }
        let first = self.read("SELECT body FROM receipt WHERE seq = $1", vec![count(seq)]).await?;
        read_first(first, "receipt", Row::text)?.ok_or(StoreError::Corrupt { table: "receipt" })
    }

    async fn record_acknowledged(&self, edges: &[(PublicKey, Acknowledged)]) -> Result<(), StoreError> {
        let mut edges = edges.to_vec();
        // In one order everywhere, so that two processes never wait for each other's rows.
        edges.sort_by_key(|(key, _)| *key);
        for edges in edges.chunks(EDGES_TOGETHER) {
            let places = (0..edges.len()).map(|n| format!("(${}, ${}, ${})", 3 * n + 1, 3 * n + 2, 3 * n + 3));
            let sql = format!(
                "INSERT INTO edge_heard (key, seq, settings) VALUES {} ON CONFLICT (key) DO UPDATE SET \
                 seq = CASE WHEN excluded.seq > edge_heard.seq THEN excluded.seq ELSE edge_heard.seq END, \
                 settings = CASE WHEN excluded.settings > edge_heard.settings \
                 THEN excluded.settings ELSE edge_heard.settings END",
                places.collect::<Vec<_>>().join(", ")
            );
            let row = |(key, Acknowledged { seq, settings }): &(PublicKey, Acknowledged)| {
                [text(key), count(*seq), count(*settings)]
            };
            self.database.write(&sql, edges.iter().flat_map(row).collect()).await?;
        }
        if !self.database.calls() {
            self.hint.call(Call::Recorded);
        }
        Ok(())
    }

    async fn want_acknowledged(&self, by: &str) -> Result<(), StoreError> {
        if !self.database.calls() {
            self.hint.call(Call::Wanted(by.into()));
            return Ok(());
        }
        let sql = "SELECT set_config('synchronous_commit', 'off', true), pg_notify('writ_wanted', $1)::text";
        self.read(sql, vec![text(by)]).await.map(drop)
    }

    fn calls(&self) -> broadcast::Receiver<Call> {
        self.hint.calls()
    }
}
