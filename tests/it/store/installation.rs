//! The installation, its root keys and operators.

use std::sync::Arc;

use writ::policy::Role;
use writ::store::{Installation, Operator, OperatorRemoval, RootKeyRecord, StoreError};

use super::make::{AT, LATER, change, changes, event, installation, key, name, operator, root, sealed};
use super::{Database, for_every_backend};

for_every_backend!(
    an_installation_is_created_once_with_its_root_key_and_operator,
    of_many_who_install_at_once_one_succeeds,
    a_root_key_id_is_never_used_twice,
    root_keys_are_listed_by_id_retired_ones_included,
    the_end_of_a_root_key_can_only_be_brought_forward,
    an_operators_name_and_secret_are_unique,
    the_last_admin_stays_whoever_else_there_is,
    rewrapping_replaces_what_is_sealed_and_nothing_else,
    a_rewrap_that_does_not_fit_changes_nothing,
    the_store_is_ready,
);

async fn install(db: &Database) {
    let event = change("install", "writ");
    db.store.install(&installation(), &root(1), &operator("olga", 1), AT, &event).await.unwrap();
}

async fn an_installation_is_created_once_with_its_root_key_and_operator(db: &Database) {
    assert_eq!(db.store.installation().await.unwrap(), None);
    install(db).await;
    let second = Installation { issuer: "https://other.example".into(), ..installation() };
    let refused = db.store.install(&second, &root(2), &operator("otto", 2), AT, &event()).await;
    assert!(matches!(refused, Err(StoreError::Conflict("an installation"))), "{refused:?}");
    assert_eq!(db.store.installation().await.unwrap(), Some(installation()));
    assert_eq!(db.store.root_keys().await.unwrap(), [root(1)]);
    assert_eq!(db.store.operator_by_secret(&[1; 32]).await.unwrap(), Some(operator("olga", 1)));
    assert_eq!(db.store.operator_by_secret(&[2; 32]).await.unwrap(), None);
    assert_eq!(changes(&*db.store).await, ["install writ"]);
}

async fn of_many_who_install_at_once_one_succeeds(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    let calls: Vec<_> = (1..=8)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                let (root, operator) = (root(u32::try_from(n).unwrap()), operator("olga", u8::try_from(n).unwrap()));
                store.install(&installation(), &root, &operator, AT, &event()).await.is_ok()
            })
        })
        .collect();
    let mut installed = 0;
    for call in calls {
        installed += u32::from(call.await.unwrap());
    }
    assert_eq!(installed, 1);
    assert_eq!(db.store.root_keys().await.unwrap().len(), 1);
    assert_eq!(changes(&*db.store).await.len(), 1);
}

async fn a_root_key_id_is_never_used_twice(db: &Database) {
    install(db).await;
    db.store.retire_root_key(1, AT, AT, &event()).await.unwrap();
    for again in [RootKeyRecord { key: key(50), ..root(1) }, RootKeyRecord { key: key(1), ..root(2) }] {
        let refused = db.store.add_root_key(&again, AT, &event()).await;
        assert!(matches!(refused, Err(StoreError::Conflict("a root key of that id or key"))), "{refused:?}");
    }
    assert_eq!(db.store.root_keys().await.unwrap().len(), 1);
    assert_eq!(changes(&*db.store).await.len(), 2);
}

async fn root_keys_are_listed_by_id_retired_ones_included(db: &Database) {
    install(db).await;
    for id in [12, 2] {
        db.store.add_root_key(&root(id), AT, &event()).await.unwrap();
    }
    db.store.retire_root_key(2, LATER, AT, &event()).await.unwrap();
    let retired = RootKeyRecord { until: Some(LATER), ..root(2) };
    assert_eq!(db.store.root_keys().await.unwrap(), [root(1), retired, root(12)]);
}

