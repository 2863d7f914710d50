//! Nothing is stored by half: calls that fail or are given up in the middle leave no trace and block nobody.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use writ::audit::{Head, Source, Verdict};
use writ::revocation::Target;
use writ::store::StoreError;

use super::make::{
    AT, LATER, agent, change, changes, credential, credential_key, decision, event, grant, installation, journal, key,
    name, operator, revocation, root,
};
use super::{Database, for_every_backend};

for_every_backend!(
    a_call_that_is_given_up_leaves_nothing_and_blocks_nobody,
    a_change_whose_audit_record_fails_does_not_happen,
    a_shipment_that_fails_in_the_middle_leaves_nothing,
);

/// Drops calls after 0, 1, 2 … polls, wherever they stand then.
async fn a_call_that_is_given_up_leaves_nothing_and_blocks_nobody(db: &Database) {
    for polls in 0..24_u8 {
        let (agent, event) = (agent(&format!("a{polls}"), polls), change("agent.register", &format!("a{polls}")));
        let mut call = db.store.register_agent(&agent, &event);
        let mut ended = false;
        for _ in 0..polls {
            ended = tokio::time::timeout(
                Duration::from_millis(2),
                std::future::poll_fn(|cx| match call.poll_unpin(cx) {
                    std::task::Poll::Ready(answer) => std::task::Poll::Ready(Some(answer)),
                    std::task::Poll::Pending => std::task::Poll::Ready(None),
                }),
            )
            .await
            .is_ok_and(|answer| answer.is_some());
            if ended {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(call);
        // Whoever comes next is not held up, and sees the whole change or none of it.
        let next = tokio::time::timeout(Duration::from_secs(30), db.store.record(AT, &change("next", "one"))).await;
        next.expect("a call that was given up holds a lock").unwrap();
        let there = db.store.agent_by_key(&key(polls)).await.unwrap().is_some();
        assert!(there || !ended);
        let recorded = changes(&*db.store).await.contains(&format!("agent.register a{polls}"));
        assert_eq!(there, recorded, "a change and its record are one");
    }
}

/// Puts a record where the next one must go, so that every change fails at its last statement.
async fn block_the_log(db: &Database) {
    db.sql("UPDATE heads SET audit_position = audit_position - 1").await;
}

async fn a_change_whose_audit_record_fails_does_not_happen(db: &Database) {
    let store = Arc::clone(&db.store);
    store.install(&installation(), &root(1), &operator("olga", 1), AT, &event()).await.unwrap();
    store.register_agent(&agent("a", 1), &event()).await.unwrap();
    store.add_grant(&grant(1, "a"), AT, &event()).await.unwrap();
    let key = credential_key("c", None);
    store.put_credential(&credential(key.clone(), 1), &event()).await.unwrap();
    block_the_log(db).await;
    let acme = name("acme");
    let refused = [
        store.register_agent(&agent("b", 2), &event()).await,
        store.disable_agent(&acme, &name("a"), LATER, AT, &event()).await.map(drop),
        store.remove_grant(&acme, grant(1, "a").id, LATER, AT, &event()).await.map(drop),
        store.revoke(&revocation(Target::Everything), &event()).await.map(drop),
        store.put_credential(&credential(key.clone(), 2), &event()).await,
        store.remove_credential(&key, AT, &event()).await,
        store.retire_root_key(1, AT, AT, &event()).await,
        store.put_service(&acme, &name("notes"), "{}", 0, AT, &event()).await.map(drop),
    ];
    for answer in &refused {
        assert!(answer.is_err());
    }
    assert_eq!(store.agents(&acme).await.unwrap(), [agent("a", 1)]);
    assert_eq!(store.grants(&acme, None).await.unwrap().len(), 1);
    assert_eq!(store.revocation_head().await.unwrap(), 0);
    assert_eq!(store.revocations_after(0, 10).await.unwrap(), []);
    assert_eq!(store.credential(&key).await.unwrap().unwrap().version, 1);
    assert_eq!(store.next_credential_version(&key).await.unwrap(), 2);
    assert_eq!(store.root_keys().await.unwrap(), [root(1)]);
    assert_eq!(store.catalog().await.unwrap().services, []);
    assert_eq!(changes(&*store).await.len(), 4);
}

async fn a_shipment_that_fails_in_the_middle_leaves_nothing(db: &Database) {
    let source: Source = name("edge:e");
    for _ in 0..50 {
        db.store.record(AT, &event()).await.unwrap();
    }
    // The shipment's first forty records fit, and then one place is taken.
    db.sql("UPDATE heads SET audit_position = 10").await;
    let records = journal(&source, &Head::empty(), (0..100).map(|n| decision(n, Verdict::Allowed)));
    let refused = db.store.append_audit(&source, &records, None).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(db.store.audit_head(&source).await.unwrap(), Head::empty());
    db.sql("UPDATE heads SET audit_position = 50").await;
    let head = db.store.append_audit(&source, &records, None).await.unwrap();
    assert_eq!(head.seq, 100);
    assert_eq!(changes(&*db.store).await.len(), 50);
}
