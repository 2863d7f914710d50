//! Brings a schema up to date. All that is missing runs in one transaction, under a lock: it happens wholly, once, or not.
//!
//! Not refinery: it opens a transaction for each step (so no lock spans them on SQLite), panics on a damaged history
//! table, and reads the wall clock.

use crate::key::sha256;
use crate::store::StoreError;
use crate::store::database::{Row, Statement, Transaction, count, read_all, text};

/// One file of `schema/`. Frozen once landed: its hash is kept.
pub(super) struct Migration {
    pub(super) version: u32,
    pub(super) name: &'static str,
    pub(super) sql: &'static str,
}

macro_rules! migrations {
    ($folder:literal: $($version:literal $name:literal),*) => {
        &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../../schema/", $folder, "/", $name, ".sql")),
        }),*]
    };
}

pub(super) const SQLITE: &[Migration] = migrations!("sqlite": 1 "0001_start", 2 "0002_revocation", 3 "0003_identity",
    4 "0004_directory", 5 "0005_policy");
pub(super) const POSTGRES: &[Migration] = migrations!("postgres": 1 "0001_start", 2 "0002_revocation", 3 "0003_identity",
    4 "0004_directory", 5 "0005_policy");

/// A migration that ran.
struct Applied {
    version: u32,
    sha256: Box<str>,
}

const CREATE_HISTORY: &str = "CREATE TABLE IF NOT EXISTS schema_version \
     (version BIGINT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL)";
pub(super) const SELECT_HISTORY: &str = "SELECT version, sha256 FROM schema_version ORDER BY version";

/// Applies what is missing. The transaction must exclude every other migration, and is left to the caller to commit.
pub(super) async fn apply(transaction: &mut dyn Transaction, migrations: &[Migration]) -> Result<(), StoreError> {
    transaction.script(CREATE_HISTORY).await?;
    let rows = transaction.query(SELECT_HISTORY, Vec::new()).await?;
    for migration in missing(rows, migrations)? {
        transaction.script(migration.sql).await?;
        let row = vec![count(migration.version.into()), text(migration.name), text(&digest(migration))];
        let sql = "INSERT INTO schema_version (version, name, sha256) VALUES ($1, $2, $3)".to_owned();
        transaction.run(vec![Statement { sql, rows: vec![row] }]).await?;
    }
    Ok(())
}

/// The migrations that have not run, given the rows of [`SELECT_HISTORY`].
pub(super) fn missing(history: Vec<Row>, migrations: &[Migration]) -> Result<&[Migration], StoreError> {
    let applied = read_all(history, "schema_version", |row| Ok(Applied { version: row.int()?, sha256: row.text()? }))?;
    if applied.len() > migrations.len() {
        return Err(StoreError::TooNew);
    }
    let (known, missing) = migrations.split_at(applied.len());
    for (migration, applied) in known.iter().zip(&applied) {
        if migration.version != applied.version || *digest(migration) != *applied.sha256 {
            return Err(StoreError::Corrupt { table: "schema_version" });
        }
    }
    Ok(missing)
}

fn digest(migration: &Migration) -> String {
    hex::encode(sha256(migration.sql.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_file_of_the_schema_is_applied_in_the_order_of_its_number() {
        for (folder, migrations) in [("sqlite", SQLITE), ("postgres", POSTGRES)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(folder);
            let mut files: Vec<_> =
                path.read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            files.sort();
            let listed: Vec<_> = migrations.iter().map(|migration| format!("{}.sql", migration.name)).collect();
            assert_eq!(files, listed, "{folder}");
            for (migration, version) in migrations.iter().zip(1..) {
                assert_eq!(migration.version, version);
                assert!(migration.name.starts_with(&format!("{version:04}_")), "{}", migration.name);
            }
        }
    }
}
