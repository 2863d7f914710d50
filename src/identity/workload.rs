//! A workload, as the platform that it runs on names it: a SPIFFE JWT-SVID, a Kubernetes service-account token, the token of
//! a CI job.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::config::identity::{KeyPlace, KnownBy, Reuse, WorkloadTerms};
use crate::id::{ProviderName, TenantName, WorkloadSubject};
use crate::identity::claims::{audiences, jti, message_id, not_ahead, time};
use crate::identity::jws::IdentityToken;
use crate::identity::keys::KeyUse;
use crate::identity::source::{Source, SourceTerms, fetcher};
use crate::identity::user::bound_to;
use crate::identity::{IdentityError, Refused, SetupError};
use crate::token::strict_json::Object;

/// What only the tokens of users have.
const OF_USERS: [&str; 8] = ["events", "act", "may_act", "nonce", "auth_time", "sid", "at_hash", "c_hash"];

/// A workload issuer, and what is known of it.
pub(super) struct WorkloadIssuer {
    pub(super) terms: WorkloadTerms,
    source: Arc<Source>,
}

/// A workload, for which its platform has just vouched. Never a user.
#[derive(Debug)]
pub struct VerifiedWorkload {
    /// Who vouched.
    pub issuer: ProviderName,
    /// The tenant in which it may be an agent.
    pub tenant: TenantName,
    /// Which workload it is, letter by letter.
    pub subject: WorkloadSubject,
    /// The longest life of a writ that is given for it.
    pub writ_ttl_max: Duration,
    /// Names the token.
    pub id: [u8; 32],
    /// Until when the token could come again.
    pub until: Timestamp,
    /// Whether the token counts once; otherwise again and again for one key.
    pub reuse: Reuse,
    /// The thumbprint of the key that whoever presents the token must prove, if it is bound to one.
    pub bound_to: Option<String>,
    claims: Object,
}

impl VerifiedWorkload {
    /// Whether its token says exactly `value` in the claim `name`.
    pub fn says(&self, name: &str, value: &str) -> bool {
        self.claims.text(name).as_deref() == Some(value)
    }

    /// Whether it is named by a SPIFFE id.
    pub fn is_spiffe(&self) -> bool {
        trust_domain(self.subject.as_str()).is_some()
    }
}

impl WorkloadIssuer {
    pub(super) fn open(terms: WorkloadTerms, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let (issuer, key_use) = match &terms.known_by {
            KnownBy::Issuer(issuer) => (issuer.clone(), KeyUse::Signatures),
            KnownBy::TrustDomain(domain) => (domain.clone(), KeyUse::JwtSvids),
        };
        if let KeyPlace::File(path) = &terms.keys {
            // A file that is not there is a mistake in the settings, not an issuer that does not answer.
            std::fs::metadata(path).map_err(|source| SetupError::Read { path: path.clone(), source })?;
        }
        let source = SourceTerms {
            name: terms.name.clone(),
            issuer,
            place: terms.keys.clone(),
            key_use,
            algorithms: terms.algorithms.clone(),
            keep: terms.keys_keep,
            grace: terms.keys_grace,
            endpoint: None,
        };
        let fetcher = fetcher(terms.ca_file.as_deref(), terms.allow_private)?;
        Ok(Self { source: Arc::new(Source::new(source, fetcher, clock)), terms })
    }

    pub(super) async fn verify(&self, token: IdentityToken, now: Timestamp) -> Result<VerifiedWorkload, IdentityError> {
        // What costs nothing first, as of a user's token.
        check(&token, &self.terms, now)?;
        self.source.signed(&token).await?;
        Ok(workload(token, &self.terms)?)
    }
}

/// The trust domain of a SPIFFE id that names a workload.
fn trust_domain(sub: &str) -> Option<&str> {
    let (domain, path) = sub.strip_prefix("spiffe://")?.split_once('/')?;
    (!path.is_empty()).then_some(domain)
}

/// Whether `token` says that it is by the issuer with these terms.
pub(super) fn is_of(token: &IdentityToken, terms: &WorkloadTerms) -> bool {
    match &terms.known_by {
        KnownBy::Issuer(issuer) => token.issuer().is_some_and(|found| *found == **issuer),
        KnownBy::TrustDomain(domain) => token.claims.text("sub").is_some_and(|sub| trust_domain(&sub) == Some(domain)),
    }
}

/// Whether `token` is for those only for whom this issuer's tokens count.
pub(super) fn is_for(token: &IdentityToken, terms: &WorkloadTerms) -> bool {
    let known = |audience: &String| terms.audiences.iter().any(|accepted| **accepted == **audience);
    audiences(&token.claims).is_ok_and(|found| found.iter().all(known))
}

/// Refuses what is no workload's token, or not one to be used here and now. Whose it is was looked at.
pub(super) fn check(token: &IdentityToken, terms: &WorkloadTerms, now: Timestamp) -> Result<(), Refused> {
    let claims = &token.claims;
    if !is_for(token, terms) {
        return Err(Refused::new(format!(
            "it is for somebody else: each `aud` must be one of `audiences` of workload issuer `{}`, which is this \
             authority's issuer if nothing else is set",
            terms.name
        )));
    }
    // `JOSE` is the other one that JWT-SVID section 2.3 allows.
    if !matches!(token.typ.as_deref(), None | Some("jwt" | "jose")) {
        return Err(Refused::new("its `typ` is not that of a workload's token: `JWT`, `JOSE` or none"));
    }
    if let Some(name) = OF_USERS.iter().find(|name| claims.has(name)) {
        return Err(Refused::new(format!("it has `{name}`, which no workload's token has")));
    }
    let expires = time(claims, "exp")?.ok_or_else(|| Refused::new("its `exp` is missing"))?;
    if expires <= now {
        return Err(Refused::new("it has expired: get a fresh one from the platform"));
    }
    let issued = time(claims, "iat")?;
    for (name, at) in [("iat", issued), ("nbf", time(claims, "nbf")?)] {
        at.map_or(Ok(()), |at| not_ahead(name, at, &terms.name, terms.clock_skew, now))?;
    }
    // JWT-SVIDs need no `iat`: what is left of their life then must be as short.
    if expires.since(issued.unwrap_or(now)) > terms.token_life_max {
        return Err(Refused::new(format!(
            "it lives longer than {} s (`token_life_max_s` of workload issuer `{}`): ask the platform for a shorter one",
            terms.token_life_max.as_secs(),
            terms.name
        )));
    }
    Ok(())
}

/// Reads a token that counts.
fn workload(token: IdentityToken, terms: &WorkloadTerms) -> Result<VerifiedWorkload, Refused> {
    let claims = &token.claims;
    let until = time(claims, "exp")?.ok_or_else(|| Refused::new("its `exp` is missing"))?;
    let subject = claims.text("sub").and_then(|sub| sub.parse().ok());
    // The issuer's own name: what the settings call it may change while a token lives.
    let issuer = match &terms.known_by {
        KnownBy::Issuer(name) | KnownBy::TrustDomain(name) => name,
    };
    let name = if claims.has("jti") { jti(claims)? } else { hex::encode(token.digest()) };
    Ok(VerifiedWorkload {
        issuer: terms.name.clone(),
        tenant: terms.tenant.clone(),
        subject: subject
            .ok_or_else(|| Refused::new("its `sub` is not a text of 1 to 1024 bytes without control characters"))?,
        writ_ttl_max: terms.writ_ttl_max,
        id: message_id("workload", issuer, &name),
        until: until.after(Duration::from_secs(1)),
        reuse: terms.reuse,
        bound_to: bound_to(claims)?,
        claims: token.claims,
    })
}
