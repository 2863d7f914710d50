//! Listening: connections, TLS, protocol choice and the limits on all of them. Knows nothing of tokens.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::TlsFiles;
use crate::config::edge::EdgeLimits;
use crate::edge::body::AnswerBody;
use crate::edge::door::Door;
use crate::edge::framing::{Framing, HeadLimits};
use crate::edge::mutual::{HolderKeys, proven_key};
use crate::edge::proxy::Upstreams;
use crate::edge::strict::{Seen, Strict};
use crate::edge::workers::Worker;
use crate::key::PublicKey;
use crate::listen::places::{Place, Places, Visitor};

/// The other end of a connection, as far as a request needs to know it.
pub(super) struct Peer {
    /// Its address.
    pub(super) address: SocketAddr,
    /// The key that it proved by TLS, for this connection.
    pub(super) proven: Option<PublicKey>,
    /// Its connection, as far as it matters whether that may be closed.
    pub(super) visitor: Arc<Visitor>,
    /// Why its next request is refused before it is read, among other things.
    pub(super) seen: Arc<Seen>,
    /// The connections to services on the thread that serves it.
    pub(super) upstreams: Arc<Upstreams>,
}

/// Why an edge can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificate or key don't load, or don't fit each other.
    #[error("cannot use the certificate and key of [tls]: {0}")]
    Tls(String),
}

