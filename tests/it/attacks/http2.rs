//! F10, G6 and G9 over HTTP/2, frame by frame: what no client library would send.
//!
//! Some of it ends in the protocol library, before there is a request that could be recorded. So what counts here is that it is
//! not served, that nothing of it reached the service, and that the edge goes on.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use writ::audit::{Event, Verdict};
use writ::config::edge::EdgeConfig;

use crate::edge::upstream::{OK, Script, Seen};
use crate::edge::{PATIENCE, World, Writ, finish};

pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as RFC 7541 section 6.2.2 writes it: a literal, not indexed, not compressed.
pub(crate) fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    [[0].as_slice(), &string(name), &string(value)].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes.len();
    if rest < 127 {
        out.push(u8::try_from(rest).unwrap());
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        out.push(u8::try_from(rest).unwrap());
    }
    [out.as_slice(), bytes].concat()
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A good request.
fn fields(world: &World, writ: &Writ) -> Fields {
    let proof = writ.proof(&writ.proving("GET", "/notes/notes/7"));
    let token = format!("DPoP {}", writ.token.text());
    [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", &world.host()),
        (":path", "/notes/notes/7"),
        ("authorization", &token),
        ("dpop", &proof),
    ]
    .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
    .into()
}

/// How the edge took a request.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// With status 200.
    Served,
    /// With another status.
    Refused,
    /// By the end of the stream or of the connection.
    Cut,
}

pub(crate) struct Connection(pub(crate) TcpStream);

impl Connection {
    pub(crate) async fn open(world: &World) -> Self {
        let mut stream = TcpStream::connect(world.edge.address()).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self(stream)
    }

