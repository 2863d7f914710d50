//! Signature wrapping: a document in which the signature holds for one element and the user is read from another. The eight
//! classical forms (as SAML Raider builds them), and some by which a reader is told that there is only one assertion.

use super::mint::{Idp, Reader, assertion, between, signature_of};

const SAMLP: &str = "xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\"";

/// A signed assertion for `alice`, that assertion without its signature, the signature, and an unsigned one for `admin`.
struct Parts {
    signed: String,
    plain: String,
    signature: String,
    evil: String,
}

fn parts(idp: &Idp) -> Parts {
    let signed = idp.sign(&assertion());
    let signature = format!("<ds:Signature {}</ds:Signature>", between(&signed, "<ds:Signature ", "</ds:Signature>"));
    let evil = assertion().replace(">alice<", ">admin<").replace("\"_a1\"", "\"_evil\"");
    Parts { plain: signed.replace(&signature, ""), signed, signature, evil }
}

fn response(inner: &str) -> String {
    format!("<samlp:Response {SAMLP} ID=\"_r1\" Version=\"2.0\">{inner}</samlp:Response>")
}

/// `assertion` with something before its subject, where a signature stands.
fn with(assertion: &str, what: &str) -> String {
    super::mint::placed(assertion, what)
}

/// `signature` with an `Object` that holds `what`.
fn object(signature: &str, what: &str) -> String {
    signature.replace("</ds:Signature>", &format!("<ds:Object>{what}</ds:Object></ds:Signature>"))
}

#[test]
fn no_form_of_signature_wrapping_brings_out_another_user() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    let Parts { signed, plain, signature, evil } = parts(&idp);
    assert_eq!(reader.read(response(&signed)).unwrap().subject().as_str(), "alice");
    let original = response(&signed);
    for (name, document) in [
        (
            "XSW1: the signed response within the signature of another",
            response(&with(&evil, &object(&signature, &original))),
        ),
        (
            "XSW2: the signed response before a signature that is elsewhere",
            response(&format!("{original}{signature}{evil}")),
        ),
        ("XSW3: another assertion before the signed one", response(&format!("{evil}{signed}"))),
        ("XSW3: another assertion after the signed one", response(&format!("{signed}{evil}"))),
        (
            "XSW4: the signed assertion within another",
            response(&evil.replace("</saml:Assertion>", &format!("{signed}</saml:Assertion>"))),
        ),
        (
            "XSW5: another assertion with the signature, the signed one after it",
            response(&format!("{}{plain}", with(&evil, &signature))),
        ),
        (
            "XSW6: the signed assertion within the signature of another",
            response(&with(&evil, &signature.replace("</ds:SignatureValue>", &format!("</ds:SignatureValue>{plain}")))),
        ),
        (
            "XSW7: another assertion in `Extensions`",
            response(&format!("<samlp:Extensions>{}</samlp:Extensions>{signed}", evil.replace("_evil", "_a1"))),
        ),
        ("XSW7: with an `ID` of its own", response(&format!("<samlp:Extensions>{evil}</samlp:Extensions>{signed}"))),
        (
            "XSW8: the signed assertion in an `Object` of the signature of another",
            response(&with(&evil, &object(&signature, &plain))),
        ),
        ("XSW8 without a response", with(&evil, &object(&signature, &plain))),
        ("the signature of one assertion in another", with(&evil, &signature)),
        ("the same, with the `ID` of the signed one", with(&evil.replace("_evil", "_a1"), &signature)),
        (
            "the signed assertion in small letters",
            response(&format!("{}{evil}", signed.replace("saml:Assertion", "saml:assertion"))),
        ),
        (
            "the signed assertion by another namespace",
            response(&format!("{}{evil}", signed.replace("SAML:2.0:assertion", "SAML:2.0:other"))),
        ),
        ("the assertion deep within the response", response(&format!("<samlp:Extensions>{signed}</samlp:Extensions>"))),
        ("a wrapper that calls itself an assertion", format!("<x:Assertion xmlns:x=\"urn:x\">{signed}</x:Assertion>")),
    ] {
        let why = reader.refusal(name, document);
        assert!(!why.contains("well-formed"), "{name} is not what it is said to be: {why}");
    }
}

/// The signature of a response covers its assertion, and is looked at by others. Not here: one place, one rule.
#[test]
fn an_assertion_is_signed_itself_or_does_not_count() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    let canonical = response(&assertion()).replace(
        &format!("<samlp:Response {SAMLP} ID=\"_r1\" Version=\"2.0\">"),
        &format!("<samlp:Response {SAMLP} ID=\"_r1\" Version=\"2.0\"><saml:Issuer xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">https://idp.example/saml</saml:Issuer>"),
    );
    let signed = idp.sign(&canonical);
    assert!(signed.contains("URI=\"#_r1\""));
    let why = reader.refusal("a signed response", &signed);
    assert!(why.contains("not signed"), "{why}");
    // Both signed: the response's own signature is not looked at, right or wrong.
    let inner = idp.sign(&assertion());
    for value in ["AAAA", "!"] {
        let both = response(&format!("{}{inner}", signature_of("<ds:SignedInfo></ds:SignedInfo>", value)));
        assert_eq!(reader.read(both).unwrap().subject().as_str(), "alice");
    }
    // A response that was signed with an assertion's signature inside of it is still no assertion.
    let why = reader.refusal(
        "a response in place of an assertion",
        idp.sign(&canonical.replace("samlp:Response", "saml:Response")),
    );
    assert!(!why.is_empty());
}

#[test]
fn a_signature_for_another_element_of_the_provider_is_none_for_an_assertion() {
    let idp = Idp::new();
    // Whatever else a provider signs with its key, here its metadata, by the same form.
    let metadata = "<md:EntityDescriptor xmlns:md=\"urn:oasis:names:tc:SAML:2.0:metadata\" ID=\"_m1\"><saml:Issuer xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">https://idp.example/saml</saml:Issuer></md:EntityDescriptor>";
    let signed = idp.sign(metadata);
    let signature = format!("<ds:Signature {}</ds:Signature>", between(&signed, "<ds:Signature ", "</ds:Signature>"));
    let reader = Reader::new(&idp);
    assert!(reader.refusal("metadata", &signed).contains("0 assertions"));
    let why = reader.refusal("its signature in an assertion", with(&assertion(), &signature));
    assert!(why.contains("changed"), "{why}");
}