/// Reads certificate and key. `mutual`: asks clients for the key of their writ.
pub(super) fn acceptor(files: &TlsFiles, mutual: bool) -> Result<TlsAcceptor, ListenError> {
    let refuse = |error: &dyn std::fmt::Display| ListenError::Tls(error.to_string());
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refuse(&error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| refuse(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let holder_keys = mutual.then(|| HolderKeys::new(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(&error))?;
    let config = match holder_keys {
        Some(holder_keys) => config.with_client_cert_verifier(holder_keys),
        None => config.with_no_client_auth(),
    };
    let mut config = config.with_single_cert(chain, key).map_err(|error| refuse(&error))?;
    if mutual {
        // A resumed session would carry a key over from a connection that it was proven for.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// One listening socket and all that came in by it.
pub(super) struct Server {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) door: Arc<Door>,
    pub(super) limits: EdgeLimits,
    /// Where connections are served; shared by all listeners of an edge.
    pub(super) workers: Arc<[Arc<Worker>]>,
    /// Shared by all listeners of an edge.
    pub(super) places: Arc<Places>,
    pub(super) stop: CancellationToken,
}

impl Server {
    /// Serves until told to stop, then lets open requests finish within the drain timeout.
    pub(super) async fn run(self) {
        let mut open = JoinSet::new();
        let mut came = None;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(_) = open.join_next() => {}
                accepted = self.listener.accept(), if came.is_none() => match accepted {
                    Ok(accepted) => came = Some(accepted),
                    Err(error) => self.cannot_accept(&error).await,
                },
                // Only once somebody has come: nobody makes room for nobody.
                place = self.places.take(), if came.is_some() => {
                    if let Some((stream, address)) = came.take() {
                        self.seat(stream, address, place, &mut open);
                    }
                }
            }
        }
        drop((self.listener, came));
        let drained = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.drain_timeout, drained).await.is_err() {
            tracing::warn!(connections = open.len(), "closing connections that did not finish in time");
        }
        open.shutdown().await;
    }

    async fn cannot_accept(&self, error: &io::Error) {
        tracing::warn!(%error, "cannot accept a connection");
        // Out of file descriptors, mostly: some who ask nothing go, and trying again at once would only burn the processor.
        self.places.shed();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Hands a connection to a worker.
    fn seat(&self, stream: TcpStream, address: SocketAddr, place: Place, open: &mut JoinSet<()>) {
        // Taken out of this thread's runtime: the worker's own waits for it from now on.
        let (Ok(stream), Some(seat)) = (stream.into_std(), Worker::seat(&self.workers)) else { return };
        let visitor = place.visitor();
        // In a box: what a task holds is moved around inside of it, and each way station would have room for all of it.
        let connection = Box::pin(self.connection(stream, address, visitor.clone(), seat.upstreams()));
        let counted = async move {
            tokio::select! {
                biased;
                () = visitor.told_to_leave() => {}
                () = connection => {}
            }
            drop(place);
        };
        seat.run(open, counted);
    }

    fn connection(
        &self,
        stream: std::net::TcpStream,
        address: SocketAddr,
        visitor: Arc<Visitor>,
        upstreams: Arc<Upstreams>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (door, stop, tls) = (self.door.clone(), self.stop.clone(), self.tls.clone());
        let caller = move |proven, seen| Peer { address, visitor, proven, seen, upstreams };
        async move {
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            // Small answers must not wait for the other side's acknowledgement.
            let _ = stream.set_nodelay(true);
            let timeout = door.limits.head_timeout;
            let Some(tls) = tls else {
                let Ok(Some((protocol, first, stream))) = tokio::time::timeout(timeout, detect(stream)).await else {
                    return;
                };
                return serve(stream, first, protocol, |seen| caller(None, seen), door, stop).await;
            };
            let Ok(Ok(stream)) = tokio::time::timeout(timeout, tls.accept(stream)).await else { return };
            let protocol = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Protocol::Http2,
                _ => Protocol::Http1,
            };
            let proven = proven_key(stream.get_ref().1);
            serve(stream, BytesMut::new(), protocol, |seen| caller(proven, seen), door, stop).await;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// What an HTTP/2 client without TLS says first (RFC 9113 section 3.4). No HTTP/1.1 request begins so.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn detect<T: AsyncRead + Unpin>(mut stream: T) -> Option<(Protocol, BytesMut, T)> {
    let mut first = BytesMut::with_capacity(4096);
    loop {
        if stream.read_buf(&mut first).await.ok()? == 0 {
            return None;
        }
        let seen = first.len().min(PREFACE.len());
        if first[..seen] != PREFACE[..seen] {
            return Some((Protocol::Http1, first, stream));
        }
        if seen == PREFACE.len() {
            return Some((Protocol::Http2, first, stream));
        }
    }
}

/// In a box of its own for each kind of connection: an idle one must not take the room of the largest.
fn serve<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
    first: BytesMut,
    protocol: Protocol,
    caller: impl FnOnce(Arc<Seen>) -> Peer,
    door: Arc<Door>,
    stop: CancellationToken,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let head = HeadLimits { bytes_max: door.limits.head_bytes_max, fields_max: door.limits.head_fields_max };
    let framing = (protocol == Protocol::Http1).then(|| Framing::new(head));
    let io = Strict::new(stream, first, framing, door.limits.idle_timeout);
    let peer = Arc::new(caller(io.seen()));
    match protocol {
        Protocol::Http1 => Box::pin(serve_http1(io, door, peer, stop)),
        Protocol::Http2 => Box::pin(serve_http2(io, door, peer, stop)),
    }
}

// How a connection ends is no news: the requests on it have told their own stories.

async fn serve_http1<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut io: Strict<T>,
    door: Arc<Door>,
    peer: Arc<Peer>,
    stop: CancellationToken,
) {
    loop {
        // In a box, which is gone while the connection rests.
        let Some(resting) = Box::pin(serve_until_rest(io, &door, &peer, &stop)).await else { return };
        io = resting;
        let _counted = door.metrics.rests();
        let left = door.limits.head_timeout.saturating_sub(peer.visitor.idle_for().unwrap_or_default());
        let came = tokio::select! {
            biased;
            came = io.comes() => came,
            () = stop.cancelled() => false,
            () = tokio::time::sleep(left) => false,
        };
        if !came {
            let _ = io.shutdown().await;
            return;
        }
    }
}

/// How long a connection keeps its buffers after a request, at least, and how often that is looked at.
const REST_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Serves requests until the connection ends, or has had none for a while: then without the HTTP library, which keeps its
/// buffers as long as a connection, 16 kB at least.
async fn serve_until_rest<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    io: Strict<T>,
    door: &Arc<Door>,
    peer: &Arc<Peer>,
    stop: &CancellationToken,
) -> Option<Strict<T>> {
    let service = service_fn(|request| answer(door, peer, request));
    let mut connection = http1(&door.limits).serve_connection(TokioIo::new(io), service);
    let mut look = pin!(tokio::time::sleep(LOOK_EVERY));
    loop {
        tokio::select! {
            biased;
            _ = &mut connection => return None,
            () = stop.cancelled() => {
                Pin::new(&mut connection).graceful_shutdown();
                let _ = (&mut connection).await;
                return None;
            }
            () = look.as_mut() => {}
        }
        let idle = peer.visitor.idle_for().is_some_and(|idle| idle >= REST_AFTER);
        if idle && peer.seen.rests.load(Ordering::Relaxed) {
            break;
        }
        look.as_mut().reset(Instant::now() + LOOK_EVERY);
    }
    // Between two requests it ends at once. Were it not, it would end behind the one that it is at.
    Pin::new(&mut connection).graceful_shutdown();
    let ended = poll_fn(|cx| Poll::Ready(connection.poll_without_shutdown(cx))).await;
    match ended {
        Poll::Ready(Ok(())) => {
            let parts = connection.into_parts();
            let mut io = parts.io.into_inner();
            io.unread(&parts.read_buf);
            Some(io)
        }
        Poll::Ready(Err(_)) => None,
        Poll::Pending => {
            let _ = connection.await;
            None
        }
    }
}