    /// The next frame's type, flags and payload; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((head[3], head[4], payload))
        };
        timeout(PATIENCE, read).await.expect("the edge says something")
    }

    async fn ask(&mut self, fields: &Fields) -> Taken {
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        // A write may fail where the edge has already hung up.
        let _ = self.0.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
        loop {
            match self.next().await {
                Some((SETTINGS, 0, _)) => {
                    let _ = self.0.write_all(&frame(SETTINGS, ACK, 0, &[])).await;
                }
                // `:status: 200` is entry 8 of the static table.
                Some((HEADERS, _, block)) => {
                    return if block.first() == Some(&0x88) { Taken::Served } else { Taken::Refused };
                }
                None | Some((RST_STREAM | GOAWAY, ..)) => return Taken::Cut,
                Some(_) => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_could_be_written_in_two_ways_as_http1_is_not_served() {
    let world = World::start().await;
    let writ = world.writ();
    let good = fields(&world, &writ);
    assert_eq!(Connection::open(&world).await.ask(&good).await, Taken::Served);

    let set = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), value.to_owned());
        move |fields: &mut Fields| {
            fields.iter_mut().find(|field| field.0 == name.as_bytes()).unwrap().1 = value.into_bytes();
        }
    };
    let add = |name: &'static [u8], value: &'static [u8]| {
        move |fields: &mut Fields| fields.push((name.to_vec(), value.to_vec()))
    };
    let absolute = format!("http://{}/notes/notes/7", world.host());
    let with_user = format!("user@{}", world.host());
    type Change = Box<dyn FnOnce(&mut Fields)>;
    let cases: Vec<(&str, Change)> = vec![
        ("a fragment", Box::new(set(":path", "/notes/notes/7#x"))),
        ("an empty path", Box::new(set(":path", ""))),
        ("an asterisk", Box::new(set(":path", "*"))),
        ("an absolute URI as the path", Box::new(set(":path", &absolute))),
        ("a path without its slash", Box::new(set(":path", "notes/notes/7"))),
        ("a space in the path", Box::new(set(":path", "/notes/notes/7 HTTP/1.1"))),
        ("a line end in the path", Box::new(set(":path", "/notes/notes/7\r\nx: y"))),
        ("another scheme", Box::new(set(":scheme", "ftp"))),
        ("another authority", Box::new(set(":authority", "elsewhere.example"))),
        ("an authority with a user", Box::new(set(":authority", &with_user))),
        ("a method in lower case", Box::new(set(":method", "get"))),
        ("a line end in the method", Box::new(set(":method", "GET /x HTTP/1.1\r\nx:"))),
        ("two paths", Box::new(|fields| fields.insert(3, (b":path".to_vec(), b"/notes/notes/8".to_vec())))),
        ("two methods", Box::new(|fields| fields.insert(0, (b":method".to_vec(), b"PUT".to_vec())))),
        ("two authorities", Box::new(|fields| fields.insert(0, (b":authority".to_vec(), b"elsewhere".to_vec())))),
        ("two schemes", Box::new(|fields| fields.insert(0, (b":scheme".to_vec(), b"https".to_vec())))),
        ("an unknown pseudo field", Box::new(|fields| fields.insert(0, (b":evil".to_vec(), b"1".to_vec())))),
        ("an answer's pseudo field", Box::new(|fields| fields.insert(0, (b":status".to_vec(), b"200".to_vec())))),
        ("a pseudo field after the others", Box::new(|fields| fields.rotate_left(4))),
        ("no path", Box::new(|fields| drop(fields.remove(3)))),
        ("no method", Box::new(|fields| drop(fields.remove(0)))),
        ("no scheme", Box::new(|fields| drop(fields.remove(1)))),
        ("a host that is another", Box::new(add(b"host", b"elsewhere.example"))),
        ("an upper-case name", Box::new(add(b"X-Evil", b"1"))),
        ("a colon in a name", Box::new(add(b"x:evil", b"1"))),
        ("a space in a name", Box::new(add(b"x evil", b"1"))),
        ("a line end in a name", Box::new(add(b"x\r\nevil", b"1"))),
        ("an empty name", Box::new(add(b"", b"1"))),
        ("a line end in a value", Box::new(add(b"x-evil", b"a\r\nx-api-key: 1"))),
        ("a line feed in a value", Box::new(add(b"x-evil", b"a\nb"))),
        ("a NUL in a value", Box::new(add(b"x-evil", b"a\0b"))),
        ("a connection field", Box::new(add(b"connection", b"x-named"))),
        ("a transfer encoding", Box::new(add(b"transfer-encoding", b"chunked"))),
        ("an upgrade", Box::new(add(b"upgrade", b"websocket"))),
        ("a length without a body", Box::new(add(b"content-length", b"5"))),
        (
            "two lengths",
            Box::new(|fields| {
                fields.extend([b"0", b"5"].map(|value| (b"content-length".to_vec(), value.to_vec())));
            }),
        ),
        ("two tokens", Box::new(add(b"authorization", b"Bearer x"))),
    ];
    let mut served = Vec::new();
    for (what, change) in cases {
        let mut changed = fields(&world, &writ);
        change(&mut changed);
        if Connection::open(&world).await.ask(&changed).await == Taken::Served {
            served.push(what);
        }
    }
    // The library cuts it off before anything reads it (spec/edge.md): what was decided on is what was forwarded.
    assert_eq!(served, ["a fragment"]);
    assert_eq!(Connection::open(&world).await.ask(&fields(&world, &writ)).await, Taken::Served);
    let seen = world.upstream.seen();
    assert_eq!(seen.iter().map(Seen::line).collect::<Vec<_>>(), ["GET /v1/notes/7 HTTP/1.1"; 3]);
    assert!(seen.iter().all(|seen| seen.header("x-evil").is_none() && seen.header("x-api-key").is_none()));
    assert_eq!(world.authority.lent(), 1, "for those that were served");
    let allowed = || {
        let allowed =
            |event: &Event| matches!(event, Event::Decision(decision) if decision.verdict == Verdict::Allowed);
        world.authority.events().iter().filter(|event| allowed(event)).count()
    };
    crate::edge::eventually("the last decision is shipped", || allowed() == seen.len()).await;
    assert!(!world.authority.records_text().contains(writ.token.text()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_ends_its_connection() {
    let world = World::start().await;
    let mut connection = Connection::open(&world).await;
    connection.0.write_all(&frame(HEADERS, END_STREAM, 1, &field(b":method", b"GET"))).await.unwrap();
    let (mut reading, mut writing) = connection.0.into_split();
    let endless = tokio::spawn(async move {
        let junk = frame(CONTINUATION, 0, 1, &field(b"x-junk", &[b'a'; 4000]));
        while writing.write_all(&junk).await.is_ok() {}
    });
    let mut told = Vec::new();
    // An end or a reset: either way nothing more is read.
    let _ = timeout(PATIENCE, reading.read_to_end(&mut told)).await.expect("the edge hangs up");
    drop(reading);
    timeout(PATIENCE, endless).await.expect("the edge reads no further").unwrap();
    assert!(world.upstream.seen().is_empty());
    assert_eq!(world.read(&world.writ()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_as_soon_as_they_are_opened_hold_up_nobody() {
    let world = World::start().await;
    let writ = world.writ();
    let mut connection = Connection::open(&world).await;
    let block: Vec<u8> = fields(&world, &writ).iter().flat_map(|(name, value)| field(name, value)).collect();
    for i in 0..2000 {
        let stream = 2 * i + 1;
        let opened = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
        let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        if connection.0.write_all(&[opened, reset].concat()).await.is_err() {
            break;
        }
        if i % 200 == 0 {
            assert_eq!(world.read(&writ).await.status, 200, "after {i} resets");
        }
    }
    drop(connection);
    assert_eq!(world.read(&writ).await.status, 200);
    // All of them carry one proof: however many were taken up, one could be forwarded.
    let reads = 11;
    assert!(world.upstream.seen().len() <= reads + 1, "{}", world.upstream.seen().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_its_caller_opens_no_window_for_is_given_up_and_the_service_let_go() {
    let second = Duration::from_secs(1);
    let configure = |config: &mut EdgeConfig| {
        config.limits.idle_timeout = second;
        config.limits.answer_timeout = second;
        config.limits.lend_timeout = second;
    };
    let world = World::start_with(configure).await;
    let writ = world.writ();
    world.upstream.answer(Script::Events);
    let mut connection = Connection::open(&world).await;
    // SETTINGS_INITIAL_WINDOW_SIZE of zero: no byte of a body may be sent.
    connection.0.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
    assert_eq!(connection.ask(&fields(&world, &writ)).await, Taken::Served);
    assert_eq!(world.edge.knowledge().streams().len(), 1);
    world.upstream.cut().await;
    let outcome = world.outcome().await;
    assert_eq!(finish(&outcome).0, "abandoned");
    // The connection itself goes on.
    let end = async {
        while let Some((kind, ..)) = connection.next().await {
            if kind == RST_STREAM {
                return true;
            }
        }
        false
    };
    assert!(end.await, "its stream is reset");
    world.upstream.answer(Script::Bytes(OK.to_vec()));
    assert_eq!(world.read(&writ).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_that_asks_nothing_is_closed_in_time() {
    let world = World::start_with(|config| config.limits.head_timeout = Duration::from_secs(1)).await;
    let mut connection = Connection::open(&world).await;
    let goodbye = async {
        let mut kinds = Vec::new();
        while let Some((kind, flags, payload)) = connection.next().await {
            // Its pings are answered: it is not closed because it is gone.
            if kind == PING && flags == 0 {
                let _ = connection.0.write_all(&frame(PING, ACK, 0, &payload)).await;
            }
            kinds.push(kind);
        }
        kinds
    };
    let kinds = timeout(PATIENCE, goodbye).await.expect("it is closed");
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
    assert_eq!(world.read(&world.writ()).await.status, 200);
}
