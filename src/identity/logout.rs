//! A logout token of a provider (OpenID Connect Back-Channel Logout). Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::identity::ProviderTerms;
use crate::id::{ProviderName, Subject, TenantName};
use crate::identity::Refused;
use crate::identity::claims::{audiences, check_issuer, jti, message_id, named, not_ahead, time};
use crate::identity::jws::IdentityToken;

/// How old a logout token may be: as long as its `jti` is remembered.
const LOGOUT_AGE_MAX: Duration = Duration::from_secs(600);
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a provider says has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// Who says so.
    pub provider: ProviderName,
    /// For which tenant.
    pub tenant: TenantName,
    /// What has ended.
    pub ended: Ended,
    /// Names the token: it counts once.
    pub id: [u8; 32],
    /// Until when it could come again.
    pub until: Timestamp,
}

/// What has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// One session.
    Session(Subject),
    /// Every session of a user, who can log in again.
    Logins(Subject),
    /// Every session of a user, who gets nothing until an operator says so.
    User(Subject),
}

/// Reads a logout token whose signature holds (OpenID Connect Back-Channel Logout section 2.6).
///
/// Of `typ` and `exp` also what older providers send: `JWT` or nothing, and none.
pub(crate) fn logout(token: &IdentityToken, terms: &ProviderTerms, now: Timestamp) -> Result<Logout, Refused> {
    let claims = &token.claims;
    if !matches!(token.typ.as_deref(), None | Some("jwt" | "logout+jwt")) {
        return Err(Refused::new("its `typ` is not `logout+jwt`"));
    }
    let is_logout = claims.object("events").is_some_and(|events| events.object(LOGOUT_EVENT).is_some());
    // With a `nonce` it could be an ID token in disguise.
    if !is_logout || claims.has("nonce") {
        return Err(Refused::new("it has no back-channel logout event, or has a `nonce`: it is not a logout token"));
    }
    check_issuer(claims, &terms.issuer)?;
    let clients = || terms.client_ids.iter().chain(&terms.sign_in_client);
    let known = |audience: &String| clients().any(|accepted| **accepted == **audience);
    if !audiences(claims)?.iter().all(known) {
        return Err(Refused::new(format!("its `aud` is none of `client_ids` of provider `{}`", terms.name)));
    }
    let issued = time(claims, "iat")?.ok_or_else(|| Refused::new("its `iat` is missing"))?;
    not_ahead("iat", issued, &terms.name, terms.clock_skew, now)?;
    let expires = time(claims, "exp")?;
    if now.since(issued) > LOGOUT_AGE_MAX || expires.is_some_and(|expires| expires <= now) {
        return Err(Refused::new("it is older than 10 minutes, or has expired"));
    }
    let jti = jti(claims)?;
    let ended = match (named(claims, "sid", terms)?, named(claims, &terms.claims.user, terms)?) {
        (Some(session), _) => Ended::Session(session),
        (None, Some(user)) => Ended::Logins(user),
        (None, None) => return Err(Refused::new("it names neither a session (`sid`) nor a user")),
    };
    Ok(Logout {
        provider: terms.name.clone(),
        tenant: terms.tenant.clone(),
        ended,
        id: message_id("logout", &terms.issuer, &jti),
        // As long as its `iat` is accepted.
        until: issued.after(LOGOUT_AGE_MAX).after(Duration::from_secs(1)),
    })
}
