//! SQLite: one file, one process. One thread writes, a few read.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, ToSql, ffi, params_from_iter};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};

use crate::store::database::{AllOrNone, Database, DbError, Row, Statement, Transaction, Value};
use crate::store::{Fence, ServerId, StoreError, migrations};

/// How often, and how far apart, a statement tries to get another process's lock: for some 20 seconds.
const BUSY_TRIES: i32 = 10_000;
const BUSY_PAUSE: Duration = Duration::from_millis(2);
const READERS: usize = 2;
const STATEMENTS_CACHED: usize = 128;

/// An open database file.
pub(super) struct Sqlite {
    writer: Arc<Mutex<Worker>>,
    readers: Vec<Worker>,
    next: AtomicUsize,
}

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// A connection on a thread of its own. Jobs run in the order in which they were given.
struct Worker(mpsc::UnboundedSender<Job>);

impl Sqlite {
    /// Opens the file, or creates it readable for its owner alone, and brings its schema up to date.
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Self::connect(path).await?;
        let mut transaction = database.begin().await?;
        migrations::apply(&mut *transaction, migrations::SQLITE).await?;
        transaction.commit().await?;
        Ok(database)
    }

    async fn connect(path: &Path) -> Result<Self, DbError> {
        let path = path.to_owned();
        let open = move || -> Result<Self, DbError> {
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path)
                .map_err(|error| DbError::Unavailable(format!("`{}`: {error}", path.display()).into()))?;
            let writer = Arc::new(Mutex::new(Worker::start(connect(&path, false)?)?));
            let readers = (0..READERS).map(|_| Worker::start(connect(&path, true)?)).collect::<Result<_, _>>()?;
            Ok(Self { writer, readers, next: AtomicUsize::new(0) })
        };
        tokio::task::spawn_blocking(open).await.map_err(|error| DbError::Failed(error.into()))?
    }

    fn reader(&self) -> &Worker {
        &self.readers[self.next.fetch_add(1, Ordering::Relaxed) % self.readers.len()]
    }
}

fn connect(path: &Path, reads_only: bool) -> Result<Connection, DbError> {
    let mut connection = Connection::open(path)?;
    connection.busy_handler(Some(try_again))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Recursive triggers: without them `INSERT OR REPLACE` would pass by the triggers that refuse a deletion.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
         PRAGMA recursive_triggers = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
    )?;
    if reads_only {
        connection.execute_batch("PRAGMA query_only = ON;")?;
    }
    Ok(connection)
}

/// SQLite's own pauses grow to 100 ms and can lose every race against a process that writes all the time.
#[expect(clippy::disallowed_methods, reason = "waits on a thread that serves this connection and nothing else")]
fn try_again(tries: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    tries < BUSY_TRIES
}

impl Worker {
    fn start(connection: Connection) -> Result<Self, DbError> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        std::thread::Builder::new()
            .name("writ-sqlite".to_owned())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&connection);
                }
            })
            .map_err(|error| DbError::Unavailable(error.into()))?;
        Ok(Self(jobs))
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || DbError::Unavailable("the database thread has stopped".into());
        // Nobody waits for the answer of a call that was given up; its transaction is rolled back when it is dropped.
        let job = Box::new(move |connection: &Connection| drop(answer.send(job(connection))));
        self.0.send(job).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        self.query_each(sql, vec![params]).await
    }

    async fn query_each(&self, sql: &str, each: Vec<Vec<Value>>) -> Result<Vec<Row>, DbError> {
        let sql = placeholders(sql);
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let columns = statement.column_count();
            let mut found = Vec::new();
            for params in each {
                let mut rows = statement.query(params_from_iter(params))?;
                while let Some(row) = rows.next()? {
                    let values = (0..columns).map(|i| row.get_ref(i).map_err(DbError::from).and_then(value));
                    found.push(Row::new(values.collect::<Result<_, _>>()?));
                }
            }
            Ok(found)
        })
        .await
    }
}

/// SQLite takes `$1` for a name; `?1` is the first parameter. No statement of ours has a dollar sign in a literal.
fn placeholders(sql: &str) -> String {
    sql.replace('$', "?")
}

fn value(value: ValueRef<'_>) -> Result<Value, DbError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => Value::Int(int),
        // Text that is none comes out as bytes, which no reader of a text column takes.
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Bytes(text.to_vec()),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Real(_) => return Err(DbError::Failed("a column of another type than the schema says".into())),
    })
}

#[async_trait]
impl Database for Sqlite {
    async fn read(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        self.reader().query(sql, params).await
    }

    async fn read_each(&self, statement: Statement) -> Result<Vec<Row>, DbError> {
        self.reader().query_each(&statement.sql, statement.rows).await
    }

