//! Any bytes as a SAML assertion: read without a panic, and never believed. And any words in an assertion that is signed: they come
//! out as they went in, or not at all.
#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use writ::clock::Timestamp;
use writ::config::authority::AuthorityConfig;
use writ::identity::saml::SamlProviders;

static KEY: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key can be made"));

static PROVIDERS: LazyLock<SamlProviders> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("writ-fuzz-saml-{}.pem", std::process::id()));
    let der: PublicKeyX509Der<'_> = KEY.public_key().as_der().expect("a public key has a form");
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()));
    std::fs::write(&path, pem).expect("the temporary folder can be written to");
    let text = format!(
        "[authority]\nlisten = \"127.0.0.1:1\"\nissuer = \"https://writ.example\"\n[store]\nurl = \"sqlite:a\"\n\
         [vault]\nkek_variable = \"K\"\n[[identity.saml]]\nname = \"idp\"\nentity_id = \"https://idp.example\"\n\
         certificates = [\"{}\"]\n",
        path.display()
    );
    let config = AuthorityConfig::parse(&text, "/writ.toml".as_ref()).expect("the settings fit");
    SamlProviders::open(&config.terms.saml).expect("the key fits")
});

fn read(document: &[u8]) -> Option<(String, Vec<String>, Option<String>)> {
    let tenant = "default".parse().expect("a name");
    let now = Timestamp::from_secs(1_800_000_000);
    let identity = PROVIDERS.verify(&tenant, &URL_SAFE_NO_PAD.encode(document), now).ok()?;
    let groups = identity.groups().iter().map(ToString::to_string).collect();
    Some((identity.subject().to_string(), groups, identity.session().map(ToString::to_string)))
}

/// An assertion with these words in it as they are, signed as it then is.
fn signed(user: &str, group: &str, session: &str) -> String {
    let assertion = format!(
        "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"_a\" IssueInstant=\"2027-01-15T08:00:00Z\" Version=\"2.0\">\
         <saml:Issuer>https://idp.example</saml:Issuer>@<saml:Subject><saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\">{user}</saml:NameID>\
         <saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"><saml:SubjectConfirmationData NotOnOrAfter=\"2027-01-15T08:05:00Z\" Recipient=\"https://writ.example/oauth/token\">\
         </saml:SubjectConfirmationData></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotOnOrAfter=\"2027-01-15T08:05:00Z\"><saml:AudienceRestriction>\
         <saml:Audience>https://writ.example</saml:Audience></saml:AudienceRestriction></saml:Conditions>\
         <saml:AuthnStatement AuthnInstant=\"2027-01-15T08:00:00Z\" SessionIndex=\"{session}\"></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute Name=\"groups\">\
         <saml:AttributeValue>{group}</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>"
    );
    let (before, after) = assertion.split_once('@').expect("it stands in the form");
    let digest = STANDARD.encode(digest(&SHA256, format!("{before}{after}").as_bytes()));
    let info = format!(
        "<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"><ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:CanonicalizationMethod>\
         <ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256\"></ds:SignatureMethod><ds:Reference URI=\"#_a\"><ds:Transforms>\
         <ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform><ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:Transform></ds:Transforms>\
         <ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"
    );
    let value = KEY.sign(&SystemRandom::new(), info.as_bytes()).expect("a key signs");
    let value = STANDARD.encode(value.as_ref());
    format!(
        "{before}<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{info}<ds:SignatureValue>{value}</ds:SignatureValue></ds:Signature>{after}"
    )
}

fuzz_target!(|data: &[u8]| {
    assert_eq!(read(data), None);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut words = text.splitn(3, '\n');
    let (user, group, session) =
        (words.next().unwrap_or(""), words.next().unwrap_or("g"), words.next().unwrap_or("s"));
    // Markup in them changes what is signed, which is then what is read.
    let plain = ![user, group, session].iter().any(|word| word.contains(['<', '>', '&', '"', '\r', '\t', '\n']));
    if let Some(said) = read(signed(user, group, session).as_bytes())
        && plain
    {
        assert_eq!(said, (user.to_owned(), vec![group.to_owned()], Some(session.to_owned())));
    }
});
