//! The settings of an edge: what `edge.toml` says, and what the edge is given.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::config::journal::{JournalFile, JournalSettings};
use crate::config::{ConfigError, TlsFiles, read};
use crate::token::proof::BearerRule;

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeFile {
    listen: Vec<SocketAddr>,
    metrics_listen: Option<SocketAddr>,
    origin: Option<String>,
    state: PathBuf,
    #[serde(default)]
    bearer: BearerWord,
    #[serde(default)]
    nonce: bool,
    tls: Option<TlsFiles>,
    #[serde(default)]
    mutual_tls: bool,
    #[serde(default)]
    authorities: Vec<Box<str>>,
    #[serde(default)]
    extra_roots: Vec<PathBuf>,
    clock_skew_s_max: Option<u64>,
    threads: Option<u64>,
    #[serde(default)]
    journal: JournalFile,
    #[serde(default)]
    limits: LimitsFile,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BearerWord {
    #[default]
    Refuse,
    Accept,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsFile {
    connections_max: Option<u64>,
    requests_max: Option<u64>,
    service_requests_max: Option<u64>,
    head_bytes_max: Option<u64>,
    head_fields_max: Option<u64>,
    head_timeout_s: Option<u64>,
    body_bytes_max: Option<u64>,
    read_body_bytes_max: Option<u64>,
    read_bodies_bytes_max: Option<u64>,
    idle_timeout_s: Option<u64>,
    h2_streams_max: Option<u64>,
    connect_timeout_s: Option<u64>,
    service_idle_timeout_s: Option<u64>,
    service_idle_max: Option<u64>,
    lend_timeout_s: Option<u64>,
    answer_timeout_s: Option<u64>,
    drain_timeout_s: Option<u64>,
    cached_chains_max: Option<u64>,
    remembered_proofs_max: Option<u64>,
}

/// What an edge is given: already checked.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Where it listens; never empty. Without TLS only loopback addresses.
    pub listen: Vec<SocketAddr>,
    /// Where its metrics can be read, by whoever reaches that address; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// The origin at which agents reach it; `None`: that of the first address it listens on.
    pub origin: Option<Origin>,
    /// The folder for its key, its place in the audit chain, and the journal.
    pub state: PathBuf,
    /// Whether bearer writs are accepted here.
    pub bearer: BearerRule,
    /// Whether every proof must carry a nonce of this edge (RFC 9449 section 8).
    pub nonce: NonceMode,
    /// Certificate and key; `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether a client may prove a writ's key by the TLS connection, instead of by a proof with each request (RFC 8705).
    pub mutual_tls: bool,
    /// URLs at which the authority is reached: replicas, or an address inside of a network. Empty: the issuer's own.
    pub authorities: Vec<Box<str>>,
    /// PEM files with certificate authorities that upstreams and authority are trusted by, beyond the built-in ones.
    pub extra_roots: Vec<PathBuf>,
    /// How far this machine's clock may be from the authority's before nothing is served.
    pub clock_skew_max: Duration,
    /// How the audit journal is kept.
    pub journal: JournalSettings,
    /// How many threads serve; `None`: one for each processor.
    pub threads: Option<usize>,
    /// What requests may cost.
    pub limits: EdgeLimits,
}

/// Whether proofs must carry a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceMode {
    /// They need none: the default.
    Optional,
    /// They must: a proof made ahead of time, or for another edge, does not count.
    Demanded,
}

/// What requests may cost. Each has a default and a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeLimits {
    /// The most connections at one time. One more closes that which has waited longest without a request; where each has one,
    /// it waits in the kernel's queue.
    pub connections_max: usize,
    /// The most requests under way at one time, over all connections. More get a 503.
    pub requests_max: usize,
    /// The most requests under way to one service at one time. More get a 503, while other services are served. By default a
    /// quarter of `requests_max`, or of `connections_max` where that is less: over HTTP/1.1 each takes a connection.
    pub service_requests_max: usize,
    /// The longest request head in bytes.
    pub head_bytes_max: usize,
    /// The most header fields in a request.
    pub head_fields_max: usize,
    /// The longest a head may take to arrive; also how long an idle connection is kept.
    pub head_timeout: Duration,
    /// The longest request body in bytes.
    pub body_bytes_max: u64,
    /// The longest request body in bytes where it is read in full before it is forwarded: JSON, or covered by a proof.
    pub read_body_bytes_max: usize,
    /// The most bytes of such bodies at one time, over all requests. More get a 503.
    pub read_bodies_bytes_max: usize,
    /// The longest silence within a request body or an upstream's answer.
    pub idle_timeout: Duration,
    /// The most concurrent streams of an HTTP/2 connection.
    pub h2_streams_max: u32,
    /// The longest an upstream may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long an unused connection to an upstream is kept.
    pub service_idle_timeout: Duration,
    /// How many unused connections to one upstream each thread keeps.
    pub service_idle_max: usize,
    /// The longest the authority may take to lend a credential.
    pub lend_timeout: Duration,
    /// The longest an upstream may take from the request to the head of its answer.
    pub answer_timeout: Duration,
    /// How long open requests may go on after the edge was told to stop.
    pub drain_timeout: Duration,
    /// The most verified chains that are remembered.
    pub cached_chains_max: usize,
    /// The most used proofs that are remembered. When they are all still in time, bound writs get a 503.
    pub remembered_proofs_max: usize,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        // Expect safety: the defaults are within their ranges; `the_sample_file_says_what_the_defaults_are` runs this.
        LimitsFile::default().checked().expect("the defaults are in range")
    }
}

