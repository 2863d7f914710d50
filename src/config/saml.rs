//! SAML identity providers: whose assertions count, for which tenant, and how far.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::config::ConfigError;
use crate::config::identity::{
    ClaimKind, ProviderTerms, Refused, Reuse, ScimUser, Standing, clock_skew, policy_claims, scim_user, seconds,
    user_prefix,
};
use crate::id::{ProviderName, TenantName, is_deceptive};
use crate::token::claims::ClaimName;

/// The most certificates of a provider: one in use, one to come, and some to spare.
const CERTIFICATES_MAX: usize = 8;
/// The longest entity id, attribute name or format in bytes.
const NAME_BYTES_MAX: usize = 1024;
const PERSISTENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent";
const EMAIL_ADDRESS: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress";
const TRANSIENT: &str = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";

/// What is expected of one SAML provider. Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamlTerms {
    /// What the audit log calls it.
    pub name: ProviderName,
    /// Its entity id: exactly the `Issuer` of its assertions.
    pub entity_id: Box<str>,
    /// The tenant whose users it speaks for.
    pub tenant: TenantName,
    /// PEM files with its signing certificates, or bare public keys. Only the keys count.
    pub certificates: Vec<PathBuf>,
    /// The only `Audience` of assertions that count.
    pub audience: Box<str>,
    /// The `Recipient` of assertions that count.
    pub recipient: Box<str>,
    /// Where its assertions name the user.
    pub user: SamlUser,
    /// The attribute with the user's groups.
    pub groups_attribute: Box<str>,
    /// The attributes that policies may look at (`context.session`), and of which kind each is.
    pub policy_claims: BTreeMap<ClaimName, ClaimKind>,
    /// Whether its `SessionIndex` names a session.
    pub sessions: SamlSessions,
    /// Stands before the user and session names that it gives, so that no two providers of a tenant name the same user.
    pub user_prefix: Box<str>,
    /// What in its directory is the user of its assertions.
    pub scim_user: ScimUser,
    /// How old the `IssueInstant` of an assertion may be.
    pub assertion_age_max: Duration,
    /// How long ago the user may have logged in (`AuthnInstant`); `None`: any time.
    pub login_age_max: Option<Duration>,
    /// How far its clock may be ahead of ours.
    pub clock_skew: Duration,
    /// The longest life of a writ that is given for its assertions.
    pub writ_ttl_max: Duration,
    /// How often one of its assertions can be exchanged.
    pub reuse: Reuse,
}

/// Where assertions name the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SamlUser {
    /// The `NameID`, if its format is one of these. Never a transient one, which is another at each login.
    NameId(Vec<Box<str>>),
    /// The only value of this attribute.
    Attribute(Box<str>),
}

/// What a `SessionIndex` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamlSessions {
    /// Unique at the provider: it names the session.
    Unique,
    /// A small number that comes again for other users, which the standard allows: it names nothing.
    Recurring,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SamlTable {
    name: ProviderName,
    entity_id: Box<str>,
    tenant: Option<TenantName>,
    certificates: Vec<PathBuf>,
    audience: Option<Box<str>>,
    recipient: Option<Box<str>>,
    name_id_formats: Option<Vec<Box<str>>>,
    user_attribute: Option<Box<str>>,
    groups_attribute: Option<Box<str>>,
    #[serde(default)]
    policy_claims: BTreeMap<Box<str>, ClaimKind>,
    session_index_unique: Option<bool>,
    #[serde(default)]
    user_prefix: Box<str>,
    scim_user: Option<Box<str>>,
    assertion_age_max_s: Option<u64>,
    login_age_max_s: Option<u64>,
    clock_skew_s: Option<u64>,
    writ_ttl_max_s: Option<u64>,
    single_use: Option<bool>,
}

