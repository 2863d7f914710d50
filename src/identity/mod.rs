//! Who a user is, by the word of an enterprise's identity provider: its tokens, read and checked. `spec/identity.md`.
//!
//! `IdentityToken -verify-> VerifiedIdentity`: the only way to a user's name. A token is checked by the keys of its own issuer
//! and by no others. Never decides what the user or an agent may do.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::config::identity::{ClaimKind, ProviderTerms, WorkloadTerms};
use crate::id::{ProviderName, TenantName};
use crate::policy::rules::Type;

mod claims;
mod event;
pub(crate) mod fetch;
mod global;
mod id_jag;
mod jws;
mod keys;
mod logout;
mod provider;
pub mod saml;
pub mod scim;
mod sign_in;
mod source;
pub mod subject_id;
#[cfg(test)]
mod tests;
mod transmitter;
mod user;
mod workload;

pub use event::{Effect, SecurityEvent};
pub use global::RevocationCaller;
pub use id_jag::IdentityGrant;
pub use jws::{IdentityToken, TOKEN_BYTES_MAX};
pub use logout::{Ended, Logout};
pub use sign_in::{Answer, Attempt, SignIn};
pub use transmitter::{PollError, Polled, Poller};
pub use user::{TokenKind, VerifiedIdentity};
pub use workload::VerifiedWorkload;

use provider::Provider;
use saml::SamlProviders;
use workload::WorkloadIssuer;

/// Every provider of the settings.
#[derive(Default)]
pub struct Providers {
    openid: Vec<Arc<Provider>>,
    saml: SamlProviders,
    workloads: Vec<WorkloadIssuer>,
}

impl Providers {
    /// The claims that policies may look at, by any provider. Of two kinds of one name, that of the first provider counts:
    /// a policy that names it is checked with that one.
    pub fn policy_claims(&self) -> BTreeMap<Box<str>, Type> {
        let mut all = BTreeMap::new();
        let openid = self.openid.iter().map(|provider| &provider.terms.policy_claims);
        for (name, kind) in openid.chain(self.saml.policy_claims()).flatten() {
            let kind = match kind {
                ClaimKind::Boolean => Type::Boolean,
                ClaimKind::Integer => Type::Integer,
                ClaimKind::String => Type::Text,
                ClaimKind::Strings => Type::Set(&Type::Text),
            };
            all.entry(name.as_str().into()).or_insert(kind);
        }
        all
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.openid.iter().map(|provider| &provider.terms.name)).entry(&self.saml).finish()
    }
}

/// A token that identifies nobody: what is wrong with it. Begins with `it` or `its`, meaning the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(Cow<'static, str>);

impl Refused {
    fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(what.into())
    }
}

/// Why nobody is identified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The token does not count. Whoever sent it can be told why.
    #[error("the identity token does not count: {0}")]
    Refused(#[from] Refused),
    /// The provider does not answer, so nobody can say. Try again.
    #[error("identity provider `{0}` does not answer: try again, and see the authority's log")]
    Unavailable(ProviderName),
}

impl IdentityError {
    /// A token that counts once came again.
    pub fn seen_before() -> Self {
        Self::Refused(Refused::new("it came before, and counts once"))
    }
}

/// Why a pushed event changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushRefused {
    /// Whoever pushes did not show the secret, or the provider pushes nothing by the settings.
    #[error(
        "send `Authorization: Bearer <secret>`, the one in `signals.push_secret_file`, for a provider with `signals`"
    )]
    Secret,
    /// The token.
    #[error(transparent)]
    Token(IdentityError),
}

/// Why a provider of the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file that its settings name.
    #[error("cannot read {path}, which the settings of an identity provider name: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a root certificate.
    #[error("{0} holds no root certificate in PEM: give the one of the authority that signed the provider's")]
    Certificate(PathBuf),
    /// Not a secret.
    #[error("{0} must hold a secret of 1 to 4096 bytes, and nothing else")]
    ClientSecret(PathBuf),
    /// Not a URL that may be asked.
    #[error(
        "`signals.poll_url` of identity provider `{0}` is not an https URL (or http on this machine, with `allow_private`)"
    )]
    PollUrl(ProviderName),
    /// Not the certificate of a SAML provider.
    #[error("{path} {reason}")]
    SamlKey {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: saml::InvalidSamlKey,
    },
}