/// A scheme and an authority, in canonical spelling: `https://edge.example`, `http://127.0.0.1:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: Box<str>,
    scheme_bytes: usize,
}

/// A text that is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin: expected `https://host` or `https://host:port`, lower case, without a path or a default port")]
pub struct InvalidOrigin;

impl Origin {
    /// The origin of a server at `address`.
    pub fn of(address: SocketAddr, tls: bool) -> Self {
        let (scheme, default_port) = if tls { ("https", 443) } else { ("http", 80) };
        let host = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let port = if address.port() == default_port { String::new() } else { format!(":{}", address.port()) };
        Self { text: format!("{scheme}://{host}{port}").into(), scheme_bytes: scheme.len() }
    }

    /// `https://edge.example`: no slash at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a `Host` header must say: `edge.example`.
    pub fn authority(&self) -> &str {
        &self.text[self.scheme_bytes + "://".len()..]
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        &self.text[..self.scheme_bytes]
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, authority) = text.split_once("://").ok_or(InvalidOrigin)?;
        let default_port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return Err(InvalidOrigin),
        };
        let plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'[' | b']' | b':');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| ip.to_string() == inside),
            None => !host.is_empty() && !host.contains(['[', ']', ':']) && !host.ends_with('.'),
        };
        let port_fits =
            port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port && number > 0));
        let fits = authority.len() <= 255 && authority.bytes().all(plain) && host_fits;
        if !fits || !port_fits || (authority.ends_with(default_port) && port.is_some()) {
            return Err(InvalidOrigin);
        }
        Ok(Self { text: text.into(), scheme_bytes: scheme.len() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl EdgeConfig {
    /// Reads and checks `path`. Relative paths in the file count from its folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file: EdgeFile = read(path)?;
        file.checked(path.parent().unwrap_or(Path::new(".")))
    }

    /// Checks `text`, which stands at `path`. For whoever has a text that is in no file, a fuzzer above all.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: EdgeFile = crate::config::parse(text, path)?;
        file.checked(path.parent().unwrap_or(Path::new(".")))
    }

    /// An edge without TLS on `listen`, with its state in `state` and defaults for the rest.
    pub fn loopback(listen: SocketAddr, state: PathBuf) -> Self {
        Self {
            listen: vec![listen],
            metrics_listen: None,
            origin: None,
            state,
            bearer: BearerRule::Refuse,
            nonce: NonceMode::Optional,
            tls: None,
            mutual_tls: false,
            authorities: Vec::new(),
            extra_roots: Vec::new(),
            clock_skew_max: Duration::from_secs(CLOCK_SKEW_S),
            journal: JournalSettings::default(),
            threads: None,
            limits: EdgeLimits::default(),
        }
    }

    /// Checks what holds between the settings: run again by whoever builds a configuration without a file.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key, rule, got: String| Err(ConfigError::Value { key, rule, got });
        let Some(first) = self.listen.first() else {
            return refuse("listen", "must name at least one address", "none".into());
        };
        if self.tls.is_none()
            && let Some(open) = self.listen.iter().find(|address| !address.ip().is_loopback())
        {
            return refuse("listen", "must be loopback addresses where there is no [tls]", open.to_string());
        }
        if self.mutual_tls && self.tls.is_none() {
            return refuse(
                "mutual_tls",
                "needs the [tls] of this edge: it is about its own connections",
                "true".into(),
            );
        }
        match &self.origin {
            None if first.ip().is_unspecified() => {
                refuse("origin", "must be set where `listen` is no particular address", "none".into())
            }
            None => Ok(()),
            // TLS may end in front of a loopback edge, so https fits both; plain http beyond loopback fits none.
            Some(origin) if self.tls.is_some() && origin.scheme() != "https" => {
                refuse("origin", "must begin with https:// where there is a [tls]", origin.to_string())
            }
            Some(_) => Ok(()),
        }
    }
}

