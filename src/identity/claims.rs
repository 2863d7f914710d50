//! What a token says, once its signature holds: for whom it was made, when, and about whom. Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::identity::ProviderTerms;
use crate::id::{Group, ProviderName, Subject, TenantName};
use crate::identity::Refused;
use crate::identity::jws::IdentityToken;
use crate::key::sha256;
use crate::token::strict_json::Object;

/// The longest `jti` in bytes.
const JTI_BYTES_MAX: usize = 256;
/// How old a logout token may be: as long as its `jti` is remembered.
pub(crate) const LOGOUT_AGE_MAX: Duration = Duration::from_secs(600);
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

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

/// A user, for whom a provider has just vouched. Only [`Providers::verify`](crate::identity::Providers::verify), and what it asks,
/// makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedIdentity {
    pub(super) provider: ProviderName,
    pub(super) tenant: TenantName,
    pub(super) subject: Subject,
    pub(super) groups: Vec<Group>,
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
    /// Every session of a user.
    User(Subject),
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
    check_issuer(claims, terms)?;
    check_audiences(claims, kind, terms)?;
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
        session: named(claims, &terms.claims.session, terms)?,
        login: login.unwrap_or(issued),
        expires,
        writ_ttl_max: terms.writ_ttl_max,
        clock_skew: terms.clock_skew,
        digest: token.digest(),
        single_use: terms.reuse == crate::config::identity::Reuse::Once,
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

