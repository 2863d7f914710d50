//! A provider that signs what it is told to: assertions written in their canonical form by hand, so that nothing has to find it.

use std::fs;
use std::sync::OnceLock;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tempfile::TempDir;
use writ::clock::Timestamp;
use writ::config::authority::AuthorityConfig;
use writ::config::saml::SamlTerms;
use writ::id::TenantName;
use writ::identity::saml::SamlProviders;
use writ::identity::{Refused, VerifiedIdentity};

use crate::support::authority::START;

pub(crate) const ENTITY_ID: &str = "https://idp.example/saml";
pub(crate) const AUDIENCE: &str = "https://writ.example";
pub(crate) const RECIPIENT: &str = "https://writ.example/oauth/token";
pub(crate) const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
pub(crate) const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
pub(crate) const ECDSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";

enum Key {
    Ecdsa(EcdsaKeyPair),
    Rsa(&'static RsaKeyPair, &'static dyn RsaEncoding),
}

/// A provider's key.
pub(crate) struct Idp {
    key: Key,
    pub(crate) method: &'static str,
    /// `SubjectPublicKeyInfo`, DER.
    pub(crate) public: Vec<u8>,
}

/// One key for all: it takes a second to make.
fn rsa_key() -> &'static RsaKeyPair {
    static KEY: OnceLock<RsaKeyPair> = OnceLock::new();
    KEY.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
}

impl Idp {
    pub(crate) fn new() -> Self {
        Self::by(ECDSA_SHA256)
    }

    /// With a key for the signature method.
    pub(crate) fn by(method: &'static str) -> Self {
        let key = match method.rsplit_once('#').unwrap().1 {
            "ecdsa-sha256" => Key::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            "ecdsa-sha384" => Key::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            "rsa-sha256" => Key::Rsa(rsa_key(), &RSA_PKCS1_SHA256),
            "rsa-sha384" => Key::Rsa(rsa_key(), &RSA_PKCS1_SHA384),
            _ => Key::Rsa(rsa_key(), &RSA_PKCS1_SHA512),
        };
        let public: PublicKeyX509Der<'_> = match &key {
            Key::Ecdsa(pair) => pair.public_key().as_der().unwrap(),
            Key::Rsa(pair, _) => pair.public_key().as_der().unwrap(),
        };
        Self { public: public.as_ref().to_vec(), key, method }
    }

    /// With a P-256 key of somebody else's making.
    pub(crate) fn with_pkcs8(der: &[u8]) -> Self {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).unwrap();
        Self { public: Vec::new(), key: Key::Ecdsa(pair), method: ECDSA_SHA256 }
    }

    pub(crate) fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public)
    }

    fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// `assertion`, which is in its canonical form, with its signature.
    pub(crate) fn sign(&self, assertion: &str) -> String {
        self.sign_as(assertion, |info| info, |signature| signature)
    }

    /// With another `SignedInfo`, which is signed as it then is, and another `Signature` around it.
    pub(crate) fn sign_as(
        &self,
        assertion: &str,
        info: impl FnOnce(String) -> String,
        signature: impl FnOnce(String) -> String,
    ) -> String {
        let id = between(assertion, " ID=\"", "\"");
        let info = info(signed_info(self.method, &id, &digest_of(assertion)));
        let value = STANDARD.encode(self.sign_bytes(info.as_bytes()));
        placed(assertion, &signature(signature_of(&info, &value)))
    }
}

/// `assertion` with `signature` where the schema wants it.
pub(crate) fn placed(assertion: &str, signature: &str) -> String {
    assertion.replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1)
}

