//! What a process counts and measures, in the text form of OpenMetrics. Nothing that a caller chose becomes a label.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::telemetry::PANICS;

/// Where the metrics stand, on an address of their own.
pub const METRICS_PATH: &str = "/metrics";
/// How many ask at one time.
const CONNECTIONS_MAX: usize = 8;
/// How long one may take to ask.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
const PANICS_HELP: &str = "Panics in this process: each is a bug in writ";
/// In seconds: around the targets of 10 and 50 ms, and around the bound of a lease.
const REVOKE_BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 1.1, 2.5, 10.0];

/// An authority's.
#[derive(Debug)]
pub struct AuthorityMetrics {
    registry: Registry,
    /// From a commit to its receipt, in seconds, of receipts that this process gave.
    pub time_to_revoke: Histogram,
    /// Revocations that wait for their receipt here.
    pub receipts_pending: Gauge,
    /// Calls that got a credential although a receipt, or the edge itself, said that they would not. Always 0.
    pub injections_after_receipt: Counter,
    /// The revocation log's head, as far as this process knows it.
    pub log_head: Gauge,
    /// Edges that may have a lease from this process.
    pub edges_leased: Gauge,
    /// Polls of transmitters of security events that brought no answer.
    pub polls_failed: Counter,
}

impl Default for AuthorityMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("writ");
        let time_to_revoke = Histogram::new(REVOKE_BUCKETS);
        let (receipts_pending, log_head, edges_leased) = (Gauge::default(), Gauge::default(), Gauge::default());
        let injections_after_receipt = Counter::default();
        let help = "From the commit of a revocation to its receipt";
        registry.register("time_to_revoke_seconds", help, time_to_revoke.clone());
        registry.register("receipts_pending", "Revocations that wait for their receipt", receipts_pending.clone());
        let help = "Calls that got a credential after a receipt said that they would not";
        registry.register("injections_after_receipt", help, injections_after_receipt.clone());
        registry.register("log_head", "The end of the revocation log", log_head.clone());
        registry.register("edges_leased", "Edges that may have a lease from this process", edges_leased.clone());
        let polls_failed = Counter::default();
        let help = "Polls of transmitters of security events that brought no answer";
        registry.register("event_polls_failed", help, polls_failed.clone());
        registry.register("panics", PANICS_HELP, PANICS.clone());
        Self {
            registry,
            time_to_revoke,
            receipts_pending,
            injections_after_receipt,
            log_head,
            edges_leased,
            polls_failed,
        }
    }
}

impl AuthorityMetrics {
    /// The text form.
    pub fn to_text(&self) -> String {
        encoded(&self.registry)
    }
}

/// An edge's.
#[derive(Debug)]
pub struct EdgeMetrics {
    registry: Registry,
    /// How long its lease still holds, in milliseconds.
    pub lease_left_ms: Gauge,
    /// How much of the revocation log it knows.
    pub log_seq: Gauge,
    /// Revocations that it holds.
    pub revocations: Gauge,
    /// Requests that have been cleared for their credential and have not ended.
    pub open_requests: Gauge,
    /// HTTP/1.1 connections that wait for a request and hold no buffers.
    resting_connections: Gauge,
    /// Requests by what was decided.
    decided: Family<Decided, Counter>,
    /// Those of them that were allowed: counted without being looked for.
    allowed: Counter,
}

/// What was decided of a request: words of this program, never of a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    verdict: &'static str,
    reason: &'static str,
}

