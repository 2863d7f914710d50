//! Signing in at a provider, as a confidential client: authorization code with PKCE (RFC 9700), and the ID token that comes of it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::{Mutex, Semaphore};

use crate::clock::{Clock, Monotonic, Timestamp};
use crate::config::identity::ProviderTerms;
use crate::config::sign_in::SignInTerms;
use crate::identity::fetch::{Endpoint, FetchError, Fetcher, basic};
use crate::identity::jws::IdentityToken;
use crate::identity::provider::Provider;
use crate::identity::source::{fetcher, read_secret};
use crate::identity::{IdentityError, Providers, Refused, SetupError, TokenKind, VerifiedIdentity, user};
use crate::key::sha256;
use crate::secret::Secret;
use crate::token::strict_json::Object;

/// How long what the provider publishes about its endpoints is kept.
const KEEP: Duration = Duration::from_secs(300);
/// How many sign-ins may wait for the provider at one time: anybody can begin one.
const WAITING_MAX: usize = 16;

/// Where operators sign in.
pub struct SignIn {
    /// On what terms.
    pub terms: SignInTerms,
    provider: Arc<Provider>,
    /// What is expected of the ID token: as of any of the provider's, but for this client alone.
    id_token: ProviderTerms,
    fetcher: Arc<Fetcher>,
    secret: Secret<String>,
    clock: Arc<dyn Clock>,
    known: Mutex<Option<(Monotonic, Arc<Published>)>>,
    waiting: Semaphore,
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignIn({})", self.terms.provider)
    }
}

/// What a sign-in that was begun needs to be finished. Whoever holds it can finish it, with the provider's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Comes back with the answer.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// What the code is redeemed with (RFC 7636).
    pub verifier: String,
}

/// What the provider's answer says (RFC 6749 section 4.1.2, RFC 9207).
#[derive(Clone, Debug)]
pub struct Answer {
    /// The code.
    pub code: String,
    /// Who answers.
    pub iss: Option<String>,
}

struct Published {
    authorization: Box<str>,
    token: Endpoint,
    /// Whether every answer says who answers.
    names_issuer: bool,
}

