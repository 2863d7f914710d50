//! The listening process: connections in, requests to the API, and an orderly end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::authority::{Authority, http};
use crate::listen::places::{Asking, Places, Visitor};
use crate::listen::stall::Watched;

/// The most requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 256;

/// Why the authority does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Plain HTTP would show operator secrets to the network.
    #[error("`authority.listen` is {0}, which is not a loopback address: configure `authority.tls`")]
    PlainHttp(SocketAddr),
    /// The socket does not say where it listens.
    #[error("the listening socket is broken: {0}")]
    Socket(#[from] std::io::Error),
}

/// An authority that listens.
#[derive(Debug)]
pub struct RunningAuthority {
    /// Where.
    pub addr: SocketAddr,
    stop: watch::Sender<bool>,
    done: JoinHandle<()>,
}

impl RunningAuthority {
    /// Serves `authority` on `listener` until it is shut down. Without TLS only on a loopback address.
    pub fn start(
        authority: Arc<Authority>,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<Self, ServeError> {
        let addr = listener.local_addr()?;
        if tls.is_none() && !addr.ip().is_loopback() {
            return Err(ServeError::PlainHttp(addr));
        }
        let stop = authority.stopping.clone();
        let done = tokio::spawn(serve(authority, listener, tls.map(TlsAcceptor::from)));
        Ok(Self { addr, stop, done })
    }

    /// Takes no more connections, lets open requests finish, signs the audit chain's end, and returns.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // It ends by itself; a panic in it was reported by the runtime.
        let _ = self.done.await;
    }

    /// Returns when it has ended.
    pub async fn ended(&mut self) {
        let _ = (&mut self.done).await;
    }
}

async fn serve(authority: Arc<Authority>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let upkeep = authority.spawn_upkeep();
    let sharing = authority.spawn_sharing();
    let fencing = authority.spawn_fencing();
    let polling = authority.spawn_polling();
    let router = http::router(Arc::clone(&authority));
    let open = GracefulShutdown::new();
    let places = Places::new(authority.terms.connections_max);
    let idle_max = authority.terms.idle_timeout;
    let mut stopping = authority.stopping.subscribe();
    loop {
        let stream = tokio::select! {
            () = stopped(&mut stopping) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // Out of file descriptors, mostly: some who ask nothing go, and without a pause this would spin.
                    places.shed();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        // Only once somebody has come: nobody makes room for nobody.
        let place = tokio::select! {
            () = stopped(&mut stopping) => break,
            place = places.take() => place,
        };
        let visitor = place.visitor();
        let served =
            Box::pin(connection(stream, tls.clone(), router.clone(), open.watcher(), visitor.clone(), idle_max));
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = visitor.told_to_leave() => {}
                () = visitor.idle_too_long(idle_max) => {}
                () = served => {}
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(authority.terms.drain, open.shutdown()).await.is_err() {
        tracing::warn!("requests were still open at the end of `authority.drain_s` and were cut");
    }
    // It ends by itself; a panic in it was reported by the runtime.
    let _ = upkeep.await;
    let _ = sharing.await;
    let _ = fencing.await;
    for polling in polling {
        let _ = polling.await;
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender lives in the authority, so this ends with a `true` only.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// A handshake, and a head, are within what [`Visitor::idle_too_long`] allows.
async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
    visitor: Arc<Visitor>,
    idle_max: Duration,
) {
    // Only latency depends on it.
    let _ = stream.set_nodelay(true);
    let stream = Watched::new(stream, idle_max);
    match tls {
        None => requests(stream, router, watcher, visitor).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => requests(stream, router, watcher, visitor).await,
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        },
    }
}

async fn requests<S>(stream: S, router: Router, watcher: Watcher, visitor: Arc<Visitor>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().header_read_timeout(None).max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(32 << 10)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(10));
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, asking) = (router.clone(), visitor.asks());
        async move {
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            Ok::<_, Infallible>(response.map(|body| Answer { body, _asking: asking }))
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let ended: Result<(), Box<dyn std::error::Error + Send + Sync>> = watcher.watch(connection).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// The body of an answer. Until it has ended, its connection has a request.
struct Answer {
    body: Body,
    _asking: Asking,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
