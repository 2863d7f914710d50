//! An authority that listens, an operator who calls it, agents that ask it for writs, edges that follow it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use writ::authority::{Authority, RunningAuthority};
use writ::clock::{Clock, ManualClock, Timestamp};
use writ::config::authority::AuthorityTerms;
use writ::dial::{AuthorityClient, TrustedRoots};
use writ::edge::channel::{Channel, ChannelError};
use writ::key::KeyPair;
use writ::store::Store;
use writ::token::chain::ProofCovers;
use writ::token::proof::{self, ProvenRequest};
use writ::vault::{Kek, Keyring};
use writ::wire::{FeedReply, FeedRequest, JoinReply, JoinRequest, JoinTicketText};

use crate::canaries::{canary, told};
use crate::store::Database;

pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const WITHIN: Duration = Duration::from_secs(20);

/// A fresh key-encryption key as text.
pub(crate) fn kek() -> String {
    Kek::generate().unwrap().expose().clone()
}

pub(crate) fn keyring(active: &str, previous: &[&str]) -> Keyring {
    let parse = |text: &str| Kek::parse(text).unwrap();
    Keyring::new(parse(active), previous.iter().map(|text| parse(text)).collect())
}

/// An authority of a test's own, with its first operator.
pub(crate) struct TestAuthority {
    pub(crate) authority: Arc<Authority>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) issuer: String,
    pub(crate) kek: String,
    pub(crate) operator: String,
    pub(crate) client: AuthorityClient,
    pub(crate) running: Option<RunningAuthority>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// `Null` where the body is not JSON.
    pub(crate) json: Value,
}

