//! Suspended users, the stop of everything, and operators who leave.

use writ::clock::Timestamp;
use writ::id::Subject;
use writ::revocation::Target;
use writ::store::{Lift, NewRevocation, Operator, OperatorRemoval, Stop, StoreError, SuspendedUser};

use super::make::{AT, LATER, agent, change, changes, event, installation, key, name, operator, revocation, root};
use super::{Database, for_every_backend};

for_every_backend!(
    a_revoked_user_is_suspended_known_or_not,
    a_reactivated_user_is_issued_writs_again_and_the_entry_stays,
    a_repeated_request_does_not_suspend_again,
    everything_is_stopped_until_another_operator_lifts_it,
    a_second_stop_stays_the_first_ones,
    a_person_with_two_names_does_not_lift_their_own_stop,
    an_operator_who_came_after_the_stop_does_not_lift_it,
    the_issue_context_shows_suspension_and_stop_of_the_moment_of_its_epoch,
    operators_are_listed_by_name_and_removed_but_the_last,
    of_two_who_remove_each_other_at_once_one_stays,
);

fn alice() -> Subject {
    name("alice@example.com")
}

fn everything() -> NewRevocation {
    revocation(Target::Everything)
}

async fn a_revoked_user_is_suspended_known_or_not(db: &Database) {
    for subject in [alice(), name("never/seen: ü")] {
        db.store.revoke(&revocation(Target::Subject(name("acme"), subject)), &event()).await.unwrap();
    }
    let suspended = |subject, seq| SuspendedUser { tenant: name("acme"), subject, seq, at: AT };
    let found = db.store.suspended_users(&name("acme")).await.unwrap();
    assert_eq!(found, [suspended(alice(), 1), suspended(name("never/seen: ü"), 2)]);
    assert_eq!(db.store.suspended_users(&name("other")).await.unwrap(), []);
    // Nobody else is.
    for target in [Target::Agent(name("acme"), name("a")), Target::Tenant(name("acme")), Target::Holder(key(1))] {
        db.store.revoke(&revocation(target), &event()).await.unwrap();
    }
    assert_eq!(db.store.suspended_users(&name("acme")).await.unwrap().len(), 2);
    let again = NewRevocation { at: LATER, ..revocation(Target::Subject(name("acme"), alice())) };
    db.store.revoke(&again, &event()).await.unwrap();
    assert_eq!(db.store.suspended_users(&name("acme")).await.unwrap()[0].seq, 6);
}

async fn a_reactivated_user_is_issued_writs_again_and_the_entry_stays(db: &Database) {
    let reactivate =
        async |tenant| db.store.reactivate_user(&name(tenant), &alice(), AT, &change("user.reactivate", "alice")).await;
    assert!(matches!(reactivate("acme").await, Err(StoreError::NotFound("suspended user"))));
    let entry = db.store.revoke(&revocation(Target::Subject(name("acme"), alice())), &event()).await.unwrap();
    assert!(matches!(reactivate("other").await, Err(StoreError::NotFound("suspended user"))));
    reactivate("acme").await.unwrap();
    assert_eq!(db.store.suspended_users(&name("acme")).await.unwrap(), []);
    assert_eq!(db.store.revocations_after(0, 10).await.unwrap(), [entry]);
    assert!(matches!(reactivate("acme").await, Err(StoreError::NotFound("suspended user"))));
    assert_eq!(changes(&*db.store).await, ["test thing", "user.reactivate alice"]);
}

/// Its answer was lost; meanwhile an operator decided otherwise.
async fn a_repeated_request_does_not_suspend_again(db: &Database) {
    let keyed =
        NewRevocation { idempotency_key: Some("k".into()), ..revocation(Target::Subject(name("acme"), alice())) };
    let first = db.store.revoke(&keyed, &event()).await.unwrap();
    db.store.reactivate_user(&name("acme"), &alice(), AT, &event()).await.unwrap();
    assert_eq!(db.store.revoke(&keyed, &event()).await.unwrap(), first);
    assert_eq!(db.store.suspended_users(&name("acme")).await.unwrap(), []);
}

async fn with_operators(db: &Database) {
    db.store.install(&installation(), &root(1), &operator("olga", 1), AT, &event()).await.unwrap();
    db.store.add_operator(&operator("otto", 2), AT, &event()).await.unwrap();
}

async fn everything_is_stopped_until_another_operator_lifts_it(db: &Database) {
    with_operators(db).await;
    let lift = async |by| db.store.lift_stop(&name(by), AT, &change("stop.lift", "everything")).await;
    assert_eq!(db.store.stop().await.unwrap(), None);
    assert!(matches!(lift("otto").await, Err(StoreError::NotFound("stop to lift"))));
    let entry = db.store.revoke(&everything(), &event()).await.unwrap();
    assert_eq!(
        db.store.stop().await.unwrap(),
        Some(Stop { seq: entry.seq, at: AT, by: Some(name("olga")), person: None })
    );
    assert_eq!(lift("olga").await.unwrap(), Lift::SameOperator);
    assert!(matches!(lift("nobody").await, Err(StoreError::NotFound("operator"))));
    assert!(db.store.stop().await.unwrap().is_some());
    assert_eq!(lift("otto").await.unwrap(), Lift::Lifted);
    assert_eq!(db.another().await.stop().await.unwrap(), None);
    assert_eq!(db.store.revocations_after(0, 10).await.unwrap(), [entry]);
    assert_eq!(changes(&*db.store).await[2..], ["test thing", "stop.lift everything"]);
}

