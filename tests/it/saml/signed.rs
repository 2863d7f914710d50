//! Signatures that are none: of another form, by other algorithms, by other keys.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::mint::{
    ECDSA_SHA256, EXCLUSIVE, Edit, Idp, Reader, SHA256, assertion, between, cut, digest_of, placed, signature_of,
    signed_info,
};

/// What a signature says of itself, signed as it then is.
const SIGNED_SO: &[(&str, Edit, &str)] = &[
    (
        "RSA with SHA-1",
        |info| info.replace(ECDSA_SHA256, "http://www.w3.org/2000/09/xmldsig#rsa-sha1"),
        "SignatureMethod",
    ),
    ("ECDSA with SHA-1", |info| info.replace("ecdsa-sha256", "ecdsa-sha1"), "SignatureMethod"),
    ("DSA", |info| info.replace(ECDSA_SHA256, "http://www.w3.org/2009/xmldsig11#dsa-sha256"), "SignatureMethod"),
    ("HMAC", |info| info.replace("ecdsa-sha256", "hmac-sha256"), "SignatureMethod"),
    (
        "a length of its HMAC",
        |info| info.replace("ecdsa-sha256\">", "ecdsa-sha256\"><ds:HMACOutputLength>1</ds:HMACOutputLength>"),
        "SignatureMethod",
    ),
    ("no algorithm", |info| info.replace(ECDSA_SHA256, ""), "SignatureMethod"),
    (
        "a digest by SHA-1",
        |info| {
            let digest = between(info, "DigestValue>", "<");
            let sha1 = STANDARD.encode(aws_lc_rs::digest::digest(
                &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
                assertion().as_bytes(),
            ));
            info.replace(SHA256, "http://www.w3.org/2000/09/xmldsig#sha1").replace(&digest, &sha1)
        },
        "DigestMethod",
    ),
    ("the whole document", |info| info.replace("URI=\"#_a1\"", "URI=\"\""), "does not refer"),
    ("no reference", |info| info.replace(" URI=\"#_a1\"", ""), "does not refer"),
    ("an empty `ID`", |info| info.replace("#_a1", "#"), "does not refer"),
    ("a pointer", |info| info.replace("#_a1", "#xpointer(id('_a1'))"), "another element"),
    ("an address", |info| info.replace("#_a1", "http://169.254.169.254/"), "does not refer"),
    (
        "two references",
        |info| {
            let reference =
                format!("<ds:Reference {}</ds:Reference>", between(info, "<ds:Reference ", "</ds:Reference>"));
            info.replace(&reference, &reference.repeat(2))
        },
        "more than one `Reference`",
    ),
    ("no transforms", |info| cut(info, "<ds:Transforms>", "</ds:Transforms>"), "Transforms"),
    (
        "no canonicalization",
        |info| info.replace(&format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\"></ds:Transform>"), ""),
        "transforms",
    ),
    (
        "transforms in another order",
        |info| {
            let enveloped =
                "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#enveloped-signature\"></ds:Transform>";
            let info = info.replace(enveloped, "");
            info.replace("</ds:Transforms>", &format!("{enveloped}</ds:Transforms>"))
        },
        "transforms",
    ),
    (
        "XPath",
        |info| {
            info.replace(
                "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
                "http://www.w3.org/TR/1999/REC-xpath-19991116",
            )
        },
        "transforms",
    ),
    (
        "XSLT",
        |info| {
            info.replace("<ds:Transforms>", "<ds:Transforms><ds:Transform Algorithm=\"http://www.w3.org/TR/1999/REC-xslt-19991116\"></ds:Transform>")
        },
        "transforms",
    ),
    (
        "base64",
        |info| {
            info.replace(
                &format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\">"),
                "<ds:Transform Algorithm=\"http://www.w3.org/2000/09/xmldsig#base64\">",
            )
        },
        "exclusive canonicalization",
    ),
    (
        "comments",
        |info| {
            info.replace(
                &format!("<ds:Transform Algorithm=\"{EXCLUSIVE}\">"),
                &format!("<ds:Transform Algorithm=\"{EXCLUSIVE}WithComments\">"),
            )
        },
        "exclusive canonicalization",
    ),
    (
        "inclusive canonicalization",
        |info| {
            info.replace(
                &format!("<ds:CanonicalizationMethod Algorithm=\"{EXCLUSIVE}\">"),
                "<ds:CanonicalizationMethod Algorithm=\"http://www.w3.org/TR/2001/REC-xml-c14n-20010315\">",
            )
        },
        "exclusive canonicalization",
    ),
    (
        "a manifest",
        |info| {
            info.replace("<ds:Reference ", "<ds:Reference Type=\"http://www.w3.org/2000/09/xmldsig#Manifest\" ")
                .replace("#_a1", "#_m1")
        },
        "another element",
    ),
    ("something more", |info| info.replace("</ds:SignedInfo>", "<ds:Other></ds:Other></ds:SignedInfo>"), "not known"),
    (
        "too many prefixes",
        |info| {
            info.replace("</ds:Transform></ds:Transforms>", &format!("<ec:InclusiveNamespaces xmlns:ec=\"{EXCLUSIVE}\" PrefixList=\"{}\"></ec:InclusiveNamespaces></ds:Transform></ds:Transforms>", "p ".repeat(17).trim()))
        },
        "16 prefixes",
    ),
];

#[test]
fn a_signature_counts_only_in_the_one_form() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    for (name, edit, word) in SIGNED_SO {
        let plain = signed_info(ECDSA_SHA256, "_a1", &digest_of(&assertion()));
        assert_ne!(edit(&plain), plain, "{name}");
        let why = reader.refusal(name, idp.sign_as(&assertion(), |info| edit(&info), |signature| signature));
        assert!(why.contains(word), "{name}: {why}");
    }
}

#[test]
fn only_the_keys_of_the_settings_count() {
    let (idp, other) = (Idp::new(), Idp::new());
    let why = Reader::new(&idp).refusal("another key", other.sign(&assertion()));
    assert!(why.contains("certificates"), "{why}");
    // It brings its own key and certificate.
    let info = format!(
        "<ds:KeyInfo><ds:KeyName>idp</ds:KeyName><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>",
        STANDARD.encode(&other.public)
    );
    let brings = |signature: String| signature.replace("</ds:Signature>", &info);
    let why = Reader::new(&idp).refusal("a key of its own", other.sign_as(&assertion(), |info| info, brings));
    assert!(why.contains("no key"), "{why}");
    // The public key as a shared secret.
    let info = signed_info("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256", "_a1", &digest_of(&assertion()));
    for secret in [idp.public.clone(), idp.public_pem().into_bytes()] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), info.as_bytes());
        let forged = placed(&assertion(), &signature_of(&info, &STANDARD.encode(tag)));
        let why = Reader::new(&idp).refusal("HMAC by the public key", forged);
        assert!(why.contains("SignatureMethod"), "{why}");
    }
    // Two keys, as while they are changed: both count.
    let both = Reader::with(&format!("{}{}", other.public_pem(), idp.public_pem()), "");
    for key in [&idp, &other] {
        both.read(key.sign(&assertion())).unwrap();
    }
}
