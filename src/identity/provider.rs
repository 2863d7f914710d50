//! One provider: its metadata and keys, fetched and kept, and what it says when it is asked about a token.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use crate::clock::Clock;
use crate::config::identity::{KeyPlace, LiveCheck, ProviderTerms};
use crate::identity::fetch::{FetchError, basic};
use crate::identity::jws::IdentityToken;
use crate::identity::keys::KeyUse;
use crate::identity::source::{Source, SourceTerms, fetcher, read_secret};
use crate::identity::transmitter::Transmitter;
use crate::identity::user::TokenKind;
use crate::identity::{IdentityError, Refused, SetupError};
use crate::secret::Secret;
use crate::token::strict_json::Object;

/// A provider, and what is known of it.
pub(super) struct Provider {
    pub(super) terms: ProviderTerms,
    pub(super) source: Arc<Source>,
    /// Of introspection.
    client_secret: Option<Secret<String>>,
    pub(super) transmitter: Option<Transmitter>,
}

impl Provider {
    pub(super) fn open(terms: ProviderTerms, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let (client_secret, endpoint) = match &terms.live_check {
            LiveCheck::None => (None, None),
            LiveCheck::Userinfo => (None, Some("userinfo_endpoint")),
            LiveCheck::Introspection { client_secret_file, .. } => {
                (Some(read_secret(client_secret_file)?), Some("introspection_endpoint"))
            }
        };
        let source = SourceTerms {
            name: terms.name.clone(),
            issuer: terms.issuer.clone(),
            place: KeyPlace::Discovered,
            key_use: KeyUse::Signatures,
            algorithms: terms.algorithms.clone(),
            keep: terms.keys_keep,
            grace: terms.keys_grace,
            endpoint,
        };
        let fetcher = fetcher(terms.ca_file.as_deref(), terms.allow_private)?;
        let transmitter = Transmitter::open(&terms, &fetcher, &clock)?;
        Ok(Self { source: Arc::new(Source::new(source, fetcher, clock)), terms, client_secret, transmitter })
    }

    /// Asks the provider whether the token behind `text` still counts, if the settings say so. `user` is whom it names.
    pub(super) async fn live(&self, text: &str, kind: TokenKind, token: &IdentityToken) -> Result<(), IdentityError> {
        let ended = || IdentityError::Refused(Refused::new("the provider says that it counts no longer: log in again"));
        if self.terms.live_check == LiveCheck::None {
            return Ok(());
        }
        if kind != TokenKind::Access {
            return Err(IdentityError::Refused(Refused::new(format!(
                "provider `{}` is asked at each exchange, which takes an access token: send that instead",
                self.terms.name
            ))));
        }
        let unavailable = || self.source.unavailable();
        let answer = match &self.terms.live_check {
            LiveCheck::None => return Ok(()),
            LiveCheck::Userinfo => self.source.endpoint().await?.fetch(Some(bearer(text)?)).await,
            LiveCheck::Introspection { client_id, .. } => {
                let secret = self.client_secret.as_ref().ok_or_else(unavailable)?;
                let credential = basic(client_id, secret.expose()).ok_or_else(unavailable)?;
                self.source.endpoint().await?.submit(credential, introspection_form(text)).await
            }
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
}

/// The token was read as base64url with dots, so it can stand in a header as it is.
fn bearer(token: &str) -> Result<HeaderValue, IdentityError> {
    HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| IdentityError::Refused(Refused::new("it is not text")))
}

fn introspection_form(token: &str) -> String {
    format!("token={token}&token_type_hint=access_token")
}
