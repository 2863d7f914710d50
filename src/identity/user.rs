//! A user, as an ID token or an access token names them: for whom it was made, when, and about whom. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::identity::{ClaimKind, ProviderTerms, Reuse};
use crate::id::{Group, ProviderName, Subject, TenantName};
use crate::identity::Refused;
use crate::identity::claims::{audiences, check_issuer, named, not_ahead, time};
use crate::identity::jws::IdentityToken;
use crate::token::claims::{CLAIMS_MAX, Claim, ClaimName, ClaimValue};
use crate::token::strict_json::Object;

/// Which kind of token is expected. One kind never passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An OpenID Connect ID token.
    Id,
    /// A JWT access token (RFC 9068).
    Access,
    /// A SAML 2.0 assertion.
    Saml,
}

/// A user, for whom a provider has just vouched. Only [`Providers::verify`](crate::identity::Providers::verify) makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedIdentity {
    pub(super) provider: ProviderName,
    pub(super) tenant: TenantName,
    pub(super) subject: Subject,
    pub(super) groups: Vec<Group>,
    pub(super) claims: Vec<Claim>,
    pub(super) session: Option<Subject>,
    pub(super) login: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) writ_ttl_max: Duration,
    pub(super) clock_skew: Duration,
    pub(super) digest: [u8; 32],
    pub(super) single_use: bool,
    pub(super) bound_to: Option<String>,
    pub(super) may_act: Option<String>,
}

impl VerifiedIdentity {
    /// Who vouched.
    pub const fn provider(&self) -> &ProviderName {
        &self.provider
    }

    /// The tenant whose user it is.
    pub const fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// The user.
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The groups that the token names. Groups that it only points to (`_claim_names`) are none.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// What the provider says of the login, for policies; its own name among it. By name.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// The session it came from.
    pub const fn session(&self) -> Option<&Subject> {
        self.session.as_ref()
    }

    /// Whether the user logged in after `ended`, for all that the provider's clock may be ahead.
    pub fn is_later_than(&self, ended: Timestamp) -> bool {
        self.login > ended.after(self.clock_skew)
    }

    /// From when on the token is worth nothing.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The longest life of a writ that is given for it.
    pub const fn writ_ttl_max(&self) -> Duration {
        self.writ_ttl_max
    }

    /// Names the token.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether the token may be exchanged once only.
    pub const fn is_single_use(&self) -> bool {
        self.single_use
    }

    /// The thumbprint of the key that whoever presents the token must prove, if it is bound to one.
    pub fn bound_to(&self) -> Option<&str> {
        self.bound_to.as_deref()
    }

    /// The only client that may act for the user, if the token names one.
    pub fn may_act(&self) -> Option<&str> {
        self.may_act.as_deref()
    }
}

/// Reads a token of `kind` whose signature holds.
pub(crate) fn identity(
    token: &IdentityToken,
    kind: TokenKind,
    terms: &ProviderTerms,
    now: Timestamp,
) -> Result<VerifiedIdentity, Refused> {
    let claims = &token.claims;
    check_kind(token, kind, terms)?;
    check_issuer(claims, &terms.issuer)?;
    check_audiences(claims, kind, terms)?;
    vouched_for(token, terms, now)
}

/// Reads whom a token identifies whose kind, issuer and audience fit.
pub(super) fn vouched_for(
    token: &IdentityToken,
    terms: &ProviderTerms,
    now: Timestamp,
) -> Result<VerifiedIdentity, Refused> {
    let claims = &token.claims;
    let (issued, expires) = times(claims, terms, now)?;
    if claims.has("act") {
        return Err(Refused::new(
            "it says by `act` that somebody acts for the user already: send the user's own token",
        ));
    }
    let login = login(claims, terms, now)?;
    Ok(VerifiedIdentity {
        provider: terms.name.clone(),
        tenant: terms.tenant.clone(),
        subject: named(claims, &terms.claims.user, terms)?
            .ok_or_else(|| Refused::new(format!("its claim `{}` is missing", terms.claims.user)))?,
        groups: groups(claims, &terms.claims.groups)?,
        claims: for_policies(&terms.name, &terms.policy_claims, |name, kind| Ok(for_policy(claims, name, kind)))?,
        session: named(claims, &terms.claims.session, terms)?,
        login: login.unwrap_or(issued),
        expires,
        writ_ttl_max: terms.writ_ttl_max,
        clock_skew: terms.clock_skew,
        digest: token.digest(),
        single_use: terms.reuse == Reuse::Once,
        bound_to: bound_to(claims)?,
        may_act: may_act(claims)?,
    })
}

