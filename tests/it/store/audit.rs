//! The audit log.

use std::sync::Arc;

use serde_json::value::RawValue;
use writ::audit::{Actor, Change, Checkpoint, Event, Finish, Head, Outcome, Record, Source, Verdict};
use writ::clock::Timestamp;
use writ::id::RequestId;
use writ::key::KeyPair;
use writ::store::{AuditQuery, Recorded, StoreError};

use super::make::{
    AT, LATER, agent, block, change, changes, decision, event, everything, grant, issued, journal, name,
};
use super::{Database, for_every_backend};

for_every_backend!(
    an_event_that_changes_nothing_else_is_recorded,
    every_change_leaves_one_record_in_a_whole_chain,
    many_writers_at_once_leave_a_whole_chain,
    a_shipment_is_appended_as_it_is,
    a_repeated_shipment_is_harmless,
    a_shipment_may_overlap_what_is_there,
    a_shipment_that_does_not_continue_the_chain_is_refused_whole,
    a_shipment_that_differs_from_what_is_there_is_refused_whole,
    a_record_of_another_chain_is_refused,
    nobody_ships_to_the_authoritys_own_chain,
    of_many_who_ship_the_same_at_once_one_appends,
    chains_of_different_edges_do_not_mix,
    an_event_of_a_newer_edge_is_kept,
    a_shipment_of_a_thousand_records_is_one_change,
    positions_grow_and_a_reader_never_skips_one,
    a_query_finds_by_each_field,
    everything_that_a_query_gives_must_match,
    a_query_is_limited,
    a_query_after_a_place_of_a_chain_needs_the_chain,
    a_query_takes_what_it_is_given_as_a_value,
    checkpoints_are_listed_oldest_first,
    a_checkpoint_of_a_head_that_never_was_is_refused,
);

fn edge() -> Source {
    name("edge:e1")
}

fn outcome(n: u8) -> Event {
    Event::Outcome(Outcome {
        request: RequestId::from_bytes([n; 16]),
        finish: Finish::Completed,
        status: Some(200),
        bytes_up: 1,
        bytes_down: 2,
        elapsed_ms: 3,
        injected_at_seq: None,
        credential_epoch: None,
    })
}

fn decisions(n: std::ops::RangeInclusive<u8>) -> Vec<Record> {
    journal(&edge(), &Head::empty(), n.map(|n| decision(n, Verdict::Allowed)))
}

