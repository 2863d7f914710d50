//! A provider's security events: who transmits them, for whom, and how they come.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{KeyPlace, Refused, check_url};

/// What is expected of a provider's transmitter of Shared Signals. Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalsTerms {
    /// The `iss` of its security event tokens.
    pub issuer: Box<str>,
    /// The `aud` values of those that count.
    pub audiences: Vec<Box<str>>,
    /// Its keys, where they are not the provider's.
    pub keys: Option<KeyPlace>,
    /// The file with the secret that it sends along when it pushes (RFC 8935); `None`: its signature is enough.
    pub push_secret_file: Option<PathBuf>,
    /// How it is polled (RFC 8936).
    pub poll: Option<PollTerms>,
}

/// How a transmitter is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollTerms {
    /// The URL.
    pub url: Box<str>,
    /// The file with the bearer secret that it wants.
    pub secret_file: PathBuf,
    /// How long to wait after an answer without events, and after a failure.
    pub every: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignalsTable {
    issuer: Option<Box<str>>,
    audiences: Vec<Box<str>>,
    jwks_uri: Option<Box<str>>,
    push_secret_file: Option<PathBuf>,
    poll_url: Option<Box<str>>,
    poll_secret_file: Option<PathBuf>,
    poll_every_ms: Option<u64>,
}

impl SignalsTable {
    /// Checked beside the provider with this issuer.
    pub(super) fn checked(self, issuer: &str, allow_private: bool, folder: &Path) -> Result<SignalsTerms, Refused> {
        if self.audiences.is_empty() {
            return Err(("identity.provider.signals.audiences", "must name at least one", "none".into()));
        }
        let other = self.issuer.filter(|other| **other != *issuer);
        if let Some(other) = &other {
            check_url("identity.provider.signals.issuer", other, allow_private)?;
        }
        if let Some(url) = &self.jwks_uri {
            check_url("identity.provider.signals.jwks_uri", url, allow_private)?;
        }
        let poll = match (self.poll_url, self.poll_secret_file) {
            (None, None) => None,
            (Some(url), Some(file)) => {
                check_url("identity.provider.signals.poll_url", &url, allow_private)?;
                Some(PollTerms { url, secret_file: folder.join(file), every: every(self.poll_every_ms)? })
            }
            _ => {
                let rule = "and `poll_secret_file` must be given together";
                return Err(("identity.provider.signals.poll_url", rule, "one of them".into()));
            }
        };
        let keys = match (self.jwks_uri, &other) {
            (Some(url), _) => Some(KeyPlace::Url(url)),
            (None, Some(_)) => Some(KeyPlace::SharedSignals),
            (None, None) => None,
        };
        Ok(SignalsTerms {
            issuer: other.unwrap_or_else(|| issuer.into()),
            audiences: self.audiences,
            keys,
            push_secret_file: self.push_secret_file.map(|file| folder.join(file)),
            poll,
        })
    }
}

fn every(got: Option<u64>) -> Result<Duration, Refused> {
    match got.unwrap_or(1000) {
        got @ 100..=3_600_000 => Ok(Duration::from_millis(got)),
        got => Err(("identity.provider.signals.poll_every_ms", "must be between 100 and 3600000", got.to_string())),
    }
}