pub(crate) fn digest_of(text: &str) -> String {
    STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// In its canonical form.
pub(crate) fn signed_info(method: &str, id: &str, digest: &str) -> String {
    format!(
        "<ds:SignedInfo xmlns:ds=\"{DS}\"><ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"{method}\"></ds:SignatureMethod><ds:Reference URI=\"#{id}\"><ds:Transforms>\
         <ds:Transform Algorithm=\"{DS}enveloped-signature\"></ds:Transform>\
         <ds:Transform Algorithm=\"{EXCLUSIVE}\"></ds:Transform></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"{SHA256}\"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue>\
         </ds:Reference></ds:SignedInfo>"
    )
}

pub(crate) fn signature_of(info: &str, value: &str) -> String {
    format!("<ds:Signature xmlns:ds=\"{DS}\">{info}<ds:SignatureValue>{value}</ds:SignatureValue></ds:Signature>")
}

/// `secs` after the start of the test's clock.
pub(crate) fn at(secs: i64) -> String {
    Timestamp::from_secs(START.secs() + secs).to_string()
}

/// An assertion about `alice` that counts, not signed.
pub(crate) fn assertion() -> String {
    format!(
        "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"_a1\" IssueInstant=\"{now}\" Version=\"2.0\">\
         <saml:Issuer>{ENTITY_ID}</saml:Issuer><saml:Subject>\
         <saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\">alice</saml:NameID>\
         <saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\">\
         <saml:SubjectConfirmationData NotOnOrAfter=\"{delivered}\" Recipient=\"{RECIPIENT}\"></saml:SubjectConfirmationData>\
         </saml:SubjectConfirmation></saml:Subject>\
         <saml:Conditions NotBefore=\"{now}\" NotOnOrAfter=\"{end}\"><saml:AudienceRestriction>\
         <saml:Audience>{AUDIENCE}</saml:Audience></saml:AudienceRestriction></saml:Conditions>\
         <saml:AuthnStatement AuthnInstant=\"{login}\" SessionIndex=\"session-1\" SessionNotOnOrAfter=\"{session}\">\
         <saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password\
         </saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>\
         <saml:AttributeStatement><saml:Attribute Name=\"groups\"><saml:AttributeValue>staff</saml:AttributeValue>\
         <saml:AttributeValue>finance</saml:AttributeValue></saml:Attribute><saml:Attribute Name=\"uid\">\
         <saml:AttributeValue>alice.liddell</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>",
        now = at(-5),
        delivered = at(300),
        end = at(600),
        login = at(-60),
        session = at(3600),
    )
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let lines: Vec<&str> = Vec::new();
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).fold(lines, |mut lines, line| {
        lines.push(std::str::from_utf8(line).unwrap());
        lines
    });
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub(crate) fn encoded(xml: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(xml)
}

/// What stands in `text` between the first `from` and the next `to`.
pub(crate) fn between(text: &str, from: &str, to: &str) -> String {
    let (_, rest) = text.split_once(from).unwrap();
    rest.split_once(to).unwrap().0.to_owned()
}

/// The settings of one provider, with `more` lines.
pub(crate) fn terms(certificate: &str, more: &str) -> SamlTerms {
    let sample = include_str!("../../../samples/authority.toml");
    let text = format!(
        "{sample}\n[[identity.saml]]\nname = \"idp\"\nentity_id = \"{ENTITY_ID}\"\ncertificates = [\"{certificate}\"]\n\
         audience = \"{AUDIENCE}\"\nrecipient = \"{RECIPIENT}\"\n{more}\n"
    );
    AuthorityConfig::parse(&text, "/writ.toml".as_ref()).unwrap().terms.saml.remove(0)
}

/// What an authority that believes a provider makes of its assertions.
pub(crate) struct Reader {
    providers: SamlProviders,
    now: Timestamp,
    _dir: TempDir,
}

impl Reader {
    pub(crate) fn new(idp: &Idp) -> Self {
        Self::with(&idp.public_pem(), "")
    }

    /// Believes the keys of a PEM file, on terms with `more` lines.
    pub(crate) fn with(pem: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("idp.pem");
        fs::write(&path, pem).unwrap();
        let providers = SamlProviders::open(&[terms(&path.display().to_string(), more)]).unwrap();
        Self { providers, now: START, _dir: dir }
    }

    pub(crate) fn later(self, secs: i64) -> Self {
        Self { now: Timestamp::from_secs(START.secs() + secs), ..self }
    }

    pub(crate) fn read_text(&self, text: &str) -> Result<VerifiedIdentity, Refused> {
        let tenant: TenantName = "default".parse().unwrap();
        self.providers.verify(&tenant, text, self.now)
    }

    pub(crate) fn read(&self, xml: impl AsRef<[u8]>) -> Result<VerifiedIdentity, Refused> {
        self.read_text(&encoded(xml))
    }

    /// Why a document is refused. `what` names it where it is not.
    #[track_caller]
    pub(crate) fn refusal(&self, what: &str, xml: impl AsRef<[u8]>) -> String {
        match self.read(xml) {
            Err(refused) => refused.to_string(),
            Ok(identity) => panic!("{what}: {identity:?}"),
        }
    }
}

/// A change of a document.
pub(crate) type Edit = fn(&str) -> String;

/// `text` without what begins with `from` and ends with the next `to`.
pub(crate) fn cut(text: &str, from: &str, to: &str) -> String {
    let (before, rest) = text.split_once(from).unwrap();
    format!("{before}{}", rest.split_once(to).unwrap().1)
}
