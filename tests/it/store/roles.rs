//! What only Postgres has: roles, connections that break, and a server that goes away.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use writ::revocation::Target;
use writ::store::{Recorded, SingleUse, Store, StoreError, StoreUrl};

use super::Database;
use super::make::{AT, LATER, agent, block, change, changes, event, issued, key, name, revocation};
use crate::support::postgres::{self, Server, server, unique};

const DENIED: &str = "42501";

/// A server with a role that owns nothing but one empty database, and one that may only log in.
async fn separate_roles() -> (&'static Server, String, String, String) {
    let server = server().await;
    let (database, owner, app) = (server.empty().await, unique("owner"), unique("app"));
    let sql = format!("CREATE ROLE {owner} LOGIN; CREATE ROLE {app} LOGIN; GRANT writ_authority TO {owner}, {app}");
    server.sql("postgres", &sql).await;
    server.sql("postgres", &format!("GRANT CREATE ON DATABASE {database} TO {owner}")).await;
    (server, database, owner, app)
}

#[tokio::test]
async fn the_authoritys_role_can_neither_rewrite_history_nor_change_the_schema() {
    let (server, database, owner, app) = separate_roles().await;
    writ::store::migrate(&server.url(&owner, &database)).await.unwrap();
    let store = writ::store::open(&server.url(&app, &database)).await.unwrap();
    store.revoke(&revocation(Target::Everything), &event()).await.unwrap();
    for role in [app.as_str(), "postgres"] {
        for sql in [
            "UPDATE writ.revocation SET forget_after = 0",
            "DELETE FROM writ.revocation",
            "TRUNCATE writ.revocation",
            "UPDATE writ.audit_record SET event = '{}'",
            "DELETE FROM writ.audit_record",
            "TRUNCATE writ.audit_record",
            "UPDATE writ.audit_block SET block = ''",
            "DELETE FROM writ.audit_block",
            "UPDATE writ.audit_checkpoint SET hash = ''",
            "UPDATE writ.receipt SET body = ''",
            "DELETE FROM writ.receipt",
            "DELETE FROM writ.audit_checkpoint",
            "DELETE FROM writ.heads",
            "DELETE FROM writ.installation",
            "DELETE FROM writ.root_key",
            "DELETE FROM writ.credential_version",
            "UPDATE writ.issued_writ SET epoch = 0",
            "UPDATE writ.operator SET secret_sha256 = ''",
            "UPDATE writ.schema_version SET sha256 = ''",
            "DROP TABLE writ.audit_record",
            "ALTER TABLE writ.audit_record DISABLE TRIGGER ALL",
            "CREATE TABLE writ.mine (id BIGINT)",
            "CREATE INDEX ON writ.revocation (at)",
            "DROP TRIGGER revocation_is_announced ON writ.revocation",
            "CREATE OR REPLACE FUNCTION writ.announce_revocation() RETURNS trigger LANGUAGE sql AS ''",
            "GRANT DELETE ON writ.revocation TO writ_authority; DELETE FROM writ.revocation",
            "CREATE ROLE mallory",
        ] {
            let sql = format!("SET ROLE writ_authority; {sql}");
            assert_eq!(server.try_sql(role, &database, &sql).await, Err(DENIED.to_owned()), "{role}: {sql}");
        }
    }
}

#[tokio::test]
async fn the_store_itself_works_as_that_role_even_where_the_url_is_the_superusers() {
    let db = Database::postgres().await;
    db.store.record(AT, &event()).await.unwrap();
    let (_, database) = db.url.to_string().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    // An update that the role may not do, planted in a trigger that runs as whoever inserts.
    let sql = "CREATE FUNCTION writ.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               UPDATE writ.audit_record SET event = '{}'; RETURN NULL; END $$; \
               CREATE TRIGGER meddle AFTER INSERT ON writ.agent FOR EACH ROW EXECUTE FUNCTION writ.meddle()";
    server().await.sql(&database, sql).await;
    let refused = db.store.register_agent(&agent("a", 1), &event()).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied for table audit_record"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simple_way_needs_no_more_than_the_right_to_create_roles() {
    // A server of its own: on the shared one somebody has created the role already.
    let server = tokio::task::spawn_blocking(|| Server::start(&[])).await.unwrap();
    server.sql("postgres", "CREATE ROLE writ LOGIN CREATEROLE").await;
    server.sql("postgres", "CREATE DATABASE writ OWNER writ").await;
    for n in 1..=2 {
        let store = writ::store::open(&server.url("writ", "writ")).await.unwrap();
        store.register_agent(&agent(&format!("a{n}"), n), &event()).await.unwrap();
    }
}

