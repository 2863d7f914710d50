//! The settings of an authority: what its file says, and what the process is given.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::config::identity::{DirectoryTerms, Identities, IdentityTable, ProviderTerms, WorkloadTerms};
use crate::config::saml::SamlTerms;
use crate::config::sign_in::{SignInTable, SignInTerms};
use crate::config::{ConfigError, TlsFiles, read};
use crate::id::{AudienceName, ProviderName};

/// What an authority is started with. Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its metrics can be read, by whoever reaches that address; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Its certificate; `None` is possible on a loopback address only.
    pub tls: Option<TlsFiles>,
    /// The URL at which agents and edges reach it. Fixed by `writ init`.
    pub issuer: Issuer,
    /// Where its state is.
    pub store: StoreAddress,
    /// Where its key-encryption keys are.
    pub keks: KekSource,
    /// How it behaves.
    pub terms: AuthorityTerms,
}

/// How an authority behaves, wherever it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityTerms {
    /// The edge deployments that writs may be minted for.
    pub audiences: Vec<AudienceName>,
    /// How long an edge may serve after it last heard.
    pub lease: Duration,
    /// By how much the clocks of edge and authority may differ in speed over one lease.
    pub drift: Duration,
    /// How long an edge may keep what it was lent.
    pub keep: Duration,
    /// How long a join ticket can be used.
    pub ticket_ttl: Duration,
    /// How often the audit chain's head is signed.
    pub checkpoint_every: Duration,
    /// The most connections at one time.
    pub connections_max: usize,
    /// How long a connection may have no whole head of a request, the handshake included, how long a body may take to arrive, and how
    /// long nothing of an answer may be taken.
    pub idle_timeout: Duration,
    /// How long open requests have to finish when it is told to stop.
    pub drain: Duration,
    /// Whose word about users counts.
    pub providers: Vec<ProviderTerms>,
    /// Whose SAML assertions count as well.
    pub saml: Vec<SamlTerms>,
    /// Platforms whose word about workloads counts.
    pub workloads: Vec<WorkloadTerms>,
    /// How operators sign in; `None`: by their secrets only.
    pub sign_in: Option<SignInTerms>,
}

/// An issuer URL: an origin, `https` or loopback `http`, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer(Box<str>);

/// A text that is not an issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an issuer: use an origin in lower case such as `https://writ.example.com` (plain `http` for 127.0.0.1, \
     [::1] and localhost only), without a path"
)]
pub struct InvalidIssuer(String);

/// Where an authority's state is: the text of a `store::StoreUrl`, a relative SQLite path resolved. May hold a password:
/// not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreAddress(Box<str>);

