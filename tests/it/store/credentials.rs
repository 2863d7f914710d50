//! Sealed credentials.

use std::sync::Arc;

use writ::revocation::Target;
use writ::store::{CredentialRecord, StoreError};
use writ::vault::CredentialKind;

use super::make::{AT, LATER, change, changes, credential, credential_key, event, name, revocation, sealed};
use super::{Database, for_every_backend};

for_every_backend!(
    a_stored_credential_is_read_back,
    versions_count_from_1,
    a_version_keeps_the_head_of_the_log_at_which_it_was_stored,
    another_version_than_the_next_changes_nothing,
    of_many_who_rotate_at_once_one_succeeds,
    a_removed_credential_does_not_start_its_versions_again,
    a_users_credential_is_another_than_the_shared_one,
    credentials_are_listed_by_name_and_user,
    credentials_under_another_key_are_found_across_tenants,
    rewrapping_leaves_a_credential_alone_that_changed_meanwhile,
    a_rotation_and_a_rewrap_at_once_never_mix,
);

async fn put(db: &Database, credential: &CredentialRecord) -> Result<(), StoreError> {
    db.store.put_credential(credential, &change("credential.put", credential.key.name.as_str())).await
}

async fn a_stored_credential_is_read_back(db: &Database) {
    let kinds = [
        CredentialKind::Bearer,
        CredentialKind::Header { name: "x-api-key".into() },
        CredentialKind::Basic { username: "usér".into() },
        CredentialKind::Query { name: "key".into() },
    ];
    for (kind, n) in kinds.into_iter().zip(1..) {
        let key = credential_key(&format!("c{n}"), None);
        let credential = CredentialRecord { kind, sealed: sealed(n), ..credential(key.clone(), 1) };
        assert_eq!(db.store.credential(&key).await.unwrap(), None);
        put(db, &credential).await.unwrap();
        assert_eq!(db.store.credential(&key).await.unwrap(), Some(credential));
    }
    assert_eq!(changes(&*db.store).await[0], "credential.put c1");
}

async fn versions_count_from_1(db: &Database) {
    let key = credential_key("c", None);
    for version in 1..=3 {
        assert_eq!(db.store.next_credential_version(&key).await.unwrap(), version);
        put(db, &credential(key.clone(), version)).await.unwrap();
        assert_eq!(db.store.credential(&key).await.unwrap().unwrap().version, version);
    }
    assert_eq!(db.store.credentials(&name("acme")).await.unwrap().len(), 1);
}

async fn a_version_keeps_the_head_of_the_log_at_which_it_was_stored(db: &Database) {
    let key = credential_key("c", None);
    for version in 1..=3 {
        let told = CredentialRecord { stored_epoch: 77, ..credential(key.clone(), version) };
        put(db, &told).await.unwrap();
        let stored = db.store.credential(&key).await.unwrap().unwrap();
        assert_eq!(stored.stored_epoch, u64::from(version - 1), "not what the caller says");
        db.store.revoke(&revocation(Target::Everything), &event()).await.unwrap();
        // Neither a later entry nor a new wrapping makes it younger.
        db.store
            .rewrap_credentials(&[CredentialRecord { sealed: sealed(2), ..stored.clone() }], AT, &event())
            .await
            .unwrap();
        assert_eq!(db.store.credential(&key).await.unwrap().unwrap().stored_epoch, stored.stored_epoch);
    }
}

async fn another_version_than_the_next_changes_nothing(db: &Database) {
    let key = credential_key("c", None);
    let first = credential(key.clone(), 1);
    put(db, &first).await.unwrap();
    for version in [0, 1, 3, u32::MAX] {
        let other = CredentialRecord { sealed: sealed(9), ..credential(key.clone(), version) };
        let refused = put(db, &other).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{version}: {refused:?}");
    }
    assert_eq!(db.store.credential(&key).await.unwrap(), Some(first));
    assert_eq!(db.store.next_credential_version(&key).await.unwrap(), 2);
    assert_eq!(changes(&*db.store).await.len(), 1);
}

async fn of_many_who_rotate_at_once_one_succeeds(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    let key = credential_key("c", None);
    for version in 1..=5 {
        let calls: Vec<_> = (0..8)
            .map(|n| {
                let store = Arc::clone(&stores[n % 2]);
                let credential = credential(key.clone(), version);
                tokio::spawn(async move { store.put_credential(&credential, &event()).await.is_ok() })
            })
            .collect();
        let mut stored = 0;
        for call in calls {
            stored += u32::from(call.await.unwrap());
        }
        assert_eq!(stored, 1);
    }
    assert_eq!(db.store.next_credential_version(&key).await.unwrap(), 6);
}

async fn a_removed_credential_does_not_start_its_versions_again(db: &Database) {
    let key = credential_key("c", None);
    put(db, &credential(key.clone(), 1)).await.unwrap();
    db.store.remove_credential(&key, AT, &change("credential.remove", "c")).await.unwrap();
    assert_eq!(db.store.credential(&key).await.unwrap(), None);
    assert_eq!(db.store.credentials(&name("acme")).await.unwrap(), []);
    assert!(matches!(db.store.remove_credential(&key, AT, &event()).await, Err(StoreError::NotFound("credential"))));
    assert!(matches!(put(db, &credential(key.clone(), 1)).await, Err(StoreError::Conflict(_))));
    assert_eq!(db.store.next_credential_version(&key).await.unwrap(), 2);
    put(db, &credential(key.clone(), 2)).await.unwrap();
    assert_eq!(changes(&*db.store).await, ["credential.put c", "credential.remove c", "credential.put c"]);
}

