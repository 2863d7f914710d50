//! Requests that wait for people: put once, decided once, used once.

use std::sync::Arc;
use std::time::Duration;

use writ::clock::Timestamp;
use writ::id::{ApprovalId, Subject};
use writ::policy::asked::Parts;
use writ::policy::{ApprovalState, Asked, Asker, Demand, Role};
use writ::revocation::Target;
use writ::store::{
    ApprovalQuota, ApproverLogin, AskedSummary, Decided, KeptAsked, Listed, NewApproval, Operator, OperatorSession,
    Put, Redemption, Ruling, StoreError,
};
use writ::token::Operation;
use writ::vault::Sealed;

use super::make::{AT, LATER, change, changes, event, installation, key, name, operator, revocation, root};
use super::sessions::{begun, session};
use super::{Database, for_every_backend};

for_every_backend!(
    a_request_is_put_once_while_it_is_undecided_approved_or_denied,
    a_request_whose_time_is_over_is_expired_and_can_be_put_again,
    an_agent_and_a_tenant_put_only_so_many,
    requests_are_listed_by_tenant_the_latest_first,
    a_request_is_decided_once,
    an_approval_is_used_once_for_its_request_and_its_chain_within_its_time,
    of_many_who_use_an_approval_at_once_one_succeeds,
    of_many_who_put_a_request_at_once_one_adds_it,
    an_approval_ends_with_the_operator_who_gave_it,
    an_approval_ends_with_the_login_of_the_person_who_gave_it,
    an_expiry_is_written_down_once_and_forgotten_later,
    what_would_be_sent_is_forgotten_once_it_is_denied_used_or_expired,
);

const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn request(body: &str) -> Asked {
    let operation = Operation {
        service: name("notes"),
        action: name("write"),
        resource: name("team"),
        method: "POST".into(),
        arguments: Vec::new(),
    };
    Asked::new(Parts {
        method: "POST".into(),
        url: "https://notes.example/notes/team?q=private".into(),
        headers: Vec::new(),
        body: body.into(),
        operations: vec![operation],
        demands: vec![Demand { approvers: vec!["finance".into()], policies: vec!["large".into()] }],
        policy_version: 3,
    })
    .unwrap()
}

/// As it is kept; the seal is the authority's affair.
fn asked(body: &str) -> KeptAsked {
    let asked = request(body);
    let sealed = Sealed { kek: "kek".into(), wrapped_key: "key".into(), ciphertext: format!("sealed {body}").into() };
    KeptAsked { digest: asked.digest(), summary: AskedSummary::from(&asked), sealed: Some(sealed) }
}

pub(crate) fn new(n: u8, body: &str) -> NewApproval {
    let subject: Subject = name("alice@example.com");
    NewApproval {
        handle: ApprovalId::from_bytes([n; 16]),
        asked: asked(body),
        asker: Asker {
            tenant: name("acme"),
            subject: Some(subject),
            agent: name("planner"),
            holders: vec![key(1)],
            called: Vec::new(),
            blocks: Vec::new(),
        },
        edge: name("edge-1"),
        created: AT,
        expires: LATER,
        writ_expires: LATER,
    }
}

const QUOTA: ApprovalQuota =
    ApprovalQuota { pending_of_agent: 3, pending_of_tenant: 100, recent_of_agent: 100, since: AT };

async fn put(db: &Database, new: &NewApproval) -> Put {
    db.store.put_approval(new, &QUOTA, &change("approval.ask", "x")).await.unwrap()
}

fn known(n: u8, state: ApprovalState) -> Put {
    Put::Known { handle: ApprovalId::from_bytes([n; 16]), state, expires: LATER }
}

fn by(who: &str) -> Decided {
    Decided { by: name(who), at: AT, satisfies: vec!["finance".into()], note: Some(name("fine")), login: None }
}

const APPROVE: Ruling = Ruling::Approve { until: LATER };

async fn rule(db: &Database, n: u8, ruling: &Ruling, decided: &Decided) -> Result<(), ApprovalState> {
    let handle = ApprovalId::from_bytes([n; 16]);
    db.store.rule_approval(handle, ruling, decided, &change("approval.rule", "x")).await.unwrap()
}

