//! What an error of the server or of the connection means.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::BoxError;
use crate::store::database::DbError;

impl From<Error> for DbError {
    fn from(error: Error) -> Self {
        let Some(state) = error.code() else { return Self::Unavailable(error.into()) };
        let reason = reason(&error);
        match state {
            &SqlState::UNIQUE_VIOLATION => Self::Unique,
            state if passes(state) => Self::Unavailable(reason),
            _ => Self::Failed(reason),
        }
    }
}

/// As [`DbError`], of an error that answers `COMMIT`.
pub(super) fn of_commit(error: Error) -> DbError {
    match error.code() {
        // The server took its decision and said so.
        Some(state) if !goes_away(state) => error.into(),
        Some(_) => DbError::CommitLost(reason(&error)),
        None => DbError::CommitLost(error.into()),
    }
}

/// Nothing was written, and it may well work the next time.
fn passes(state: &SqlState) -> bool {
    const OTHERS: [SqlState; 4] = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        // A standby, in the middle of a failover.
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    goes_away(state) || OTHERS.contains(state) || state.code().starts_with("53") || state == &SqlState::QUERY_CANCELED
}

/// Connection exceptions and the ends of a server process.
fn goes_away(state: &SqlState) -> bool {
    let code = state.code();
    code.starts_with("08") || code.starts_with("57P") || code.starts_with("58") || code == "25P03"
}

/// Message and code only: the detail would repeat the row.
fn reason(error: &Error) -> BoxError {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()).into(),
        None => "the connection broke".into(),
    }
}
