//! Agents, grants and issuance.

use std::sync::Arc;

use futures_util::future::join_all;
use writ::audit::{Head, Source, Verdict};
use writ::clock::Timestamp;
use writ::policy::Grant;
use writ::revocation::{Entry, Target};
use writ::store::{AgentStatus, KeyBefore, KeyRotation, NewRevocation, Recorded, SingleUse, StoreError};

use super::make::{
    AT, LATER, agent, change, changes, decision, event, everything, grant, issued, journal, key, name, revocation,
};
use super::{Database, for_every_backend};

for_every_backend!(
    a_registered_agent_is_found_by_name_and_key,
    a_name_or_key_that_exists_is_a_conflict_in_whatever_status,
    the_same_name_in_another_tenant_is_another_agent,
    a_disabled_agent_and_its_revocation_are_one_change,
    disabling_twice_answers_the_first_entry,
    an_agent_that_does_not_exist_cannot_be_disabled,
    grants_are_listed_oldest_first,
    a_grant_for_an_agent_that_does_not_exist_is_refused,
    a_removed_grant_and_its_revocation_are_one_change,
    the_issue_context_is_the_agent_its_grants_and_the_head,
    the_issue_context_is_of_one_moment,
    of_many_who_ask_for_contexts_at_once_each_is_told_of_its_own_agent,
    an_issued_writ_is_found_by_its_id,
    of_writs_recorded_at_once_each_has_its_record_and_what_exists_fails_alone,
    a_writ_and_what_it_uses_up_are_one_change,
    of_writs_recorded_at_once_with_the_same_id_to_use_up_one_is_recorded,
    writs_that_follow_each_other_and_other_changes_are_in_one_chain,
    of_writs_that_follow_each_other_what_was_used_before_or_exists_is_refused_alone,
    a_single_use_id_is_used_once,
    of_many_who_use_an_id_at_once_one_is_first,
    of_many_ids_used_at_once_each_is_first_once,
    an_expired_single_use_id_may_be_used_again,
);

async fn a_registered_agent_is_found_by_name_and_key(db: &Database) {
    let (b, a) = (agent("b", 2), agent("a", 1));
    db.store.register_agent(&b, &change("agent.register", "b")).await.unwrap();
    db.store.register_agent(&a, &change("agent.register", "a")).await.unwrap();
    assert_eq!(db.store.agents(&name("acme")).await.unwrap(), [a.clone(), b]);
    assert_eq!(db.store.agent_by_key(&key(1)).await.unwrap(), Some(a));
    assert_eq!(db.store.agent_by_key(&key(9)).await.unwrap(), None);
    assert_eq!(db.store.agents(&name("other")).await.unwrap(), []);
    assert_eq!(changes(&*db.store).await, ["agent.register b", "agent.register a"]);
}

async fn a_name_or_key_that_exists_is_a_conflict_in_whatever_status(db: &Database) {
    db.store.register_agent(&agent("a", 1), &event()).await.unwrap();
    for _ in 0..2 {
        for again in [agent("a", 2), agent("b", 1)] {
            let refused = db.store.register_agent(&again, &event()).await;
            assert!(matches!(refused, Err(StoreError::Conflict("an agent of that name or key"))), "{refused:?}");
        }
        db.store.disable_agent(&name("acme"), &name("a"), LATER, AT, &event()).await.unwrap();
    }
    assert_eq!(db.store.agents(&name("acme")).await.unwrap().len(), 1);
    assert_eq!(changes(&*db.store).await.len(), 2, "a refused change leaves no record");
}

async fn the_same_name_in_another_tenant_is_another_agent(db: &Database) {
    db.store.register_agent(&agent("a", 1), &event()).await.unwrap();
    let mut other = agent("a", 2);
    other.tenant = name("zeta");
    db.store.register_agent(&other, &event()).await.unwrap();
    db.store.disable_agent(&name("acme"), &name("a"), LATER, AT, &event()).await.unwrap();
    assert_eq!(db.store.agents(&name("zeta")).await.unwrap(), [other]);
}