/// The records' texts, to compare them to the byte.
fn texts<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<String> {
    records.into_iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

async fn stored(db: &Database, source: &Source) -> Vec<String> {
    let found = db.store.audit(&AuditQuery { source: Some(source.clone()), ..everything() }).await.unwrap();
    texts(found.iter().map(|(_, record)| record))
}

async fn an_event_that_changes_nothing_else_is_recorded(db: &Database) {
    db.store.record(AT, &change("credential.lend", "c")).await.unwrap();
    let found = db.store.audit(&everything()).await.unwrap();
    let [(1, record)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((record.at, record.seq, &record.source), (AT, 1, &Source::Authority));
    assert_eq!(changes(&*db.store).await, ["credential.lend c"]);
}

async fn every_change_leaves_one_record_in_a_whole_chain(db: &Database) {
    assert_eq!(db.store.audit_head(&Source::Authority).await.unwrap(), Head::empty());
    assert_eq!(db.store.audit_sources().await.unwrap(), []);
    db.store.register_agent(&agent("a", 1), &change("agent.register", "a")).await.unwrap();
    db.store.register_agent(&agent("a", 2), &change("agent.register", "again")).await.unwrap_err();
    db.store.add_grant(&grant(1, "a"), LATER, &change("grant.add", "g")).await.unwrap();
    assert_eq!(db.store.record_issued(&issued(1), &[], &change("writ.issue", "w")).await.unwrap(), Recorded::Yes);
    assert_eq!(changes(&*db.store).await, ["agent.register a", "grant.add g", "writ.issue w"]);
    let found = db.store.audit(&everything()).await.unwrap();
    let times: Vec<Timestamp> = found.iter().map(|(_, record)| record.at).collect();
    assert_eq!(times, [AT, LATER, AT]);
    assert_eq!(db.store.audit_sources().await.unwrap(), [Source::Authority]);
}

async fn many_writers_at_once_leave_a_whole_chain(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    let writers: Vec<_> = (0..40)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move { store.record(AT, &change("n", &n.to_string())).await.unwrap() })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(changes(&*db.store).await.len(), 40);
}

async fn a_shipment_is_appended_as_it_is(db: &Database) {
    let records = decisions(1..=3);
    assert_eq!(db.store.audit_head(&edge()).await.unwrap(), Head::empty());
    let head = db.store.append_audit(&edge(), &records, None).await.unwrap();
    assert_eq!(head, records[2].head());
    assert_eq!(db.store.audit_head(&edge()).await.unwrap(), head);
    assert_eq!(stored(db, &edge()).await, texts(&records));
    assert_eq!(db.store.append_audit(&edge(), &[], None).await.unwrap(), head, "an empty shipment asks for the head");
}

async fn a_repeated_shipment_is_harmless(db: &Database) {
    let records = decisions(1..=3);
    let head = db.store.append_audit(&edge(), &records, None).await.unwrap();
    for repeated in [&records[..], &records[..1], &records[1..2]] {
        assert_eq!(db.store.append_audit(&edge(), repeated, None).await.unwrap(), head);
    }
    assert_eq!(stored(db, &edge()).await, texts(&records));
}

async fn a_shipment_may_overlap_what_is_there(db: &Database) {
    let records = decisions(1..=6);
    db.store.append_audit(&edge(), &records[..3], None).await.unwrap();
    let head = db.store.append_audit(&edge(), &records[1..5], None).await.unwrap();
    assert_eq!(head, records[4].head());
    db.store.append_audit(&edge(), &records[5..], None).await.unwrap();
    assert_eq!(stored(db, &edge()).await, texts(&records));
}

async fn refused(db: &Database, source: &Source, records: &[Record]) {
    let before = stored(db, source).await;
    let refused = db.store.append_audit(source, records, None).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(stored(db, source).await, before);
}

async fn a_shipment_that_does_not_continue_the_chain_is_refused_whole(db: &Database) {
    let records = decisions(1..=6);
    refused(db, &edge(), &records[1..]).await;
    db.store.append_audit(&edge(), &records[..2], None).await.unwrap();
    refused(db, &edge(), &records[3..]).await;
    refused(db, &edge(), &[records[2].clone(), records[4].clone()]).await;
    refused(db, &edge(), &[records[2].clone(), records[2].clone()]).await;
    refused(db, &edge(), &[records[0].clone(), records[2].clone(), records[1].clone()]).await;
    let mut changed = records[2..].to_vec();
    changed[2].event = RawValue::from_string("{}".into()).unwrap();
    refused(db, &edge(), &changed).await;
    let mut at_zero = records[0].clone();
    at_zero.seq = 0;
    refused(db, &edge(), &[at_zero]).await;
    let mut far = records[2].clone();
    far.seq = u64::MAX;
    refused(db, &edge(), &[far]).await;
    db.store.append_audit(&edge(), &records, None).await.unwrap();
}

async fn a_shipment_that_differs_from_what_is_there_is_refused_whole(db: &Database) {
    db.store.append_audit(&edge(), &decisions(1..=3), None).await.unwrap();
    // A forked journal: whole in itself, but not the one that is there.
    refused(db, &edge(), &journal(&edge(), &Head::empty(), (1..=5).map(outcome))).await;
    // The hash that is there over other contents.
    let mut forged = decisions(1..=4);
    forged[1].event = RawValue::from_string("{}".into()).unwrap();
    refused(db, &edge(), &forged).await;
    let mut forged = decisions(1..=4);
    forged[1].at = LATER;
    refused(db, &edge(), &forged).await;
}

async fn a_record_of_another_chain_is_refused(db: &Database) {
    refused(db, &name("edge:e2"), &decisions(1..=2)).await;
    let mut mixed = decisions(1..=2);
    mixed[1].source = name("edge:e2");
    refused(db, &edge(), &mixed).await;
}

async fn nobody_ships_to_the_authoritys_own_chain(db: &Database) {
    let forged = journal(&Source::Authority, &Head::empty(), [outcome(1)]);
    refused(db, &Source::Authority, &forged).await;
    assert!(changes(&*db.store).await.is_empty());
}

async fn of_many_who_ship_the_same_at_once_one_appends(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    let records = Arc::new(decisions(1..=20));
    let calls: Vec<_> = (0..8)
        .map(|n| {
            let (store, records) = (Arc::clone(&stores[n % 2]), Arc::clone(&records));
            tokio::spawn(async move { store.append_audit(&edge(), &records[..10 + n], None).await.unwrap() })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(stored(db, &edge()).await, texts(&records[..17]));
}

async fn chains_of_different_edges_do_not_mix(db: &Database) {
    let other: Source = name("edge:e0");
    let theirs = journal(&other, &Head::empty(), (1..=2).map(outcome));
    db.store.append_audit(&edge(), &decisions(1..=2), None).await.unwrap();
    db.store.append_audit(&other, &theirs, None).await.unwrap();
    db.store.record(AT, &event()).await.unwrap();
    assert_eq!(stored(db, &edge()).await, texts(&decisions(1..=2)));
    assert_eq!(stored(db, &other).await, texts(&theirs));
    assert_eq!(db.store.audit_sources().await.unwrap(), [Source::Authority, other, edge()]);
}

async fn an_event_of_a_newer_edge_is_kept(db: &Database) {
    let mut records = decisions(1..=1);
    let text = r#"{"type":"from_the_future","request":"00000000000000000000000000000009","n":1e400}"#;
    records.push(Record::of_text(&records[0].head(), edge(), AT, RawValue::from_string(text.into()).unwrap()));
    db.store.append_audit(&edge(), &records, None).await.unwrap();
    assert_eq!(stored(db, &edge()).await, texts(&records));
}

async fn a_shipment_of_a_thousand_records_is_one_change(db: &Database) {
    let records = journal(&edge(), &Head::empty(), (0..1000).map(|n| decision((n % 250) as u8, Verdict::Denied)));
    let head = db.store.append_audit(&edge(), &records, None).await.unwrap();
    assert_eq!(head.seq, 1000);
    assert_eq!(stored(db, &edge()).await, texts(&records));
}

/// While edges ship and the authority writes, whoever reads on from the last position misses nothing.
async fn positions_grow_and_a_reader_never_skips_one(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                let source: Source = name(&format!("edge:e{n}"));
                let records = journal(&source, &Head::empty(), (1..=30).map(outcome));
                for part in records.chunks(3) {
                    store.append_audit(&source, part, None).await.unwrap();
                    store.record(AT, &event()).await.unwrap();
                }
            })
        })
        .collect();
    let mut last = 0;
    while last < 160 {
        let query = AuditQuery { after: Some(last), limit: 9, ..AuditQuery::default() };
        for (position, _) in db.store.audit(&query).await.unwrap() {
            assert_eq!(position, last + 1, "a record was skipped");
            last = position;
        }
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    changes(&*db.store).await;
}

