//! Identity providers: whose word about users counts, for which tenant, and how far.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::catalog::{Scheme, Upstream};
use crate::config::ConfigError;
use crate::config::saml::{self, SamlTable, SamlTerms};
use crate::id::{ProviderName, Subject, TenantName, is_deceptive};
use crate::token::claims::{CLAIMS_MAX, ClaimName, PROVIDER_CLAIM};

mod algorithm;
mod signals;
mod workload;

pub use algorithm::{InvalidAlgorithm, SignatureAlgorithm};
use signals::SignalsTable;
pub use signals::{PollTerms, SignalsTerms};
use workload::WorkloadTable;
pub use workload::{KnownBy, WorkloadTerms};

/// What is expected of one provider. Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderTerms {
    /// What the audit log calls it.
    pub name: ProviderName,
    /// Its issuer URL: exactly the `iss` of its tokens and the `issuer` of its metadata.
    pub issuer: Box<str>,
    /// The tenant whose users it speaks for.
    pub tenant: TenantName,
    /// The `aud` values of its ID tokens that count: client ids of the applications that agents work for.
    pub client_ids: Vec<Box<str>>,
    /// The client as which operators sign in there, if they do: its logout tokens count, its ID tokens buy nothing.
    pub sign_in_client: Option<Box<str>>,
    /// The `aud` values of its access tokens that count. None of them is a client id.
    pub audiences: Vec<Box<str>>,
    /// The `typ` values of its access tokens that count, lower case and without `application/`.
    pub access_token_types: Vec<Box<str>>,
    /// The signature algorithms that count.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Where its tokens say what.
    pub claims: ClaimNames,
    /// The claims that policies may look at (`context.session`), and of which kind each is.
    pub policy_claims: BTreeMap<ClaimName, ClaimKind>,
    /// Stands before the user and session names that it gives, so that no two providers of a tenant name the same user.
    pub user_prefix: Box<str>,
    /// What in its directory is the user of its tokens.
    pub scim_user: ScimUser,
    /// How old the `iat` of a token may be.
    pub token_age_max: Duration,
    /// How long ago the user may have logged in (`auth_time`); `None` asks for no `auth_time`.
    pub login_age_max: Option<Duration>,
    /// How far its clock may be ahead of ours.
    pub clock_skew: Duration,
    /// The longest life of a writ that is given for its tokens.
    pub writ_ttl_max: Duration,
    /// How often one of its tokens can be exchanged.
    pub reuse: Reuse,
    /// What it is asked at each exchange.
    pub live_check: LiveCheck,
    /// Root certificates to believe besides those of the web (PEM).
    pub ca_file: Option<PathBuf>,
    /// Whether it may be on this machine or a private network.
    pub allow_private: bool,
    /// How long its keys are used before they are asked for again.
    pub keys_keep: Duration,
    /// How much longer they are used while it does not answer.
    pub keys_grace: Duration,
    /// The security events that it transmits, if it does.
    pub signals: Option<SignalsTerms>,
}

/// Where a provider's tokens say what. Names of top-level claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// The user.
    pub user: Box<str>,
    /// The user's groups: a list of texts.
    pub groups: Box<str>,
    /// The session.
    pub session: Box<str>,
}

/// Of which kind a claim for policies is. One of another kind refuses the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A text.
    String,
    /// A list of texts.
    Strings,
}

/// Which SCIM attribute says what a provider's tokens call a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScimUser {
    /// `userName`: the default.
    UserName,
    /// `externalId`
    ExternalId,
}

/// Whom the users of a provider's directory are, whatever kind of provider it is.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryTerms<'a> {
    /// Whose directory it is.
    pub provider: &'a ProviderName,
    /// The tenant whose users it knows.
    pub tenant: &'a TenantName,
    /// Stands before the names of its users.
    pub user_prefix: &'a str,
    /// What in it is the user of the provider's tokens.
    pub scim_user: ScimUser,
}

/// How often one token can be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// As long as it is valid and fresh enough: the default.
    WhileFresh,
    /// Once in the whole installation.
    Once,
}

