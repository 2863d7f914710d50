//! What an edge believes of the feed, and for how long.

use std::time::Duration;

use writ::edge::follow::FollowLimits;
use writ::edge::lend::LendLimits;
use writ::revocation::{NotLive, Target};

use super::double::{Double, Fault, settings};
use super::{Edge, bearer, clock, eventually};
use crate::tokens::{authority, expected};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn revoked(target: Target) -> NotLive {
    NotLive::Revoked(Box::new(target))
}

/// A target that concerns no token of these tests.
fn other(n: u8) -> Target {
    Target::Block(writ::id::BlockId::from_bytes([n; 16]))
}

/// The same, of a kind that is sent entry by entry.
fn holder(n: u8) -> Target {
    Target::Holder(crate::tokens::public(0x60 + n))
}

fn root() -> Target {
    Target::Block(authority().id)
}

#[tokio::test]
async fn before_the_first_answer_nothing_is_admitted() {
    let double = Double::start(&clock()).await;
    double.fault(Fault::Silent);
    let edge = Edge::of(&[&double]);
    eventually("a question", || double.asked_anew()).await;
    assert_eq!(edge.admit(&bearer()).unwrap_err(), NotLive::NoLease);
    assert!(edge.knowledge.settings().is_none());
}

#[tokio::test]
async fn the_first_answer_brings_the_revocations_of_before_the_settings_and_a_lease() {
    let double = Double::start(&clock()).await;
    double.revoke(root());
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    assert_eq!(edge.admit(&bearer()).unwrap_err(), revoked(root()));
    let known = edge.knowledge.settings().unwrap();
    assert_eq!((known.version, &known.expected), (1, &expected()));
    assert!(known.catalog.service(&"notes".parse().unwrap()).is_ok());
}

#[tokio::test]
async fn a_revocation_reaches_the_edge_and_is_acknowledged() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    assert!(edge.admit(&bearer()).is_ok());
    let seq = double.revoke(root());
    eventually("an acknowledgement", || double.acknowledged(seq)).await;
    assert_eq!(edge.admit(&bearer()).unwrap_err(), revoked(root()));
}

#[tokio::test]
async fn without_news_the_lease_is_renewed_and_without_answers_it_runs_out_on_the_monotonic_clock() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    double.fault(Fault::Silent);
    eventually("the last renewal", || double.mind().asked.len() > 1).await;
    edge.clock.advance(SECOND - MS);
    // The wall clock alone changes nothing, in either direction.
    assert!(edge.admit(&bearer()).is_ok());
    edge.clock.advance(MS);
    assert_eq!(edge.admit(&bearer()).unwrap_err(), NotLive::NoLease);
    double.fault(Fault::None);
    edge.ready().await;
    assert!(
        !double.mind().asked.iter().skip(1).any(|request| request.settings.is_none()),
        "silence is no reason to begin anew"
    );
}

#[tokio::test]
async fn the_lease_counts_from_when_its_request_was_sent() {
    let double = Double::start(&clock()).await;
    double.change(|mind| mind.travel = SECOND);
    let edge = Edge::of(&[&double]);
    eventually("several answers", || double.mind().asked.len() > 5).await;
    assert_eq!(edge.admit(&bearer()).unwrap_err(), NotLive::NoLease);
    double.change(|mind| mind.travel = SECOND - MS);
    edge.ready().await;
}

#[tokio::test]
async fn the_edge_s_own_limit_shortens_a_lease_that_the_authority_grants() {
    let double = Double::start(&clock()).await;
    double.change(|mind| mind.lease_ms = 3_600_000);
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    assert!(edge.knowledge.lease_left() <= SECOND);
}

