//! What the tokens of all kinds say in the same way: by whom, for whom, when. Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::identity::ProviderTerms;
use crate::id::{ProviderName, Subject};
use crate::identity::Refused;
use crate::key::sha256;
use crate::token::strict_json::Object;

/// The longest `jti` in bytes.
const JTI_BYTES_MAX: usize = 256;

pub(super) fn check_issuer(claims: &Object, issuer: &str) -> Result<(), Refused> {
    match claims.text("iss") {
        Some(found) if found == issuer => Ok(()),
        _ => Err(Refused::new("its `iss` is another issuer's")),
    }
}

pub(super) fn audiences(claims: &Object) -> Result<Vec<String>, Refused> {
    let found = claims.text("aud").map(|one| vec![one]).or_else(|| claims.texts("aud")).unwrap_or_default();
    if found.is_empty() {
        Err(Refused::new("its `aud` is missing, or is neither a text nor a list of texts"))
    } else {
        Ok(found)
    }
}

pub(super) fn time(claims: &Object, name: &str) -> Result<Option<Timestamp>, Refused> {
    if !claims.has(name) {
        return Ok(None);
    }
    let secs = claims.seconds(name);
    secs.map(|secs| Some(Timestamp::from_secs(secs)))
        .ok_or_else(|| Refused::new(format!("its `{name}` is not a number of seconds, written in digits")))
}

/// Refuses the claim `name` if it lies further ahead than the clock of `whose` may be.
pub(super) fn not_ahead(
    name: &str,
    time: Timestamp,
    whose: &ProviderName,
    skew: Duration,
    now: Timestamp,
) -> Result<(), Refused> {
    if time <= now.after(skew) {
        return Ok(());
    }
    Err(Refused::new(format!(
        "its `{name}` is in the future: set the clocks right, or `clock_skew_s` of provider `{whose}`"
    )))
}

/// A user or a session, by the name that is unique in the tenant.
pub(super) fn named(claims: &Object, claim: &str, terms: &ProviderTerms) -> Result<Option<Subject>, Refused> {
    if !claims.has(claim) {
        return Ok(None);
    }
    let named = claims.text(claim).and_then(|text| in_tenant(&text, terms));
    named.map(Some).ok_or_else(|| {
        Refused::new(format!("its claim `{claim}` is not a text of 1 to 255 bytes without control characters"))
    })
}

/// What the provider calls `text`, by the name that is unique in the tenant.
pub(super) fn in_tenant(text: &str, terms: &ProviderTerms) -> Option<Subject> {
    if text.is_empty() { None } else { format!("{}{text}", terms.user_prefix).parse().ok() }
}

pub(super) fn jti(claims: &Object) -> Result<String, Refused> {
    let jti = claims.text("jti").filter(|jti| (1..=JTI_BYTES_MAX).contains(&jti.len()));
    jti.ok_or_else(|| Refused::new("its `jti` is not a text of 1 to 256 bytes"))
}

/// Names a token of one `kind` that counts once: no two issuers can name the same.
pub(super) fn message_id(kind: &str, issuer: &str, jti: &str) -> [u8; 32] {
    sha256(format!("writ {kind}\0{issuer}\0{jti}").as_bytes())
}
