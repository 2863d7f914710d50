//! The service behind the edges, which writes down every request it gets, in the order in which it gets them.
//!
//! `GET /call/<writ>/<n>` is answered at once, `GET /stream/<writ>/<n>` with events for as long as somebody reads them,
//! `POST /upload/<writ>/<n>` once the body is there. One thread reads all connections, so everything that happens has one
//! place in one order.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use writ::clock::{Clock as _, Monotonic, SystemClock};

/// What the edges inject.
pub(crate) const SECRET: &str = "credential-of-the-service-8d1f";
/// As which header.
pub(crate) const SECRET_HEADER: &str = "x-api-key";

/// A place in the order of everything that the service saw and sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark(u64);

impl Mark {
    pub(crate) fn from_event(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Self)
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// For which writ: each has its own paths.
    pub(crate) writ: usize,
    /// Whether the credential was in it.
    pub(crate) credentialed: bool,
    /// The place of its last byte, head or body.
    pub(crate) last_byte: Mark,
    /// When that byte was read.
    pub(crate) at: Monotonic,
    pub(crate) body_bytes: usize,
    /// Whether it is being answered still.
    pub(crate) open: bool,
}

/// A service that runs until it is dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    listener: TcpListener,
    connections: Vec<Connection>,
    seen: Vec<Seen>,
    last: u64,
    events_every: Duration,
    events_at: Monotonic,
}

struct Connection {
    stream: TcpStream,
    part: Part,
    /// Its request in `State::seen`.
    current: Option<usize>,
    unsent: Vec<u8>,
    closed: bool,
}

enum Part {
    Head(Vec<u8>),
    Body { left: usize },
    Streaming,
}

impl Upstream {
    /// A service whose streams carry an event `every` so often.
    pub(crate) fn start(every: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            listener,
            connections: Vec::new(),
            seen: Vec::new(),
            last: 0,
            events_every: every,
            events_at: SystemClock.monotonic(),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let (its_state, its_stop) = (state.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !its_stop.load(Ordering::Relaxed) {
                let moved = {
                    let mut state = locked(&its_state);
                    let moved = state.read_all();
                    state.send_events();
                    moved
                };
                if !moved {
                    std::thread::park_timeout(every / 5);
                }
            }
        });
        Self { address, state, stop, thread: Some(thread) }
    }

    /// Takes in whatever has been sent by now, and says where in the order that ends.
    ///
    /// What lies in a socket's buffer was sent before this was called, and gets a place before the mark. So whatever has a
    /// place after the mark of a receipt was sent after the receipt, however slow this machine is.
    pub(crate) fn mark(&self) -> Mark {
        let mut state = locked(&self.state);
        while state.read_all() {}
        state.next()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        locked(&self.state).seen.clone()
    }

    /// The requests of one path.
    pub(crate) fn seen_at(&self, path: &str) -> Vec<Seen> {
        locked(&self.state).seen.iter().filter(|seen| seen.path == path).cloned().collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic of the thread has been shown already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

impl State {
    fn next(&mut self) -> Mark {
        self.last += 1;
        Mark(self.last)
    }

    /// One round over every connection; whether anything came.
    fn read_all(&mut self) -> bool {
        let mut moved = false;
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            let part = Part::Head(Vec::new());
            self.connections.push(Connection { stream, part, current: None, unsent: Vec::new(), closed: false });
            moved = true;
        }
        let mut connections = std::mem::take(&mut self.connections);
        let mut buffer = [0; 16 << 10];
        for connection in &mut connections {
            loop {
                match connection.stream.read(&mut buffer) {
                    Ok(0) => connection.closed = true,
                    Ok(read) => {
                        moved = true;
                        self.take(connection, &buffer[..read]);
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => connection.closed = true,
                }
                break;
            }
            if let Some(current) = connection.current.filter(|_| connection.closed) {
                self.seen[current].open = false;
            }
        }
        connections.retain(|connection| !connection.closed);
        self.connections = connections;
        moved
    }

    fn take(&mut self, connection: &mut Connection, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mark = self.next();
            match &mut connection.part {
                Part::Head(head) => {
                    let before = head.len();
                    head.extend_from_slice(bytes);
                    let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { return };
                    bytes = &bytes[end + 4 - before..];
                    let head = String::from_utf8_lossy(&head[..end]).into_owned();
                    self.begin(connection, &head, mark);
                }
                Part::Body { left } => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    bytes = &bytes[taken..];
                    let ended = *left == 0;
                    if let Some(current) = connection.current {
                        self.more(current, mark, taken);
                    }
                    if ended {
                        self.answer(connection);
                    }
                }
                // A client that goes on talking under a stream: nothing of ours does.
                Part::Streaming => {
                    if let Some(current) = connection.current {
                        self.more(current, mark, bytes.len());
                    }
                    return;
                }
            }
        }
    }

    fn more(&mut self, current: usize, mark: Mark, bytes: usize) {
        let seen = &mut self.seen[current];
        (seen.last_byte, seen.at) = (mark, SystemClock.monotonic());
        seen.body_bytes += bytes;
    }

    fn begin(&mut self, connection: &mut Connection, head: &str, mark: Mark) {
        let mut lines = head.split("\r\n");
        let path = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or("").to_owned();
        let header = |name: &str| {
            head.split("\r\n").skip(1).find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let writ = path.split('/').nth(2).and_then(|writ| writ.parse().ok()).unwrap_or(usize::MAX);
        let credentialed = header(SECRET_HEADER).is_some_and(|value| value == SECRET);
        let at = SystemClock.monotonic();
        connection.current = Some(self.seen.len());
        let streams = path.starts_with("/stream/");
        self.seen.push(Seen { path, writ, credentialed, last_byte: mark, at, body_bytes: 0, open: true });
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        if streams {
            connection.part = Part::Streaming;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            connection.send(head.as_bytes());
        } else if length > 0 {
            connection.part = Part::Body { left: length };
        } else {
            self.answer(connection);
        }
    }

    fn answer(&mut self, connection: &mut Connection) {
        connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
        if let Some(current) = connection.current.take() {
            self.seen[current].open = false;
        }
        connection.part = Part::Head(Vec::new());
    }

    /// An event is its own place in the order.
    fn send_events(&mut self) {
        let now = SystemClock.monotonic();
        if now.since(self.events_at) < self.events_every {
            return;
        }
        self.events_at = now;
        let mut connections = std::mem::take(&mut self.connections);
        for connection in &mut connections {
            connection.send(b"");
            if matches!(connection.part, Part::Streaming) && connection.unsent.is_empty() {
                let event = format!("data: {}\n\n", self.next().0);
                connection.send(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
            }
        }
        self.connections = connections;
    }
}

impl Connection {
    fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }
}