impl Reply {
    /// The JSON of an answer that had to be a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json
    }

    /// The code of an answer that had to be this refusal: one sentence, in a problem document.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> String {
        assert_eq!((self.status, self.json["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(self.json["status"], status);
        let detail = self.json["detail"].as_str().unwrap().to_owned();
        assert!(!detail.is_empty() && !detail.contains('\n'), "{detail}");
        detail
    }
}

/// Serves `store` under a clock that stands still until it is moved.
pub(crate) async fn start(database: &Database) -> TestAuthority {
    start_with(database.store.clone(), Arc::new(ManualClock::at(START)), AuthorityTerms::default()).await
}

pub(crate) async fn start_with(store: Arc<dyn Store>, clock: Arc<ManualClock>, terms: AuthorityTerms) -> TestAuthority {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let kek = kek();
    let operator =
        Authority::init(&*store, &keyring(&kek, &[]), &*clock, &issuer.parse().unwrap(), "root".parse().unwrap())
            .await
            .unwrap();
    let authority = Authority::open(store.clone(), keyring(&kek, &[]), clock.clone(), terms, None).await.unwrap();
    let running = RunningAuthority::start(authority.clone(), listener, None).unwrap();
    TestAuthority {
        client: AuthorityClient::new(issuer.parse().unwrap(), &TrustedRoots::web()),
        authority,
        store,
        clock,
        issuer,
        kek,
        operator: operator.expose().clone(),
        running: Some(running),
    }
}

impl TestAuthority {
    /// One exchange with exactly these headers.
    pub(crate) async fn raw(&self, method: Method, path: &str, headers: HeaderMap, body: impl Into<Bytes>) -> Reply {
        let answer = self.client.call(method, path, headers, body.into(), WITHIN).await.unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        told(&text);
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Reply { status: answer.status.as_u16(), headers: answer.headers, text, json }
    }

    pub(crate) fn operator_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {}", self.operator).parse().unwrap());
        headers
    }

    /// The operator's request with a JSON body, or none.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        self.raw(method, path, self.operator_headers(), body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.call(Method::DELETE, path, None).await
    }

    /// A registered agent, without a grant.
    pub(crate) async fn agent(&self, name: &str) -> TestAgent {
        let key = KeyPair::from_seed(&random());
        self.post("/v1/agents", json!({ "name": name, "key": key.public() })).await.ok();
        TestAgent { client_id: name.into(), key: Arc::new(key) }
    }

    /// A registered agent that may be given `capability`. Answers the grant's id with it.
    pub(crate) async fn granted(&self, name: &str, capability: &str) -> (TestAgent, String) {
        let agent = self.agent(name).await;
        let grant = self.post("/v1/grants", json!({ "agent": name, "capabilities": [capability] })).await.ok();
        (agent, grant["id"].as_str().unwrap().to_owned())
    }

    /// The service `notes` with its credential.
    pub(crate) async fn notes(&self, secret: &str) {
        canary(secret);
        self.put("/v1/credentials/notes-key", json!({ "kind": "header", "name": "x-api-key", "secret": secret }))
            .await
            .ok();
        self.put("/v1/services/notes", notes_service()).await.ok();
    }

    /// An agent's request for a writ, bound to its key.
    pub(crate) async fn token(&self, agent: &TestAgent, scope: &str) -> Reply {
        self.token_with(&self.form(agent, &[("scope", scope)]), Some(&self.token_proof(&agent.key))).await
    }

    /// A writ that had to be issued.
    pub(crate) async fn writ(&self, agent: &TestAgent, scope: &str) -> String {
        self.token(agent, scope).await.ok()["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn token_with(&self, form: &[(String, String)], proof: Option<&str>) -> Reply {
        let mut headers = HeaderMap::new();
        if let Some(proof) = proof {
            headers.insert("dpop", HeaderValue::from_str(proof).unwrap());
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = serde_urlencoded::to_string(form).unwrap();
        self.raw(Method::POST, "/oauth/token", headers, body).await
    }

    /// A token request's form, with a fresh assertion.
    pub(crate) fn form(&self, agent: &TestAgent, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let assertion = self.assertion(agent, &json!({}));
        let mut form = vec![
            ("grant_type".into(), "client_credentials".into()),
            ("client_assertion_type".into(), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".into()),
            ("client_assertion".into(), assertion),
        ];
        form.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        form
    }

    /// A fresh assertion by the agent, some of its claims replaced.
    pub(crate) fn assertion(&self, agent: &TestAgent, replaced: &Value) -> String {
        let now = self.clock.now().secs();
        let mut claims = json!({
            "iss": agent.client_id, "sub": agent.client_id, "aud": self.issuer,
            "iat": now, "exp": now + 60, "jti": hex::encode(random::<16>()),
        });
        for (name, value) in replaced.as_object().unwrap() {
            claims[name] = value.clone();
        }
        jws(&agent.key, &json!({ "alg": "EdDSA", "typ": "JWT" }), &claims)
    }

    /// A fresh proof for the token endpoint.
    pub(crate) fn token_proof(&self, key: &KeyPair) -> String {
        let url = format!("{}/oauth/token", self.issuer);
        let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256: None };
        proof::make(key, &request, None, ProofCovers::default(), None, &random(), self.clock.now())
    }

    /// A ticket's text.
    pub(crate) async fn ticket(&self, name: &str) -> JoinTicketText {
        let ticket = self.post("/v1/edges/tickets", json!({ "name": name })).await.ok();
        JoinTicketText::parse(ticket["ticket"].as_str().unwrap()).unwrap()
    }

    /// An edge that has joined and not yet asked for anything.
    pub(crate) async fn edge(&self, name: &str) -> TestEdge {
        let ticket = self.ticket(name).await;
        let edge = self.stranger();
        let request = JoinRequest {
            secret: ticket.secret.0.expose().clone(),
            origin: format!("https://{name}.example").into(),
            nonce: false,
        };
        let reply: JoinReply = edge.channel.call("/v1/edge/join", &request, WITHIN).await.unwrap();
        assert_eq!(reply.name.as_str(), name);
        edge
    }

    /// A key that no edge has, with a way to the authority.
    pub(crate) fn stranger(&self) -> TestEdge {
        let key = Arc::new(KeyPair::from_seed(&random()));
        let client = AuthorityClient::new(self.issuer.parse().unwrap(), &TrustedRoots::web());
        let authority_key = self.authority.public_key();
        let clock = self.clock.clone();
        let channel = Channel::new(key.clone(), authority_key, self.issuer.as_str().into(), vec![client], clock);
        TestEdge { key, channel: Arc::new(channel) }
    }

    /// Moves the clock until `done`: for answers that wait for a lease to end.
    pub(crate) async fn let_time_pass<T>(&self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            match tokio::time::timeout(Duration::from_millis(10), &mut done).await {
                Ok(value) => return value,
                Err(_) => self.clock.advance(Duration::from_millis(100)),
            }
        }
    }
}

/// A registered agent with its key.
pub(crate) struct TestAgent {
    pub(crate) client_id: String,
    pub(crate) key: Arc<KeyPair>,
}

/// An edge's end of the line, with the real edge's channel.
pub(crate) struct TestEdge {
    pub(crate) key: Arc<KeyPair>,
    pub(crate) channel: Arc<Channel>,
}

impl TestEdge {
    pub(crate) async fn feed(
        &self,
        known: Option<u64>,
        settings: Option<u64>,
        wait_ms: u64,
    ) -> Result<FeedReply, ChannelError> {
        self.channel.call("/v1/edge/feed", &FeedRequest { known: known.unwrap_or(0), settings, wait_ms }, WITHIN).await
    }

    /// Everything, and the acknowledgement of it. Answers what is known then.
    pub(crate) async fn catch_up(&self) -> (u64, u64) {
        let all = self.feed(None, None, 0).await.unwrap();
        let version = all.settings.unwrap().version;
        self.feed(Some(all.head), Some(version), 0).await.unwrap();
        (all.head, version)
    }