/// Each kind by what it must have and what only others have: an audience alone is a setting that can be wrong.
fn check_kind(token: &IdentityToken, kind: TokenKind, terms: &ProviderTerms) -> Result<(), Refused> {
    let typ = token.typ.as_deref();
    // Keycloak says in a claim what it is: `ID`, `Bearer`, `Refresh`, `Logout`.
    let says = token.claims.text("typ");
    if token.claims.has("events") {
        return Err(Refused::new("it is a security event or a logout token, which identifies nobody"));
    }
    match kind {
        TokenKind::Id if !matches!(typ, None | Some("jwt")) || says.as_ref().is_some_and(|says| says != "ID") => {
            Err(Refused::new("it is no ID token by its `typ`: say by `subject_token_type` what it is"))
        }
        TokenKind::Access if !terms.access_token_types.iter().any(|accepted| typ == Some(accepted)) => {
            Err(Refused::new(format!(
                "its `typ` is not that of an access token (RFC 9068): \
                 `access_token_types` of provider `{}` lists those that count",
                terms.name
            )))
        }
        TokenKind::Access if says.is_some_and(|says| says != "Bearer") => {
            Err(Refused::new("it is no access token by its claim `typ`: say by `subject_token_type` what it is"))
        }
        TokenKind::Saml => Err(Refused::new("it is no SAML assertion: say by `subject_token_type` what it is")),
        TokenKind::Id | TokenKind::Access => Ok(()),
    }
}

/// Every audience must be one that is configured: whoever else is meant could have brought it here.
fn check_audiences(claims: &Object, kind: TokenKind, terms: &ProviderTerms) -> Result<(), Refused> {
    let (accepted, setting) = match kind {
        TokenKind::Id => (&terms.client_ids, "client_ids"),
        TokenKind::Access | TokenKind::Saml => (&terms.audiences, "audiences"),
    };
    let found = audiences(claims)?;
    let known = |audience: &String| accepted.iter().any(|accepted| **accepted == **audience);
    if !found.iter().all(known) {
        return Err(Refused::new(format!(
            "it is for somebody else: each `aud` must be one of `{setting}` of provider `{}`",
            terms.name
        )));
    }
    // OIDC Core section 3.1.3.7.
    if kind == TokenKind::Id {
        let party = claims.text("azp");
        let party_fits = party.as_ref().map_or(!claims.has("azp") && found.len() == 1, known);
        if !party_fits {
            return Err(Refused::new("its `azp` is missing beside several audiences, or is not one of `client_ids`"));
        }
    }
    Ok(())
}

/// When it was made and when it ends. The end has no allowance: a writ never outlives what it was given for.
fn times(claims: &Object, terms: &ProviderTerms, now: Timestamp) -> Result<(Timestamp, Timestamp), Refused> {
    let expires = time(claims, "exp")?.ok_or_else(|| Refused::new("its `exp` is missing"))?;
    if expires <= now {
        return Err(Refused::new("it has expired: get a fresh one from the provider"));
    }
    let issued = time(claims, "iat")?.ok_or_else(|| Refused::new("its `iat` is missing"))?;
    not_ahead("iat", issued, &terms.name, terms.clock_skew, now)?;
    if now.since(issued) > terms.token_age_max {
        return Err(Refused::new(format!(
            "it is older than {} s (`token_age_max_s` of provider `{}`): get a fresh one from the provider",
            terms.token_age_max.as_secs(),
            terms.name
        )));
    }
    if let Some(not_before) = time(claims, "nbf")? {
        not_ahead("nbf", not_before, &terms.name, terms.clock_skew, now)?;
    }
    Ok((issued, expires))
}

