//! An authority that answers late, or not at all.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{beside, nothing_is_lost, others_are_served, refused};
use crate::edge::authority::Lending;
use crate::edge::raw::Client;
use crate::edge::upstream::Recorder;
use crate::edge::{PATIENCE, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_a_credential_hold_up_nobody_who_has_one() {
    let files = Recorder::start().await;
    let (world, writ) = beside(files.address(), |config| config.limits.lend_timeout = Duration::from_secs(3)).await;
    others_are_served(&world, &writ).await;
    world.authority.set_lending(Lending::Hangs);
    let mut waiting = JoinSet::new();
    for call in 0..200 {
        let (address, request) = (world.edge.address(), writ.get(&format!("/files/{call}")));
        waiting.spawn(async move { Client::connect(address).await.exchange(request).await });
    }
    others_are_served(&world, &writ).await;
    for answer in waiting.join_all().await {
        refused(&answer, 503, "lend_unavailable");
    }
    assert_eq!(files.connections(), 0);
    world.authority.set_lending(Lending::Lends);
    let served = async {
        while world.send(writ.get("/files/7")).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("it is lent again");
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_answers_after_ten_seconds_stops_the_edge_at_once_and_not_after_ten_seconds() {
    let world = World::start().await;
    let writ = world.writ();
    others_are_served(&world, &writ).await;
    let began = Instant::now();
    world.authority.set_late(Duration::from_secs(10));
    eventually("the lease ends", || !world.edge.knowledge().lease_holds()).await;
    let answer = world.read(&writ).await;
    refused(&answer, 503, "no_lease");
    let refused_after = began.elapsed();
    assert!(refused_after < Duration::from_secs(9), "{refused_after:?}: nobody waits for the authority");
    assert_eq!(world.send("GET /.writ/healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    world.authority.set_late(Duration::ZERO);
    assert!(world.edge.ready(PATIENCE).await);
    others_are_served(&world, &writ).await;
    nothing_is_lost(&world).await;
}
