//! What only SQLite has: the file, its triggers, and its one writer.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use rusqlite::Connection;
use writ::audit::Head;
use writ::id::TenantName;
use writ::revocation::Target;
use writ::store::{Store, StoreError, StoreUrl};

use super::Database;
use super::make::{AT, agent, decision, edge, event, grant, journal, key, name, revocation, ticket};

fn raw(db: &Database) -> Connection {
    Connection::open(db.url.to_string().strip_prefix("sqlite:").unwrap()).unwrap()
}

#[tokio::test]
async fn history_cannot_be_changed_or_deleted() {
    let db = Database::sqlite().await;
    db.store.revoke(&revocation(Target::Everything), &event()).await.unwrap();
    let source = name("edge:e");
    let records = journal(&source, &Head::empty(), [decision(1, writ::audit::Verdict::Allowed)]);
    let checkpoint =
        writ::audit::Checkpoint::sign(source.clone(), records[0].head(), AT, &writ::key::KeyPair::from_seed(&[1; 32]));
    db.store.append_audit(&source, &records, Some(&checkpoint)).await.unwrap();
    db.store.add_receipt(1, "{}").await.unwrap();
    let raw = raw(&db);
    for sql in [
        "UPDATE revocation SET forget_after = 0",
        "DELETE FROM revocation",
        "UPDATE audit_record SET event = '{}'",
        "DELETE FROM audit_record",
        "UPDATE audit_block SET block = ''",
        "DELETE FROM audit_block",
        "UPDATE audit_checkpoint SET hash = ''",
        "UPDATE receipt SET body = ''",
        "DELETE FROM receipt",
        "DELETE FROM audit_checkpoint",
    ] {
        let refused = raw.execute(sql, []).unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    let db = Database::sqlite().await;
    db.store.record(AT, &event()).await.unwrap();
    let file = db.url.to_string();
    let file = file.strip_prefix("sqlite:").unwrap();
    for end in ["", "-wal", "-shm"] {
        let mode = std::fs::metadata(format!("{file}{end}")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{end}: {mode:o}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_starts_migrate_once() {
    let dir = crate::canaries::folder();
    let url = StoreUrl::sqlite(dir.path().join("writ.db"));
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { writ::store::open(&url).await.unwrap() })
        })
        .collect();
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for start in starts {
        stores.push(start.await.unwrap());
    }
    for (store, n) in stores.iter().zip(1..) {
        store.register_agent(&agent(&format!("a{n}"), n), &event()).await.unwrap();
    }
    assert_eq!(stores[0].agents(&name("acme")).await.unwrap().len(), 8);
}

#[tokio::test]
async fn what_was_written_survives_the_process() {
    let db = Database::sqlite().await;
    db.store.register_agent(&agent("a", 1), &event()).await.unwrap();
    let again = db.another().await;
    drop(db.store);
    assert_eq!(again.agents(&name("acme")).await.unwrap(), [agent("a", 1)]);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let db = Database::sqlite().await;
    raw(&db).execute("INSERT INTO schema_version (version, name, sha256) VALUES (9999, 'future', '')", []).unwrap();
    assert!(matches!(writ::store::open(&db.url).await, Err(StoreError::TooNew)));
}

#[tokio::test]
async fn an_edited_migration_is_noticed() {
    let db = Database::sqlite().await;
    raw(&db).execute("UPDATE schema_version SET sha256 = 'edited'", []).unwrap();
    assert!(matches!(writ::store::open(&db.url).await, Err(StoreError::Corrupt { table: "schema_version" })));
}

#[tokio::test]
async fn a_path_that_cannot_be_opened_is_unavailable() {
    let url: StoreUrl = "sqlite:/nowhere/at/all/writ.db".parse().unwrap();
    let error = writ::store::open(&url).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("store.url"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = crate::canaries::folder();
    let path = dir.path().join("writ.db");
    std::fs::write(&path, "no database at all, but a text of more than a hundred bytes: ".repeat(3)).unwrap();
    assert!(matches!(writ::store::open(&StoreUrl::sqlite(path)).await, Err(StoreError::Failed(_))));
}

#[tokio::test]
async fn a_row_that_does_not_parse_is_corrupt() {
    let db = Database::sqlite().await;
    db.store.register_agent(&agent("a", 1), &event()).await.unwrap();
    db.store.add_join_ticket(&ticket(1, "e"), AT, &event()).await.unwrap();
    db.store.join_edge(&[1; 32], &edge("e", 1), &event()).await.unwrap();
    let raw = raw(&db);
    let tenant: TenantName = name("acme");
    for (sql, table) in [
        ("UPDATE agent SET key = 'did:key:zzz'", "agent"),
        ("UPDATE agent SET name = 'NOT A NAME'", "agent"),
        ("UPDATE agent SET key = CAST(x'ff' AS TEXT)", "agent"),
    ] {
        raw.execute(sql, []).unwrap();
        let error = db.store.agents(&tenant).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { table: found } if found == table), "{sql}: {error:?}");
    }
    raw.execute("UPDATE edge SET nonce = 7", []).unwrap();
    assert!(matches!(db.store.registered().await, Err(StoreError::Corrupt { table: "edge" })));
    assert_eq!(db.store.agent_by_key(&key(9)).await.unwrap(), None, "others are still read");
    raw.execute("UPDATE heads SET audit_position = -1", []).unwrap();
    assert!(matches!(db.store.record(AT, &event()).await, Err(StoreError::Corrupt { table: "heads" })));
    raw.execute("DELETE FROM heads", []).unwrap();
    assert!(matches!(db.store.ready().await, Err(StoreError::Corrupt { .. })));
}