async fn a_second_stop_stays_the_first_ones(db: &Database) {
    with_operators(db).await;
    db.store.revoke(&everything(), &event()).await.unwrap();
    let mut of_otto = event();
    of_otto.actor = writ::audit::Actor::Operator(name("otto"));
    assert_eq!(db.store.revoke(&everything(), &of_otto).await.unwrap().seq, 2);
    assert_eq!(db.store.stop().await.unwrap(), Some(Stop { seq: 1, at: AT, by: Some(name("olga")), person: None }));
    assert_eq!(db.store.lift_stop(&name("otto"), AT, &event()).await.unwrap(), Lift::Lifted);
}

async fn a_person_with_two_names_does_not_lift_their_own_stop(db: &Database) {
    let alice = || Some(name("corp:alice@example.com"));
    db.store
        .install(&installation(), &root(1), &Operator { person: alice(), ..operator("olga", 1) }, AT, &event())
        .await
        .unwrap();
    db.store.add_operator(&Operator { person: alice(), ..operator("otto", 2) }, AT, &event()).await.unwrap();
    db.store
        .add_operator(&Operator { person: Some(name("corp:bob")), ..operator("ole", 3) }, AT, &event())
        .await
        .unwrap();
    db.store.revoke(&everything(), &event()).await.unwrap();
    assert_eq!(db.store.stop().await.unwrap().unwrap().person, alice());
    // What is known of the person outlives the name.
    db.store.remove_operator(&name("olga"), AT, &event()).await.unwrap();
    assert_eq!(db.store.lift_stop(&name("otto"), AT, &event()).await.unwrap(), Lift::SameOperator);
    assert_eq!(db.store.lift_stop(&name("ole"), AT, &event()).await.unwrap(), Lift::Lifted);
}

async fn an_operator_who_came_after_the_stop_does_not_lift_it(db: &Database) {
    with_operators(db).await;
    db.store.revoke(&everything(), &event()).await.unwrap();
    let mut puppet = operator("puppet", 3);
    puppet.created = Timestamp::from_millis(AT.millis() + 1);
    db.store.add_operator(&puppet, AT, &event()).await.unwrap();
    assert_eq!(db.store.lift_stop(&puppet.name, LATER, &event()).await.unwrap(), Lift::AddedSince);
    assert!(db.store.stop().await.unwrap().is_some());
}

async fn the_issue_context_shows_suspension_and_stop_of_the_moment_of_its_epoch(db: &Database) {
    with_operators(db).await;
    db.store.register_agent(&agent("a", 1), &event()).await.unwrap();
    let shown = async |subject: Option<Subject>| {
        let context = db.store.issue_context(&key(1), subject.as_ref()).await.unwrap();
        (context.epoch, context.suspended, context.stopped)
    };
    assert_eq!(shown(Some(alice())).await, (0, false, false));
    for tenant in ["other", "acme"] {
        db.store.revoke(&revocation(Target::Subject(name(tenant), alice())), &event()).await.unwrap();
    }
    assert_eq!(shown(Some(alice())).await, (2, true, false));
    assert_eq!(shown(Some(name("bob"))).await, (2, false, false));
    assert_eq!(shown(None).await, (2, false, false));
    db.store.reactivate_user(&name("acme"), &alice(), AT, &event()).await.unwrap();
    assert_eq!(shown(Some(alice())).await, (2, false, false));
    db.store.revoke(&everything(), &event()).await.unwrap();
    assert_eq!(shown(None).await, (3, false, true));
    // While it is made and lifted, whoever sees no stop has the epoch after the lift or before the stop: never between.
    db.store.lift_stop(&name("otto"), AT, &event()).await.unwrap();
    let store = std::sync::Arc::clone(&db.store);
    let writer = tokio::spawn(async move {
        for _ in 0..20 {
            store.revoke(&revocation(Target::Subject(name("acme"), alice())), &event()).await.unwrap();
            store.revoke(&revocation(Target::Tenant(name("acme"))), &event()).await.unwrap();
            store.reactivate_user(&name("acme"), &alice(), AT, &event()).await.unwrap();
        }
    });
    while !writer.is_finished() {
        let (epoch, suspended, _) = shown(Some(alice())).await;
        // Entries 4, 6, 8 … suspend; the next one, 5, 7, 9 …, is of a suspended or of a reactivated user.
        assert!(epoch % 2 == 1 || suspended, "the user's entry {epoch} is known and the suspension is not");
    }
    writer.await.unwrap();
}

async fn operators_are_listed_by_name_and_removed_but_the_last(db: &Database) {
    with_operators(db).await;
    assert_eq!(db.store.operators().await.unwrap(), [operator("olga", 1), operator("otto", 2)]);
    let remove = async |who| db.store.remove_operator(&name(who), AT, &change("operator.remove", who)).await;
    assert_eq!(remove("olga").await.unwrap(), OperatorRemoval::Removed);
    assert_eq!(db.store.operator_by_secret(&[1; 32]).await.unwrap(), None);
    assert!(matches!(remove("olga").await, Err(StoreError::NotFound("operator"))));
    assert_eq!(remove("otto").await.unwrap(), OperatorRemoval::LastOne);
    assert_eq!(db.store.operators().await.unwrap(), [operator("otto", 2)]);
    assert_eq!(changes(&*db.store).await.last().unwrap(), "operator.remove olga");
}

async fn of_two_who_remove_each_other_at_once_one_stays(db: &Database) {
    with_operators(db).await;
    let other = db.another().await;
    let (olga, otto) = (name("olga"), name("otto"));
    let event = event();
    let both = tokio::join!(db.store.remove_operator(&olga, AT, &event), other.remove_operator(&otto, AT, &event));
    let mut ended = [both.0.unwrap(), both.1.unwrap()];
    ended.sort_by_key(|removal| *removal == OperatorRemoval::LastOne);
    assert_eq!(ended, [OperatorRemoval::Removed, OperatorRemoval::LastOne]);
    assert_eq!(db.store.operators().await.unwrap().len(), 1);
}
