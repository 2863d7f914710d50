//! The roles that this program plays as a process of its own: each on one thread, since each has one processor.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{INJECTED, UPSTREAM_PATH};

/// What the service answers; the digit says whether it saw its credential.
const WITHOUT_KEY: &[u8] = b"{\"id\":7,\"key\":0,\"text\":\"hello, world\"}";
const WITH_KEY: &[u8] = b"{\"id\":7,\"key\":1,\"text\":\"hello, world\"}";

fn serve<F: Future<Output = ()> + Send + 'static>(connection: impl Fn(TcpStream) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(stream));
        }
    });
}

/// The service behind: takes any body, and says whether the credential came along.
pub(crate) fn upstream() {
    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let keyed = request.headers().get(header::AUTHORIZATION).is_some_and(|value| value == INJECTED);
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(Response::new(Full::new(Bytes::from_static(if keyed { WITH_KEY } else { WITHOUT_KEY }))))
    }
    serve(|stream| async {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
    });
}

/// As little as a reverse proxy on hyper can be: what any proxy built like ours costs at least.
pub(crate) fn floor(http: &str, upstream: SocketAddr) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let two = http == "h2";
    serve(move |stream| {
        let client = client.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            *request.uri_mut() = format!("http://{upstream}{UPSTREAM_PATH}").parse().unwrap();
            *request.version_mut() = hyper::Version::HTTP_11;
            let answer = client.request(request);
            async move {
                Ok::<_, Infallible>(match answer.await {
                    Ok(answer) => answer.map(Either::Left),
                    Err(_) => refused(StatusCode::BAD_GATEWAY).map(Either::Right),
                })
            }
        });
        async move {
            let io = TokioIo::new(stream);
            let _ = match two {
                true => http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await,
                false => http1::Builder::new().serve_connection(io, service).await,
            };
        }
    });
}

fn refused(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// What Envoy asks (`ext_authz` over HTTP): one bearer token in a table, and the credential that goes with it.
pub(crate) fn authz(token: &str) {
    let tokens: &'static std::collections::HashMap<String, &str> =
        Box::leak(Box::new([(format!("Bearer {token}"), INJECTED)].into()));
    serve(move |stream| async move {
        let answer = |request: Request<Incoming>| async move {
            let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let Some(injected) = shown.and_then(|shown| tokens.get(shown)) else {
                return Ok::<_, Infallible>(refused(StatusCode::UNAUTHORIZED));
            };
            let mut allowed = Response::new(Full::default());
            allowed.headers_mut().insert(header::AUTHORIZATION, injected.parse().unwrap());
            Ok(allowed)
        };
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
    });
}
