//! Open requests end when they must, and before the edge says that they have.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use tokio::sync::oneshot;
use writ::edge::lend::OnLoan;
use writ::edge::streams::{BodyError, CutReason};
use writ::id::{BlockId, RequestId};
use writ::revocation::{NotLive, Target};
use writ::token::chain::Authority;
use writ::token::{RawToken, TokenError};

use super::double::{Double, Fault};
use super::{Edge, bearer, clock, eventually};
use crate::tokens::{authority, minted, verified};

fn root() -> Target {
    Target::Block(authority().id)
}

fn revoked(target: Target) -> CutReason {
    CutReason::Revoked(Box::new(target))
}

fn sibling() -> RawToken {
    minted(&Authority { holder: None, epoch: 0, id: BlockId::from_bytes([0xb0; 16]), ..authority() })
}

#[tokio::test]
async fn a_revoked_request_is_cut_and_acknowledged_only_once_it_is_gone() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let (_, open) = edge.knowledge.clear(edge.permit(&bearer()), None).unwrap();
    let seq = double.revoke(root());
    assert_eq!(open.cut().await, revoked(root()));
    assert!(!double.acknowledged(seq));
    // The request is still here: no answer counts as an acknowledgement, and no lease is renewed.
    edge.clock.advance(Duration::from_millis(1000));
    assert!(!edge.knowledge.lease_holds());
    assert!(!double.acknowledged(seq));
    drop(open);
    eventually("the acknowledgement", || double.acknowledged(seq)).await;
    edge.ready().await;
}

#[tokio::test]
async fn requests_of_other_chains_go_on() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let (_, open) = edge.knowledge.clear(edge.permit(&sibling()), None).unwrap();
    let seq = double.revoke(root());
    eventually("the acknowledgement", || double.acknowledged(seq)).await;
    assert_eq!(open.reason(), None);
}

async fn lent(edge: &Edge) -> Option<Arc<OnLoan>> {
    let (token, service) = (bearer(), "notes".parse().unwrap());
    let request = RequestId::from_bytes([9; 16]);
    Some(edge.lender.lend(token.shown(), &verified(&token).unwrap(), &service, request).await.unwrap())
}

#[tokio::test]
async fn a_revoked_service_cuts_its_requests_and_spares_the_writ() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let waiting = edge.permit(&bearer());
    let (_, open) = edge.knowledge.clear(edge.permit(&bearer()), None).unwrap();
    let mail = Target::Service(authority().tenant, "mail".parse().unwrap());
    let seq = double.revoke(mail);
    eventually("the acknowledgement", || double.acknowledged(seq)).await;
    assert_eq!(open.reason(), None);
    let notes = Target::Service(authority().tenant, "notes".parse().unwrap());
    let seq = double.revoke(notes.clone());
    assert_eq!(open.cut().await, revoked(notes.clone()));
    assert!(!double.acknowledged(seq));
    drop(open);
    eventually("the acknowledgement", || double.acknowledged(seq)).await;
    assert_eq!(edge.knowledge.clear(waiting, None).unwrap_err().1, NotLive::Revoked(Box::new(notes)).into());
    assert!(edge.admit(&bearer()).is_ok(), "the writ lives on at other services");
}

#[tokio::test]
async fn a_revoked_credential_is_dropped_and_the_requests_that_use_it_are_cut() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let target = Target::Credential(authority().tenant, "notes-key".parse().unwrap());
    let old = lent(&edge).await;
    let waiting = edge.permit(&bearer());
    let (_, without) = edge.knowledge.clear(edge.permit(&bearer()), None).unwrap();
    let (_, open) = edge.knowledge.clear(edge.permit(&bearer()), old.clone()).unwrap();
    let seq = double.revoke(target.clone());
    assert_eq!(open.cut().await, revoked(target.clone()));
    assert!(!double.acknowledged(seq));
    drop(open);
    eventually("the acknowledgement", || double.acknowledged(seq)).await;
    assert_eq!(edge.lender.kept(), 0);
    assert_eq!(without.reason(), None, "a request without the credential goes on");
    assert_eq!(edge.knowledge.clear(waiting, old).unwrap_err().1, NotLive::Revoked(Box::new(target.clone())).into());
    // The edge does not take the authority's word either: a version from before the entry stays dead, a later one lives.
    let again = lent(&edge).await;
    let not_live = edge.knowledge.clear(edge.permit(&bearer()), again).unwrap_err().1;
    assert_eq!(not_live, NotLive::Revoked(Box::new(target)).into());
    double.change(|mind| (mind.stored_epoch, mind.settings.version) = (seq, 2));
    eventually("the new version's turn", || edge.lender.kept() == 0).await;
    let new = lent(&edge).await;
    assert!(edge.knowledge.clear(edge.permit(&bearer()), new).is_ok());
}

#[tokio::test]
async fn a_permit_from_before_a_revocation_is_not_cleared_after_it() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let permit = edge.permit(&bearer());
    let seq = double.revoke(root());
    eventually("the acknowledgement", || double.acknowledged(seq)).await;
    let (_, not_live) = edge.knowledge.clear(permit, None).unwrap_err();
    assert_eq!(not_live, NotLive::Revoked(Box::new(root())).into());
    assert!(edge.knowledge.streams().is_empty());
}

