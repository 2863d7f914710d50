//! One provider: its metadata and keys, fetched and kept, and what it says when it is asked about a token.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode};
use tokio::sync::{Mutex, Semaphore};

use crate::clock::{Clock, Monotonic};
use crate::config::identity::{LiveCheck, ProviderTerms};
use crate::dial::TrustedRoots;
use crate::identity::claims::TokenKind;
use crate::identity::fetch::{Endpoint, FetchError, Fetcher};
use crate::identity::jws::IdentityToken;
use crate::identity::keys::{InvalidKeySet, KeySet};
use crate::identity::{IdentityError, Refused, SetupError};
use crate::secret::Secret;
use crate::token::strict_json::Object;

/// How long to wait after an attempt to fetch keys, whatever tokens ask for.
const ATTEMPT_EVERY: Duration = Duration::from_secs(5);
/// How many requests may wait for a provider's keys at one time: strangers can send tokens by keys that nobody has.
const WAITING_MAX: usize = 64;
const CLIENT_SECRET_BYTES_MAX: usize = 4096;

/// A provider, and what is known of it.
pub(super) struct Provider {
    pub(super) terms: ProviderTerms,
    fetcher: Fetcher,
    /// Of introspection.
    client_secret: Option<Secret<String>>,
    clock: Arc<dyn Clock>,
    known: ArcSwapOption<Known>,
    /// When keys were last asked for. Held while they are, so that all who need them ask once.
    attempted: Mutex<Option<Monotonic>>,
    /// Places to wait for an answer. A token by a known key needs none.
    waiting: Arc<Semaphore>,
}

/// What a provider published.
struct Known {
    keys: KeySet,
    userinfo: Option<Endpoint>,
    introspection: Option<Endpoint>,
    fetched: Monotonic,
}

