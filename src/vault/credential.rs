//! The kinds of static credential, and how each is applied to a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::id::is_deceptive;
use crate::secret::Secret;
use crate::vault::spelling;

/// The shortest secret that can be stored, in bytes.
///
/// What an upstream echoes is scrubbed by its spelling. A shorter one would stand in honest text by chance, and an agent
/// could find it by trying which of its own texts come back scrubbed.
pub const SECRET_BYTES_MIN: usize = 8;
/// The longest secret that can be stored, in bytes.
pub const SECRET_BYTES_MAX: usize = 8192;
const USERNAME_BYTES_MAX: usize = 255;
const PARAMETER_BYTES_MAX: usize = 64;

/// How a secret is presented to the upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", from = "Form")]
pub enum CredentialKind {
    /// `Authorization: Bearer <secret>`.
    Bearer,
    /// A header of this name with the secret as its value.
    Header {
        /// The header's name, lower case.
        name: Box<str>,
    },
    /// `Authorization: Basic`, the secret being the password.
    Basic {
        /// The user name; without a colon.
        username: Box<str>,
    },
    /// A query parameter of this name.
    Query {
        /// The parameter's name.
        name: Box<str>,
    },
}

/// As it is read: serde refuses unknown members beside a tag only where the variant has braces.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Form {
    Bearer {},
    Header { name: Box<str> },
    Basic { username: Box<str> },
    Query { name: Box<str> },
}

impl From<Form> for CredentialKind {
    fn from(form: Form) -> Self {
        match form {
            Form::Bearer {} => Self::Bearer,
            Form::Header { name } => Self::Header { name },
            Form::Basic { username } => Self::Basic { username },
            Form::Query { name } => Self::Query { name },
        }
    }
}

/// A credential that cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredential {
    /// Too short, too long, or with characters that could break out of a header.
    #[error(
        "the secret must be {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} printable ASCII characters, without a space at either \
         end and without line breaks"
    )]
    Secret,
    /// A header name that is not one, or that writ itself must control.
    #[error(
        "`{0}` cannot carry a credential: use the header that the service documents, in lower case, such as `x-api-key`"
    )]
    Header(Box<str>),
    /// A user name with a colon or control character.
    #[error("the user name must be 1 to {USERNAME_BYTES_MAX} bytes without a colon or a control character")]
    Username,
    /// A parameter name outside of RFC 3986 `unreserved`.
    #[error("the query parameter's name must be 1 to {PARAMETER_BYTES_MAX} of A-Z, a-z, 0-9, `-`, `.`, `_` and `~`")]
    Parameter,
}

/// A secret that an edge holds in memory for the calls it permits.
#[derive(Debug)]
pub struct Lent {
    /// How it is presented.
    pub kind: CredentialKind,
    /// The secret.
    pub secret: Secret<String>,
    /// Which version of the credential it is.
    pub version: u32,
}

/// What to add to a request. Sensitive header values are marked so that no `Debug` shows them.
#[derive(Debug)]
pub enum Apply {
    /// Set this header.
    Header(HeaderName, HeaderValue),
    /// Append this pair to the query, already percent-encoded.
    Query(Secret<String>),
}

impl CredentialKind {
    /// Checks that this kind with `secret` can be stored and applied.
    pub fn check(&self, secret: &str) -> Result<(), InvalidCredential> {
        let bytes = secret.as_bytes();
        let length_fits = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len());
        if !length_fits || !bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) || secret.trim() != secret {
            return Err(InvalidCredential::Secret);
        }
        match self {
            Self::Bearer => Ok(()),
            Self::Header { name } => header_name(name).map(drop),
            Self::Basic { username } => {
                let fits = (1..=USERNAME_BYTES_MAX).contains(&username.len());
                let plain = !username.chars().any(|c| c == ':' || is_deceptive(c));
                if fits && plain { Ok(()) } else { Err(InvalidCredential::Username) }
            }
            Self::Query { name } => {
                let fits = (1..=PARAMETER_BYTES_MAX).contains(&name.len());
                let plain = name.bytes().all(spelling::is_unreserved);
                if fits && plain { Ok(()) } else { Err(InvalidCredential::Parameter) }
            }
        }
    }
}

