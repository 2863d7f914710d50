//! Where the store is: `store.url`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use tokio_postgres::config::{Config, Host, SslMode};

/// Where the store is: `sqlite:<path>` or `postgres://<user>@<host>/<database>`.
///
/// It may hold a password, which it does not show.
#[derive(Clone)]
pub struct StoreUrl(Place);

#[derive(Clone)]
pub(super) enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PostgresUrl>),
}

/// A Postgres server, and how to be sure that it is the right one.
#[derive(Clone)]
pub(super) struct PostgresUrl {
    pub(super) config: Config,
    /// The certificates to trust instead of the public ones.
    pub(super) root_certificates: Option<PathBuf>,
}

/// A `store.url` that cannot be used. Does not repeat it: it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStoreUrl {
    /// Neither of the two forms.
    #[error("`store.url` must be `sqlite:<path>` or `postgres://<user>@<host>/<database>`")]
    Form,
    /// A Postgres URL that the driver does not understand.
    #[error(
        "`store.url` is not a Postgres URL that writ understands ({0}): percent-encode `@`, `:`, `/` and `?` in the password"
    )]
    Postgres(Box<str>),
    /// No host, user or database.
    #[error("`store.url` names no {0}: use `postgres://<user>@<host>/<database>`")]
    Missing(&'static str),
    /// TLS that an attacker could switch off.
    #[error("`store.url` has `sslmode=prefer`, which an attacker can turn into no TLS: use `require` or `disable`")]
    Prefer,
}

impl StoreUrl {
    /// The SQLite file at `path`.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self(Place::Sqlite(path.into()))
    }

    pub(super) fn place(&self) -> &Place {
        &self.0
    }
}

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                // SQLite itself reads these as a database in memory and as a URI.
                if path.is_empty() || path.starts_with(':') || path.starts_with("file:") || path.contains('\0') {
                    return Err(InvalidStoreUrl::Form);
                }
                Ok(Self(Place::Sqlite(path.into())))
            }
            Some(("postgres" | "postgresql", _)) => postgres(text).map(|url| Self(Place::Postgres(Box::new(url)))),
            _ => Err(InvalidStoreUrl::Form),
        }
    }
}

/// Reads a Postgres URL, with two parameters of libpq that the driver does not know: `sslrootcert`, and
/// `sslmode=verify-full`, which is what `require` always means here.
fn postgres(text: &str) -> Result<PostgresUrl, InvalidStoreUrl> {
    let (address, parameters) = text.split_once('?').unwrap_or((text, ""));
    let mut root_certificates = None;
    let mut ssl_mode = None;
    let mut rest = Vec::new();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslrootcert", path)) => root_certificates = Some(PathBuf::from(percent_decoded(path)?)),
            Some(("sslmode", "require" | "verify-full")) => ssl_mode = Some(SslMode::Require),
            Some(("sslmode", "disable")) => ssl_mode = Some(SslMode::Disable),
            Some(("sslmode", "prefer" | "allow")) => return Err(InvalidStoreUrl::Prefer),
            _ => rest.push(parameter),
        }
    }
    let text = if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) };
    let mut config: Config = text.parse().map_err(|error| InvalidStoreUrl::Postgres(reason(&error).into()))?;
    for (missing, name) in [
        (config.get_hosts().is_empty(), "host"),
        (config.get_user().is_none_or(str::is_empty), "user"),
        (config.get_dbname().is_none_or(str::is_empty), "database"),
    ] {
        if missing {
            return Err(InvalidStoreUrl::Missing(name));
        }
    }
    // An `@` or `/` in a password ends up here: it must not be looked up, or shown.
    if !config.get_hosts().iter().all(is_host) {
        return Err(InvalidStoreUrl::Postgres("a host with characters that no host has".into()));
    }
    let default = if config.get_hosts().iter().all(is_local) { SslMode::Disable } else { SslMode::Require };
    config.ssl_mode(ssl_mode.unwrap_or(default));
    Ok(PostgresUrl { config, root_certificates })
}

