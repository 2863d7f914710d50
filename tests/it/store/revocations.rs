//! The revocation log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use writ::clock::{Clock as _, SystemClock, Timestamp};
use writ::id::GrantId;
use writ::revocation::{Entry, Target};
use writ::store::{Heads, IssuedWrit, NewRevocation, Recorded, Store};

use super::make::{AT, LATER, agent, block, change, changes, event, issued, key, name, revocation};
use super::{Database, for_every_backend};

for_every_backend!(
    entries_are_numbered_from_1_and_every_target_is_read_back,
    a_block_or_holder_that_is_revoked_is_not_appended_again,
    an_entry_that_is_forgotten_sooner_does_not_stand_for_one_that_lasts,
    other_targets_append_each_time,
    an_idempotency_key_is_one_revocation,
    an_idempotency_key_for_what_is_revoked_already_is_one_revocation_too,
    the_log_is_read_from_any_place_up_to_a_limit,
    what_still_matters_is_read_from_any_place_up_to_another,
    the_heads_are_those_of_one_moment,
    of_each_target_the_latest_entry_is_found,
    a_reader_never_skips_an_entry_while_many_write,
    of_many_who_revoke_a_block_at_once_all_get_the_first_entry,
    a_waiter_is_woken_by_a_revocation_of_its_own_process,
    a_waiter_is_woken_by_a_revocation_of_another_process,
    a_waiter_waits_no_longer_than_a_while,
    a_waiter_who_is_behind_does_not_wait,
    after_a_restore_the_head_can_be_moved_beyond_what_it_was,
    what_is_long_over_leaves_the_log_and_nothing_else_does,
    an_entry_that_matters_cannot_be_deleted,
    issued_writs_that_are_long_over_are_forgotten,
);

async fn revoke(db: &Database, target: Target) -> Entry {
    db.store.revoke(&revocation(target), &event()).await.unwrap()
}

async fn entries_are_numbered_from_1_and_every_target_is_read_back(db: &Database) {
    assert_eq!(db.store.revocation_head().await.unwrap(), 0);
    assert_eq!(db.store.revocations_after(0, 10).await.unwrap(), []);
    let targets = [
        Target::Block(block(1)),
        Target::Holder(key(1)),
        Target::Subject(name("acme"), name("al/ice@example.com: ü")),
        Target::Session(name("acme"), name("sid/1")),
        Target::Agent(name("acme"), name("bot")),
        Target::Acting(name("acme"), name("bot"), name("al/ice")),
        Target::Grant(GrantId::from_bytes([7; 16])),
        Target::Service(name("acme"), name("notes")),
        Target::Credential(name("acme"), name("notes-key")),
        Target::Tenant(name("acme")),
        Target::Everything,
    ];
    let mut expected = Vec::new();
    for (target, seq) in targets.into_iter().zip(1..) {
        let entry = Entry { seq, target: target.clone(), at: AT, forget_after: LATER };
        assert_eq!(revoke(db, target).await, entry);
        expected.push(entry);
    }
    assert_eq!(db.store.revocations_after(0, 100).await.unwrap(), expected);
    assert_eq!(db.store.revocation_head().await.unwrap(), 11);
    assert_eq!(changes(&*db.store).await.len(), 11);
}

async fn a_block_or_holder_that_is_revoked_is_not_appended_again(db: &Database) {
    for target in [Target::Block(block(1)), Target::Holder(key(1))] {
        let first = revoke(db, target.clone()).await;
        let later = NewRevocation { at: LATER, ..revocation(target) };
        assert_eq!(db.store.revoke(&later, &event()).await.unwrap(), first);
    }
    assert_eq!(db.store.revocation_head().await.unwrap(), 2);
    assert_eq!(changes(&*db.store).await.len(), 2, "what changes nothing leaves no record");
}

async fn an_entry_that_is_forgotten_sooner_does_not_stand_for_one_that_lasts(db: &Database) {
    let target = Target::Holder(key(1));
    revoke(db, target.clone()).await;
    let longer = NewRevocation { forget_after: Timestamp::from_millis(LATER.millis() + 1), ..revocation(target) };
    let second = db.store.revoke(&longer, &event()).await.unwrap();
    assert_eq!((second.seq, second.forget_after), (2, longer.forget_after));
    assert_eq!(db.store.revoke(&longer, &event()).await.unwrap(), second);
}

async fn other_targets_append_each_time(db: &Database) {
    for target in [
        Target::Subject(name("acme"), name("alice")),
        Target::Session(name("acme"), name("sid/1")),
        Target::Agent(name("acme"), name("bot")),
        Target::Acting(name("acme"), name("bot"), name("al/ice")),
        Target::Grant(GrantId::from_bytes([7; 16])),
        Target::Service(name("acme"), name("notes")),
        Target::Credential(name("acme"), name("notes-key")),
        Target::Tenant(name("acme")),
        Target::Everything,
    ] {
        let first = revoke(db, target.clone()).await;
        assert_eq!(revoke(db, target).await.seq, first.seq + 1);
    }
}