/// A lie that is not taken for an answer: the edge goes on under its old lease, and no longer.
async fn is_no_answer(fault: Fault) {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    double.fault(fault);
    double.forget_asked();
    eventually("answers that do not count", || double.mind().asked.len() > 3).await;
    let known = edge.knowledge.seq();
    double.revoke(other(1));
    edge.clock.advance(SECOND);
    assert_eq!(edge.admit(&bearer()).unwrap_err(), NotLive::NoLease, "{fault:?} renewed the lease");
    assert_eq!(edge.knowledge.seq(), known, "{fault:?} was believed");
    assert!(!double.asked_anew(), "{fault:?} made the edge forget");
    double.fault(Fault::None);
    edge.ready().await;
}

#[tokio::test]
async fn an_answer_signed_by_another_key_is_no_answer() {
    is_no_answer(Fault::Forged).await;
}

#[tokio::test]
async fn an_answer_to_another_request_is_no_answer() {
    is_no_answer(Fault::Replayed).await;
}

#[tokio::test]
async fn an_answer_that_was_changed_on_its_way_is_no_answer() {
    is_no_answer(Fault::Tampered).await;
}

#[tokio::test]
async fn what_a_proxy_in_between_says_is_no_answer() {
    is_no_answer(Fault::Gateway).await;
}

/// A signed answer that does not continue what is known: the edge stops serving at once and asks for everything anew.
async fn loses(fault: Fault) {
    let double = Double::start(&clock()).await;
    double.revoke(holder(1));
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    double.forget_asked();
    double.change(|mind| {
        mind.fault = fault;
        mind.revoke(holder(2));
        mind.revoke(holder(3));
    });
    eventually("a request for everything", || double.asked_anew()).await;
    double.fault(Fault::None);
    edge.ready().await;
    assert_eq!(edge.knowledge.seq(), 3);
}

#[tokio::test]
async fn a_gap_makes_the_edge_begin_anew() {
    loses(Fault::Gap).await;
}

#[tokio::test]
async fn reordered_entries_make_the_edge_begin_anew() {
    loses(Fault::Swapped).await;
}

#[tokio::test]
async fn repeated_entries_make_the_edge_begin_anew() {
    loses(Fault::Repeated).await;
}

#[tokio::test]
async fn a_statement_beyond_the_head_makes_the_edge_begin_anew() {
    loses(Fault::BeyondHead).await;
}

#[tokio::test]
async fn blocks_that_cannot_be_read_make_the_edge_begin_anew() {
    loses(Fault::TornBlocks).await;
}

#[tokio::test]
async fn a_kind_of_revocation_that_is_not_known_stops_the_edge_at_once() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    double.fault(Fault::UnknownTarget);
    eventually("the end of the lease", || !edge.knowledge.lease_holds()).await;
    assert_eq!(edge.admit(&bearer()).unwrap_err(), NotLive::NoLease);
}

#[tokio::test]
async fn a_log_that_became_shorter_stops_the_edge_and_revives_nothing() {
    let double = Double::start(&clock()).await;
    double.revoke(root());
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    double.forget_asked();
    double.fault(Fault::Regressed);
    eventually("a request for everything", || double.asked_anew()).await;
    // Restored from a copy that has neither the entry nor the settings of before.
    double.change(|mind| {
        mind.entries.clear();
        mind.settings.version = 0;
        mind.fault = Fault::None;
    });
    edge.ready().await;
    assert_eq!(edge.knowledge.seq(), 0);
    assert_eq!(edge.admit(&bearer()).unwrap_err(), revoked(root()));
}

#[tokio::test]
async fn an_edge_that_is_behind_the_head_gets_no_lease() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    double.fault(Fault::HeadAhead);
    double.forget_asked();
    eventually("several answers", || double.mind().asked.len() > 3).await;
    edge.clock.advance(SECOND);
    assert_eq!(edge.admit(&bearer()).unwrap_err(), NotLive::NoLease);
    double.fault(Fault::None);
    edge.ready().await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_stops_the_edge_until_it_is_right() {
    let double = Double::start(&clock()).await;
    double.change(|mind| mind.ahead = Duration::from_secs(30));
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    for wrong in [Duration::from_secs(31), Duration::from_secs(300)] {
        double.change(|mind| mind.ahead = wrong);
        eventually("a refusal", || edge.admit(&bearer()).is_err()).await;
        assert_eq!(edge.admit(&bearer()).unwrap_err(), NotLive::ClockSkew, "{wrong:?} fast");
    }
    double.change(|mind| mind.ahead = Duration::ZERO);
    edge.ready().await;
}

