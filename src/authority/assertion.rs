//! `private_key_jwt` (RFC 7523): how an agent proves at the token endpoint that it is the one that was registered.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::id::{AgentName, TenantName};
use crate::key::{PublicKey, sha256};
use crate::token::strict_json::Object;

/// The longest assertion in bytes.
pub const ASSERTION_BYTES_MAX: usize = 4096;
/// How far ahead an assertion's `exp` may lie, and how old its `iat` may be, in seconds.
pub const LIFE_S_MAX: i64 = 300;
/// How far ahead an agent's clock may be, in seconds.
pub const AHEAD_S_MAX: i64 = 5;
/// The longest `jti` in bytes.
pub const JTI_BYTES_MAX: usize = 256;

/// An assertion in its parts, within its time and for this authority. Its signature is unchecked.
#[derive(Debug)]
pub struct Assertion {
    /// The client id that it says it is by: the agent's name, or `<tenant>/<agent>`.
    pub client: String,
    /// The tenant of the agent that it says it is by.
    pub tenant: TenantName,
    /// That agent.
    pub agent: AgentName,
    /// The key it says it is signed by, if it says so.
    pub kid: Option<PublicKey>,
    jti: String,
    expires: Timestamp,
    signed: Box<str>,
    signature: [u8; 64],
}

