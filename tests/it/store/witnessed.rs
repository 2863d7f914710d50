//! Holders' entries and the room for them; relying services.

use std::sync::Arc;

use writ::clock::Timestamp;
use writ::id::BlockId;
use writ::revocation::{Entry, Target};
use writ::store::witnessed::ROOT_ENTRIES_MAX;
use writ::store::{NewRevocation, RelyingService, StoreError, WitnessedRevocation};

use super::make::{AT, LATER, block, change, changes, event, key, name, revocation};
use super::{Database, for_every_backend};

for_every_backend!(
    a_holders_entry_is_one_of_the_log,
    what_is_dead_by_a_block_above_it_is_not_appended,
    the_deeper_the_less_room_there_is_and_forgotten_entries_take_none,
    what_ends_a_flood_always_finds_room,
    of_many_who_take_the_last_place_at_once_one_gets_it,
    relying_services_are_found_by_key_and_listed_by_name,
);

fn wide(n: u64) -> BlockId {
    let mut id = [0xff; 16];
    id[..8].copy_from_slice(&n.to_be_bytes());
    BlockId::from_bytes(id)
}

fn of(path: &[BlockId]) -> WitnessedRevocation {
    WitnessedRevocation { path: path.to_vec(), forget_after: LATER, at: AT }
}

async fn a_holders_entry_is_one_of_the_log(db: &Database) {
    let event = change("revocation.witness", "block");
    let entry = db.store.revoke_witnessed(&of(&[block(1), block(2)]), &event).await.unwrap().unwrap();
    assert_eq!(entry, Entry { seq: 1, target: Target::Block(block(2)), at: AT, forget_after: LATER });
    assert_eq!(db.store.revocations_after(0, 10).await.unwrap(), std::slice::from_ref(&entry));
    assert_eq!(db.store.revoke_witnessed(&of(&[block(1), block(2)]), &event).await.unwrap(), Some(entry));
    assert_eq!(changes(&*db.store).await, ["revocation.witness block"]);
    assert!(matches!(db.store.revoke_witnessed(&of(&[]), &event).await, Err(StoreError::NotFound("block"))));
}

async fn what_is_dead_by_a_block_above_it_is_not_appended(db: &Database) {
    let first = db.store.revoke(&revocation(Target::Block(block(2))), &event()).await.unwrap();
    let below = of(&[block(1), block(2), block(3)]);
    assert_eq!(db.store.revoke_witnessed(&below, &event()).await.unwrap(), Some(first));
    // One that is forgotten sooner does not stand for it.
    let sooner = NewRevocation { forget_after: AT, ..revocation(Target::Block(block(7))) };
    db.store.revoke(&sooner, &event()).await.unwrap();
    let entry = db.store.revoke_witnessed(&of(&[block(7), block(8)]), &event()).await.unwrap().unwrap();
    assert_eq!((entry.seq, entry.target), (3, Target::Block(block(8))));
}

async fn the_deeper_the_less_room_there_is_and_forgotten_entries_take_none(db: &Database) {
    let fill = async |above: &[BlockId], at: Timestamp| {
        let mut n = 0;
        loop {
            let path = [above, &[wide(1_000_000 * u64::from(above[above.len() - 1].as_bytes()[0]) + n)]].concat();
            let forget_after = Timestamp::from_millis(at.millis() + 1000);
            let revocation = WitnessedRevocation { path, forget_after, at };
            match db.store.revoke_witnessed(&revocation, &event()).await.unwrap() {
                Some(_) => n += 1,
                None => return n,
            }
        }
    };
    assert_eq!(fill(&[block(1), block(2), block(3)], AT).await, ROOT_ENTRIES_MAX / 4);
    assert_eq!(fill(&[block(1), block(2), block(4)], AT).await, ROOT_ENTRIES_MAX / 4, "what the one above has left");
    assert_eq!(fill(&[block(1), block(2), block(5)], AT).await, 0);
    assert_eq!(fill(&[block(1), block(6)], AT).await, ROOT_ENTRIES_MAX / 2);
    assert_eq!(fill(&[block(1), block(7)], AT).await, 0, "the whole writ's room");
    assert_eq!(fill(&[block(9), block(10), block(11)], AT).await, ROOT_ENTRIES_MAX / 4, "another writ's");
    let after = Timestamp::from_millis(AT.millis() + 1001);
    assert_eq!(fill(&[block(1), block(2), block(12)], after).await, ROOT_ENTRIES_MAX / 4);
}

async fn what_ends_a_flood_always_finds_room(db: &Database) {
    for n in 0..ROOT_ENTRIES_MAX / 2 {
        let path = [block(1), block(2), wide(n % 2), wide(10 + n)];
        db.store.revoke_witnessed(&of(&path), &event()).await.unwrap().unwrap();
    }
    assert_eq!(db.store.revoke_witnessed(&of(&[block(1), block(2), wide(5000)]), &event()).await.unwrap(), None);
    for path in [&[block(1), block(2), wide(0)][..], &[block(1), block(2)], &[block(1)]] {
        assert!(db.store.revoke_witnessed(&of(path), &event()).await.unwrap().is_some(), "{path:?}");
    }
}

async fn of_many_who_take_the_last_place_at_once_one_gets_it(db: &Database) {
    let above = [block(1), block(2), block(3), block(4), block(5)];
    let room = ROOT_ENTRIES_MAX >> 4;
    for n in 1..room {
        db.store.revoke_witnessed(&of(&[&above[..], &[wide(n)]].concat()), &event()).await.unwrap().unwrap();
    }
    let stores = [Arc::clone(&db.store), db.another().await];
    let calls: Vec<_> = (0..8_u64)
        .map(|n| {
            let store = Arc::clone(&stores[usize::from(n % 2 == 0)]);
            let revocation = of(&[&above[..], &[wide(1000 + n)]].concat());
            tokio::spawn(async move { store.revoke_witnessed(&revocation, &event()).await.unwrap().is_some() })
        })
        .collect();
    let mut got = 0;
    for call in calls {
        got += u32::from(call.await.unwrap());
    }
    assert_eq!(got, 1);
}

async fn relying_services_are_found_by_key_and_listed_by_name(db: &Database) {
    let service = |text: &str, n| RelyingService {
        tenant: name("acme"),
        name: name(text),
        key: key(n),
        audience: name("main"),
        created: AT,
    };
    for one in [service("b", 2), service("a", 1)] {
        db.store.add_relying(&one, &change("relying.add", one.name.as_str())).await.unwrap();
    }
    for taken in [service("a", 3), service("c", 1)] {
        let refused = db.store.add_relying(&taken, &event()).await;
        assert!(matches!(refused, Err(StoreError::Conflict("a relying service of that name or key"))), "{refused:?}");
    }
    assert_eq!(db.store.relying(&name("acme")).await.unwrap(), [service("a", 1), service("b", 2)]);
    assert_eq!(db.store.relying(&name("other")).await.unwrap(), []);
    assert_eq!(db.store.relying_by_key(&key(2)).await.unwrap(), Some(service("b", 2)));
    let gone =
        async |tenant| db.store.remove_relying(&name(tenant), &name("b"), AT, &change("relying.remove", "b")).await;
    assert!(matches!(gone("other").await, Err(StoreError::NotFound("relying service"))));
    gone("acme").await.unwrap();
    assert_eq!(db.store.relying_by_key(&key(2)).await.unwrap(), None);
    assert!(matches!(gone("acme").await, Err(StoreError::NotFound("relying service"))));
    assert_eq!(changes(&*db.store).await, ["relying.add b", "relying.add a", "relying.remove b"]);
}