const CLOCK_SKEW_S: u64 = 30;

impl EdgeFile {
    fn checked(self, folder: &Path) -> Result<EdgeConfig, ConfigError> {
        let origin = match self.origin {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| ConfigError::Value {
                key: "origin",
                rule: "must be `https://host` or `https://host:port`, lower case, without a path or a default port",
                got: text,
            })?),
        };
        let skew_s =
            within("clock_skew_s_max", "must be between 1 and 300", self.clock_skew_s_max, CLOCK_SKEW_S, 1, 300)?;
        let threads = within("threads", "must be between 0 and 1024", self.threads, 0, 0, 1024)?;
        let config = EdgeConfig {
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            origin,
            state: folder.join(self.state),
            bearer: match self.bearer {
                BearerWord::Refuse => BearerRule::Refuse,
                BearerWord::Accept => BearerRule::Accept,
            },
            nonce: if self.nonce { NonceMode::Demanded } else { NonceMode::Optional },
            tls: self.tls.map(|tls| TlsFiles { certificate: folder.join(tls.certificate), key: folder.join(tls.key) }),
            mutual_tls: self.mutual_tls,
            authorities: self.authorities,
            extra_roots: self.extra_roots.into_iter().map(|path| folder.join(path)).collect(),
            clock_skew_max: Duration::from_secs(skew_s),
            threads: usize::try_from(threads).ok().filter(|threads| *threads > 0),
            journal: self.journal.checked()?,
            limits: self.limits.checked()?,
        };
        config.check()?;
        Ok(config)
    }
}