/// As how many kinds of a provider's token `text` could be read at `now` if its signature held: for whoever tests the readers.
#[doc(hidden)]
pub fn dangerous_kinds(
    text: &str,
    terms: &ProviderTerms,
    workloads: &WorkloadTerms,
    issuer: &str,
    now: Timestamp,
) -> usize {
    let Ok(token) = IdentityToken::parse(text) else { return 0 };
    let user = |kind| user::identity(&token, kind, terms, now).is_ok_and(|user| user.expires() > now);
    let event = terms.signals.as_ref().is_some_and(|signals| event::event(&token, terms, signals, now).is_ok());
    let kinds = [
        user(TokenKind::Id),
        user(TokenKind::Access),
        logout::logout(&token, terms, now).is_ok(),
        id_jag::grant(&token, terms, issuer, now).is_ok(),
        event,
        workload::is_of(&token, workloads) && workload::check(&token, workloads, now).is_ok(),
    ];
    kinds.iter().filter(|fits| **fits).count()
}

impl Providers {
    /// Reads the files that `terms` name. No provider is asked anything before the first token comes.
    pub fn open(terms: &[ProviderTerms], clock: &Arc<dyn Clock>) -> Result<Self, SetupError> {
        let open = |terms: &ProviderTerms| Provider::open(terms.clone(), Arc::clone(clock)).map(Arc::new);
        let openid = terms.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { openid, ..Self::default() })
    }

    /// With those that speak SAML.
    pub fn with_saml(self, saml: SamlProviders) -> Self {
        Self { saml, ..self }
    }

    /// With those who vouch for workloads. Reads the files that `terms` name.
    pub fn with_workloads(self, terms: &[WorkloadTerms], clock: &Arc<dyn Clock>) -> Result<Self, SetupError> {
        let open = |terms: &WorkloadTerms| WorkloadIssuer::open(terms.clone(), Arc::clone(clock));
        Ok(Self { workloads: terms.iter().map(open).collect::<Result<_, _>>()?, ..self })
    }

    /// The workload that `text` identifies at `now`; `None` if it is no token of a workload issuer of the settings.
    pub async fn workload(&self, text: &str, now: Timestamp) -> Option<Result<VerifiedWorkload, IdentityError>> {
        if self.workloads.is_empty() {
            return None;
        }
        let token = IdentityToken::parse(text).ok()?;
        let mut of_issuer = self.workloads.iter().filter(|issuer| workload::is_of(&token, &issuer.terms));
        let first = of_issuer.next()?;
        // Several have different audiences.
        let mut all = std::iter::once(first).chain(of_issuer);
        let issuer = all.find(|issuer| workload::is_for(&token, &issuer.terms)).unwrap_or(first);
        Some(issuer.verify(token, now).await)
    }

    /// Whether `name` vouches for workloads of `tenant`.
    pub fn vouches_for_workloads(&self, name: &ProviderName, tenant: &TenantName) -> bool {
        self.workloads.iter().any(|issuer| issuer.terms.name == *name && issuer.terms.tenant == *tenant)
    }

    /// Whether users of `tenant` are known by a provider.
    pub fn speak_for(&self, tenant: &TenantName) -> bool {
        self.openid.iter().any(|provider| provider.terms.tenant == *tenant) || self.saml.speak_for(tenant)
    }

    /// Which kind of token `text` is by its `typ`, where only one can be meant. Says nothing of whether it counts.
    pub fn kind(&self, text: &str) -> TokenKind {
        let typ = IdentityToken::parse(text).ok().and_then(|token| token.typ);
        let is_access = typ
            .is_some_and(|typ| *typ != *"jwt" && self.openid.iter().any(|p| p.terms.access_token_types.contains(&typ)));
        if is_access { TokenKind::Access } else { TokenKind::Id }
    }

    /// The user of `tenant` whom a token of `kind` identifies at `now`, the provider asked where the settings say so.
    pub async fn verify(
        &self,
        tenant: &TenantName,
        text: &str,
        kind: TokenKind,
        now: Timestamp,
    ) -> Result<VerifiedIdentity, IdentityError> {
        if kind == TokenKind::Saml {
            return Ok(self.saml.verify(tenant, text, now)?);
        }
        let token = IdentityToken::parse(text)?;
        let provider = self.of_issuer(tenant, &token)?;
        // What costs nothing first; of a token that nobody signed no more is told than of one that somebody did.
        let identity = user::identity(&token, kind, &provider.terms, now)?;
        provider.source.signed(&token).await?;
        provider.live(text, kind, &token).await?;
        Ok(identity)
    }

    /// What an event token that was pushed for provider `name` says; `None` if there is no such provider. `secret` is what whoever
    /// pushes has shown.
    pub async fn pushed(
        &self,
        name: &ProviderName,
        secret: Option<&str>,
        text: &str,
        now: Timestamp,
    ) -> Option<Result<SecurityEvent, PushRefused>> {
        let provider = self.openid.iter().find(|provider| provider.terms.name == *name)?;
        if !provider.may_push(secret) {
            return Some(Err(PushRefused::Secret));
        }
        Some(provider.event(text, now).await.map_err(PushRefused::Token))
    }

    /// The transmitters that are to be polled.
    pub fn pollers(&self) -> Vec<Poller> {
        self.openid.iter().filter_map(Poller::of).collect()
    }

    /// What a provider of `tenant` grants by an identity assertion for the authority `issuer`.
    pub async fn grant(
        &self,
        tenant: &TenantName,
        text: &str,
        issuer: &str,
        now: Timestamp,
    ) -> Result<IdentityGrant, IdentityError> {
        let token = IdentityToken::parse(text)?;
        let provider = self.of_issuer(tenant, &token)?;
        let grant = id_jag::grant(&token, &provider.terms, issuer, now)?;
        provider.source.signed(&token).await?;
        provider.live(text, TokenKind::Id, &token).await?;
        Ok(grant)
    }

    fn of_issuer(&self, tenant: &TenantName, token: &IdentityToken) -> Result<&Arc<Provider>, Refused> {
        let issuer = token.issuer();
        let of_issuer = |provider: &&Arc<Provider>| {
            provider.terms.tenant == *tenant && issuer.as_deref() == Some(&*provider.terms.issuer)
        };
        self.openid.iter().find(of_issuer).ok_or_else(|| {
            Refused::new(format!("its `iss` is no identity provider of tenant `{tenant}`: the settings list them"))
        })
    }

    /// What a logout token for provider `name` says has ended; `None` if there is no such provider.
    pub async fn logout(
        &self,
        name: &ProviderName,
        text: &str,
        now: Timestamp,
    ) -> Option<Result<Logout, IdentityError>> {
        let provider = self.openid.iter().find(|provider| provider.terms.name == *name)?;
        Some(provider.logout(text, now).await)
    }
}

impl Providers {
    /// As whose request `text` counts for one of `audience`, if it is signed by provider `name`; `None` if there is no such provider.
    pub async fn revocation_caller(
        &self,
        name: &ProviderName,
        text: &str,
        audience: [&str; 2],
        now: Timestamp,
    ) -> Option<Result<RevocationCaller, IdentityError>> {
        let provider = self.openid.iter().find(|provider| provider.terms.name == *name)?;
        Some(provider.revocation_caller(text, audience, now).await)
    }
}

impl Provider {
    async fn revocation_caller(
        &self,
        text: &str,
        audience: [&str; 2],
        now: Timestamp,
    ) -> Result<RevocationCaller, IdentityError> {
        let token = IdentityToken::parse(text)?;
        let caller = global::caller(&token, &self.terms, audience, now)?;
        self.source.signed(&token).await?;
        Ok(caller)
    }

    async fn logout(&self, text: &str, now: Timestamp) -> Result<Logout, IdentityError> {
        let token = IdentityToken::parse(text)?;
        let logout = logout::logout(&token, &self.terms, now)?;
        self.source.signed(&token).await?;
        Ok(logout)
    }
}
