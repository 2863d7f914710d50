//! Workloads that are agents, and identifiers that count for one key.

use std::collections::BTreeMap;
use std::time::Duration;

use writ::revocation::Target;
use writ::store::{Agent, AgentWorkload, StoreError};

use super::make::{AT, LATER, agent, change, changes, event, grant, key, name};
use super::{Database, for_every_backend};

for_every_backend!(
    a_workload_is_one_agent_that_exists,
    an_agent_is_registered_with_its_workload_or_not_at_all,
    the_context_of_a_workload_is_its_agents,
    a_workload_that_is_removed_is_nobodys_and_its_agent_is_revoked,
    an_agent_without_a_key_is_given_one,
    an_id_counts_for_the_key_that_used_it_first,
);

fn workload(agent: &str, subject: &str) -> AgentWorkload {
    AgentWorkload {
        issuer: name("ci"),
        subject: name(subject),
        tenant: name("acme"),
        agent: name(agent),
        claims: BTreeMap::from([("ref".into(), "main".into())]),
        created: AT,
    }
}

fn keyless(text: &str) -> Agent {
    Agent { key: None, ..agent(text, 1) }
}

async fn a_workload_is_one_agent_that_exists(db: &Database) {
    let missing = db.store.add_workload(&workload("a", "job"), &event()).await;
    assert!(matches!(missing, Err(StoreError::NotFound("agent"))), "{missing:?}");
    for (text, n) in [("b", 2), ("a", 1)] {
        db.store.register_agent(&agent(text, n), &event()).await.unwrap();
    }
    for (agent, subject) in [("b", "job"), ("a", "two"), ("a", "one")] {
        let added = change("workload.add", agent);
        db.store.add_workload(&workload(agent, subject), &added).await.unwrap();
    }
    for agent in ["a", "b"] {
        let taken = db.store.add_workload(&workload(agent, "job"), &event()).await;
        assert!(matches!(taken, Err(StoreError::Conflict("an agent with that workload"))), "{taken:?}");
    }
    let all = [workload("a", "one"), workload("a", "two"), workload("b", "job")];
    assert_eq!(db.store.workloads(&name("acme")).await.unwrap(), all);
    assert_eq!(db.store.workloads(&name("other")).await.unwrap(), []);
    assert!(changes(&*db.store).await.contains(&"workload.add b".to_owned()));
}

async fn an_agent_is_registered_with_its_workload_or_not_at_all(db: &Database) {
    db.store.register_workload_agent(&keyless("a"), &workload("a", "job"), &event()).await.unwrap();
    // Two agents without a key are two.
    let taken = db.store.register_workload_agent(&keyless("b"), &workload("b", "job"), &event()).await;
    assert!(matches!(taken, Err(StoreError::Conflict("an agent with that workload"))), "{taken:?}");
    let taken = db.store.register_workload_agent(&keyless("a"), &workload("a", "other"), &event()).await;
    assert!(matches!(taken, Err(StoreError::Conflict("an agent of that name or key"))), "{taken:?}");
    assert_eq!(db.store.agents(&name("acme")).await.unwrap(), [keyless("a")]);
    db.store.register_workload_agent(&keyless("b"), &workload("b", "b"), &event()).await.unwrap();
    assert_eq!(db.store.agents(&name("acme")).await.unwrap(), [keyless("a"), keyless("b")]);
}

async fn the_context_of_a_workload_is_its_agents(db: &Database) {
    db.store.register_workload_agent(&keyless("a"), &workload("a", "job"), &event()).await.unwrap();
    db.store.add_grant(&grant(1, "a"), AT, &event()).await.unwrap();
    db.store.add_grant(&grant(2, "a"), AT, &event()).await.unwrap();
    let (stated, context) = db.store.workload_context(&name("ci"), &name("job"), None).await.unwrap().unwrap();
    assert_eq!((stated, context.agent, context.grants.len()), (workload("a", "job"), keyless("a"), 2));
    assert!(!context.suspended && !context.stopped);
    for (issuer, subject) in [("ci", "Job"), ("ci", "job "), ("cd", "job")] {
        assert!(db.store.workload_context(&name(issuer), &name(subject), None).await.unwrap().is_none());
    }
    let suspended = super::make::revocation(Target::Subject(name("acme"), name("alice")));
    db.store.suspend_user(&suspended, None, &event()).await.unwrap();
    let user = name("alice");
    let (_, context) = db.store.workload_context(&name("ci"), &name("job"), Some(&user)).await.unwrap().unwrap();
    assert_eq!((context.suspended, context.epoch), (true, 1));
}