/// What the driver finds wrong. It names parameters, never values.
fn reason(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn percent_decoded(text: &str) -> Result<String, InvalidStoreUrl> {
    let invalid = || InvalidStoreUrl::Postgres("`sslrootcert` is not percent-encoded text".into());
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let mut byte = [0];
                hex::decode_to_slice([*high, *low], &mut byte).map_err(|_| invalid())?;
                bytes.push(byte[0]);
                rest = after;
            }
            (b'%', _) => return Err(invalid()),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

fn is_host(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
        }
        Host::Unix(path) => path.is_absolute(),
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Place::Postgres(url) => {
                let host = |host: &Host| match host {
                    Host::Tcp(name) => name.clone(),
                    Host::Unix(path) => path.display().to_string(),
                };
                let hosts: Vec<_> = url.config.get_hosts().iter().map(host).collect();
                write!(f, "postgres://{}/{}", hosts.join(","), url.config.get_dbname().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn place(text: &str) -> Place {
        text.parse::<StoreUrl>().unwrap().0
    }

    fn config(text: &str) -> PostgresUrl {
        match place(text) {
            Place::Postgres(url) => *url,
            Place::Sqlite(_) => panic!("{text}"),
        }
    }

    #[test]
    fn a_path_is_taken_as_it_stands() {
        for (text, path) in [("sqlite:a b.db", "a b.db"), ("sqlite:///var/x?y", "/var/x?y"), ("sqlite:/v", "/v")] {
            assert!(matches!(place(text), Place::Sqlite(found) if found == Path::new(path)), "{text}");
        }
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_at_once() {
        for text in ["", "sqlite:", "sqlite::memory:", "sqlite:file:x?mode=memory", "mysql://h/d", "/var/lib/x.db"] {
            assert_eq!(text.parse::<StoreUrl>().unwrap_err(), InvalidStoreUrl::Form, "{text}");
        }
        for (text, missing) in [("postgres://h/d", "user"), ("postgres://u@h", "database"), ("postgres://u@/d", "host")]
        {
            assert_eq!(text.parse::<StoreUrl>().unwrap_err(), InvalidStoreUrl::Missing(missing), "{text}");
        }
    }

    #[test]
    fn a_remote_server_must_prove_itself_unless_told_otherwise() {
        assert_eq!(config("postgres://u@db.example/d").config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config("postgres://u@db.example/d?sslmode=verify-full").config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config("postgres://u@db.example/d?sslmode=disable").config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(config("postgres://u@127.0.0.1/d").config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(config("postgres://u@localhost/d?sslmode=require").config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config("postgres://u@%2Frun%2Fpg/d").config.get_ssl_mode(), SslMode::Disable);
        assert_eq!("postgres://u@h/d?sslmode=prefer".parse::<StoreUrl>().unwrap_err(), InvalidStoreUrl::Prefer);
    }

    #[test]
    fn several_servers_are_named_in_the_order_in_which_they_are_tried() {
        let text = "postgres://u:p@a.example:5433,b.example:5434/d";
        let url = config(text);
        assert_eq!(url.config.get_hosts(), [Host::Tcp("a.example".into()), Host::Tcp("b.example".into())]);
        assert_eq!(url.config.get_ports(), [5433, 5434]);
        assert_eq!(url.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(config("postgres://u@127.0.0.1,b/d").config.get_ssl_mode(), SslMode::Require, "one is not local");
        assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), "postgres://a.example,b.example/d");
    }

    #[test]
    fn a_private_authority_is_named_by_sslrootcert() {
        let url = config("postgres://u@h/d?sslrootcert=%2Fetc%2Fca%20x.pem&application_name=writ");
        assert_eq!(url.root_certificates.as_deref(), Some(Path::new("/etc/ca x.pem")));
        assert_eq!(url.config.get_application_name(), Some("writ"));
    }

    #[test]
    fn neither_url_nor_error_shows_a_password() {
        for text in [
            "postgres://u:hunter2@h:5432/d",
            "postgres://u:a/hunter2@h/d",
            "postgres://u:a@hunter2@h/d",
            "postgres://u:a?hunter2@h/d",
            "postgres://u:hunter2@h:port/d",
            "postgres://u:hunter2@h/d?hunter2=1",
        ] {
            let shown = match text.parse::<StoreUrl>() {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(text.ends_with("hunter2=1") || !shown.contains("hunter2"), "{shown}");
        }
    }
}