impl Lent {
    /// What to add to the request.
    pub fn apply(&self) -> Result<Apply, InvalidCredential> {
        // Again, and not only when it was stored: what comes over the wire is not trusted to break out of nothing.
        self.kind.check(self.secret.expose())?;
        match &self.kind {
            CredentialKind::Bearer | CredentialKind::Basic { .. } => {
                Ok(Apply::Header(header::AUTHORIZATION, self.header_value()?))
            }
            CredentialKind::Header { name } => Ok(Apply::Header(header_name(name)?, self.header_value()?)),
            CredentialKind::Query { name } => {
                let value = Zeroizing::new(spelling::percent_encoded(self.secret.expose().as_bytes()));
                Ok(Apply::Query(Secret::new(format!("{name}={}", value.as_str()))))
            }
        }
    }

    /// Every spelling of the secret that an upstream might echo, for a [`Scrubber`](crate::vault::Scrubber).
    pub fn spellings(&self) -> Vec<Secret<Vec<u8>>> {
        let secret = self.secret.expose();
        let mut spellings = spelling::of(secret.as_bytes());
        match &self.kind {
            CredentialKind::Bearer => spellings.push(Secret::new(self.presented().as_bytes().to_vec())),
            CredentialKind::Basic { username } => {
                spellings.push(Secret::new(self.presented().as_bytes().to_vec()));
                spellings.extend(spelling::of(Zeroizing::new(format!("{username}:{secret}")).as_bytes()));
            }
            CredentialKind::Header { name } => {
                for part in secret_parts(name, secret).filter(|part| part.len() >= SECRET_BYTES_MIN) {
                    spellings.extend(spelling::of(part.as_bytes()));
                }
            }
            CredentialKind::Query { .. } => {}
        }
        spellings
    }

    fn header_value(&self) -> Result<HeaderValue, InvalidCredential> {
        let mut value = HeaderValue::from_str(&self.presented()).map_err(|_| InvalidCredential::Secret)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The value as it stands in the header.
    fn presented(&self) -> Zeroizing<String> {
        let secret = self.secret.expose();
        Zeroizing::new(match &self.kind {
            CredentialKind::Bearer => ["Bearer ", secret].concat(),
            CredentialKind::Basic { username } => {
                let pair = Zeroizing::new(format!("{username}:{secret}"));
                format!("Basic {}", STANDARD.encode(pair.as_bytes()))
            }
            CredentialKind::Header { .. } | CredentialKind::Query { .. } => secret.clone(),
        })
    }
}

/// What an upstream takes out of a header's value and may echo alone: what follows the scheme, the values of cookies.
fn secret_parts<'a>(name: &str, value: &'a str) -> impl Iterator<Item = &'a str> {
    let after_scheme = value.split_once(' ').map(|(_, rest)| rest.trim_start());
    let cookies = value.split(';').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value.trim());
    let is_cookie = name == "cookie";
    after_scheme.into_iter().filter(move |_| !is_cookie).chain(cookies.filter(move |_| is_cookie))
}

/// A header that may carry a credential. The refused ones frame, route or condition a request, or are writ's own.
fn header_name(name: &str) -> Result<HeaderName, InvalidCredential> {
    let refused = || InvalidCredential::Header(name.chars().take(64).filter(|c| !is_deceptive(*c)).collect());
    // From lower case only: one spelling, and HTTP/2 has no other.
    let parsed = HeaderName::from_lowercase(name.as_bytes()).map_err(|_| refused())?;
    let controlled = CONTROLLED.contains(&name) || CONTROLLED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if controlled || name.len() > 64 { Err(refused()) } else { Ok(parsed) }
}