/// What a provider is asked at each exchange. Either question is about an access token: ID tokens are then refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveCheck {
    /// Nothing.
    None,
    /// Who the user is (OIDC Core section 5.3), with the access token.
    Userinfo,
    /// Whether the access token is active (RFC 7662).
    Introspection {
        /// The authority's client id at the provider.
        client_id: Box<str>,
        /// The file with its client secret.
        client_secret_file: PathBuf,
    },
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// Where its metadata say, by OpenID Connect Discovery or RFC 8414.
    Discovered,
    /// Where the metadata of its Shared Signals transmitter say.
    SharedSignals,
    /// At this URL.
    Url(Box<str>),
    /// In this file, which is read again as often as a URL would be asked.
    File(PathBuf),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct IdentityTable {
    #[serde(default)]
    provider: Vec<ProviderTable>,
    #[serde(default)]
    saml: Vec<SamlTable>,
    #[serde(default)]
    workload: Vec<WorkloadTable>,
}

/// Whose word counts, of all kinds. Checked.
pub(super) struct Identities {
    pub(super) providers: Vec<ProviderTerms>,
    pub(super) saml: Vec<SamlTerms>,
    pub(super) workloads: Vec<WorkloadTerms>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderTable {
    name: ProviderName,
    issuer: Box<str>,
    tenant: Option<TenantName>,
    #[serde(default)]
    client_ids: Vec<Box<str>>,
    #[serde(default)]
    audiences: Vec<Box<str>>,
    access_token_types: Option<Vec<Box<str>>>,
    algorithms: Option<Vec<Box<str>>>,
    user_claim: Option<Box<str>>,
    groups_claim: Option<Box<str>>,
    session_claim: Option<Box<str>>,
    #[serde(default)]
    policy_claims: BTreeMap<Box<str>, ClaimKind>,
    #[serde(default)]
    user_prefix: Box<str>,
    scim_user: Option<Box<str>>,
    token_age_max_s: Option<u64>,
    login_age_max_s: Option<u64>,
    clock_skew_s: Option<u64>,
    writ_ttl_max_s: Option<u64>,
    #[serde(default)]
    single_use: bool,
    live_check: Option<Box<str>>,
    client_id: Option<Box<str>>,
    client_secret_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    allow_private: bool,
    keys_keep_s: Option<u64>,
    keys_grace_s: Option<u64>,
    signals: Option<SignalsTable>,
}

/// A setting of a provider that is refused: which key, what it must be, what it is.
pub(super) type Refused = (&'static str, &'static str, String);

/// What tells the providers of an installation apart, of whatever kind they are.
pub(super) struct Standing<'a> {
    /// What the settings call `name`, `issuer` and `user_prefix`.
    pub(super) keys: [&'static str; 3],
    pub(super) name: &'a ProviderName,
    pub(super) tenant: &'a TenantName,
    pub(super) issuer: &'a str,
    pub(super) user_prefix: &'a str,
}

impl IdentityTable {
    /// Those of all kinds. `issuer` is the authority's.
    pub(super) fn checked(mut self, issuer: &str, folder: &Path) -> Result<Identities, ConfigError> {
        let (saml, workloads) = (std::mem::take(&mut self.saml), std::mem::take(&mut self.workload));
        let providers = self.providers(folder)?;
        let saml = saml::checked(saml, &providers, issuer, folder)?;
        let mut all: Vec<WorkloadTerms> = Vec::with_capacity(workloads.len());
        for table in workloads {
            let named = of(table.name());
            let terms = table.checked(issuer, folder).map_err(&named)?;
            all.iter().try_for_each(|other| terms.beside(other)).map_err(&named)?;
            if saml.iter().any(|other| other.name == terms.name) {
                return Err(named(("identity.workload.name", "must be unique", "a SAML provider's".into())));
            }
            all.push(terms);
        }
        Ok(Identities { providers, saml, workloads: all })
    }

