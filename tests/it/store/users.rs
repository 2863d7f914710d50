//! Users: whose logins ended, and what was issued for them.

use writ::clock::Timestamp;
use writ::id::GrantId;
use writ::revocation::Target;
use writ::store::{IssuedWrit, Recorded};

use crate::store::make::{AT, LATER, block, event, issued, name, revocation};
use crate::store::{Database, for_every_backend};

for_every_backend!(
    ending_logins_suspends_nobody_and_revoking_a_user_does,
    what_counts_once_ends_logins_once,
    what_counts_once_suspends_once_and_is_recorded_once,
    a_users_live_writs_are_those_that_nothing_has_ended,
);

fn alice() -> Target {
    Target::Subject(name("acme"), name("alice"))
}

async fn ending_logins_suspends_nobody_and_revoking_a_user_does(db: &Database) {
    db.store.end_logins(&revocation(alice()), None, &event()).await.unwrap().unwrap();
    let is_suspended = async |user: &str| db.store.is_suspended(&name("acme"), &name(user)).await.unwrap();
    assert!(!is_suspended("alice").await);
    db.store.revoke(&revocation(alice()), &event()).await.unwrap();
    assert!(is_suspended("alice").await && !is_suspended("bob").await);
}

async fn what_counts_once_ends_logins_once(db: &Database) {
    let end =
        async |id: u8| db.store.end_logins(&revocation(alice()), Some((&[id; 32], LATER)), &event()).await.unwrap();
    assert_eq!(end(1).await.map(|entry| entry.seq), Some(1));
    assert_eq!(end(1).await, None);
    assert_eq!(db.store.revocation_head().await.unwrap(), 1);
    assert_eq!(end(2).await.map(|entry| entry.seq), Some(2));
    let (one, two) = tokio::join!(end(3), end(3));
    assert_eq!([one, two].iter().flatten().count(), 1);
    // The name was used up in the same place as every other.
    assert!(!db.store.use_once(&[3; 32], LATER, AT).await.unwrap());
}

async fn what_counts_once_suspends_once_and_is_recorded_once(db: &Database) {
    let once = |id: &'static [u8; 32]| Some((id, LATER));
    let suspend = async |id| db.store.suspend_user(&revocation(alice()), once(id), &event()).await.unwrap();
    let is_suspended = async || db.store.is_suspended(&name("acme"), &name("alice")).await.unwrap();
    assert_eq!(suspend(&[1; 32]).await.map(|entry| entry.seq), Some(1));
    assert!(is_suspended().await);
    db.store.reactivate_user(&name("acme"), &name("alice"), AT, &event()).await.unwrap();
    // A message that comes again does not undo what came after it.
    assert_eq!(suspend(&[1; 32]).await, None);
    assert!(!is_suspended().await);
    let record = async |id: &[u8; 32]| db.store.record_said((id, LATER), AT, &event()).await.unwrap();
    assert!(!record(&[1; 32]).await, "one name for everything");
    assert!(record(&[2; 32]).await && !record(&[2; 32]).await);
    assert_eq!(db.store.revocation_head().await.unwrap(), 1);
}

async fn a_users_live_writs_are_those_that_nothing_has_ended(db: &Database) {
    let writ = |n: u8| IssuedWrit {
        subject: Some(name("alice")),
        session: Some(name("sid/1")),
        grants: vec![GrantId::from_bytes([n; 16])],
        issued: Timestamp::from_millis(AT.millis() + i64::from(n)),
        ..issued(n)
    };
    let live = async |at: Timestamp| {
        let writs = db.store.issued_for(&name("acme"), &name("alice"), at, 10).await.unwrap();
        writs.into_iter().map(|writ| writ.id).collect::<Vec<_>>()
    };
    for (n, other) in [
        (1, writ(1)),
        (2, writ(2)),
        (3, IssuedWrit { subject: Some(name("bob")), ..writ(3) }),
        (4, IssuedWrit { subject: None, ..writ(4) }),
        (5, IssuedWrit { tenant: name("other"), ..writ(5) }),
    ] {
        assert_eq!(other.id, block(n));
        assert_eq!(db.store.record_issued(&other, &[], &event()).await.unwrap(), Recorded::Yes);
    }
    assert_eq!(live(LATER).await, [block(2), block(1)], "the latest first");
    assert_eq!(live(Timestamp::from_millis(LATER.millis() + 1)).await, []);
    let one = db.store.issued_for(&name("acme"), &name("alice"), AT, 1).await.unwrap();
    assert_eq!(one[0], writ(2));
    // The log's first seven entries are before the writs (`epoch` 7), the others after them.
    for others in 0..7 {
        db.store
            .revoke(&revocation(Target::Session(name("acme"), name(&format!("other/{others}")))), &event())
            .await
            .unwrap();
    }
    db.store.revoke(&revocation(Target::Block(block(1))), &event()).await.unwrap();
    assert_eq!(live(AT).await, [block(2)]);
    for harmless in [
        Target::Subject(name("acme"), name("bob")),
        Target::Session(name("acme"), name("sid/2")),
        Target::Acting(name("acme"), name("b"), name("alice")),
        Target::Grant(GrantId::from_bytes([1; 16])),
        Target::Tenant(name("other")),
        Target::Service(name("acme"), name("notes")),
    ] {
        db.store.end_logins(&revocation(harmless), None, &event()).await.unwrap();
        assert_eq!(live(AT).await, [block(2)]);
    }
    for ((n, epoch), deadly) in (10..).zip(14..).zip([
        Target::Subject(name("acme"), name("alice")),
        Target::Session(name("acme"), name("sid/1")),
        Target::Acting(name("acme"), name("a"), name("alice")),
        Target::Agent(name("acme"), name("a")),
        Target::Grant(GrantId::from_bytes([99; 16])),
        Target::Tenant(name("acme")),
    ]) {
        let fresh = IssuedWrit { epoch, grants: vec![GrantId::from_bytes([99; 16])], ..writ(n) };
        assert_eq!(db.store.record_issued(&fresh, &[], &event()).await.unwrap(), Recorded::Yes);
        assert!(live(AT).await.contains(&block(n)), "{deadly}");
        db.store.end_logins(&revocation(deadly.clone()), None, &event()).await.unwrap();
        assert!(!live(AT).await.contains(&block(n)), "{deadly}");
    }
}