/// Where an authority's key-encryption keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KekSource {
    /// In files, each one key; the first seals, all of them open.
    Files(Vec<PathBuf>),
    /// In an environment variable of this name; several keys are separated by commas, the first seals.
    Variable(Box<str>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    authority: AuthorityTable,
    store: StoreTable,
    vault: VaultTable,
    #[serde(default)]
    identity: IdentityTable,
    sign_in: Option<SignInTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorityTable {
    listen: SocketAddr,
    metrics_listen: Option<SocketAddr>,
    issuer: String,
    tls: Option<TlsFiles>,
    #[serde(default = "defaults::audiences")]
    audiences: Vec<AudienceName>,
    #[serde(default = "defaults::lease_ms")]
    lease_ms: u64,
    #[serde(default = "defaults::keep_ms")]
    keep_ms: u64,
    #[serde(default = "defaults::ticket_ttl_s")]
    ticket_ttl_s: u64,
    #[serde(default = "defaults::checkpoint_every_s")]
    checkpoint_every_s: u64,
    #[serde(default = "defaults::connections_max")]
    connections_max: usize,
    #[serde(default = "defaults::idle_timeout_s")]
    idle_timeout_s: u64,
    #[serde(default = "defaults::drain_s")]
    drain_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreTable {
    url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultTable {
    #[serde(default)]
    kek_files: Vec<PathBuf>,
    kek_variable: Option<Box<str>>,
}

mod defaults {
    use crate::id::AudienceName;

    pub(super) fn audiences() -> Vec<AudienceName> {
        // Expect safety: a constant that is a name.
        vec!["main".parse().expect("`main` is a name")]
    }
    pub(super) const fn lease_ms() -> u64 {
        1000
    }
    pub(super) const fn keep_ms() -> u64 {
        30_000
    }
    pub(super) const fn ticket_ttl_s() -> u64 {
        3600
    }
    pub(super) const fn checkpoint_every_s() -> u64 {
        60
    }
    pub(super) const fn connections_max() -> usize {
        4096
    }
    pub(super) const fn idle_timeout_s() -> u64 {
        30
    }
    pub(super) const fn drain_s() -> u64 {
        10
    }
}

impl Default for AuthorityTerms {
    fn default() -> Self {
        let lease = Duration::from_millis(defaults::lease_ms());
        Self {
            audiences: defaults::audiences(),
            lease,
            drift: drift(lease),
            keep: Duration::from_millis(defaults::keep_ms()),
            ticket_ttl: Duration::from_secs(defaults::ticket_ttl_s()),
            checkpoint_every: Duration::from_secs(defaults::checkpoint_every_s()),
            connections_max: defaults::connections_max(),
            idle_timeout: Duration::from_secs(defaults::idle_timeout_s()),
            drain: Duration::from_secs(defaults::drain_s()),
            providers: Vec::new(),
            saml: Vec::new(),
            workloads: Vec::new(),
            sign_in: None,
        }
    }
}

impl AuthorityTerms {
    /// The directory of a provider of that name, of whatever kind.
    pub fn directory(&self, name: &ProviderName) -> Option<DirectoryTerms<'_>> {
        let openid = self.providers.iter().map(|terms| DirectoryTerms {
            provider: &terms.name,
            tenant: &terms.tenant,
            user_prefix: &terms.user_prefix,
            scim_user: terms.scim_user,
        });
        let saml = self.saml.iter().map(|terms| DirectoryTerms {
            provider: &terms.name,
            tenant: &terms.tenant,
            user_prefix: &terms.user_prefix,
            scim_user: terms.scim_user,
        });
        openid.chain(saml).find(|directory| directory.provider == name)
    }
}

/// One part in twenty: a hundred times what a working quartz drifts.
fn drift(lease: Duration) -> Duration {
    lease / 20
}

impl AuthorityConfig {
    /// Reads and checks a file. Relative paths in it count from the file's folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::checked(read(path)?, folder)
    }

    /// Checks `text`, which stands at `path`. For whoever has a text that is in no file, a fuzzer above all.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::checked(crate::config::parse(text, path)?, path.parent().unwrap_or(Path::new("")))
    }

    fn checked(file: File, folder: &Path) -> Result<Self, ConfigError> {
        let File { authority, store, vault, identity, sign_in } = file;
        if authority.tls.is_none() && !authority.listen.ip().is_loopback() {
            return Err(refused(
                "authority.listen",
                "must be a loopback address as long as `authority.tls` is missing",
                authority.listen,
            ));
        }
        if authority.audiences.is_empty() {
            return Err(refused("authority.audiences", "must name at least one edge deployment", "none"));
        }
        let issuer: Issuer = authority.issuer.parse().map_err(|InvalidIssuer(got)| ConfigError::Value {
            key: "authority.issuer",
            rule: "must be an origin such as `https://writ.example.com` (plain `http` on loopback only), without a path",
            got,
        })?;
        let lease = Duration::from_millis(within(
            "authority.lease_ms",
            "must be between 100 and 60000",
            authority.lease_ms,
            100..=60_000,
        )?);
        let mut identities = identity.checked(issuer.as_str(), folder)?;
        let sign_in = sign_in.map(|table| table.checked(folder, &mut identities.providers)).transpose()?;
        identities.check_apart()?;
        let Identities { providers, saml, workloads } = identities;
        Ok(Self {
            listen: authority.listen,
            metrics_listen: authority.metrics_listen,
            tls: authority
                .tls
                .map(|tls| TlsFiles { certificate: folder.join(tls.certificate), key: folder.join(tls.key) }),
            issuer,
            store: StoreAddress::checked(&store.url, folder)?,
            keks: vault.checked(folder)?,
            terms: AuthorityTerms {
                audiences: authority.audiences,
                lease,
                drift: drift(lease),
                keep: Duration::from_millis(within(
                    "authority.keep_ms",
                    "must be between 0 and 3600000",
                    authority.keep_ms,
                    0..=3_600_000,
                )?),
                ticket_ttl: Duration::from_secs(within(
                    "authority.ticket_ttl_s",
                    "must be between 60 and 604800",
                    authority.ticket_ttl_s,
                    60..=604_800,
                )?),
                checkpoint_every: Duration::from_secs(within(
                    "authority.checkpoint_every_s",
                    "must be between 1 and 86400",
                    authority.checkpoint_every_s,
                    1..=86_400,
                )?),
                connections_max: within(
                    "authority.connections_max",
                    "must be between 1 and 1000000",
                    authority.connections_max,
                    1..=1_000_000,
                )?,
                idle_timeout: Duration::from_secs(within(
                    "authority.idle_timeout_s",
                    "must be between 1 and 3600",
                    authority.idle_timeout_s,
                    1..=3600,
                )?),
                drain: Duration::from_secs(within(
                    "authority.drain_s",
                    "must be between 0 and 3600",
                    authority.drain_s,
                    0..=3600,
                )?),
                providers,
                saml,
                workloads,
                sign_in,
            },
        })
    }
}

