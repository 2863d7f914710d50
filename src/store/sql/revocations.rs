//! The revocation log.

use async_trait::async_trait;

use super::{SqlStore, Write};
use crate::audit::Change;
use crate::clock::Timestamp;
use crate::revocation::{Entry, Target};
use crate::store::database::{Row, count, read_all, read_first, text, text_or_null, time};
use crate::store::{Heads, NewRevocation, Revocations, ServerId, StoreError};

/// How many rows of a table are removed at once: no other statement waits for it long.
const FORGET_AT_ONCE: u32 = 1000;

/// How many targets one statement asks for: more than a chain of the usual length has.
const TARGETS_TOGETHER: usize = 24;

pub(super) fn entry(row: &mut Row) -> Result<Entry, StoreError> {
    Ok(Entry { seq: row.int()?, target: row.parse()?, at: row.time()?, forget_after: row.time()? })
}

impl Write<'_> {
    /// Appends an entry at the commit.
    pub(super) fn append_entry(
        &mut self,
        target: Target,
        forget_after: Timestamp,
        at: Timestamp,
        idempotency_key: Option<&str>,
    ) -> Entry {
        self.heads.revocation_seq += 1;
        let entry = Entry { seq: self.heads.revocation_seq, target, at, forget_after };
        self.change(
            "INSERT INTO revocation (seq, target, at, forget_after, idempotency_key) VALUES ($1, $2, $3, $4, $5)",
            vec![
                count(entry.seq),
                text(&entry.target),
                time(entry.at),
                time(entry.forget_after),
                text_or_null(idempotency_key),
            ],
        );
        entry
    }

    pub(super) async fn entry_at(&mut self, seq: u64) -> Result<Entry, StoreError> {
        let sql = "SELECT seq, target, at, forget_after FROM revocation WHERE seq = $1";
        let rows = self.query(sql, vec![count(seq)]).await?;
        read_first(rows, "revocation", entry)?.ok_or(StoreError::Corrupt { table: "revocation" })
    }

    /// The entry that makes `revocation` unnecessary, if there is one.
    async fn earlier(&mut self, revocation: &NewRevocation) -> Result<Option<Entry>, StoreError> {
        if let Some(key) = &revocation.idempotency_key {
            let sql = "SELECT seq, target, at, forget_after FROM revocation WHERE idempotency_key = $1";
            let rows = self.query(sql, vec![text(key)]).await?;
            // Another call's entry would not do: it does not have this key, and the next call with it would find nothing.
            return read_first(rows, "revocation", entry);
        }
        match revocation.target {
            // An entry that is forgotten sooner would bring the dead back to life.
            Target::Block(_) | Target::Holder(_) => {
                let sql = "SELECT seq, target, at, forget_after FROM revocation \
                           WHERE target = $1 AND forget_after >= $2 ORDER BY seq LIMIT 1";
                let rows = self.query(sql, vec![text(&revocation.target), time(revocation.forget_after)]).await?;
                read_first(rows, "revocation", entry)
            }
            Target::Subject(..)
            | Target::Session(..)
            | Target::Agent(..)
            | Target::Acting(..)
            | Target::Grant(_)
            | Target::Service(..)
            | Target::Credential(..)
            | Target::Tenant(_)
            | Target::Everything => Ok(None),
        }
    }
}

#[async_trait]
impl Revocations for SqlStore {
    async fn revoke(&self, revocation: &NewRevocation, event: &Change) -> Result<Entry, StoreError> {
        let mut write = self.write().await?;
        if let Some(first) = write.earlier(revocation).await? {
            return Ok(first);
        }
        let entry = write.append_entry(
            revocation.target.clone(),
            revocation.forget_after,
            revocation.at,
            revocation.idempotency_key.as_deref(),
        );
        write.stop_issuing(&entry, event);
        write.commit(revocation.at, event).await?;
        Ok(entry)
    }

    async fn revocation_head(&self) -> Result<u64, StoreError> {
        let rows = self.read("SELECT revocation_seq FROM heads WHERE one = 1", Vec::new()).await?;
        read_first(rows, "heads", Row::int)?.ok_or(StoreError::Corrupt { table: "heads" })
    }

    async fn revocations_after(&self, seq: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let sql = "SELECT seq, target, at, forget_after FROM revocation WHERE seq > $1 ORDER BY seq LIMIT $2";
        read_all(self.read(sql, vec![count(seq), count(limit.into())]).await?, "revocation", entry)
    }

    async fn heads(&self) -> Result<Heads, StoreError> {
        let server = self.database.server();
        let sql = format!("SELECT revocation_seq, catalog_version, edge_version, {server} FROM heads WHERE one = 1");
        let rows = self.read(&sql, Vec::new()).await?;
        let heads = |row: &mut Row| {
            let (revocation_seq, catalog_version, edge_version) = (row.int()?, row.int()?, row.int()?);
            Ok(Heads { revocation_seq, catalog_version, edge_version, server: ServerId(row.int()?) })
        };
        read_first(rows, "heads", heads)?.ok_or(StoreError::Corrupt { table: "heads" })
    }

    async fn live_revocations(&self, seq: u64, upto: u64, at: Timestamp, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let sql = "SELECT seq, target, at, forget_after FROM revocation \
                   WHERE seq > $1 AND seq <= $2 AND forget_after >= $3 ORDER BY seq LIMIT $4";
        let params = vec![count(seq), count(upto), time(at), count(limit.into())];
        read_all(self.read(sql, params).await?, "revocation", entry)
    }

    async fn latest_revocations(&self, targets: &[Target]) -> Result<Vec<Entry>, StoreError> {
        let mut latest = Vec::new();
        for targets in targets.chunks(TARGETS_TOGETHER) {
            // Filled up with the last one: one statement to prepare, however many there are.
            let params = (0..TARGETS_TOGETHER).filter_map(|n| targets.get(n).or(targets.last())).map(text).collect();
            let places: Vec<String> = (1..=TARGETS_TOGETHER).map(|n| format!("${n}")).collect();
            let sql = format!(
                "SELECT MAX(seq), target, MAX(at), MAX(forget_after) FROM revocation WHERE target IN ({}) GROUP BY target",
                places.join(", ")
            );
            latest.extend(read_all(self.read(&sql, params).await?, "revocation", entry)?);
        }
        Ok(latest)
    }

    async fn forget_over(&self) -> Result<u64, StoreError> {
        Ok(self.database.forget_over(FORGET_AT_ONCE).await?)
    }

    async fn revocation_hint(&self, seq: u64) -> Result<(), StoreError> {
        self.hint.beyond(seq).await;
        Ok(())
    }
}
