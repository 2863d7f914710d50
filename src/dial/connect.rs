//! One connection: resolve once, check every address, connect to a checked one, shake hands. In that order, in bounded time.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::dial::address::{AddressKind, AddressRule};
use crate::dial::resolve::Resolve;
use crate::dial::stall::Stall;

/// Whether bytes may pass right now. Asked before every write of a connection, and after every read.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

/// Why there is no connection. Nothing was sent but a TLS greeting.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("`{host}` does not resolve")]
    Resolve {
        /// The name.
        host: Box<str>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An address of the name may not be connected to.
    #[error("`{host}` resolves to {address}, which this service may not use: set `allow_private` if it is meant to")]
    Refused {
        /// The name.
        host: Box<str>,
        /// The address.
        address: IpAddr,
    },
    /// Plain HTTP goes to this machine only.
    #[error("plain http goes to this machine only, and `{0}` is elsewhere: use https")]
    Plain(Box<str>),
    /// Nobody answered at any address.
    #[error("cannot connect to `{host}`")]
    Connect {
        /// The name.
        host: Box<str>,
        /// Why, at the last address that was tried.
        #[source]
        source: io::Error,
    },
    /// The peer did not prove that it is the host.
    #[error("`{host}` did not prove its identity by TLS")]
    Tls {
        /// The name.
        host: Box<str>,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("connecting to `{0}` took too long")]
    Timeout(Box<str>),
    /// Not a URL that can be connected to.
    #[error("not an http or https URL with a host")]
    Url,
}

impl DialError {
    /// The same error once more: an HTTP client hands it out by reference only.
    pub(super) fn repeat(&self) -> Self {
        let again = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
        match self {
            Self::Resolve { host, source } => Self::Resolve { host: host.clone(), source: again(source) },
            Self::Refused { host, address } => Self::Refused { host: host.clone(), address: *address },
            Self::Plain(host) => Self::Plain(host.clone()),
            Self::Connect { host, source } => Self::Connect { host: host.clone(), source: again(source) },
            Self::Tls { host, source } => Self::Tls { host: host.clone(), source: again(source) },
            Self::Timeout(host) => Self::Timeout(host.clone()),
            Self::Url => Self::Url,
        }
    }
}

/// What every connection of one client has in common.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) rule: AddressRule,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) timeout: Duration,
    /// How long the other side may take nothing of what is sent.
    pub(super) stall_timeout: Duration,
    pub(super) gate: Option<Gate>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Plain,
    Tls,
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Wire, DialError> {
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Plain,
            Some("https") => Scheme::Tls,
            _ => return Err(DialError::Url),
        };
        let host: Box<str> = uri.host().ok_or(DialError::Url)?.trim_start_matches('[').trim_end_matches(']').into();
        let port = uri.port_u16().unwrap_or(if scheme == Scheme::Tls { 443 } else { 80 });
        let until = Instant::now() + self.timeout;
        match tokio::time::timeout_at(until, self.connect_to(scheme, &host, port, until)).await {
            Ok(connected) => connected,
            Err(_) => Err(DialError::Timeout(host)),
        }
    }

    async fn connect_to(self, scheme: Scheme, host: &str, port: u16, until: Instant) -> Result<Wire, DialError> {
        let addresses = self.checked_addresses(scheme, host, port).await?;
        let tcp = connect_first(host, &addresses, until).await?;
        let io = match scheme {
            Scheme::Plain => Io::Plain(TokioIo::new(tcp)),
            Scheme::Tls => {
                let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError::Url)?;
                let tls = TlsConnector::from(self.tls).connect(name, tcp).await;
                Io::Tls(Box::new(TokioIo::new(tls.map_err(|source| DialError::Tls { host: host.into(), source })?)))
            }
        };
        Ok(Wire { io, gate: self.gate, kill: Kill::default(), stall: Stall::new(self.stall_timeout) })
    }

    /// All or nothing: a name with one address inside and one outside is somebody's trick.
    async fn checked_addresses(&self, scheme: Scheme, host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
        let resolve_error = |source| DialError::Resolve { host: host.into(), source };
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.resolver.resolve(host, port).await.map_err(resolve_error)?,
        };
        if addresses.is_empty() {
            return Err(resolve_error(io::Error::new(io::ErrorKind::NotFound, "it has no address")));
        }
        if let Some(refused) = addresses.iter().find(|address| !self.rule.allows(address.ip())) {
            return Err(DialError::Refused { host: host.into(), address: refused.ip() });
        }
        let here = |address: &SocketAddr| AddressKind::of(address.ip()) == AddressKind::Loopback;
        if scheme == Scheme::Plain && !addresses.iter().all(here) {
            return Err(DialError::Plain(host.into()));
        }
        Ok(addresses)
    }
}