async fn a_workload_that_is_removed_is_nobodys_and_its_agent_is_revoked(db: &Database) {
    db.store.register_workload_agent(&keyless("a"), &workload("a", "job"), &event()).await.unwrap();
    for other in [workload("b", "job"), workload("a", "other")] {
        let missing = db.store.remove_workload(&other, LATER, AT, &event()).await;
        assert!(matches!(missing, Err(StoreError::NotFound(_))), "{missing:?}");
    }
    let removed = change("workload.remove", "a");
    let entry = db.store.remove_workload(&workload("a", "job"), LATER, AT, &removed).await.unwrap();
    assert_eq!((entry.seq, entry.target), (1, Target::Agent(name("acme"), name("a"))));
    assert!(db.store.workload_context(&name("ci"), &name("job"), None).await.unwrap().is_none());
    // Back again, at a later moment of the log.
    db.store.add_workload(&workload("a", "job"), &event()).await.unwrap();
    let (_, context) = db.store.workload_context(&name("ci"), &name("job"), None).await.unwrap().unwrap();
    assert_eq!(context.epoch, 1);
    assert!(changes(&*db.store).await.contains(&"workload.remove a".to_owned()));
}

async fn an_agent_without_a_key_is_given_one(db: &Database) {
    use writ::store::{KeyBefore, KeyRotation, Rotated};
    db.store.register_workload_agent(&keyless("a"), &workload("a", "job"), &event()).await.unwrap();
    let rotation =
        |n, before| KeyRotation { tenant: name("acme"), name: name("a"), to: key(n), from: None, before, at: AT };
    let own = KeyRotation { from: Some(key(9)), ..rotation(1, KeyBefore::CountsUntil(LATER)) };
    assert_eq!(db.store.rotate_agent_key(&own, &event()).await.unwrap(), Rotated::Stale);
    for (n, before) in [(1, KeyBefore::Revoked { forget_after: LATER }), (2, KeyBefore::CountsUntil(LATER))] {
        assert_eq!(db.store.rotate_agent_key(&rotation(n, before), &event()).await.unwrap(), Rotated::Done(None));
    }
    let keys = db.store.agent_keys(&name("acme"), &name("a")).await.unwrap();
    assert_eq!(keys.iter().map(|agent| agent.key).collect::<Vec<_>>(), [Some(key(2)), Some(key(1))]);
}

async fn an_id_counts_for_the_key_that_used_it_first(db: &Database) {
    let by = async |n| db.store.use_by_one(&[7; 32], &key(n), LATER, AT).await;
    assert!(by(1).await.unwrap() && by(1).await.unwrap());
    assert!(!by(2).await.unwrap());
    assert!(by(1).await.unwrap());
    // Once its time is over, it is nobody's.
    let after = LATER.after(Duration::from_millis(1));
    let until = after.after(Duration::from_secs(60));
    assert!(db.store.use_by_one(&[7; 32], &key(2), until, after).await.unwrap());
    assert!(!db.store.use_by_one(&[7; 32], &key(1), until, after).await.unwrap());
    // Two of one name, one of which lives longer: the name stays with the key.
    assert!(db.store.use_by_one(&[6; 32], &key(1), AT, AT).await.unwrap());
    assert!(!db.store.use_by_one(&[6; 32], &key(2), LATER, AT).await.unwrap());
    assert!(!db.store.use_by_one(&[6; 32], &key(2), LATER, LATER).await.unwrap());
    assert!(db.store.use_by_one(&[6; 32], &key(1), AT, LATER).await.unwrap());
    // An id that was used up otherwise belongs to no key.
    assert!(db.store.use_once(&[8; 32], LATER, AT).await.unwrap());
    assert!(!db.store.use_by_one(&[8; 32], &key(1), LATER, AT).await.unwrap());
    assert!(!db.store.use_once(&[7; 32], LATER, AT).await.unwrap());
    // Of many at once one is first.
    let keys: Vec<_> = (1..9).map(key).collect();
    let first =
        futures_util::future::join_all(keys.iter().map(|key| db.store.use_by_one(&[9; 32], key, LATER, AT))).await;
    assert_eq!(first.iter().filter(|first| *first.as_ref().unwrap()).count(), 1);
}
