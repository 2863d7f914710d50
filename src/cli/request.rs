//! `writ request`: asks the token endpoint for a writ with an agent's key, or by the word of the platform that the agent runs on,
//! and shows nobody the key.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{random, read_key, read_text, write_private};
use crate::cli::remote::{Remote, RemoteArgs};
use crate::cli::time::parse_duration;
use crate::clock::Timestamp;
use crate::dial::AuthorityClient;
use crate::id::{AgentName, AudienceName, Subject, TenantName};
use crate::key::KeyPair;
use crate::token::chain::ProofCovers;
use crate::token::proof::{ProvenRequest, make};
use crate::token::{Capability, Limits, RawToken};

/// What an agent asks for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Wish {
    /// A capability to ask for, `service:action:resource`; may be repeated.
    #[arg(long = "scope", value_name = "CAPABILITY")]
    pub(crate) scope: Vec<Capability>,
    /// For how long: `90s`, `15m`, `2h`. The grants may allow less.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) lasting: Option<Duration>,
    /// The edge deployment it is meant for, where there is more than one.
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Option<AudienceName>,
    /// The user to act for; the grant must name the same.
    #[arg(long, value_name = "USER")]
    pub(crate) subject: Option<Subject>,
}

/// `writ request`
#[derive(Debug, clap::Args)]
pub(crate) struct RequestArgs {
    /// The agent's registered name.
    #[arg(long, value_name = "NAME")]
    agent: AgentName,
    /// The agent's private key file; with `--workload-token`, that of any key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The file in which the platform keeps the agent's token (SPIFFE, Kubernetes, CI): instead of a registered key.
    #[arg(long, value_name = "FILE")]
    workload_token: Option<PathBuf>,
    #[command(flatten)]
    wish: Wish,
    /// Write the writ to this new file instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    remote: RemoteArgs,
}

impl RequestArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        let remote = self.remote.open()?;
        let credentials = AgentCredentials {
            tenant: remote.tenant().clone(),
            agent: self.agent,
            key: read_key(&self.key)?,
            workload_token: self.workload_token,
        };
        let token = issued(&remote, &credentials, &self.wish, context.now()).await?;
        match self.out {
            Some(path) => write_private(&path, format!("{}\n", token.text()).as_bytes()),
            None => context.out.result(&serde_json::json!({ "token": token.text() }), || token.text().to_owned()),
        }
    }
}

/// Who asks, and how it proves that.
#[derive(Debug)]
pub(crate) struct AgentCredentials {
    pub(crate) tenant: TenantName,
    pub(crate) agent: AgentName,
    pub(crate) key: KeyPair,
    /// Where the platform keeps the token by which it vouches for the agent, if that is how it is known.
    pub(crate) workload_token: Option<PathBuf>,
}

impl AgentCredentials {
    fn client_id(&self) -> String {
        format!("{}/{}", self.tenant, self.agent)
    }
}

/// The part of the authorization server's metadata (RFC 8414) that is needed here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
}

#[derive(Deserialize)]
struct TokenReply {
    access_token: String,
}

/// The refusal of RFC 6749 section 5.2.
#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ASSERTION_LIFE_S: i64 = 60;
const TIMEOUT: Duration = Duration::from_secs(15);

/// Asks for a writ: `client_credentials`, `private_key_jwt` or a workload's token, and a DPoP proof by the key.
pub(crate) async fn issued(
    remote: &Remote,
    credentials: &AgentCredentials,
    wish: &Wish,
    now: Timestamp,
) -> Result<RawToken, Failure> {
    if wish.scope.is_empty() {
        return Err(Failure::usage("say what the writ is for: `--scope service:action:resource`"));
    }
    let client = remote.client();
    let metadata: Metadata = remote.public("/.well-known/oauth-authorization-server").await?;
    let url = client.url().to_string();
    let Some(path) = metadata.token_endpoint.strip_prefix(&url).filter(|_| metadata.issuer == url) else {
        // The assertion and the proof are for the issuer: another name would be refused there, or leak them elsewhere.
        return Err(Failure::new(format!("the authority calls itself {}: use that as `--url`", metadata.issuer)));
    };
    let form = form(credentials, wish, &metadata.issuer, now)?;
    let proven = ProvenRequest { method: "POST", url: &metadata.token_endpoint, query: None, body_sha256: None };
    let proof = make(&credentials.key, &proven, None, ProofCovers::default(), None, &random()?, now);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert("dpop", HeaderValue::from_str(&proof)?);
    let answer = post(client, path, headers, form).await?;
    Ok(RawToken::parse(&answer.access_token, &Limits::default())?)
}

async fn post(client: &AuthorityClient, path: &str, headers: HeaderMap, form: String) -> Result<TokenReply, Failure> {
    let answer = client.call(Method::POST, path, headers, Bytes::from(form), TIMEOUT).await?;
    if answer.status.is_success() {
        return Ok(serde_json::from_slice(&answer.body)?);
    }
    Err(match serde_json::from_slice::<TokenRefusal>(&answer.body) {
        Ok(refusal) => Failure::new(format!("{} ({})", refusal.error_description, refusal.error)),
        Err(_) => Failure::new(format!("the authority answered {}", answer.status)),
    })
}

fn form(credentials: &AgentCredentials, wish: &Wish, issuer: &str, now: Timestamp) -> Result<String, Failure> {
    let scope: Vec<String> = wish.scope.iter().map(ToString::to_string).collect();
    let assertion = match &credentials.workload_token {
        // Read anew each time: the platform replaces it.
        Some(path) => read_text(path)?.trim().to_owned(),
        None => assertion(credentials, issuer, now)?,
    };
    let mut pairs = vec![
        ("grant_type", "client_credentials".to_owned()),
        ("client_assertion_type", ASSERTION_TYPE.to_owned()),
        ("client_assertion", assertion),
        ("client_id", credentials.client_id()),
        ("scope", scope.join(" ")),
    ];
    pairs.extend(wish.lasting.map(|length| ("expires_in", length.as_secs().to_string())));
    pairs.extend(wish.audience.as_ref().map(|audience| ("audience", audience.to_string())));
    pairs.extend(wish.subject.as_ref().map(|subject| ("subject", subject.to_string())));
    Ok(encoded(&pairs))
}

/// `application/x-www-form-urlencoded`
pub(crate) fn encoded(pairs: &[(&str, String)]) -> String {
    let escaped = |text: &str| {
        let mut out = String::with_capacity(text.len());
        for byte in text.bytes() {
            match byte {
                byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*') => {
                    out.push(char::from(byte));
                }
                byte => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    };
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    pairs.join("&")
}

/// A fresh `private_key_jwt` (RFC 7523) for `issuer`.
fn assertion(credentials: &AgentCredentials, issuer: &str, now: Timestamp) -> Result<String, Failure> {
    let key = &credentials.key;
    let client = credentials.client_id();
    let header = serde_json::json!({ "alg": "EdDSA", "typ": "JWT", "kid": key.public() });
    let claims = serde_json::json!({
        "iss": client,
        "sub": client,
        "aud": issuer,
        "iat": now.secs(),
        "exp": now.secs() + ASSERTION_LIFE_S,
        "jti": hex::encode(random::<16>()?),
    });
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_survives_every_character() {
        let text = encoded(&[("scope", "notes:read:a/b other:x:y".to_owned()), ("subject", "ä&=+%".to_owned())]);
        assert_eq!(text, "scope=notes%3Aread%3Aa%2Fb%20other%3Ax%3Ay&subject=%C3%A4%26%3D%2B%25");
    }
}
