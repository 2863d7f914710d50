//! Connections to the services behind an edge: one pool for each service, none to an address that its rule refuses.

use std::error::Error as _;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Uri};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::catalog::{Origin, Scheme};
use crate::dial::address::AddressRule;
use crate::dial::connect::{Connector, DialError, Gate, Kill};
use crate::dial::resolve::{Resolve, SystemResolver};
use crate::dial::tls::{Protocols, TrustedRoots, UnusableKey, proving};
use crate::key::KeyPair;

/// The limits of outgoing connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Resolution, connection and TLS together. Also how long a connection of HTTP/2 may take to show that it still stands.
    pub connect_timeout: Duration,
    /// How long a service may take nothing of what is sent to it.
    pub stall_timeout: Duration,
    /// How long an unused connection is kept. One of HTTP/2 on which somebody waits must show that it still stands when it was silent
    /// for so long.
    pub idle_timeout: Duration,
    /// How many unused connections a service may have.
    pub idle_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(60),
            idle_max: 64,
        }
    }
}

/// What connections to all services have in common.
#[derive(Clone)]
pub struct Dialer {
    resolver: Arc<dyn Resolve>,
    tls: Arc<ClientConfig>,
    limits: Limits,
    gate: Option<Gate>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("resolver", &self.resolver).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Dialer {
    /// Believes `roots`, resolves as this machine does.
    pub fn new(roots: &TrustedRoots, limits: Limits) -> Self {
        let tls = roots.client_config(Protocols::Http1And2);
        Self { resolver: Arc::new(SystemResolver::default()), tls, limits, gate: None }
    }

    /// Asks `gate` before every write to a service: an edge whose lease has ended sends nothing more.
    #[must_use]
    pub fn with_gate(self, gate: Gate) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// Proves `key` to servers that ask for one.
    pub fn with_key(self, key: &KeyPair) -> Result<Self, UnusableKey> {
        Ok(Self { tls: Arc::new(proving(&self.tls, key)?), ..self })
    }

    /// Resolves by `resolver` instead.
    #[must_use]
    pub fn with_resolver(self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self }
    }

    /// The connections to one service.
    pub fn upstream<B>(&self, origin: &Origin, rule: AddressRule) -> Result<Upstream<B>, PlainRefused>
    where
        B: Body + Send + 'static,
        B::Data: Send,
    {
        let scheme = match origin.scheme() {
            Scheme::Https => http::uri::Scheme::HTTPS,
            Scheme::Http if rule == AddressRule::PublicOnly => return Err(PlainRefused),
            Scheme::Http => http::uri::Scheme::HTTP,
        };
        // Expect safety: a parsed origin's host and port are an authority of RFC 3986.
        let authority = origin.authority().parse().expect("an origin has an authority");
        let connector = Connector {
            rule,
            resolver: self.resolver.clone(),
            tls: self.tls.clone(),
            timeout: self.limits.connect_timeout,
            stall_timeout: self.limits.stall_timeout,
            gate: self.gate.clone(),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.limits.idle_timeout)
            .pool_max_idle_per_host(self.limits.idle_max)
            // Many requests share one, and would each wait for an answer on one that is dead.
            .http2_keep_alive_interval(self.limits.idle_timeout)
            .http2_keep_alive_timeout(self.limits.connect_timeout)
            .timer(TokioTimer::new())
            .build(connector);
        Ok(Upstream { client, scheme, authority })
    }
}

/// Plain HTTP to a service that may not be on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plain http goes to this machine only: use https, or set `allow_private` for a service on this machine")]
pub struct PlainRefused;

/// The connections to one service.
#[derive(Clone)]
pub struct Upstream<B> {
    client: Client<Connector, B>,
    scheme: http::uri::Scheme,
    authority: Authority,
}

impl<B> fmt::Debug for Upstream<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({}://{})", self.scheme, self.authority)
    }
}

/// Why a service gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Its name leads to an address that it may not use.
    #[error("the service's name resolves to {0}, which it may not use")]
    Refused(IpAddr),
    /// It did not prove that it is the configured host. Nothing was sent.
    #[error("the service did not prove its identity by TLS")]
    Untrusted(#[source] DialError),
    /// No connection. Nothing was sent.
    #[error("the service cannot be reached")]
    Unreachable(#[source] DialError),
    /// No connection in time. Nothing was sent.
    #[error("connecting to the service took too long")]
    ConnectTimeout,
    /// It broke off, or answered something that is not HTTP. The request may have been served.
    #[error("the service broke off")]
    Broken(#[source] hyper_util::client::legacy::Error),
}

impl<B> Upstream<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Host and port: what the service sees as `Host`.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Sends a request to the service's origin: of the request's own URL only path and query count. Its answer's body streams.
    ///
    /// Dropping the future, or the answer's body, ends the exchange and closes its connection (HTTP/1.1) or stream (HTTP/2).
    /// Over HTTP/1.1 no byte is written once the future is dropped; over HTTP/2 what the connection has buffered still may be.
    pub async fn send(&self, mut request: Request<B>) -> Result<Response<Incoming>, UpstreamError> {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        // Expect safety: scheme, authority and path are there, which is what a URL of this form needs.
        *request.uri_mut() = Uri::from_parts(parts).expect("an origin and a path make a URL");
        let exchange = Exchange(Some(capture_connection(&mut request)));
        let response = self.client.request(request).await;
        exchange.ended();
        response.map_err(UpstreamError::from)
    }
}

/// A request whose answer has not begun. Dropped in that state, nothing of it is written any more (HTTP/1.1), not even what
/// the connection's own task has taken up already: a credential must not leave after its cut was acknowledged.
struct Exchange(Option<CaptureConnection>);

impl Exchange {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(captured) = self.0.take() else { return };
        let mut extras = http::Extensions::new();
        if let Some(connected) = captured.connection_metadata().as_ref() {
            connected.get_extras(&mut extras);
        }
        if let Some(kill) = extras.get::<Kill>() {
            kill.kill();
        }
    }
}

impl From<hyper_util::client::legacy::Error> for UpstreamError {
    fn from(error: hyper_util::client::legacy::Error) -> Self {
        if !error.is_connect() {
            return Self::Broken(error);
        }
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(dial) = cause.downcast_ref::<DialError>() {
                return Self::from_dial(dial.repeat());
            }
            source = cause.source();
        }
        Self::Broken(error)
    }
}

impl UpstreamError {
    /// Whether it is certain that nothing was sent.
    pub const fn is_unsent(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Untrusted(_) | Self::Unreachable(_) | Self::ConnectTimeout => true,
            Self::Broken(_) => false,
        }
    }

    fn from_dial(error: DialError) -> Self {
        match error {
            DialError::Refused { address, .. } => Self::Refused(address),
            DialError::Timeout(_) => Self::ConnectTimeout,
            DialError::Tls { .. } => Self::Untrusted(error),
            DialError::Resolve { .. } | DialError::Plain(_) | DialError::Connect { .. } | DialError::Url => {
                Self::Unreachable(error)
            }
        }
    }
}
