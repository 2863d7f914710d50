//! The listening side: what a program asks of the proxy, and which service that is. What leads to no service is refused.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::catalog::Origin;
use crate::cli::run::forward::{Edge, Outgoing, empty, forward, full};
use crate::cli::run::holder::Holder;
use crate::cli::run::interception::RunAuthority;
use crate::cli::run::services::{Offered, Services};
use crate::id::ServiceName;
use crate::secret::equal_in_constant_time;

/// The first byte of a TLS handshake. No HTTP request begins so.
const TLS_HANDSHAKE: u8 = 0x16;
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// What keeps everybody but the program out: other users of this machine can reach the port too.
pub(super) struct Pass {
    address: SocketAddr,
    secret: String,
    basic: String,
}

impl Pass {
    pub(super) fn new(address: SocketAddr, secret: String) -> Self {
        let basic = format!("Basic {}", STANDARD.encode(format!("writ:{secret}")));
        Self { address, secret, basic }
    }

    /// What `HTTPS_PROXY` says.
    pub(super) fn proxy_url(&self) -> String {
        format!("http://writ:{}@{}", self.secret, self.address)
    }

    /// What a program that takes a base URL is given.
    pub(super) fn base_url(&self, service: &ServiceName) -> String {
        format!("http://{}/{}/{service}", self.address, self.secret)
    }

    /// Whether `origin` is the proxy itself.
    fn is_own(&self, origin: &Origin) -> bool {
        origin.to_string() == format!("http://{}", self.address)
    }

    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(PROXY_AUTHORIZATION).map(HeaderValue::as_bytes);
        shown.is_some_and(|shown| equal_in_constant_time(shown, self.basic.as_bytes()))
    }

    /// What follows the secret in a path.
    fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        let (secret, rest) = path.strip_prefix('/')?.split_once('/')?;
        equal_in_constant_time(secret.as_bytes(), self.secret.as_bytes()).then_some(rest)
    }
}

/// The proxy of one run.
pub(super) struct Proxy {
    pub(super) edge: Edge,
    pub(super) edge_origin: Box<str>,
    pub(super) holder: Holder,
    pub(super) services: Services,
    pub(super) pass: Pass,
    pub(super) authority: RunAuthority,
}

/// How a request came.
#[derive(Clone)]
enum Via {
    /// To the proxy itself.
    Proxy,
    /// Through a tunnel that was asked for with this origin.
    Tunnel(Origin),
}

