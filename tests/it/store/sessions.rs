//! Sessions of operators who signed in.

use std::time::Duration;

use writ::clock::Timestamp;
use writ::id::{OperatorName, SessionId};
use writ::policy::Role;
use writ::revocation::Target;
use writ::store::{Lift, OperatorPerson, OperatorSession, SessionCode, StoreError};

use super::make::{AT, LATER, change, changes, event, installation, name, operator, revocation, root};
use super::{Database, for_every_backend};

for_every_backend!(
    a_session_counts_once_its_code_is_redeemed,
    a_code_that_is_shown_with_another_verifier_counts_no_longer,
    a_session_counts_until_it_is_over_or_was_not_used,
    a_session_ends_with_its_user_and_with_the_providers_session,
    sessions_are_listed_by_name_and_end_by_their_id,
    a_person_has_a_role_since_the_first_sign_in_with_it,
    of_two_who_redeem_a_code_at_once_one_succeeds,
);

const IDLE: Duration = Duration::from_secs(300);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn session(n: u8, user: &str) -> OperatorSession {
    OperatorSession {
        id: SessionId::from_bytes([n; 16]),
        name: OperatorName::signed_in(&name("corp"), &name(user)),
        role: Role::Admin,
        groups: vec![name("staff"), name("it, \"ops\"")],
        provider: name("corp"),
        tenant: name("acme"),
        subject: name(user),
        session: Some(name(&format!("session-{n}"))),
        epoch: 0,
        created: AT,
        used: AT,
        expires: LATER,
    }
}

fn code(n: u8) -> SessionCode {
    SessionCode { sha256: [n; 32], challenge: [n + 100; 32], until: AT.after(MINUTE) }
}

async fn begin(db: &Database, session: &OperatorSession, n: u8) -> bool {
    db.store
        .begin_session(session, &[n; 32], &[n + 50; 32], &change("operator.sign_in", session.name.as_str()))
        .await
        .unwrap()
}

/// A session that counts, by the secret `n + 50`.
pub(super) async fn begun(db: &Database, session: &OperatorSession, n: u8) {
    db.store.offer_session(session, &code(n)).await.unwrap();
    assert!(begin(db, session, n).await);
}

async fn found(db: &Database, n: u8, at: Timestamp) -> bool {
    db.store.session_by_secret(&[n + 50; 32], IDLE, at).await.unwrap().is_some()
}

async fn a_session_counts_once_its_code_is_redeemed(db: &Database) {
    let alice = session(1, "Alice@example.com");
    db.store.offer_session(&alice, &code(1)).await.unwrap();
    assert_eq!(changes(&*db.store).await.len(), 0);
    assert_eq!(db.store.sessions(AT).await.unwrap(), []);
    let offered = async |at| db.store.offered_session(&[1; 32], &[101; 32], at).await.unwrap();
    assert_eq!(offered(AT.after(MINUTE)).await, Some(alice.clone()));
    assert!(begin(db, &alice, 1).await);
    assert_eq!(changes(&*db.store).await, ["operator.sign_in corp:Alice@example.com"]);
    assert_eq!(db.store.session_by_secret(&[51; 32], IDLE, AT).await.unwrap(), Some(alice.clone()));
    // Once.
    assert_eq!(offered(AT).await, None);
    assert!(!begin(db, &alice, 1).await);
    assert_eq!(changes(&*db.store).await.len(), 1);
    // What was not redeemed in time goes when the next one comes.
    db.store.offer_session(&session(2, "bob"), &code(2)).await.unwrap();
    let late = OperatorSession { created: AT.after(MINUTE).after(Duration::from_millis(1)), ..session(3, "carol") };
    db.store.offer_session(&late, &code(3)).await.unwrap();
    assert!(!begin(db, &session(2, "bob"), 2).await);
}

async fn a_code_that_is_shown_with_another_verifier_counts_no_longer(db: &Database) {
    for n in [1, 2] {
        db.store.offer_session(&session(n, "alice"), &code(n)).await.unwrap();
    }
    assert_eq!(db.store.offered_session(&[1; 32], &[9; 32], AT).await.unwrap(), None);
    assert_eq!(db.store.offered_session(&[1; 32], &[101; 32], AT).await.unwrap(), None);
    let late = AT.after(MINUTE).after(Duration::from_millis(1));
    assert_eq!(db.store.offered_session(&[2; 32], &[102; 32], late).await.unwrap(), None);
}

async fn a_session_counts_until_it_is_over_or_was_not_used(db: &Database) {
    begun(db, &session(1, "alice"), 1).await;
    let (last, first_too_late) = (AT.after(IDLE), AT.after(IDLE).after(Duration::from_millis(1)));
    assert_eq!([found(db, 1, last).await, found(db, 1, first_too_late).await], [true, false]);
    db.store.note_session_used(session(1, "alice").id, last).await.unwrap();
    db.store.note_session_used(session(1, "alice").id, AT).await.unwrap();
    assert!(found(db, 1, first_too_late).await, "the latest use counts");
    let over = LATER.after(Duration::from_millis(1));
    db.store.note_session_used(session(1, "alice").id, LATER).await.unwrap();
    assert_eq!([found(db, 1, LATER).await, found(db, 1, over).await], [true, false]);
    assert_eq!(db.store.sessions(over).await.unwrap(), []);
    assert_eq!(changes(&*db.store).await.len(), 1);
}

