//! Credentials on loan: asked for once, kept briefly, never handed on after a change.

use std::time::Duration;

use writ::edge::follow::FollowLimits;
use writ::edge::lend::{LendError, LendLimits};
use writ::id::{BlockId, RequestId};
use writ::token::RawToken;
use writ::token::chain::Authority;

use super::double::{Double, Fault, settings};
use super::{Edge, bearer, clock, eventually};
use crate::tokens::{authority, expected, minted, verified};

const REQUEST: RequestId = RequestId::from_bytes([9; 16]);

async fn lend(edge: &Edge, token: &RawToken) -> Result<String, LendError> {
    lend_for(edge, token, "notes").await
}

async fn lend_for(edge: &Edge, token: &RawToken, service: &str) -> Result<String, LendError> {
    let chain = verified(token).unwrap();
    let lent = edge.lender.lend(token.shown(), &chain, &service.parse().unwrap(), REQUEST).await?;
    Ok(lent.lent().secret.expose().clone())
}

/// Of the same user and tenant, but another writ.
fn another() -> RawToken {
    minted(&Authority { holder: None, epoch: 0, id: BlockId::from_bytes([0xb0; 16]), ..authority() })
}

fn of(subject: Option<&str>) -> RawToken {
    let subject = subject.map(|subject| subject.parse().unwrap());
    minted(&Authority { holder: None, epoch: 0, subject, ..authority() })
}

async fn started() -> (Double, Edge) {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    (double, edge)
}

#[tokio::test]
async fn many_requests_at_once_ask_once() {
    let (double, edge) = started().await;
    double.change(|mind| mind.lending_waits = true);
    let (token, another) = (bearer(), another());
    let waiting =
        futures_util::future::join_all((0..50).map(|n| lend(&edge, if n % 2 == 0 { &token } else { &another })));
    let (answers, ()) = tokio::join!(waiting, async {
        eventually("the question", || !double.mind().lent.is_empty()).await;
        double.change(|mind| mind.lending_waits = false);
    });
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("s3cret")));
    assert_eq!(double.mind().lent.len(), 1);
}

#[tokio::test]
async fn what_is_kept_is_for_one_tenant_service_and_user() {
    let (double, edge) = started().await;
    for (token, service) in
        [(of(Some("alice")), "notes"), (of(Some("bob")), "notes"), (of(None), "notes"), (of(None), "mail")]
    {
        lend_for(&edge, &token, service).await.unwrap();
        lend_for(&edge, &token, service).await.unwrap();
    }
    assert_eq!(double.mind().lent.len(), 4);
    assert_eq!(edge.lender.kept(), 4);
}

#[tokio::test]
async fn it_is_kept_for_as_long_as_was_said_from_when_it_was_asked_for() {
    let (double, edge) = started().await;
    double.change(|mind| mind.keep_ms = 500);
    lend(&edge, &bearer()).await.unwrap();
    edge.clock.advance(Duration::from_millis(499));
    lend(&edge, &bearer()).await.unwrap();
    assert_eq!(double.mind().lent.len(), 1);
    edge.clock.advance(Duration::from_millis(1));
    lend(&edge, &bearer()).await.unwrap();
    assert_eq!(double.mind().lent.len(), 2);
    edge.clock.advance(Duration::from_millis(500));
    eventually("the end of it in memory", || edge.lender.kept() == 0).await;
}

#[tokio::test]
async fn the_edge_s_own_limit_shortens_what_the_authority_allows() {
    let double = Double::start(&clock()).await;
    double.change(|mind| mind.keep_ms = u64::MAX);
    let limits = LendLimits { keep_max: Duration::from_millis(100), ..LendLimits::default() };
    let edge = Edge::with(&[&double], FollowLimits::default(), limits);
    edge.ready().await;
    lend(&edge, &bearer()).await.unwrap();
    edge.clock.advance(Duration::from_millis(100));
    lend(&edge, &bearer()).await.unwrap();
    assert_eq!(double.mind().lent.len(), 2);
}

#[tokio::test]
async fn other_settings_drop_what_is_kept_before_the_edge_acknowledges_them() {
    let (double, edge) = started().await;
    lend(&edge, &bearer()).await.unwrap();
    double.change(|mind| {
        mind.secret = "rotated".into();
        mind.settings = settings(&expected().issuer, 2);
    });
    eventually("the acknowledgement", || double.mind().asked.iter().any(|request| request.settings == Some(2))).await;
    assert_eq!(edge.lender.kept(), 0);
    assert_eq!(lend(&edge, &bearer()).await.as_deref(), Ok("rotated"));
}

