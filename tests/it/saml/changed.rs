//! Assertions that were changed after they were signed.

use super::mint::{AUDIENCE, Edit, Idp, Reader, assertion, at, between, cut, digest_of};

/// Changes of an assertion that was signed.
const CHANGED: &[(&str, Edit, &str)] = &[
    ("another user", |text| text.replace(">alice<", ">admin<"), "changed"),
    ("another group", |text| text.replace(">staff<", ">admins<"), "changed"),
    (
        "a group more",
        |text| {
            text.replace(
                "<saml:AttributeValue>staff",
                "<saml:AttributeValue>admins</saml:AttributeValue><saml:AttributeValue>staff",
            )
        },
        "changed",
    ),
    ("a later end", |text| text.replace(&at(600), &at(60_000)), "changed"),
    ("another `ID`", |text| text.replace("ID=\"_a1\"", "ID=\"_a2\""), "changed"),
    ("another reference", |text| text.replace("URI=\"#_a1\"", "URI=\"#_a2\""), "no key"),
    (
        "another digest",
        |text| {
            let digest = between(text, "DigestValue>", "<");
            text.replace(&digest, &digest_of("other"))
        },
        "no key",
    ),
    ("a comment in the user", |text| text.replace(">alice<", ">alice<!---->.evil<"), "comment"),
    ("a comment in the audience", |text| text.replace(AUDIENCE, "https://<!-- -->writ.example"), "comment"),
    ("a comment before it", |text| format!("<!-- -->{text}"), "comment"),
    ("a comment after it", |text| format!("{text}<!-- -->"), "comment"),
    ("`CDATA` in the user", |text| text.replace(">alice<", "><![CDATA[alice]]><"), "CDATA"),
    (
        "a processing instruction in the user",
        |text| text.replace(">alice<", ">al<?x y?>ice<"),
        "processing instruction",
    ),
    ("a document type", |text| format!("<!DOCTYPE saml:Assertion>{text}"), "document type"),
    (
        "an entity",
        |text| format!("<!DOCTYPE a [<!ENTITY e \"alice\">]>{}", text.replace(">alice<", ">&e;<")),
        "document type",
    ),
    ("an entity that nobody declared", |text| text.replace(">alice<", ">&e;<"), "well-formed"),
    (
        "a bomb",
        |_| {
            "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">]><a>&c;</a>".into()
        },
        "document type",
    ),
    ("an external entity", |_| "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>".into(), "document type"),
    ("the same `ID` elsewhere", |text| text.replace("<saml:Subject>", "<saml:Subject ID=\"_a1\">"), "twice"),
    (
        "the same `ID` under another name",
        |text| text.replace("<saml:Subject>", "<saml:Subject xml:id=\"_a1\">"),
        "twice",
    ),
    ("the same `ID` in small letters", |text| text.replace("<saml:Subject>", "<saml:Subject id=\"_a1\">"), "twice"),
    (
        "the user's element elsewhere too",
        |text| {
            text.replace(
                "<saml:Conditions",
                "<saml:Subject><saml:NameID>admin</saml:NameID></saml:Subject><saml:Conditions",
            )
        },
        "changed",
    ),
    ("no signature", |text| cut(text, "<ds:Signature ", "</ds:Signature>"), "not signed"),
    ("no signature value", |text| cut(text, "<ds:SignatureValue>", "</ds:SignatureValue>"), "SignatureValue"),
    (
        "an empty signature value",
        |text| {
            let value = between(text, "<ds:SignatureValue>", "<");
            text.replace(&value, "")
        },
        "no key",
    ),
    (
        "a signature value that is no base64",
        |text| text.replace("<ds:SignatureValue>", "<ds:SignatureValue>*"),
        "base64",
    ),
    (
        "the signature in another place",
        |text| {
            let signature =
                format!("<ds:Signature {}</ds:Signature>", between(text, "<ds:Signature ", "</ds:Signature>"));
            text.replace(&signature, "").replace("<saml:Subject>", &format!("<saml:Subject>{signature}"))
        },
        "not a child",
    ),
    (
        "the signature twice",
        |text| {
            let signature =
                format!("<ds:Signature {}</ds:Signature>", between(text, "<ds:Signature ", "</ds:Signature>"));
            text.replace(&signature, &signature.repeat(2))
        },
        "more than one signature",
    ),
    (
        "a signature by another namespace",
        |text| {
            text.replace(
                "<ds:Signature xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\"",
                "<ds:Signature xmlns:ds=\"urn:other\"",
            )
        },
        "namespace",
    ),
    ("an `Object`", |text| text.replace("</ds:Signature>", "<ds:Object>x</ds:Object></ds:Signature>"), "Object"),
    ("words in the signature", |text| text.replace("</ds:Signature>", "x</ds:Signature>"), "text between"),
    (
        "our namespace for another prefix",
        |text| {
            text.replace("xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"", "xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" xmlns:s=\"urn:oasis:names:tc:SAML:2.0:assertion\"").replace("saml:NameID", "s:NameID")
        },
        "changed",
    ),
    ("the user in no namespace", |text| text.replace("saml:NameID", "NameID"), "changed"),
    (
        "an attribute in a namespace",
        |text| text.replace(" ID=\"_a1\"", " xmlns:x=\"urn:x\" ID=\"_a1\" x:ID=\"_a2\""),
        "changed",
    ),
    ("an attribute twice", |text| text.replace(" ID=\"_a1\"", " ID=\"_a1\" ID=\"_a2\""), "well-formed"),
    ("a prefix that nobody declared", |text| text.replace("saml:NameID", "other:NameID"), "well-formed"),
    ("two roots", |text| format!("{text}{text}"), "well-formed"),
    ("cut off", |text| text[..text.len() - 20].into(), "does not end"),
    ("words before it", |text| format!("x{text}"), "begin"),
    ("nothing", |_| String::new(), "begin"),
    ("an envelope of another kind", |text| format!("<Envelope>{text}</Envelope>"), "Response"),
    (
        "a response around a response",
        |text| {
            let ns = "xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\"";
            format!("<samlp:Response {ns}><samlp:Response>{text}</samlp:Response></samlp:Response>")
        },
        "Response",
    ),
    ("a byte order mark", |text| format!("\u{feff}{text}"), "begin"),
    ("another encoding, it says", |text| format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>{text}"), "encoding"),
    (
        "an encoding of seven bits, it says",
        |text| format!("<?xml version=\"1.0\" encoding='utf-7'?>{text}"),
        "encoding",
    ),
    ("a zero byte", |text| text.replace(">alice<", ">alice\0<"), "well-formed"),
    ("a zero character", |text| text.replace(">alice<", ">alice&#0;<"), "well-formed"),
];

#[test]
fn nothing_counts_that_was_changed_after_it_was_signed() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    let signed = idp.sign(&assertion());
    for (name, edit, word) in CHANGED {
        let text = edit(&signed);
        assert_ne!(text, signed, "{name}");
        let why = reader.refusal(name, text);
        assert!(why.contains(word), "{name}: {why}");
    }
}
