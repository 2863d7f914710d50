//! How operators sign in: at which identity provider, as which client, and which of its groups have which role.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::config::ConfigError;
use crate::config::identity::ProviderTerms;
use crate::id::{Group, ProviderName};
use crate::policy::Role;

/// How operators sign in. Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInTerms {
    /// The provider, one of those whose word about users counts.
    pub provider: ProviderName,
    /// The authority's client id there. None of the provider's `client_ids`: its tokens buy no writ.
    pub client_id: Box<str>,
    /// The file with its client secret.
    pub client_secret_file: PathBuf,
    /// What is asked for, `openid` included.
    pub scopes: Vec<Box<str>>,
    /// Which groups have which role. Who is in none gets no session; who is in several has the role that may most.
    pub roles: Vec<(Role, Group)>,
    /// The longest life of a session.
    pub session: Duration,
    /// How long it may be unused.
    pub idle: Duration,
}

impl SignInTerms {
    /// The role of somebody in these groups.
    pub fn role(&self, groups: &[Group]) -> Option<Role> {
        self.roles.iter().filter(|(_, group)| groups.contains(group)).map(|(role, _)| *role).max()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignInTable {
    provider: ProviderName,
    client_id: Box<str>,
    client_secret_file: PathBuf,
    scopes: Option<Vec<Box<str>>>,
    #[serde(default)]
    admins: Vec<Group>,
    #[serde(default)]
    approvers: Vec<Group>,
    #[serde(default)]
    auditors: Vec<Group>,
    session_s: Option<u64>,
    idle_s: Option<u64>,
}

impl SignInTable {
    /// Checks it, and tells the provider of its other client.
    pub(super) fn checked(self, folder: &Path, providers: &mut [ProviderTerms]) -> Result<SignInTerms, ConfigError> {
        let refused = |key, rule, got: String| Err(ConfigError::Value { key, rule, got });
        let provider = providers.iter_mut().find(|provider| provider.name == self.provider);
        let Some(provider) = provider else {
            return refused(
                "sign_in.provider",
                "must be the name of an `identity.provider`",
                self.provider.to_string(),
            );
        };
        if self.client_id.is_empty()
            || self.client_id.len() > 255
            || self.client_id.chars().any(crate::id::is_deceptive)
        {
            return refused(
                "sign_in.client_id",
                "must be 1 to 255 bytes without control characters",
                "another text".into(),
            );
        }
        if provider.client_ids.contains(&self.client_id) || provider.audiences.contains(&self.client_id) {
            let rule = "must be none of the provider's `client_ids` and `audiences`, or a sign-in could buy writs";
            return refused("sign_in.client_id", rule, format!("`{}`", self.client_id));
        }
        let scopes = self.scopes.unwrap_or_else(|| vec!["openid".into()]);
        let is_scope =
            |scope: &str| !scope.is_empty() && scope.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        if !scopes.iter().any(|scope| **scope == *"openid") || !scopes.iter().all(|scope| is_scope(scope)) {
            return refused("sign_in.scopes", "must hold `openid`, and scopes only", format!("{scopes:?}"));
        }
        let of = |role: Role, groups: Vec<Group>| groups.into_iter().map(move |group| (role, group));
        let roles: Vec<_> = of(Role::Admin, self.admins)
            .chain(of(Role::Approver, self.approvers))
            .chain(of(Role::Auditor, self.auditors))
            .collect();
        if roles.is_empty() {
            return refused("sign_in.admins", "or `approvers` or `auditors` must name a group", "none".into());
        }
        provider.sign_in_client = Some(self.client_id.clone());
        Ok(SignInTerms {
            provider: self.provider,
            client_id: self.client_id,
            client_secret_file: folder.join(self.client_secret_file),
            scopes,
            roles,
            session: seconds("sign_in.session_s", self.session_s, 8 * 3600)?,
            idle: seconds("sign_in.idle_s", self.idle_s, 3600)?,
        })
    }
}

/// At most a day: an entry of the revocation log that ends somebody is kept for longer than that.
fn seconds(key: &'static str, got: Option<u64>, default: u64) -> Result<Duration, ConfigError> {
    match got.unwrap_or(default) {
        // Use is noted to the minute.
        got @ 120..=86_400 => Ok(Duration::from_secs(got)),
        got => Err(ConfigError::Value { key, rule: "must be between 120 and 86400", got: got.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::authority::AuthorityConfig;

    const PROVIDER: &str = "[[identity.provider]]\nname = \"corp\"\nissuer = \"https://i\"\nclient_ids = [\"app\"]\naudiences = [\"api\"]\n";
    const SIGN_IN: &str = "[sign_in]\nprovider = \"corp\"\nclient_id = \"writ\"\nclient_secret_file = \"secret\"\n\
                           admins = [\"ops\"]\nauditors = [\"audit\", \"ops\"]\n";

    fn terms(text: &str) -> Result<AuthorityConfig, String> {
        let sample = include_str!("../../samples/authority.toml");
        let text = format!("{sample}\n{PROVIDER}{text}");
        AuthorityConfig::parse(&text, "/etc/writ/writ.toml".as_ref()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_role_comes_by_a_group_and_of_several_the_one_that_may_most() {
        let config = terms(SIGN_IN).unwrap();
        let terms = config.terms.sign_in.unwrap();
        let groups = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Group>>();
        assert_eq!(terms.role(&groups(&["audit"])), Some(Role::Auditor));
        assert_eq!(terms.role(&groups(&["audit", "ops", "x"])), Some(Role::Admin));
        assert_eq!((terms.role(&groups(&["Ops", "ops "])), terms.role(&[])), (None, None));
        assert_eq!((terms.session.as_secs(), terms.idle.as_secs()), (28_800, 3600));
        assert_eq!(config.terms.providers[0].sign_in_client.as_deref(), Some("writ"));
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        for (from, to, key) in [
            ("corp", "other", "provider"),
            ("\"writ\"", "\"app\"", "client_id"),
            ("\"writ\"", "\"api\"", "client_id"),
            ("\"writ\"", "\"\"", "client_id"),
            ("admins = [\"ops\"]\nauditors = [\"audit\", \"ops\"]", "", "admins"),
            ("admins", "session_s = 86401\nadmins", "session_s"),
            ("admins", "idle_s = 119\nadmins", "idle_s"),
            ("admins", "scopes = [\"groups\"]\nadmins", "scopes"),
            ("admins", "scopes = [\"openid\", \"a b\"]\nadmins", "scopes"),
        ] {
            let error = terms(&SIGN_IN.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(&format!("sign_in.{key}")), "{to}: {error}");
        }
        assert!(terms(&SIGN_IN.replace("admins", "owners")).is_err());
    }
}