async fn a_disabled_agent_and_its_revocation_are_one_change(db: &Database) {
    db.store.register_agent(&agent("a", 1), &event()).await.unwrap();
    let entry =
        db.store.disable_agent(&name("acme"), &name("a"), LATER, AT, &change("agent.disable", "a")).await.unwrap();
    let target = Target::Agent(name("acme"), name("a"));
    assert_eq!(entry, Entry { seq: 1, target, at: AT, forget_after: LATER });
    assert_eq!(db.store.revocations_after(0, 10).await.unwrap(), [entry]);
    assert_eq!(db.store.agent_by_key(&key(1)).await.unwrap().unwrap().status, AgentStatus::Disabled);
    assert_eq!(db.store.issue_context(&key(1), None).await.unwrap().agent.status, AgentStatus::Disabled);
    assert_eq!(changes(&*db.store).await, ["test thing", "agent.disable a"]);
}

async fn disabling_twice_answers_the_first_entry(db: &Database) {
    db.store.register_agent(&agent("a", 1), &event()).await.unwrap();
    let first = db.store.disable_agent(&name("acme"), &name("a"), AT, AT, &event()).await.unwrap();
    let second = db.store.disable_agent(&name("acme"), &name("a"), LATER, LATER, &event()).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(db.store.revocation_head().await.unwrap(), 1);
    assert_eq!(changes(&*db.store).await.len(), 2);
}

async fn an_agent_that_does_not_exist_cannot_be_disabled(db: &Database) {
    let refused = db.store.disable_agent(&name("acme"), &name("a"), AT, AT, &event()).await;
    assert!(matches!(refused, Err(StoreError::NotFound("agent"))));
    assert_eq!(db.store.revocation_head().await.unwrap(), 0);
    assert!(changes(&*db.store).await.is_empty());
}

async fn with_agents(db: &Database) {
    db.store.register_agent(&agent("a", 1), &event()).await.unwrap();
    db.store.register_agent(&agent("b", 2), &event()).await.unwrap();
}

async fn grants_are_listed_oldest_first(db: &Database) {
    with_agents(db).await;
    let grants = [grant(9, "a"), grant(3, "b"), grant(4, "a"), grant(1, "a")];
    for grant in &grants {
        db.store.add_grant(grant, AT, &event()).await.unwrap();
    }
    assert_eq!(db.store.grants(&name("acme"), None).await.unwrap(), grants);
    assert_eq!(db.store.grants(&name("acme"), Some(&name("b"))).await.unwrap(), [grants[1].clone()]);
    assert_eq!(db.store.grants(&name("other"), None).await.unwrap(), []);
    let again = db.store.add_grant(&grant(3, "a"), AT, &event()).await;
    assert!(matches!(again, Err(StoreError::Conflict("a grant of that id"))), "{again:?}");
}

async fn a_grant_for_an_agent_that_does_not_exist_is_refused(db: &Database) {
    let refused = db.store.add_grant(&grant(1, "a"), AT, &event()).await;
    assert!(matches!(refused, Err(StoreError::NotFound("agent"))));
    assert!(changes(&*db.store).await.is_empty());
}

async fn a_removed_grant_and_its_revocation_are_one_change(db: &Database) {
    with_agents(db).await;
    let grant = grant(1, "a");
    db.store.add_grant(&grant, AT, &event()).await.unwrap();
    let of_another = db.store.remove_grant(&name("other"), grant.id, LATER, AT, &event()).await;
    assert!(matches!(of_another, Err(StoreError::NotFound("grant"))));
    let entry = db.store.remove_grant(&name("acme"), grant.id, LATER, AT, &change("grant.remove", "g")).await.unwrap();
    assert_eq!(entry, Entry { seq: 1, target: Target::Grant(grant.id), at: AT, forget_after: LATER });
    assert_eq!(db.store.revocations_after(0, 10).await.unwrap(), [entry]);
    assert_eq!(db.store.grants(&name("acme"), None).await.unwrap(), []);
    let again = db.store.remove_grant(&name("acme"), grant.id, LATER, AT, &event()).await;
    assert!(matches!(again, Err(StoreError::NotFound("grant"))));
    assert_eq!(changes(&*db.store).await.last().unwrap(), "grant.remove g");
}