    fn providers(self, folder: &Path) -> Result<Vec<ProviderTerms>, ConfigError> {
        let mut all: Vec<ProviderTerms> = Vec::with_capacity(self.provider.len());
        for table in self.provider {
            let named = of(&table.name);
            let terms = table.checked(folder).map_err(&named)?;
            all.iter().try_for_each(|other| terms.standing().beside(&other.standing())).map_err(&named)?;
            all.push(terms);
        }
        Ok(all)
    }
}

impl Identities {
    /// Whether no workload can be taken for a user, once operators' sign-in is known too.
    pub(super) fn check_apart(&self) -> Result<(), ConfigError> {
        for terms in &self.workloads {
            let mut providers = self.providers.iter();
            providers.try_for_each(|provider| terms.beside_provider(provider)).map_err(of(&terms.name))?;
        }
        Ok(())
    }
}

/// Says of which table of the settings a refusal is.
fn of(name: &ProviderName) -> impl Fn(Refused) -> ConfigError + use<> {
    let name = name.clone();
    move |(key, rule, got)| ConfigError::Value { key, rule, got: format!("{got} for `{name}`") }
}

impl ProviderTable {
    fn checked(self, folder: &Path) -> Result<ProviderTerms, Refused> {
        let live_check = self.live_check(folder)?;
        check_url("identity.provider.issuer", &self.issuer, self.allow_private)?;
        if self.client_ids.is_empty() && self.audiences.is_empty() {
            return Err(("identity.provider.client_ids", "or `audiences` must name at least one", "none".into()));
        }
        if live_check != LiveCheck::None && self.audiences.is_empty() {
            let rule = "must name at least one with `live_check`, which needs access tokens";
            return Err(("identity.provider.audiences", rule, "none".into()));
        }
        if let Some(both) = self.audiences.iter().find(|audience| self.client_ids.contains(audience)) {
            let rule = "must hold no client id, or an access token could pass for an ID token";
            return Err(("identity.provider.audiences", rule, format!("`{both}`")));
        }
        let access_token_types = self.access_token_types.unwrap_or_else(|| vec!["at+jwt".into()]);
        Ok(ProviderTerms {
            tenant: self.tenant.unwrap_or_default(),
            access_token_types: access_token_types.iter().map(|typ| media_type(typ)).collect(),
            algorithms: algorithms("identity.provider.algorithms", self.algorithms)?,
            claims: ClaimNames {
                user: claim("identity.provider.user_claim", self.user_claim, "sub")?,
                groups: claim("identity.provider.groups_claim", self.groups_claim, "groups")?,
                session: claim("identity.provider.session_claim", self.session_claim, "sid")?,
            },
            policy_claims: policy_claims("identity.provider.policy_claims", self.policy_claims)?,
            token_age_max: seconds("identity.provider.token_age_max_s", self.token_age_max_s, 3600, 1)?,
            login_age_max: match self.login_age_max_s {
                None => None,
                some => Some(seconds("identity.provider.login_age_max_s", some, 0, 1)?),
            },
            clock_skew: clock_skew("identity.provider.clock_skew_s", self.clock_skew_s)?,
            writ_ttl_max: seconds("identity.provider.writ_ttl_max_s", self.writ_ttl_max_s, 86_400, 1)?,
            keys_keep: seconds("identity.provider.keys_keep_s", self.keys_keep_s, 300, 1)?,
            keys_grace: seconds("identity.provider.keys_grace_s", self.keys_grace_s, 3600, 0)?,
            scim_user: scim_user("identity.provider.scim_user", self.scim_user.as_deref())?,
            reuse: if self.single_use { Reuse::Once } else { Reuse::WhileFresh },
            ca_file: self.ca_file.map(|file| folder.join(file)),
            allow_private: self.allow_private,
            signals: match self.signals {
                None => None,
                Some(signals) => Some(signals.checked(&self.issuer, self.allow_private, folder)?),
            },
            name: self.name,
            issuer: self.issuer,
            client_ids: self.client_ids,
            sign_in_client: None,
            audiences: self.audiences,
            user_prefix: user_prefix("identity.provider.user_prefix", self.user_prefix)?,
            live_check,
        })
    }

    fn live_check(&self, folder: &Path) -> Result<LiveCheck, Refused> {
        let client = (&self.client_id, &self.client_secret_file);
        match (self.live_check.as_deref(), client) {
            (None | Some("none"), (None, None)) => Ok(LiveCheck::None),
            (Some("userinfo"), (None, None)) => Ok(LiveCheck::Userinfo),
            (Some("introspection"), (Some(client_id), Some(file))) => {
                Ok(LiveCheck::Introspection { client_id: client_id.clone(), client_secret_file: folder.join(file) })
            }
            (Some("introspection"), _) => {
                let rule = "and `client_secret_file` must be given with `live_check = \"introspection\"`";
                Err(("identity.provider.client_id", rule, "one or none of them".into()))
            }
            (None | Some("none" | "userinfo"), _) => {
                let rule = "and `client_secret_file` belong to `live_check = \"introspection\"`";
                Err(("identity.provider.client_id", rule, "them without it".into()))
            }
            (Some(other), _) => {
                let rule = "must be `none`, `userinfo` or `introspection`";
                Err(("identity.provider.live_check", rule, format!("`{}`", crate::id::shown(other))))
            }
        }
    }
}

impl ProviderTerms {
    pub(super) fn standing(&self) -> Standing<'_> {
        Standing {
            keys: ["identity.provider.name", "identity.provider.issuer", "identity.provider.user_prefix"],
            name: &self.name,
            tenant: &self.tenant,
            issuer: &self.issuer,
            user_prefix: &self.user_prefix,
        }
    }
}

