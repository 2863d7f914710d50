//! What an operation asks of a database: run a statement, in a transaction or alone.
//!
//! Both back ends speak the SQL of `store::sql`, with `$1` for a parameter. Only here and below is a driver named.

use std::str::FromStr;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::key::PublicKey;
use crate::store::{BoxError, Fence, StoreError};

/// One value of a row or a parameter: the types both databases have.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
}

/// Says nothing: a driver may print a parameter, and this one may be a sealed secret.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Value(..)")
    }
}

/// A statement with a list of parameters for each time it is to run.
///
/// Postgres runs one with `VALUES ($1, …)` once for all rows of which only these parameters differ.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) rows: Vec<Vec<Value>>,
}

/// Changes that are made together, or not at all.
pub(super) struct AllOrNone<'a> {
    /// Runs first: unless it finds a row, nothing happens.
    pub(super) guard: &'a Statement,
    /// Runs next, and must find a row for each of its own: else nothing happens.
    pub(super) each: &'a Statement,
    /// Run then. Each has rows, and `VALUES ($1, …)`.
    pub(super) then: &'a [Statement],
}

/// Why a database did not do it.
#[derive(Debug)]
pub(super) enum DbError {
    /// Nothing was written: unreachable, too busy, shutting down, or chosen as a deadlock's victim.
    Unavailable(BoxError),
    /// The connection broke while committing: written, or not.
    CommitLost(BoxError),
    /// A unique key exists.
    Unique,
    /// Anything else.
    Failed(BoxError),
}

/// A database with the schema of `schema/`.
#[async_trait]
pub(super) trait Database: Send + Sync {
    /// Runs one statement that only reads: all it sees is of one moment.
    async fn read(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError>;

    /// Runs one statement that only reads for each of its rows, and answers what all of them find.
    async fn read_each(&self, statement: Statement) -> Result<Vec<Row>, DbError>;

    /// Runs one statement that writes, as a transaction of its own.
    async fn write(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError>;

    /// Makes these changes as a transaction of its own, in one round trip where the database allows it. Answers whether it did.
    async fn write_if(&self, changes: AllOrNone<'_>) -> Result<bool, DbError>;

    /// Removes up to `at_most` rows each of what is over for an hour, by the database's clock: it refuses anything younger.
    /// Answers how many.
    async fn forget_over(&self, at_most: u32) -> Result<u64, DbError>;

    /// Whether it carries calls between processes; else there is only this one.
    fn calls(&self) -> bool;

    /// An SQL expression that names the running server ([`ServerId`](crate::store::ServerId)).
    fn server(&self) -> &'static str;

    /// Commits a mark that leaves no trace in any table, and answers once the standbys have it.
    async fn fence(&self) -> Result<Fence, DbError>;

    /// Begins a transaction that writes.
    async fn begin(&self) -> Result<Box<dyn Transaction>, DbError>;
}

/// A transaction. Dropped without a commit, it never happened.
#[async_trait]
pub(super) trait Transaction: Send {
    /// Runs a `SELECT` and locks the rows it finds until the end of the transaction; then a statement for each of its rows, if
    /// there is one, in the same round trip where the database allows it. Answers what both find.
    async fn lock(
        &mut self,
        sql: &str,
        params: Vec<Value>,
        then: Option<Statement>,
    ) -> Result<(Vec<Row>, Vec<Row>), DbError>;

    /// Runs a statement and answers its rows.
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError>;

    /// Runs a statement for each of its rows, and answers what all of them find.
    async fn query_each(&mut self, statement: Statement) -> Result<Vec<Row>, DbError>;

    /// Runs statements in order, in one round trip where the database allows it.
    async fn run(&mut self, statements: Vec<Statement>) -> Result<(), DbError>;

    /// Runs a script of the schema.
    async fn script(&mut self, sql: &str) -> Result<(), DbError>;

    /// Runs statements in order and makes it happen, in one round trip where the database allows it.
    async fn commit_with(self: Box<Self>, statements: Vec<Statement>) -> Result<(), DbError>;

    /// Makes it happen.
    async fn commit(self: Box<Self>) -> Result<(), DbError> {
        self.commit_with(Vec::new()).await
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(source) => Self::Unavailable(source),
            DbError::CommitLost(source) => Self::Unknown(source),
            DbError::Unique => Self::Conflict("a row with that key"),
            DbError::Failed(source) => Self::Failed(source),
        }
    }
}

impl DbError {
    /// As [`StoreError`], where a unique key that exists means that `what` does.
    pub(super) fn or_conflict(self, what: &'static str) -> StoreError {
        match self {
            Self::Unique => StoreError::Conflict(what),
            other => other.into(),
        }
    }
}

/// One row, read column by column in the order of the query.
pub(super) struct Row {
    table: &'static str,
    values: std::vec::IntoIter<Value>,
}

impl Row {
    pub(super) fn new(values: Vec<Value>) -> Self {
        Self { table: "unknown", values: values.into_iter() }
    }

    /// Names the table that an error is about.
    pub(super) fn of(mut self, table: &'static str) -> Self {
        self.table = table;
        self
    }

    pub(super) fn corrupt(&self) -> StoreError {
        StoreError::Corrupt { table: self.table }
    }

    /// Whether the next column is null: of an outer join, that there is no such row.
    pub(super) fn next_is_null(&self) -> bool {
        matches!(self.values.as_slice().first(), Some(Value::Null))
    }

    pub(super) fn int<T: TryFrom<i64>>(&mut self) -> Result<T, StoreError> {
        self.int_or_null()?.ok_or_else(|| self.corrupt())
    }

    pub(super) fn int_or_null<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, StoreError> {
        match self.values.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Int(int)) => int.try_into().map(Some).map_err(|_| self.corrupt()),
            _ => Err(self.corrupt()),
        }
    }