#[tokio::test]
async fn an_answer_from_before_a_change_is_not_handed_out_after_it() {
    let (double, edge) = started().await;
    double.change(|mind| mind.lending_waits = true);
    let token = bearer();
    let (answer, ()) = tokio::join!(lend(&edge, &token), async {
        eventually("the question", || !double.mind().lent.is_empty()).await;
        double.change(|mind| mind.settings = settings(&expected().issuer, 2));
        eventually("the change", || edge.knowledge.settings_version() == Some(2)).await;
        eventually("its acknowledgement", || double.mind().asked.iter().any(|request| request.settings == Some(2)))
            .await;
        double.change(|mind| mind.lending_waits = false);
    });
    assert_eq!(answer.as_deref(), Ok("s3cret"));
    assert_eq!(double.mind().lent.len(), 2, "the question is asked again");
}

#[tokio::test]
async fn losing_the_feed_drops_what_is_kept() {
    let (double, edge) = started().await;
    lend(&edge, &bearer()).await.unwrap();
    double.fault(Fault::UnknownTarget);
    eventually("the loss", || edge.knowledge.is_lost()).await;
    eventually("the drop", || edge.lender.kept() == 0).await;
}

#[tokio::test]
async fn without_an_answer_that_can_be_believed_there_is_no_credential() {
    for fault in [Fault::Forged, Fault::Tampered, Fault::Gateway, Fault::Replayed] {
        let (double, edge) = started().await;
        double.fault(fault);
        assert_eq!(lend(&edge, &bearer()).await, Err(LendError::Unavailable), "{fault:?}");
        assert_eq!(edge.lender.kept(), 0);
        // Not remembered either.
        double.fault(Fault::None);
        assert!(lend(&edge, &bearer()).await.is_ok());
    }
}

#[tokio::test]
async fn an_authority_that_does_not_answer_is_not_waited_for_without_end() {
    let double = Double::start(&clock()).await;
    let limits = LendLimits { timeout: Duration::from_millis(50), ..LendLimits::default() };
    let edge = Edge::with(&[&double], FollowLimits::default(), limits);
    edge.ready().await;
    double.fault(Fault::Silent);
    assert_eq!(lend(&edge, &bearer()).await, Err(LendError::Unavailable));
}

#[tokio::test]
async fn that_there_is_no_credential_and_that_the_writ_is_refused_are_told_apart() {
    let (double, edge) = started().await;
    double.fault(Fault::NoCredential);
    assert_eq!(lend(&edge, &bearer()).await, Err(LendError::NoCredential));
    double.fault(Fault::WritRefused);
    assert_eq!(lend(&edge, &bearer()).await, Err(LendError::Refused("it is revoked".into())));
}

#[tokio::test]
async fn a_refusal_of_one_writ_says_nothing_of_another_that_waits_for_the_same() {
    let (double, edge) = started().await;
    double.change(|mind| (mind.lending_waits, mind.fault) = (true, Fault::WritRefused));
    let (refused, good) = (bearer(), another());
    let first = async { lend(&edge, &refused).await };
    let second = async {
        eventually("the first question", || double.mind().lent.len() == 1).await;
        lend(&edge, &good).await
    };
    let meddle = async {
        eventually("the first question", || double.mind().lent.len() == 1).await;
        double.change(|mind| mind.lending_waits = false);
        eventually("the second question", || double.mind().lent.len() > 1).await;
    };
    let (first, second, ()) = tokio::join!(first, second, meddle);
    assert!(matches!(first, Err(LendError::Refused(_))));
    assert!(matches!(second, Err(LendError::Refused(_))));
    let asked = double.mind().lent.clone();
    assert_eq!(asked, [refused.text(), good.text()], "the second writ was shown as well");
}

#[tokio::test]
async fn more_questions_at_once_than_are_allowed_are_refused() {
    let double = Double::start(&clock()).await;
    let limits = LendLimits { count_max: 1, ..LendLimits::default() };
    let edge = Edge::with(&[&double], FollowLimits::default(), limits);
    edge.ready().await;
    double.change(|mind| mind.lending_waits = true);
    let (alice, bob) = (of(Some("alice")), of(Some("bob")));
    let (first, ()) = tokio::join!(lend(&edge, &alice), async {
        eventually("the question", || !double.mind().lent.is_empty()).await;
        assert_eq!(lend(&edge, &bob).await, Err(LendError::Full));
        double.change(|mind| mind.lending_waits = false);
    });
    assert!(first.is_ok());
    // There is room for one only: the other is lent and not kept.
    assert!(lend(&edge, &bob).await.is_ok());
    assert_eq!(edge.lender.kept(), 1);
}