fn check_issuer(claims: &Object, terms: &ProviderTerms) -> Result<(), Refused> {
    match claims.text("iss") {
        Some(issuer) if *issuer == *terms.issuer => Ok(()),
        _ => Err(Refused::new("its `iss` is another issuer's")),
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

fn audiences(claims: &Object) -> Result<Vec<String>, Refused> {
    let found = claims.text("aud").map(|one| vec![one]).or_else(|| claims.texts("aud")).unwrap_or_default();
    if found.is_empty() {
        Err(Refused::new("its `aud` is missing, or is neither a text nor a list of texts"))
    } else {
        Ok(found)
    }
}

/// When it was made and when it ends. The end has no allowance: a writ never outlives what it was given for.
fn times(claims: &Object, terms: &ProviderTerms, now: Timestamp) -> Result<(Timestamp, Timestamp), Refused> {
    let expires = time(claims, "exp")?.ok_or_else(|| Refused::new("its `exp` is missing"))?;
    if expires <= now {
        return Err(Refused::new("it has expired: get a fresh one from the provider"));
    }
    let issued = time(claims, "iat")?.ok_or_else(|| Refused::new("its `iat` is missing"))?;
    not_ahead("iat", issued, terms, now)?;
    if now.since(issued) > terms.token_age_max {
        return Err(Refused::new(format!(
            "it is older than {} s (`token_age_max_s` of provider `{}`): get a fresh one from the provider",
            terms.token_age_max.as_secs(),
            terms.name
        )));
    }
    if let Some(not_before) = time(claims, "nbf")? {
        not_ahead("nbf", not_before, terms, now)?;
    }
    Ok((issued, expires))
}

fn login(claims: &Object, terms: &ProviderTerms, now: Timestamp) -> Result<Option<Timestamp>, Refused> {
    let login = time(claims, "auth_time")?;
    if let Some(login) = login {
        not_ahead("auth_time", login, terms, now)?;
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

fn time(claims: &Object, name: &str) -> Result<Option<Timestamp>, Refused> {
    if !claims.has(name) {
        return Ok(None);
    }
    let secs = claims.integer(name).filter(|secs| *secs >= 0);
    secs.map(|secs| Some(Timestamp::from_secs(secs)))
        .ok_or_else(|| Refused::new(format!("its `{name}` is not a whole number of seconds")))
}

fn not_ahead(name: &str, time: Timestamp, terms: &ProviderTerms, now: Timestamp) -> Result<(), Refused> {
    if time <= now.after(terms.clock_skew) {
        return Ok(());
    }
    Err(Refused::new(format!(
        "its `{name}` is in the future: set the clocks right, or `clock_skew_s` of provider `{}`",
        terms.name
    )))
}

/// A user or a session, by the name that is unique in the tenant.
fn named(claims: &Object, claim: &str, terms: &ProviderTerms) -> Result<Option<Subject>, Refused> {
    if !claims.has(claim) {
        return Ok(None);
    }
    let text = claims.text(claim).filter(|text| !text.is_empty());
    let named = text.and_then(|text| format!("{}{text}", terms.user_prefix).parse().ok());
    named.map(Some).ok_or_else(|| {
        Refused::new(format!("its claim `{claim}` is not a text of 1 to 255 bytes without control characters"))
    })
}

fn groups(claims: &Object, claim: &str) -> Result<Vec<Group>, Refused> {
    if !claims.has(claim) {
        return Ok(Vec::new());
    }
    let groups = claims.texts(claim).and_then(|groups| groups.iter().map(|group| group.parse().ok()).collect());
    groups.ok_or_else(|| Refused::new(format!("its claim `{claim}` is not a list of group names")))
}

/// RFC 7800: a token that is bound to a key counts from the hands of whoever proves that key.
fn bound_to(claims: &Object) -> Result<Option<String>, Refused> {
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
    check_issuer(claims, terms)?;
    let known = |audience: &String| terms.client_ids.iter().any(|accepted| **accepted == **audience);
    if !audiences(claims)?.iter().all(known) {
        return Err(Refused::new(format!("its `aud` is none of `client_ids` of provider `{}`", terms.name)));
    }
    let issued = time(claims, "iat")?.ok_or_else(|| Refused::new("its `iat` is missing"))?;
    not_ahead("iat", issued, terms, now)?;
    let expires = time(claims, "exp")?;
    if now.since(issued) > LOGOUT_AGE_MAX || expires.is_some_and(|expires| expires <= now) {
        return Err(Refused::new("it is older than 10 minutes, or has expired"));
    }
    let jti = claims.text("jti").filter(|jti| (1..=JTI_BYTES_MAX).contains(&jti.len()));
    let jti = jti.ok_or_else(|| Refused::new("its `jti` is not a text of 1 to 256 bytes"))?;
    let ended = match (named(claims, "sid", terms)?, named(claims, &terms.claims.user, terms)?) {
        (Some(session), _) => Ended::Session(session),
        (None, Some(user)) => Ended::User(user),
        (None, None) => return Err(Refused::new("it names neither a session (`sid`) nor a user")),
    };
    Ok(Logout {
        provider: terms.name.clone(),
        tenant: terms.tenant.clone(),
        ended,
        id: sha256(&[b"writ logout\0", terms.issuer.as_bytes(), b"\0", jti.as_bytes()].concat()),
        // As long as its `iat` is accepted.
        until: issued.after(LOGOUT_AGE_MAX).after(Duration::from_secs(1)),
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::authority::AuthorityConfig;
    use crate::identity::keys::KeySet;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn terms() -> ProviderTerms {
        let sample = include_str!("../../samples/authority.toml");
        let provider = "[[identity.provider]]\nname = \"corp\"\nissuer = \"https://i\"\nclient_ids = [\"app\"]\n";
        let text = format!("{sample}\n{provider}audiences = [\"api\"]\naccess_token_types = [\"at+jwt\", \"jwt\"]\n");
        AuthorityConfig::parse(&text, "/writ.toml".as_ref()).unwrap().terms.providers.remove(0)
    }

    /// Everything that can be read out of a text, without a panic.
    fn read_all(text: &str) {
        let Ok(token) = IdentityToken::parse(text) else { return };
        let terms = terms();
        for kind in [TokenKind::Id, TokenKind::Access] {
            if let Ok(identity) = identity(&token, kind, &terms, NOW) {
                assert!(identity.expires() > NOW);
            }
        }
        let _ = logout(&token, &terms, NOW);
        let jwk = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        // It is nobody's key.
        assert!(!KeySet::parse(jwk.as_bytes()).unwrap().signed(&token));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (NOW.secs() - 100..NOW.secs() + 100).prop_map(Value::from),
            prop_oneof![
                Just("app"),
                Just("api"),
                Just("https://i"),
                Just("JWT"),
                Just("at+jwt"),
                Just("EdDSA"),
                Just("")
            ]
            .prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
        proptest::collection::btree_map(proptest::sample::select(names), any_value(), 0..names.len())
            .prop_map(|map| json!(map))
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*", parts in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
            read_all(&text);
            read_all(&parts);
        }

        #[test]
        fn no_claims_make_the_reader_panic(
            header in object(&["alg", "typ", "kid", "crit"]),
            claims in object(&["iss", "sub", "aud", "azp", "exp", "iat", "nbf", "auth_time", "sid", "groups", "events", "nonce",
                               "jti", "act", "may_act", "cnf", "typ"]),
            good in any::<bool>(),
        ) {
            let mut claims = claims;
            let mut header = header;
            if good {
                header = json!({ "alg": "EdDSA" });
                for (name, value) in [("iss", json!("https://i")), ("aud", json!("app")), ("exp", json!(NOW.secs() + 9))] {
                    claims[name] = value;
                }
            }
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            read_all(&format!("{}.{}.{}", part(&header), part(&claims), URL_SAFE_NO_PAD.encode([7; 64])));
        }

        #[test]
        fn no_bytes_make_the_key_reader_panic(bytes: Vec<u8>, key in object(&["kty", "crv", "x", "y", "n", "e", "alg", "use", "kid", "key_ops"])) {
            let _ = KeySet::parse(&bytes);
            let _ = KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes());
        }
    }
}
