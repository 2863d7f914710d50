//! Services that hang: when they are connected to, before their answer, in the middle of it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::{beside, nothing_is_lost, others_are_served, refused};
use crate::attacks::{Siege, decisions};
use crate::edge::raw::{Answer, Client};
use crate::edge::upstream::{Recorder, Script};
use crate::edge::{PATIENCE, World, Writ, finish};

/// An address that takes no connection and refuses none: its queue is full.
pub(crate) struct Nowhere {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Nowhere {
    pub(crate) async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
            assert!(waiting.len() < 16, "the queue has no end");
        }
        Self { address, _listener: listener, _waiting: waiting }
    }
}

/// So many calls to `files` at once, each on a connection of its own.
fn flood(world: &World, writ: &Writ, calls: usize) -> JoinSet<Answer> {
    let mut flood = JoinSet::new();
    for call in 0..calls {
        let (address, request) = (world.edge.address(), writ.get(&format!("/files/{call}")));
        flood.spawn(async move { Client::connect(address).await.exchange(request).await });
    }
    flood
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_takes_no_connection_is_given_up_and_holds_up_nobody_else() {
    let full = Nowhere::start().await;
    let (world, writ) = beside(full.address, |config| config.limits.connect_timeout = Duration::from_secs(2)).await;
    let flood = flood(&world, &writ, 100);
    others_are_served(&world, &writ).await;
    for answer in flood.join_all().await {
        refused(&answer, 504, "upstream_connect_timeout");
    }
    others_are_served(&world, &writ).await;
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_says_nothing_holds_up_nobody_else() {
    let silent = Recorder::start().await;
    silent.answer(Script::Silence);
    let (world, writ) = beside(silent.address(), |config| config.limits.answer_timeout = Duration::from_secs(4)).await;
    let flood = flood(&world, &writ, 300);
    crate::edge::eventually("the service has them", || silent.seen().len() >= 100).await;
    others_are_served(&world, &writ).await;
    for answer in flood.join_all().await {
        refused(&answer, 504, "upstream_timeout");
    }
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_in_the_middle_of_its_answer_is_cut_and_its_outcome_says_so() {
    let world = World::start_with(|config| config.limits.idle_timeout = Duration::from_millis(500)).await;
    let writ = world.writ();
    world.upstream.answer(Script::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec()));
    let mut client = Client::connect(world.edge.address()).await;
    client.write(writ.get("/notes/notes/7")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    // Shorter than announced, and then the end: nobody takes it for the whole.
    let came = tokio::time::timeout(PATIENCE, client.rest()).await.unwrap();
    assert_eq!(came, b"half");
    let outcome = world.outcome().await;
    assert_eq!((finish(&outcome), outcome.bytes_down), (("failed", "upstream_silent"), 4));
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_are_taken_at_once_get_a_503_and_the_next_ones_are_served() {
    let silent = Recorder::start().await;
    silent.answer(Script::Silence);
    let (world, writ) = beside(silent.address(), |config| config.limits.requests_max = 8).await;
    let mut holding = Vec::new();
    for call in 0..8 {
        let mut client = Client::connect(world.edge.address()).await;
        client.write(writ.get(&format!("/files/{call}"))).await;
        holding.push(client);
    }
    crate::edge::eventually("the service has them", || silent.seen().len() == 8).await;
    let answer = world.read(&writ).await;
    refused(&answer, 503, "edge_busy");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(world.send("GET /.writ/healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    holding.pop();
    // Its end is noticed by the edge's own thread.
    let served = async { while world.read(&writ).await.status != 200 {} };
    tokio::time::timeout(PATIENCE, served).await.expect("there is room again");
    drop(holding);
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_hangs_takes_its_own_share_and_nothing_of_what_others_need() {
    let hanging = Recorder::start().await;
    hanging.answer(Script::Silence);
    let (world, writ) = beside(hanging.address(), |config| config.limits.service_requests_max = 4).await;
    let mut holding = Vec::new();
    for call in 0..4 {
        let mut client = Client::connect(world.edge.address()).await;
        client.write(writ.get(&format!("/files/{call}"))).await;
        holding.push(client);
    }
    crate::edge::eventually("the service has them", || hanging.seen().len() == 4).await;
    crate::edge::eventually("they are recorded", || decisions(&world.authority).len() == 4).await;

    let mut siege = Siege::at(world.edge.address(), &world.authority, &hanging);
    for _ in 0..3 {
        let answer = siege.repelled("one more", writ.get("/files/7"), 503, "service_busy").await;
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.text().contains("limits.service_requests_max"), "{}", answer.text());
    }
    siege.over().await;
    others_are_served(&world, &writ).await;

    // A stream counts as long as it is open, and no longer.
    holding.pop();
    hanging.answer(Script::Events);
    let mut streaming = served_once_there_is_room(&world, &writ).await;
    assert!(streaming.chunk().await.unwrap().is_some());
    refused(&world.send(writ.get("/files/8")).await, 503, "service_busy");
    drop(streaming);
    drop(served_once_there_is_room(&world, &writ).await);
    drop(holding);
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_are_slow_take_the_share_of_their_service_and_nothing_of_what_others_need() {
    let files = Recorder::start().await;
    let (world, writ) = beside(files.address(), |config| config.limits.service_requests_max = 4).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(world.edge.address()).await;
        let fields = writ.fields("POST", "/notes/pay");
        let json = "Content-Type: application/json\r\nContent-Length: 12\r\nExpect: 100-continue";
        client.write(format!("POST /notes/pay HTTP/1.1\r\n{fields}{json}\r\n\r\n")).await;
        // Its body is waited for.
        assert!(client.head().await.starts_with("HTTP/1.1 100"));
        slow.push(client);
    }
    let mut siege = Siege::of(&world);
    siege.repelled("one more", writ.get("/notes/notes/7"), 503, "service_busy").await;
    siege.over().await;
    assert_eq!(world.send(writ.get("/files/7")).await.status, 200);
    for mut client in slow {
        client.write(r#"{"amount":1}"#).await;
        assert_eq!(client.answer().await.status, 200);
    }
    others_are_served(&world, &writ).await;
    nothing_is_lost(&world).await;
}

/// The end of a request is noticed by the edge's own threads.
async fn served_once_there_is_room(world: &World, writ: &Writ) -> Client {
    let served = async {
        loop {
            let mut client = Client::connect(world.edge.address()).await;
            client.write(writ.get("/files/7")).await;
            let head = client.head().await;
            if head.starts_with("HTTP/1.1 200") {
                return client;
            }
            assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("there is room again")
}
