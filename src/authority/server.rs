//! The listening process: connections in, requests to the API, and an orderly end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, http};

/// How long a TLS handshake or a request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
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
    let places = Arc::new(Semaphore::new(authority.terms.connections_max));
    let mut stopping = authority.stopping.subscribe();
    loop {
        // A place first: above the limit, connections wait in the kernel's queue.
        let place = tokio::select! {
            () = stopped(&mut stopping) => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let stream = tokio::select! {
            () = stopped(&mut stopping) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // Out of file descriptors, mostly: without a pause this would spin.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (router, tls, watcher) = (router.clone(), tls.clone(), open.watcher());
        tokio::spawn(async move {
            let _place = place;
            connection(stream, tls, router, watcher).await;
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

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, watcher: Watcher) {
    // Only latency depends on it.
    let _ = stream.set_nodelay(true);
    match tls {
        None => requests(stream, router, watcher).await,
        Some(tls) => match tokio::time::timeout(HEAD_WITHIN, tls.accept(stream)).await {
            Ok(Ok(stream)) => requests(stream, router, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

async fn requests<S>(stream: S, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(32 << 10)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(10));
    let service = TowerToHyperService::new(tower::util::MapRequest::new(router, |request: ::http::Request<_>| {
        request.map(axum::body::Body::new)
    }));
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let ended: Result<(), Box<dyn std::error::Error + Send + Sync>> = watcher.watch(connection).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}
