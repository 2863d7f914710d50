//! Calls from an edge to its authority: each request proven by the edge's key, each answer signed by the authority's.
//!
//! Nothing of an answer is looked at before its signature holds over the very proof of the request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::dial::AuthorityClient;
use crate::dial::authority::CallError;
use crate::edge::random;
use crate::key::{KeyPair, PublicKey, sha256};
use crate::token::chain::ProofCovers;
use crate::token::proof::{self, ProofId, ProvenRequest};
use crate::wire::{self, Refusal};

/// The way to the authority.
pub struct Channel {
    key: Arc<KeyPair>,
    authority_key: PublicKey,
    issuer: Box<str>,
    authorities: Vec<AuthorityClient>,
    /// Which of them is asked first: the one that answered last.
    preferred: AtomicUsize,
    clock: Arc<dyn Clock>,
}

/// Why there is no answer that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// No authority is configured.
    #[error("no authority URL is configured")]
    NoAuthority,
    /// The machine gives no random bytes.
    #[error("no random bytes from the machine")]
    Random,
    /// No answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An answer without the authority's signature for this request.
    #[error("an answer is not signed by the authority this edge joined: somebody else answers at {0}")]
    Unsigned(Box<str>),
    /// The authority refuses, and says why.
    #[error("the authority refuses: {}", .refusal.detail)]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The reason.
        refusal: Refusal,
    },
    /// The answer is signed and yet not a message that this edge knows.
    #[error("the authority's answer is not one that this version of writ knows: {0}")]
    Form(#[source] serde_json::Error),
}

impl Channel {
    /// A channel to the authority of `issuer` that signs by `authority_key`, reached through any of `authorities`.
    pub fn new(
        key: Arc<KeyPair>,
        authority_key: PublicKey,
        issuer: Box<str>,
        authorities: Vec<AuthorityClient>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { key, authority_key, issuer, authorities, preferred: AtomicUsize::new(0), clock }
    }

    /// The issuer whose authority this is.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The key that signs what the authority says.
    pub const fn authority_key(&self) -> &PublicKey {
        &self.authority_key
    }

    /// The key by which this edge is known.
    pub const fn key(&self) -> &Arc<KeyPair> {
        &self.key
    }

    /// One exchange with the authority that answered last. When that fails, the next call goes to the next one.
    pub async fn call<Q, A>(&self, path: &str, message: &Q, timeout: Duration) -> Result<A, ChannelError>
    where
        Q: Serialize + Sync,
        A: DeserializeOwned,
    {
        // Zeroed when dropped would be better, but the HTTP client keeps a copy anyway; a lend request holds a token, no secret.
        let message = serde_json::to_vec(message).map_err(ChannelError::Form)?;
        self.call_with(path, message.into(), timeout).await
    }

    /// The same with a message that is written already.
    pub async fn call_with<A: DeserializeOwned>(
        &self,
        path: &str,
        message: Bytes,
        timeout: Duration,
    ) -> Result<A, ChannelError> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let authority = self.authorities.get(preferred).ok_or(ChannelError::NoAuthority)?;
        let answer = self.exchange(authority, path, message, timeout).await;
        if let Err(ChannelError::Call(_) | ChannelError::Unsigned(_)) = &answer {
            // Not an increment: of several calls that fail at once, one moves on.
            let next = (preferred + 1) % self.authorities.len();
            let _ = self.preferred.compare_exchange(preferred, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        answer
    }

    /// How many authorities can be asked in turn.
    pub fn authorities(&self) -> usize {
        self.authorities.len()
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        authority: &AuthorityClient,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<A, ChannelError> {
        let (proof, id) = self.prove(path, &body)?;
        let mut headers = HeaderMap::new();
        headers.insert("dpop", proof);
        let answer = authority.call(Method::POST, path, headers, body, timeout).await?;
        let signature = answer.headers.get(wire::SIGNATURE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("");
        if !wire::verify_reply(&self.authority_key, id, answer.status.as_u16(), &answer.body, signature) {
            return Err(ChannelError::Unsigned(authority.url().to_string().into()));
        }
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(ChannelError::Form);
        }
        let refusal = serde_json::from_slice(&answer.body).map_err(ChannelError::Form)?;
        Err(ChannelError::Refused { status: answer.status, refusal })
    }

    fn prove(&self, path: &str, body: &[u8]) -> Result<(HeaderValue, ProofId), ChannelError> {
        let url = format!("{}{path}", self.issuer);
        let request = ProvenRequest { method: "POST", url: &url, query: None, body_sha256: Some(sha256(body)) };
        let covers = ProofCovers { query: false, body: true };
        let jti = random().map_err(|_| ChannelError::Random)?;
        let proof = proof::make(&self.key, &request, None, covers, None, &jti, self.clock.now());
        // Expect safety: a proof is base64url text with dots.
        let proof = HeaderValue::from_str(&proof).expect("a proof is visible ASCII");
        Ok((proof, ProofId::of_made(&self.key.public(), &jti)))
    }
}