pub(super) fn within(
    key: &'static str,
    rule: &'static str,
    value: Option<u64>,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64, ConfigError> {
    match value.unwrap_or(default) {
        value if (least..=most).contains(&value) => Ok(value),
        value => Err(ConfigError::Value { key, rule, got: value.to_string() }),
    }
}

/// `limit!(self.key, default, least..=most)`: the value, or an error that names the key and its range.
macro_rules! limit {
    ($file:ident . $key:ident, $default:literal, $least:literal ..= $most:literal) => {
        within(
            concat!("limits.", stringify!($key)),
            concat!("must be between ", $least, " and ", $most),
            $file.$key,
            $default,
            $least,
            $most,
        )
    };
}

impl LimitsFile {
    fn checked(&self) -> Result<EdgeLimits, ConfigError> {
        let seconds = Duration::from_secs;
        // Every range ends far below what 32 bits hold.
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let connections_max = limit!(self.connections_max, 4096, 1..=1_000_000)?;
        let requests_max = limit!(self.requests_max, 8192, 1..=1_000_000)?;
        let service_requests_max = within(
            "limits.service_requests_max",
            "must be between 1 and 1000000",
            self.service_requests_max,
            (connections_max.min(requests_max) / 4).max(1),
            1,
            1_000_000,
        )?;
        Ok(EdgeLimits {
            connections_max: count(connections_max),
            requests_max: count(requests_max),
            service_requests_max: count(service_requests_max),
            head_bytes_max: count(limit!(self.head_bytes_max, 32_768, 4096..=262_144)?),
            head_fields_max: count(limit!(self.head_fields_max, 96, 8..=1000)?),
            head_timeout: seconds(limit!(self.head_timeout_s, 30, 1..=300)?),
            body_bytes_max: limit!(self.body_bytes_max, 104_857_600, 0..=1_099_511_627_776)?,
            read_body_bytes_max: count(limit!(self.read_body_bytes_max, 1_048_576, 0..=67_108_864)?),
            read_bodies_bytes_max: count(limit!(
                self.read_bodies_bytes_max,
                268_435_456,
                67_108_864..=1_099_511_627_776
            )?),
            idle_timeout: seconds(limit!(self.idle_timeout_s, 300, 1..=86_400)?),
            h2_streams_max: u32::try_from(limit!(self.h2_streams_max, 128, 1..=10_000)?).unwrap_or(u32::MAX),
            connect_timeout: seconds(limit!(self.connect_timeout_s, 10, 1..=300)?),
            service_idle_timeout: seconds(limit!(self.service_idle_timeout_s, 60, 1..=3600)?),
            service_idle_max: count(limit!(self.service_idle_max, 64, 0..=10_000)?),
            lend_timeout: seconds(limit!(self.lend_timeout_s, 5, 1..=60)?),
            answer_timeout: seconds(limit!(self.answer_timeout_s, 120, 1..=3600)?),
            drain_timeout: seconds(limit!(self.drain_timeout_s, 30, 0..=3600)?),
            cached_chains_max: count(limit!(self.cached_chains_max, 16_384, 1..=10_000_000)?),
            remembered_proofs_max: count(limit!(self.remembered_proofs_max, 1_048_576, 16..=100_000_000)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("edge.sample.toml");

    fn parse(text: &str) -> Result<EdgeConfig, String> {
        let file: EdgeFile = toml::from_str(text).map_err(|error| error.to_string())?;
        file.checked(Path::new("/etc/writ")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_sample_file_says_what_the_defaults_are() {
        let sample = parse(SAMPLE).unwrap();
        assert_eq!(sample.limits, EdgeLimits::default());
        assert_eq!(sample.journal, JournalSettings::default());
        assert_eq!(sample.clock_skew_max, Duration::from_secs(CLOCK_SKEW_S));
        assert_eq!(sample.threads, None);
        assert_eq!(sample.origin.unwrap().authority(), "edge.example");
        assert_eq!(sample.state, Path::new("/var/lib/writ/edge"));
        assert_eq!(sample.tls.unwrap().key, Path::new("/etc/writ/edge.key"));
    }

    #[test]
    fn a_wrong_setting_is_refused_with_its_name() {
        for (text, expected) in [
            ("listen = []\nstate = 's'", "listen must name"),
            ("listen = ['0.0.0.0:80']\nstate = 's'", "listen must be loopback"),
            ("listen = ['127.0.0.1:80', '10.0.0.1:80']\nstate = 's'", "got 10.0.0.1:80"),
            ("listen = ['127.0.0.1:80']\nstate = 's'\nnonsense = 1", "nonsense"),
            ("listen = ['127.0.0.1:80']", "state"),
            ("listen = ['127.0.0.1:80']\nstate = 's'\nbearer = 'maybe'", "maybe"),
            ("listen = ['127.0.0.1:80']\nstate = 's'\norigin = 'https://Edge'", "origin must be"),
            (
                "listen = ['127.0.0.1:80']\nstate = 's'\nclock_skew_s_max = 0",
                "clock_skew_s_max must be between 1 and 300, got 0",
            ),
            (
                "listen = ['127.0.0.1:80']\nstate = 's'\n[limits]\nhead_bytes_max = 1",
                "limits.head_bytes_max must be between 4096 and 262144, got 1",
            ),
            (
                "listen = ['127.0.0.1:80']\nstate = 's'\n[journal]\nsegment_bytes = 1",
                "journal.segment_bytes must be between 65536 and 1073741824, got 1",
            ),
            ("listen = ['127.0.0.1:80']\nstate = 's'\nmutual_tls = true", "mutual_tls needs the [tls] of this edge"),
            ("listen = ['127.0.0.1:80']\nstate = 's'\n[journal]\ndurability = 'maybe'", "maybe"),
            (
                "listen = ['127.0.0.1:80']\nstate = 's'\norigin = 'http://e'\n[tls]\ncertificate = 'c'\nkey = 'k'",
                "origin must begin with https",
            ),
            ("listen = ['[::]:443']\nstate = 's'\n[tls]\ncertificate = 'c'\nkey = 'k'", "origin must be set"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_origin_has_one_spelling() {
        for text in
            ["https://edge.example", "http://127.0.0.1:8080", "https://[::1]:8443", "https://[::1]", "http://a:443"]
        {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "edge.example",
            "https://",
            "https://e/",
            "https://E",
            "https://e:443",
            "http://e:80",
            "https://e:0",
            "https://e:08",
            "https://e:",
            "https://e.",
            "https://u@e",
            "ftp://e",
            "https://[::1",
            "https://[0::1]",
            "https://e:1:2",
            "https://e?x",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_origin_of_an_address_is_in_that_spelling() {
        for (address, tls) in
            [("127.0.0.1:8080", false), ("[::1]:8443", true), ("127.0.0.1:80", false), ("127.0.0.1:443", true)]
        {
            let origin = Origin::of(address.parse().unwrap(), tls);
            assert_eq!(origin.as_str().parse::<Origin>().unwrap(), origin);
        }
    }
}
