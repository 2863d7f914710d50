//! A transaction over a pooled connection.

use async_trait::async_trait;
use deadpool_postgres::{Client, Object};
use futures_util::future::try_join_all;

use super::{errors, rows};
use crate::store::database::{DbError, Row, Statement, Transaction, Value};

/// How many statements are sent ahead of their answers.
const PIPELINED: usize = 30;

/// Holds a connection until it is committed or dropped.
pub(super) struct PostgresTransaction {
    /// Empty once it is committed.
    client: Option<Client>,
}

impl PostgresTransaction {
    pub(super) async fn begin(client: Client) -> Result<Self, DbError> {
        // Made before `BEGIN` is sent: dropped while waiting for the answer, it must roll back too.
        let transaction = Self { client: Some(client) };
        transaction.client().batch_execute("BEGIN").await?;
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
        rows::query(self.client(), &format!("{sql} FOR UPDATE"), params).await
    }

    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
        rows::query(self.client(), sql, params).await
    }

    async fn run(&mut self, statements: Vec<Statement>) -> Result<(), DbError> {
        let client = self.client();
        let mut calls = Vec::new();
        for statement in &statements {
            let prepared = client.prepare_cached(&statement.sql).await?;
            calls.extend(statement.rows.iter().map(|params| (prepared.clone(), params)));
        }
        for calls in calls.chunks(PIPELINED) {
            // Each sends when it is first polled, and up to thirty are polled in order.
            try_join_all(calls.iter().map(|(prepared, params)| client.execute_raw(prepared, params.iter()))).await?;
        }
        Ok(())
    }

    async fn script(&mut self, sql: &str) -> Result<(), DbError> {
        Ok(self.client().batch_execute(sql).await?)
    }

    async fn commit(mut self: Box<Self>) -> Result<(), DbError> {
        match self.client().batch_execute("COMMIT").await {
            Ok(()) => {
                self.client = None;
                Ok(())
            }
            Err(error) => Err(errors::of_commit(error)),
        }
    }
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                if client.batch_execute("ROLLBACK").await.is_err() {
                    drop(Object::take(client));
                }
            })),
            // Closing the connection rolls back.
            Err(_) => drop(Object::take(client)),
        }
    }
}