async fn the_end_of_a_root_key_can_only_be_brought_forward(db: &Database) {
    install(db).await;
    let until = async || db.store.root_keys().await.unwrap()[0].until;
    db.store.retire_root_key(1, LATER, AT, &event()).await.unwrap();
    assert_eq!(until().await, Some(LATER));
    db.store.retire_root_key(1, AT, AT, &event()).await.unwrap();
    assert_eq!(until().await, Some(AT));
    db.store.retire_root_key(1, LATER, AT, &event()).await.unwrap();
    assert_eq!(until().await, Some(AT));
    assert_eq!(changes(&*db.store).await.len(), 3, "what changes nothing leaves no record");
    let unknown = db.store.retire_root_key(9, LATER, AT, &event()).await;
    assert!(matches!(unknown, Err(StoreError::NotFound("root key"))));
}

async fn an_operators_name_and_secret_are_unique(db: &Database) {
    install(db).await;
    db.store.add_operator(&operator("otto", 2), AT, &change("operator.add", "otto")).await.unwrap();
    for again in [operator("otto", 3), operator("ole", 2)] {
        let refused = db.store.add_operator(&again, AT, &event()).await;
        assert!(matches!(refused, Err(StoreError::Conflict("an operator of that name or secret"))), "{refused:?}");
    }
    assert_eq!(db.store.operator_by_secret(&[2; 32]).await.unwrap().unwrap().name, name("otto"));
    assert_eq!(changes(&*db.store).await, ["install writ", "operator.add otto"]);
}

async fn the_last_admin_stays_whoever_else_there_is(db: &Database) {
    install(db).await;
    let auditor = Operator { role: Role::Auditor, ..operator("audrey", 2) };
    db.store.add_operator(&auditor, AT, &event()).await.unwrap();
    assert_eq!(db.store.operator_by_secret(&[2; 32]).await.unwrap(), Some(auditor.clone()));
    let first = db.store.operators().await.unwrap().into_iter().find(|one| one.role == Role::Admin).unwrap().name;
    let remove = async |who| db.store.remove_operator(who, AT, &event()).await.unwrap();
    assert_eq!(remove(&first).await, OperatorRemoval::LastOne);
    assert_eq!(remove(&auditor.name).await, OperatorRemoval::Removed);
    assert_eq!(remove(&first).await, OperatorRemoval::LastOne);
}

async fn rewrapping_replaces_what_is_sealed_and_nothing_else(db: &Database) {
    install(db).await;
    db.store.add_root_key(&root(2), AT, &event()).await.unwrap();
    let wrapped = Installation {
        issuer: "https://other.example".into(),
        kek_check: sealed(7),
        authority_seed: sealed(8),
        created: LATER,
        ..installation()
    };
    let roots = [RootKeyRecord { seed: sealed(9), signs_from: AT, until: Some(AT), ..root(1) }];
    db.store.rewrap_installation(&wrapped, &roots, AT, &change("kek.rotate", "kek7")).await.unwrap();
    let expected = Installation { kek_check: sealed(7), authority_seed: sealed(8), ..installation() };
    assert_eq!(db.store.installation().await.unwrap(), Some(expected));
    assert_eq!(db.store.root_keys().await.unwrap(), [RootKeyRecord { seed: sealed(9), ..root(1) }, root(2)]);
    assert_eq!(changes(&*db.store).await.last().unwrap(), "kek.rotate kek7");
}

async fn a_rewrap_that_does_not_fit_changes_nothing(db: &Database) {
    let nothing = db.store.rewrap_installation(&installation(), &[], AT, &event()).await;
    assert!(matches!(nothing, Err(StoreError::NotFound("installation"))));
    install(db).await;
    let wrapped = Installation { kek_check: sealed(7), ..installation() };
    let unknown = db.store.rewrap_installation(&wrapped, &[root(1), root(2)], AT, &event()).await;
    assert!(matches!(unknown, Err(StoreError::NotFound("root key"))));
    assert_eq!(db.store.installation().await.unwrap(), Some(installation()));
    let of_another = Installation { authority_key: key(9), ..wrapped };
    let refused = db.store.rewrap_installation(&of_another, &[], AT, &event()).await;
    assert!(matches!(refused, Err(StoreError::NotFound("installation"))));
    assert_eq!(changes(&*db.store).await, ["install writ"]);
}

async fn the_store_is_ready(db: &Database) {
    db.store.ready().await.unwrap();
}
