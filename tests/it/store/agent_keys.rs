//! The keys of agents over time, when agents were seen, and codes with which they register.

use std::time::Duration;

use writ::clock::Timestamp;
use writ::id::{EnrolmentId, TenantName};
use writ::key::PublicKey;
use writ::policy::Grant;
use writ::revocation::Target;
use writ::store::{
    Agent, AgentStatus, EnrolmentCode, EnrolmentGrant, EnrolmentNames, KeyBefore, KeyRotation, Rotated, StoreError,
};

use super::make::{AT, LATER, agent, change, changes, event, grant, key, name};
use super::{Database, for_every_backend};

for_every_backend!(
    a_replaced_key_finds_its_agent_and_says_until_when_it_counts,
    a_key_that_anybody_ever_had_is_given_to_nobody,
    a_revoked_key_takes_those_before_it_along,
    an_agent_replaces_only_the_key_that_it_has,
    an_enabled_agent_is_active_and_what_was_revoked_stays_so,
    what_is_written_beside_an_agent_is_replaced,
    agents_are_noted_as_seen_by_the_latest_moment,
    a_code_registers_as_many_agents_as_it_says_and_no_more,
    a_code_is_not_used_up_by_what_fails,
    codes_that_are_over_or_removed_register_nobody,
    of_many_who_use_a_code_at_once_one_succeeds,
);

fn acme() -> TenantName {
    name("acme")
}

fn later() -> Timestamp {
    LATER
}

fn rotation(n: u8, before: KeyBefore) -> KeyRotation {
    KeyRotation { tenant: acme(), name: name("a"), to: key(n), from: None, before, at: AT }
}

async fn with_agent(db: &Database) -> Agent {
    let a = agent("a", 1);
    db.store.register_agent(&a, &event()).await.unwrap();
    a
}

async fn a_replaced_key_finds_its_agent_and_says_until_when_it_counts(db: &Database) {
    let a = with_agent(db).await;
    db.store.add_grant(&grant(1, "a"), AT, &event()).await.unwrap();
    let rotated = change("agent.rotate", "a");
    let done = db.store.rotate_agent_key(&rotation(2, KeyBefore::CountsUntil(later())), &rotated).await.unwrap();
    assert_eq!(done, Rotated::Done(None));
    let now = Agent { key: Some(key(2)), ..a.clone() };
    let before = Agent { key_until: Some(later()), ..a };
    assert_eq!(db.store.agents(&acme()).await.unwrap(), std::slice::from_ref(&now));
    assert_eq!(db.store.agent_by_key(&key(2)).await.unwrap(), Some(now.clone()));
    assert_eq!(db.store.agent_by_key(&key(1)).await.unwrap(), Some(before.clone()));
    let context = db.store.issue_context(&key(1), None).await.unwrap();
    assert_eq!((context.agent, context.grants.len()), (before.clone(), 1));
    assert!(before.key_counts(later()) && !before.key_counts(later().after(Duration::from_millis(1))));
    // A second one while the first still counts.
    let until = later().after(Duration::from_secs(1));
    db.store.rotate_agent_key(&rotation(3, KeyBefore::CountsUntil(until)), &event()).await.unwrap();
    let keys = db.store.agent_keys(&acme(), &name("a")).await.unwrap();
    let told: Vec<_> = keys.iter().map(|agent| (agent.key, agent.key_until)).collect();
    assert_eq!(told, [(Some(key(3)), None), (Some(key(2)), Some(until)), (Some(key(1)), Some(later()))]);
    assert_eq!(db.store.agent_keys(&acme(), &name("b")).await.unwrap(), []);
    // Again is not an error, and changes nothing.
    let recorded = changes(&*db.store).await.len();
    let again = db.store.rotate_agent_key(&rotation(3, KeyBefore::CountsUntil(AT)), &event()).await.unwrap();
    assert_eq!((again, changes(&*db.store).await.len()), (Rotated::Already, recorded));
    assert!(changes(&*db.store).await.contains(&"agent.rotate a".to_owned()));
}

async fn a_key_that_anybody_ever_had_is_given_to_nobody(db: &Database) {
    with_agent(db).await;
    db.store.register_agent(&agent("b", 2), &event()).await.unwrap();
    db.store.rotate_agent_key(&rotation(3, KeyBefore::CountsUntil(AT)), &event()).await.unwrap();
    for taken in [1, 2] {
        let refused = db.store.rotate_agent_key(&rotation(taken, KeyBefore::CountsUntil(AT)), &event()).await;
        assert!(matches!(refused, Err(StoreError::Conflict("an agent of that name or key"))), "{refused:?}");
        let refused = db.store.register_agent(&agent("c", taken), &event()).await;
        assert!(matches!(refused, Err(StoreError::Conflict("an agent of that name or key"))), "{refused:?}");
    }
    let unknown = KeyRotation { name: name("c"), ..rotation(9, KeyBefore::CountsUntil(AT)) };
    let refused = db.store.rotate_agent_key(&unknown, &event()).await;
    assert!(matches!(refused, Err(StoreError::NotFound("agent"))), "{refused:?}");
}