/// The tables of agents and grants were made anew in 0005: what was in them is still there, and grants still belong to agents.
#[tokio::test]
async fn an_installation_of_before_keeps_its_agents_and_grants() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("writ.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(
        "CREATE TABLE schema_version (version BIGINT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL)",
    )
    .unwrap();
    let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/sqlite");
    for (version, file) in (1..).zip(["0001_start", "0002_revocation", "0003_identity", "0004_directory"]) {
        let sql = std::fs::read_to_string(schema.join(format!("{file}.sql"))).unwrap();
        old.execute_batch(&sql).unwrap();
        let sha256 = hex::encode(writ::key::sha256(sql.as_bytes()));
        let insert = "INSERT INTO schema_version (version, name, sha256) VALUES (?1, ?2, ?3)";
        old.execute(insert, rusqlite::params![version, file, sha256]).unwrap();
    }
    let (a, one) = (agent("a", 1), grant(1, "a"));
    let insert = "INSERT INTO agent (tenant, name, key, disabled_seq, created) VALUES ('acme', 'a', ?1, NULL, ?2)";
    old.execute(insert, rusqlite::params![key(1).to_string(), AT.millis()]).unwrap();
    let insert = "INSERT INTO agent_grant (id, position, tenant, agent, subject, capabilities, ttl_s_max, depth_max, bearer, \
                  proof_covers) VALUES (?1, 1, 'acme', 'a', NULL, ?2, ?3, ?4, 0, ?5)";
    let capabilities = serde_json::to_string(&one.capabilities).unwrap();
    let covers = serde_json::to_string(&one.proof_covers).unwrap();
    old.execute(insert, rusqlite::params![one.id.to_string(), capabilities, one.ttl_s_max, one.depth_max, covers])
        .unwrap();
    drop(old);

    let store = writ::store::open(&StoreUrl::sqlite(path.clone())).await.unwrap();
    assert_eq!(store.agents(&name("acme")).await.unwrap(), [a]);
    assert_eq!(store.grants(&name("acme"), None).await.unwrap(), [one]);
    let raw = Connection::open(&path).unwrap();
    raw.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    let refused = raw.execute("DELETE FROM agent", []).unwrap_err().to_string();
    assert!(refused.contains("FOREIGN KEY"), "{refused}");
}
