//! A provider's transmitter of security events: what it pushes (RFC 8935), and how it is polled (RFC 8936).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde_json::json;

use crate::clock::{Clock, Timestamp};
use crate::config::identity::{KeyPlace, ProviderTerms};
use crate::id::ProviderName;
use crate::identity::event::event;
use crate::identity::fetch::{Endpoint, FetchError, Fetcher};
use crate::identity::jws::IdentityToken;
use crate::identity::keys::KeyUse;
use crate::identity::provider::Provider;
use crate::identity::source::{Source, SourceTerms, read_secret};
use crate::identity::{IdentityError, Refused, SecurityEvent, SetupError};
use crate::key::sha256;
use crate::secret::Secret;
use crate::token::strict_json::Object;

/// The most events of one answer: as many of the longest as an answer can hold.
const EVENTS_MAX: usize = 10;

pub(super) struct Transmitter {
    /// Of its keys, where they are not the provider's.
    source: Option<Arc<Source>>,
    push_secret: Option<Secret<String>>,
    poll: Option<Poll>,
}

struct Poll {
    endpoint: Endpoint,
    secret: Secret<String>,
    every: Duration,
}

/// A transmitter that is to be polled.
pub struct Poller(Arc<Provider>);

/// What a poll brought.
#[derive(Debug)]
pub struct Polled {
    /// Tokens by their `jti`, as the transmitter has it.
    pub events: Vec<(String, String)>,
    /// Whether there are more.
    pub more: bool,
}

/// Why a poll brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// No answer.
    #[error("{0}")]
    Fetch(String),
    /// Not an answer of RFC 8936.
    #[error("the answer is not a JSON object whose `sets` is an object of at most 10 texts")]
    Form,
}

impl From<FetchError> for PollError {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error.to_string())
    }
}

impl Transmitter {
    pub(super) fn open(
        terms: &ProviderTerms,
        fetcher: &Arc<Fetcher>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Self>, SetupError> {
        let Some(signals) = &terms.signals else { return Ok(None) };
        let source = |place: &KeyPlace| {
            let source = SourceTerms {
                name: terms.name.clone(),
                issuer: signals.issuer.clone(),
                place: place.clone(),
                key_use: KeyUse::Signatures,
                algorithms: terms.algorithms.clone(),
                keep: terms.keys_keep,
                grace: terms.keys_grace,
                endpoint: None,
            };
            Arc::new(Source::new(source, Arc::clone(fetcher), Arc::clone(clock)))
        };
        let poll = match &signals.poll {
            None => None,
            Some(poll) => Some(Poll {
                endpoint: fetcher.endpoint(&poll.url).map_err(|_| SetupError::PollUrl(terms.name.clone()))?,
                secret: read_secret(&poll.secret_file)?,
                every: poll.every,
            }),
        };
        let push_secret = signals.push_secret_file.as_deref().map(read_secret).transpose()?;
        Ok(Some(Self { source: signals.keys.as_ref().map(source), push_secret, poll }))
    }
}

impl Provider {
    /// What an event token says, if it is by this provider's transmitter.
    pub(super) async fn event(&self, text: &str, now: Timestamp) -> Result<SecurityEvent, IdentityError> {
        let no_signals = || Refused::new("this provider has no `signals` in the settings");
        let (signals, transmitter) =
            self.terms.signals.as_ref().zip(self.transmitter.as_ref()).ok_or_else(no_signals)?;
        let token = IdentityToken::parse(text)?;
        let event = event(&token, &self.terms, signals, now)?;
        transmitter.source.as_ref().unwrap_or(&self.source).signed(&token).await?;
        Ok(event)
    }

    /// Whether whoever pushes shows the secret that the settings want, if they want one.
    pub(super) fn may_push(&self, secret: Option<&str>) -> bool {
        let Some(transmitter) = &self.transmitter else { return false };
        match (&transmitter.push_secret, secret) {
            (None, _) => true,
            // Digests: comparing them tells nothing about the secret.
            (Some(wanted), Some(shown)) => sha256(wanted.expose().as_bytes()) == sha256(shown.as_bytes()),
            (Some(_), None) => false,
        }
    }
}

impl Poller {
    /// One for a provider that is to be polled.
    pub(super) fn of(provider: &Arc<Provider>) -> Option<Self> {
        provider.transmitter.as_ref()?.poll.as_ref()?;
        Some(Self(Arc::clone(provider)))
    }

    /// The provider.
    pub fn provider(&self) -> &ProviderName {
        &self.0.terms.name
    }

    /// How long to wait after an answer without events, and after a failure.
    pub fn every(&self) -> Duration {
        self.poll().map_or(Duration::from_secs(1), |poll| poll.every)
    }

    fn poll(&self) -> Option<&Poll> {
        self.0.transmitter.as_ref()?.poll.as_ref()
    }

    /// What the token `text` says.
    pub async fn read(&self, text: &str, now: Timestamp) -> Result<SecurityEvent, IdentityError> {
        self.0.event(text, now).await
    }

    /// Asks for events, waiting for some if there are none, and says of earlier ones which are done with (`acks`) and which do
    /// not count (`refused`, by `jti`, with the reason).
    pub async fn ask(&self, acks: &[String], refused: &BTreeMap<String, String>) -> Result<Polled, PollError> {
        let poll = self.poll().ok_or(PollError::Form)?;
        let errors: BTreeMap<_, _> =
            refused.iter().map(|(jti, why)| (jti, json!({ "err": "invalid_request", "description": why }))).collect();
        let mut request = json!({ "maxEvents": EVENTS_MAX, "returnImmediately": false, "ack": acks });
        if !errors.is_empty() {
            request["setErrs"] = json!(errors);
        }
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", poll.secret.expose()));
        let bearer = HeaderValue::from_str(&bearer).map_err(|_| PollError::Form)?;
        let answer = poll.endpoint.poll(bearer, request.to_string()).await?;
        read_answer(&answer).ok_or(PollError::Form)
    }
}

fn read_answer(answer: &[u8]) -> Option<Polled> {
    let answer = Object::parse(answer)?;
    if !answer.has("sets") {
        return Some(Polled { events: Vec::new(), more: answer.is_true("moreAvailable") });
    }
    let sets = answer.object("sets").filter(|sets| sets.len() <= EVENTS_MAX)?;
    let events = sets.names().map(|jti| Some((jti.to_owned(), sets.text(jti)?))).collect::<Option<Vec<_>>>()?;
    Some(Polled { events, more: answer.is_true("moreAvailable") })
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Poller({})", self.provider())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_tokens_by_their_names_and_no_more_than_were_asked_for() {
        let read = |text: &str| read_answer(text.as_bytes()).map(|polled| (polled.events.len(), polled.more));
        assert_eq!(read(r#"{"sets":{}}"#), Some((0, false)));
        assert_eq!(read("{}"), Some((0, false)));
        assert_eq!(read(r#"{"sets":{"a":"x.y.z"},"moreAvailable":true}"#), Some((1, true)));
        let many: BTreeMap<_, _> = (0..=EVENTS_MAX).map(|n| (n.to_string(), "x")).collect();
        assert_eq!(read(&json!({ "sets": many }).to_string()), None);
        for text in ["", "[]", r#"{"sets":[]}"#, r#"{"sets":{"a":7}}"#, r#"{"sets":{"a":"x","a":"y"}}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