async fn a_users_credential_is_another_than_the_shared_one(db: &Database) {
    let (shared, alice) = (credential_key("c", None), credential_key("c", Some("alice")));
    put(db, &credential(shared.clone(), 1)).await.unwrap();
    put(db, &credential(alice.clone(), 1)).await.unwrap();
    put(db, &credential(alice.clone(), 2)).await.unwrap();
    assert_eq!(db.store.credential(&shared).await.unwrap().unwrap().version, 1);
    assert_eq!(db.store.credential(&alice).await.unwrap().unwrap().version, 2);
    assert_eq!(db.store.credential(&credential_key("c", Some("bob"))).await.unwrap(), None);
    db.store.remove_credential(&shared, AT, &event()).await.unwrap();
    assert_eq!(db.store.credential(&alice).await.unwrap().unwrap().key, alice);
}

async fn credentials_are_listed_by_name_and_user(db: &Database) {
    let keys = [("a", None), ("b", None), ("b", Some("alice")), ("b", Some("bob")), ("c", None)];
    for (name, subject) in keys.iter().rev() {
        put(db, &credential(credential_key(name, *subject), 1)).await.unwrap();
    }
    let listed: Vec<_> = db.store.credentials(&name("acme")).await.unwrap().into_iter().map(|c| c.key).collect();
    assert_eq!(listed, keys.map(|(name, subject)| credential_key(name, subject)));
    assert_eq!(db.store.credentials(&name("other")).await.unwrap(), []);
}

async fn credentials_under_another_key_are_found_across_tenants(db: &Database) {
    let mut other = credential(credential_key("c", None), 1);
    other.key.tenant = name("other");
    put(db, &other).await.unwrap();
    put(db, &credential(credential_key("c", None), 1)).await.unwrap();
    let new = CredentialRecord { sealed: sealed(2), ..credential(credential_key("d", None), 1) };
    put(db, &new).await.unwrap();
    assert_eq!(db.store.credentials_not_under("kek2", 10).await.unwrap().len(), 2);
    assert_eq!(db.store.credentials_not_under("kek2", 1).await.unwrap().len(), 1);
    assert_eq!(db.store.credentials_not_under("kek1", 10).await.unwrap(), [new]);
}

async fn rewrapping_leaves_a_credential_alone_that_changed_meanwhile(db: &Database) {
    let keys = ["a", "b", "c"].map(|name| credential_key(name, None));
    for key in &keys {
        put(db, &credential(key.clone(), 1)).await.unwrap();
    }
    let before = db.store.credentials_not_under("kek5", 10).await.unwrap();
    let rotated = CredentialRecord { sealed: sealed(3), ..credential(keys[1].clone(), 2) };
    put(db, &rotated).await.unwrap();
    db.store.remove_credential(&keys[2], AT, &event()).await.unwrap();
    let wrapped: Vec<_> =
        before.into_iter().map(|c| CredentialRecord { sealed: sealed(5), updated: LATER, ..c }).collect();
    let version = db.store.catalog_version().await.unwrap();
    let records = changes(&*db.store).await.len();
    assert_eq!(db.store.rewrap_credentials(&wrapped, AT, &change("vault.rewrap", "kek5")).await.unwrap(), 1);
    let expected = CredentialRecord { sealed: sealed(5), ..credential(keys[0].clone(), 1) };
    assert_eq!(db.store.credentials(&name("acme")).await.unwrap(), [expected, rotated]);
    assert_eq!(db.store.catalog_version().await.unwrap(), version, "the secrets are the same");
    assert_eq!(db.store.rewrap_credentials(&wrapped[1..], AT, &event()).await.unwrap(), 0);
    assert_eq!(changes(&*db.store).await.len(), records + 1, "what replaces nothing leaves no record");
}

/// Rotation writes `text<version>`; a rewrap must never put an older text under a newer version.
async fn a_rotation_and_a_rewrap_at_once_never_mix(db: &Database) {
    let key = credential_key("c", None);
    let numbered = |version: u32| CredentialRecord {
        sealed: sealed(u8::try_from(version).unwrap()),
        ..credential(credential_key("c", None), version)
    };
    put(db, &numbered(1)).await.unwrap();
    let store = db.another().await;
    let rotation = tokio::spawn(async move {
        for version in 2..=30 {
            store.put_credential(&numbered(version), &event()).await.unwrap();
        }
    });
    while !rotation.is_finished() {
        let mut current = db.store.credential(&key).await.unwrap().unwrap();
        current.sealed.kek = "new".into();
        db.store.rewrap_credentials(&[current], AT, &event()).await.unwrap();
        let current = db.store.credential(&key).await.unwrap().unwrap();
        assert_eq!(*current.sealed.ciphertext, format!("text{}", current.version));
    }
    rotation.await.unwrap();
}
