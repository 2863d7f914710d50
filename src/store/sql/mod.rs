//! The operations, written once for both databases: each method of the contract is one transaction here.
//!
//! A transaction that writes an audit record locks the row of `heads` first. So such transactions run one after another,
//! on Postgres as on SQLite: `seq` order is commit order, no two deadlock, and what one reads another cannot change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::audit::{Change, Head, Record};
use crate::clock::Timestamp;
use crate::store::database::{Database, DbError, Row, Statement, Transaction, Value, count, read_first, text};
use crate::store::hint::Hint;
use crate::store::{Fence, Health, Recorded, SingleUse, StoreError};

mod agent_keys;
mod agents;
mod approvals;
mod audit;
mod catalog;
mod credentials;
mod directory;
mod edges;
mod enrolment;
mod groups;
mod installation;
mod issuing;
mod limits;
mod policy;
mod reach;
mod receipts;
mod relying;
mod revocations;
mod sessions;
mod stops;
mod together;
mod users;
mod witnessed;
mod workloads;

use audit::{AuditEnd, Noted};
use issuing::{Answer, Asked, Recording};
use together::Together;

/// The store over either database. A clone is the same store.
#[derive(Clone)]
pub(super) struct SqlStore {
    database: Arc<dyn Database>,
    hint: Arc<Hint>,
    /// Records of issued writs: otherwise each would wait for its own commit behind the heads.
    issuing: Arc<Together<Arc<Recording>, Recorded>>,
    using: Arc<Together<(SingleUse, Timestamp), bool>>,
    asking: Arc<Together<Asked, Answer>>,
    audited: Arc<Mutex<Audited>>,
}

/// Where the audit log ended when this process last looked.
#[derive(Default)]
struct Audited {
    end: Option<AuditEnd>,
    /// Whether it was still there the last time that writs were recorded: if not, other processes are writing as well.
    steady: bool,
}

/// Where the logs end.
struct Heads {
    revocation_seq: u64,
    catalog_version: u64,
    edge_version: u64,
    audit: AuditEnd,
}

/// A transaction that has locked the heads and will leave one audit record.
struct Write<'a> {
    store: &'a SqlStore,
    transaction: Box<dyn Transaction>,
    heads: Heads,
    changes: Vec<Statement>,
    conflict: &'static str,
}

const SELECT_HEADS: &str = "SELECT revocation_seq, catalog_version, edge_version, audit_position, audit_seq, audit_hash FROM heads WHERE one = 1";
const UPDATE_HEADS: &str = "UPDATE heads SET revocation_seq = $1, catalog_version = $2, edge_version = $3, \
     audit_position = $4, audit_seq = $5, audit_hash = $6 WHERE one = 1";

impl SqlStore {
    pub(super) fn new(database: Box<dyn Database>, hint: Arc<Hint>) -> Self {
        Self {
            database: database.into(),
            hint,
            issuing: Arc::new(Together::new(issuing::ISSUED_TOGETHER)),
            using: Arc::new(Together::new(issuing::USED_TOGETHER)),
            asking: Arc::new(Together::new(issuing::ASKED_TOGETHER)),
            audited: Arc::default(),
        }
    }

    async fn read(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        Ok(self.database.read(sql, params).await?)
    }

    /// Begins a change and locks the heads.
    async fn write(&self) -> Result<Write<'_>, StoreError> {
        Ok(self.write_with(None).await?.0)
    }

    /// The same; then runs a statement, and answers what it finds.
    async fn write_with(&self, statement: Option<Statement>) -> Result<(Write<'_>, Vec<Row>), StoreError> {
        let mut transaction = self.database.begin().await?;
        let (locked, found) = transaction.lock(SELECT_HEADS, Vec::new(), statement).await?;
        let heads = heads(locked)?;
        let write = Write { store: self, transaction, heads, changes: Vec::new(), conflict: "a row with that key" };
        Ok((write, found))
    }

    fn audited(&self) -> MutexGuard<'_, Audited> {
        self.audited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of a commit that ended in `error`: whether it is there after all. `last` is its last record.
    async fn settled(&self, error: DbError, last: Option<&Record>, conflict: &'static str) -> Result<(), StoreError> {
        match error {
            DbError::CommitLost(source) => match self.were_committed(last).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(StoreError::Unavailable(source)),
                Err(_) => Err(StoreError::Unknown(source)),
            },
            error => Err(error.or_conflict(conflict)),
        }
    }

    /// Whether the audit records of a commit whose answer was lost are there: all of them or none, so the last one tells.
    ///
    /// The lock waits for the lost transaction's end: after it, they are there or never will be.
    async fn were_committed(&self, last: Option<&Record>) -> Result<bool, StoreError> {
        let Some(record) = last else { return Ok(false) };
        let mut transaction = self.database.begin().await?;
        lock_heads(&mut *transaction).await?;
        let sql = "SELECT 1 FROM audit_record WHERE source = $1 AND seq = $2 AND hash = $3";
        let rows = transaction.query(sql, vec![text(&record.source), count(record.seq), text(&record.hash)]).await?;
        // A commit of its own: what the lost one left may not have reached the standbys yet, and this one waits for them.
        transaction.commit().await?;
        Ok(!rows.is_empty())
    }
}

