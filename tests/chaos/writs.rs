//! Agents, the writs they are issued, the hops they hand on offline, and what each of these would be killed by.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;
use writ::clock::{Clock as _, Monotonic, SystemClock};
use writ::id::BlockId;
use writ::key::KeyPair;
use writ::token::chain::ProofCovers;
use writ::token::hop::{Narrowing, NewHop, delegate};
use writ::token::inspect::inspect;
use writ::token::proof::{self, ProvenRequest};
use writ::token::{Limits, RawToken};

use crate::http::request;
use crate::system::System;

/// A writ, and the key that proves it.
pub(crate) struct Writ {
    /// Which it is: its calls have this in their path.
    pub(crate) number: usize,
    token: RawToken,
    holder: Arc<KeyPair>,
    /// Everything whose revocation kills it, in the text form of targets.
    pub(crate) targets: Vec<String>,
    /// When it was asked for, and when it was there: in between it was minted.
    pub(crate) asked: Monotonic,
    pub(crate) minted: Monotonic,
}

/// Every writ of a run, by number.
#[derive(Default)]
pub(crate) struct Writs(RwLock<Vec<Arc<Writ>>>);

/// A registered agent.
pub(crate) struct Agent {
    pub(crate) name: String,
    key: Arc<KeyPair>,
}

/// A writ minted for one user under a grant of its own, and what was handed on from it.
#[derive(Clone)]
pub(crate) struct Family {
    /// The authority's, handed to `first`, handed to `second`; and handed to `other`.
    pub(crate) root: Arc<Writ>,
    pub(crate) first: Arc<Writ>,
    pub(crate) second: Arc<Writ>,
    pub(crate) other: Arc<Writ>,
    pub(crate) agent: String,
    pub(crate) subject: String,
    pub(crate) grant: String,
}

impl Family {
    pub(crate) fn writs(&self) -> [&Arc<Writ>; 4] {
        [&self.root, &self.first, &self.second, &self.other]
    }
}

impl Writ {
    /// Whether revoking `target` by a call that began at `begun` kills it for certain: what is not about a block or a key
    /// kills only what was minted before.
    pub(crate) fn is_killed_by(&self, target: &str, begun: Monotonic) -> bool {
        self.targets.iter().any(|own| own == target) && (is_for_good(target) || self.minted < begun)
    }

    /// Whether revoking `target` by a call that ended at `ended` may have killed it.
    pub(crate) fn may_be_killed_by(&self, target: &str, ended: Option<Monotonic>) -> bool {
        let before = ended.is_none_or(|ended| self.asked <= ended);
        self.targets.iter().any(|own| own == target) && (is_for_good(target) || before)
    }

    /// The headers of a request to `url`, which has no query; a proof counts once.
    pub(crate) fn headers(&self, method: &str, url: &str) -> HeaderMap {
        let proven = ProvenRequest { method, url, query: None, body_sha256: None };
        let (token, covers) = (Some(self.token.digest()), ProofCovers::default());
        let proof = proof::make(&self.holder, &proven, token, covers, None, &fresh(), SystemClock.now());
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("DPoP {}", self.token.text()).parse().unwrap());
        headers.insert("dpop", HeaderValue::from_str(&proof).unwrap());
        headers
    }
}

impl Writs {
    pub(crate) fn all(&self) -> Vec<Arc<Writ>> {
        self.0.read().unwrap().clone()
    }

    fn add(&self, token: RawToken, holder: Arc<KeyPair>, asked: Monotonic, minted: Monotonic) -> Arc<Writ> {
        let inspected = inspect(&token, &Limits::default()).unwrap();
        let chain = inspected.claims();
        let authority = chain.authority();
        let mut targets: Vec<String> = chain.block_ids().map(|id| format!("block:{id}")).collect();
        targets.extend(chain.holders().map(|key| format!("holder:{key}")));
        targets.extend(authority.grants.iter().map(|grant| format!("grant:{grant}")));
        targets.extend(authority.subject.iter().map(|subject| format!("subject:{}/{subject}", authority.tenant)));
        targets.push(format!("agent:{}/{}", authority.tenant, authority.agent));
        let mut all = self.0.write().unwrap();
        let writ = Arc::new(Writ { number: all.len(), token, holder, targets, asked, minted });
        all.push(writ.clone());
        writ
    }