fn login(claims: &Object, terms: &ProviderTerms, now: Timestamp) -> Result<Option<Timestamp>, Refused> {
    let login = time(claims, "auth_time")?;
    if let Some(login) = login {
        not_ahead("auth_time", login, &terms.name, terms.clock_skew, now)?;
    }
    let Some(age_max) = terms.login_age_max else { return Ok(login) };
    match login {
        None => Err(Refused::new(format!(
            "its `auth_time` is missing, which `login_age_max_s` of provider `{}` asks for: request it with `max_age`",
            terms.name
        ))),
        Some(login) if now.since(login) > age_max => {
            Err(Refused::new(format!("the login is older than {} s: log in again", age_max.as_secs())))
        }
        login => Ok(login),
    }
}

fn groups(claims: &Object, claim: &str) -> Result<Vec<Group>, Refused> {
    if !claims.has(claim) {
        return Ok(Vec::new());
    }
    let groups = claims.texts(claim).and_then(|groups| groups.iter().map(|group| group.parse().ok()).collect());
    groups.ok_or_else(|| Refused::new(format!("its claim `{claim}` is not a list of group names")))
}

/// The claims that policies may look at. One of another kind than the settings say is no claim that is missing: a forbid could be
/// about it.
pub(super) fn for_policies(
    provider: &ProviderName,
    wanted: &BTreeMap<ClaimName, ClaimKind>,
    read: impl Fn(&str, ClaimKind) -> Result<Said, Refused>,
) -> Result<Vec<Claim>, Refused> {
    let mut found = vec![ClaimValue::provider(provider)];
    for (name, kind) in wanted {
        match read(name.as_str(), *kind)? {
            Said::Nothing => {}
            Said::Value(value) => found.push(Claim { name: name.clone(), value }),
            Said::Otherwise => {
                return Err(Refused::new(format!(
                    "its claim `{}` is not of the kind that `policy_claims` of provider `{provider}` says",
                    name.as_str()
                )));
            }
        }
    }
    if found.iter().map(|claim| claim.value.facts()).sum::<usize>() > CLAIMS_MAX {
        return Err(Refused::new("its claims for policies are more than 16 values: name fewer in `policy_claims`"));
    }
    found.sort_unstable();
    Ok(found)
}

/// What a provider says of a user under a name that policies may look at.
pub(super) enum Said {
    /// Nothing.
    Nothing,
    /// This.
    Value(ClaimValue),
    /// Something of another kind.
    Otherwise,
}

impl Said {
    /// Texts, as a value of this kind. No text at all says as little as no claim.
    pub(super) fn texts(texts: Vec<String>) -> Self {
        if texts.is_empty() {
            return Self::Nothing;
        }
        let text = |text: String| ClaimValue::is_text(&text).then(|| text.into_boxed_str());
        let texts = texts.into_iter().map(text).collect::<Option<Vec<_>>>();
        texts.map(ClaimValue::strings).map_or(Self::Otherwise, Self::Value)
    }

    /// One text.
    pub(super) fn text(text: String) -> Self {
        if ClaimValue::is_text(&text) { Self::Value(ClaimValue::String(text.into())) } else { Self::Otherwise }
    }
}

fn for_policy(claims: &Object, name: &str, kind: ClaimKind) -> Said {
    if !claims.has(name) {
        return Said::Nothing;
    }
    let said = match kind {
        ClaimKind::Boolean => claims.boolean(name).map(ClaimValue::Boolean).map(Said::Value),
        ClaimKind::Integer => claims.integer(name).map(ClaimValue::Integer).map(Said::Value),
        ClaimKind::String => claims.text(name).map(Said::text),
        ClaimKind::Strings => claims.texts(name).map(Said::texts),
    };
    said.unwrap_or(Said::Otherwise)
}

/// RFC 7800: a token that is bound to a key counts from the hands of whoever proves that key.
pub(super) fn bound_to(claims: &Object) -> Result<Option<String>, Refused> {
    if !claims.has("cnf") {
        return Ok(None);
    }
    let thumbprint = claims.object("cnf").and_then(|cnf| cnf.text("jkt"));
    thumbprint
        .map(Some)
        .ok_or_else(|| Refused::new("it is bound by `cnf` to something else than a key thumbprint `jkt`"))
}

/// RFC 8693 section 4.4.
fn may_act(claims: &Object) -> Result<Option<String>, Refused> {
    if !claims.has("may_act") {
        return Ok(None);
    }
    let actor = claims.object("may_act").and_then(|actor| actor.text("sub"));
    actor.map(Some).ok_or_else(|| Refused::new("its `may_act` names no `sub`"))
}