const CONTROLLED: &[&str] = &[
    "accept-encoding",
    "connection",
    "date",
    "dpop",
    "dpop-nonce",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

const CONTROLLED_PREFIXES: &[&str] =
    &["access-control-", "content-", "if-", "sec-", "writ-", "x-accel-", "x-forwarded-", "x-original-", "x-rewrite-"];

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(kind: CredentialKind, secret: &str) -> Lent {
        Lent { kind, secret: Secret::new(secret.to_owned()), version: 1 }
    }

    fn header(name: &str) -> CredentialKind {
        CredentialKind::Header { name: name.into() }
    }

    fn basic(username: &str) -> CredentialKind {
        CredentialKind::Basic { username: username.into() }
    }

    fn applied(kind: CredentialKind, secret: &str) -> String {
        match lent(kind, secret).apply().unwrap() {
            Apply::Header(name, value) => {
                assert!(value.is_sensitive());
                format!("{name}: {}", value.to_str().unwrap())
            }
            Apply::Query(pair) => format!("?{}", pair.expose()),
        }
    }

    #[test]
    fn each_kind_is_presented_as_its_scheme_asks() {
        assert_eq!(applied(CredentialKind::Bearer, "s3cret-s3cret"), "authorization: Bearer s3cret-s3cret");
        assert_eq!(applied(header("x-api-key"), "s3cret-s3cret"), "x-api-key: s3cret-s3cret");
        assert_eq!(applied(header("authorization"), "token s3cret-s3cret"), "authorization: token s3cret-s3cret");
        // The example of RFC 7617 section 2, with a longer password.
        assert_eq!(applied(basic("Aladdin"), "open sesame"), "authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(applied(CredentialKind::Query { name: "key".into() }, "a/b c+d&e=f"), "?key=a%2Fb%20c%2Bd%26e%3Df");
    }

    #[test]
    fn a_secret_that_could_break_out_of_a_header_is_refused_when_stored_and_when_applied() {
        let kinds = [CredentialKind::Bearer, header("x-key"), basic("u"), CredentialKind::Query { name: "k".into() }];
        for kind in kinds {
            for secret in [
                "",
                "2short!",
                "new\nline-secret",
                "carriage\rreturn",
                "crlf\r\nX-Evil: 1",
                "trailing-newline\n",
                "nul\0nul-secret",
                "tab\ttab-secret",
                "del\u{7f}del-secret",
                "pässword-secret",
                " leading-space",
                "trailing-space ",
                &"x".repeat(SECRET_BYTES_MAX + 1),
            ] {
                assert_eq!(kind.check(secret), Err(InvalidCredential::Secret), "{secret:?}");
                assert!(lent(kind.clone(), secret).apply().is_err(), "{secret:?}");
            }
            assert_eq!(kind.check("12345678"), Ok(()));
            assert_eq!(kind.check(&"x".repeat(SECRET_BYTES_MAX)), Ok(()));
        }
    }

    #[test]
    fn headers_that_frame_or_route_a_request_cannot_carry_a_credential() {
        for name in [
            "host",
            "content-length",
            "content-type",
            "transfer-encoding",
            "connection",
            "dpop",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "te",
            "upgrade",
            "keep-alive",
            "proxy-authorization",
            "set-cookie",
            "x-http-method-override",
            "if-match",
            "range",
            "X-Api-Key",
            "Authorization",
            "",
            "x key",
            "x:key",
            ":authority",
            "x\r\nkey",
            "\u{202e}key",
            &"x".repeat(65),
        ] {
            assert!(matches!(header(name).check("12345678"), Err(InvalidCredential::Header(_))), "{name:?}");
        }
        for name in ["authorization", "x-api-key", "private-token", "cookie", "apikey"] {
            assert_eq!(header(name).check("12345678"), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_user_name_or_parameter_that_would_be_read_otherwise_is_refused() {
        for name in ["", "a:b", "a\nb", "\u{202e}a", &"u".repeat(256)] {
            assert_eq!(basic(name).check("12345678"), Err(InvalidCredential::Username), "{name:?}");
        }
        for name in ["", "a=b", "a&b", "a b", "a%20", "ä", "a\n", &"k".repeat(65)] {
            let kind = CredentialKind::Query { name: name.into() };
            assert_eq!(kind.check("12345678"), Err(InvalidCredential::Parameter), "{name:?}");
        }
    }

    #[test]
    fn debug_shows_neither_the_secret_nor_the_header() {
        let lent = lent(basic("alice"), "hunter2-hunter2");
        let shown = format!("{lent:?} {:?} {:?}", lent.apply().unwrap(), lent.spellings());
        assert!(!shown.contains("hunter2") && !shown.contains("YWxpY2U"), "{shown}");
    }

    #[test]
    fn an_unknown_kind_or_member_is_refused() {
        for text in [r#"{"kind":"magic"}"#, r#"{"kind":"bearer","secret":"x"}"#, r#"{"kind":"header"}"#] {
            assert!(serde_json::from_str::<CredentialKind>(text).is_err(), "{text}");
        }
        let text = r#"{"kind":"basic","username":"alice"}"#;
        assert_eq!(serde_json::to_string(&serde_json::from_str::<CredentialKind>(text).unwrap()).unwrap(), text);
    }
}
