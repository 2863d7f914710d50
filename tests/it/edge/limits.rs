//! Group G9 and the protocols: everything has a limit, and past it the edge goes on serving others.

use std::time::Duration;

use http::{Method, Request, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use writ::token::chain::Authority;

use super::raw::Client;
use super::{World, Writ};
use crate::attacks::Siege;

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_closes_the_connection_in_time() {
    let world = World::start_with(|config| config.limits.head_timeout = Duration::from_millis(300)).await;
    let mut slow = Client::connect(world.edge.address()).await;
    slow.write("GET /notes/notes/7 HTTP/1.1\r\nHost: ").await;
    assert!(slow.is_closed().await);
    let mut silent = Client::connect(world.edge.address()).await;
    assert!(silent.is_closed().await);
    assert_eq!(world.read(&world.writ()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_a_431() {
    let world = World::start().await;
    let writ = world.writ();
    let fields = writ.fields("GET", "/notes/notes/7");
    let mut siege = Siege::of(&world);
    for more in [format!("X: {}\r\n", "a".repeat(40_000)), "X: y\r\n".repeat(200)] {
        let mut client = Client::connect(world.edge.address()).await;
        let request = format!("GET /notes/notes/7 HTTP/1.1\r\n{fields}{more}\r\n");
        siege.repelled_on(&mut client, "a large head", request, 431, "header_too_large").await;
        assert!(client.is_closed().await);
    }
    siege.over().await;
}

fn put(writ: &Writ, framing: &str, body: &str) -> String {
    let fields = writ.fields("PUT", "/notes/notes/7");
    format!("PUT /notes/notes/7 HTTP/1.1\r\n{fields}{framing}\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_a_413_announced_or_not() {
    let world = World::start_with(|config| config.limits.body_bytes_max = 8).await;
    let writ =
        world.writ_of(Authority { capabilities: vec!["notes:notes/write:team".parse().unwrap()], ..World::block() });
    let answer = world.send(put(&writ, "Content-Length: 9", "123456789")).await;
    world.assert_refused(&answer, 413, "body_too_large", Some(&writ)).await;
    let answer = world.send(put(&writ, "Transfer-Encoding: chunked", "9\r\n123456789\r\n0\r\n\r\n")).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(world.upstream.seen().is_empty(), "the service took the request for whole");
    assert_eq!(world.send(put(&writ, "Content-Length: 8", "12345678")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_is_a_408() {
    let world = World::start_with(|config| config.limits.idle_timeout = Duration::from_millis(200)).await;
    let writ =
        world.writ_of(Authority { capabilities: vec!["notes:notes/write:team".parse().unwrap()], ..World::block() });
    let answer = world.send(put(&writ, "Content-Length: 8", "1234")).await;
    assert_eq!(answer.status, 408, "{}", answer.text());
    let writ = world.writ();
    let post = writ.post("/notes/pay", r#"{"amount":1}"#);
    let answer = world.send(&post[..post.len() - 4]).await;
    assert_eq!(answer.status, 408, "{}", answer.text());
    assert!(world.upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_each_connection_has_a_request_more_wait_for_their_turn() {
    let world = World::start_with(|config| config.limits.connections_max = 1).await;
    let writ = world.writ();
    world.upstream.answer(super::upstream::Script::Events);
    let mut first = Client::connect(world.edge.address()).await;
    first.write(writ.get("/notes/notes/7")).await;
    assert!(first.head().await.starts_with("HTTP/1.1 200"));
    assert!(first.chunk().await.unwrap().is_some());
    let (address, request) = (world.edge.address(), writ.get("/notes/notes/8"));
    let second = tokio::spawn(async move { Client::connect(address).await.exchange(request).await.status });
    world.upstream.answer(super::upstream::Script::Bytes(super::upstream::OK.to_vec()));
    for _ in 0..3 {
        world.upstream.send_event();
        assert!(first.chunk().await.unwrap().is_some(), "the first goes on");
    }
    assert!(!second.is_finished());
    drop(first);
    assert_eq!(second.await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_body_was_read_does_not_let_the_body_be_read_as_a_request() {
    let world = World::start().await;
    let writ = world.writ();
    let smuggled = writ.get("/notes/notes/7");
    let mut client = Client::connect(world.edge.address()).await;
    let head = format!("PUT /notes/notes/7 HTTP/1.1\r\nHost: {}\r\n", world.host());
    client.write(format!("{head}Content-Length: {}\r\n\r\n{smuggled}", smuggled.len())).await;
    assert_eq!(client.answer().await.status, 401);
    // Either it is closed, or the body is skipped: what follows is the next request.
    let next = writ.get("/notes/notes/8");
    let mut again = Client::connect(world.edge.address()).await;
    assert_eq!(again.exchange(next).await.status, 200);
    assert_eq!(world.upstream.seen().len(), 1);
}

type Sender = http2::SendRequest<Empty<bytes::Bytes>>;

async fn http2(world: &World) -> Sender {
    let stream = TcpStream::connect(world.edge.address()).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(writ: &Writ, authority: &str, method: Method, path: &str) -> Request<Empty<bytes::Bytes>> {
    let proof = writ.proof(&writ.proving(method.as_str(), path));
    Request::builder()
        .method(method)
        .version(Version::HTTP_2)
        .uri(format!("http://{authority}{path}"))
        .header("authorization", format!("DPoP {}", writ.token.text()))
        .header("dpop", proof)
        .body(Empty::new())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_served_as_http1_is() {
    let world = World::start().await;
    let writ = world.writ();
    let mut sender = http2(&world).await;
    let host = world.host();
    let answer = sender.send_request(request(&writ, &host, Method::GET, "/notes/notes/7")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
    for (authority, method, path, status) in [
        ("elsewhere.example", Method::GET, "/notes/notes/7", 421),
        (host.as_str(), Method::TRACE, "/notes/notes/7", 405),
        (host.as_str(), Method::GET, "/notes/%2e%2e/7", 400),
        (host.as_str(), Method::DELETE, "/notes/notes/7", 403),
    ] {
        let answer = sender.send_request(request(&writ, authority, method, path)).await.unwrap();
        assert_eq!(answer.status(), status, "{authority} {path}");
        assert_eq!(answer.headers()["writ-edge"], "denied");
    }
    assert_eq!(world.upstream.seen().len(), 1);
    assert_eq!(world.upstream.seen()[0].line(), "GET /v1/notes/7 HTTP/1.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_stream_is_reset_by_a_revocation_and_the_connection_lives() {
    let world = World::start().await;
    let (writ, other) = (world.writ(), world.writ());
    world.upstream.answer(super::upstream::Script::Events);
    let mut sender = http2(&world).await;
    let answer = sender.send_request(request(&writ, &world.host(), Method::GET, "/notes/notes/7")).await.unwrap();
    let mut body = answer.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    world.authority.revoke(writ::revocation::Target::Block(writ.block.id)).await;
    assert!(body.frame().await.unwrap().is_err());
    world.upstream.answer(super::upstream::Script::Bytes(super::upstream::OK.to_vec()));
    let answer = sender.send_request(request(&other, &world.host(), Method::GET, "/notes/notes/7")).await.unwrap();
    assert_eq!(answer.status(), 200);
}
