//! Connections that ask nothing, or never to the end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{everything, nothing_is_lost, others_are_served};
use crate::attacks::http2::{Connection, END_HEADERS, END_STREAM, HEADERS, SETTINGS, field, frame};
use crate::edge::raw::Client;
use crate::edge::upstream::Script;
use crate::edge::{PATIENCE, World, eventually};
use crate::world::free_address;

const ADDRESS: &str = "WRIT_TEST_CROWD";
const COUNT: &str = "WRIT_TEST_CROWD_COUNT";
const CROWD: usize = 10_000;
const PAGE: &str = "GET /metrics HTTP/1.1\r\nHost: e\r\nConnection: close\r\n\r\n";
/// What the other tests of this process have open.
const OTHER_FILES: usize = 4_000;

/// As many files as this process may open, from now on.
fn files_max() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(usize::MAX, |maximum| usize::try_from(maximum).unwrap_or(usize::MAX))
}

/// The process that is the crowd: opens its connections, says so, and whenever it is asked how many of them still stand.
#[test]
#[ignore = "run by the tests that it is a crowd for"]
#[expect(clippy::disallowed_methods, reason = "how a test tells its own process what to do")]
fn crowd() {
    let (Some(address), Some(count)) = (std::env::var_os(ADDRESS), std::env::var_os(COUNT)) else { return };
    let address: SocketAddr = address.to_str().unwrap().parse().unwrap();
    files_max();
    let connect = |_| std::net::TcpStream::connect(address).unwrap();
    let connections: Vec<_> = (0..count.to_str().unwrap().parse::<usize>().unwrap()).map(connect).collect();
    println!("\nstanding {}", connections.len());
    for _ in std::io::stdin().lines() {
        let stands = |stream: &&std::net::TcpStream| {
            stream.set_nonblocking(true).unwrap();
            stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        };
        println!("\nstanding {}", connections.iter().filter(stands).count());
    }
}

