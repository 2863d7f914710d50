//! Workload issuers: platforms whose word about what runs on them is enough for an agent, without a key of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{KeyPlace, ProviderTerms, Refused, Reuse, SignatureAlgorithm, algorithms, check_url, clock_skew, seconds};
use crate::id::{ProviderName, TenantName};

/// What is expected of one workload issuer. Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadTerms {
    /// What the audit log calls it.
    pub name: ProviderName,
    /// The tenant whose agents it speaks for.
    pub tenant: TenantName,
    /// How its tokens are known.
    pub known_by: KnownBy,
    /// The `aud` values of its tokens that count.
    pub audiences: Vec<Box<str>>,
    /// Where its keys are.
    pub keys: KeyPlace,
    /// The signature algorithms that count.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// How long its tokens may live.
    pub token_life_max: Duration,
    /// How far its clock may be ahead of ours.
    pub clock_skew: Duration,
    /// The longest life of a writ that is given for its tokens.
    pub writ_ttl_max: Duration,
    /// Whether one of its tokens counts once, or again and again for the key that it was used with first.
    pub reuse: Reuse,
    /// Root certificates to believe besides those of the web (PEM).
    pub ca_file: Option<PathBuf>,
    /// Whether it may be on this machine or a private network.
    pub allow_private: bool,
    /// How long its keys are used before they are asked for again.
    pub keys_keep: Duration,
    /// How much longer they are used while it does not answer.
    pub keys_grace: Duration,
}