    async fn write(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        self.writer.lock().await.query(sql, params).await
    }

    async fn write_if(&self, AllOrNone { guard, each, then }: AllOrNone<'_>) -> Result<bool, DbError> {
        let mut transaction = self.begin().await?;
        if transaction.query_each(guard.clone()).await?.is_empty() {
            return Ok(false);
        }
        if transaction.query_each(each.clone()).await?.len() < each.rows.len() {
            return Ok(false);
        }
        transaction.commit_with(then.to_vec()).await?;
        Ok(true)
    }

    async fn forget_over(&self, at_most: u32) -> Result<u64, DbError> {
        let mut gone = 0;
        for (table, key, time) in
            [("revocation", "seq", "forget_after"), ("issued_writ", "id", "expires"), ("limit_count", "id", "ends")]
        {
            let sql = format!(
                "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} \
                 WHERE {time} < (CAST(strftime('%s', 'now') AS INTEGER) - 3600) * 1000 ORDER BY {time} LIMIT $1) RETURNING 1"
            );
            gone += self.write(&sql, vec![Value::Int(at_most.into())]).await?.len() as u64;
        }
        Ok(gone)
    }

    fn calls(&self) -> bool {
        false
    }

    fn server(&self) -> &'static str {
        "0"
    }

    async fn fence(&self) -> Result<Fence, DbError> {
        Ok(Fence::Alone(ServerId::default()))
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, DbError> {
        let writer = self.writer.clone().lock_owned().await;
        // From here on dropping it rolls back, even while `BEGIN` is still on its way to the thread.
        let transaction = SqliteTransaction { writer, open: true };
        transaction.script("BEGIN IMMEDIATE").await?;
        Ok(Box::new(transaction))
    }
}

/// Holds the writer until it is committed or dropped.
struct SqliteTransaction {
    writer: OwnedMutexGuard<Worker>,
    open: bool,
}

impl SqliteTransaction {
    async fn script(&self, sql: &str) -> Result<(), DbError> {
        let sql = sql.to_owned();
        self.writer.run(move |connection| Ok(connection.execute_batch(&sql)?)).await
    }
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        if self.open {
            // A failed statement may have rolled back already; then there is nothing to do.
            let rollback: Job = Box::new(|connection| drop(connection.execute_batch("ROLLBACK")));
            // A thread that has stopped has closed its connection, which rolls back too.
            let _ = self.writer.0.send(rollback);
        }
    }
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn lock(
        &mut self,
        sql: &str,
        params: Vec<Value>,
        then: Option<Statement>,
    ) -> Result<(Vec<Row>, Vec<Row>), DbError> {
        // `BEGIN IMMEDIATE` has locked everything.
        let locked = self.writer.query(sql, params).await?;
        let found = match then {
            Some(Statement { sql, rows }) => self.writer.query_each(&sql, rows).await?,
            None => Vec::new(),
        };
        Ok((locked, found))
    }

    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        self.writer.query(sql, params).await
    }

    async fn query_each(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        self.writer.query_each(&statement.sql, statement.rows).await
    }

    async fn run(&mut self, statements: Vec<Statement>) -> Result<(), DbError> {
        self.writer.run(move |connection| run(connection, statements)).await
    }

    async fn script(&mut self, sql: &str) -> Result<(), DbError> {
        Self::script(self, sql).await
    }

    async fn commit_with(mut self: Box<Self>, statements: Vec<Statement>) -> Result<(), DbError> {
        let commit = |connection: &Connection| {
            run(connection, statements)?;
            Ok(connection.execute_batch("COMMIT")?)
        };
        self.writer.run(commit).await?;
        self.open = false;
        Ok(())
    }
}

fn run(connection: &Connection, statements: Vec<Statement>) -> Result<(), DbError> {
    for statement in statements {
        let mut prepared = connection.prepare_cached(&placeholders(&statement.sql))?;
        for params in statement.rows {
            prepared.execute(params_from_iter(params))?;
        }
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Null => Ok(rusqlite::types::Null.into()),
            Self::Int(int) => int.to_sql(),
            Self::Bool(bool) => bool.to_sql(),
            Self::Text(text) => text.to_sql(),
            Self::Bytes(bytes) => bytes.to_sql(),
        }
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error() else { return Self::Failed(error.into()) };
        match (code.code, code.extended_code) {
            (_, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID) => {
                Self::Unique
            }
            (
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::CannotOpen
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::OutOfMemory,
                _,
            ) => Self::Unavailable(error.into()),
            _ => Self::Failed(error.into()),
        }
    }
}