    /// Follows until dropped, acknowledging at once.
    pub(crate) fn follow(&self) -> Following {
        let channel = self.channel.clone();
        Following(tokio::spawn(async move {
            let (mut known, mut settings) = (0, None);
            loop {
                let request = FeedRequest { known, settings, wait_ms: 200 };
                match channel.call::<_, FeedReply>("/v1/edge/feed", &request, WITHIN).await {
                    Ok(reply) => {
                        known = reply.log.upto;
                        settings = reply.settings.map(|settings| settings.version).or(settings);
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        }))
    }
}

/// An edge that follows until this is dropped.
pub(crate) struct Following(tokio::task::JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A compact JWS.
pub(crate) fn jws(key: &KeyPair, header: &Value, claims: &Value) -> String {
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())))
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// A service of the catalog in its JSON form.
pub(crate) fn notes_service() -> Value {
    json!({
        "name": "notes", "upstream": "https://notes.example", "credential": "notes-key",
        "route": [{ "methods": ["GET"], "path": "/notes/{team}", "action": "read", "resource": "{team}" }],
    })
}

impl TestAuthority {
    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl TestAuthority {
    /// Another process of the same installation over the same store.
    pub(crate) async fn beside(&self, keys: Keyring) -> Self {
        let terms = self.authority.terms().clone();
        self.at(Authority::open(self.store.clone(), keys, self.clock.clone(), terms, None).await.unwrap()).await
    }

    /// An authority of the same installation, served.
    pub(crate) async fn at(&self, authority: Arc<Authority>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self {
            running: Some(RunningAuthority::start(authority.clone(), listener, None).unwrap()),
            client: AuthorityClient::new(url.parse().unwrap(), &TrustedRoots::web()),
            authority,
            store: self.store.clone(),
            clock: self.clock.clone(),
            issuer: self.issuer.clone(),
            kek: self.kek.clone(),
            operator: self.operator.clone(),
        }
    }

    /// The way of `edge` to this process.
    pub(crate) fn reached_by(&self, edge: &TestEdge) -> TestEdge {
        let channel = Channel::new(
            edge.key.clone(),
            self.authority.public_key(),
            self.issuer.as_str().into(),
            vec![self.client.clone()],
            self.clock.clone(),
        );
        TestEdge { key: edge.key.clone(), channel: Arc::new(channel) }
    }
}

impl TestAuthority {
    /// A fresh proof by `key` for a `POST` of `body` to `path`.
    pub(crate) fn body_proof(&self, key: &KeyPair, path: &str, body: &[u8]) -> String {
        let url = format!("{}{path}", self.issuer);
        let body_sha256 = Some(writ::key::sha256(body));
        let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256 };
        let covers = ProofCovers { query: false, body: true };
        proof::make(key, &request, None, covers, None, &random(), self.clock.now())
    }

    /// A holder's revocation, with a token as witness.
    pub(crate) async fn witness(&self, key: &KeyPair, body: &Value) -> Reply {
        let path = "/v1/revocations/witness";
        let body = body.to_string();
        let proof = self.body_proof(key, path, body.as_bytes());
        self.json_with_proofs(path, body, &[&proof]).await
    }

    /// A JSON body with these `DPoP` headers.
    pub(crate) async fn json_with_proofs(&self, path: &str, body: String, proofs: &[&str]) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for proof in proofs {
            headers.append("dpop", HeaderValue::from_str(proof).unwrap());
        }
        self.raw(Method::POST, path, headers, body).await
    }

    /// A form, with a proof over it by `key` if one is given.
    pub(crate) async fn oauth(&self, path: &str, form: &[(String, String)], key: Option<&KeyPair>) -> Reply {
        let body = serde_urlencoded::to_string(form).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(key) = key {
            let proof = self.body_proof(key, path, body.as_bytes());
            headers.insert("dpop", HeaderValue::from_str(&proof).unwrap());
        }
        self.raw(Method::POST, path, headers, body).await
    }

    /// The token, delegated offline to `to` by a hop named `id`. Nobody but the caller sees it.
    pub(crate) fn delegated(&self, token: &str, from: &KeyPair, to: &KeyPair, id: [u8; 16]) -> String {
        let limits = writ::token::Limits::default();
        let hop = writ::token::hop::NewHop {
            holder: to.public(),
            id: writ::id::BlockId::from_bytes(id),
            expires: self.clock.now().after(Duration::from_secs(600)),
            not_before: None,
            agent: None,
            narrowing: writ::token::hop::Narrowing::default(),
        };
        let token = writ::token::RawToken::parse(token, &limits).unwrap();
        writ::token::hop::delegate(&token, from, &hop, &random(), &limits).unwrap().text().to_owned()
    }
}