/// Each address gets an equal part of the time that is left: one that swallows what it is sent must not take it all.
async fn connect_first(host: &str, addresses: &[SocketAddr], until: Instant) -> Result<TcpStream, DialError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let part = until.saturating_duration_since(Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
        let connected = match tokio::time::timeout(part, TcpStream::connect(address)).await {
            // The last one's time is that of the whole, which ends as a timeout.
            Err(_) if left == 1 => std::future::pending().await,
            Err(_) => continue,
            Ok(connected) => connected,
        };
        match connected {
            Ok(tcp) => {
                // Small messages that are waited for: an acknowledgement held back by Nagle costs 40 ms. A socket that
                // can't be told so works all the same.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Err(error) => last = error,
        }
    }
    Err(DialError::Connect { host: host.into(), source: last })
}

impl tower::Service<Uri> for Connector {
    type Response = Wire;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// Ends what a connection still has to write. Once [`Kill::kill`] has returned, no further byte leaves it.
#[derive(Clone, Debug, Default)]
pub(super) struct Kill(Arc<Mutex<Life>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Alive,
    Dead,
}

impl Kill {
    pub(super) fn kill(&self) {
        *self.life() = Life::Dead;
    }

    /// Held while bytes are handed to the kernel, so that a kill falls before a write or after it.
    fn life(&self) -> MutexGuard<'_, Life> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection whose bytes pass the gate.
pub(super) struct Wire {
    io: Io,
    gate: Option<Gate>,
    kill: Kill,
    stall: Stall,
}

enum Io {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Wire {
    /// Writes by `write`, if the gate is open and nobody has killed the connection.
    fn gated<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Io, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let life = self.kill.life();
        if *life == Life::Dead {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, "the request was cut")));
        }
        if self.gate.as_ref().is_some_and(|gate| !gate()) {
            return Poll::Ready(Err(gate_closed()));
        }
        let written = write(&mut self.io, cx);
        self.stall.watch(cx, written)
    }
}

fn gate_closed() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the lease of the edge has run out")
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        match &self.io {
            // Many requests share it: it is not one request's to kill.
            Io::Tls(tls) if tls.inner().get_ref().1.alpn_protocol() == Some(b"h2") => Connected::new().negotiated_h2(),
            Io::Tls(_) | Io::Plain(_) => Connected::new().extra(self.kill.clone()),
        }
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_read(cx, buf),
        };
        // Looked at behind the read: what was sent after the lease had ended, to an edge that was stopped meanwhile, is not passed on.
        if read.is_ready() && self.gate.as_ref().is_some_and(|gate| !gate()) {
            Poll::Ready(Err(gate_closed()))
        } else {
            read
        }
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.gated(cx, |io, cx| match io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_write(cx, buf),
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Io::Plain(io) = &mut self.io {
            // Nothing lies there that was not handed to the kernel.
            return Pin::new(io).poll_flush(cx);
        }
        // TLS buffers: what was written under a lease may still lie there.
        self.gated(cx, |io, cx| match io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_flush(cx),
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.gated(cx, |io, cx| match io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_write_vectored(cx, bufs),
        })
    }
}