async fn the_issue_context_is_the_agent_its_grants_and_the_head(db: &Database) {
    assert!(matches!(db.store.issue_context(&key(1), None).await, Err(StoreError::NotFound("agent"))));
    with_agents(db).await;
    let context = db.store.issue_context(&key(1), None).await.unwrap();
    assert_eq!((context.agent, context.grants, context.epoch), (agent("a", 1), vec![], 0));
    let grants = [grant(7, "a"), grant(2, "a"), grant(3, "b")];
    for grant in &grants {
        db.store.add_grant(grant, AT, &event()).await.unwrap();
    }
    db.store.disable_agent(&name("acme"), &name("b"), LATER, AT, &event()).await.unwrap();
    let context = db.store.issue_context(&key(1), None).await.unwrap();
    assert_eq!((context.agent, context.grants, context.epoch), (agent("a", 1), grants[..2].to_vec(), 1));
}

/// While a grant is added and removed, a context that shows the grant never has the epoch of its removal.
async fn the_issue_context_is_of_one_moment(db: &Database) {
    with_agents(db).await;
    let store = Arc::clone(&db.store);
    let writer = tokio::spawn(async move {
        for n in 0..20 {
            let grant = Grant { id: writ::id::GrantId::from_bytes([n; 16]), ..grant(1, "a") };
            store.add_grant(&grant, AT, &event()).await.unwrap();
            store.remove_grant(&name("acme"), grant.id, LATER, AT, &event()).await.unwrap();
        }
    });
    while !writer.is_finished() {
        let context = db.store.issue_context(&key(1), None).await.unwrap();
        if let [grant] = &context.grants[..] {
            assert_eq!(u64::from(grant.id.as_bytes()[0]), context.epoch, "grant n exists while the head is n");
        }
        assert!(context.grants.len() <= 1);
    }
    writer.await.unwrap();
}

/// Asked of two stores, with a user and without, by present keys, by one that was replaced, and by one that nobody has.
async fn of_many_who_ask_for_contexts_at_once_each_is_told_of_its_own_agent(db: &Database) {
    for n in 1..=9 {
        let name = format!("agent-{n}");
        db.store.register_agent(&agent(&name, n), &event()).await.unwrap();
        for id in 0..n % 4 {
            let id = writ::id::GrantId::from_bytes([16 * n + id; 16]);
            db.store.add_grant(&Grant { id, ..grant(1, &name) }, AT, &event()).await.unwrap();
        }
    }
    let to = KeyRotation {
        tenant: name("acme"),
        name: name("agent-9"),
        to: key(10),
        from: None,
        before: KeyBefore::CountsUntil(LATER),
        at: AT,
    };
    db.store.rotate_agent_key(&to, &event()).await.unwrap();
    let alice = name("alice@example.com");
    let suspension = NewRevocation {
        target: Target::Subject(name("acme"), name("alice@example.com")),
        ..revocation(Target::Everything)
    };
    db.store.suspend_user(&suspension, None, &event()).await.unwrap().unwrap();
    let stores = [Arc::clone(&db.store), db.another().await];
    let ask = async |n: usize| {
        let (by, subject) = (1 + (n % 11) as u8, n.is_multiple_of(3).then_some(&alice));
        (by, subject.is_some(), stores[n % 2].issue_context(&key(by), subject).await)
    };
    for (by, asked, answer) in join_all((0..330).map(ask)).await {
        match answer {
            Err(StoreError::NotFound("agent")) => assert_eq!(by, 11),
            answer => {
                let context = answer.unwrap();
                let n = by.min(9);
                assert_eq!(context.agent.name, name(&format!("agent-{n}")));
                assert_eq!((context.agent.key, context.suspended), (Some(key(by)), asked));
                let ids: Vec<u8> = context.grants.iter().map(|grant| grant.id.as_bytes()[0]).collect();
                assert_eq!(ids, (0..n % 4).map(|id| 16 * n + id).collect::<Vec<_>>());
            }
        }
    }
}

async fn an_issued_writ_is_found_by_its_id(db: &Database) {
    let writ = issued(1);
    assert_eq!(db.store.record_issued(&writ, &[], &change("writ.issue", "w")).await.unwrap(), Recorded::Yes);
    assert_eq!(db.store.issued(writ.id).await.unwrap(), Some(writ.clone()));
    assert_eq!(db.store.issued(issued(2).id).await.unwrap(), None);
    // Often: answers of one change's statements arrive together, or not.
    for _ in 0..50 {
        let again = db.store.record_issued(&writ, &[], &event()).await;
        assert!(matches!(again, Err(StoreError::Conflict("a writ of that id"))), "{again:?}");
    }
    assert_eq!(changes(&*db.store).await, ["writ.issue w"]);
}

