//! An identity assertion authorization grant (draft-ietf-oauth-identity-assertion-authz-grant): a provider's word that a client
//! may act for a user here. Pure.

use crate::clock::Timestamp;
use crate::config::identity::ProviderTerms;
use crate::identity::claims::{audiences, check_issuer, jti, message_id};
use crate::identity::jws::IdentityToken;
use crate::identity::user::vouched_for;
use crate::identity::{Refused, VerifiedIdentity};
use crate::token::strict_json::Object;

/// The most resources that a grant may name.
const RESOURCES_MAX: usize = 16;

/// What a provider grants a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityGrant {
    /// For whom. Counts once.
    pub user: VerifiedIdentity,
    /// The client that may use it, as this authority calls it.
    pub client_id: String,
    /// The only scope it is for, if it says so.
    pub scope: Option<String>,
    /// The only resources it is for; none: any.
    pub resources: Vec<String>,
}

/// Reads a grant for the authority `issuer` whose signature holds.
pub(super) fn grant(
    token: &IdentityToken,
    terms: &ProviderTerms,
    issuer: &str,
    now: Timestamp,
) -> Result<IdentityGrant, Refused> {
    let claims = &token.claims;
    if token.typ.as_deref() != Some("oauth-id-jag+jwt") {
        return Err(Refused::new("its `typ` is not `oauth-id-jag+jwt`: exchange another token by RFC 8693"));
    }
    if claims.has("events") {
        return Err(Refused::new("it is a security event or a logout token, which identifies nobody"));
    }
    check_issuer(claims, &terms.issuer)?;
    if audiences(claims)? != [issuer] {
        return Err(Refused::new("its `aud` must be exactly one: this authority's issuer"));
    }
    let client_id = claims.text("client_id").ok_or_else(|| Refused::new("its `client_id` is missing"))?;
    let mut user = vouched_for(token, terms, now)?;
    user.digest = message_id("id-jag", &terms.issuer, &jti(claims)?);
    user.single_use = true;
    let scope = claims.text("scope");
    if scope.is_none() && claims.has("scope") {
        return Err(Refused::new("its `scope` is not a text"));
    }
    Ok(IdentityGrant { user, client_id, scope, resources: resources(claims)? })
}

fn resources(claims: &Object) -> Result<Vec<String>, Refused> {
    if !claims.has("resource") {
        return Ok(Vec::new());
    }
    let found = claims.text("resource").map(|one| vec![one]).or_else(|| claims.texts("resource"));
    found
        .filter(|all| (1..=RESOURCES_MAX).contains(&all.len()))
        .ok_or_else(|| Refused::new("its `resource` is neither a text nor a list of 1 to 16 texts"))
}