impl Standing<'_> {
    /// Whether this provider can stand beside `other` without anybody taking one for the other.
    pub(super) fn beside(&self, other: &Standing<'_>) -> Result<(), Refused> {
        let [name, issuer, user_prefix] = self.keys;
        if self.name == other.name {
            return Err((name, "must be unique", "another".into()));
        }
        if self.tenant != other.tenant {
            return Ok(());
        }
        if self.issuer == other.issuer {
            return Err((issuer, "must be unique in a tenant", format!("that of `{}`", other.name)));
        }
        // Otherwise `a` + `b1` and `ab` + `1` would be one user.
        let (one, two) = (self.user_prefix, other.user_prefix);
        if one.starts_with(two) || two.starts_with(one) {
            let rule = "must differ between providers of a tenant, and none be the beginning of another";
            return Err((user_prefix, rule, format!("`{one}` beside `{two}`")));
        }
        Ok(())
    }
}

fn check_url(key: &'static str, issuer: &str, allow_private: bool) -> Result<(), Refused> {
    let refused = |rule| Err((key, rule, format!("`{}`", crate::id::shown(issuer))));
    let Ok(upstream) = issuer.parse::<Upstream>() else {
        return refused("must be an `https` URL without query and fragment");
    };
    let plain = upstream.origin().scheme() == Scheme::Http;
    if plain && !(allow_private && upstream.origin().host().is_loopback()) {
        return refused("must be an `https` URL (plain `http` with `allow_private` on this machine only)");
    }
    Ok(())
}

fn algorithms(key: &'static str, names: Option<Vec<Box<str>>>) -> Result<Vec<SignatureAlgorithm>, Refused> {
    use SignatureAlgorithm as A;
    const RULE: &str = "must hold some of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
    let refused = |got: &str| (key, RULE, format!("`{}`", crate::id::shown(got)));
    match names {
        None => Ok(vec![A::Rs256, A::Ps256, A::Es256, A::EdDsa]),
        Some(names) if names.is_empty() => Err(refused("")),
        Some(names) => names.iter().map(|name| name.parse().map_err(|_| refused(name))).collect(),
    }
}

fn claim(key: &'static str, name: Option<Box<str>>, default: &str) -> Result<Box<str>, Refused> {
    match name {
        None => Ok(default.into()),
        Some(name) if (1..=128).contains(&name.len()) && !name.chars().any(is_deceptive) => Ok(name),
        Some(_) => Err((key, "must be the name of a claim", "another text".into())),
    }
}

/// At most 15: with the provider's name as many as a writ carries.
pub(super) fn policy_claims(
    key: &'static str,
    claims: BTreeMap<Box<str>, ClaimKind>,
) -> Result<BTreeMap<ClaimName, ClaimKind>, Refused> {
    if claims.len() >= CLAIMS_MAX {
        return Err((key, "must name at most 15 claims", claims.len().to_string()));
    }
    let named = |(name, kind): (Box<str>, ClaimKind)| match name.parse::<ClaimName>() {
        Ok(parsed) if parsed.as_str() != PROVIDER_CLAIM => Ok((parsed, kind)),
        _ => Err((key, "must be names of claims, and not `provider`", format!("`{}`", crate::id::shown(&name)))),
    };
    claims.into_iter().map(named).collect()
}

pub(super) fn scim_user(key: &'static str, got: Option<&str>) -> Result<ScimUser, Refused> {
    match got {
        None | Some("userName") => Ok(ScimUser::UserName),
        Some("externalId") => Ok(ScimUser::ExternalId),
        Some(other) => {
            let rule = "must be `userName` or `externalId`";
            Err((key, rule, format!("`{}`", crate::id::shown(other))))
        }
    }
}

/// At most a day: an entry of the revocation log that ends a user's logins is kept for longer than that.
pub(super) fn seconds(key: &'static str, got: Option<u64>, default: u64, least: u64) -> Result<Duration, Refused> {
    let got = got.unwrap_or(default);
    let rule = "must be at most 86400, and not 0 unless it is a grace";
    if (least..=86_400).contains(&got) { Ok(Duration::from_secs(got)) } else { Err((key, rule, got.to_string())) }
}

pub(super) fn clock_skew(key: &'static str, got: Option<u64>) -> Result<Duration, Refused> {
    match got.unwrap_or(10) {
        got @ 0..=300 => Ok(Duration::from_secs(got)),
        got => Err((key, "must be between 0 and 300", got.to_string())),
    }
}