impl Default for EdgeMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("writ_edge");
        let [lease_left_ms, log_seq, revocations, open_requests, resting_connections] =
            std::array::from_fn(|_| Gauge::default());
        registry.register("lease_left_milliseconds", "How long the lease still holds", lease_left_ms.clone());
        registry.register("log_seq", "How much of the revocation log is known", log_seq.clone());
        registry.register("revocations", "Revocations that are held", revocations.clone());
        registry.register("open_requests", "Requests with a credential that have not ended", open_requests.clone());
        let help = "Connections that wait for a request and hold no buffers";
        registry.register("resting_connections", help, resting_connections.clone());
        let decided = Family::<Decided, Counter>::default();
        let allowed = decided.get_or_create_owned(&Decided { verdict: "allowed", reason: "allowed" });
        registry.register("requests", "Requests by verdict and reason code", decided.clone());
        registry.register("panics", PANICS_HELP, PANICS.clone());
        Self { registry, lease_left_ms, log_seq, revocations, open_requests, resting_connections, decided, allowed }
    }
}

impl EdgeMetrics {
    /// Counts a connection that rests, as long as what is answered is held.
    pub fn rests(&self) -> Resting {
        self.resting_connections.inc();
        Resting(self.resting_connections.clone())
    }

    /// A request was allowed.
    pub fn allowed(&self) {
        self.allowed.inc();
    }

    /// A request was denied, for this reason code.
    pub fn denied(&self, reason: &'static str) {
        self.decided.get_or_create(&Decided { verdict: "denied", reason }).inc();
    }

    /// The text form.
    pub fn to_text(&self) -> String {
        encoded(&self.registry)
    }
}

/// A connection that rests.
#[derive(Debug)]
pub struct Resting(Gauge);

impl Drop for Resting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn encoded(registry: &Registry) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = text::encode(&mut out, registry);
    out
}

/// Serves `page` at [`METRICS_PATH`] until it is dropped. It answers whoever reaches the address.
#[derive(Debug)]
pub struct MetricsServer(JoinHandle<()>);

impl MetricsServer {
    /// Begins to serve.
    pub fn start(listener: TcpListener, page: impl Fn() -> String + Send + Sync + 'static) -> Self {
        let (page, places) = (Arc::new(page), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        Self(tokio::spawn(async move {
            loop {
                let place = Arc::clone(&places).acquire_owned().await;
                let Ok((stream, _)) = listener.accept().await else {
                    // Out of file descriptors, mostly: without a pause this would spin.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let page = Arc::clone(&page);
                tokio::spawn(async move {
                    let _place = place;
                    let service = service_fn(async |request: Request<Incoming>| answer(&request, &*page));
                    let mut builder = hyper::server::conn::http1::Builder::new();
                    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).keep_alive(false);
                    // Who asks is told nothing more by an error than by silence.
                    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }))
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn answer<B>(request: &Request<B>, page: &dyn Fn() -> String) -> Result<Response<Full<Bytes>>, Infallible> {
    let found = request.method() == Method::GET && request.uri().path() == METRICS_PATH;
    let (status, body) = if found { (StatusCode::OK, page()) } else { (StatusCode::NOT_FOUND, String::new()) };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let form = header::HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, form);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_was_measured() {
        let metrics = AuthorityMetrics::default();
        metrics.time_to_revoke.observe(0.004);
        metrics.injections_after_receipt.inc();
        let page = metrics.to_text();
        assert!(page.contains("writ_time_to_revoke_seconds_bucket{le=\"0.005\"} 1"), "{page}");
        assert!(page.contains("writ_injections_after_receipt_total 1"), "{page}");
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn an_edge_counts_its_decisions_by_reason() {
        let metrics = EdgeMetrics::default();
        metrics.denied("revoked");
        metrics.denied("revoked");
        let page = metrics.to_text();
        assert!(page.contains("writ_edge_requests_total{verdict=\"denied\",reason=\"revoked\"} 2"), "{page}");
    }

    #[test]
    fn only_the_one_path_is_answered() {
        let ask = |method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            answer(&request, &|| "page".into()).unwrap().status()
        };
        assert_eq!(ask(Method::GET, METRICS_PATH), StatusCode::OK);
        assert_eq!(ask(Method::POST, METRICS_PATH), StatusCode::NOT_FOUND);
        assert_eq!(ask(Method::GET, "/"), StatusCode::NOT_FOUND);
    }
}