/// Checks every table, each beside the others and beside `providers`. `issuer` is the authority's.
pub(super) fn checked(
    tables: Vec<SamlTable>,
    providers: &[ProviderTerms],
    issuer: &str,
    folder: &Path,
) -> Result<Vec<SamlTerms>, ConfigError> {
    let mut all: Vec<SamlTerms> = Vec::with_capacity(tables.len());
    for table in tables {
        let name = table.name.clone();
        let named = |(key, rule, got): Refused| ConfigError::Value { key, rule, got: format!("{got} for `{name}`") };
        let terms = table.checked(issuer, folder).map_err(named)?;
        let others = providers.iter().map(ProviderTerms::standing).chain(all.iter().map(SamlTerms::standing));
        others.into_iter().try_for_each(|other| terms.standing().beside(&other)).map_err(named)?;
        all.push(terms);
    }
    Ok(all)
}

impl SamlTable {
    fn checked(self, issuer: &str, folder: &Path) -> Result<SamlTerms, Refused> {
        if !(1..=CERTIFICATES_MAX).contains(&self.certificates.len()) {
            let rule = "must name 1 to 8 PEM files";
            return Err(("identity.saml.certificates", rule, self.certificates.len().to_string()));
        }
        let user = match (self.user_attribute, self.name_id_formats) {
            (Some(_), Some(_)) => {
                let rule = "does not go with `name_id_formats`: the user stands in one place";
                return Err(("identity.saml.user_attribute", rule, "both".into()));
            }
            (Some(attribute), None) => SamlUser::Attribute(text("identity.saml.user_attribute", attribute)?),
            (None, formats) => SamlUser::NameId(name_id_formats(formats)?),
        };
        Ok(SamlTerms {
            name: self.name,
            entity_id: text("identity.saml.entity_id", self.entity_id)?,
            tenant: self.tenant.unwrap_or_default(),
            certificates: self.certificates.iter().map(|file| folder.join(file)).collect(),
            audience: text("identity.saml.audience", self.audience.unwrap_or_else(|| issuer.into()))?,
            recipient: {
                let recipient = self.recipient.unwrap_or_else(|| format!("{issuer}/oauth/token").into());
                text("identity.saml.recipient", recipient)?
            },
            user,
            groups_attribute: {
                let attribute = self.groups_attribute.unwrap_or_else(|| "groups".into());
                text("identity.saml.groups_attribute", attribute)?
            },
            policy_claims: policy_claims("identity.saml.policy_claims", self.policy_claims)?,
            sessions: match self.session_index_unique {
                None | Some(true) => SamlSessions::Unique,
                Some(false) => SamlSessions::Recurring,
            },
            user_prefix: user_prefix("identity.saml.user_prefix", self.user_prefix)?,
            scim_user: scim_user("identity.saml.scim_user", self.scim_user.as_deref())?,
            assertion_age_max: seconds("identity.saml.assertion_age_max_s", self.assertion_age_max_s, 3600, 1)?,
            login_age_max: match self.login_age_max_s {
                None => None,
                some => Some(seconds("identity.saml.login_age_max_s", some, 0, 1)?),
            },
            clock_skew: clock_skew("identity.saml.clock_skew_s", self.clock_skew_s)?,
            writ_ttl_max: seconds("identity.saml.writ_ttl_max_s", self.writ_ttl_max_s, 86_400, 1)?,
            reuse: if self.single_use.unwrap_or(true) { Reuse::Once } else { Reuse::WhileFresh },
        })
    }
}

impl SamlTerms {
    fn standing(&self) -> Standing<'_> {
        Standing {
            keys: ["identity.saml.name", "identity.saml.entity_id", "identity.saml.user_prefix"],
            name: &self.name,
            tenant: &self.tenant,
            issuer: &self.entity_id,
            user_prefix: &self.user_prefix,
        }
    }
}

fn name_id_formats(formats: Option<Vec<Box<str>>>) -> Result<Vec<Box<str>>, Refused> {
    const KEY: &str = "identity.saml.name_id_formats";
    let formats = formats.unwrap_or_else(|| vec![PERSISTENT.into(), EMAIL_ADDRESS.into()]);
    if formats.is_empty() || formats.iter().any(|format| **format == *TRANSIENT) {
        let rule = "must name at least one format, and not the transient one, which is another name at each login";
        return Err((KEY, rule, if formats.is_empty() { "none".into() } else { format!("`{TRANSIENT}`") }));
    }
    formats.into_iter().map(|format| text(KEY, format)).collect()
}