    /// A hop made offline: nobody but the two holders knows of it.
    pub(crate) fn hand_on(&self, writ: &Writ) -> Arc<Writ> {
        let next = Arc::new(KeyPair::from_seed(&fresh()));
        let hop = NewHop {
            holder: next.public(),
            id: BlockId::from_bytes(fresh()),
            expires: SystemClock.now().after(Duration::from_secs(3600)),
            not_before: None,
            agent: None,
            narrowing: Narrowing::default(),
        };
        let token = delegate(&writ.token, &writ.holder, &hop, &fresh(), &Limits::default()).unwrap();
        self.add(token, next, writ.asked, writ.minted)
    }

    /// A user with a grant of their own, a writ for it, and what the agent hands on. An error says that some step failed:
    /// nothing is known then, and another user may be luckier.
    pub(crate) async fn family(
        &self,
        system: &System,
        replica: usize,
        agent: &Agent,
        within: Duration,
    ) -> Result<Family, String> {
        let subject = hex::encode(fresh::<8>());
        let body = json!({ "agent": agent.name, "subject": subject, "capabilities": ["load:/:/"], "depth_max": 4 });
        let granted = system.ask(replica, Method::POST, "/v1/grants", Some(&body), within).await?;
        if !granted.status.is_success() {
            return Err(granted.text());
        }
        let grant = granted.json()["id"].as_str().unwrap().to_owned();
        let asked = SystemClock.monotonic();
        let token = agent.ask(system, replica, &subject, within).await?;
        let root = self.add(token, agent.key.clone(), asked, SystemClock.monotonic());
        let first = self.hand_on(&root);
        let (second, other) = (self.hand_on(&first), self.hand_on(&root));
        Ok(Family { root, first, second, other, agent: agent.name.clone(), subject, grant })
    }
}

impl Agent {
    pub(crate) async fn register(system: &System, name: &str) -> Self {
        let key = KeyPair::from_seed(&fresh());
        let body = json!({ "name": name, "key": key.public() });
        system.operate(Method::POST, "/v1/agents", Some(body)).await;
        Self { name: name.into(), key: Arc::new(key) }
    }

    /// Asks the token endpoint (RFC 6749 section 4.4, RFC 7523) for a writ that acts for `subject`.
    async fn ask(&self, system: &System, replica: usize, subject: &str, within: Duration) -> Result<RawToken, String> {
        let endpoint = format!("{}/oauth/token", system.issuer);
        let proven = ProvenRequest { method: "POST", url: &endpoint, query: None, body_sha256: None };
        let covers = ProofCovers::default();
        let proof = proof::make(&self.key, &proven, None, covers, None, &fresh(), SystemClock.now());
        let mut headers = HeaderMap::new();
        headers.insert("dpop", HeaderValue::from_str(&proof).unwrap());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let form = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &self.assertion(&system.issuer)),
            ("scope", "load:/:/"),
            ("subject", subject),
        ];
        let body = serde_urlencoded::to_string(form).unwrap();
        let url = format!("{}/oauth/token", system.authorities[replica].url);
        let answer = system.http.send(request(Method::POST, &url, headers, body), within).await?;
        if !answer.status.is_success() {
            return Err(answer.text());
        }
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        Ok(RawToken::parse(&token, &Limits::default()).unwrap())
    }

    fn assertion(&self, issuer: &str) -> String {
        let now = SystemClock.now().secs();
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": self.key.public() });
        let claims = json!({
            "iss": self.name, "sub": self.name, "aud": issuer,
            "iat": now, "exp": now + 60, "jti": hex::encode(fresh::<16>()),
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes())))
    }
}

fn is_for_good(target: &str) -> bool {
    target.starts_with("block:") || target.starts_with("holder:")
}

/// Fresh random bytes: nothing that is drawn here changes what happens when.
pub(crate) fn fresh<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}