async fn a_revoked_key_takes_those_before_it_along(db: &Database) {
    with_agent(db).await;
    for (n, until) in [(2, AT.before(Duration::from_secs(1))), (3, later())] {
        db.store.rotate_agent_key(&rotation(n, KeyBefore::CountsUntil(until)), &event()).await.unwrap();
    }
    let revoked = KeyBefore::Revoked { forget_after: later() };
    let Rotated::Done(Some(entry)) = db.store.rotate_agent_key(&rotation(4, revoked), &event()).await.unwrap() else {
        panic!("no entry");
    };
    let entries = db.store.revocations_after(0, 10).await.unwrap();
    let targets: Vec<_> = entries.iter().map(|entry| entry.target.clone()).collect();
    // The first one was over before: its writs live as long as they would have.
    assert_eq!(targets, [Target::Holder(key(2)), Target::Holder(key(3))]);
    assert_eq!(entries.last(), Some(&*entry));
    for n in [1, 2, 3] {
        assert!(!db.store.agent_by_key(&key(n)).await.unwrap().unwrap().key_counts(AT), "{n}");
    }
}

async fn an_agent_replaces_only_the_key_that_it_has(db: &Database) {
    with_agent(db).await;
    let by = |from: PublicKey, to| KeyRotation { from: Some(from), ..rotation(to, KeyBefore::CountsUntil(later())) };
    let rotate = async |from, to| db.store.rotate_agent_key(&by(key(from), to), &event()).await.unwrap();
    assert_eq!(rotate(9, 2).await, Rotated::Stale);
    assert_eq!(rotate(1, 2).await, Rotated::Done(None));
    assert_eq!(rotate(1, 3).await, Rotated::Stale, "an old key chooses no new one");
    assert_eq!(rotate(1, 2).await, Rotated::Already, "its answer was lost");
    db.store.disable_agent(&acme(), &name("a"), LATER, AT, &event()).await.unwrap();
    assert_eq!(rotate(2, 4).await, Rotated::Disabled);
}

async fn an_enabled_agent_is_active_and_what_was_revoked_stays_so(db: &Database) {
    with_agent(db).await;
    let first = db.store.disable_agent(&acme(), &name("a"), LATER, AT, &event()).await.unwrap();
    db.store.enable_agent(&acme(), &name("a"), AT, &change("agent.enable", "a")).await.unwrap();
    assert_eq!(db.store.agents(&acme()).await.unwrap()[0].status, AgentStatus::Active);
    assert_eq!(db.store.revocations_after(0, 10).await.unwrap(), std::slice::from_ref(&first));
    let recorded = changes(&*db.store).await;
    assert_eq!(recorded.last().unwrap(), "agent.enable a");
    db.store.enable_agent(&acme(), &name("a"), AT, &event()).await.unwrap();
    assert_eq!(changes(&*db.store).await, recorded);
    // Disabled again, what was issued meanwhile ends too.
    let second = db.store.disable_agent(&acme(), &name("a"), LATER, AT, &event()).await.unwrap();
    assert!(second.seq > first.seq);
    let unknown = db.store.enable_agent(&acme(), &name("b"), AT, &event()).await;
    assert!(matches!(unknown, Err(StoreError::NotFound("agent"))));
}

async fn what_is_written_beside_an_agent_is_replaced(db: &Database) {
    let a = Agent { owner: Some(name("Team Ü")), ..agent("a", 1) };
    db.store.register_agent(&a, &event()).await.unwrap();
    assert_eq!(db.store.agents(&acme()).await.unwrap(), std::slice::from_ref(&a));
    let purpose = name("invoices");
    db.store.describe_agent(&acme(), &name("a"), None, Some(&purpose), AT, &event()).await.unwrap();
    assert_eq!(db.store.agents(&acme()).await.unwrap(), [Agent { owner: None, purpose: Some(purpose), ..a }]);
    let unknown = db.store.describe_agent(&acme(), &name("b"), None, None, AT, &event()).await;
    assert!(matches!(unknown, Err(StoreError::NotFound("agent"))));
}

async fn agents_are_noted_as_seen_by_the_latest_moment(db: &Database) {
    let seen = |agent: &str, at| (acme(), name(agent), at);
    db.store.note_agents_seen(&[]).await.unwrap();
    db.store.note_agents_seen(&[seen("b", AT), seen("a", LATER)]).await.unwrap();
    db.store.note_agents_seen(&[seen("a", AT), seen("b", LATER)]).await.unwrap();
    assert_eq!(db.store.agents_seen(&acme()).await.unwrap(), [(name("a"), LATER), (name("b"), LATER)]);
    assert_eq!(db.store.agents_seen(&name("other")).await.unwrap(), []);
    assert_eq!(changes(&*db.store).await.len(), 0);
}