async fn of_writs_recorded_at_once_each_has_its_record_and_what_exists_fails_alone(db: &Database) {
    assert_eq!(db.store.record_issued(&issued(3), &[], &change("writ.issue", "before")).await.unwrap(), Recorded::Yes);
    let stores = [Arc::clone(&db.store), db.another().await];
    let record = async |n: u8| {
        let event = change("writ.issue", &n.to_string());
        (n, stores[usize::from(n % 2)].record_issued(&issued(n), &[], &event).await)
    };
    for (n, answer) in join_all((1..=120).map(&record)).await {
        match n {
            3 => assert!(matches!(answer, Err(StoreError::Conflict("a writ of that id"))), "{answer:?}"),
            _ => assert_eq!(answer.unwrap(), Recorded::Yes),
        }
        assert_eq!(db.store.issued(issued(n).id).await.unwrap(), Some(issued(n)));
    }
    let mut recorded = changes(&*db.store).await;
    assert_eq!(recorded.remove(0), "writ.issue before");
    recorded.sort();
    let mut expected: Vec<_> = (1..=120).filter(|n| *n != 3).map(|n| format!("writ.issue {n}")).collect();
    expected.sort();
    assert_eq!(recorded, expected);
}

const fn once(n: u8) -> SingleUse {
    SingleUse { id: [n; 32], until: LATER }
}

async fn a_writ_and_what_it_uses_up_are_one_change(db: &Database) {
    let record = async |n: u8, uses: &[SingleUse]| db.store.record_issued(&issued(n), uses, &event()).await;
    let is_new = async |n: u8| db.store.use_once(&[n; 32], LATER, AT).await.unwrap();
    assert_eq!(record(1, &[once(1), once(2)]).await.unwrap(), Recorded::Yes);
    assert!(!is_new(1).await && !is_new(2).await);
    // What was used before is told by its place; what was not is used up all the same.
    assert_eq!(record(2, &[once(3), once(2), once(1)]).await.unwrap(), Recorded::UsedBefore(1));
    assert_eq!(db.store.issued(issued(2).id).await.unwrap(), None);
    assert!(!is_new(3).await);
    assert_eq!(record(2, &[once(4), once(4)]).await.unwrap(), Recorded::UsedBefore(1), "twice in one is twice");
    // Of a record that is refused nothing is used up.
    let refused = record(1, &[once(5)]).await;
    assert!(matches!(refused, Err(StoreError::Conflict("a writ of that id"))), "{refused:?}");
    assert_eq!(record(3, &[once(5)]).await.unwrap(), Recorded::Yes);
    assert_eq!(changes(&*db.store).await.len(), 2);
}

async fn of_writs_recorded_at_once_with_the_same_id_to_use_up_one_is_recorded(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    let record = async |n: u8| {
        let uses = [once(n / 4), once(100 + n)];
        (n, stores[usize::from(n % 2)].record_issued(&issued(n), &uses, &event()).await.unwrap())
    };
    let mut recorded = [0; 25];
    for (n, answer) in join_all((0..100).map(record)).await {
        assert!(matches!(answer, Recorded::Yes | Recorded::UsedBefore(0)), "{answer:?}");
        recorded[usize::from(n / 4)] += u32::from(answer == Recorded::Yes);
        assert_eq!(db.store.issued(issued(n).id).await.unwrap().is_some(), answer == Recorded::Yes);
        assert!(!db.store.use_once(&[100 + n; 32], LATER, AT).await.unwrap());
    }
    assert_eq!(recorded, [1; 25]);
    assert_eq!(changes(&*db.store).await.len(), 25);
}

