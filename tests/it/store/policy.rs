//! Policy sets: versions, what each was checked with, and the groups that it asks for.

use writ::clock::Timestamp;
use writ::policy::limit::Limits;
use writ::store::{NewPolicies, StoreError, StoredPolicies};

use super::make::{AT, LATER, change, changes, name};
use super::{Database, for_every_backend};

for_every_backend!(
    a_set_gets_the_next_version_and_the_catalog_too,
    a_set_that_was_checked_with_another_catalog_changes_nothing,
    a_service_that_was_checked_with_another_set_changes_nothing,
    the_newest_of_each_tenant_counts_and_every_version_stays,
    a_further_group_outdates_what_was_minted_before,
);

async fn put(
    db: &Database,
    tenant: &str,
    document: &str,
    groups: &[&str],
    checked: u64,
) -> Result<StoredPolicies, StoreError> {
    let new = NewPolicies {
        tenant: &name(tenant),
        document,
        groups: groups.iter().map(|group| (group.parse().unwrap(), false)).collect(),
        limits: &Limits::default(),
        author: &"olga".parse().unwrap(),
        checked,
    };
    db.store.put_policies(&new, AT, &change("policy.put", tenant)).await.map(|(stored, _)| stored)
}

fn stored(tenant: &str, version: u64, outdates: u64, document: &str, at: Timestamp) -> StoredPolicies {
    StoredPolicies {
        tenant: name(tenant),
        version,
        outdates,
        document: document.into(),
        author: "olga".parse().unwrap(),
        at,
    }
}

async fn a_set_gets_the_next_version_and_the_catalog_too(db: &Database) {
    assert_eq!(db.store.policies().await.unwrap(), []);
    assert_eq!(put(db, "acme", "ä", &[], 0).await.unwrap(), stored("acme", 1, 0, "ä", AT));
    assert_eq!(db.store.catalog_version().await.unwrap(), 1);
    assert_eq!(put(db, "acme", "ä", &[], 1).await.unwrap().version, 2);
    assert_eq!(put(db, "other", "o", &[], 2).await.unwrap().version, 1);
    assert_eq!(db.store.catalog_version().await.unwrap(), 3);
    assert_eq!(changes(&*db.store).await, ["policy.put acme", "policy.put acme", "policy.put other"]);
}

async fn a_set_that_was_checked_with_another_catalog_changes_nothing(db: &Database) {
    db.store.put_service(&name("acme"), &name("notes"), "{}", 0, AT, &change("service.put", "notes")).await.unwrap();
    for checked in [0, 2] {
        assert!(matches!(put(db, "acme", "a", &[], checked).await, Err(StoreError::Overtaken)));
    }
    assert_eq!(db.store.policies().await.unwrap(), []);
    assert_eq!(changes(&*db.store).await, ["service.put notes"]);
    put(db, "acme", "a", &[], 1).await.unwrap();
}

async fn a_service_that_was_checked_with_another_set_changes_nothing(db: &Database) {
    put(db, "acme", "a", &[], 0).await.unwrap();
    let event = change("service.put", "notes");
    let service =
        async |policies| db.store.put_service(&name("acme"), &name("notes"), "{}", policies, LATER, &event).await;
    for policies in [0, 2] {
        assert!(matches!(service(policies).await, Err(StoreError::Overtaken)));
    }
    assert_eq!(service(1).await.unwrap(), 2);
    let gone = db.store.remove_service(&name("acme"), &name("notes"), 0, LATER, &event).await;
    assert!(matches!(gone, Err(StoreError::Overtaken)));
    // Another tenant's set is none of its business.
    db.store.put_service(&name("other"), &name("mail"), "{}", 0, LATER, &event).await.unwrap();
}

async fn the_newest_of_each_tenant_counts_and_every_version_stays(db: &Database) {
    for (checked, (tenant, document)) in [("b", "b1"), ("a", "a1"), ("a", "a2"), ("a", "a3")].into_iter().enumerate() {
        put(db, tenant, document, &[], checked.try_into().unwrap()).await.unwrap();
    }
    let newest = db.store.policies().await.unwrap();
    assert_eq!(newest, [stored("a", 3, 0, "a3", AT), stored("b", 1, 0, "b1", AT)]);
    let history = async |before, limit| {
        let found = db.store.policy_history(&name("a"), before, limit).await.unwrap();
        found.into_iter().map(|stored| stored.document).collect::<Vec<_>>()
    };
    assert_eq!(history(u64::MAX, 10).await, ["a3".into(), "a2".into(), "a1".into()]);
    assert_eq!(history(3, 1).await, ["a2".into()]);
    assert_eq!(history(1, 10).await, Vec::<Box<str>>::new());
}

async fn a_further_group_outdates_what_was_minted_before(db: &Database) {
    let groups: [&[&str]; 6] = [&[], &["staff"], &["staff"], &[], &["staff", "boss"], &["boss"]];
    let mut outdates = Vec::new();
    for (checked, groups) in groups.into_iter().enumerate() {
        outdates.push(put(db, "acme", "a", groups, checked.try_into().unwrap()).await.unwrap().outdates);
    }
    assert_eq!(outdates, [0, 2, 2, 2, 5, 5]);
}