#[tokio::test]
async fn a_role_that_may_not_migrate_only_checks() {
    let (server, database, owner, app) = separate_roles().await;
    let url = server.url(&app, &database);
    assert!(matches!(writ::store::open(&url).await, Err(StoreError::TooOld)));
    writ::store::migrate(&server.url(&owner, &database)).await.unwrap();
    writ::store::open(&url).await.unwrap();
    server.sql(&database, "DELETE FROM writ.schema_version").await;
    assert!(matches!(writ::store::open(&url).await, Err(StoreError::TooOld)));
    server
        .sql(&database, "INSERT INTO writ.schema_version SELECT n, 'a', '' FROM generate_series(9000, 9099) AS n")
        .await;
    assert!(matches!(writ::store::open(&url).await, Err(StoreError::TooNew)));
    assert!(matches!(writ::store::migrate(&server.url(&owner, &database)).await, Err(StoreError::TooNew)));
}

#[tokio::test]
async fn a_role_that_is_no_member_is_told_which_grant_it_lacks() {
    let (server, database, owner, _) = separate_roles().await;
    writ::store::migrate(&server.url(&owner, &database)).await.unwrap();
    let stranger = unique("stranger");
    server.sql("postgres", &format!("CREATE ROLE {stranger} LOGIN")).await;
    let error = writ::store::open(&server.url(&stranger, &database)).await.err().unwrap();
    assert!(error.to_string().contains("GRANT writ_authority"), "{error}");
}

#[tokio::test]
async fn a_role_that_could_rewrite_history_is_refused() {
    let (server, database, owner, app) = separate_roles().await;
    writ::store::migrate(&server.url(&owner, &database)).await.unwrap();
    server.sql(&database, "GRANT DELETE ON writ.audit_record TO writ_authority").await;
    let error = writ::store::open(&server.url(&app, &database)).await.err().unwrap();
    assert!(error.to_string().contains("may change the logs"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_starts_migrate_once() {
    let server = server().await;
    let url = server.url("postgres", &server.empty().await);
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { writ::store::open(&url).await.unwrap() })
        })
        .collect();
    for (start, n) in starts.into_iter().zip(1..) {
        start.await.unwrap().register_agent(&agent(&format!("a{n}"), n), &event()).await.unwrap();
    }
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let (server, database, owner, _) = separate_roles().await;
    // In the way of the last table.
    server.sql(&database, &format!("CREATE SCHEMA writ AUTHORIZATION {owner}")).await;
    let sql =
        format!("CREATE TABLE writ.audit_checkpoint (x BIGINT); ALTER TABLE writ.audit_checkpoint OWNER TO {owner}");
    server.sql(&database, &sql).await;
    assert!(writ::store::migrate(&server.url(&owner, &database)).await.is_err());
    let left = "DO $$ BEGIN ASSERT (SELECT count(*) FROM pg_tables WHERE schemaname = 'writ') = 1; END $$";
    server.sql(&database, left).await;
    server.sql(&database, "DROP TABLE writ.audit_checkpoint").await;
    writ::store::migrate(&server.url(&owner, &database)).await.unwrap();
}

#[tokio::test]
async fn names_of_passwords_and_databases_that_are_wrong_are_told_without_the_password() {
    let server = server().await;
    let text = server.text_url("nobody", "nothing").replace("nobody@", "nobody:hunter2@");
    let error = writ::store::open(&text.parse().unwrap()).await.err().unwrap();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    assert!(error.to_string().contains("\"nobody\" does not exist"), "{error}");
}

/// What the proxy does with a `COMMIT`.
#[derive(Clone, Copy)]
#[repr(u8)]
enum OnCommit {
    /// Passes it on.
    Pass,
    /// Breaks the connection before the server gets it.
    CutBefore,
    /// Lets the server do it, and breaks the connection before the client hears.
    CutAfter,
    /// As [`OnCommit::CutAfter`], and then [`OnCommit::Closed`].
    CutForGood,
    /// Carries nothing for anybody.
    Closed,
}

/// Stands between a store and the server.
struct Proxy {
    dir: tempfile::TempDir,
    on_commit: Arc<AtomicU8>,
    /// How many transactions were begun with `BEGIN`.
    begun: Arc<AtomicUsize>,
}

/// What a statement that commits by itself carries where it is to count as a commit.
const COMMITS: &str = "commits by itself";

