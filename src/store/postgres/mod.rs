//! Postgres: for everything that must outlive one machine.
//!
//! The tables stand in the schema `writ`. Every pooled connection works as the role `writ_authority`, which can add to the
//! revocation and audit logs and neither change nor delete what is in them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{
    Client, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use futures_util::future::BoxFuture;
use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

use crate::store::database::{AllOrNone, Database, DbError, Row, Statement, Transaction, Value, read_first};
use crate::store::hint::Hint;
use crate::store::migrations;
use crate::store::url::PostgresUrl;
use crate::store::{Fence, ServerId, StoreError};

mod errors;
mod listen;
mod once;
mod rows;
mod tls;
mod transaction;

use listen::Listener;
use transaction::PostgresTransaction;

const CONNECTIONS_MAX: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that is gone without a word is noticed after these, not after the kernel's two hours.
const QUIET_MAX: Duration = Duration::from_secs(5);
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(10);
/// How long a statement may take in all. A server that answers keeps to its own `statement_timeout`, which is shorter.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What every working connection begins with.
///
/// A replica that is dead or stopped must not keep the lock on the heads, so idle transactions end. A server that is configured to lose
/// commits in a crash is told not to: a receipt says that a revocation is durable.
const SET_UP: &str = "SET search_path = writ, pg_temp; SET statement_timeout = '15s'; SET lock_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '3s'; SET client_min_messages = 'error'; SET ROLE writ_authority; \
     SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// When a server was started tells it from every other one. Connections of one pool may be to different servers, during a failover.
macro_rules! server {
    () => {
        "(EXTRACT(EPOCH FROM pg_postmaster_start_time()) * 1000000)::bigint"
    };
}
const SERVER: &str = server!();

/// Whether commits wait for standbys, and which server says so; and if so, a commit that does: of a message in the write-ahead log that nobody reads.
const FENCE: &str = concat!(
    "SELECT current_setting('synchronous_standby_names') <> '', ",
    server!(),
    ", CASE WHEN current_setting('synchronous_standby_names') <> '' \
     THEN pg_logical_emit_message(true, 'writ', '')::text END"
);

/// `writ` in ASCII: excludes every other migration of this database.
const LOCK_MIGRATIONS: &str = "SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock(2004052340)";

/// Lets a role that is no superuser work as `writ_authority` itself. Tried, not looked up: since Postgres 16 who creates a
/// role is a member of it and may still not become it.
const LET_OWNER_WORK: &str = "DO $$ BEGIN SET LOCAL ROLE writ_authority; RESET ROLE; \
     EXCEPTION WHEN insufficient_privilege THEN GRANT writ_authority TO CURRENT_USER; END $$";

/// A pool of connections to one database.
pub(super) struct Postgres {
    pool: Pool,
    /// A connection of its own: cut off from its standbys, a server lets a commit wait for ever.
    fence: Pool,
    _listener: Listener,
}

/// Brings the schema up to date, as a role that may.
pub(super) async fn migrate(url: &PostgresUrl) -> Result<(), StoreError> {
    let pool = pool(url, None, 1)?;
    let mut transaction = PostgresTransaction::new(client(&pool).await?);
    transaction.script(LOCK_MIGRATIONS).await?;
    transaction.script("CREATE SCHEMA IF NOT EXISTS writ; SET LOCAL search_path = writ, pg_temp").await?;
    migrations::apply(&mut transaction, migrations::POSTGRES).await?;
    transaction.script(LET_OWNER_WORK).await?;
    Ok(Box::new(transaction).commit().await?)
}

impl Postgres {
    /// Opens the database; as a role that owns the schema, or may create it, brings it up to date first.
    pub(super) async fn open(url: &PostgresUrl, hint: Arc<Hint>) -> Result<Self, StoreError> {
        let first = client(&pool(url, None, 1)?).await?;
        if owns_schema(&first).await? {
            migrate(url).await?;
        }
        may_work_as_authority(&first).await?;
        drop(first);
        let pool = pool(url, Some(SET_UP), CONNECTIONS_MAX)?;
        check(&pool).await?;
        let listener = Listener::start(config(url), tls::connector(url)?, hint);
        Ok(Self { pool, fence: self::pool(url, Some(SET_UP), 1)?, _listener: listener })
    }
}

/// Whether this role owns the schema, or may create it.
async fn owns_schema(client: &Client) -> Result<bool, StoreError> {
    let sql = "SELECT 1 WHERE CASE WHEN EXISTS (SELECT FROM pg_namespace WHERE nspname = 'writ') \
               THEN (SELECT pg_has_role(current_user, nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'writ') \
               ELSE has_database_privilege(current_database(), 'CREATE') END";
    Ok(!rows::query(client, sql, Vec::new()).await?.is_empty())
}

/// Refuses a role that cannot do what [`SET_UP`] is about to.
async fn may_work_as_authority(client: &Client) -> Result<(), StoreError> {
    let sql = "SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = 'writ_authority'";
    match read_first(rows::query(client, sql, Vec::new()).await?, "pg_roles", Row::bool)? {
        Some(true) => Ok(()),
        Some(false) => {
            let advice =
                "its role may not work as `writ_authority`: run `GRANT writ_authority TO` the role in `store.url`";
            Err(StoreError::Failed(advice.into()))
        }
        None => Err(StoreError::TooOld),
    }
}