/// An assertion that does not count whoever signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client assertion does not count: {0}")]
pub struct InvalidAssertion(pub &'static str);

impl Assertion {
    /// Reads an assertion that must be for one of `audiences` and valid at `now`.
    pub fn read(text: &str, audiences: [&str; 2], now: Timestamp) -> Result<Self, InvalidAssertion> {
        if text.len() > ASSERTION_BYTES_MAX {
            return Err(InvalidAssertion("it is longer than 4096 bytes"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(THREE_PARTS)?;
        let (header, claims) = signed.split_once('.').ok_or(THREE_PARTS)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| THREE_PARTS);
        let object = |bytes: Vec<u8>| {
            Object::parse(&bytes).ok_or(InvalidAssertion("a part is not a JSON object without duplicate names"))
        };
        let kid = read_header(&object(decode(header)?)?)?;
        let claims = object(decode(claims)?)?;
        let client = claims.text("iss").ok_or(InvalidAssertion("`iss` is missing"))?;
        if claims.text("sub").as_deref() != Some(&client) {
            return Err(InvalidAssertion("`sub` must equal `iss`, the client id"));
        }
        let (tenant, agent) = client.split_once('/').unwrap_or((TenantName::DEFAULT, &client));
        let no_client = |_| InvalidAssertion("`iss` is not a client id: use the agent's name, or `<tenant>/<agent>`");
        let (tenant, agent) = (tenant.parse().map_err(no_client)?, agent.parse().map_err(no_client)?);
        check_audience(&claims, audiences)?;
        let expires = check_time(&claims, now)?;
        let jti = claims.text("jti").filter(|jti| (1..=JTI_BYTES_MAX).contains(&jti.len()));
        Ok(Self {
            client,
            tenant,
            agent,
            kid,
            jti: jti.ok_or(InvalidAssertion("`jti` is not a string of 1 to 256 bytes"))?,
            expires,
            signed: signed.into(),
            signature: decode(signature)?.try_into().map_err(|_| InvalidAssertion("its signature is not 64 bytes"))?,
        })
    }

    /// Whether it is signed by `key`.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        key.verifies(self.signed.as_bytes(), &self.signature)
    }

    /// Its name as one that counts once, and until when it could be replayed.
    pub fn single_use(&self, key: &PublicKey) -> ([u8; 32], Timestamp) {
        let name = [b"writ assertion\0".as_slice(), key.as_bytes(), self.jti.as_bytes()].concat();
        (sha256(&name), self.expires.after(Duration::from_secs(1)))
    }
}

const THREE_PARTS: InvalidAssertion = InvalidAssertion("it is not three parts of base64url");

/// The header's `kid`. Nothing else in it chooses how the assertion is checked.
fn read_header(header: &Object) -> Result<Option<PublicKey>, InvalidAssertion> {
    // `Ed25519` is RFC 9864's name for the same.
    if !matches!(header.text("alg").as_deref(), Some("EdDSA" | "Ed25519")) {
        return Err(InvalidAssertion("`alg` must be `EdDSA`"));
    }
    if header.has("typ") && !matches!(header.text("typ").as_deref(), Some("JWT" | "client-authentication+jwt")) {
        return Err(InvalidAssertion("`typ` must be `JWT` or `client-authentication+jwt`"));
    }
    let known = usize::from(header.has("alg")) + usize::from(header.has("typ")) + usize::from(header.has("kid"));
    if header.len() != known {
        return Err(InvalidAssertion("its header has more than `alg`, `typ` and `kid`"));
    }
    if !header.has("kid") {
        return Ok(None);
    }
    let kid = header.text("kid").and_then(|kid| kid.parse().ok());
    kid.map(Some).ok_or(InvalidAssertion("`kid` must be the `did:key` of the agent's key, or be left out"))
}

/// Exactly one audience, and that one this authority: an assertion for two could be used at the other one too.
fn check_audience(claims: &Object, audiences: [&str; 2]) -> Result<(), InvalidAssertion> {
    let single = claims.text("aud").or_else(|| match claims.texts("aud")?.as_slice() {
        [single] => Some(single.clone()),
        _ => None,
    });
    match single {
        Some(audience) if audiences.contains(&audience.as_str()) => Ok(()),
        _ => Err(InvalidAssertion("`aud` must be exactly one: the issuer or the token endpoint of this authority")),
    }
}

/// When it ends. `exp` is exclusive (RFC 7519 section 4.1.4).
fn check_time(claims: &Object, now: Timestamp) -> Result<Timestamp, InvalidAssertion> {
    let exp = claims.integer("exp").ok_or(InvalidAssertion("`exp` is not a whole number of seconds"))?;
    let left = exp.saturating_sub(now.secs());
    if left <= 0 {
        return Err(InvalidAssertion("it has expired: make a fresh one for each request"));
    }
    if left > LIFE_S_MAX {
        return Err(InvalidAssertion("`exp` is more than 5 minutes ahead: make a shorter one"));
    }
    if claims.has("iat") {
        let iat = claims.integer("iat").ok_or(InvalidAssertion("`iat` is not a whole number of seconds"))?;
        if !(-AHEAD_S_MAX..=LIFE_S_MAX).contains(&now.secs().saturating_sub(iat)) {
            return Err(InvalidAssertion("`iat` is more than 5 minutes old or more than 5 seconds ahead"));
        }
    }
    if claims.has("nbf") {
        let nbf = claims.integer("nbf").ok_or(InvalidAssertion("`nbf` is not a whole number of seconds"))?;
        if nbf.saturating_sub(now.secs()) > AHEAD_S_MAX {
            return Err(InvalidAssertion("`nbf` is in the future"));
        }
    }
    Ok(Timestamp::from_secs(exp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPair;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);
    const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;
    const CLAIMS: &str = r#"{"iss":"a","sub":"a","aud":"https://i","exp":1000060,"iat":1000000,"jti":"1"}"#;

    fn signed(header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = KeyPair::from_seed(&[1; 32]).sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn read(header: &str, claims: &str) -> Result<Assertion, InvalidAssertion> {
        Assertion::read(&signed(header, claims), ["https://i", "https://i/oauth/token"], NOW)
    }

    #[test]
    fn an_assertion_names_its_agent_and_is_signed_by_it() {
        let assertion = read(HEADER, CLAIMS).unwrap();
        assert_eq!((assertion.tenant.as_str(), assertion.agent.as_str()), ("default", "a"));
        assert!(assertion.is_by(&KeyPair::from_seed(&[1; 32]).public()));
        assert!(!assertion.is_by(&KeyPair::from_seed(&[2; 32]).public()));
        let other = read(HEADER, &CLAIMS.replace(r#""a""#, r#""acme/a""#)).unwrap();
        assert_eq!(other.tenant.as_str(), "acme");
    }

    #[test]
    fn a_header_that_could_choose_the_check_is_refused() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"eddsa"}"#,
            r#"{}"#,
            r#"{"alg":"EdDSA","alg":"EdDSA"}"#,
            r#"{"alg":"EdDSA","crit":["exp"]}"#,
            r#"{"alg":"EdDSA","jku":"https://evil"}"#,
            r#"{"alg":"EdDSA","jwk":{}}"#,
            r#"{"alg":"EdDSA","typ":"dpop+jwt"}"#,
            r#"{"alg":"EdDSA","kid":"1"}"#,
            r#"{"alg":"EdDSA","kid":7}"#,
        ] {
            assert!(read(header, CLAIMS).is_err(), "{header}");
        }
    }

    #[test]
    fn claims_that_do_not_fit_are_refused() {
        for (from, to) in [
            (r#""sub":"a""#, r#""sub":"b""#),
            (r#""iss":"a""#, r#""iss":"a","iss":"a""#),
            (r#""aud":"https://i""#, r#""aud":"https://other""#),
            (r#""aud":"https://i""#, r#""aud":["https://i","https://other"]"#),
            (r#""aud":"https://i""#, r#""aud":[]"#),
            (r#""exp":1000060"#, r#""exp":1000000"#),
            (r#""exp":1000060"#, r#""exp":1000301"#),
            (r#""exp":1000060"#, r#""exp":1000060.0"#),
            (r#""exp":1000060"#, r#""exp":"1000060""#),
            (r#""iat":1000000"#, r#""iat":999699"#),
            (r#""iat":1000000"#, r#""iat":1000006"#),
            (r#""iat":1000000"#, r#""nbf":1000006"#),
            (r#""jti":"1""#, r#""jti":"""#),
            (r#""jti":"1""#, r#""jti":1"#),
            (r#","jti":"1""#, ""),
        ] {
            assert!(CLAIMS.contains(from));
            assert!(read(HEADER, &CLAIMS.replacen(from, to, 1)).is_err(), "{to}");
        }
        assert!(read(HEADER, &CLAIMS.replace(r#""https://i""#, r#"["https://i/oauth/token"]"#)).is_ok());
    }

    #[test]
    fn text_that_is_no_assertion_is_refused() {
        let good = signed(HEADER, CLAIMS);
        for text in ["", ".", "..", "a.b.c", &good[1..], &format!("{good}="), &"a".repeat(5000)] {
            assert!(Assertion::read(text, ["https://i", "https://i/oauth/token"], NOW).is_err(), "{text}");
        }
    }
}