async fn serve_http2<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    io: Strict<T>,
    door: Arc<Door>,
    peer: Arc<Peer>,
    stop: CancellationToken,
) {
    let end = CancellationToken::new();
    // Dropped with the connection, however that ends: no stream outlives it.
    let _end = end.clone().drop_guard();
    let (builder, idle_max, visitor) = (http2(&door.limits, end), door.limits.head_timeout, peer.visitor.clone());
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(io), service_fn(move |request| answer(&door, &peer, request))));
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = visitor.idle_too_long(idle_max) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Whoever has not even said that it speaks HTTP/2 is not told that this ends, nor is one who takes no answer.
    let gone = async {
        tokio::time::sleep(idle_max).await;
        visitor.idle_too_long(idle_max).await;
    };
    tokio::select! {
        biased;
        _ = connection => {}
        () = gone => {}
    }
}

/// In a box that lives as long as the request: the HTTP library keeps room for it as long as the connection.
fn answer(
    door: &Arc<Door>,
    peer: &Arc<Peer>,
    request: Request<Incoming>,
) -> Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Panicked>> + Send>> {
    let (door, peer) = (door.clone(), peer.clone());
    Box::pin(async move { caught(door.answer(request, &peer)).await })
}

fn http1(limits: &EdgeLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        // The library's least; the framing check holds the real limit.
        .max_buf_size(limits.head_bytes_max.max(16_384));
    // The framing check holds this limit, too. The library makes room for its own number without a loop for each request.
    if limits.head_fields_max > LIBRARYS_FIELDS_MAX {
        builder.max_headers(limits.head_fields_max);
    }
    builder
}

/// The most header fields that the HTTP library takes unless told otherwise.
const LIBRARYS_FIELDS_MAX: usize = 100;

/// How much of one stream waits for a client that reads slowly, in bytes.
const SEND_BYTES: usize = 65_536;
/// The most streams that a client may have reset before they were taken up, and the most it may make us reset.
const RESETS_MAX: usize = 64;

fn http2(limits: &EdgeLimits, end: CancellationToken) -> http2::Builder<Streams> {
    let waits = [limits.idle_timeout, limits.answer_timeout, limits.lend_timeout];
    let still_max = waits.into_iter().max().unwrap_or_default() + Duration::from_secs(1);
    let mut builder = http2::Builder::new(Streams { end, still_max });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .max_send_buf_size(SEND_BYTES)
        .keep_alive_interval(limits.head_timeout)
        .keep_alive_timeout(limits.head_timeout);
    builder
}

/// Runs the streams of one HTTP/2 connection, none longer than it.
#[derive(Clone)]
struct Streams {
    end: CancellationToken,
    still_max: Duration,
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (end, stream) = (self.end.clone(), unless_still(stream, self.still_max));
        tokio::spawn(async move { end.run_until_cancelled_owned(stream).await });
    }
}

/// Runs a stream until it ends, or nothing has woken it for `still_max`; within twice that time.
///
/// All that a request waits for has a time of its own, by which it goes on. One that nothing wakes for longer has an answer for
/// a client who opens no window for it, and the HTTP library waits for that as long as the client likes.
async fn unless_still(stream: impl Future, still_max: Duration) {
    let (mut stream, mut look) = (pin!(stream), pin!(tokio::time::sleep(still_max)));
    let mut woken = false;
    poll_fn(|cx| {
        if look.as_mut().poll(cx).is_pending() {
            woken = true;
        } else if std::mem::take(&mut woken) {
            look.as_mut().reset(Instant::now() + still_max);
            let _ = look.as_mut().poll(cx);
        } else {
            return Poll::Ready(());
        }
        stream.as_mut().poll(cx).map(drop)
    })
    .await;
}

/// A request panicked: a bug of ours. It ends without an answer; the process and the other requests go on.
#[derive(Debug, thiserror::Error)]
#[error("the request panicked")]
struct Panicked;

/// Not an async function: that would hold what it is given twice.
fn caught(
    answer: impl Future<Output = Response<AnswerBody>>,
) -> impl Future<Output = Result<Response<AnswerBody>, Panicked>> {
    AssertUnwindSafe(answer).catch_unwind().map(|answered| {
        answered.map_err(|_message| {
            // Counted by `telemetry`. Not the panic's own message: nobody can say what stands in it.
            tracing::error!("a request panicked and was closed; this is a bug in writ");
            Panicked
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_nothing_wakes_ends_and_one_that_is_woken_goes_on() {
        let still_max = Duration::from_secs(1);
        let began = Instant::now();
        unless_still(std::future::pending::<()>(), still_max).await;
        assert!(began.elapsed() >= 2 * still_max);
        let mut left = 30;
        let woken = async {
            while left > 0 {
                tokio::time::sleep(still_max / 10).await;
                left -= 1;
            }
        };
        unless_still(woken, still_max).await;
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn a_panic_ends_its_request_and_nothing_else() {
        let panics = async { panic!("with a secret in it") };
        assert!(caught(panics).await.is_err());
        assert!(caught(async { Response::new(AnswerBody::Own(None)) }).await.is_ok());
    }
}