async fn an_idempotency_key_is_one_revocation(db: &Database) {
    let keyed = NewRevocation { idempotency_key: Some("k'1".into()), ..revocation(Target::Everything) };
    let first = db.store.revoke(&keyed, &event()).await.unwrap();
    let repeated = NewRevocation { at: LATER, target: Target::Tenant(name("acme")), ..keyed.clone() };
    assert_eq!(db.store.revoke(&repeated, &event()).await.unwrap(), first);
    let other = NewRevocation { idempotency_key: Some("k2".into()), ..keyed };
    assert_eq!(db.store.revoke(&other, &event()).await.unwrap().seq, 2);
    assert_eq!(changes(&*db.store).await.len(), 2);
}

async fn an_idempotency_key_for_what_is_revoked_already_is_one_revocation_too(db: &Database) {
    revoke(db, Target::Block(block(1))).await;
    let keyed = NewRevocation { idempotency_key: Some("k".into()), ..revocation(Target::Block(block(1))) };
    let first = db.store.revoke(&keyed, &event()).await.unwrap();
    let longer = Timestamp::from_millis(LATER.millis() + 1);
    let repeated = NewRevocation { at: LATER, forget_after: longer, ..keyed };
    assert_eq!(db.store.revoke(&repeated, &event()).await.unwrap(), first);
}

