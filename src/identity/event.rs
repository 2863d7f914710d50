//! Security events (RFC 8417) of a provider's transmitter: CAEP and RISC by way of OpenID Shared Signals. Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::identity::{ProviderTerms, SignalsTerms};
use crate::id::{ProviderName, TenantName};
use crate::identity::Refused;
use crate::identity::claims::{audiences, check_issuer, jti, message_id, not_ahead, time};
use crate::identity::jws::IdentityToken;
use crate::identity::subject_id::{SubjectId, Whom};
use crate::token::strict_json::Object;

/// How long an event is remembered. One that comes again later ends logins once more, which is the safe side.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// The most events that one token may hold: several are other names of the same.
const EVENTS_MAX: usize = 8;
/// The longest `state` of a verification in bytes.
const STATE_BYTES_MAX: usize = 1024;

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

/// What a provider's transmitter says has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent {
    /// Whose transmitter.
    pub provider: ProviderName,
    /// Whose users are meant.
    pub tenant: TenantName,
    /// The event, as this program calls it: `session-revoked`.
    pub name: &'static str,
    /// What follows from it.
    pub effect: Effect,
    /// Whom it is about.
    pub whom: Whom,
    /// What stands before the names that the provider gives.
    pub user_prefix: Box<str>,
    /// Names the token: it counts once.
    pub id: [u8; 32],
    /// Until when it is remembered.
    pub until: Timestamp,
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing, and nobody needs to know.
    Nothing,
    /// Nothing, and it is recorded.
    Record,
    /// The session ends, or the user's logins.
    EndLogins,
    /// The user is suspended.
    Suspend,
}

/// Reads an event token whose signature holds. How old it is does not matter: what was ended at the provider has ended.
pub(super) fn event(
    token: &IdentityToken,
    terms: &ProviderTerms,
    signals: &SignalsTerms,
    now: Timestamp,
) -> Result<SecurityEvent, Refused> {
    let claims = &token.claims;
    if token.typ.as_deref() != Some("secevent+jwt") {
        return Err(Refused::new("its `typ` is not `secevent+jwt`"));
    }
    check_issuer(claims, &signals.issuer)?;
    let known = |audience: &String| signals.audiences.iter().any(|accepted| **accepted == **audience);
    if !audiences(claims)?.iter().all(known) {
        return Err(Refused::new(format!("its `aud` is none of `signals.audiences` of provider `{}`", terms.name)));
    }
    let issued = time(claims, "iat")?.ok_or_else(|| Refused::new("its `iat` is missing"))?;
    not_ahead("iat", issued, &terms.name, terms.clock_skew, now)?;
    let jti = jti(claims)?;
    let events = claims.object("events").filter(|events| (1..=EVENTS_MAX).contains(&events.len()));
    let events = events.ok_or_else(|| Refused::new("its `events` is not an object with 1 to 8 events"))?;
    let (name, effect, payload) = strongest(&events)?;
    let whom = if effect > Effect::Nothing { whom(claims, &payload, name, terms)? } else { Whom::Nobody };
    Ok(SecurityEvent {
        provider: terms.name.clone(),
        tenant: terms.tenant.clone(),
        name,
        effect,
        whom,
        user_prefix: terms.user_prefix.clone(),
        id: message_id("event", &signals.issuer, &jti),
        until: now.after(REMEMBERED),
    })
}

/// Of several names of an event, the one from which most follows.
fn strongest(events: &Object) -> Result<(&'static str, Effect, Object), Refused> {
    let mut found: Option<(&'static str, Effect, Object)> = None;
    for uri in events.names() {
        let payload = events.object(uri).ok_or_else(|| Refused::new("an event of it is not an object"))?;
        let (name, effect) = known_event(uri, &payload)?;
        if found.as_ref().is_none_or(|(_, other, _)| effect > *other) {
            found = Some((name, effect, payload));
        }
    }
    found.ok_or_else(|| Refused::new("it has no event"))
}

fn known_event(uri: &str, payload: &Object) -> Result<(&'static str, Effect), Refused> {
    use Effect::{EndLogins, Nothing, Record, Suspend};
    if let Some(caep) = uri.strip_prefix(CAEP) {
        return Ok(match caep {
            "session-revoked" => ("session-revoked", EndLogins),
            "credential-change" => ("credential-change", EndLogins),
            // Whatever is not said to be compliant is not.
            "device-compliance-change" if payload.text("current_status").as_deref() == Some("compliant") => {
                ("device-compliance-change", Record)
            }
            "device-compliance-change" => ("device-compliance-change", EndLogins),
            "token-claims-change" => ("token-claims-change", Record),
            "assurance-level-change" => ("assurance-level-change", Record),
            "risk-level-change" => ("risk-level-change", Record),
            _ => ("other", Nothing),
        });
    }
    if let Some(risc) = uri.strip_prefix(RISC) {
        return Ok(match risc {
            "account-disabled" => ("account-disabled", Suspend),
            "account-purged" => ("account-purged", Suspend),
            "account-enabled" => ("account-enabled", Record),
            "sessions-revoked" => ("sessions-revoked", EndLogins),
            "credential-compromise" => ("credential-compromise", EndLogins),
            "account-credential-change-required" => ("account-credential-change-required", EndLogins),
            "identifier-recycled" => ("identifier-recycled", EndLogins),
            _ => ("other", Nothing),
        });
    }
    match uri.strip_prefix(SSF) {
        Some("verification") => {
            let state = payload.text("state").unwrap_or_default();
            let fits = !payload.has("state") || (1..=STATE_BYTES_MAX).contains(&state.len());
            if fits {
                Ok(("verification", Nothing))
            } else {
                Err(Refused::new("the `state` of its verification is not a text"))
            }
        }
        Some("stream-updated") => Ok(("stream-updated", Nothing)),
        _ => Ok(("other", Nothing)),
    }
}

/// Whom an event is about: `sub_id`, or `subject` in the event, where drafts had it. Both would be one too many.
fn whom(claims: &Object, payload: &Object, name: &str, terms: &ProviderTerms) -> Result<Whom, Refused> {
    let subject = match (claims.has("sub_id"), payload.has("subject")) {
        (true, false) => claims.object("sub_id"),
        (false, true) => payload.object("subject"),
        (true, true) => return Err(Refused::new("it has both `sub_id` and, in its event, `subject`")),
        (false, false) => None,
    };
    let id = SubjectId::read(&subject.ok_or_else(|| Refused::new("it has no subject that is an object: `sub_id`"))?)?;
    let session_alone = name == "session-revoked";
    let account = id.account(terms);
    // Only the end of a session is about a session; everything else is about whoever has it.
    Ok(if session_alone || account == Whom::Nobody { id.whom(terms) } else { account })
}
