//! Values and rows, to and from the driver.

use deadpool_postgres::Client;
use tokio_postgres::Statement as Prepared;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, WrongType, to_sql_checked};

use crate::store::BoxError;
use crate::store::database::{DbError, Row, Value};

/// How many rows one statement takes.
const ROWS_TOGETHER: usize = 500;

/// Runs a prepared statement and answers its rows.
pub(super) async fn query(client: &Client, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
    query_each(client, sql, &[params]).await
}

/// Runs a prepared statement with each of these parameters and answers what all of them find.
pub(super) async fn query_each(client: &Client, sql: &str, rows: &[Vec<Value>]) -> Result<Vec<Row>, DbError> {
    found(client, calls(client, sql, rows).await?).await
}

/// What all of these calls find.
pub(super) async fn found(client: &Client, calls: Vec<Call<'_>>) -> Result<Vec<Row>, DbError> {
    let mut found = Vec::new();
    for call in calls {
        for one in client.query(&call.prepared, &call.params()).await? {
            found.push(row(&one)?);
        }
    }
    Ok(found)
}

/// A prepared statement with parameters, for one row or for many.
pub(super) struct Call<'a> {
    pub(super) prepared: Prepared,
    /// Those that are a list, with a value of each row.
    lists: Vec<Vec<&'a Value>>,
    others: &'a [Value],
}

impl Call<'_> {
    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        let lists = self.lists.iter().map(|list| list as _);
        lists.chain(self.others.iter().map(|value| value as _)).collect()
    }
}

/// A statement for all of these rows, in as few calls as they allow.
pub(super) async fn calls<'a>(client: &Client, sql: &str, rows: &'a [Vec<Value>]) -> Result<Vec<Call<'a>>, DbError> {
    let one = client.prepare_cached(sql).await?;
    // A query always as for many, so that its plan is made once.
    let place = if rows.len() > 1 || sql.starts_with("WITH ") { values(sql) } else { None };
    let Some((place, columns)) = place.filter(|(_, columns)| *columns <= one.params().len()) else {
        let call = |row: &'a Vec<_>| Call { prepared: one.clone(), lists: Vec::new(), others: row };
        return Ok(rows.iter().map(call).collect());
    };
    let types = one.params()[..columns].iter().enumerate();
    let lists: Vec<String> = types.map(|(n, ty)| list(n + 1, ty)).collect();
    let lists = format!("SELECT * FROM unnest({})", lists.join(", "));
    let many = client.prepare_cached(&[&sql[..place.start], &lists, &sql[place.end..]].concat()).await?;
    let alike = rows.chunk_by(|one, next| one.get(columns..) == next.get(columns..));
    let call = |rows: &'a [Vec<Value>]| Call {
        prepared: many.clone(),
        lists: (0..columns).map(|n| rows.iter().map(|row| row.get(n).unwrap_or(&Value::Null)).collect()).collect(),
        others: rows.first().and_then(|row| row.get(columns..)).unwrap_or_default(),
    };
    Ok(alike.flat_map(|rows| rows.chunks(ROWS_TOGETHER)).map(call).collect())
}

/// A parameter that is a list. Behind a `SELECT`, so that how long it is does not count for the plan: the server would plan anew for
/// each length.
pub(super) fn list(number: usize, ty: &Type) -> String {
    format!("(SELECT ${number}::{}[])", ty.name())
}

/// Where `VALUES ($1, $2, …)` stands, and with how many parameters; `None` where anything else stands in it.
pub(super) fn values(sql: &str) -> Option<(std::ops::Range<usize>, usize)> {
    let start = sql.find("VALUES (")?;
    let inner = start + "VALUES (".len();
    let end = inner + sql[inner..].find(')')?;
    let mut columns = 0;
    for place in sql[inner..end].split(", ") {
        columns += 1;
        if place.strip_prefix('$')?.parse() != Ok(columns) {
            return None;
        }
    }
    Some((start..end + 1, columns))
}

fn row(row: &tokio_postgres::Row) -> Result<Row, DbError> {
    let values = row.columns().iter().enumerate().map(|(i, column)| match *column.type_() {
        Type::INT8 => Ok(row.try_get::<_, Option<i64>>(i)?.map(Value::Int)),
        Type::INT4 => Ok(row.try_get::<_, Option<i32>>(i)?.map(|int| Value::Int(int.into()))),
        Type::BOOL => Ok(row.try_get::<_, Option<bool>>(i)?.map(Value::Bool)),
        Type::TEXT => Ok(row.try_get::<_, Option<String>>(i)?.map(Value::Text)),
        Type::BYTEA => Ok(row.try_get::<_, Option<Vec<u8>>>(i)?.map(Value::Bytes)),
        _ => Err(DbError::Failed(format!("a column of the unexpected type `{}`", column.type_()).into())),
    });
    let values = values.map(|value| value.map(|value| value.unwrap_or(Value::Null)));
    values.collect::<Result<_, _>>().map(Row::new)
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match (self, ty) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Int(int), &Type::INT8) => int.to_sql(ty, out),
            (Self::Bool(bool), &Type::BOOL) => bool.to_sql(ty, out),
            (Self::Text(text), &Type::TEXT) => text.to_sql(ty, out),
            (Self::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(ty, out),
            (Self::Int(_) | Self::Bool(_) | Self::Text(_) | Self::Bytes(_), _) => {
                Err(Box::new(WrongType::new::<Self>(ty.clone())))
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_together_where_nothing_but_their_parameters_stands_in_the_values() {
        let of = |sql| values(sql).map(|(place, columns)| (sql[place].to_owned(), columns));
        let sql = "INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT (a) DO UPDATE SET b = excluded.b WHERE t.b < $3";
        assert_eq!(of(sql), Some(("VALUES ($1, $2)".into(), 2)));
        for sql in [
            "UPDATE t SET a = $1",
            "INSERT INTO t (a, b) VALUES ($1, NULL)",
            "INSERT INTO t (a, b) VALUES ($2, $1)",
            "INSERT INTO t (a, b) VALUES ($1, lower($2))",
        ] {
            assert_eq!(of(sql), None, "{sql}");
        }
    }
}
