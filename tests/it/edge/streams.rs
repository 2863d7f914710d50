//! Group E at the edge: a revocation stops what has begun, and is acknowledged only once it has stopped.

use std::time::Duration;

use writ::clock::{Clock as _, SystemClock, Timestamp};
use writ::revocation::Target;
use writ::token::chain::Authority;

use super::authority::Lending;
use super::raw::Client;
use super::upstream::Script;
use super::{World, Writ, eventually, finish};

/// A stream of events that has begun.
pub(crate) async fn streaming(world: &World, writ: &Writ) -> Client {
    world.upstream.answer(Script::Events);
    let mut client = Client::connect(world.edge.address()).await;
    client.write(writ.get("/notes/notes/7")).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(client.chunk().await, Ok(Some(b"data: 0\n\n".to_vec())));
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_without_waiting_for_the_next() {
    let world = World::start().await;
    let mut client = streaming(&world, &world.writ()).await;
    world.upstream.send_event();
    assert_eq!(client.chunk().await, Ok(Some(b"data: 1\n\n".to_vec())));
    drop(client);
    // The service notices that nobody listens any more.
    world.upstream.cut().await;
    assert_eq!(finish(&world.outcome().await), ("abandoned", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_is_cut_before_the_revocation_is_acknowledged() {
    let world = World::start().await;
    let writ = world.writ();
    let other = world.writ();
    let mut client = streaming(&world, &writ).await;
    let mut kept = streaming(&world, &other).await;
    world.authority.revoke(Target::Block(writ.block.id)).await;
    // An abort, and not an end that a caller could take for the whole answer.
    assert_eq!(client.chunk().await, Err(()));
    world.upstream.cut().await;
    let outcome = world.outcome().await;
    assert_eq!((finish(&outcome), outcome.status), (("cut", "revoked"), Some(200)));

    world.upstream.send_event();
    assert_eq!(kept.chunk().await, Ok(Some(b"data: 1\n\n".to_vec())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cut_when_its_writ_expires() {
    let world = World::start().await;
    let expires = Timestamp::from_secs(SystemClock.now().secs() + 2);
    let writ = world.writ_of(Authority { expires, ..World::block() });
    let mut client = streaming(&world, &writ).await;
    assert_eq!(client.chunk().await, Err(()));
    assert!(SystemClock.now() > expires);
    assert_eq!(finish(&world.outcome().await), ("cut", "token_expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_cut_when_the_lease_ends() {
    let world = World::start().await;
    let mut client = streaming(&world, &world.writ()).await;
    world.authority.set_reachable(false);
    assert_eq!(client.chunk().await, Err(()));
    world.upstream.cut().await;
    world.authority.set_reachable(true);
    assert_eq!(finish(&world.outcome().await), ("cut", "no_lease"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_begun_before_a_revocation_is_refused_at_its_end() {
    let world = World::start().await;
    let writ = world.writ();
    let request = writ.post("/notes/pay", r#"{"amount":1}"#);
    let (first, last) = request.split_at(request.len() - 4);
    let mut client = Client::connect(world.edge.address()).await;
    client.write(first).await;
    world.authority.revoke(Target::Block(writ.block.id)).await;
    client.write(last).await;
    let answer = client.answer().await;
    world.assert_refused(&answer, 401, "revoked", Some(&writ)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_its_credential_is_refused_if_it_is_revoked_meanwhile() {
    let world = World::start().await;
    let writ = world.writ();
    world.authority.set_lending(Lending::Hangs);
    let mut client = Client::connect(world.edge.address()).await;
    client.write(writ.get("/notes/notes/7")).await;
    world.decisions(1).await;
    world.authority.revoke(Target::Agent("acme".parse().unwrap(), "assistant".parse().unwrap())).await;
    world.authority.set_lending(Lending::Lends);
    let answer = client.answer().await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert!(world.upstream.seen().is_empty());
    let outcome = world.outcome().await;
    assert_eq!((finish(&outcome), outcome.injected_at_seq), (("refused", "revoked"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_agents_request_reserved_of_a_limit_serves_another() {
    let world = World::start().await;
    let limit = serde_json::json!([{ "name": "one", "per": "service", "window": "31d", "calls": 1 }]);
    let version = world.authority.put_limits(limit);
    eventually("the edge has the limit", || world.edge.knowledge().settings_version() == Some(version)).await;
    let other = world.writ_of(Authority { agent: "other".parse().unwrap(), ..World::block() });
    world.authority.set_lending(Lending::Hangs);
    let mut client = Client::connect(world.edge.address()).await;
    client.write(world.writ().get("/notes/notes/7")).await;
    world.decisions(1).await;
    assert_eq!(world.read(&other).await.status, 429, "all of it is reserved");
    world.authority.revoke(Target::Agent("acme".parse().unwrap(), "assistant".parse().unwrap())).await;
    world.authority.set_lending(Lending::Lends);
    assert_eq!(client.answer().await.status, 401);
    assert_eq!(world.read(&other).await.status, 200);
    assert_eq!(world.read(&other).await.status, 429);
    assert_eq!(world.upstream.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_streams_is_cut_by_a_revocation() {
    let world = World::start().await;
    let writ =
        world.writ_of(Authority { capabilities: vec!["notes:notes/write:team".parse().unwrap()], ..World::block() });
    let fields = writ.fields("PUT", "/notes/notes/7");
    let mut client = Client::connect(world.edge.address()).await;
    client.write(format!("PUT /notes/notes/7 HTTP/1.1\r\n{fields}Content-Length: 1000\r\n\r\nhello")).await;
    world.upstream.arrived(5).await;
    world.authority.revoke(Target::Holder(writ.holder.public())).await;
    world.upstream.cut().await;
    assert_eq!(client.answer().await.status, 401);
    assert!(world.upstream.seen().is_empty(), "the service took the request for whole");
    assert_eq!(finish(&world.outcome().await), ("cut", "revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_does_not_read_does_not_hold_up_a_revocation() {
    let world = World::start().await;
    let writ = world.writ();
    let length = 1_usize << 30;
    let mut bytes = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    bytes.resize(64 << 20, b'x');
    world.upstream.answer(Script::Bytes(bytes));
    let mut client = Client::connect(world.edge.address()).await;
    client.write(writ.get("/notes/notes/7")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    eventually("the edge has nowhere to put more", || world.edge.knowledge().streams().len() == 1).await;
    let began = SystemClock.monotonic();
    world.authority.revoke(Target::Everything).await;
    let took = SystemClock.monotonic().since(began);
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert!(world.edge.knowledge().lease_holds());
}