async fn the_log_is_read_from_any_place_up_to_a_limit(db: &Database) {
    for n in 1..=5 {
        revoke(db, Target::Block(block(n))).await;
    }
    let after = async |seq, limit| -> Vec<u64> {
        db.store.revocations_after(seq, limit).await.unwrap().iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(after(0, 2).await, [1, 2]);
    assert_eq!(after(2, 10).await, [3, 4, 5]);
    assert_eq!(after(5, 10).await, [0; 0]);
    assert_eq!(after(u64::MAX, u32::MAX).await, [0; 0]);
}

async fn what_still_matters_is_read_from_any_place_up_to_another(db: &Database) {
    let short = NewRevocation { forget_after: AT, ..revocation(Target::Block(block(1))) };
    let forgotten = db.store.revoke(&short, &event()).await.unwrap();
    let lasting = [revoke(db, Target::Block(block(2))).await, revoke(db, Target::Everything).await];
    let read = async |seq, upto, at, limit| db.store.live_revocations(seq, upto, at, limit).await.unwrap();
    assert_eq!(read(0, 3, AT, 10).await, [std::slice::from_ref(&forgotten), &lasting[..]].concat());
    let after = Timestamp::from_millis(AT.millis() + 1);
    assert_eq!(read(0, u64::MAX, after, 10).await, lasting);
    assert_eq!(read(0, u64::MAX, after, 1).await, lasting[..1]);
    assert_eq!(read(0, 2, after, 10).await, lasting[..1]);
    assert_eq!(read(2, 3, after, 10).await, lasting[1..]);
    assert_eq!(read(3, 3, AT, 10).await, []);
    assert_eq!(read(0, 3, Timestamp::from_millis(i64::MAX), 10).await, []);
}

async fn the_heads_are_those_of_one_moment(db: &Database) {
    let heads = db.store.heads().await.unwrap();
    let server = heads.server;
    assert_eq!(heads, Heads { revocation_seq: 0, catalog_version: 0, edge_version: 0, server });
    revoke(db, Target::Everything).await;
    let version = db.store.put_service(&name("acme"), &name("notes"), "{}", 0, AT, &event()).await.unwrap();
    assert_eq!(
        db.store.heads().await.unwrap(),
        Heads { revocation_seq: 1, catalog_version: version, edge_version: 0, server }
    );
    assert_eq!(db.store.revocation_head().await.unwrap(), 1);
}

async fn of_each_target_the_latest_entry_is_found(db: &Database) {
    let targets: Vec<Target> = (0..60).map(|n| Target::Block(block(n))).collect();
    assert_eq!(db.store.latest_revocations(&targets).await.unwrap(), []);
    assert_eq!(db.store.latest_revocations(&[]).await.unwrap(), []);
    let first = revoke(db, targets[0].clone()).await;
    let last = revoke(db, targets[59].clone()).await;
    revoke(db, Target::Everything).await;
    revoke(db, Target::Tenant(name("acme"))).await;
    let again = revoke(db, Target::Everything).await;
    let mut found = db.store.latest_revocations(&targets).await.unwrap();
    found.sort_by_key(|entry| entry.seq);
    assert_eq!(found, [first, last]);
    let found = db.store.latest_revocations(&[Target::Everything, Target::Holder(key(1))]).await.unwrap();
    assert_eq!(found, [again]);
}

/// What a reader who knows the log up to `seen` knows after these places; none if there is a hole, which no later read fills.
fn read_on(seen: u64, places: impl IntoIterator<Item = u64>) -> Option<u64> {
    places.into_iter().try_fold(seen, |seen, place| (place == seen + 1).then_some(place))
}

/// The same reader over a table whose places a sequence gives: two transactions commit in the other order than they drew.
#[tokio::test]
async fn the_reader_of_these_tests_notices_that_a_plain_sequence_skips_an_entry() {
    let server = crate::support::postgres::server().await;
    let database = server.empty().await;
    server.sql(&database, "CREATE TABLE log (place BIGSERIAL PRIMARY KEY, target TEXT)").await;
    let connect = async || {
        let url = server.text_url("postgres", &database);
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    };
    let (slow, fast, reader) = (connect().await, connect().await, connect().await);
    slow.batch_execute("BEGIN; INSERT INTO log (target) VALUES ('slow')").await.unwrap();
    fast.batch_execute("INSERT INTO log (target) VALUES ('fast')").await.unwrap();
    let after = async |seen: i64| -> Vec<u64> {
        let rows = reader.query("SELECT place FROM log WHERE place > $1 ORDER BY place", &[&seen]).await.unwrap();
        rows.iter().map(|row| row.get::<_, i64>(0) as u64).collect()
    };
    let early = after(0).await;
    slow.batch_execute("COMMIT").await.unwrap();
    assert_eq!(early, [2]);
    assert_eq!(read_on(0, early), None);
    assert_eq!(after(2).await, [0; 0], "and who went on from there would never see it");
}

/// Several authorities write, in every way that appends; one that follows the log sees 1, 2, 3 … and misses none.
async fn a_reader_never_skips_an_entry_while_many_write(db: &Database) {
    const WRITERS: u8 = 6;
    const EACH: u8 = 12;
    let stores = [Arc::clone(&db.store), db.another().await];
    for n in 0..WRITERS {
        db.store.register_agent(&agent(&format!("a{n}"), n + 1), &event()).await.unwrap();
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let store = Arc::clone(&stores[usize::from(n % 2)]);
            tokio::spawn(async move {
                for i in 1..EACH {
                    let target = Target::Block(block(n * EACH + i));
                    store.revoke(&revocation(target), &event()).await.unwrap();
                }
                let agent = name(&format!("a{n}"));
                store.disable_agent(&name("acme"), &agent, LATER, AT, &event()).await.unwrap();
            })
        })
        .collect();
    let mut seen = 0;
    while seen < u64::from(WRITERS) * u64::from(EACH) {
        db.store.revocation_hint(seen).await.unwrap();
        let entries = db.store.revocations_after(seen, 7).await.unwrap();
        seen = read_on(seen, entries.iter().map(|entry| entry.seq)).expect("an entry was skipped");
        assert!(db.store.revocation_head().await.unwrap() >= seen);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(db.store.revocation_head().await.unwrap(), seen);
    assert_eq!(changes(&*db.store).await.len(), usize::from(WRITERS) * usize::from(EACH + 1));
}

async fn of_many_who_revoke_a_block_at_once_all_get_the_first_entry(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    for target in [Target::Block(block(1)), Target::Holder(key(1)), Target::Everything] {
        let calls: Vec<_> = (0..8)
            .map(|n| {
                let store = Arc::clone(&stores[n % 2]);
                let keyed =
                    NewRevocation { idempotency_key: Some(target.to_string().into()), ..revocation(target.clone()) };
                tokio::spawn(async move { store.revoke(&keyed, &event()).await.unwrap().seq })
            })
            .collect();
        let head = db.store.revocation_head().await.unwrap();
        for call in calls {
            let seq = call.await.unwrap();
            assert!(seq == head || seq == head + 1);
        }
    }
    assert_eq!(db.store.revocation_head().await.unwrap(), 3);
}

/// Until the head is beyond `seq`, going by hints alone.
async fn follow(store: Arc<dyn Store>, seq: u64) {
    while store.revocation_head().await.unwrap() <= seq {
        store.revocation_hint(seq).await.unwrap();
    }
}

async fn woken_by(db: &Database, writer: Arc<dyn Store>) {
    let waiters: Vec<_> = (0..20).map(|_| tokio::spawn(follow(Arc::clone(&db.store), 0))).collect();
    writer.revoke(&revocation(Target::Everything), &change("revoke", "all")).await.unwrap();
    for waiter in waiters {
        tokio::time::timeout(Duration::from_secs(10), waiter).await.unwrap().unwrap();
    }
}

async fn a_waiter_is_woken_by_a_revocation_of_its_own_process(db: &Database) {
    woken_by(db, Arc::clone(&db.store)).await;
}

async fn a_waiter_is_woken_by_a_revocation_of_another_process(db: &Database) {
    woken_by(db, db.another().await).await;
}

#[expect(clippy::disallowed_methods, reason = "how long a call takes is what is tested")]
async fn a_waiter_waits_no_longer_than_a_while(db: &Database) {
    let start = Instant::now();
    db.store.revocation_hint(0).await.unwrap();
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(100), "{waited:?}: a busy loop");
    assert!(waited <= Duration::from_secs(5), "{waited:?}");
}

