//! Services, and the version that tells edges to ask again.

use std::sync::Arc;

use writ::store::{StoreError, StoredCatalog};

use super::make::{AT, LATER, change, changes, credential, credential_key, event, installation, name, operator, root};
use super::{Database, for_every_backend};

for_every_backend!(
    a_catalog_that_was_never_changed_is_empty_at_version_0,
    a_service_is_added_replaced_and_removed,
    a_service_name_belongs_to_one_tenant,
    the_catalog_is_listed_by_tenant_and_name,
    the_version_grows_with_credentials_and_root_keys_too,
    the_catalog_is_of_one_moment,
);

fn service(tenant: &str, service: &str, json: &str) -> (writ::id::TenantName, writ::id::ServiceName, Box<str>) {
    (name(tenant), name(service), json.into())
}

async fn put(db: &Database, tenant: &str, service: &str, json: &str) -> Result<u64, StoreError> {
    db.store.put_service(&name(tenant), &name(service), json, 0, AT, &change("service.put", service)).await
}

async fn a_catalog_that_was_never_changed_is_empty_at_version_0(db: &Database) {
    db.store.install(&installation(), &root(1), &operator("olga", 1), AT, &event()).await.unwrap();
    assert_eq!(db.store.catalog().await.unwrap(), StoredCatalog { version: 0, services: vec![] });
    assert_eq!(db.store.catalog_version().await.unwrap(), 0);
}

async fn a_service_is_added_replaced_and_removed(db: &Database) {
    assert_eq!(put(db, "acme", "notes", r#"{"a":1}"#).await.unwrap(), 1);
    assert_eq!(put(db, "acme", "notes", r#"{"ä":"2"}"#).await.unwrap(), 2);
    let services = vec![service("acme", "notes", r#"{"ä":"2"}"#)];
    assert_eq!(db.store.catalog().await.unwrap(), StoredCatalog { version: 2, services });
    let remove = async |tenant| db.store.remove_service(&name(tenant), &name("notes"), 0, AT, &event()).await;
    assert!(matches!(remove("other").await, Err(StoreError::NotFound("service"))));
    assert_eq!(remove("acme").await.unwrap(), 3);
    assert!(matches!(remove("acme").await, Err(StoreError::NotFound("service"))));
    assert_eq!(db.store.catalog().await.unwrap(), StoredCatalog { version: 3, services: vec![] });
    assert_eq!(changes(&*db.store).await, ["service.put notes", "service.put notes", "test thing"]);
}

async fn a_service_name_belongs_to_one_tenant(db: &Database) {
    put(db, "acme", "notes", "{}").await.unwrap();
    let taken = put(db, "other", "notes", "[]").await;
    assert!(matches!(taken, Err(StoreError::Conflict("a service of that name"))), "{taken:?}");
    assert_eq!(db.store.catalog().await.unwrap().services, [service("acme", "notes", "{}")]);
    assert_eq!(db.store.catalog_version().await.unwrap(), 1);
    assert_eq!(changes(&*db.store).await.len(), 1);
}

async fn the_catalog_is_listed_by_tenant_and_name(db: &Database) {
    // A database that sorts as people do would put `a_` before `a1` and ignore `.` and `-`.
    let expected = [("acme", "a-z"), ("acme", "a.b"), ("acme", "a1"), ("acme", "a_b"), ("acme", "ab"), ("b", "aa")];
    for (tenant, service) in expected.iter().rev() {
        put(db, tenant, service, "{}").await.unwrap();
    }
    let listed = db.store.catalog().await.unwrap().services;
    assert_eq!(listed, expected.map(|(tenant, name)| service(tenant, name, "{}")));
}

async fn the_version_grows_with_credentials_and_root_keys_too(db: &Database) {
    let version = async || db.store.catalog_version().await.unwrap();
    let key = credential_key("c", None);
    db.store.put_credential(&credential(key.clone(), 1), &event()).await.unwrap();
    assert_eq!(version().await, 1);
    db.store.remove_credential(&key, AT, &event()).await.unwrap();
    assert_eq!(version().await, 2);
    db.store.add_root_key(&root(2), AT, &event()).await.unwrap();
    assert_eq!(version().await, 3);
    db.store.retire_root_key(2, LATER, AT, &event()).await.unwrap();
    assert_eq!(version().await, 4);
    db.store.retire_root_key(2, LATER, AT, &event()).await.unwrap();
    assert_eq!(version().await, 4, "nothing changed");
}

/// Each change writes its own version into the service: a reader never sees one without the other.
async fn the_catalog_is_of_one_moment(db: &Database) {
    let store = Arc::clone(&db.store);
    let writer = tokio::spawn(async move {
        for version in 1..=40 {
            store.put_service(&name("acme"), &name("notes"), &version.to_string(), 0, AT, &event()).await.unwrap();
        }
    });
    while !writer.is_finished() {
        let catalog = db.store.catalog().await.unwrap();
        if let [(_, _, json)] = &catalog.services[..] {
            assert_eq!(json.parse(), Ok(catalog.version));
        }
    }
    writer.await.unwrap();
}