fn text(key: &'static str, text: Box<str>) -> Result<Box<str>, Refused> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(is_deceptive);
    if fits {
        Ok(text)
    } else {
        Err((key, "must be a text of 1 to 1024 bytes without control characters", "another text".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::authority::AuthorityConfig;

    const OIDC: &str = "[[identity.provider]]\nname = \"corp\"\nissuer = \"https://login.example\"\n\
                        client_ids = [\"app\"]\nuser_prefix = \"corp:\"\n";
    const SAML: &str = "[[identity.saml]]\nname = \"idp\"\nentity_id = \"https://idp.example/saml\"\n\
                        certificates = [\"idp.pem\"]\nuser_prefix = \"saml:\"\n";

    fn terms(text: &str) -> Result<Vec<SamlTerms>, String> {
        let sample = include_str!("../../samples/authority.toml");
        let config = AuthorityConfig::parse(&format!("{sample}\n{text}"), "/etc/writ/writ.toml".as_ref());
        config.map(|config| config.terms.saml).map_err(|error| error.to_string())
    }

    #[test]
    fn a_saml_provider_needs_a_name_an_entity_id_and_certificates() {
        let idp = terms(SAML).unwrap().remove(0);
        assert_eq!((idp.tenant.as_str(), &*idp.groups_attribute, idp.reuse), ("default", "groups", Reuse::Once));
        assert_eq!(idp.recipient, format!("{}/oauth/token", idp.audience).into());
        assert_eq!(idp.certificates, [Path::new("/etc/writ/idp.pem")]);
        assert!(matches!(idp.user, SamlUser::NameId(formats) if *formats[0] == *PERSISTENT && formats.len() == 2));
        for key in ["name = ", "entity_id = ", "certificates = "] {
            let without: String =
                SAML.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
            assert!(terms(&without).unwrap_err().contains(key.trim_end_matches(" = ")), "{key}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_key_and_its_provider() {
        for (line, key) in [
            ("name_id_formats = []", "name_id_formats"),
            ("name_id_formats = [\"urn:oasis:names:tc:SAML:2.0:nameid-format:transient\"]", "name_id_formats"),
            ("name_id_formats = [\"a\"]\nuser_attribute = \"uid\"", "user_attribute"),
            ("user_attribute = \"\"", "user_attribute"),
            ("groups_attribute = \"\\u0007\"", "groups_attribute"),
            ("audience = \"\"", "audience"),
            ("recipient = \"\"", "recipient"),
            ("clock_skew_s = 301", "clock_skew_s"),
            ("assertion_age_max_s = 0", "assertion_age_max_s"),
            ("login_age_max_s = 0", "login_age_max_s"),
            ("writ_ttl_max_s = 86401", "writ_ttl_max_s"),
            ("scim_user = \"id\"", "scim_user"),
            ("policy_claims = { provider = \"string\" }", "policy_claims"),
        ] {
            let error = terms(&format!("{SAML}{line}\n")).unwrap_err();
            assert!(error.contains(&format!("identity.saml.{key}")) && error.contains("idp"), "{line}: {error}");
        }
        for (files, fits) in
            [("", false), ("\"a\"", true), ("\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"", false)]
        {
            let error = terms(&SAML.replace("\"idp.pem\"", files)).err();
            assert_eq!(error.is_none(), fits, "{files}: {error:?}");
        }
    }

    #[test]
    fn no_two_providers_of_whatever_kind_name_the_same_user() {
        assert_eq!(terms(&format!("{OIDC}{SAML}")).unwrap().len(), 1);
        for (from, to, key) in [
            ("saml:", "corp:", "user_prefix"),
            ("saml:", "corp:more", "user_prefix"),
            ("saml:", "", "user_prefix"),
            ("\"idp\"", "\"corp\"", "name"),
        ] {
            let error = terms(&format!("{OIDC}{}", SAML.replace(from, to))).unwrap_err();
            assert!(error.contains(&format!("identity.saml.{key}")), "{error}");
        }
        let second = SAML.replace("\"idp\"", "\"idp-2\"").replace("saml:", "second:");
        assert!(terms(&format!("{SAML}{second}")).unwrap_err().contains("identity.saml.entity_id"));
        assert_eq!(terms(&format!("{SAML}{second}tenant = \"other\"\n")).unwrap().len(), 2);
    }
}