#[tokio::test]
async fn a_permit_is_not_cleared_once_the_lease_has_run_out() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    double.fault(Fault::Silent);
    let permit = edge.permit(&bearer());
    edge.clock.advance(Duration::from_secs(1));
    assert_eq!(edge.knowledge.clear(permit, None).unwrap_err().1, NotLive::NoLease.into());
}

#[tokio::test]
async fn open_requests_end_with_the_lease() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let (_, open) = edge.knowledge.clear(edge.permit(&bearer()), None).unwrap();
    double.fault(Fault::Silent);
    edge.clock.advance(Duration::from_secs(1));
    assert_eq!(open.cut().await, CutReason::LeaseEnded);
}

#[tokio::test]
async fn open_requests_end_with_their_writ() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let (_, open) = edge.knowledge.clear(edge.permit(&bearer()), None).unwrap();
    // To the end of its last second; by the wall clock, which the authority's follows here.
    edge.clock.set_wall(authority().expires.after(Duration::from_millis(999)));
    let sweeps = Duration::from_millis(100);
    assert!(tokio::time::timeout(sweeps, open.cut()).await.is_err());
    edge.clock.set_wall(authority().expires.after(Duration::from_millis(1000)));
    assert_eq!(open.cut().await, CutReason::Expired);
}

#[tokio::test]
async fn a_root_key_that_is_withdrawn_ends_what_hangs_on_it_before_the_settings_are_acknowledged() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let (_, open) = edge.knowledge.clear(edge.permit(&bearer()), None).unwrap();
    let permit = edge.permit(&bearer());
    double.change(|mind| {
        mind.settings.version = 2;
        mind.settings.root_keys.keys[0].until = Some(crate::tokens::at(0));
    });
    let acknowledged = || double.mind().asked.iter().any(|request| request.settings == Some(2));
    assert_eq!(open.cut().await, CutReason::RootRetired);
    assert!(!acknowledged());
    assert_eq!(edge.knowledge.clear(permit, None).unwrap_err().1, NotLive::NotCurrent(TokenError::UnknownRoot).into());
    drop(open);
    eventually("the acknowledgement", acknowledged).await;
}

/// An upstream's answer that never ends, and that says when it is dropped.
struct Endless {
    _dropped: oneshot::Sender<()>,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn an_answer_that_streams_ends_with_an_error_at_the_cut() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let (_, open) = edge.knowledge.clear(edge.permit(&bearer()), None).unwrap();
    let (on_drop, dropped) = oneshot::channel();
    let mut body = open.body(Endless { _dropped: on_drop });
    let reading = tokio::spawn(async move { body.frame().await.unwrap().unwrap_err() });
    double.revoke(root());
    let error = reading.await.unwrap();
    assert!(matches!(error, BodyError::Cut(CutReason::Revoked(_))), "{error}");
    assert!(dropped.await.is_err());
}

#[tokio::test]
async fn a_caller_who_does_not_read_delays_neither_the_cut_nor_its_acknowledgement() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let (_, open) = edge.knowledge.clear(edge.permit(&bearer()), None).unwrap();
    let (on_drop, dropped) = oneshot::channel();
    let unread = open.body(Endless { _dropped: on_drop });
    let seq = double.revoke(root());
    assert!(dropped.await.is_err());
    eventually("the acknowledgement", || double.acknowledged(seq)).await;
    drop(unread);
    assert!(edge.knowledge.streams().is_empty());
}

#[tokio::test]
async fn an_answer_that_ends_by_itself_leaves_nothing_behind() {
    let double = Double::start(&clock()).await;
    let edge = Edge::of(&[&double]);
    edge.ready().await;
    let (_, open) = edge.knowledge.clear(edge.permit(&bearer()), None).unwrap();
    let body = open.body(http_body_util::Full::new(Bytes::from_static(b"done")));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "done");
    assert!(edge.knowledge.streams().is_empty());
}

/// Many requests race one revocation. Whatever is not refused is cut before the acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_slips_between_the_check_and_the_cut() {
    let double = Double::start(&clock()).await;
    let edge = Arc::new(Edge::of(&[&double]));
    edge.ready().await;
    let token = bearer();
    let cleared = Arc::new(AtomicUsize::new(0));
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (edge, token, cleared) = (edge.clone(), token.clone(), cleared.clone());
        racing.spawn(async move {
            loop {
                let Ok(live) = edge.admit(&token) else { return };
                let permit = writ::policy::permit::authorize(
                    live,
                    crate::tokens::operation("notes:notes/read:team").into(),
                    &writ::policy::rules::Rules::built_in(),
                    writ::policy::Facts::at(crate::tokens::at(10)),
                );
                let Ok((_, open)) = edge.knowledge.clear(permit.unwrap(), None) else { return };
                cleared.fetch_add(1, Ordering::SeqCst);
                let cut = tokio::time::timeout(Duration::from_millis(1), open.cut()).await.is_ok();
                cleared.fetch_sub(1, Ordering::SeqCst);
                drop(open);
                if cut {
                    return;
                }
            }
        });
    }
    eventually("requests under way", || cleared.load(Ordering::SeqCst) > 10).await;
    let seq = double.revoke(root());
    eventually("the acknowledgement", || double.acknowledged(seq)).await;
    let open = cleared.load(Ordering::SeqCst);
    assert_eq!(open, 0, "acknowledged while requests of the revoked chain were open");
    racing.join_all().await;
}