async fn redeem(db: &Database, n: u8, new: &NewApproval, at: Timestamp) -> Redemption {
    let (asked, asker) = (new.asked.digest, new.asker.digest());
    let handle = ApprovalId::from_bytes([n; 16]);
    db.store.redeem_approval(handle, &asked, &asker, at, &change("approval.redeem", "x")).await.unwrap()
}

async fn state(db: &Database, n: u8, at: Timestamp) -> Option<ApprovalState> {
    let handle = ApprovalId::from_bytes([n; 16]);
    let record = db.store.approval(handle, at).await.unwrap();
    let short = db.store.approval_state(handle, at).await.unwrap();
    assert_eq!(record.as_ref().map(|record| (record.state, record.new.expires)), short);
    record.map(|record| record.state)
}

async fn with_approver(db: &Database) {
    db.store.install(&installation(), &root(1), &operator("olga", 1), AT, &event()).await.unwrap();
    let otto = Operator { role: Role::Approver, ..operator("otto", 2) };
    db.store.add_operator(&otto, AT, &event()).await.unwrap();
}

async fn a_request_is_put_once_while_it_is_undecided_approved_or_denied(db: &Database) {
    with_approver(db).await;
    assert_eq!(put(db, &new(1, "a")).await, Put::Added);
    assert_eq!(put(db, &new(2, "a")).await, known(1, ApprovalState::Pending));
    let handle = ApprovalId::from_bytes([1; 16]);
    assert_eq!(db.store.approval(handle, AT).await.unwrap().unwrap().new, new(1, "a"));
    // Of another request, or another chain, it says nothing.
    assert_eq!(put(db, &new(3, "b")).await, Put::Added);
    let mut other = new(4, "a");
    other.asker.holders = vec![key(2)];
    assert_eq!(put(db, &other).await, Put::Added);

    rule(db, 1, &APPROVE, &by("otto")).await.unwrap();
    rule(db, 3, &Ruling::Deny, &by("otto")).await.unwrap();
    for (n, body, state) in [(1, "a", ApprovalState::Approved), (3, "b", ApprovalState::Denied)] {
        assert_eq!(put(db, &new(9, body)).await, known(n, state));
        let record = db.store.approval(ApprovalId::from_bytes([n; 16]), AT).await.unwrap().unwrap();
        assert_eq!(record.decided.unwrap(), by("otto"));
    }
    assert!(matches!(redeem(db, 1, &new(1, "a"), AT).await, Redemption::Redeemed(_)));
    assert_eq!(put(db, &new(5, "a")).await, Put::Added, "an approval that was used buys nothing more");
    let records = changes(&*db.store).await;
    assert_eq!(records.iter().filter(|record| record.starts_with("approval.ask")).count(), 4);
}

async fn a_request_whose_time_is_over_is_expired_and_can_be_put_again(db: &Database) {
    put(db, &new(1, "a")).await;
    let late = LATER.after(Duration::from_millis(1));
    assert_eq!(state(db, 1, LATER).await, Some(ApprovalState::Pending));
    assert_eq!(state(db, 1, late).await, Some(ApprovalState::Expired));
    assert_eq!(rule(db, 1, &APPROVE, &Decided { at: late, ..by("otto") }).await, Err(ApprovalState::Expired));
    assert_eq!(put(db, &NewApproval { created: late, expires: late.after(MINUTE), ..new(2, "a") }).await, Put::Added);
}

