//! A transaction over a pooled connection.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Client, Object};
use futures_util::future::{join, join_all, join3};
use tokio_postgres::Error;

use super::{errors, in_time, rows};
use crate::store::database::{DbError, Row, Statement, Transaction, Value};

/// How long a commit may take.
const COMMIT_WITHIN: Duration = Duration::from_secs(15);
/// How long a transaction that ends without a commit may take to say so.
const ROLLBACK_WITHIN: Duration = Duration::from_secs(5);
/// How many statements are sent ahead of their answers: so many are polled in order.
const PIPELINED: usize = 30;

/// Holds a connection until it is committed or dropped.
pub(super) struct PostgresTransaction {
    /// Empty once it is committed.
    client: Option<Client>,
    /// Whether `BEGIN` was sent: it goes with what comes first.
    begun: bool,
}

impl PostgresTransaction {
    pub(super) const fn new(client: Client) -> Self {
        Self { client: Some(client), begun: false }
    }

    /// The connection, with the transaction begun.
    async fn begun(&mut self) -> Result<&Client, DbError> {
        // Before it is sent: dropped while waiting for the answer, it must roll back too.
        if !std::mem::replace(&mut self.begun, true) {
            in_time(async { Ok(self.client().batch_execute("BEGIN").await?) }).await?;
        }
        Ok(self.client())
    }

    fn client(&self) -> &Client {
        // Expect safety: only `commit` and `drop` take the client, and both end the transaction.
        self.client.as_ref().expect("a transaction has a connection until it ends")
    }
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn lock(
        &mut self,
        sql: &str,
        params: Vec<Value>,
        then: Option<Statement>,
    ) -> Result<(Vec<Row>, Vec<Row>), DbError> {
        let sql = format!("{sql} FOR UPDATE");
        let begun = std::mem::replace(&mut self.begun, true);
        let client = self.client();
        in_time(async {
            // Prepared before any of it is sent: then it goes in this order, in one round trip.
            client.prepare_cached(&sql).await?;
            let then = match &then {
                Some(Statement { sql, rows }) => rows::calls(client, sql, rows).await?,
                None => Vec::new(),
            };
            let begin = async { if begun { Ok(()) } else { client.batch_execute("BEGIN").await } };
            let lock = rows::query(client, &sql, params);
            let (begun, locked, found) = join3(begin, lock, rows::found(client, then)).await;
            // Should `BEGIN` fail, then what follows stands alone: it locks nothing, and uses up what may be used up.
            begun?;
            Ok((locked?, found?))
        })
        .await
    }

    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        let client = self.begun().await?;
        in_time(rows::query(client, sql, params)).await
    }

    async fn query_each(&mut self, statement: Statement) -> Result<Vec<Row>, DbError> {
        let client = self.begun().await?;
        in_time(rows::query_each(client, &statement.sql, &statement.rows)).await
    }

    async fn run(&mut self, statements: Vec<Statement>) -> Result<(), DbError> {
        let client = self.begun().await?;
        let calls = in_time(prepared(client, &statements)).await?;
        for calls in calls.chunks(PIPELINED) {
            in_time(async { Ok(sent(client, calls, &AtomicBool::default()).await?) }).await?;
        }
        Ok(())
    }

    async fn script(&mut self, sql: &str) -> Result<(), DbError> {
        Ok(self.begun().await?.batch_execute(sql).await?)
    }

    async fn commit_with(mut self: Box<Self>, statements: Vec<Statement>) -> Result<(), DbError> {
        let client = self.begun().await?;
        let mut calls = in_time(prepared(client, &statements)).await?;
        let last = calls.split_off(calls.len().saturating_sub(1) / PIPELINED * PIPELINED);
        for calls in calls.chunks(PIPELINED) {
            in_time(async { Ok(sent(client, calls, &AtomicBool::default()).await?) }).await?;
        }
        // A server that is cut off from its standbys would let it wait for ever.
        match tokio::time::timeout(COMMIT_WITHIN, committed_with(client, &last)).await {
            Ok(Ok(())) => {
                self.client = None;
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                // Nobody else may get the connection: its commit is still under way.
                if let Some(client) = self.client.take() {
                    drop(Object::take(client));
                }
                Err(DbError::CommitLost("the commit took too long: do the standbys answer?".into()))
            }
        }
    }
}

async fn prepared<'a>(client: &Client, statements: &'a [Statement]) -> Result<Vec<rows::Call<'a>>, DbError> {
    let mut all = Vec::new();
    for statement in statements {
        all.extend(rows::calls(client, &statement.sql, &statement.rows).await?);
    }
    Ok(all)
}

/// Sends up to [`PIPELINED`] calls at once, in order. Their first error counts: those behind it only say that the transaction is over.
async fn sent(client: &Client, calls: &[rows::Call<'_>], failed: &AtomicBool) -> Result<(), Error> {
    let answers = join_all(calls.iter().map(async |call| {
        // Sends when it is first polled.
        let answer = client.execute_raw(&call.prepared, call.params()).await;
        failed.fetch_or(answer.is_err(), Ordering::Relaxed);
        answer
    }));
    answers.await.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
}

/// Sends the last calls and `COMMIT` at once: after an error of a call the server takes that for `ROLLBACK`.
async fn committed_with(client: &Client, calls: &[rows::Call<'_>]) -> Result<(), DbError> {
    let failed = AtomicBool::new(false);
    let mut running = pin!(sent(client, calls, &failed));
    let ran = poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx))).await;
    if failed.load(Ordering::Relaxed) {
        // One of them could not be sent: nothing may be committed without it.
        return match ran {
            Poll::Ready(ran) => Ok(ran?),
            Poll::Pending => Ok(running.await?),
        };
    }
    let commit = client.batch_execute("COMMIT");
    let (ran, committed) = match ran {
        Poll::Ready(ran) => (ran, commit.await),
        Poll::Pending => join(running, commit).await,
    };
    ran.and(committed).map_err(errors::of_commit)
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        let Some(client) = self.client.take().filter(|_| self.begun) else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                let rolled_back = tokio::time::timeout(ROLLBACK_WITHIN, client.batch_execute("ROLLBACK")).await;
                if !matches!(rolled_back, Ok(Ok(()))) {
                    drop(Object::take(client));
                }
            })),
            // Closing the connection rolls back.
            Err(_) => drop(Object::take(client)),
        }
    }
}
