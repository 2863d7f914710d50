//! Who holds the writ of a run: makes the proofs, remembers the edge's nonce, renews the writ before it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue};
use tokio::sync::Mutex as AsyncMutex;

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::random;
use crate::cli::remote::Remote;
use crate::cli::request::{AgentCredentials, Wish, issued};
use crate::clock::Timestamp;
use crate::key::KeyPair;
use crate::token::chain::ProofCovers;
use crate::token::inspect::inspect;
use crate::token::proof::{ProvenRequest, make};
use crate::token::{Limits, RawToken};

/// Renew when this part of a writ's life is left, at the latest.
const RENEW_AT: u32 = 4;
/// After a renewal that failed, leave the authority alone for so long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The holder of a writ.
pub(super) struct Holder {
    context: Context,
    key: Key,
    held: ArcSwap<Held>,
    nonce: Mutex<Option<HeaderValue>>,
    renewing: AsyncMutex<Timestamp>,
    /// The edge takes the key from the connection: no request needs a proof of its own.
    by_connection: AtomicBool,
}

enum Key {
    /// A writ that came from elsewhere.
    OfToken(KeyPair),
    /// A writ that can be asked for again.
    OfAgent(Box<Source>),
}

struct Source {
    remote: Remote,
    credentials: AgentCredentials,
    wish: Wish,
}

/// A writ, and what about it matters here.
pub(super) struct Held {
    token: RawToken,
    covers: ProofCovers,
    bound: bool,
    renew_from: Timestamp,
    expires: Timestamp,
}

impl Held {
    fn new(token: RawToken, now: Timestamp) -> Result<Self, Failure> {
        let unverified = inspect(&token, &Limits::default())?;
        let chain = unverified.claims();
        let expires = chain.expires();
        let (bound, covers) = (chain.holder().is_some(), chain.authority().proof_covers);
        Ok(Self { covers, bound, renew_from: expires.before(expires.since(now) / RENEW_AT), expires, token })
    }

    /// Whether a proof must cover the body, which then has to be read before anything is sent.
    pub(super) const fn covers_body(&self) -> bool {
        self.covers.body
    }
}

impl Holder {
    /// The holder of `token`, which is not renewed.
    pub(super) fn of_token(context: Context, token: RawToken, key: KeyPair) -> Result<Self, Failure> {
        let unverified = inspect(&token, &Limits::default())?;
        if let Some(holder) = unverified.claims().holder().filter(|holder| *holder != key.public()) {
            return Err(Failure::new(format!("the writ is held by {holder}: give that key's file with `--key`")));
        }
        Self::new(context, token, Key::OfToken(key))
    }

    /// The holder of a writ that the authority issues now, and again before it ends.
    pub(super) async fn of_agent(
        context: Context,
        remote: Remote,
        credentials: AgentCredentials,
        wish: Wish,
    ) -> Result<Self, Failure> {
        let token = issued(&remote, &credentials, &wish, context.now()).await?;
        Self::new(context, token, Key::OfAgent(Box::new(Source { remote, credentials, wish })))
    }

    fn new(context: Context, token: RawToken, key: Key) -> Result<Self, Failure> {
        let now = context.now();
        let held = Held::new(token, now)?;
        if held.expires.secs() < now.secs() {
            return Err(Failure::new("the writ has expired: ask for a new one with `writ request`"));
        }
        Ok(Self {
            context,
            key,
            held: ArcSwap::from_pointee(held),
            nonce: Mutex::new(None),
            renewing: AsyncMutex::new(Timestamp::from_millis(0)),
            by_connection: AtomicBool::new(false),
        })
    }

    /// The writ as of now, renewed if it is time and can be.
    pub(super) async fn held(&self) -> Arc<Held> {
        let held = self.held.load_full();
        let Key::OfAgent(source) = &self.key else { return held };
        if self.context.now() < held.renew_from {
            return held;
        }
        let mut not_before = self.renewing.lock().await;
        let now = self.context.now();
        let held = self.held.load_full();
        // Somebody else renewed while this request waited, or just failed to.
        if now < held.renew_from || now < *not_before {
            return held;
        }
        let renewed = issued(&source.remote, &source.credentials, &source.wish, now).await;
        match renewed.and_then(|token| Held::new(token, now)) {
            Ok(renewed) => self.held.store(Arc::new(renewed)),
            Err(failure) => {
                *not_before = now.after(RETRY_AFTER);
                tracing::warn!(reason = failure.message(), "the writ could not be renewed");
            }
        }
        self.held.load_full()
    }

    /// Puts the writ into `headers`, and a fresh proof for `request` unless the connection is one.
    pub(super) fn prove(
        &self,
        held: &Held,
        request: &ProvenRequest<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), Failure> {
        let proves = held.bound && !self.proves_by_connection();
        let scheme = if proves { "DPoP" } else { "Bearer" };
        let mut value = HeaderValue::from_str(&format!("{scheme} {}", held.token.text()))?;
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
        if proves {
            let nonce = self.nonce();
            let nonce = nonce.as_ref().and_then(|nonce| nonce.to_str().ok());
            let digest = Some(held.token.digest());
            let proof = make(self.key(), request, digest, held.covers, nonce, &random()?, self.context.now());
            headers.insert("dpop", HeaderValue::from_str(&proof)?);
        }
        Ok(())
    }

    /// Remembers the nonce of an answer; says whether it is another one than before.
    pub(super) fn learn(&self, headers: &HeaderMap) -> bool {
        let Some(nonce) = headers.get("dpop-nonce") else { return false };
        let mut known = self.nonce.lock().unwrap_or_else(PoisonError::into_inner);
        known.replace(nonce.clone()).as_ref() != Some(nonce)
    }

    /// The nonce that the edge wants, as far as it has said.
    pub(super) fn nonce(&self) -> Option<HeaderValue> {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether connections prove the key, and no request needs to.
    pub(super) fn proves_by_connection(&self) -> bool {
        self.by_connection.load(Ordering::Relaxed)
    }

    /// From now on they do, or do not, as the edge says.
    pub(super) fn prove_by_connection(&self, by_connection: bool) {
        self.by_connection.store(by_connection, Ordering::Relaxed);
    }

    /// The key that the writ is bound to.
    pub(super) fn key(&self) -> &KeyPair {
        match &self.key {
            Key::OfToken(key) => key,
            Key::OfAgent(source) => &source.credentials.key,
        }
    }
}
