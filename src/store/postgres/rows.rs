//! Values and rows, to and from the driver.

use deadpool_postgres::Client;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, WrongType, to_sql_checked};

use crate::store::BoxError;
use crate::store::database::{DbError, Row, Value};

/// Runs a prepared statement and answers its rows.
pub(super) async fn query(client: &Client, sql: &str, params: Vec<Value>) -> Result<Vec<Row>, DbError> {
    let statement = client.prepare_cached(sql).await?;
    let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|value| value as _).collect();
    client.query(&statement, &params).await?.iter().map(row).collect()
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