async fn an_agent_and_a_tenant_put_only_so_many(db: &Database) {
    with_approver(db).await;
    for n in 1..=3 {
        assert_eq!(put(db, &new(n, &n.to_string())).await, Put::Added);
    }
    assert_eq!(put(db, &new(4, "4")).await, Put::TooMany);
    assert!(matches!(put(db, &new(4, "3")).await, Put::Known { .. }), "what is known adds nothing");
    let of = |n, agent, body| {
        let mut other = new(n, body);
        other.asker.agent = name(agent);
        other
    };
    assert_eq!(put(db, &of(5, "other", "x")).await, Put::Added);
    rule(db, 1, &Ruling::Deny, &by("otto")).await.unwrap();
    assert_eq!(put(db, &new(6, "6")).await, Put::Added, "one was decided");
    let quota = ApprovalQuota { pending_of_tenant: 4, ..QUOTA };
    assert_eq!(db.store.put_approval(&of(7, "third", "x"), &quota, &event()).await.unwrap(), Put::TooMany);
    let quota = ApprovalQuota { recent_of_agent: 1, ..QUOTA };
    assert_eq!(db.store.put_approval(&of(8, "other", "y"), &quota, &event()).await.unwrap(), Put::TooMany);
    let quota = ApprovalQuota { since: AT.after(Duration::from_millis(1)), ..quota };
    assert_eq!(db.store.put_approval(&of(8, "other", "y"), &quota, &event()).await.unwrap(), Put::Added);
}

async fn requests_are_listed_by_tenant_the_latest_first(db: &Database) {
    let later = |n, body, s| NewApproval { created: AT.after(Duration::from_secs(s)), ..new(n, body) };
    put(db, &later(1, "a", 1)).await;
    put(db, &later(2, "b", 2)).await;
    rule(db, 1, &Ruling::Deny, &by("otto")).await.unwrap();
    let list = async |tenant, listed, limit| {
        let rows = db.store.approvals(&name(tenant), listed, AT, limit).await.unwrap();
        rows.into_iter().map(|row| row.handle.as_bytes()[0]).collect::<Vec<_>>()
    };
    assert_eq!(list("acme", Listed::Pending, 10).await, [2]);
    assert_eq!(list("acme", Listed::All, 10).await, [2, 1]);
    assert_eq!(list("acme", Listed::All, 1).await, [2]);
    assert!(list("other", Listed::All, 10).await.is_empty());
    let row = db.store.approvals(&name("acme"), Listed::All, AT, 10).await.unwrap().pop().unwrap();
    assert_eq!((row.asked.body_bytes, &*row.asked.method, row.decided_by), (1, "POST", Some(name("otto"))));
    assert_eq!((&*row.asked.url, row.asked.policy_version), ("https://notes.example/notes/team", 3));
    assert_eq!(row.asked.does, [name("notes:write:team")]);
}

async fn a_request_is_decided_once(db: &Database) {
    put(db, &new(1, "a")).await;
    rule(db, 1, &Ruling::Deny, &by("otto")).await.unwrap();
    for ruling in [&APPROVE, &Ruling::Deny] {
        assert_eq!(rule(db, 1, ruling, &by("olga")).await, Err(ApprovalState::Denied));
    }
    let unknown = ApprovalId::from_bytes([7; 16]);
    let answer = db.store.rule_approval(unknown, &APPROVE, &by("otto"), &event()).await;
    assert!(matches!(answer, Err(StoreError::NotFound("approval"))));
    assert_eq!(db.store.approval(unknown, AT).await.unwrap(), None);
    assert_eq!(changes(&*db.store).await, ["approval.ask x", "approval.rule x"]);
}

async fn an_approval_is_used_once_for_its_request_and_its_chain_within_its_time(db: &Database) {
    with_approver(db).await;
    let new = |n, body| new(n, body);
    put(db, &new(1, "a")).await;
    assert_eq!(redeem(db, 1, &new(1, "a"), AT).await, Redemption::Not(ApprovalState::Pending));
    let until = AT.after(MINUTE);
    rule(db, 1, &Ruling::Approve { until }, &by("otto")).await.unwrap();
    // Whoever shows it with something else learns nothing, whatever its state is.
    let mut chain = new(1, "a");
    chain.asker.holders = vec![key(2)];
    for (n, other) in [(1, new(1, "b")), (1, chain), (2, new(1, "a"))] {
        assert_eq!(redeem(db, n, &other, AT).await, Redemption::Mismatch);
    }
    let late = until.after(Duration::from_millis(1));
    assert_eq!(redeem(db, 1, &new(1, "a"), late).await, Redemption::Not(ApprovalState::Expired));
    let Redemption::Redeemed(record) = redeem(db, 1, &new(1, "a"), until).await else { panic!("not redeemed") };
    assert_eq!((record.decided.unwrap(), record.new.expires), (by("otto"), until));
    assert_eq!(redeem(db, 1, &new(1, "a"), AT).await, Redemption::Not(ApprovalState::Redeemed));
    assert_eq!(state(db, 1, late).await, Some(ApprovalState::Redeemed));
    put(db, &new(2, "b")).await;
    rule(db, 2, &Ruling::Deny, &by("otto")).await.unwrap();
    assert_eq!(redeem(db, 2, &new(2, "b"), AT).await, Redemption::Not(ApprovalState::Denied));
}