async fn writs_that_follow_each_other_and_other_changes_are_in_one_chain(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    let edge: Source = name("edge:e");
    let shipment = journal(&edge, &Head::empty(), (0..4).map(|n| decision(n, Verdict::Allowed)));
    for turn in 0..4_u8 {
        for n in 10 * turn..10 * turn + 8 {
            // One of them alone for a while, then the other, then each after the other.
            let store = &stores[usize::from(if n % 10 < 6 { turn % 2 } else { n % 2 })];
            let recorded = store.record_issued(&issued(n), &[once(n)], &change("writ.issue", &n.to_string())).await;
            assert_eq!(recorded.unwrap(), Recorded::Yes);
            match n % 10 {
                3 => db.store.record(AT, &change("between", &n.to_string())).await.unwrap(),
                4 => drop(db.store.append_audit(&edge, &shipment[..usize::from(turn) + 1], None).await.unwrap()),
                _ => {}
            }
        }
    }
    let expected = (0..4).flat_map(|turn| (10 * turn..10 * turn + 8).map(move |n| (n, n % 10 == 3)));
    let expected = expected.flat_map(|(n, between)| {
        [Some(format!("writ.issue {n}")), between.then(|| format!("between {n}"))].into_iter().flatten()
    });
    assert_eq!(changes(&*db.store).await, expected.collect::<Vec<_>>());
    let places: Vec<u64> = db.store.audit(&everything()).await.unwrap().into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, (1..=40).collect::<Vec<_>>());
}

async fn of_writs_that_follow_each_other_what_was_used_before_or_exists_is_refused_alone(db: &Database) {
    let record = async |n: u8, id: u8| db.store.record_issued(&issued(n), &[once(id)], &event()).await;
    for n in 1..=4 {
        assert_eq!(record(n, n).await.unwrap(), Recorded::Yes);
    }
    let answers = join_all([record(5, 5), record(6, 2), record(7, 7)]).await.into_iter().map(Result::unwrap);
    assert_eq!(answers.collect::<Vec<_>>(), [Recorded::Yes, Recorded::UsedBefore(0), Recorded::Yes]);
    assert_eq!(record(8, 8).await.unwrap(), Recorded::Yes);
    let answers = join_all([record(9, 9), record(1, 20), record(10, 10)]).await;
    assert!(matches!(answers[1], Err(StoreError::Conflict("a writ of that id"))), "{answers:?}");
    assert!(matches!((&answers[0], &answers[2]), (Ok(Recorded::Yes), Ok(Recorded::Yes))), "{answers:?}");
    assert_eq!(record(6, 20).await.unwrap(), Recorded::Yes, "nothing was used up by what was refused");
    assert_eq!(changes(&*db.store).await.len(), 10);
}

async fn a_single_use_id_is_used_once(db: &Database) {
    assert!(db.store.use_once(&[1; 32], LATER, AT).await.unwrap());
    assert!(!db.store.use_once(&[1; 32], LATER, AT).await.unwrap());
    assert!(!db.another().await.use_once(&[1; 32], LATER, LATER).await.unwrap());
    assert!(db.store.use_once(&[2; 32], LATER, AT).await.unwrap());
}

async fn of_many_who_use_an_id_at_once_one_is_first(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    for id in 0..8 {
        let calls: Vec<_> = (0..16)
            .map(|n| {
                let store = Arc::clone(&stores[n % 2]);
                tokio::spawn(async move { store.use_once(&[id; 32], LATER, AT).await.unwrap() })
            })
            .collect();
        let mut first = 0;
        for call in calls {
            first += u32::from(call.await.unwrap());
        }
        assert_eq!(first, 1);
    }
}

async fn of_many_ids_used_at_once_each_is_first_once(db: &Database) {
    let stores = [Arc::clone(&db.store), db.another().await];
    let use_once = async |n: usize| stores[n % 2].use_once(&[(n / 4) as u8; 32], LATER, AT).await;
    let mut first = [0; 60];
    for (n, answer) in join_all((0..240).map(use_once)).await.into_iter().enumerate() {
        first[n / 4] += u32::from(answer.unwrap());
    }
    assert_eq!(first, [1; 60]);
}

async fn an_expired_single_use_id_may_be_used_again(db: &Database) {
    let after = Timestamp::from_millis(LATER.millis() + 1);
    assert!(db.store.use_once(&[1; 32], LATER, AT).await.unwrap());
    assert!(!db.store.use_once(&[1; 32], after, LATER).await.unwrap(), "its last moment is not over");
    assert!(db.store.use_once(&[1; 32], after, after).await.unwrap());
    assert!(!db.store.use_once(&[1; 32], after, after).await.unwrap());
}