/// Refuses a schema of another version, and a role that could rewrite history.
async fn check(pool: &Pool) -> Result<(), StoreError> {
    let client = client(pool).await?;
    let exists = "SELECT 1 WHERE to_regclass('writ.schema_version') IS NOT NULL";
    if rows::query(&client, exists, Vec::new()).await?.is_empty() {
        return Err(StoreError::TooOld);
    }
    let history = rows::query(&client, migrations::SELECT_HISTORY, Vec::new()).await?;
    if !migrations::missing(history, migrations::POSTGRES)?.is_empty() {
        return Err(StoreError::TooOld);
    }
    let sql = "SELECT 1 FROM unnest(ARRAY['revocation', 'receipt', 'audit_record', 'audit_block', 'audit_checkpoint']) AS log \
               WHERE has_table_privilege('writ.' || log, 'UPDATE, DELETE, TRUNCATE')";
    if !rows::query(&client, sql, Vec::new()).await?.is_empty() {
        let advice = "the role `writ_authority` may change the logs: revoke what it was granted beyond spec/store.md";
        return Err(StoreError::Failed(advice.into()));
    }
    Ok(())
}

fn config(url: &PostgresUrl) -> Config {
    let mut config = url.config.clone();
    if config.get_application_name().is_none() {
        config.application_name("writ");
    }
    // A server in recovery is passed over: its log lags behind, and nothing can be written there.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(1).max(1);
    // Together they must fit into the time that the pool allows.
    config.connect_timeout(CONNECT_TIMEOUT / (hosts + 1));
    config.keepalives_idle(QUIET_MAX).tcp_user_timeout(UNACKNOWLEDGED_MAX);
    config
}

fn pool(url: &PostgresUrl, set_up: Option<&'static str>, size: usize) -> Result<Pool, StoreError> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(config(url), tls::connector(url)?, recycling);
    let mut builder = Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(CONNECT_TIMEOUT))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .recycle_timeout(Some(CONNECT_TIMEOUT));
    if let Some(sql) = set_up {
        builder = builder.post_create(Hook::async_fn(move |client, _| -> BoxFuture<'_, _> {
            Box::pin(async move { client.batch_execute(sql).await.map_err(HookError::Backend) })
        }));
    }
    builder.build().map_err(|error| StoreError::Failed(error.into()))
}

async fn client(pool: &Pool) -> Result<Client, DbError> {
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error.into(),
        other => DbError::Unavailable(other.into()),
    })
}

/// The server takes statements and answers none.
#[derive(Debug, thiserror::Error)]
#[error("the database does not answer")]
struct Silent;

async fn in_time<T>(answer: impl Future<Output = Result<T, DbError>>) -> Result<T, DbError> {
    let answered = tokio::time::timeout(ANSWER_WITHIN, answer).await;
    answered.unwrap_or_else(|_| Err(DbError::Unavailable(Silent.into())))
}

impl Postgres {
    /// A statement that is a transaction of its own.
    async fn alone(&self, sql: &str, rows: &[Vec<Value>]) -> Result<Result<Vec<Row>, DbError>, Silent> {
        let client = match client(&self.pool).await {
            Ok(client) => client,
            Err(error) => return Ok(Err(error)),
        };
        match tokio::time::timeout(ANSWER_WITHIN, rows::query_each(&client, sql, rows)).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                // Whoever got the connection next would wait for this answer first.
                drop(Object::take(client));
                Err(Silent)
            }
        }
    }
}

#[async_trait]
impl Database for Postgres {
    async fn read(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        self.alone(sql, &[params]).await.unwrap_or_else(|silent| Err(DbError::Unavailable(silent.into())))
    }

    async fn read_each(&self, statement: Statement) -> Result<Vec<Row>, DbError> {
        let Statement { sql, rows } = statement;
        self.alone(&sql, &rows).await.unwrap_or_else(|silent| Err(DbError::Unavailable(silent.into())))
    }

    async fn write(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        self.alone(sql, &[params]).await.unwrap_or_else(|silent| Err(DbError::CommitLost(silent.into())))
    }

    async fn write_if(&self, changes: AllOrNone<'_>) -> Result<bool, DbError> {
        let client = client(&self.pool).await?;
        let call = in_time(once::call(&client, &changes)).await?;
        match tokio::time::timeout(ANSWER_WITHIN, call.run(&client)).await {
            Ok(done) => done,
            Err(_) => {
                // As in `alone`.
                drop(Object::take(client));
                Err(DbError::CommitLost(Silent.into()))
            }
        }
    }

    async fn forget_over(&self, at_most: u32) -> Result<u64, DbError> {
        let sql = "SELECT forget_revocations($1) + forget_issued_writs($1) + forget_limit_counts($1)";
        let rows = self.write(sql, vec![Value::Int(at_most.into())]).await?;
        let gone = read_first(rows, "revocation", Row::int).map_err(|error| DbError::Failed(error.into()))?;
        Ok(gone.unwrap_or(0))
    }

    fn calls(&self) -> bool {
        true
    }

    fn server(&self) -> &'static str {
        SERVER
    }

    async fn fence(&self) -> Result<Fence, DbError> {
        let rows = rows::query(&client(&self.fence).await?, FENCE, Vec::new()).await?;
        let read = |row: &mut Row| Ok((row.bool()?, ServerId(row.int()?)));
        match read_first(rows, "pg_settings", read).map_err(|error| DbError::Failed(error.into()))? {
            Some((true, server)) => Ok(Fence::Confirmed(server)),
            Some((false, server)) => Ok(Fence::Alone(server)),
            None => Err(DbError::Failed("no answer to a look at the settings".into())),
        }
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, DbError> {
        Ok(Box::new(PostgresTransaction::new(client(&self.pool).await?)))
    }
}