/// Why what a provider publishes is not used.
#[derive(Debug, thiserror::Error)]
enum DiscoveryError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("its metadata is not a JSON object without duplicate names")]
    Form,
    #[error("its metadata names another `issuer` than the settings, or none: they must be equal, letter by letter")]
    Issuer,
    #[error("its metadata has no `{0}`")]
    Missing(&'static str),
    #[error(transparent)]
    Keys(#[from] InvalidKeySet),
}

impl Provider {
    pub(super) fn open(terms: ProviderTerms, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let unreadable = |path: &std::path::Path| {
            let path = path.to_owned();
            move |source| SetupError::Read { path, source }
        };
        let mut roots = TrustedRoots::web();
        if let Some(path) = &terms.ca_file {
            let pem = std::fs::read(path).map_err(unreadable(path))?;
            roots = roots.with_pem(&pem).map_err(|_| SetupError::Certificate(path.clone()))?;
        }
        let client_secret = match &terms.live_check {
            LiveCheck::Introspection { client_secret_file: path, .. } => {
                let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable(path))?);
                let secret = text.trim();
                if secret.is_empty() || secret.len() > CLIENT_SECRET_BYTES_MAX {
                    return Err(SetupError::ClientSecret(path.clone()));
                }
                Some(Secret::new(secret.to_owned()))
            }
            LiveCheck::None | LiveCheck::Userinfo => None,
        };
        Ok(Self {
            fetcher: Fetcher::new(&roots, terms.allow_private),
            terms,
            client_secret,
            clock,
            known: ArcSwapOption::empty(),
            attempted: Mutex::new(None),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        })
    }

    /// Checks that `token` is signed by this provider.
    pub(super) async fn signed(self: &Arc<Self>, token: &IdentityToken) -> Result<(), IdentityError> {
        if !self.terms.algorithms.contains(&token.algorithm) {
            return Err(IdentityError::Refused(Refused::new(format!(
                "its `alg` is {}: `algorithms` of provider `{}` lists those that count",
                token.algorithm, self.terms.name
            ))));
        }
        let known = self.known().await?;
        if known.keys.signed(token) {
            return Ok(());
        }
        // The provider may have new keys; how often that is looked at does not depend on what tokens say.
        let newer = self.refreshed(Some(known.fetched)).await?;
        if newer.fetched != known.fetched && newer.keys.signed(token) {
            return Ok(());
        }
        Err(IdentityError::Refused(Refused::new(format!(
            "no key of provider `{}` signed it: if the provider has just changed its keys, try again in a few seconds",
            self.terms.name
        ))))
    }

    /// What is known, not older than the settings allow.
    async fn known(self: &Arc<Self>) -> Result<Arc<Known>, IdentityError> {
        match self.known.load_full() {
            Some(known) if self.age(&known) < self.terms.keys_keep => Ok(known),
            Some(known) => self.refreshed(Some(known.fetched)).await,
            None => self.refreshed(None).await,
        }
    }

    fn age(&self, known: &Known) -> Duration {
        self.clock.monotonic().since(known.fetched)
    }

    /// Asks the provider, unless somebody else has since `seen` or a moment ago. While it does not answer, what is known counts a
    /// while longer.
    async fn refreshed(self: &Arc<Self>, seen: Option<Monotonic>) -> Result<Arc<Known>, IdentityError> {
        let unavailable = || IdentityError::Unavailable(self.terms.name.clone());
        let place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| unavailable())?;
        let this = Arc::clone(self);
        // A task of its own: a caller who goes away must not spoil the attempt that others wait for.
        let asking = tokio::spawn(async move {
            let known = this.ask(seen).await;
            drop(place);
            known
        });
        asking.await.ok().flatten().ok_or_else(unavailable)
    }

    async fn ask(&self, seen: Option<Monotonic>) -> Option<Arc<Known>> {
        let mut attempted = self.attempted.lock().await;
        let newer = self.known.load_full().filter(|known| seen.is_none_or(|seen| known.fetched > seen));
        if let Some(known) = newer.filter(|known| self.age(known) < self.terms.keys_keep) {
            return Some(known);
        }
        let now = self.clock.monotonic();
        if attempted.is_none_or(|last| now.since(last) >= ATTEMPT_EVERY) {
            *attempted = Some(now);
            match self.discover(now).await {
                Ok(known) => self.known.store(Some(Arc::new(known))),
                Err(error) => tracing::warn!(provider = %self.terms.name, %error, "an identity provider gave no keys"),
            }
        }
        drop(attempted);
        let usable = self.terms.keys_keep + self.terms.keys_grace;
        self.known.load_full().filter(|known| self.age(known) < usable)
    }

    async fn discover(&self, now: Monotonic) -> Result<Known, DiscoveryError> {
        let metadata = Object::parse(&self.metadata().await?).ok_or(DiscoveryError::Form)?;
        if metadata.text("issuer").as_deref() != Some(&*self.terms.issuer) {
            return Err(DiscoveryError::Issuer);
        }
        let endpoint = |name: &str| metadata.text(name).map(|url| self.fetcher.endpoint(&url)).transpose();
        let keys = endpoint("jwks_uri")?.ok_or(DiscoveryError::Missing("jwks_uri"))?;
        let known = Known {
            userinfo: endpoint("userinfo_endpoint")?,
            introspection: endpoint("introspection_endpoint")?,
            keys: KeySet::parse(&keys.fetch(None).await?)?,
            fetched: now,
        };
        let asked = match self.terms.live_check {
            LiveCheck::None => return Ok(known),
            LiveCheck::Userinfo => known.userinfo.is_none().then_some("userinfo_endpoint"),
            LiveCheck::Introspection { .. } => known.introspection.is_none().then_some("introspection_endpoint"),
        };
        asked.map_or(Ok(known), |missing| Err(DiscoveryError::Missing(missing)))
    }

    /// OpenID Connect Discovery, or RFC 8414 where the provider knows only that.
    async fn metadata(&self) -> Result<bytes::Bytes, FetchError> {
        let issuer = self.terms.issuer.trim_end_matches('/');
        let openid = self.fetcher.endpoint(&format!("{issuer}/.well-known/openid-configuration"))?;
        match openid.fetch(None).await {
            Err(FetchError::Status { status: StatusCode::NOT_FOUND, .. }) => {}
            answer => return answer,
        }
        let host = issuer.find("://").map_or(0, |at| at + 3);
        let path = issuer[host..].find('/').map_or(issuer.len(), |at| host + at);
        let (origin, path) = issuer.split_at(path);
        self.fetcher.endpoint(&format!("{origin}/.well-known/oauth-authorization-server{path}"))?.fetch(None).await
    }

    /// Asks the provider whether the token behind `text` still counts, if the settings say so. `user` is whom it names.
    pub(super) async fn live(
        self: &Arc<Self>,
        text: &str,
        kind: TokenKind,
        token: &IdentityToken,
    ) -> Result<(), IdentityError> {
        let ended = || IdentityError::Refused(Refused::new("the provider says that it counts no longer: log in again"));
        if self.terms.live_check == LiveCheck::None {
            return Ok(());
        }
        if kind == TokenKind::Id {
            return Err(IdentityError::Refused(Refused::new(format!(
                "provider `{}` is asked at each exchange, which takes an access token: send that instead of the ID token",
                self.terms.name
            ))));
        }
        let known = self.known().await?;
        let unavailable = || IdentityError::Unavailable(self.terms.name.clone());
        let answer = match (&self.terms.live_check, &known.userinfo, &known.introspection) {
            (LiveCheck::Userinfo, Some(userinfo), _) => userinfo.fetch(Some(bearer(text)?)).await,
            (LiveCheck::Introspection { client_id, .. }, _, Some(introspection)) => {
                let credential = self.basic(client_id).ok_or_else(unavailable)?;
                introspection.submit(credential, introspection_form(text)).await
            }
            _ => return Err(unavailable()),
        };
        let answer = match answer {
            Ok(answer) => Object::parse(&answer).ok_or_else(unavailable)?,
            // RFC 6750 section 3.1: the token itself does not count. Of introspection it would be our own credential.
            Err(FetchError::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. })
                if self.terms.live_check == LiveCheck::Userinfo =>
            {
                return Err(ended());
            }
            Err(error) => {
                tracing::warn!(provider = %self.terms.name, %error, "an identity provider did not answer about a token");
                return Err(unavailable());
            }
        };
        // OIDC Core section 5.3.2: an answer about somebody else is none. Introspection may leave `sub` out.
        let subject = answer.text("sub");
        let same = subject == token.claims.text("sub");
        let lives = match self.terms.live_check {
            LiveCheck::Introspection { .. } => answer.is_true("active") && (same || !answer.has("sub")),
            LiveCheck::None | LiveCheck::Userinfo => same && subject.is_some(),
        };
        if lives { Ok(()) } else { Err(ended()) }
    }

    /// RFC 6749 section 2.3.1.
    fn basic(&self, client_id: &str) -> Option<HeaderValue> {
        let secret = self.client_secret.as_ref()?;
        let encoded = |text: &str| serde_urlencoded::to_string([("", text)]).ok().map(|form| form[1..].to_owned());
        let pair = zeroize::Zeroizing::new(format!("{}:{}", encoded(client_id)?, encoded(secret.expose())?));
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair.as_bytes()))).ok()
    }
}

/// The token was read as base64url with dots, so it can stand in a header as it is.
fn bearer(token: &str) -> Result<HeaderValue, IdentityError> {
    HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| IdentityError::Refused(Refused::new("it is not text")))
}

fn introspection_form(token: &str) -> String {
    format!("token={token}&token_type_hint=access_token")
}
