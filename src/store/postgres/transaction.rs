//! A transaction over a pooled connection.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Client, Object};
use futures_util::future::join_all;

use super::{errors, in_time, rows};
use crate::store::database::{DbError, Row, Statement, Transaction, Value};

/// How long a commit may take.
const COMMIT_WITHIN: Duration = Duration::from_secs(15);
/// How long a transaction that ends without a commit may take to say so.
const ROLLBACK_WITHIN: Duration = Duration::from_secs(5);
/// How many statements are sent ahead of their answers.
const PIPELINED: usize = 30;
/// How many rows one statement inserts where there are many: a shipment must not hold up a revocation for long.
const ROWS_TOGETHER: [usize; 2] = [50, 8];

/// Holds a connection until it is committed or dropped.
pub(super) struct PostgresTransaction {
    /// Empty once it is committed.
    client: Option<Client>,
}

impl PostgresTransaction {
    pub(super) async fn begin(client: Client) -> Result<Self, DbError> {
        // Made before `BEGIN` is sent: dropped while waiting for the answer, it must roll back too.
        let transaction = Self { client: Some(client) };
        in_time(async { Ok(transaction.client().batch_execute("BEGIN").await?) }).await?;
        Ok(transaction)
    }

    fn client(&self) -> &Client {
        // Expect safety: only `commit` and `drop` take the client, and both end the transaction.
        self.client.as_ref().expect("a transaction has a connection until it ends")
    }
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn lock(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        in_time(rows::query(self.client(), &format!("{sql} FOR UPDATE"), params)).await
    }

    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        in_time(rows::query(self.client(), sql, params)).await
    }

    async fn run(&mut self, statements: Vec<Statement>) -> Result<(), DbError> {
        let client = self.client();
        let mut calls = Vec::new();
        for statement in &statements {
            let mut last = None;
            for rows in chunks(&statement.rows) {
                let prepared = match last.take() {
                    Some((count, prepared)) if count == rows.len() => prepared,
                    _ => {
                        let sql = with_rows(&statement.sql, rows);
                        in_time(async { Ok(client.prepare_cached(&sql).await?) }).await?
                    }
                };
                last = Some((rows.len(), prepared.clone()));
                calls.push((prepared, rows));
            }
        }
        for calls in calls.chunks(PIPELINED) {
            // Each sends when it is first polled, and up to thirty are polled in order.
            let answers = join_all(calls.iter().map(|(prepared, rows)| {
                let params: Vec<&Value> = rows.iter().flatten().collect();
                client.execute_raw(prepared, params)
            }));
            // The first error of all: those behind it only say that the transaction is over.
            in_time(async { Ok(answers.await.into_iter().collect::<Result<Vec<_>, _>>()?) }).await?;
        }
        Ok(())
    }

    async fn script(&mut self, sql: &str) -> Result<(), DbError> {
        Ok(self.client().batch_execute(sql).await?)
    }

    async fn commit(mut self: Box<Self>) -> Result<(), DbError> {
        // A server that is cut off from its standbys would let it wait for ever.
        match tokio::time::timeout(COMMIT_WITHIN, self.client().batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                self.client = None;
                Ok(())
            }
            Ok(Err(error)) => Err(errors::of_commit(error)),
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

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
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

/// Rows in groups of [`ROWS_TOGETHER`], the rest one by one: three statements to prepare for each table, not fifty.
fn chunks(rows: &[Vec<Value>]) -> impl Iterator<Item = &[Vec<Value>]> {
    let [many, some] = ROWS_TOGETHER;
    let first = rows.chunks_exact(many);
    let second = first.remainder().chunks_exact(some);
    let rest = second.remainder();
    first.chain(second).chain(rest.chunks(1))
}

/// The statement with `VALUES ($1, …), ($3, …)` for that many rows, where `sql` has it for one.
fn with_rows<'a>(sql: &'a str, rows: &[Vec<Value>]) -> Cow<'a, str> {
    let (Some(start), [first, _, ..]) = (sql.find("VALUES ("), rows) else { return Cow::Borrowed(sql) };
    let start = start + "VALUES ".len();
    let end = sql[start..].find(')').map_or(sql.len(), |end| start + end + 1);
    let mut longer = sql[..start].to_owned();
    for row in 0..rows.len() {
        let places: Vec<String> = (1..=first.len()).map(|place| format!("${}", row * first.len() + place)).collect();
        longer.push_str(if row == 0 { "(" } else { ", (" });
        longer.push_str(&places.join(", "));
        longer.push(')');
    }
    longer.push_str(&sql[end..]);
    Cow::Owned(longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_stretched_to_its_rows() {
        let sql = "INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT (a) DO NOTHING";
        let row = vec![Value::Null, Value::Null];
        assert_eq!(with_rows(sql, std::slice::from_ref(&row)), sql);
        assert_eq!(
            with_rows(sql, &[row.clone(), row]),
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4) ON CONFLICT (a) DO NOTHING"
        );
    }

    #[test]
    fn every_row_is_in_one_group_and_in_order() {
        for n in [0, 1, 7, 8, 9, 49, 50, 51, 149, 150] {
            let rows: Vec<Vec<Value>> = (0..n).map(|i| vec![Value::Int(i)]).collect();
            assert!(chunks(&rows).all(|group| group.len() == 1 || ROWS_TOGETHER.contains(&group.len())));
            assert!(chunks(&rows).flatten().eq(&rows));
        }
    }
}
