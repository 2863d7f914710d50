//! An issuer's keys and metadata: asked for, kept for a while, and asked for again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::StatusCode;
use tokio::sync::{Mutex, Semaphore};

use crate::clock::{Clock, Monotonic};
use crate::config::identity::{KeyPlace, SignatureAlgorithm};
use crate::dial::TrustedRoots;
use crate::id::ProviderName;
use crate::identity::fetch::{Endpoint, FetchError, Fetcher};
use crate::identity::jws::IdentityToken;
use crate::identity::keys::{InvalidKeySet, KeySet, KeyUse};
use crate::identity::{IdentityError, Refused, SetupError};
use crate::secret::Secret;
use crate::token::strict_json::Object;

/// How long to wait after an attempt to fetch keys, whatever tokens ask for.
const ATTEMPT_EVERY: Duration = Duration::from_secs(5);
/// How many requests may wait for an issuer's keys at one time: strangers can send tokens by keys that nobody has.
const WAITING_MAX: usize = 64;
const SECRET_BYTES_MAX: usize = 4096;

/// Whose keys, and where they are.
#[derive(Clone, Debug)]
pub(super) struct SourceTerms {
    pub(super) name: ProviderName,
    pub(super) issuer: Box<str>,
    pub(super) place: KeyPlace,
    pub(super) key_use: KeyUse,
    pub(super) algorithms: Vec<SignatureAlgorithm>,
    pub(super) keep: Duration,
    pub(super) grace: Duration,
    /// What the metadata must name besides keys: the endpoint that is asked about tokens.
    pub(super) endpoint: Option<&'static str>,
}

/// An issuer, and what is known of it.
pub(super) struct Source {
    terms: SourceTerms,
    fetcher: Arc<Fetcher>,
    clock: Arc<dyn Clock>,
    known: ArcSwapOption<Known>,
    /// When keys were last asked for. Held while they are, so that all who need them ask once.
    attempted: Mutex<Option<Monotonic>>,
    /// Places to wait for an answer. A token by a known key needs none.
    waiting: Arc<Semaphore>,
}

/// What an issuer published.
struct Known {
    keys: KeySet,
    /// The one that is asked again and again, over connections that are kept.
    endpoint: Option<Endpoint>,
    fetched: Monotonic,
}