impl SignIn {
    /// Reads the files that the settings name.
    pub fn open(
        terms: &SignInTerms,
        providers: &Providers,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, SetupError> {
        let Some(provider) = providers.openid.iter().find(|provider| provider.terms.name == terms.provider) else {
            return Ok(None);
        };
        let client_ids = vec![terms.client_id.clone()];
        Ok(Some(Self {
            id_token: ProviderTerms { client_ids, ..provider.terms.clone() },
            fetcher: fetcher(provider.terms.ca_file.as_deref(), provider.terms.allow_private)?,
            provider: Arc::clone(provider),
            secret: read_secret(&terms.client_secret_file)?,
            terms: terms.clone(),
            clock: Arc::clone(clock),
            known: Mutex::new(None),
            waiting: Semaphore::new(WAITING_MAX),
        }))
    }

    /// Where the browser goes first.
    pub async fn authorization_url(&self, redirect: &str, attempt: &Attempt) -> Result<String, IdentityError> {
        let _place = self.waiting.try_acquire().map_err(|_| self.unavailable())?;
        let published = self.published().await?;
        let (scope, challenge) =
            (self.terms.scopes.join(" "), URL_SAFE_NO_PAD.encode(sha256(attempt.verifier.as_bytes())));
        // Where the login's age matters, the provider must say it.
        let max_age = self.id_token.login_age_max.map(|age| age.as_secs().to_string());
        let mut asked = vec![
            ("response_type", "code"),
            ("client_id", &self.terms.client_id),
            ("redirect_uri", redirect),
            ("scope", &scope),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        asked.extend(max_age.as_deref().map(|age| ("max_age", age)));
        let query = form(&asked);
        let url = &published.authorization;
        let joined = if url.contains('?') { '&' } else { '?' };
        Ok(format!("{url}{joined}{query}"))
    }

    /// Who signed in: redeems the code, and reads the ID token that comes for it.
    pub async fn redeem(
        &self,
        redirect: &str,
        attempt: &Attempt,
        answer: &Answer,
        now: Timestamp,
    ) -> Result<VerifiedIdentity, IdentityError> {
        let _place = self.waiting.try_acquire().map_err(|_| self.unavailable())?;
        let published = self.published().await?;
        let refused = |what: &'static str| IdentityError::Refused(Refused::new(what));
        match &answer.iss {
            Some(iss) if **iss == *self.id_token.issuer => {}
            None if !published.names_issuer => {}
            // A code of another provider must not be sent to this one (RFC 9207).
            Some(_) | None => return Err(refused("the answer came from another provider, or does not say from which")),
        }
        let body = form(&[
            ("grant_type", "authorization_code"),
            ("code", &answer.code),
            ("redirect_uri", redirect),
            ("code_verifier", &attempt.verifier),
        ]);
        let credential = basic(&self.terms.client_id, self.secret.expose()).ok_or_else(|| self.unavailable())?;
        let reply = published.token.submit(credential, body).await.map_err(|error| {
            tracing::warn!(provider = %self.terms.provider, %error, "a code of a sign-in was not redeemed");
            match error {
                FetchError::Status { status, .. } if status.is_client_error() => {
                    refused("the provider did not redeem its code: sign in again")
                }
                _ => self.unavailable(),
            }
        })?;
        let text = Object::parse(&reply).and_then(|reply| reply.text("id_token"));
        let text = text.ok_or_else(|| refused("the provider sent no ID token: ask for the scope `openid`"))?;
        let token = IdentityToken::parse(&text)?;
        // The login was ours, so the nonce is.
        if token.claims.text("nonce").as_ref() != Some(&attempt.nonce) {
            return Err(refused("its `nonce` is another sign-in's"));
        }
        let identity = user::identity(&token, TokenKind::Id, &self.id_token, now)?;
        self.provider.source.signed(&token).await?;
        Ok(identity)
    }

    fn unavailable(&self) -> IdentityError {
        IdentityError::Unavailable(self.terms.provider.clone())
    }

    /// What the provider publishes. Asked for by one at a time.
    async fn published(&self) -> Result<Arc<Published>, IdentityError> {
        let mut known = self.known.lock().await;
        let now = self.clock.monotonic();
        if let Some((at, published)) = &*known
            && now.since(*at) < KEEP
        {
            return Ok(Arc::clone(published));
        }
        let published = self.discover().await.map_err(|error| {
            tracing::warn!(provider = %self.terms.provider, error, "nobody can sign in");
            self.unavailable()
        })?;
        let published = Arc::new(published);
        *known = Some((now, Arc::clone(&published)));
        Ok(published)
    }

    async fn discover(&self) -> Result<Published, String> {
        let issuer = &self.id_token.issuer;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let said = |error: FetchError| error.to_string();
        let metadata = self.fetcher.endpoint(&url).map_err(said)?.fetch(None).await.map_err(said)?;
        let metadata = Object::parse(&metadata).ok_or("its metadata is not a JSON object")?;
        if metadata.text("issuer").as_deref() != Some(&**issuer) {
            return Err("its metadata names another `issuer` than the settings".into());
        }
        let authorization =
            metadata.text("authorization_endpoint").ok_or("its metadata has no `authorization_endpoint`")?;
        // Read as any other URL of the provider's: what a browser is sent to is no more than that.
        self.fetcher.endpoint(&authorization).map_err(said)?;
        let token = metadata.text("token_endpoint").ok_or("its metadata has no `token_endpoint`")?;
        Ok(Published {
            authorization: authorization.into(),
            token: self.fetcher.endpoint(&token).map_err(said)?,
            names_issuer: metadata.is_true("authorization_response_iss_parameter_supported"),
        })
    }
}

/// `application/x-www-form-urlencoded`
fn form(pairs: &[(&str, &str)]) -> String {
    // Expect safety: pairs of texts are encoded.
    serde_urlencoded::to_string(pairs).expect("texts are encoded")
}