/// Connections of another process, which say nothing.
struct Crowd {
    child: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Crowd {
    /// Returns once all of them were taken by the kernel.
    fn of(count: usize, address: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shed::connections::crowd", "--ignored", "--nocapture"])
            .env(ADDRESS, address.to_string())
            .env(COUNT, count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (ask, told) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut crowd = Self { child, ask, told };
        assert_eq!(crowd.told(), count);
        crowd
    }

    fn standing(&mut self) -> usize {
        self.ask.write_all(b"\n").unwrap();
        self.told()
    }

    fn told(&mut self) -> usize {
        let mut lines = (&mut self.told).lines();
        lines.find_map(|line| line.unwrap().strip_prefix("standing ")?.parse().ok()).expect("the crowd says so")
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_that_say_nothing_keep_out_nobody_who_asks() {
    // Where a process may open fewer files it is as many as that allows, and the output says so.
    let count = CROWD.min(files_max().saturating_sub(OTHER_FILES));
    println!("{count} idle connections");
    for (count, connections_max) in [(count, count + 100), (count / 4, count / 10)] {
        let world = World::start_with(|config| {
            config.limits.connections_max = connections_max;
            // None of them leaves because its time is over.
            config.limits.head_timeout = Duration::from_secs(300);
        })
        .await;
        let writ = world.writ();
        let address = world.edge.address();
        let mut crowd = tokio::task::spawn_blocking(move || Crowd::of(count, address)).await.unwrap();
        others_are_served(&world, &writ).await;
        let standing = crowd.standing();
        if connections_max > count {
            assert_eq!(standing, count, "there is room for all of them");
        } else {
            // Those that wait in the kernel's queue stand too.
            assert!(standing <= connections_max + 1100, "{standing} stand, and {connections_max} may");
            assert!(standing >= connections_max / 2, "{standing} stand: no more go than must");
        }
        others_are_served(&world, &writ).await;
        nothing_is_lost(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_without_a_request_makes_room_and_who_has_one_does_not() {
    let world = World::start_with(|config| config.limits.connections_max = 2).await;
    let writ = world.writ();
    world.upstream.answer(Script::Events);
    let mut streaming = Client::connect(world.edge.address()).await;
    streaming.write(writ.get("/notes/notes/7")).await;
    assert!(streaming.head().await.starts_with("HTTP/1.1 200"));
    assert!(streaming.chunk().await.unwrap().is_some());
    world.upstream.answer(Script::Bytes(crate::edge::upstream::OK.to_vec()));

    let mut idle = Client::connect(world.edge.address()).await;
    assert_eq!(idle.exchange(writ.get("/notes/notes/7")).await.status, 200);
    others_are_served(&world, &writ).await;
    assert!(idle.is_closed().await, "it made room");
    world.upstream.send_event();
    assert!(streaming.chunk().await.unwrap().is_some(), "it goes on");
    drop(streaming);
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_drip_are_closed_in_time_however_steadily_they_come() {
    let world = World::start_with(|config| config.limits.head_timeout = Duration::from_secs(1)).await;
    let writ = world.writ();
    let mut dripping = JoinSet::new();
    for _ in 0..100 {
        let address = world.edge.address();
        dripping.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = b"GET /notes/notes/7 HTTP/1.1\r\nHost: ".iter().chain(std::iter::repeat(&b'a'));
            for byte in head {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    others_are_served(&world, &writ).await;
    tokio::time::timeout(PATIENCE, dripping.join_all()).await.expect("the edge hangs up on all of them");
    others_are_served(&world, &writ).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_heads_is_refused_one_by_one_and_recorded() {
    let world = World::start().await;
    let writ = world.writ();
    let mut flood = JoinSet::new();
    for _ in 0..200 {
        let address = world.edge.address();
        let fields: String = (0..5000).map(|n| format!("X-{n}: y\r\n")).collect();
        flood.spawn(async move {
            let mut client = Client::connect(address).await;
            client.write(format!("GET /notes/notes/7 HTTP/1.1\r\nHost: x\r\n{fields}")).await;
            client.answer().await
        });
    }
    others_are_served(&world, &writ).await;
    for answer in flood.join_all().await {
        super::refused(&answer, 431, "header_too_large");
    }
    let recorded = || world.authority.records_text().matches("header_too_large").count() == 200;
    eventually("each is recorded", recorded).await;
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_connections_that_take_no_answer_keep_out_nobody() {
    let world = World::start_with(|config| config.limits.connections_max = 8).await;
    let writ = world.writ();
    let host = world.host();
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(&world).await;
        // SETTINGS_INITIAL_WINDOW_SIZE of zero: no byte of a body may be sent.
        connection.0.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
        let head = [(":method", "GET"), (":scheme", "http"), (":authority", &host), (":path", "/notes/notes/7")];
        let block: Vec<u8> = head.iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect();
        connection.0.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await.unwrap();
        while connection.next().await.expect("its head is answered").0 != HEADERS {}
        stuck.push(connection);
    }
    others_are_served(&world, &writ).await;
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_come_and_go_leave_no_place_taken() {
    let world = World::start_with(|config| config.limits.connections_max = 16).await;
    let writ = world.writ();
    let mut coming = JoinSet::new();
    for n in 0..400 {
        let address = world.edge.address();
        coming.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if n % 2 == 0 {
                let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
                let _ = stream.read(&mut [0; 64]).await;
            }
        });
    }
    coming.join_all().await;
    for _ in 0..10 {
        others_are_served(&world, &writ).await;
    }
    nothing_is_lost(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_rests_gives_back_its_buffers_and_is_served_on() {
    let metrics = free_address();
    let world = World::start_with(|config| config.metrics_listen = Some(metrics)).await;
    let writ = everything(&world);
    let resting = async |count: usize| {
        let line = format!("\nwrit_edge_resting_connections {count}\n");
        let rests = async {
            while !Client::connect(metrics).await.exchange(PAGE).await.text().contains(&line) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, rests).await.unwrap_or_else(|_| panic!("{count} connections never rest"));
    };
    let get = || writ.get("/notes/notes/7").into_bytes();
    let post = || writ.post("/notes/pay", r#"{"amount":1}"#).into_bytes();

    let mut client = Client::connect(world.edge.address()).await;
    assert_eq!(client.exchange(get()).await.status, 200);
    resting(1).await;
    // Two at once: what comes together after a rest is answered one by one.
    client.write([post(), get()].concat()).await;
    assert_eq!((client.answer().await.status, client.answer().await.status), (200, 200));
    resting(1).await;
    // Begun, and gone on with later.
    let request = post();
    for part in [&request[..1], &request[1..60], &request[60..request.len() - 5]] {
        client.write(part).await;
        resting(0).await;
    }
    client.write(&request[request.len() - 5..]).await;
    assert_eq!(client.answer().await.status, 200);
    resting(1).await;
    let refused = client.exchange("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    resting(0).await;
    nothing_is_lost(&world).await;
}