    pub(super) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.int().map(Timestamp::from_millis)
    }

    pub(super) fn time_or_null(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.int_or_null()?.map(Timestamp::from_millis))
    }

    /// A boolean; SQLite keeps it as 0 or 1.
    pub(super) fn bool(&mut self) -> Result<bool, StoreError> {
        match self.values.next() {
            Some(Value::Bool(bool)) => Ok(bool),
            Some(Value::Int(int @ (0 | 1))) => Ok(int == 1),
            _ => Err(self.corrupt()),
        }
    }

    pub(super) fn text(&mut self) -> Result<Box<str>, StoreError> {
        self.text_or_null()?.ok_or_else(|| self.corrupt())
    }

    pub(super) fn text_or_null(&mut self) -> Result<Option<Box<str>>, StoreError> {
        match self.values.next() {
            Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.into())),
            _ => Err(self.corrupt()),
        }
    }

    pub(super) fn parse<T: FromStr>(&mut self) -> Result<T, StoreError> {
        self.text()?.parse().map_err(|_| self.corrupt())
    }

    pub(super) fn parse_or_null<T: FromStr>(&mut self) -> Result<Option<T>, StoreError> {
        match self.text_or_null()? {
            Some(text) => text.parse().map(Some).map_err(|_| self.corrupt()),
            None => Ok(None),
        }
    }

    /// A key; it need not be unpacked if it is the `likely` one.
    pub(super) fn key_or_null(&mut self, likely: Option<&PublicKey>) -> Result<Option<PublicKey>, StoreError> {
        let key = self.text_or_null()?.map(|text| PublicKey::of_text(&text, likely));
        key.transpose().map_err(|_| self.corrupt())
    }

    pub(super) fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        serde_json::from_str(&self.text()?).map_err(|_| self.corrupt())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        match self.values.next() {
            Some(Value::Bytes(bytes)) => bytes.try_into().map_err(|_| self.corrupt()),
            _ => Err(self.corrupt()),
        }
    }
}

/// Reads every row with `read`; an error says that `table` is corrupt.
pub(super) fn read_all<T>(
    rows: Vec<Row>,
    table: &'static str,
    read: impl Fn(&mut Row) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    rows.into_iter().map(|row| read(&mut row.of(table))).collect()
}

/// Reads the first row, if there is one.
pub(super) fn read_first<T>(
    rows: Vec<Row>,
    table: &'static str,
    read: impl Fn(&mut Row) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    rows.into_iter().next().map(|row| read(&mut row.of(table))).transpose()
}

/// A parameter: the text form of `value`.
pub(super) fn text(value: &(impl ToString + ?Sized)) -> Value {
    Value::Text(value.to_string())
}

/// A parameter: the text form of `value`, or null.
pub(super) fn text_or_null(value: Option<&(impl ToString + ?Sized)>) -> Value {
    value.map_or(Value::Null, text)
}

/// A parameter: a number of the log, or as much of it as a database can count.
pub(super) fn count(value: u64) -> Value {
    Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A parameter: a point in time.
pub(super) fn time(value: Timestamp) -> Value {
    Value::Int(value.millis())
}

/// A parameter: bytes.
pub(super) fn bytes(value: &[u8]) -> Value {
    Value::Bytes(value.to_vec())
}

/// A parameter: `value` as JSON text.
pub(super) fn json(value: &impl serde::Serialize) -> Result<Value, StoreError> {
    serde_json::to_string(value).map(Value::Text).map_err(|error| StoreError::Failed(error.into()))
}
