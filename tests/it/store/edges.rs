//! Edges and their tickets.

use std::sync::Arc;

use writ::clock::Timestamp;
use writ::store::{Edge, JoinTicket, StoreError};

use super::make::{AT, LATER, change, changes, edge, event, name, ticket};
use super::{Database, for_every_backend};

for_every_backend!(
    a_ticket_is_found_until_it_expires,
    a_new_ticket_replaces_the_unused_one_of_its_name,
    a_ticket_lets_one_edge_join_once,
    of_many_who_use_a_ticket_at_once_one_joins,
    a_ticket_counts_for_its_own_name_and_audience_only,
    an_edge_that_joins_again_is_replaced,
    two_edges_share_an_origin_only_if_both_demand_nonces,
    two_edges_never_share_a_key,
    each_change_of_the_registry_changes_its_version,
    a_removed_edge_is_gone,
);

async fn edges(db: &Database) -> Vec<Edge> {
    db.store.registered().await.unwrap().edges
}

async fn join(db: &Database, n: u8, edge: &Edge) -> Result<(), StoreError> {
    let ticket = JoinTicket { audience: edge.audience.clone(), ..ticket(n, edge.name.as_str()) };
    db.store.add_join_ticket(&ticket, AT, &event()).await.unwrap();
    db.store.join_edge(&[n; 32], edge, &change("edge.join", edge.name.as_str())).await
}

async fn a_ticket_is_found_until_it_expires(db: &Database) {
    db.store.add_join_ticket(&ticket(1, "e"), AT, &change("ticket.add", "e")).await.unwrap();
    assert_eq!(db.store.join_ticket(&[1; 32], AT).await.unwrap(), Some(ticket(1, "e")));
    assert_eq!(db.store.join_ticket(&[1; 32], LATER).await.unwrap(), Some(ticket(1, "e")), "its last moment");
    let over = Timestamp::from_millis(LATER.millis() + 1);
    assert_eq!(db.store.join_ticket(&[1; 32], over).await.unwrap(), None);
    assert_eq!(db.store.join_ticket(&[2; 32], AT).await.unwrap(), None);
    let late = Edge { joined: over, ..edge("e", 1) };
    assert!(matches!(db.store.join_edge(&[1; 32], &late, &event()).await, Err(StoreError::NotFound("join ticket"))));
    assert_eq!(changes(&*db.store).await, ["ticket.add e"]);
}

async fn a_new_ticket_replaces_the_unused_one_of_its_name(db: &Database) {
    for ticket in [ticket(1, "e"), ticket(2, "f"), ticket(3, "e")] {
        db.store.add_join_ticket(&ticket, AT, &event()).await.unwrap();
    }
    assert_eq!(db.store.join_ticket(&[1; 32], AT).await.unwrap(), None);
    assert_eq!(db.store.join_ticket(&[2; 32], AT).await.unwrap(), Some(ticket(2, "f")));
    assert_eq!(db.store.join_ticket(&[3; 32], AT).await.unwrap(), Some(ticket(3, "e")));
    let taken = db.store.add_join_ticket(&ticket(2, "g"), AT, &event()).await;
    assert!(matches!(taken, Err(StoreError::Conflict("a join ticket with that secret"))), "{taken:?}");
}

async fn a_ticket_lets_one_edge_join_once(db: &Database) {
    let e = edge("e", 1);
    join(db, 1, &e).await.unwrap();
    assert_eq!(edges(db).await, std::slice::from_ref(&e));
    assert_eq!(db.store.join_ticket(&[1; 32], AT).await.unwrap(), None);
    let again = db.store.join_edge(&[1; 32], &edge("e", 2), &event()).await;
    assert!(matches!(again, Err(StoreError::NotFound("join ticket"))));
    assert_eq!(changes(&*db.store).await, ["test thing", "edge.join e"]);
}

async fn of_many_who_use_a_ticket_at_once_one_joins(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    db.store.add_join_ticket(&ticket(1, "e"), AT, &event()).await.unwrap();
    let calls: Vec<_> = (0..8)
        .map(|n| {
            let store = Arc::clone(&stores[usize::from(n % 2)]);
            tokio::spawn(async move { store.join_edge(&[1; 32], &edge("e", n), &event()).await.is_ok() })
        })
        .collect();
    let mut joined = 0;
    for call in calls {
        joined += u32::from(call.await.unwrap());
    }
    assert_eq!(joined, 1);
}