fn refused(key: &'static str, rule: &'static str, got: impl ToString) -> ConfigError {
    ConfigError::Value { key, rule, got: got.to_string() }
}

fn within<T: PartialOrd + ToString>(
    key: &'static str,
    rule: &'static str,
    got: T,
    range: std::ops::RangeInclusive<T>,
) -> Result<T, ConfigError> {
    if range.contains(&got) { Ok(got) } else { Err(refused(key, rule, got)) }
}

impl StoreAddress {
    fn checked(url: &str, folder: &Path) -> Result<Self, ConfigError> {
        if let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Self(format!("sqlite:{}", folder.join(path).display()).into()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self(url.into()));
        }
        // The URL may hold a password: only its scheme is shown.
        let scheme = url.split_once(':').map_or("no scheme", |(scheme, _)| scheme);
        Err(refused("store.url", "must be `sqlite:<path>` or `postgres://…`", scheme))
    }

    /// The URL. Do not log it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.0.split_once(':').map_or("", |(scheme, _)| scheme);
        write!(f, "{scheme}:(..)")
    }
}

impl VaultTable {
    fn checked(self, folder: &Path) -> Result<KekSource, ConfigError> {
        match (self.kek_files.is_empty(), self.kek_variable) {
            (false, None) => Ok(KekSource::Files(self.kek_files.iter().map(|file| folder.join(file)).collect())),
            (true, Some(name)) => Ok(KekSource::Variable(name)),
            (true, None) => Err(refused("vault.kek_files", "or `vault.kek_variable` must be given", "neither")),
            (false, Some(_)) => Err(refused("vault.kek_variable", "must not stand beside `vault.kek_files`", "both")),
        }
    }
}

impl Issuer {
    /// The URL, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Issuer {
    type Err = InvalidIssuer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidIssuer(text.chars().take(80).filter(|c| !crate::id::is_deceptive(*c)).collect());
        let uri: http::Uri = text.parse().map_err(|_| invalid())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(invalid()) };
        let loopback = matches!(authority.host(), "127.0.0.1" | "[::1]" | "localhost");
        // Rebuilt from its parts it must be the same text: no path, query, user, upper case or default port hides in it.
        let default_port = if scheme == "https" { Some(443) } else { Some(80) };
        let canonical = format!("{scheme}://{authority}") == text
            && !authority.as_str().contains('@')
            && !text.bytes().any(|byte| byte.is_ascii_uppercase())
            && !authority.as_str().ends_with(':')
            && authority.port_u16() != default_port;
        let secure = scheme == "https" || (scheme == "http" && loopback);
        if canonical && secure { Ok(Self(text.into())) } else { Err(invalid()) }
    }
}

impl std::fmt::Display for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../samples/authority.toml");

    fn config(text: &str) -> Result<AuthorityConfig, String> {
        AuthorityConfig::parse(text, Path::new("/etc/writ/authority.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sample_parses_and_states_the_defaults() {
        let sample = config(SAMPLE).unwrap();
        assert_eq!(sample.terms, AuthorityTerms::default());
        assert_eq!(sample.store.as_str(), "sqlite:/etc/writ/writ.db");
        assert_eq!(sample.keks, KekSource::Files(vec!["/etc/writ/kek".into()]));
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        for (from, to, key) in [
            ("lease_ms = 1000", "lease_ms = 0", "authority.lease_ms"),
            ("127.0.0.1:8700", "0.0.0.0:8700", "authority.listen"),
            ("sqlite:writ.db", "mysql:x", "store.url"),
            ("http://127.0.0.1:8700", "http://writ.example.com", "authority.issuer"),
            (r#"["main"]"#, "[]", "authority.audiences"),
            (r#"["kek"]"#, "[]", "vault.kek_files"),
            ("idle_timeout_s = 30", "idle_timeout_s = 0", "authority.idle_timeout_s"),
            ("drain_s", "drain", "drain"),
        ] {
            assert!(SAMPLE.contains(from), "{from}");
            let error = config(&SAMPLE.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn an_issuer_is_a_bare_origin() {
        for text in ["https://a.example", "https://a.example:8443", "http://127.0.0.1:1", "http://[::1]:8700"] {
            assert_eq!(text.parse::<Issuer>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "a",
            "https://",
            "https://a/",
            "https://a/b",
            "https://A",
            "HTTPS://a",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "http://a.example",
            "https://a:443",
            "https://a:",
            "ftp://a",
            "https://a b",
        ] {
            assert!(text.parse::<Issuer>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_database_password_is_not_printed() {
        let url = StoreAddress::checked("postgres://writ:hunter2@db/writ", Path::new("")).unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
        let error = StoreAddress::checked("mysql://writ:hunter2@db", Path::new("")).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