fn code(n: u8, uses_left: u32) -> EnrolmentCode {
    EnrolmentCode {
        id: EnrolmentId::from_bytes([n; 16]),
        tenant: acme(),
        names: if uses_left > 1 { EnrolmentNames::Beginning(name("ci-")) } else { EnrolmentNames::Only(name("a")) },
        owner: Some(name("team")),
        purpose: None,
        granted: Some(EnrolmentGrant { capabilities: vec![name("notes:read:team")], ttl_s_max: 60, depth_max: 0 }),
        uses_left,
        expires: LATER,
        by: name("corp:Olga@example.com"),
    }
}

async fn with_code(db: &Database, n: u8, uses: u32) -> EnrolmentCode {
    let code = code(n, uses);
    db.store.add_enrolment_code(&code, &[n; 32], AT, &event()).await.unwrap();
    code
}

async fn a_code_registers_as_many_agents_as_it_says_and_no_more(db: &Database) {
    let code = with_code(db, 1, 2).await;
    assert_eq!(db.store.enrolment_codes(&acme(), LATER).await.unwrap(), std::slice::from_ref(&code));
    assert_eq!(db.store.enrolment_code(&[1; 32]).await.unwrap(), Some(code.clone()));
    assert_eq!(db.store.enrolment_code(&[2; 32]).await.unwrap(), None);
    let enrol = async |agent: Agent, grant: Option<Grant>| {
        db.store.enrol(code.id, &agent, grant.as_ref(), &event()).await.unwrap()
    };
    assert!(enrol(agent("ci-a", 1), Some(grant(1, "ci-a"))).await);
    assert_eq!(db.store.grants(&acme(), Some(&name("ci-a"))).await.unwrap(), [grant(1, "ci-a")]);
    assert_eq!(db.store.enrolment_codes(&acme(), AT).await.unwrap()[0].uses_left, 1);
    assert!(enrol(agent("ci-b", 2), None).await);
    assert!(!enrol(agent("ci-c", 3), None).await);
    assert_eq!(db.store.agents(&acme()).await.unwrap().len(), 2);
    assert_eq!(db.store.enrolment_codes(&acme(), AT).await.unwrap(), []);
    assert_eq!(changes(&*db.store).await.len(), 3);
}

async fn a_code_is_not_used_up_by_what_fails(db: &Database) {
    with_agent(db).await;
    let code = with_code(db, 1, 1).await;
    for taken in [agent("a", 2), agent("b", 1)] {
        let refused = db.store.enrol(code.id, &taken, None, &event()).await;
        assert!(matches!(refused, Err(StoreError::Conflict("an agent of that name or key"))), "{refused:?}");
    }
    assert!(db.store.enrol(code.id, &agent("b", 2), None, &event()).await.unwrap());
}

async fn codes_that_are_over_or_removed_register_nobody(db: &Database) {
    let code = with_code(db, 1, 1).await;
    let late = Agent { created: LATER.after(Duration::from_millis(1)), ..agent("a", 1) };
    assert!(!db.store.enrol(code.id, &late, None, &event()).await.unwrap());
    assert_eq!(db.store.enrolment_codes(&acme(), late.created).await.unwrap(), []);
    db.store.remove_enrolment_code(&acme(), code.id, AT, &event()).await.unwrap();
    assert!(!db.store.enrol(code.id, &agent("a", 1), None, &event()).await.unwrap());
    for tenant in [acme(), name("other")] {
        let unknown = db.store.remove_enrolment_code(&tenant, code.id, AT, &event()).await;
        assert!(matches!(unknown, Err(StoreError::NotFound("enrolment code"))));
    }
    // What is over goes when the next one is made.
    with_code(db, 2, 1).await;
    let next = EnrolmentCode { expires: LATER.after(Duration::from_secs(60)), ..self::code(3, 1) };
    db.store.add_enrolment_code(&next, &[3; 32], late.created, &event()).await.unwrap();
    assert_eq!(db.store.enrolment_code(&[2; 32]).await.unwrap(), None);
}

async fn of_many_who_use_a_code_at_once_one_succeeds(db: &Database) {
    let code = with_code(db, 1, 1).await;
    let attempts = (1..=8).map(|n| {
        let (store, id) = (db.store.clone(), code.id);
        tokio::spawn(async move { store.enrol(id, &agent(&format!("a{n}"), n), None, &event()).await.unwrap() })
    });
    let attempts: Vec<_> = attempts.collect();
    let mut registered = 0;
    for attempt in attempts {
        registered += usize::from(attempt.await.unwrap());
    }
    assert_eq!((registered, db.store.agents(&acme()).await.unwrap().len()), (1, 1));
}
