//! Several changes as one statement, which is a transaction of its own: one round trip, and nothing between `BEGIN` and `COMMIT`
//! that could fail alone.

use deadpool_postgres::Client;
use tokio_postgres::Statement as Prepared;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::{errors, rows};
use crate::store::database::{AllOrNone, DbError, Statement, Value};

/// No number, so the statement is rolled back. The text is for whoever reads the server's log; not constant, or it would fail sooner.
const USED_BEFORE: &str =
    "('writ: one of these identifiers was used before, new are ' || (SELECT count(*) FROM each_one))::integer::text";

/// The statement with its parameters.
pub(super) struct Call<'a> {
    prepared: Prepared,
    params: Vec<Param<'a>>,
}

enum Param<'a> {
    /// The values that all rows have in one place.
    List(Vec<&'a Value>),
    One(&'a Value),
    Count(i64),
}

/// What is written so far.
#[derive(Default)]
struct Text<'a> {
    sql: String,
    params: Vec<Param<'a>>,
}

/// Prepares the changes as one statement.
///
/// The parts of a statement see the data as it was before all of them, and run in no particular order: what depends on the guard asks
/// for what the guard found. The guard waits for a locked row and looks at it again; what is in conflict with a key is seen by that.
pub(super) async fn call<'a>(client: &Client, changes: &AllOrNone<'a>) -> Result<Call<'a>, DbError> {
    let mut text = Text::default();
    text.sql.push_str("WITH guard AS (");
    let params = changes.guard.rows.first().map_or(&[][..], Vec::as_slice);
    text.numbered(&changes.guard.sql, 0);
    text.params.extend(params.iter().map(Param::One));
    text.sql.push(')');
    let (each, count) = (changes.each, changes.each.rows.len());
    let mut answer = "'all'".to_owned();
    if count > 0 {
        text.part(client, "each_one", each).await?;
        text.params.push(Param::Count(i64::try_from(count).unwrap_or(i64::MAX)));
        let count = text.params.len();
        answer = format!("CASE WHEN (SELECT count(*) FROM each_one) = ${count} THEN 'all' ELSE {USED_BEFORE} END");
    }
    for (n, statement) in changes.then.iter().enumerate() {
        text.part(client, &format!("then_{n}"), statement).await?;
    }
    let Text { mut sql, params } = text;
    // What nothing is asked of runs as well, at the end.
    sql.push_str(&format!(" SELECT CASE WHEN EXISTS (SELECT FROM guard) THEN {answer} ELSE 'nothing' END"));
    Ok(Call { prepared: client.prepare_cached(&sql).await?, params })
}

impl<'a> Text<'a> {
    /// Adds a statement that runs for all of its rows if the guard found something.
    async fn part(&mut self, client: &Client, name: &str, statement: &'a Statement) -> Result<(), DbError> {
        let Statement { sql, rows } = statement;
        let types = client.prepare_cached(sql).await?;
        let first = rows.first().ok_or_else(unfit)?;
        let (place, columns) = rows::values(sql).filter(|(_, columns)| *columns <= first.len()).ok_or_else(unfit)?;
        if !rows.iter().all(|row| row.len() == first.len() && row.get(columns..) == first.get(columns..)) {
            return Err(unfit());
        }
        let before = self.params.len();
        self.sql.push_str(&format!(", {name} AS ("));
        self.numbered(&sql[..place.start], before);
        let lists = types.params().iter().take(columns).enumerate();
        let lists: Vec<_> = lists.map(|(n, ty)| rows::list(before + n + 1, ty)).collect();
        let guarded = format!("SELECT * FROM unnest({}) WHERE EXISTS (SELECT FROM guard)", lists.join(", "));
        self.sql.push_str(&guarded);
        self.numbered(&sql[place.end..], before);
        self.sql.push(')');
        self.params.extend((0..columns).map(|n| Param::List(rows.iter().map(|row| &row[n]).collect())));
        self.params.extend(first[columns..].iter().map(Param::One));
        Ok(())
    }

    /// Adds SQL whose parameters come after `before` others.
    fn numbered(&mut self, sql: &str, before: usize) {
        let mut parts = sql.split('$');
        self.sql.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let (number, rest) = part.split_at(end);
            // No statement of ours has a dollar sign that is none of a parameter.
            let number = number.parse::<usize>().unwrap_or_default() + before;
            self.sql.push_str(&format!("${number}{rest}"));
        }
    }
}

impl Call<'_> {
    /// Answers whether the changes were made.
    pub(super) async fn run(&self, client: &Client) -> Result<bool, DbError> {
        let params: Vec<&(dyn ToSql + Sync)> = self.params.iter().map(Param::value).collect();
        match client.query_one(&self.prepared, &params).await {
            Ok(row) => Ok(row.try_get::<_, &str>(0)? == "all"),
            Err(error) if error.code() == Some(&SqlState::INVALID_TEXT_REPRESENTATION) => Ok(false),
            Err(error) => Err(errors::of_commit(error)),
        }
    }
}

impl Param<'_> {
    fn value(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::List(list) => list,
            Self::One(value) => *value,
            Self::Count(count) => count,
        }
    }
}

fn unfit() -> DbError {
    DbError::Failed(
        "a statement without `VALUES ($1, …)` and rows that differ in these alone cannot be one of several".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_after_those_before() {
        let mut text = Text::default();
        text.numbered("UPDATE t SET a = $1, b = $12 WHERE c = $2", 30);
        assert_eq!(text.sql, "UPDATE t SET a = $31, b = $42 WHERE c = $32");
    }
}
