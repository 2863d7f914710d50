//! A JWS in its parts (RFC 7515, compact form): what a provider signed, before anybody believes it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::identity::{SignatureAlgorithm, media_type};
use crate::identity::Refused;
use crate::key::sha256;
use crate::token::strict_json::Object;

/// The longest token in bytes.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;
/// The longest `kid` in bytes.
const KID_BYTES_MAX: usize = 256;

/// A token of some provider, read and not believed: neither its signature nor a claim is checked.
pub struct IdentityToken {
    pub(super) algorithm: SignatureAlgorithm,
    pub(super) kid: Option<String>,
    /// `typ`, lower case and without `application/`.
    pub(super) typ: Option<Box<str>>,
    pub(super) claims: Object,
    pub(super) signed: Box<str>,
    /// As it came: base64url without padding, which is checked.
    pub(super) signature: Box<str>,
}

impl IdentityToken {
    /// Reads a token. Of its header only `alg`, `kid` and `typ` are looked at, and nothing in it chooses a key by URL or value.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refused::new("it is longer than 16384 bytes"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or_else(three_parts)?;
        let (header, claims) = signed.split_once('.').ok_or_else(three_parts)?;
        if URL_SAFE_NO_PAD.decode(signature).map_err(|_| three_parts())?.is_empty() {
            return Err(Refused::new("it is not signed"));
        }
        let object = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| three_parts())?;
            Object::parse(&bytes).ok_or_else(|| Refused::new("a part is not a JSON object without duplicate names"))
        };
        let header = object(header)?;
        Ok(Self {
            algorithm: algorithm(&header)?,
            kid: kid(&header)?,
            typ: typ(&header)?,
            claims: object(claims)?,
            signed: signed.into(),
            signature: signature.into(),
        })
    }

    /// Who it says issued it.
    pub fn issuer(&self) -> Option<String> {
        self.claims.text("iss")
    }

    /// Names what was signed. Not the signature: of some algorithms anybody can make a second valid one out of a first.
    pub(super) fn digest(&self) -> [u8; 32] {
        sha256(self.signed.as_bytes())
    }
}

fn three_parts() -> Refused {
    Refused::new("it is not three parts of base64url")
}

fn algorithm(header: &Object) -> Result<SignatureAlgorithm, Refused> {
    // These would let a token bring its own key or its own rules.
    if ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"].iter().any(|name| header.has(name)) {
        return Err(Refused::new("its header has `crit`, `jku`, `jwk`, `x5u`, `x5c`, `b64`, `zip` or `enc`"));
    }
    header
        .text("alg")
        .and_then(|name| name.parse().ok())
        .ok_or_else(|| Refused::new("its `alg` is none that is supported: spec/identity.md lists them"))
}

fn kid(header: &Object) -> Result<Option<String>, Refused> {
    if !header.has("kid") {
        return Ok(None);
    }
    let kid = header.text("kid").filter(|kid| kid.len() <= KID_BYTES_MAX);
    kid.map(Some).ok_or_else(|| Refused::new("its `kid` is not a text of at most 256 bytes"))
}

fn typ(header: &Object) -> Result<Option<Box<str>>, Refused> {
    if !header.has("typ") {
        return Ok(None);
    }
    let typ = header.text("typ").ok_or_else(|| Refused::new("its `typ` is not a text"))?;
    Ok(Some(media_type(&typ)))
}
