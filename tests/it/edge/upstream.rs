//! A service on a real socket that keeps every byte it was sent, and answers what the test says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The request line and the header fields, as sent.
    pub(crate) head: String,
    /// What came of the body, de-chunked by length only.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What the next answers are.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// These bytes, whatever came.
    Bytes(Vec<u8>),
    /// These bytes, and then the end of the connection.
    Last(Vec<u8>),
    /// The head and one event, then one event each time the test says so, until the connection ends.
    Events,
    /// The head and the body of the request as the answer's body.
    Echo,
    /// Nothing, ever.
    Silence,
}

/// Plain, or over TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A recording service.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    seen: Mutex<Vec<Seen>>,
    script: Mutex<Script>,
    events: watch::Sender<usize>,
    /// Streams of events that ended.
    ended: watch::Sender<usize>,
    /// Bytes of bodies that have arrived, finished or not.
    arriving: watch::Sender<usize>,
    connections: watch::Sender<usize>,
}

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

impl Recorder {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Over TLS, if there is an acceptor.
    pub(crate) async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self(Arc::new(Inner {
            address: listener.local_addr().unwrap(),
            seen: Mutex::default(),
            script: Mutex::new(Script::Bytes(OK.to_vec())),
            events: watch::Sender::new(0),
            ended: watch::Sender::new(0),
            arriving: watch::Sender::new(0),
            connections: watch::Sender::new(0),
        }));
        let accepting = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.0.connections.send_modify(|count| *count += 1);
                let (serving, tls) = (accepting.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serving.serve(stream).await,
                        Some(tls) => serving.serve(tls.accept(stream).await.ok()?).await,
                    }
                });
            }
        });
        recorder
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(crate) fn answer(&self, script: Script) {
        *self.0.script.lock().unwrap() = script;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.0.connections.borrow()
    }

    pub(crate) fn send_event(&self) {
        self.0.events.send_modify(|count| *count += 1);
    }

    /// Waits until so many body bytes have arrived.
    pub(crate) async fn arrived(&self, bytes: usize) {
        let mut arriving = self.0.arriving.subscribe();
        let arrived = arriving.wait_for(|count| *count >= bytes);
        tokio::time::timeout(super::PATIENCE, arrived).await.expect("the body arrives").unwrap();
    }

    /// Waits until a stream of events was ended by the other side.
    pub(crate) async fn cut(&self) {
        let mut ended = self.0.ended.subscribe();
        let cut = ended.wait_for(|count| *count > 0);
        tokio::time::timeout(super::PATIENCE, cut).await.expect("the stream is cut").unwrap();
    }

    async fn serve(&self, mut stream: impl Stream) -> Option<()> {
        let mut buffer = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                    break at + 4;
                }
                if stream.read_buf(&mut buffer).await.ok()? == 0 {
                    return None;
                }
            };
            let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
            let mut seen = Seen { head, body: Vec::new() };
            let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
            let chunked = seen.header("transfer-encoding").is_some();
            self.0.arriving.send_modify(|count| *count += buffer.len());
            while buffer.len() < length || (chunked && !buffer.ends_with(b"0\r\n\r\n")) {
                let read = stream.read_buf(&mut buffer).await.ok()?;
                if read == 0 {
                    self.0.ended.send_modify(|count| *count += 1);
                    return None;
                }
                self.0.arriving.send_modify(|count| *count += read);
            }
            let body_end = if chunked { buffer.len() } else { length };
            seen.body = buffer.drain(..body_end).collect();
            self.0.seen.lock().unwrap().push(seen.clone());
            let script = self.0.script.lock().unwrap().clone();
            match script {
                Script::Bytes(bytes) => stream.write_all(&bytes).await.ok()?,
                Script::Last(bytes) => {
                    stream.write_all(&bytes).await.ok()?;
                    return None;
                }
                Script::Echo => {
                    let text = [seen.head.as_bytes(), &seen.body].concat();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
                    stream.write_all(head.as_bytes()).await.ok()?;
                    stream.write_all(&text).await.ok()?;
                }
                Script::Events => {
                    self.stream_events(&mut stream).await;
                    self.0.ended.send_modify(|count| *count += 1);
                    return None;
                }
                Script::Silence => {
                    let mut rest = Vec::new();
                    let _ = stream.read_to_end(&mut rest).await;
                    self.0.ended.send_modify(|count| *count += 1);
                    return None;
                }
            }
        }
    }

    async fn stream_events(&self, stream: &mut impl Stream) -> Option<()> {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.ok()?;
        let mut events = self.0.events.subscribe();
        let mut sent = 0;
        loop {
            let event = format!("data: {sent}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            stream.write_all(chunk.as_bytes()).await.ok()?;
            sent += 1;
            let mut byte = [0];
            tokio::select! {
                waited = events.wait_for(|count| *count >= sent) => { waited.ok()?; }
                read = stream.read(&mut byte) => { if read.ok()? == 0 { return None } }
                () = tokio::time::sleep(Duration::from_secs(60)) => return None,
            }
        }
    }
}
