//! SAML 2.0 assertions (`spec/saml.md`): who a user is, by the word of a provider that does not speak OpenID Connect. Pure, but
//! for the certificates read at the start.
//!
//! What is read is what was signed: the canonical bytes whose digest the provider's key signed are read anew, and nothing is
//! believed that stands anywhere else. So neither the document around an assertion nor a mistake in the canonical form can
//! change what it says: either can only make it fail.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::clock::Timestamp;
use crate::config::identity::ClaimKind;
use crate::config::saml::SamlTerms;
use crate::id::TenantName;
use crate::identity::{Refused, SetupError, VerifiedIdentity};
use crate::token::claims::ClaimName;

mod assertion;
mod canonical;
mod document;
mod key;
mod signature;

pub use key::InvalidSamlKey;
use key::SigningKey;

/// The longest assertion in bytes, decoded.
pub const ASSERTION_BYTES_MAX: usize = 64 << 10;
/// Without padding, as RFC 7522 section 2.1 has it, or with.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Every SAML provider of the settings.
#[derive(Default)]
pub struct SamlProviders(Vec<SamlProvider>);

struct SamlProvider {
    terms: SamlTerms,
    keys: Vec<SigningKey>,
}

impl fmt::Debug for SamlProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|provider| &provider.terms.name)).finish()
    }
}

impl SamlProviders {
    /// What each provider's settings let policies look at.
    pub fn policy_claims(&self) -> impl Iterator<Item = &BTreeMap<ClaimName, ClaimKind>> {
        self.0.iter().map(|provider| &provider.terms.policy_claims)
    }

    /// Reads the certificates that `terms` name.
    pub fn open(terms: &[SamlTerms]) -> Result<Self, SetupError> {
        let open = |terms: &SamlTerms| {
            let mut keys = Vec::new();
            for path in &terms.certificates {
                let pem = std::fs::read(path).map_err(|source| SetupError::Read { path: path.clone(), source })?;
                keys.extend(key::read(&pem).map_err(|reason| SetupError::SamlKey { path: path.clone(), reason })?);
            }
            Ok(SamlProvider { terms: terms.clone(), keys })
        };
        terms.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Whether users of `tenant` are known by a provider.
    pub fn speak_for(&self, tenant: &TenantName) -> bool {
        self.0.iter().any(|provider| provider.terms.tenant == *tenant)
    }

    /// The user of `tenant` whom an assertion identifies at `now`. `text` is base64url of an `Assertion`, or of a `Response` with
    /// one `Assertion` that is signed itself.
    pub fn verify(&self, tenant: &TenantName, text: &str, now: Timestamp) -> Result<VerifiedIdentity, Refused> {
        // A third more in base64, and the padding.
        if text.len() > ASSERTION_BYTES_MAX / 3 * 4 + 4 {
            return Err(Refused::new("it is longer than 65536 bytes"));
        }
        let not_text = || Refused::new("it is not base64url of an XML document in UTF-8");
        let xml = String::from_utf8(BASE64URL.decode(text).map_err(|_| not_text())?).map_err(|_| not_text())?;
        let document = document::parse(&xml)?;
        let assertion = document::assertion(&document)?;
        let issuer = assertion::issuer(assertion)?;
        let known = |provider: &&SamlProvider| provider.terms.tenant == *tenant && *provider.terms.entity_id == *issuer;
        let provider = self.0.iter().find(known).ok_or_else(|| {
            Refused::new(format!("its `Issuer` is no SAML provider of tenant `{tenant}`: the settings list them"))
        })?;
        let signed = signature::signed(assertion, &provider.keys, &provider.terms.name)?;
        assertion::identity(&signed, &provider.terms, now)
    }
}