async fn a_waiter_who_is_behind_does_not_wait(db: &Database) {
    revoke(db, Target::Everything).await;
    revoke(db, Target::Everything).await;
    // Many at no cost: with a wait each, this would take minutes.
    let all = async {
        for _ in 0..1000 {
            db.store.revocation_hint(1).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
}

/// The step of `spec/store.md`: what is revoked after it is later than any writ minted before the restore.
async fn after_a_restore_the_head_can_be_moved_beyond_what_it_was(db: &Database) {
    revoke(db, Target::Block(block(1))).await;
    db.sql("UPDATE heads SET revocation_seq = revocation_seq + 1000000").await;
    assert_eq!(db.store.revocation_head().await.unwrap(), 1_000_001);
    let entry = revoke(db, Target::Everything).await;
    assert_eq!(entry.seq, 1_000_002);
    assert_eq!(db.store.revocations_after(1, 10).await.unwrap(), [entry]);
    assert_eq!(db.store.live_revocations(0, u64::MAX, AT, 10).await.unwrap().len(), 2);
}

fn ago(secs: u64) -> Timestamp {
    SystemClock.now().before(Duration::from_secs(secs))
}

async fn until(db: &Database, n: u8, forget_after: Timestamp) -> Entry {
    let revocation = NewRevocation { forget_after, ..revocation(Target::Block(block(n))) };
    db.store.revoke(&revocation, &event()).await.unwrap()
}

async fn what_is_long_over_leaves_the_log_and_nothing_else_does(db: &Database) {
    until(db, 1, ago(3700)).await;
    let lately = until(db, 2, ago(3500)).await;
    until(db, 3, ago(1_000_000_000)).await;
    let live = until(db, 4, LATER).await;
    let always = until(db, 5, Entry::FOREVER).await;
    assert_eq!(db.store.forget_over().await.unwrap(), 2);
    assert_eq!(db.store.revocations_after(0, 10).await.unwrap(), [lately, live, always]);
    assert_eq!(db.store.forget_over().await.unwrap(), 0);
    assert_eq!(db.store.revocation_head().await.unwrap(), 5, "the head does not move");
    assert_eq!(until(db, 6, LATER).await.seq, 6);
    // What was forgotten can be revoked again.
    assert_eq!(until(db, 1, LATER).await.seq, 7);
}

/// Whoever has the authority's rights, with whatever statement.
async fn an_entry_that_matters_cannot_be_deleted(db: &Database) {
    let live = [until(db, 1, ago(60)).await, until(db, 2, LATER).await];
    let url = db.url.to_string();
    for sql in
        ["DELETE FROM revocation", "DELETE FROM revocation WHERE seq = 2", "UPDATE revocation SET forget_after = 0"]
    {
        match url.strip_prefix("sqlite:") {
            Some(path) => {
                let refused = rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap_err();
                assert!(refused.to_string().contains("append-only"), "{sql}: {refused}");
            }
            None => {
                let (_, database) = url.rsplit_once('/').unwrap();
                let sql = format!("SET search_path = writ; SET ROLE writ_authority; {sql}");
                let server = crate::support::postgres::server().await;
                assert!(server.try_sql("postgres", database, &sql).await.is_err(), "{sql}");
                let sql =
                    "SET search_path = writ; SET ROLE writ_authority; SELECT forget_revocations(9223372036854775807)";
                server.try_sql("postgres", database, sql).await.unwrap();
            }
        }
    }
    assert_eq!(db.store.forget_over().await.unwrap(), 0);
    assert_eq!(db.store.revocations_after(0, 10).await.unwrap(), live);
}

async fn issued_writs_that_are_long_over_are_forgotten(db: &Database) {
    for (n, expires) in [(1, ago(3700)), (2, ago(3500)), (3, LATER)] {
        let writ = IssuedWrit { expires, ..issued(n) };
        assert_eq!(db.store.record_issued(&writ, &[], &event()).await.unwrap(), Recorded::Yes);
    }
    assert_eq!(db.store.forget_over().await.unwrap(), 1);
    for (n, there) in [(1, false), (2, true), (3, true)] {
        assert_eq!(db.store.issued(issued(n).id).await.unwrap().is_some(), there, "{n}");
    }
}
