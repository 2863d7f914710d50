//! Receipts, and the edges that one has to wait for.

use std::sync::Arc;

use writ::clock::Timestamp;
use writ::store::{Acknowledged, Call, Edge, JoinTicket, Owed, OwedEdge, Standing, StoreError};

use super::make::{AT, edge, event, key, name, ticket};
use super::{Database, for_every_backend};

for_every_backend!(
    of_many_receipts_for_one_entry_the_first_stays,
    a_removed_or_replaced_edge_is_owed_for_a_day,
    a_key_that_is_gone_does_not_come_back,
    what_edges_acknowledged_never_shrinks_and_every_process_is_told,
    what_is_recorded_of_a_removed_edge_goes_with_it,
);

async fn join(db: &Database, n: u8, edge: &Edge) -> Result<(), StoreError> {
    let ticket = JoinTicket { audience: edge.audience.clone(), ..ticket(n, edge.name.as_str()) };
    db.store.add_join_ticket(&ticket, AT, &event()).await.unwrap();
    db.store.join_edge(&[n; 32], edge, &event()).await
}

async fn of_many_receipts_for_one_entry_the_first_stays(db: &Database) {
    assert_eq!(db.store.owed(1).await.unwrap(), Owed::default());
    let calls = (0..8).map(|n| {
        let store = Arc::clone(&db.store);
        tokio::spawn(async move { store.add_receipt(1, &format!("{{\"n\": {n}}}")).await.unwrap() })
    });
    let answers: Vec<_> = futures_util::future::join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(db.store.owed(1).await.unwrap().receipt, Some(answers[0].clone()));
    assert_eq!(db.store.owed(2).await.unwrap().receipt, None);
    assert_eq!(&*db.store.add_receipt(2, "{}").await.unwrap(), "{}");
}

async fn a_removed_or_replaced_edge_is_owed_for_a_day(db: &Database) {
    let owed = |text: &str, n, standing| OwedEdge {
        name: name(text),
        key: key(n),
        standing,
        recorded: Acknowledged::default(),
    };
    let edges = async || db.store.owed(1).await.unwrap().edges;
    join(db, 1, &edge("a", 1)).await.unwrap();
    join(db, 2, &edge("b", 2)).await.unwrap();
    assert_eq!(edges().await, [owed("a", 1, Standing::Registered), owed("b", 2, Standing::Registered)]);
    // Joined anew with the key it had: nothing goes.
    join(db, 3, &edge("b", 2)).await.unwrap();
    assert_eq!(edges().await.len(), 2);
    join(db, 4, &edge("b", 3)).await.unwrap();
    db.store.remove_edge(&name("a"), AT, &event()).await.unwrap();
    let mut found = edges().await;
    found.sort_by_key(|edge| edge.key != key(1));
    assert_eq!(found[0], owed("a", 1, Standing::Gone));
    assert!(found.contains(&owed("b", 2, Standing::Gone)) && found.contains(&owed("b", 3, Standing::Registered)));
    let next_day = Timestamp::from_millis(AT.millis() + 86_400_001);
    db.store.remove_edge(&name("b"), next_day, &event()).await.unwrap();
    assert_eq!(edges().await, [owed("b", 3, Standing::Gone)], "the others went a day ago");
}

async fn a_key_that_is_gone_does_not_come_back(db: &Database) {
    join(db, 1, &edge("a", 1)).await.unwrap();
    db.store.remove_edge(&name("a"), AT, &event()).await.unwrap();
    // Its last lease may still hold, and would be taken for the one of the edge that went.
    let again = join(db, 2, &edge("c", 1)).await;
    assert!(matches!(again, Err(StoreError::Conflict("an edge with that key"))), "{again:?}");
    join(db, 3, &edge("a", 2)).await.unwrap();
}

async fn what_edges_acknowledged_never_shrinks_and_every_process_is_told(db: &Database) {
    let mut calls = db.store.calls();
    let mut heard = async |call: Call| {
        let heard = async { while calls.recv().await.unwrap() != call {} };
        tokio::time::timeout(std::time::Duration::from_secs(20), heard).await.unwrap();
    };
    join(db, 1, &edge("a", 1)).await.unwrap();
    join(db, 2, &edge("b", 2)).await.unwrap();
    let recorded = async || -> Vec<_> { db.store.owed(1).await.unwrap().edges.iter().map(|e| e.recorded).collect() };
    let of = |seq, settings| Acknowledged { seq, settings };
    // From another process where there can be one.
    let other = match db.url.to_string().starts_with("sqlite") {
        true => Arc::clone(&db.store),
        false => db.another().await,
    };
    other.record_acknowledged(&[(key(2), of(5, 1)), (key(1), of(3, 4))]).await.unwrap();
    heard(Call::Recorded).await;
    assert_eq!(recorded().await, [of(3, 4), of(5, 1)]);
    other.record_acknowledged(&[(key(1), of(2, 7)), (key(2), of(6, 0))]).await.unwrap();
    heard(Call::Recorded).await;
    assert_eq!(recorded().await, [of(3, 7), of(6, 1)]);
    other.record_acknowledged(&[]).await.unwrap();
    other.want_acknowledged("a-replica").await.unwrap();
    heard(Call::Wanted("a-replica".into())).await;
}

async fn what_is_recorded_of_a_removed_edge_goes_with_it(db: &Database) {
    join(db, 1, &edge("a", 1)).await.unwrap();
    db.store.record_acknowledged(&[(key(1), Acknowledged { seq: 3, settings: 4 })]).await.unwrap();
    db.store.remove_edge(&name("a"), AT, &event()).await.unwrap();
    let gone = db.store.owed(1).await.unwrap().edges;
    assert_eq!((gone[0].standing, gone[0].recorded.seq), (Standing::Gone, 3), "its word still counts");
    let next_day = Timestamp::from_millis(AT.millis() + 86_400_001);
    join(db, 2, &edge("b", 2)).await.unwrap();
    db.store.remove_edge(&name("b"), next_day, &event()).await.unwrap();
    assert_eq!(db.store.owed(1).await.unwrap().edges.len(), 1);
    // A fresh store has no such row, whatever joins later.
    assert_eq!(db.store.owed(1).await.unwrap().edges[0].recorded, Acknowledged::default());
}