pub(super) fn user_prefix(key: &'static str, prefix: Box<str>) -> Result<Box<str>, Refused> {
    let fits = prefix.is_empty() || (prefix.len() <= 64 && prefix.parse::<Subject>().is_ok());
    if fits {
        Ok(prefix)
    } else {
        Err((key, "must be at most 64 bytes without control characters", "another text".into()))
    }
}

/// A `typ` as RFC 7515 section 4.1.9 has it compared: lower case, `application/` left out.
pub(crate) fn media_type(typ: &str) -> Box<str> {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").unwrap_or(&typ).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "[[provider]]\nname = \"corp\"\nissuer = \"https://login.example/realm\"\nclient_ids = [\"app\"]\n";

    fn terms(text: &str) -> Result<Vec<ProviderTerms>, String> {
        let table: IdentityTable = toml::from_str(text).map_err(|error| error.to_string())?;
        table.providers(Path::new("/etc/writ")).map_err(|error| error.to_string())
    }

    fn with(line: &str) -> Result<Vec<ProviderTerms>, String> {
        terms(&format!("{ONE}{line}\n"))
    }

    #[test]
    fn a_provider_needs_a_name_an_issuer_and_who_its_tokens_are_for() {
        let corp = &terms(ONE).unwrap()[0];
        assert_eq!((corp.tenant.as_str(), &*corp.claims.groups, corp.reuse), ("default", "groups", Reuse::WhileFresh));
        assert!(terms(&ONE.replace("client_ids = [\"app\"]", "")).unwrap_err().contains("client_ids"));
        assert!(terms(&ONE.replace("name", "nom")).is_err());
    }

    #[test]
    fn a_wrong_value_names_its_key_and_its_provider() {
        for (line, key) in [
            ("algorithms = [\"none\"]", "algorithms"),
            ("algorithms = [\"HS256\"]", "algorithms"),
            ("algorithms = []", "algorithms"),
            ("audiences = [\"app\"]", "audiences"),
            ("clock_skew_s = 301", "clock_skew_s"),
            ("token_age_max_s = 0", "token_age_max_s"),
            ("token_age_max_s = 86401", "token_age_max_s"),
            ("live_check = \"userinfo\"", "audiences"),
            ("live_check = \"both\"", "live_check"),
            ("live_check = \"introspection\"", "client_id"),
            ("client_id = \"writ\"", "client_id"),
            ("user_prefix = \"\\u0007\"", "user_prefix"),
            ("user_claim = \"\"", "user_claim"),
            ("scim_user = \"id\"", "scim_user"),
            ("policy_claims = { provider = \"string\" }", "policy_claims"),
            ("policy_claims = { \"a b\" = \"string\" }", "policy_claims"),
        ] {
            let error = with(line).unwrap_err();
            assert!(error.contains(&format!("identity.provider.{key}")) && error.contains("corp"), "{line}: {error}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_and_only_where_private_addresses_are_allowed() {
        let issuer =
            |url: &str, more: &str| terms(&format!("{}{more}\n", ONE.replace("https://login.example/realm", url)));
        assert!(issuer("http://127.0.0.1:9/", "allow_private = true").is_ok());
        for (url, more) in [
            ("http://127.0.0.1:9", ""),
            ("http://login.example", "allow_private = true"),
            ("https://a@login.example", ""),
            ("https://login.example/?a", ""),
            ("https://login.example/#a", ""),
            ("login.example", ""),
        ] {
            assert!(issuer(url, more).unwrap_err().contains("identity.provider.issuer"), "{url}");
        }
    }

    #[test]
    fn two_providers_never_name_the_same_user() {
        let two = |issuer: &str, more: &str| {
            let second = ONE.replace("corp", "partner").replace("https://login.example/realm", issuer);
            terms(&format!("{ONE}user_prefix = \"corp:\"\n{second}{more}\n"))
        };
        assert!(two("https://partner.example", "user_prefix = \"partner:\"").is_ok());
        assert!(two("https://partner.example", "tenant = \"other\"").is_ok());
        for prefix in ["", "c", "corp:", "corp:x"] {
            let error = two("https://partner.example", &format!("user_prefix = \"{prefix}\"")).unwrap_err();
            assert!(error.contains("user_prefix"), "{error}");
        }
        let error = two("https://login.example/realm", "user_prefix = \"partner:\"").unwrap_err();
        assert!(error.contains("identity.provider.issuer"), "{error}");
    }
}