async fn filled(db: &Database) {
    let by_agent = Change { actor: Actor::Agent(name("bot")), ..change("writ.issue", &block(3).to_string()) };
    db.store.record(AT, &by_agent).await.unwrap();
    db.store.record(LATER, &change("agent.register", "bot")).await.unwrap();
    let events = [decision(1, Verdict::Allowed), outcome(1), decision(2, Verdict::Denied)];
    db.store.append_audit(&edge(), &journal(&edge(), &Head::empty(), events), None).await.unwrap();
}

/// The positions that a query finds.
async fn found(db: &Database, query: AuditQuery) -> Vec<u64> {
    db.store.audit(&query).await.unwrap().into_iter().map(|(position, _)| position).collect()
}

async fn a_query_finds_by_each_field(db: &Database) {
    filled(db).await;
    let all = everything;
    let text = |text: &str| Some(text.into());
    let request = RequestId::from_bytes([1; 16]).to_string();
    for (query, expected) in [
        (all(), vec![1, 2, 3, 4, 5]),
        (AuditQuery { source: Some(edge()), ..all() }, vec![3, 4, 5]),
        (AuditQuery { source: Some(edge()), after_seq: Some(1), ..all() }, vec![4, 5]),
        (AuditQuery { after: Some(3), ..all() }, vec![4, 5]),
        (AuditQuery { after: Some(u64::MAX), ..all() }, vec![]),
        (AuditQuery { since: Some(LATER), ..all() }, vec![2]),
        (AuditQuery { until: Some(LATER), ..all() }, vec![1, 3, 4, 5]),
        (AuditQuery { agent: text("bot"), ..all() }, vec![1, 2, 3, 5]),
        (AuditQuery { agent: text("olga"), ..all() }, vec![]),
        (AuditQuery { subject: text("alice"), ..all() }, vec![3, 5]),
        (AuditQuery { service: text("notes"), ..all() }, vec![3, 5]),
        (AuditQuery { request: text(&request), ..all() }, vec![3, 4]),
        (AuditQuery { block: text(&block(1).to_string()), ..all() }, vec![3, 5]),
        (AuditQuery { block: text(&block(2).to_string()), ..all() }, vec![5]),
        (AuditQuery { block: text(&block(3).to_string()), ..all() }, vec![1]),
        (AuditQuery { verdict: text("allowed"), ..all() }, vec![3]),
        (AuditQuery { verdict: text("denied"), ..all() }, vec![5]),
        (AuditQuery { verdict: text("perhaps"), ..all() }, vec![]),
    ] {
        assert_eq!(found(db, query.clone()).await, expected, "{query:?}");
    }
}

