//! A provider that answers as a test tells it to, well or badly.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use writ::config::authority::AuthorityConfig;
use writ::config::identity::ProviderTerms;

use crate::identity::jose::Key;

/// What is answered at one path.
#[derive(Clone)]
pub(crate) enum Answer {
    Json(Value),
    Raw {
        status: u16,
        location: Option<String>,
        body: Vec<u8>,
    },
    /// Never.
    Silence,
    /// A beginning, and never an end.
    Endless,
}

/// A request that came.
pub(crate) struct Asked {
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

#[derive(Default)]
struct Said {
    answers: HashMap<String, Answer>,
    asked: HashMap<String, Vec<Asked>>,
}

pub(crate) struct TestProvider {
    pub(crate) issuer: String,
    said: Arc<Mutex<Said>>,
    _serving: Serving,
}

struct Serving(tokio::task::JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const METADATA: &str = "/.well-known/openid-configuration";

impl TestProvider {
    /// A provider that publishes `keys`.
    pub(crate) async fn start(keys: &[&Key]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let said = Arc::new(Mutex::new(Said::default()));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&said));
        let serving = Serving(tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        }));
        let provider = Self { issuer, said, _serving: serving };
        provider.says(METADATA, Answer::Json(provider.metadata()));
        provider.publishes(keys);
        provider
    }

    pub(crate) fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.issuer);
        json!({
            "issuer": self.issuer, "jwks_uri": at("/jwks"), "userinfo_endpoint": at("/userinfo"),
            "introspection_endpoint": at("/introspect"), "response_types_supported": ["code"],
        })
    }

    pub(crate) fn publishes(&self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| key.public.clone()).collect();
        self.says("/jwks", Answer::Json(json!({ "keys": keys })));
    }

    pub(crate) fn says(&self, path: &str, answer: Answer) {
        self.said.lock().unwrap().answers.insert(path.into(), answer);
    }

    pub(crate) fn says_metadata(&self, answer: Answer) {
        self.says(METADATA, answer);
    }

    /// How often `path` was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.said.lock().unwrap().asked.get(path).map_or(0, Vec::len)
    }

    /// The last request for `path`.
    pub(crate) fn last(&self, path: &str) -> Asked {
        self.said.lock().unwrap().asked.get_mut(path).unwrap().pop().unwrap()
    }

    /// Its settings, as a file would state them, with `more` lines.
    pub(crate) fn terms(&self, name: &str, more: &str) -> ProviderTerms {
        terms(&format!(
            "name = \"{name}\"\nissuer = \"{}\"\nclient_ids = [\"app\"]\naudiences = [\"https://writ.example\"]\n\
             allow_private = true\n{more}\n",
            self.issuer
        ))
    }
}

/// The settings of one provider.
pub(crate) fn terms(lines: &str) -> ProviderTerms {
    let sample = include_str!("../../../samples/authority.toml");
    let text = format!("{sample}\n[[identity.provider]]\n{lines}");
    AuthorityConfig::parse(&text, "/writ.toml".as_ref()).unwrap().terms.providers.remove(0)
}

async fn answer(State(said): State<Arc<Mutex<Said>>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let authorization =
        request.headers().get("authorization").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let asked = Asked { authorization, body: String::from_utf8_lossy(&body).into_owned() };
    let answer = {
        let mut said = said.lock().unwrap();
        said.asked.entry(path.clone()).or_default().push(asked);
        said.answers.get(&path).cloned()
    };
    match answer {
        None => Response::builder().status(404).body(Body::empty()).unwrap(),
        Some(Answer::Json(json)) => Response::new(Body::from(json.to_string())),
        Some(Answer::Raw { status, location, body }) => {
            let response = Response::builder().status(status);
            let response = location.into_iter().fold(response, |response, to| response.header("location", to));
            response.body(Body::from(body)).unwrap()
        }
        Some(Answer::Silence) => std::future::pending().await,
        Some(Answer::Endless) => {
            let begun = futures_util::stream::iter([Ok::<_, std::convert::Infallible>("{\"keys\":[")]);
            Response::new(Body::from_stream(begun.chain(futures_util::stream::pending())))
        }
    }
}