async fn a_ticket_counts_for_its_own_name_and_audience_only(db: &Database) {
    db.store.add_join_ticket(&ticket(1, "e"), AT, &event()).await.unwrap();
    for other in [edge("f", 1), Edge { audience: name("test"), ..edge("e", 1) }] {
        let refused = db.store.join_edge(&[1; 32], &other, &event()).await;
        assert!(matches!(refused, Err(StoreError::NotFound("join ticket"))));
    }
    db.store.join_edge(&[1; 32], &edge("e", 1), &event()).await.unwrap();
}

async fn an_edge_that_joins_again_is_replaced(db: &Database) {
    join(db, 1, &edge("e", 1)).await.unwrap();
    let again = Edge { audience: name("test"), nonce: true, joined: LATER, ..edge("e", 2) };
    join(db, 2, &again).await.unwrap();
    assert_eq!(edges(db).await, [again], "its old key counts no longer");
}

async fn two_edges_share_an_origin_only_if_both_demand_nonces(db: &Database) {
    let at = |text: &str, n, nonce| Edge { origin: "https://shared.example".into(), nonce, ..edge(text, n) };
    join(db, 1, &at("a", 1, true)).await.unwrap();
    join(db, 2, &at("b", 2, true)).await.unwrap();
    let refused = join(db, 3, &at("c", 3, false)).await;
    assert!(matches!(refused, Err(StoreError::Conflict("an edge at that origin"))), "{refused:?}");
    assert!(db.store.join_ticket(&[3; 32], AT).await.unwrap().is_some(), "a refused edge keeps its ticket");
    // Replacing itself, `a` still has `b` beside it.
    assert!(matches!(join(db, 4, &at("a", 1, false)).await, Err(StoreError::Conflict(_))));
    db.store.remove_edge(&name("b"), AT, &event()).await.unwrap();
    join(db, 5, &at("a", 1, false)).await.unwrap();
    assert!(matches!(join(db, 6, &at("b", 2, true)).await, Err(StoreError::Conflict(_))));
    let names: Vec<_> = edges(db).await.into_iter().map(|edge| edge.name.to_string()).collect();
    assert_eq!(names, ["a"]);
}

async fn two_edges_never_share_a_key(db: &Database) {
    join(db, 1, &edge("a", 1)).await.unwrap();
    let refused = join(db, 2, &edge("b", 1)).await;
    assert!(matches!(refused, Err(StoreError::Conflict("an edge with that key"))), "{refused:?}");
    assert!(db.store.join_ticket(&[2; 32], AT).await.unwrap().is_some());
    assert_eq!(edges(db).await, [edge("a", 1)]);
}

async fn each_change_of_the_registry_changes_its_version(db: &Database) {
    let version = async || {
        let heads = db.store.heads().await.unwrap();
        let registered = db.store.registered().await.unwrap();
        assert_eq!((registered.server, registered.version), (heads.server, heads.edge_version));
        registered.version
    };
    let empty = version().await;
    join(db, 1, &edge("a", 1)).await.unwrap();
    let joined = version().await;
    join(db, 2, &edge("a", 2)).await.unwrap();
    let replaced = version().await;
    db.store.remove_edge(&name("a"), AT, &event()).await.unwrap();
    let removed = version().await;
    assert!(empty < joined && joined < replaced && replaced < removed);
    db.store.record(AT, &event()).await.unwrap();
    assert_eq!(version().await, removed);
}

async fn a_removed_edge_is_gone(db: &Database) {
    join(db, 1, &edge("b", 1)).await.unwrap();
    join(db, 2, &edge("a", 2)).await.unwrap();
    assert_eq!(edges(db).await, [edge("a", 2), edge("b", 1)]);
    db.store.remove_edge(&name("b"), AT, &change("edge.remove", "b")).await.unwrap();
    assert!(matches!(db.store.remove_edge(&name("b"), AT, &event()).await, Err(StoreError::NotFound("edge"))));
    assert_eq!(changes(&*db.store).await.last().unwrap(), "edge.remove b");
}