async fn of_many_who_use_an_approval_at_once_one_succeeds(db: &Database) {
    with_approver(db).await;
    put(db, &new(1, "a")).await;
    rule(db, 1, &APPROVE, &by("otto")).await.unwrap();
    let mut users = Vec::new();
    for _ in 0..8 {
        let (store, new) = (db.another().await, Arc::new(new(1, "a")));
        users.push(tokio::spawn(async move {
            let (asked, asker) = (new.asked.digest, new.asker.digest());
            store.redeem_approval(new.handle, &asked, &asker, AT, &change("approval.redeem", "x")).await.unwrap()
        }));
    }
    let mut used = 0;
    for user in users {
        match user.await.unwrap() {
            Redemption::Redeemed(_) => used += 1,
            other => assert_eq!(other, Redemption::Not(ApprovalState::Redeemed)),
        }
    }
    assert_eq!(used, 1);
    assert_eq!(changes(&*db.store).await.iter().filter(|record| *record == "approval.redeem x").count(), 1);
}

async fn of_many_who_put_a_request_at_once_one_adds_it(db: &Database) {
    let mut putting = Vec::new();
    for n in 0..8 {
        let store = db.another().await;
        putting.push(tokio::spawn(async move { store.put_approval(&new(n, "a"), &QUOTA, &event()).await.unwrap() }));
    }
    let mut added = 0;
    for put in putting {
        added += usize::from(put.await.unwrap() == Put::Added);
    }
    assert_eq!(added, 1);
}

async fn an_approval_ends_with_the_operator_who_gave_it(db: &Database) {
    with_approver(db).await;
    put(db, &new(1, "a")).await;
    rule(db, 1, &APPROVE, &by("otto")).await.unwrap();
    db.store.remove_operator(&name("otto"), AT, &event()).await.unwrap();
    assert_eq!(redeem(db, 1, &new(1, "a"), AT).await, Redemption::ApproverGone);
    // Somebody who is called the same later did not approve it; nor does an auditor.
    let again = Operator { role: Role::Approver, created: LATER, ..operator("otto", 3) };
    db.store.add_operator(&again, LATER, &event()).await.unwrap();
    assert_eq!(redeem(db, 1, &new(1, "a"), AT).await, Redemption::ApproverGone);
    db.store.remove_operator(&name("otto"), AT, &event()).await.unwrap();
    let auditor = Operator { role: Role::Auditor, ..operator("otto", 4) };
    db.store.add_operator(&auditor, AT, &event()).await.unwrap();
    assert_eq!(redeem(db, 1, &new(1, "a"), AT).await, Redemption::ApproverGone);
    assert_eq!(state(db, 1, AT).await, Some(ApprovalState::Approved));
}