/// Why what an issuer publishes is not used.
#[derive(Debug, thiserror::Error)]
enum DiscoveryError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("its metadata is not a JSON object without duplicate names")]
    Form,
    #[error("its metadata names another `issuer` than the settings, or none: they must be equal, letter by letter")]
    Issuer,
    #[error("its metadata has no `{0}`")]
    Missing(&'static str),
    #[error(transparent)]
    Keys(#[from] InvalidKeySet),
}

impl Source {
    pub(super) fn new(terms: SourceTerms, fetcher: Arc<Fetcher>, clock: Arc<dyn Clock>) -> Self {
        Self {
            terms,
            fetcher,
            clock,
            known: ArcSwapOption::empty(),
            attempted: Mutex::new(None),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }

    /// Checks that `token` is signed by this issuer.
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
        // There may be new keys; how often that is looked at does not depend on what tokens say.
        let newer = self.refreshed(Some(known.fetched)).await?;
        if newer.fetched != known.fetched && newer.keys.signed(token) {
            return Ok(());
        }
        Err(IdentityError::Refused(Refused::new(format!(
            "no key of provider `{}` signed it: if the provider has just changed its keys, try again in a few seconds",
            self.terms.name
        ))))
    }

    /// The endpoint that is asked about tokens.
    pub(super) async fn endpoint(self: &Arc<Self>) -> Result<Endpoint, IdentityError> {
        self.known().await?.endpoint.clone().ok_or_else(|| self.unavailable())
    }

    /// Nobody can say.
    pub(super) fn unavailable(&self) -> IdentityError {
        IdentityError::Unavailable(self.terms.name.clone())
    }

    /// What is known, not older than the settings allow.
    async fn known(self: &Arc<Self>) -> Result<Arc<Known>, IdentityError> {
        match self.known.load_full() {
            Some(known) if self.age(&known) < self.terms.keep => Ok(known),
            Some(known) => self.refreshed(Some(known.fetched)).await,
            None => self.refreshed(None).await,
        }
    }

    fn age(&self, known: &Known) -> Duration {
        self.clock.monotonic().since(known.fetched)
    }

    /// Asks the issuer, unless somebody else has since `seen` or a moment ago. While it does not answer, what is known counts a
    /// while longer.
    async fn refreshed(self: &Arc<Self>, seen: Option<Monotonic>) -> Result<Arc<Known>, IdentityError> {
        let place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| self.unavailable())?;
        let this = Arc::clone(self);
        // A task of its own: a caller who goes away must not spoil the attempt that others wait for.
        let asking = tokio::spawn(async move {
            let known = this.ask(seen).await;
            drop(place);
            known
        });
        asking.await.ok().flatten().ok_or_else(|| self.unavailable())
    }

    async fn ask(&self, seen: Option<Monotonic>) -> Option<Arc<Known>> {
        let mut attempted = self.attempted.lock().await;
        let newer = self.known.load_full().filter(|known| seen.is_none_or(|seen| known.fetched > seen));
        if let Some(known) = newer.filter(|known| self.age(known) < self.terms.keep) {
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
        let usable = self.terms.keep + self.terms.grace;
        self.known.load_full().filter(|known| self.age(known) < usable)
    }

    async fn discover(&self, now: Monotonic) -> Result<Known, DiscoveryError> {
        let metadata = match &self.terms.place {
            KeyPlace::File(path) => {
                let keys = self.key_set(&read_document(path)?)?;
                return Ok(Known { keys, endpoint: None, fetched: now });
            }
            KeyPlace::Url(url) => {
                let keys = self.key_set(&self.fetcher.endpoint(url)?.fetch(None).await?)?;
                return Ok(Known { keys, endpoint: None, fetched: now });
            }
            KeyPlace::Discovered => self.openid_metadata().await?,
            KeyPlace::SharedSignals => self.well_known("ssf-configuration").await?,
        };
        let metadata = Object::parse(&metadata).ok_or(DiscoveryError::Form)?;
        if metadata.text("issuer").as_deref() != Some(&*self.terms.issuer) {
            return Err(DiscoveryError::Issuer);
        }
        let named = |name: &'static str| {
            let url = metadata.text(name).ok_or(DiscoveryError::Missing(name))?;
            Ok::<_, DiscoveryError>(self.fetcher.endpoint(&url)?)
        };
        let (keys, endpoint) = (named("jwks_uri")?, self.terms.endpoint.map(named).transpose()?);
        let keys = self.key_set(&keys.fetch(None).await?)?;
        Ok(Known { keys, endpoint, fetched: now })
    }

    fn key_set(&self, document: &[u8]) -> Result<KeySet, InvalidKeySet> {
        KeySet::parse(document, self.terms.key_use)
    }

    /// OpenID Connect Discovery, or RFC 8414 where the issuer knows only that.
    async fn openid_metadata(&self) -> Result<Bytes, FetchError> {
        let issuer = self.terms.issuer.trim_end_matches('/');
        let openid = self.fetcher.endpoint(&format!("{issuer}/.well-known/openid-configuration"))?;
        match openid.fetch(None).await {
            Err(FetchError::Status { status: StatusCode::NOT_FOUND, .. }) => {
                self.well_known("oauth-authorization-server").await
            }
            answer => answer,
        }
    }

    /// The document of that name, which stands between the issuer's host and its path.
    async fn well_known(&self, name: &str) -> Result<Bytes, FetchError> {
        let issuer = self.terms.issuer.trim_end_matches('/');
        let host = issuer.find("://").map_or(0, |at| at + 3);
        let path = issuer[host..].find('/').map_or(issuer.len(), |at| host + at);
        let (origin, path) = issuer.split_at(path);
        self.fetcher.endpoint(&format!("{origin}/.well-known/{name}{path}"))?.fetch(None).await
    }
}

/// A fetcher that believes the web's roots, and those of `ca_file`.
pub(super) fn fetcher(ca_file: Option<&Path>, allow_private: bool) -> Result<Arc<Fetcher>, SetupError> {
    let mut roots = TrustedRoots::web();
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|source| SetupError::Read { path: path.to_owned(), source })?;
        roots = roots.with_pem(&pem).map_err(|_| SetupError::Certificate(path.to_owned()))?;
    }
    Ok(Arc::new(Fetcher::new(&roots, allow_private)))
}

/// The secret that a file holds.
pub(super) fn read_secret(path: &Path) -> Result<Secret<String>, SetupError> {
    let text = std::fs::read_to_string(path).map_err(|source| SetupError::Read { path: path.to_owned(), source })?;
    let text = zeroize::Zeroizing::new(text);
    let secret = text.trim();
    if secret.is_empty() || secret.len() > SECRET_BYTES_MAX {
        return Err(SetupError::ClientSecret(path.to_owned()));
    }
    Ok(Secret::new(secret.to_owned()))
}

/// Files too are read with a limit: whoever writes them need not be who wrote the settings.
fn read_document(path: &Path) -> Result<Vec<u8>, DiscoveryError> {
    use std::io::Read as _;
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        let most = u64::try_from(crate::identity::fetch::DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX);
        std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read(path).map_err(|error| DiscoveryError::Read(path.to_owned(), error))
}
