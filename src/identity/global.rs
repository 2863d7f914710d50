//! A provider's word that every token of a user is to be revoked (Global Token Revocation, draft-parecki-oauth-global-token-revocation):
//! the token by which it says who it is. Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::identity::ProviderTerms;
use crate::identity::Refused;
use crate::identity::claims::{audiences, check_issuer, jti, message_id, not_ahead, time};
use crate::identity::jws::IdentityToken;

/// How old a request's token may be: as long as its `jti` is remembered.
const AGE_MAX: Duration = Duration::from_secs(600);

/// A provider, as whose a request was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationCaller {
    /// Names the request: it counts once.
    pub id: [u8; 32],
    /// Until when it could come again.
    pub until: Timestamp,
}

/// Reads the token of a request to one of `audience`, whose signature holds.
pub(crate) fn caller(
    token: &IdentityToken,
    terms: &ProviderTerms,
    audience: [&str; 2],
    now: Timestamp,
) -> Result<RevocationCaller, Refused> {
    let claims = &token.claims;
    if token.typ.as_deref() != Some("global-token-revocation+jwt") {
        return Err(Refused::new("its `typ` is not `global-token-revocation+jwt`"));
    }
    check_issuer(claims, &terms.issuer)?;
    if !matches!(audiences(claims)?.as_slice(), [only] if audience.contains(&only.as_str())) {
        return Err(Refused::new("its `aud` is not this endpoint's URL or the authority's issuer, or not that alone"));
    }
    let issued = time(claims, "iat")?.ok_or_else(|| Refused::new("its `iat` is missing"))?;
    not_ahead("iat", issued, &terms.name, terms.clock_skew, now)?;
    let expires = time(claims, "exp")?.ok_or_else(|| Refused::new("its `exp` is missing"))?;
    if now.since(issued) > AGE_MAX || expires <= now {
        return Err(Refused::new("it is older than 10 minutes, or has expired"));
    }
    Ok(RevocationCaller {
        id: message_id("global revocation", &terms.issuer, &jti(claims)?),
        until: issued.after(AGE_MAX).after(Duration::from_secs(1)),
    })
}