/// How the tokens of a workload issuer are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// By their `iss`.
    Issuer(Box<str>),
    /// By the trust domain of the SPIFFE id that is their `sub`: JWT-SVIDs need no `iss`.
    TrustDomain(Box<str>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkloadTable {
    name: ProviderName,
    tenant: Option<TenantName>,
    issuer: Option<Box<str>>,
    trust_domain: Option<Box<str>>,
    audiences: Option<Vec<Box<str>>>,
    jwks_uri: Option<Box<str>>,
    jwks_file: Option<PathBuf>,
    algorithms: Option<Vec<Box<str>>>,
    token_life_max_s: Option<u64>,
    clock_skew_s: Option<u64>,
    writ_ttl_max_s: Option<u64>,
    #[serde(default)]
    single_use: bool,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    allow_private: bool,
    keys_keep_s: Option<u64>,
    keys_grace_s: Option<u64>,
}

impl WorkloadTable {
    pub(super) const fn name(&self) -> &ProviderName {
        &self.name
    }

    /// Checked for an authority with the issuer `authority`, which is whom the tokens are for where nothing else is said.
    pub(super) fn checked(self, authority: &str, folder: &Path) -> Result<WorkloadTerms, Refused> {
        let keys = self.keys(folder)?;
        let known_by = match (self.issuer, self.trust_domain) {
            (Some(issuer), None) => {
                check_url("identity.workload.issuer", &issuer, self.allow_private)?;
                KnownBy::Issuer(issuer)
            }
            (None, Some(domain)) if is_trust_domain(&domain) => KnownBy::TrustDomain(domain),
            (None, Some(domain)) => {
                let rule = "must be the trust domain of SPIFFE ids, such as `example.org`";
                return Err(("identity.workload.trust_domain", rule, format!("`{}`", crate::id::shown(&domain))));
            }
            (both, _) => {
                let got = if both.is_some() { "both" } else { "neither" };
                return Err(("identity.workload.issuer", "or `trust_domain` must be given, and not both", got.into()));
            }
        };
        let audiences = self.audiences.unwrap_or_else(|| vec![authority.into()]);
        if audiences.is_empty() {
            return Err(("identity.workload.audiences", "must name at least one", "none".into()));
        }
        Ok(WorkloadTerms {
            name: self.name,
            tenant: self.tenant.unwrap_or_default(),
            known_by,
            audiences,
            keys,
            algorithms: algorithms("identity.workload.algorithms", self.algorithms)?,
            token_life_max: seconds("identity.workload.token_life_max_s", self.token_life_max_s, 3600, 1)?,
            clock_skew: clock_skew("identity.workload.clock_skew_s", self.clock_skew_s)?,
            writ_ttl_max: seconds("identity.workload.writ_ttl_max_s", self.writ_ttl_max_s, 3600, 1)?,
            reuse: if self.single_use { Reuse::Once } else { Reuse::WhileFresh },
            ca_file: self.ca_file.map(|file| folder.join(file)),
            allow_private: self.allow_private,
            keys_keep: seconds("identity.workload.keys_keep_s", self.keys_keep_s, 300, 1)?,
            keys_grace: seconds("identity.workload.keys_grace_s", self.keys_grace_s, 3600, 0)?,
        })
    }

    fn keys(&self, folder: &Path) -> Result<KeyPlace, Refused> {
        match (&self.jwks_uri, &self.jwks_file) {
            (Some(url), None) => {
                check_url("identity.workload.jwks_uri", url, self.allow_private)?;
                Ok(KeyPlace::Url(url.clone()))
            }
            (None, Some(file)) => Ok(KeyPlace::File(folder.join(file))),
            (None, None) if self.trust_domain.is_none() => Ok(KeyPlace::Discovered),
            (None, None) => {
                let rule = "or `jwks_file` must be given with `trust_domain`: where its bundle is";
                Err(("identity.workload.jwks_uri", rule, "neither".into()))
            }
            (Some(_), Some(_)) => Err(("identity.workload.jwks_uri", "does not go with `jwks_file`", "both".into())),
        }
    }
}

impl WorkloadTerms {
    /// Whether a token for `audience` could count as one of its workload's.
    fn is_for(&self, audience: &str) -> bool {
        self.audiences.iter().any(|other| **other == *audience)
    }

    /// Whether this issuer can stand beside `other` without anybody taking one's tokens for the other's.
    pub(super) fn beside(&self, other: &Self) -> Result<(), Refused> {
        if self.name == other.name {
            return Err(("identity.workload.name", "must be unique", "another".into()));
        }
        let shared = self.audiences.iter().find(|audience| other.is_for(audience));
        match shared.filter(|_| self.known_by == other.known_by) {
            Some(shared) => {
                let rule = "must differ between workload issuers whose tokens are known by the same";
                Err(("identity.workload.audiences", rule, format!("`{shared}`, as `{}` has,", other.name)))
            }
            None => Ok(()),
        }
    }

    /// Whether no token of a user could be taken for one of a workload, nor the other way round.
    pub(in crate::config) fn beside_provider(&self, provider: &ProviderTerms) -> Result<(), Refused> {
        if self.name == provider.name {
            return Err(("identity.workload.name", "must be unique", "a provider's".into()));
        }
        let users = provider.client_ids.iter().chain(&provider.audiences).chain(&provider.sign_in_client);
        let same_issuer = self.known_by == KnownBy::Issuer(provider.issuer.clone());
        match users.into_iter().find(|audience| same_issuer && self.is_for(audience)) {
            Some(shared) => {
                let rule = "must hold no audience of the provider with the same issuer, or a user's token could pass for a workload's";
                Err(("identity.workload.audiences", rule, format!("`{shared}`, as `{}` has,", provider.name)))
            }
            None => Ok(()),
        }
    }
}

/// SPIFFE ID section 2.1.
fn is_trust_domain(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    (1..=255).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use crate::config::authority::{AuthorityConfig, AuthorityTerms};
    use crate::config::identity::{KeyPlace, Reuse};

    fn terms(more: &str) -> Result<AuthorityTerms, String> {
        let sample = include_str!("../../../samples/authority.toml");
        let config = AuthorityConfig::parse(&format!("{sample}\n{more}"), "/etc/writ/writ.toml".as_ref());
        config.map(|config| config.terms).map_err(|error| error.to_string())
    }

    fn one(lines: &str) -> String {
        format!("[[identity.workload]]\nname = \"ci\"\n{lines}\n")
    }

    const CI: &str = "issuer = \"https://ci.example\"";

    #[test]
    fn a_workload_issuer_is_known_by_its_url_or_its_trust_domain() {
        let ci = terms(&one(CI)).unwrap().workloads.remove(0);
        assert_eq!((ci.keys, ci.reuse), (KeyPlace::Discovered, Reuse::WhileFresh));
        assert_eq!(ci.audiences, ["http://127.0.0.1:8700".into()]);
        let spire =
            terms(&one("trust_domain = \"example.org\"\njwks_file = \"bundle.json\"")).unwrap().workloads.remove(0);
        assert_eq!(spire.keys, KeyPlace::File("/etc/writ/bundle.json".into()));
    }

    #[test]
    fn a_wrong_value_names_its_key_and_its_issuer() {
        for (lines, key) in [
            ("", "issuer"),
            ("issuer = \"https://ci.example\"\ntrust_domain = \"a\"\njwks_file = \"a\"", "issuer"),
            ("issuer = \"http://ci.example\"", "issuer"),
            ("trust_domain = \"example.org\"", "jwks_uri"),
            ("trust_domain = \"spiffe://example.org\"\njwks_file = \"a\"", "trust_domain"),
            ("trust_domain = \"Example.org\"\njwks_file = \"a\"", "trust_domain"),
            ("issuer = \"https://ci.example\"\njwks_file = \"a\"\njwks_uri = \"https://ci.example/keys\"", "jwks_uri"),
            ("issuer = \"https://ci.example\"\njwks_uri = \"http://ci.example/keys\"", "jwks_uri"),
            ("issuer = \"https://ci.example\"\naudiences = []", "audiences"),
            ("issuer = \"https://ci.example\"\nalgorithms = [\"HS256\"]", "algorithms"),
            ("issuer = \"https://ci.example\"\nclock_skew_s = 301", "clock_skew_s"),
            ("issuer = \"https://ci.example\"\ntoken_life_max_s = 0", "token_life_max_s"),
        ] {
            let error = terms(&one(lines)).unwrap_err();
            assert!(error.contains(&format!("identity.workload.{key}")) && error.contains("`ci`"), "{lines}: {error}");
        }
    }

    #[test]
    fn one_token_is_never_two_issuers_nor_a_users() {
        let two =
            |more: &str| terms(&format!("{}{}", one(CI), one(&format!("{CI}\n{more}")).replace("\"ci\"", "\"ci2\"")));
        two("audiences = [\"other\"]\ntenant = \"acme\"").unwrap();
        for more in ["", "tenant = \"acme\"", "audiences = [\"other\", \"http://127.0.0.1:8700\"]"] {
            assert!(two(more).unwrap_err().contains("identity.workload.audiences"), "{more}");
        }
        assert!(terms(&one(CI).repeat(2)).unwrap_err().contains("identity.workload.name"));
        let beside = |workload: &str| {
            let sign_in = "[sign_in]\nprovider = \"corp\"\nclient_id = \"console\"\nclient_secret_file = \"s\"\nadmins = [\"a\"]\n";
            terms(&format!(
                "{sign_in}[[identity.provider]]\nname = \"corp\"\n{CI}\nclient_ids = [\"app\"]\naudiences = [\"api\"]\n{}",
                one(&format!("{CI}\n{workload}"))
            ))
        };
        beside("").unwrap();
        for audience in ["app", "api", "console"] {
            let error = beside(&format!("audiences = [\"x\", \"{audience}\"]")).unwrap_err();
            assert!(error.contains("identity.workload.audiences") && error.contains(audience), "{error}");
        }
        let error = terms(&format!("[[identity.provider]]\nname = \"ci\"\n{CI}\nclient_ids = [\"app\"]\n{}", one(CI)))
            .unwrap_err();
        assert!(error.contains("identity.workload.name"), "{error}");
    }
}
