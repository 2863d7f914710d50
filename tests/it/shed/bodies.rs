//! Bodies that are too large, or that never end; answers that nobody takes.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use writ::clock::{Clock as _, SystemClock, Timestamp};
use writ::token::chain::Authority;

use super::{beside, everything, nothing_is_lost, others_are_served};
use crate::edge::raw::Client;
use crate::edge::upstream::{Recorder, Script};
use crate::edge::{PATIENCE, World, Writ, eventually};

const HUNDRED_MEGABYTES: usize = 100_000_000;
/// What the kernel's buffers and the edge's own may hold of one body.
const BUFFERED_MAX: usize = 32 << 20;

fn head(writ: &Writ, method: &str, path: &str, framing: &str) -> String {
    let fields = writ.fields(method, path);
    format!("{method} {path} HTTP/1.1\r\n{fields}Content-Type: application/json\r\n{framing}\r\n\r\n")
}

const CHUNK_BYTES: usize = 65_536;

fn chunk() -> Vec<u8> {
    [b"10000\r\n".as_slice(), &[b' '; CHUNK_BYTES], b"\r\n"].concat()
}

/// Sends pieces until the edge has answered or hung up, or they are `pieces`; what was sent of the body, and the first bytes of the answer.
async fn pushed(stream: &mut TcpStream, piece: &[u8], pieces: usize) -> (usize, String) {
    let (mut reading, mut writing) = stream.split();
    let mut told = vec![0; 4096];
    let mut sent = 0;
    let pushing = async {
        for _ in 0..pieces {
            if writing.write_all(piece).await.is_err() {
                break;
            }
            sent += piece.len();
        }
        std::future::pending::<()>().await;
    };
    let answered = tokio::select! {
        () = pushing => unreachable!("it is pending at its end"),
        read = tokio::time::timeout(PATIENCE, reading.read(&mut told)) => read.expect("the edge answers"),
    };
    // A reset: it had hung up on what was still being sent.
    told.truncate(answered.unwrap_or(0));
    (sent, String::from_utf8_lossy(&told).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_where_a_document_is_read_are_a_413_after_the_first() {
    let world = World::start().await;
    let writ = everything(&world);
    let spaces = vec![b' '; CHUNK_BYTES];
    let announced = format!("Content-Length: {HUNDRED_MEGABYTES}");
    for (framing, piece) in [(announced.as_str(), spaces), ("Transfer-Encoding: chunked", chunk())] {
        let mut stream = TcpStream::connect(world.edge.address()).await.unwrap();
        stream.write_all(head(&writ, "POST", "/notes/pay", framing).as_bytes()).await.unwrap();
        let (sent, told) = pushed(&mut stream, &piece, HUNDRED_MEGABYTES / CHUNK_BYTES).await;
        assert!(sent < BUFFERED_MAX, "{framing}: {sent} bytes were taken");
        assert!(told.starts_with("HTTP/1.1 413") || told.is_empty(), "{framing}: {told}");
        others_are_served(&world, &writ).await;
    }
    let refused = || {
        let reasons = world.authority.records_text();
        reasons.matches("body_too_l").count() >= 2
    };
    eventually("both are recorded with their reason", refused).await;
    assert!(world.upstream.seen().iter().all(|seen| seen.line().starts_with("GET ")));
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_limit_is_refused_by_its_announcement_alone() {
    let world = World::start().await;
    let writ = everything(&world);
    let over = head(&writ, "PUT", "/notes/notes/7", "Content-Length: 104857601");
    super::refused(&world.send(over).await, 413, "body_too_large");
    assert_eq!(world.upstream.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_for_a_service_that_does_not_read_stay_with_the_caller() {
    // Never accepted from: the kernel takes the connection and what fits into its buffers.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // That the caller has gone is noticed once the service has had its time: nothing is read from either meanwhile.
    let (world, writ) =
        beside(deaf.local_addr().unwrap(), |config| config.limits.answer_timeout = Duration::from_secs(2)).await;
    for (framing, piece) in
        [("Content-Length: 100000000", vec![b' '; CHUNK_BYTES]), ("Transfer-Encoding: chunked", chunk())]
    {
        let mut stream = TcpStream::connect(world.edge.address()).await.unwrap();
        stream.write_all(head(&writ, "PUT", "/files/7", framing).as_bytes()).await.unwrap();
        let (mut sent, mut rest) = (0, &piece[..0]);
        while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), stream.write(rest)).await {
            let written = written.unwrap();
            (sent, rest) = (sent + written, &rest[written..]);
            if rest.is_empty() {
                rest = &piece;
            }
            assert!(sent < BUFFERED_MAX, "{framing}: {sent} bytes were taken, and the service read none");
        }
        others_are_served(&world, &writ).await;
    }
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_take_no_more_room_together_than_there_is() {
    let world = World::start_with(|config| config.limits.read_bodies_bytes_max = 50_000).await;
    let writ = everything(&world);
    let mut greedy = Client::connect(world.edge.address()).await;
    greedy.write(head(&writ, "POST", "/notes/pay", "Content-Length: 50000")).await;
    greedy.write(vec![b' '; 49_995]).await;
    let post = || writ.post("/notes/pay", r#"{"amount":1}"#);
    let deadline = SystemClock.monotonic().after(PATIENCE);
    // Whichever of the two comes last finds no room.
    let answer = loop {
        let answer = tokio::select! {
            answer = greedy.answer() => break answer,
            answer = world.send(post()) => answer,
        };
        if answer.status != 200 {
            break answer;
        }
        assert!(SystemClock.monotonic() < deadline, "both had room");
    };
    super::refused(&answer, 503, "bodies_full");
    others_are_served(&world, &writ).await;
    drop(greedy);
    while world.send(post()).await.status != 200 {
        assert!(SystemClock.monotonic() < deadline, "what was taken does not come back");
    }
    nothing_is_lost(&world).await;
    assert!(world.authority.records_text().contains("bodies_full"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_drips_is_a_408_however_steadily_it_comes() {
    let world = World::start_with(|config| config.limits.idle_timeout = Duration::from_secs(1)).await;
    let writ = everything(&world);
    let mut stream = TcpStream::connect(world.edge.address()).await.unwrap();
    stream.write_all(head(&writ, "POST", "/notes/pay", "Content-Length: 100000").as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let drip = async {
        while writing.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending().await
    };
    let mut told = vec![0; 4096];
    let read = tokio::select! {
        () = drip => unreachable!("it is pending at its end"),
        read = tokio::time::timeout(PATIENCE, reading.read(&mut told)) => read.expect("the edge answers").unwrap(),
    };
    let told = String::from_utf8_lossy(&told[..read]);
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("body_timeout"), "{told}");
    assert!(world.upstream.seen().is_empty());
    others_are_served(&world, &writ).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_drips_ends_with_its_writ() {
    let world = World::start().await;
    let others = world.writ();
    let expires = Timestamp::from_secs(SystemClock.now().secs() + 2);
    let writ = world.writ_of(Authority { expires, capabilities: vec!["notes:/:/".parse().unwrap()], ..World::block() });
    let mut stream = TcpStream::connect(world.edge.address()).await.unwrap();
    stream.write_all(head(&writ, "PUT", "/notes/notes/7", "Content-Length: 100000").as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    world.upstream.arrived(1).await;
    others_are_served(&world, &others).await;
    tokio::time::timeout(PATIENCE, dripping).await.expect("the edge hangs up").unwrap();
    assert!(SystemClock.now() > expires);
    nothing_is_lost(&world).await;
    assert!(world.authority.records_text().contains("token_expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_takes_nothing_of_the_answer_is_closed_and_the_service_with_it() {
    let large = Recorder::start().await;
    let body = vec![b'x'; 24 << 20];
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    large.answer(Script::Last([head.as_bytes(), &body].concat()));
    let (world, writ) = beside(large.address(), |config| config.limits.idle_timeout = Duration::from_secs(1)).await;
    let mut readers = Vec::new();
    for call in 0..4 {
        let mut client = Client::connect(world.edge.address()).await;
        client.write(writ.get(&format!("/files/{call}"))).await;
        readers.push(client);
    }
    eventually("the answers are on their way", || large.seen().len() == 4).await;
    others_are_served(&world, &writ).await;
    eventually("nothing is open any more", || world.edge.knowledge().streams().is_empty()).await;
    nothing_is_lost(&world).await;
    assert_eq!(
        world.authority.records_text().matches("abandoned").count(),
        4,
        "each outcome says that its caller was lost"
    );
}