impl Proxy {
    /// Serves until aborted.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors: trying again at once would only burn the processor.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // Small answers must not wait for the other side's acknowledgement.
            let _ = stream.set_nodelay(true);
            let proxy = Arc::clone(&self);
            tokio::spawn(async move { proxy.connection(stream, Via::Proxy).await });
        }
    }

    async fn connection(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, via: Via) {
        let service = service_fn(move |request| {
            let (proxy, via) = (Arc::clone(&self), via.clone());
            async move { Ok::<_, Infallible>(proxy.answer(request, via).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .preserve_header_case(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // How a connection ends is no news: its requests have been answered.
        let _ = connection.await;
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, via: Via) -> Response<Outgoing> {
        if request.method() == Method::CONNECT {
            return self.tunnel(request, &via);
        }
        let path = match self.path_at_edge(&request, &via) {
            Ok(path) => path,
            Err(refusal) => return refusal,
        };
        match forward(&self.edge, &self.edge_origin, &self.holder, request, &path).await {
            Ok(answer) => answer,
            Err(failure) => problem(StatusCode::BAD_GATEWAY, "edge_unreachable", failure.message()),
        }
    }

    /// Where at the edge a request belongs.
    #[expect(clippy::result_large_err, reason = "the refusal is the answer, made once")]
    fn path_at_edge(&self, request: &Request<Incoming>, via: &Via) -> Result<String, Response<Outgoing>> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        match (via, request.uri().scheme_str(), request.uri().authority()) {
            (Via::Tunnel(origin), _, _) => self.at_origin(origin, path),
            (Via::Proxy, Some(scheme), Some(authority)) => {
                if !self.pass.is_shown(request.headers()) {
                    return Err(pass_wanted());
                }
                let origin = format!("{scheme}://{authority}");
                match origin.parse() {
                    Ok(origin) => self.at_origin(&origin, path),
                    Err(_) => Err(not_offered(&origin, &self.services)),
                }
            }
            (Via::Proxy, _, _) => self.below_base_url(path),
        }
    }

    /// A path below a base URL that the program was given.
    #[expect(clippy::result_large_err, reason = "the refusal is the answer, made once")]
    fn below_base_url(&self, path: &str) -> Result<String, Response<Outgoing>> {
        let below = self.pass.below(path).ok_or_else(|| {
            problem(StatusCode::FORBIDDEN, "not_this_program", "this proxy serves the program it was started for")
        })?;
        let name = below.split(['/', '?']).next().unwrap_or_default();
        match self.services.called(name) {
            Some(_) => Ok(format!("/{below}")),
            None => Err(not_offered(name, &self.services)),
        }
    }

    #[expect(clippy::result_large_err, reason = "the refusal is the answer, made once")]
    fn at_origin(&self, origin: &Origin, path: &str) -> Result<String, Response<Outgoing>> {
        // Many programs use the proxy for the base URL, too, which is the proxy's own.
        if self.pass.is_own(origin) {
            return self.below_base_url(path);
        }
        let offered = self.services.at(origin).ok_or_else(|| not_offered(&origin.to_string(), &self.services))?;
        offered.at_edge(path).ok_or_else(|| below_nothing(offered))
    }

    /// `CONNECT host:port`: what comes through is read, so that each request in it gets its own proof.
    fn tunnel(self: Arc<Self>, request: Request<Incoming>, via: &Via) -> Response<Outgoing> {
        if matches!(via, Via::Tunnel(_)) {
            return problem(StatusCode::BAD_REQUEST, "malformed", "a tunnel within a tunnel leads nowhere");
        }
        if !self.pass.is_shown(request.headers()) {
            return pass_wanted();
        }
        let target = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let origin = |scheme: &str| format!("{scheme}://{target}").parse::<Origin>().ok();
        let (secure, plain) = (origin("https"), origin("http"));
        let known = |origin: &Origin| self.services.at(origin).is_some() || self.pass.is_own(origin);
        let offered = [&secure, &plain].into_iter().flatten().any(known);
        if !offered {
            return not_offered(&target, &self.services);
        }
        tokio::spawn(async move {
            if let (Ok(stream), Some(secure), Some(plain)) = (hyper::upgrade::on(request).await, secure, plain) {
                self.tunnelled(BufReader::new(TokioIo::new(stream)), secure, plain).await;
            }
        });
        Response::new(empty())
    }

    async fn tunnelled<S>(self: Arc<Self>, mut stream: BufReader<S>, secure: Origin, plain: Origin)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Some programs use tunnels for plain HTTP as well.
        let first = match stream.fill_buf().await {
            Ok([first, ..]) => *first,
            _ => return,
        };
        if first != TLS_HANDSHAKE {
            return self.connection(stream, Via::Tunnel(plain)).await;
        }
        let host = secure.host().to_string();
        let config = match self.authority.server(host.trim_start_matches('[').trim_end_matches(']')) {
            Ok(config) => config,
            Err(failure) => return tracing::warn!(reason = failure.message(), "no certificate could be made"),
        };
        if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
            self.connection(stream, Via::Tunnel(secure)).await;
        }
    }
}

fn pass_wanted() -> Response<Outgoing> {
    let mut answer =
        problem(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "not_this_program", "this proxy serves one program only");
    answer.headers_mut().insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"writ run\""));
    answer
}

fn not_offered(what: &str, services: &Services) -> Response<Outgoing> {
    let what: String = what.chars().take(100).collect();
    let told = format!("`{what}` is not offered here: this program may reach {} and nothing else", services.told());
    problem(StatusCode::FORBIDDEN, "not_offered", &told)
}

fn below_nothing(offered: &Offered) -> Response<Outgoing> {
    problem(StatusCode::NOT_FOUND, "not_found", &format!("the service `{}` has nothing at this path", offered.name))
}

/// A refusal of the proxy itself (RFC 9457).
fn problem(status: StatusCode, code: &str, detail: &str) -> Response<Outgoing> {
    let body = serde_json::json!({ "status": status.as_u16(), "code": code, "detail": detail });
    let mut answer = Response::new(full(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    answer.headers_mut().insert("writ-run", HeaderValue::from_static("1"));
    answer
}
