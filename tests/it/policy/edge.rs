//! What an edge makes of a set: at once, as a whole, and after the writ has allowed.

use writ::audit::Verdict;
use writ::id::BlockId;
use writ::key::KeyPair;
use writ::token::Limits;
use writ::token::chain::Authority;
use writ::token::claims::{Claim, ClaimValue, PolicyFacts};
use writ::token::hop::{self, Narrowing, NewHop};

use super::document;
use crate::edge::authority::Lending;
use crate::edge::streams::streaming;
use crate::edge::{World, Writ, eventually, finish, random};

const ALL: &str = "@id(\"all\") permit(principal, action, resource);";

/// The edge goes by this set.
async fn put(world: &World, version: u64, outdates: u64, document: &str) {
    let settings = world.authority.put_policies(version, outdates, document);
    eventually("the edge has the set", || world.edge.knowledge().settings_version() == Some(settings)).await;
}

async fn with_policy(policy: &str) -> World {
    let world = World::start().await;
    put(&world, 1, 0, &document(policy)).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_call_is_decided_by_the_set_that_was_put_and_the_record_says_by_which_policy() {
    let world = World::start().await;
    let writ = world.writ();
    assert_eq!(world.read(&writ).await.status, 200);
    let set = format!(
        "{ALL} @id(\"no-reading\") forbid(principal, action in Action::\"reads\", resource);
         @id(\"trial\") @shadow(\"later\") forbid(principal, action, resource);"
    );
    put(&world, 7, 0, &document(&set)).await;
    let answer = world.read(&writ).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (problem["code"].as_str(), problem["reason"].as_str()),
        (Some("access_denied"), Some("policy_forbidden"))
    );
    assert!(problem["detail"].as_str().unwrap().contains("no-reading"), "{problem}");
    assert_eq!(world.upstream.seen().len(), 1);

    let decisions = world.decisions(2).await;
    let said = |n: usize| {
        let by = decisions[n].policy.clone().unwrap();
        (by.version, by.policies.iter().map(ToString::to_string).collect::<Vec<_>>(), by.shadow.len())
    };
    assert_eq!(said(0), (0, vec!["grants-decide".to_owned()], 0));
    assert_eq!(said(1), (7, vec!["no-reading".to_owned()], 1));
    assert_eq!(decisions[1].verdict, Verdict::Denied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_policy_permits_is_denied_whatever_the_writ_says() {
    let world = with_policy("@id(\"pay\") permit(principal, action in Action::\"notes:pay\", resource);").await;
    let writ = world.writ();
    let answer = world.read(&writ).await;
    world.assert_refused(&answer, 403, "policy_denied", Some(&writ)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_allows_no_more_than_the_writ() {
    let world = with_policy(ALL).await;
    let writ = world.writ_of(Authority { capabilities: vec!["notes:pay:team".parse().unwrap()], ..World::block() });
    let answer = world.read(&writ).await;
    world.assert_refused(&answer, 403, "no_capability", Some(&writ)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_argument_of_the_body_decides() {
    let forbid = "@id(\"small\") forbid(principal, action in Action::\"notes:pay\", resource)
                  unless { context.arguments has amount && context.arguments.amount <= 500 };";
    let world = with_policy(&format!("{ALL} {forbid}")).await;
    let writ = world.writ();
    for (amount, status) in [(500, 200), (501, 403), (-1, 200)] {
        let answer = world.send(writ.post("/notes/pay", &format!("{{\"amount\":{amount}}}"))).await;
        assert_eq!(answer.status, status, "{amount}: {}", answer.text());
    }
    assert_eq!(world.upstream.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_overflows_denies() {
    let forbid = "@id(\"sum\") forbid(principal, action in Action::\"notes:pay\", resource)
                  when { context.arguments.amount * 9000000000 > 0 };";
    let world = with_policy(&format!("{ALL} {forbid}")).await;
    let writ = world.writ();
    let answer = world.send(writ.post("/notes/pay", "{\"amount\":9000000000}")).await;
    world.assert_refused(&answer, 403, "policy_error", Some(&writ)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_a_newer_version_of_writ_allows_nothing() {
    let world = World::start().await;
    put(&world, 1, 0, "{\"policy\":\"\",\"zone\":\"UTC\",\"colours\":[]}").await;
    let writ = world.writ();
    let answer = world.read(&writ).await;
    world.assert_refused(&answer, 503, "policy_unreadable", Some(&writ)).await;
    // Repaired, it serves at once.
    put(&world, 2, 0, &document(ALL)).await;
    assert_eq!(world.read(&writ).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_and_claims_are_those_of_the_writ_and_an_older_writ_is_told_to_come_again() {
    let policy = "@id(\"sales\") permit(principal in Group::\"sales\", action, resource)
                  when { context.session has amr && context.session.amr.contains(\"mfa\") };";
    let world = World::start().await;
    put(&world, 5, 4, &document(policy)).await;
    let of = |version: u64, group: &str, amr: &str| {
        let amr = ClaimValue::strings(vec![amr.into()]);
        let claims = vec![Claim { name: "amr".parse().unwrap(), value: amr }];
        let groups = vec![group.parse().unwrap()];
        world.writ_of(Authority { policy: PolicyFacts { version, groups, claims }, ..World::block() })
    };
    assert_eq!(world.read(&of(4, "sales", "mfa")).await.status, 200);
    assert_eq!(world.read(&of(4, "staff", "mfa")).await.status, 403);
    assert_eq!(world.read(&of(5, "sales", "pwd")).await.status, 403);
    let old = world.read(&of(3, "sales", "mfa")).await;
    assert_eq!(old.status, 401, "{}", old.text());
    // An agent that acts for itself is in no group, and its writs age in no such way.
    let own = Authority { subject: None, ..World::block() };
    assert_eq!(world.read(&world.writ_of(own)).await.status, 403);
    let reasons: Vec<_> = world.decisions(5).await.into_iter().map(|decision| decision.reason).collect();
    assert_eq!(
        reasons,
        [
            "allowed".into(),
            "policy_denied".into(),
            "policy_denied".into(),
            "writ_outdated".into(),
            "policy_denied".into()
        ]
    );
}

/// The writ in the hands of `helper`.
fn handed_on(writ: &Writ) -> Writ {
    let to = KeyPair::from_seed(&[9; 32]);
    let hop = NewHop {
        holder: to.public(),
        id: BlockId::from_bytes(random()),
        expires: writ.block.expires,
        not_before: None,
        agent: Some("helper".parse().unwrap()),
        narrowing: Narrowing::default(),
    };
    let token = hop::delegate(&writ.token, &writ.holder, &hop, &random(), &Limits::default()).unwrap();
    Writ { token, holder: to, covers: writ.covers, block: writ.block.clone(), origin: writ.origin.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_see_the_whole_chain() {
    for (condition, own, delegated) in [
        ("context.depth > 0", 200, 403),
        ("context has delegator && context.delegator == \"assistant\"", 200, 403),
        ("context.chain.contains(\"helper\")", 200, 403),
        ("context.chain.contains(\"assistant\")", 403, 403),
        ("principal in User::\"alice\"", 403, 403),
        ("principal == Agent::\"assistant\"", 200, 200),
    ] {
        let world =
            with_policy(&format!("{ALL} @id(\"x\") forbid(principal, action, resource) when {{ {condition} }};")).await;
        let writ = world.writ();
        assert_eq!(world.read(&writ).await.status, own, "{condition}");
        assert_eq!(world.read(&handed_on(&writ)).await.status, delegated, "{condition}, delegated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_permit_of_an_older_set_comes_to_nothing_at_the_second_look() {
    let world = World::start().await;
    world.authority.set_lending(Lending::Hangs);
    let writ = world.writ();
    let (answer, ()) = tokio::join!(world.read(&writ), async {
        // It was permitted, and waits for the credential.
        world.decisions(1).await;
        put(&world, 1, 0, &document("@id(\"none\") forbid(principal, action, resource);")).await;
        world.authority.set_lending(Lending::Lends);
    });
    assert_eq!(answer.status, 503, "{}", answer.text());
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["reason"], "policy_changed");
    assert!(world.upstream.seen().is_empty());
    assert_eq!(world.read(&writ).await.status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_once_the_policies_of_now_forbid_it_and_another_goes_on() {
    let world = with_policy(ALL).await;
    let alone = Authority { agent: "other".parse().unwrap(), ..World::block() };
    let (mut cut, mut kept) = (streaming(&world, &world.writ()).await, streaming(&world, &world.writ_of(alone)).await);
    // Another set that permits both.
    put(
        &world,
        2,
        0,
        &document(&format!("{ALL} @id(\"x\") forbid(principal, action, resource) when {{ context.depth > 0 }};")),
    )
    .await;
    world.upstream.send_event();
    for client in [&mut cut, &mut kept] {
        assert_eq!(client.chunk().await, Ok(Some(b"data: 1\n\n".to_vec())));
    }
    put(
        &world,
        3,
        0,
        &document(&format!("{ALL} @id(\"not-this\") forbid(principal in Agent::\"assistant\", action, resource);")),
    )
    .await;
    // An abort, and not an end that a caller could take for the whole answer.
    assert_eq!(cut.chunk().await, Err(()));
    world.upstream.cut().await;
    let outcome = world.outcome().await;
    assert_eq!((finish(&outcome), outcome.status), (("cut", "policy_forbidden"), Some(200)));
    world.upstream.send_event();
    assert_eq!(kept.chunk().await, Ok(Some(b"data: 2\n\n".to_vec())));
    // A set of a newer version of writ allows nothing.
    put(&world, 4, 0, r#"{"policy":"","colour":"red"}"#).await;
    assert_eq!(kept.chunk().await, Err(()));
}