async fn lock_heads(transaction: &mut dyn Transaction) -> Result<Heads, StoreError> {
    heads(transaction.lock(SELECT_HEADS, Vec::new(), None).await?.0)
}

fn heads(rows: Vec<Row>) -> Result<Heads, StoreError> {
    let read = |row: &mut Row| {
        Ok(Heads {
            revocation_seq: row.int()?,
            catalog_version: row.int()?,
            edge_version: row.int()?,
            audit: AuditEnd { position: row.int()?, head: Head { seq: row.int()?, hash: row.text()? } },
        })
    };
    read_first(rows, "heads", read)?.ok_or(StoreError::Corrupt { table: "heads" })
}

impl Heads {
    fn update(&self) -> Statement {
        let row = vec![
            count(self.revocation_seq),
            count(self.catalog_version),
            count(self.edge_version),
            count(self.audit.position),
            count(self.audit.head.seq),
            text(&self.audit.head.hash),
        ];
        Statement { sql: UPDATE_HEADS.to_owned(), rows: vec![row] }
    }
}

impl Write<'_> {
    /// Runs a statement now and answers its rows.
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.transaction.query(sql, params).await.map_err(|error| error.or_conflict(self.conflict))
    }

    /// Whether `sql` finds a row.
    async fn finds(&mut self, sql: &str, params: Vec<Value>) -> Result<bool, StoreError> {
        Ok(!self.query(sql, params).await?.is_empty())
    }

    /// What exists when a unique key of this transaction does.
    fn conflict(&mut self, what: &'static str) {
        self.conflict = what;
    }

    /// Adds a statement that runs at the commit.
    fn change(&mut self, sql: &str, params: Vec<Value>) {
        self.change_all(sql, vec![params]);
    }

    /// Adds a statement that runs at the commit, once with each of these parameters.
    fn change_all(&mut self, sql: &str, rows: Vec<Vec<Value>>) {
        self.changes.push(Statement { sql: sql.to_owned(), rows });
    }

    /// The place in the whole audit log that this transaction's record will have.
    fn position(&self) -> u64 {
        self.heads.audit.position + 1
    }

    /// What edges were told of services, credentials and root keys is out of date; answers the catalog's new version.
    fn catalog_changes(&mut self) -> u64 {
        self.heads.catalog_version += 1;
        self.heads.catalog_version
    }

    /// Appends the audit record and commits.
    async fn commit(self, at: Timestamp, event: &Change) -> Result<(), StoreError> {
        self.commit_all([Noted::new(at, event)]).await
    }

    /// Appends the audit records, if there are any, and commits.
    async fn commit_all(mut self, changes: impl IntoIterator<Item = Noted>) -> Result<(), StoreError> {
        let mut statements = std::mem::take(&mut self.changes);
        let (inserts, last) = self.heads.audit.append(changes);
        statements.extend(inserts);
        statements.push(self.heads.update());
        if let Err(error) = self.transaction.commit_with(statements).await {
            self.store.settled(error, last.as_ref(), self.conflict).await?;
        }
        self.store.audited().end = Some(self.heads.audit);
        self.store.hint.grew(self.heads.revocation_seq);
        Ok(())
    }
}

#[async_trait]
impl Health for SqlStore {
    async fn ready(&self) -> Result<(), StoreError> {
        heads(self.read(SELECT_HEADS, Vec::new()).await?).map(drop)
    }

    async fn fence(&self) -> Result<Fence, StoreError> {
        Ok(self.database.fence().await?)
    }
}
