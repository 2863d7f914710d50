//! Where a service is: an origin, and below it a base path.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

use crate::catalog::target::Target;
use crate::id::text_form;

/// A scheme, a host and a port, as browsers compare them. Written `https://api.example.com` or `http://127.0.0.1:8080`.
///
/// The text form has a lower-case host and no port where it is the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// How the upstream is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain HTTP: on this machine only.
    Http,
    /// HTTP over TLS.
    Https,
}

/// A host name or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A DNS name, lower case, without a trailing dot.
    Name(Box<str>),
    /// An address.
    Address(IpAddr),
}

/// An origin and the path that all of a service's paths are below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    origin: Origin,
    /// Empty, or canonical with a leading and without a trailing slash.
    base: Box<str>,
}

/// A text that is not an origin or an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// Neither `http://` nor `https://`.
    #[error("it must begin with `https://` (or, for a service on this machine, `http://`)")]
    Scheme,
    /// `user@`.
    #[error("it must not hold a user name or password: store them as a credential")]
    Userinfo,
    /// Not a host.
    #[error("the host must be a DNS name or an IP address, without a trailing dot")]
    Host,
    /// Not a port.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// A path where only an origin may stand.
    #[error("it must end after the host and port")]
    Path,
    /// A path that is not canonical, a query or a fragment.
    #[error("the base path must be plain, without a query, fragment, `.`, `..` or empty segment")]
    Base,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Origin {
    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port, also where it is the scheme's own.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The host, and the port where it is not the scheme's own: what goes into `Host` and `:authority`.
    pub fn authority(&self) -> String {
        let host = &self.host;
        if self.port == self.scheme.port() { host.to_string() } else { format!("{host}:{}", self.port) }
    }
}

impl Host {
    /// Whether the text itself, without a look-up, says this machine: `localhost`, `127.0.0.0/8`, `[::1]`.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => **name == *"localhost",
            Self::Address(address) => address.is_loopback(),
        }
    }
}

impl Upstream {
    /// The origin that requests are sent to.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path that all paths are below: empty, or beginning with a slash and not ending with one.
    pub fn base_path(&self) -> &str {
        &self.base
    }

    /// The path and query to send to the upstream: `target` below the base path.
    pub fn path_and_query(&self, target: &Target) -> String {
        let query = target.query().unwrap_or_default();
        let mut text = String::with_capacity(self.base.len() + target.path().len() + query.len() + 1);
        text.push_str(&self.base);
        text.push_str(target.path());
        if !query.is_empty() {
            text.push('?');
            text.push_str(query);
        }
        text
    }
}

/// The origin, and what follows it.
fn split(text: &str) -> Result<(Origin, &str), InvalidOrigin> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
        _ => return Err(InvalidOrigin::Scheme),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(InvalidOrigin::Userinfo);
    }
    let (host, port) = match authority.rfind(':') {
        Some(at) if !authority[at..].contains(']') => (&authority[..at], Some(&authority[at + 1..])),
        _ => (authority, None),
    };
    let port = port.map_or(Ok(scheme.port()), port_number)?;
    Ok((Origin { scheme, host: host.parse()?, port }, path))
}

fn port_number(text: &str) -> Result<u16, InvalidOrigin> {
    let digits = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or(InvalidOrigin::Port)
}

impl FromStr for Host {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            let address: Ipv6Addr = inner.parse().map_err(|_| InvalidOrigin::Host)?;
            return Ok(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.to_ascii_lowercase();
        // `127.1`, `0x7f.1` and `2130706433` are addresses to some resolvers.
        let last = name.rsplit('.').next().unwrap_or_default();
        let numeric = last.starts_with(|c: char| c.is_ascii_digit());
        if name.len() > 253 || numeric || !name.split('.').all(is_label) {
            return Err(InvalidOrigin::Host);
        }
        Ok(Self::Name(name.into()))
    }
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match split(text)? {
            (origin, "" | "/") => Ok(origin),
            _ => Err(InvalidOrigin::Path),
        }
    }
}

impl FromStr for Upstream {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (origin, path) = split(text)?;
        if path.is_empty() {
            return Ok(Self { origin, base: "".into() });
        }
        let target = Target::parse(path).map_err(|_| InvalidOrigin::Base)?;
        if path.contains('?') || target.path() != path {
            return Err(InvalidOrigin::Base);
        }
        let base = path.strip_suffix('/').unwrap_or(path);
        Ok(Self { origin, base: base.into() })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.base)
    }
}

text_form!(Origin);
text_form!(Upstream);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_text_form() {
        for (text, expected) in [
            ("https://api.example.com", "https://api.example.com"),
            ("HTTPS://API.Example.com:443/", "https://api.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[0:0::1]:80", "http://[::1]"),
            ("https://a:80", "https://a:80"),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.to_string(), expected);
            assert_eq!(expected.parse(), Ok(origin));
        }
    }

    #[test]
    fn a_host_that_two_resolvers_could_read_differently_is_refused() {
        for text in [
            "https://",
            "https://a.",
            "https://.a",
            "https://a..b",
            "https://127.1",
            "https://0x7f.0.0.1",
            "https://2130706433",
            "https://a.0x7f",
            "https://[::1",
            "https://::1",
            "https://[fe80::1%25eth0]",
            "https://a b",
            "https://ä.example",
            "https://a%41",
            "https://-a",
            "https://a,b",
            "https://017700000001",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin::Host), "{text}");
        }
        for (text, expected) in [
            ("ftp://a", InvalidOrigin::Scheme),
            ("a", InvalidOrigin::Scheme),
            ("https://u:p@a", InvalidOrigin::Userinfo),
            ("https://a:", InvalidOrigin::Port),
            ("https://a:0", InvalidOrigin::Port),
            ("https://a:080", InvalidOrigin::Port),
            ("https://a:65536", InvalidOrigin::Port),
            ("https://a/b", InvalidOrigin::Path),
            ("https://a?", InvalidOrigin::Path),
        ] {
            assert_eq!(text.parse::<Origin>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_base_path_is_put_before_every_path() {
        let target = Target::parse("/x/?a=b").unwrap();
        for (text, expected) in [
            ("https://a", "/x/?a=b"),
            ("https://a/", "/x/?a=b"),
            ("https://a/api/v3", "/api/v3/x/?a=b"),
            ("https://a/api/v3/", "/api/v3/x/?a=b"),
        ] {
            assert_eq!(text.parse::<Upstream>().unwrap().path_and_query(&target), expected);
        }
        for text in [
            "https://a/b?c",
            "https://a?c",
            "https://a#b",
            "https://a/../b",
            "https://a//b",
            "https://a\\b",
            "https://a/%62",
        ] {
            assert_eq!(text.parse::<Upstream>(), Err(InvalidOrigin::Base), "{text}");
        }
    }

    #[test]
    fn only_a_literal_says_loopback() {
        for (host, expected) in [
            ("localhost", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost.example", false),
            ("10.0.0.1", false),
            ("[::ffff:127.0.0.1]", false),
        ] {
            assert_eq!(host.parse::<Host>().unwrap().is_loopback(), expected, "{host}");
        }
    }
}