async fn a_session_ends_with_its_user_and_with_the_providers_session(db: &Database) {
    for (n, user) in [(1, "alice"), (2, "alice"), (3, "bob")] {
        begun(db, &session(n, user), n).await;
    }
    begun(db, &OperatorSession { session: None, ..session(4, "carol") }, 4).await;
    let counting =
        async || [found(db, 1, AT).await, found(db, 2, AT).await, found(db, 3, AT).await, found(db, 4, AT).await];
    for (tenant, target) in [("other", "session-1"), ("acme", "session-9")] {
        db.store.end_logins(&revocation(Target::Session(name(tenant), name(target))), None, &event()).await.unwrap();
    }
    assert_eq!(counting().await, [true; 4]);
    db.store.end_logins(&revocation(Target::Session(name("acme"), name("session-1"))), None, &event()).await.unwrap();
    assert_eq!(counting().await, [false, true, true, true]);
    db.store.end_logins(&revocation(Target::Subject(name("acme"), name("alice"))), None, &event()).await.unwrap();
    assert_eq!(counting().await, [false, false, true, true]);
    // One that began with that entry known lives on; a suspension ends it too.
    let again = OperatorSession { epoch: 4, ..session(5, "alice") };
    begun(db, &again, 5).await;
    assert!(found(db, 5, AT).await);
    db.store.revoke(&revocation(Target::Subject(name("acme"), name("alice"))), &event()).await.unwrap();
    assert!(!found(db, 5, AT).await);
    let epoch = db.store.heads().await.unwrap().revocation_seq;
    begun(db, &OperatorSession { epoch, ..session(6, "alice") }, 6).await;
    assert!(!found(db, 6, AT).await, "suspended, whatever its epoch");
    assert_eq!(counting().await, [false, false, true, true]);
}

async fn sessions_are_listed_by_name_and_end_by_their_id(db: &Database) {
    let later = OperatorSession { created: AT.after(MINUTE), ..session(2, "alice") };
    for (n, session) in [(1, session(1, "alice")), (2, later.clone()), (3, session(3, "aaron"))] {
        begun(db, &session, n).await;
    }
    let listed = db.store.sessions(AT).await.unwrap();
    assert_eq!(listed, [session(3, "aaron"), later.clone(), session(1, "alice")]);
    db.store.end_session(later.id, AT, &change("operator.sign_out", "alice")).await.unwrap();
    assert!(!found(db, 2, AT).await);
    let again = db.store.end_session(later.id, AT, &event()).await;
    assert!(matches!(again, Err(StoreError::NotFound("session"))));
    // One that was only offered is none.
    db.store.offer_session(&session(4, "bob"), &code(4)).await.unwrap();
    let offered = db.store.end_session(session(4, "bob").id, AT, &event()).await;
    assert!(matches!(offered, Err(StoreError::NotFound("session"))));
}

async fn a_person_has_a_role_since_the_first_sign_in_with_it(db: &Database) {
    db.store.install(&installation(), &root(1), &operator("olga", 1), AT, &event()).await.unwrap();
    let at = |minutes: u32| AT.after(MINUTE * minutes);
    let sign_in = async |n, role, used| begun(db, &OperatorSession { role, used, ..session(n, "alice") }, n).await;
    sign_in(1, Role::Auditor, at(0)).await;
    sign_in(2, Role::Admin, at(1)).await;
    sign_in(3, Role::Admin, at(2)).await;
    let alice: OperatorName = name("corp:alice");
    let person = OperatorPerson { name: alice.clone(), role: Role::Admin, since: at(1) };
    assert_eq!(db.store.operator_people().await.unwrap(), [person]);

    // Since before a stop: she lifts it. The role again after it: she does not.
    let stop = |minutes| writ::store::NewRevocation { at: at(minutes), ..revocation(Target::Everything) };
    db.store.revoke(&stop(0), &event()).await.unwrap();
    assert_eq!(db.store.lift_stop(&alice, LATER, &event()).await.unwrap(), Lift::AddedSince);
    let unknown = db.store.lift_stop(&name("corp:bob"), LATER, &event()).await;
    assert!(matches!(unknown, Err(StoreError::NotFound("operator"))));
    sign_in(4, Role::Auditor, at(3)).await;
    let auditor = db.store.lift_stop(&alice, LATER, &event()).await;
    assert!(matches!(auditor, Err(StoreError::NotFound("operator"))));
}

async fn of_two_who_redeem_a_code_at_once_one_succeeds(db: &Database) {
    let alice = session(1, "alice");
    db.store.offer_session(&alice, &code(1)).await.unwrap();
    let other = db.another().await;
    let event = event();
    let both = tokio::join!(
        db.store.begin_session(&alice, &[1; 32], &[51; 32], &event),
        other.begin_session(&alice, &[1; 32], &[52; 32], &event)
    );
    assert_ne!(both.0.unwrap(), both.1.unwrap());
    assert_eq!(db.store.sessions(AT).await.unwrap().len(), 1);
}