impl Proxy {
    fn start(server: PathBuf) -> Self {
        let dir = crate::canaries::folder();
        let listener = UnixListener::bind(dir.path().join(postgres::socket_name(postgres::PORT))).unwrap();
        let on_commit = Arc::new(AtomicU8::new(OnCommit::Pass as u8));
        let begun = Arc::new(AtomicUsize::new(0));
        let (setting, counted) = (Arc::clone(&on_commit), Arc::clone(&begun));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if setting.load(Ordering::SeqCst) != OnCommit::Closed as u8 {
                    let server = UnixStream::connect(&server).await.unwrap();
                    tokio::spawn(carry(client, server, Arc::clone(&setting), Arc::clone(&counted)));
                }
            }
        });
        Self { dir, on_commit, begun }
    }

    fn url(&self, database: &str) -> StoreUrl {
        postgres::url(self.dir.path(), postgres::PORT, "postgres", database).parse().unwrap()
    }

    fn on_commit(&self, then: OnCommit) {
        self.on_commit.store(then as u8, Ordering::SeqCst);
    }
}

async fn carry(mut client: UnixStream, mut server: UnixStream, on_commit: Arc<AtomicU8>, begun: Arc<AtomicUsize>) {
    let holds = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|bytes| bytes == what);
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(n @ 1..) = read else { return };
                begun.fetch_add(usize::from(holds(&up[..n], b"BEGIN\0")), Ordering::SeqCst);
                let commits = holds(&up[..n], b"COMMIT\0") || holds(&up[..n], COMMITS.as_bytes());
                let cut = on_commit.load(Ordering::SeqCst);
                if cut == OnCommit::Closed as u8 {
                    return;
                }
                if commits && cut == OnCommit::CutBefore as u8 {
                    on_commit.store(OnCommit::Pass as u8, Ordering::SeqCst);
                    return;
                }
                server.write_all(&up[..n]).await.unwrap();
                if commits && cut != OnCommit::Pass as u8 {
                    // The server is ready again, and in no transaction; after what came before it is in one.
                    let mut answered = Vec::new();
                    while !holds(&answered, b"Z\0\0\0\x05I")
                        && let Ok(n @ 1..) = server.read(&mut down).await
                    {
                        answered.extend_from_slice(&down[..n]);
                    }
                    let then = if cut == OnCommit::CutAfter as u8 { OnCommit::Pass } else { OnCommit::Closed };
                    on_commit.store(then as u8, Ordering::SeqCst);
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(n @ 1..) = read else { return };
                if client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_looked_up() {
    let server = server().await;
    let proxy = Proxy::start(server.socket());
    let store = writ::store::open(&proxy.url(&server.fresh().await)).await.unwrap();

    proxy.on_commit(OnCommit::CutAfter);
    let entry = store.revoke(&revocation(Target::Block(block(1))), &change("revoke", "1")).await.unwrap();
    assert_eq!(store.revocations_after(0, 10).await.unwrap(), [entry], "it had happened");

    proxy.on_commit(OnCommit::CutBefore);
    let lost = store.revoke(&revocation(Target::Block(block(2))), &change("revoke", "2")).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert_eq!(store.revocation_head().await.unwrap(), 1, "nothing was written: safe to retry");

    proxy.on_commit(OnCommit::CutForGood);
    let unknown = store.revoke(&revocation(Target::Block(block(3))), &change("revoke", "3")).await;
    assert!(matches!(unknown, Err(StoreError::Unknown(_))), "{unknown:?}");

    proxy.on_commit(OnCommit::Pass);
    let again = store.revoke(&revocation(Target::Block(block(3))), &change("revoke", "3")).await.unwrap();
    assert_eq!(again.seq, 2, "it had happened, and the repetition answers it");
    assert_eq!(changes(&*store).await, ["revoke 1", "revoke 3"]);
}

#[tokio::test]
async fn writs_whose_shared_commit_is_lost_are_all_there_or_none_of_them() {
    let server = server().await;
    let proxy = Proxy::start(server.socket());
    let store = writ::store::open(&proxy.url(&server.fresh().await)).await.unwrap();
    let record = async |n: u8| store.record_issued(&issued(n), &[], &change("writ.issue", &n.to_string())).await;

    proxy.on_commit(OnCommit::CutAfter);
    for answer in join_all((1..=20).map(&record)).await {
        assert_eq!(answer.unwrap(), Recorded::Yes);
    }
    assert_eq!(changes(&*store).await.len(), 20, "it had happened");

    proxy.on_commit(OnCommit::CutBefore);
    for answer in join_all((21..=40).map(&record)).await {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    assert_eq!(changes(&*store).await.len(), 20, "nothing was written: safe to retry");
    for answer in join_all((21..=40).map(&record)).await {
        assert_eq!(answer.unwrap(), Recorded::Yes);
    }
    assert_eq!(changes(&*store).await.len(), 40);
}

#[tokio::test]
async fn writs_that_are_one_statement_whose_answer_is_lost_are_all_there_or_none_of_them() {
    let server = server().await;
    let proxy = Proxy::start(server.socket());
    let store = writ::store::open(&proxy.url(&server.fresh().await)).await.unwrap();
    let record = async |n: u8| {
        let uses = [SingleUse { id: [n; 32], until: LATER }];
        store.record_issued(&issued(n), &uses, &change("writ.issue", COMMITS)).await
    };
    // Until the store knows where the log ends, and that nobody else writes to it.
    for n in 1..=3 {
        assert_eq!(record(n).await.unwrap(), Recorded::Yes);
    }
    let begun = proxy.begun.load(Ordering::SeqCst);
    assert_eq!(record(4).await.unwrap(), Recorded::Yes);
    assert_eq!(proxy.begun.load(Ordering::SeqCst), begun, "it is one statement");

    proxy.on_commit(OnCommit::CutAfter);
    for answer in join_all((5..=20).map(&record)).await {
        assert_eq!(answer.unwrap(), Recorded::Yes);
    }
    assert_eq!(changes(&*store).await.len(), 20, "it had happened");

    proxy.on_commit(OnCommit::CutBefore);
    for answer in join_all((21..=40).map(&record)).await {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    assert_eq!(changes(&*store).await.len(), 20, "nothing was written: safe to retry");
    for answer in join_all((21..=40).map(&record)).await {
        assert_eq!(answer.unwrap(), Recorded::Yes);
    }
    assert_eq!(changes(&*store).await.len(), 40);
}

#[tokio::test]
async fn a_connection_killed_in_a_change_leaves_nothing_and_the_next_one_works() {
    let db = Database::postgres().await;
    let (_, database) = db.url.to_string().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    // The server process of the change kills itself after the insert.
    let sql = "CREATE FUNCTION writ.die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
               PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL; END $$; \
               CREATE TRIGGER die AFTER INSERT ON writ.agent FOR EACH ROW WHEN (NEW.name = 'cursed') \
               EXECUTE FUNCTION writ.die()";
    server().await.sql(&database, sql).await;
    let killed = db.store.register_agent(&agent("cursed", 1), &event()).await;
    assert!(matches!(killed, Err(StoreError::Unavailable(_))), "{killed:?}");
    db.store.register_agent(&agent("a", 1), &event()).await.unwrap();
    assert_eq!(db.store.agents(&name("acme")).await.unwrap(), [agent("a", 1)]);
    assert_eq!(changes(&*db.store).await.len(), 1);
}

/// Until a call succeeds, with a deadline.
async fn until_ready(store: &dyn Store) {
    let ready = async {
        while store.ready().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap();
}

#[tokio::test]
async fn a_listener_that_was_cut_off_listens_again() {
    let db = Database::postgres().await;
    let writer = db.another().await;
    let (_, database) = db.url.to_string().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let kill = format!(
        "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = '{database}' AND pid <> pg_backend_pid(); END $$"
    );
    server().await.sql(&database, &kill).await;
    until_ready(&*writer).await;
    // While nobody listens, the waiter's own timeout finds the entry.
    writer.revoke(&revocation(Target::Everything), &event()).await.unwrap();
    until_ready(&*db.store).await;
    let found = async {
        while db.store.revocation_head().await.unwrap() == 0 {
            db.store.revocation_hint(0).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found).await.unwrap();
    let listens = format!(
        "DO $$ BEGIN WHILE (SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' \
         AND (query LIKE '%LISTEN%' OR query LIKE '%revocation_seq FROM heads%') AND application_name = 'writ') < 2 \
         LOOP PERFORM pg_sleep(0.02); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$"
    );
    let listening = server().await;
    tokio::time::timeout(Duration::from_secs(10), listening.sql(&database, &listens)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_unavailable_and_comes_back() {
    let server = tokio::task::spawn_blocking(|| Server::start(&[])).await.unwrap();
    let url = server.url("postgres", &server.empty().await);
    let store = writ::store::open(&url).await.unwrap();
    store.register_agent(&agent("a", 1), &event()).await.unwrap();
    drop(server);
    let gone = async {
        while store.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    for answer in [
        store.ready().await,
        store.agent_by_key(&key(1)).await.map(drop),
        store.register_agent(&agent("b", 2), &event()).await,
        store.use_once(&[1; 32], LATER, AT).await.map(drop),
        store.revocations_after(0, 1).await.map(drop),
    ] {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    store.revocation_hint(0).await.unwrap();
    let error = writ::store::open(&url).await.err().unwrap();
    assert!(matches!(error, StoreError::Unavailable(_)) && error.to_string().contains("store.url"), "{error}");
}