async fn an_approval_ends_with_the_login_of_the_person_who_gave_it(db: &Database) {
    db.store.install(&installation(), &root(1), &operator("olga", 1), AT, &event()).await.unwrap();
    let person = |n: u8, user: &str| OperatorSession { role: Role::Approver, ..session(n, user) };
    let decided = |n: u8, user: &str| {
        let OperatorSession { name, tenant, subject, session, epoch, .. } = person(n, user);
        Decided { by: name, login: Some(ApproverLogin { tenant, subject, session, epoch }), ..by("otto") }
    };
    let ends: [(&str, Option<Target>); 4] = [
        ("bob", Some(Target::Subject(name("acme"), name("bob")))),
        ("carol", Some(Target::Session(name("acme"), name("session-2")))),
        ("dave", None),
        ("erin", Some(Target::Subject(name("acme"), name("somebody")))),
    ];
    for (n, (user, end)) in (1..).zip(ends) {
        begun(db, &person(n, user), n).await;
        let body = user;
        put(db, &new(n, body)).await;
        rule(db, n, &APPROVE, &decided(n, user)).await.unwrap();
        match end {
            Some(target) => drop(db.store.revoke(&revocation(target), &event()).await.unwrap()),
            // Signed in again since, with another role.
            None => {
                begun(db, &OperatorSession { role: Role::Auditor, used: LATER, ..person(n + 20, user) }, n + 20).await
            }
        }
        let redeemed = redeem(db, n, &new(n, body), AT).await;
        match user {
            "erin" => assert!(matches!(redeemed, Redemption::Redeemed(_)), "{redeemed:?}"),
            _ => assert_eq!(redeemed, Redemption::ApproverGone, "{user}"),
        }
    }
}

async fn an_expiry_is_written_down_once_and_forgotten_later(db: &Database) {
    put(db, &new(1, "a")).await;
    put(db, &new(2, "b")).await;
    rule(db, 2, &Ruling::Deny, &by("otto")).await.unwrap();
    let late = LATER.after(Duration::from_millis(1));
    assert_eq!(db.store.overdue_approvals(LATER, 10).await.unwrap(), []);
    let overdue = db.store.overdue_approvals(late, 10).await.unwrap();
    let handle = ApprovalId::from_bytes([1; 16]);
    assert_eq!(overdue, [(handle, name("acme"))]);
    let expire = async |at| db.store.expire_approval(handle, at, &change("approval.expire", "x")).await.unwrap();
    assert!(!expire(LATER).await);
    assert!(expire(late).await);
    assert!(!expire(late).await);
    assert_eq!(changes(&*db.store).await.last().map(String::as_str), Some("approval.expire x"));
    assert_eq!(db.store.overdue_approvals(late, 10).await.unwrap(), []);

    db.store.forget_approvals(LATER).await.unwrap();
    assert_eq!(state(db, 1, late).await, Some(ApprovalState::Expired));
    db.store.forget_approvals(late).await.unwrap();
    assert_eq!((state(db, 1, late).await, state(db, 2, late).await), (None, None));
}

async fn what_would_be_sent_is_forgotten_once_it_is_denied_used_or_expired(db: &Database) {
    with_approver(db).await;
    let kept = async |n: u8| {
        let record = db.store.approval(ApprovalId::from_bytes([n; 16]), AT).await.unwrap().unwrap();
        assert_eq!((record.new.asked.digest, record.new.asked.summary), (asked("a").digest, asked("a").summary));
        record.new.asked.sealed.is_some()
    };
    let of = |n: u8| NewApproval { asker: Asker { holders: vec![key(n)], ..new(n, "a").asker }, ..new(n, "a") };
    for n in 1..=3 {
        put(db, &of(n)).await;
        assert!(kept(n).await);
    }
    rule(db, 1, &Ruling::Deny, &by("otto")).await.unwrap();
    rule(db, 2, &APPROVE, &by("otto")).await.unwrap();
    assert!(!kept(1).await && kept(2).await);
    assert!(matches!(redeem(db, 2, &of(2), AT).await, Redemption::Redeemed(_)));
    assert!(!kept(2).await && kept(3).await);
    let (handle, late) = (ApprovalId::from_bytes([3; 16]), LATER.after(Duration::from_millis(1)));
    assert!(db.store.expire_approval(handle, late, &change("approval.expire", "x")).await.unwrap());
    assert!(!kept(3).await);
    // As an older version wrote it.
    db.sql("UPDATE approval SET asked = '{\"method\":\"POST\"}' WHERE handle LIKE '01%'").await;
    assert!(!kept(1).await);
}