async fn everything_that_a_query_gives_must_match(db: &Database) {
    filled(db).await;
    let query = AuditQuery {
        source: Some(edge()),
        after_seq: Some(0),
        after: Some(1),
        since: Some(AT),
        until: Some(LATER),
        agent: Some("bot".into()),
        subject: Some("alice".into()),
        service: Some("notes".into()),
        request: Some(RequestId::from_bytes([2; 16]).to_string().into()),
        block: Some(block(2).to_string().into()),
        verdict: Some("denied".into()),
        limit: 10,
    };
    assert_eq!(found(db, query.clone()).await, [5]);
    assert_eq!(found(db, AuditQuery { verdict: Some("allowed".into()), ..query }).await, [0; 0]);
}

async fn a_query_is_limited(db: &Database) {
    let records = journal(&edge(), &Head::empty(), (0..1005).map(|n| outcome((n % 250) as u8)));
    db.store.append_audit(&edge(), &records, None).await.unwrap();
    assert_eq!(found(db, AuditQuery { limit: 2, ..everything() }).await, [1, 2]);
    assert_eq!(found(db, AuditQuery { limit: 0, ..everything() }).await, [1]);
    assert_eq!(found(db, AuditQuery { limit: u32::MAX, ..everything() }).await.len(), 1000);
}

async fn a_query_after_a_place_of_a_chain_needs_the_chain(db: &Database) {
    let refused = db.store.audit(&AuditQuery { after_seq: Some(1), ..everything() }).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))));
}

async fn a_query_takes_what_it_is_given_as_a_value(db: &Database) {
    filled(db).await;
    for hostile in ["' OR '1'='1", "%", "bot' --", "$1", "?1", "\\", "🦀"] {
        let query = AuditQuery { agent: Some(hostile.into()), subject: Some(hostile.into()), ..everything() };
        assert_eq!(found(db, query).await, [0; 0], "{hostile}");
    }
}

fn checkpoint(source: &Source, head: Head, at: Timestamp) -> Checkpoint {
    Checkpoint::sign(source.clone(), head, at, &KeyPair::from_seed(&[9; 32]))
}

async fn checkpoints_are_listed_oldest_first(db: &Database) {
    let records = decisions(1..=3);
    let (first, second) = (checkpoint(&edge(), records[0].head(), AT), checkpoint(&edge(), records[2].head(), LATER));
    db.store.append_audit(&edge(), &records[..1], Some(&first)).await.unwrap();
    db.store.append_audit(&edge(), &records, Some(&second)).await.unwrap();
    db.store.append_audit(&edge(), &records, Some(&first)).await.unwrap();
    assert_eq!(db.store.checkpoints(&edge()).await.unwrap(), [first, second]);

    let mut own = Vec::new();
    for at in [AT, LATER] {
        db.store.record(at, &event()).await.unwrap();
        let head = db.store.audit_head(&Source::Authority).await.unwrap();
        own.push(checkpoint(&Source::Authority, head, at));
    }
    for checkpoint in own.iter().rev() {
        db.store.add_checkpoint(checkpoint).await.unwrap();
    }
    assert_eq!(db.store.checkpoints(&Source::Authority).await.unwrap(), own);
}

async fn a_checkpoint_of_a_head_that_never_was_is_refused(db: &Database) {
    let records = decisions(1..=2);
    let never = checkpoint(&edge(), Head { seq: 2, hash: "f".repeat(64).into() }, AT);
    let of_another = checkpoint(&name("edge:e2"), records[1].head(), AT);
    for refused in [&never, &of_another] {
        let answer = db.store.append_audit(&edge(), &records, Some(refused)).await;
        assert!(matches!(answer, Err(StoreError::Conflict(_))), "{answer:?}");
    }
    assert_eq!(stored(db, &edge()).await, [""; 0], "and its records with it");
    assert!(db.store.add_checkpoint(&never).await.is_err());
    assert_eq!(db.store.checkpoints(&edge()).await.unwrap(), []);
}