#[tokio::test]
async fn other_settings_replace_the_known_ones() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    double.change(|mind| mind.settings = settings(&expected().issuer, 2));
    eventually("version 2", || edge.knowledge.settings().is_some_and(|known| known.version == 2)).await;
    eventually("its acknowledgement", || double.mind().asked.iter().any(|request| request.settings == Some(2))).await;
    assert!(edge.admit(&bearer()).is_ok());
}

#[tokio::test]
async fn settings_for_another_issuer_or_deployment_are_refused() {
    for spoil in [
        |mind: &mut super::double::Mind| mind.settings.issuer = "https://other.example".into(),
        |mind: &mut super::double::Mind| mind.settings.audience = "other".parse().unwrap(),
    ] {
        let double = Double::start(&clock()).await;
        let edge = Edge::of(&[&double]);
        edge.ready().await;
        double.change(|mind| {
            spoil(mind);
            mind.settings.version = 2;
        });
        eventually("the end of the lease", || !edge.knowledge.lease_holds()).await;
        assert_eq!(edge.knowledge.settings().unwrap().expected, expected());
    }
}

#[tokio::test]
async fn when_one_authority_falls_silent_the_next_is_asked_within_the_lease() {
    let clock = clock();
    let (first, second) = (Double::start(&clock).await, Double::start(&clock).await);
    let edge = Edge::of(&[&first, &second]);
    edge.ready().await;
    first.fault(Fault::Silent);
    let seq = second.revoke(root());
    eventually("the second authority's entry", || second.acknowledged(seq)).await;
    assert_eq!(edge.admit(&bearer()).unwrap_err(), revoked(root()));
    assert!(!second.asked_anew(), "the log is one, whichever replica tells it");
}

#[tokio::test]
async fn an_authority_where_nobody_listens_is_skipped() {
    let double = Double::start(&clock()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut nobody = Double::start(&double.clock).await;
    nobody.url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let edge = Edge::of(&[&nobody, &double]);
    edge.ready().await;
    assert!(!double.mind().asked.is_empty());
}

#[tokio::test]
async fn many_entries_are_caught_up_with_before_the_lease_is_renewed() {
    let double = Double::start(&clock()).await;
    double.change(|mind| mind.page = 1000);
    let limits = FollowLimits { wait: Duration::from_millis(50), ..FollowLimits::default() };
    let edge = Edge::with(&[&double], limits, LendLimits::default());
    edge.ready().await;
    let last = double.change(|mind| (0..5000).map(|n| mind.revoke(Target::Block(id(n)))).max().unwrap());
    eventually("all of them", || double.acknowledged(last)).await;
    assert_eq!(edge.knowledge.revocations(), 5000);
}

fn id(n: u32) -> writ::id::BlockId {
    let mut bytes = [0xff; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    writ::id::BlockId::from_bytes(bytes)
}

/// An edge that is told a long log is under no lease until it knows all of it.
#[tokio::test]
async fn an_edge_that_begins_serves_only_once_it_knows_the_last_page() {
    let double = Double::start(&clock()).await;
    double.change(|mind| {
        for n in 0..50 {
            mind.revoke(Target::Block(id(n)));
        }
        mind.revoke(root());
        mind.page = 5;
        mind.fault = Fault::Silent;
    });
    let edge = Edge::of(&[&double]);
    double.fault(Fault::None);
    edge.ready().await;
    assert_eq!(edge.admit(&bearer()).unwrap_err(), revoked(root()));
    let asked: Vec<u64> = double.mind().asked.iter().map(|request| request.known).take(11).collect();
    assert_eq!(asked, [0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50]);
}
