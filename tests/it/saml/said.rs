//! What a provider says in vain: each assertion is signed as it stands, and does not fit in one way.

use super::mint::{AUDIENCE, ENTITY_ID, Edit, Idp, Reader, assertion, at, cut};

/// Signed as they are: a provider that says this says it in vain.
const SAID: &[(&str, Edit, &str)] = &[
    ("another audience", |text| text.replace(AUDIENCE, "https://other.example"), "Audience"),
    (
        "another audience beside ours",
        |text| text.replace("</saml:Audience>", "</saml:Audience><saml:Audience>https://other.example</saml:Audience>"),
        "more than one `Audience`",
    ),
    (
        "a second restriction",
        |text| {
            text.replace("</saml:AudienceRestriction>", "</saml:AudienceRestriction><saml:AudienceRestriction><saml:Audience>https://other.example</saml:Audience></saml:AudienceRestriction>")
        },
        "AudienceRestriction",
    ),
    (
        "no audience",
        |text| cut(text, "<saml:AudienceRestriction>", "</saml:AudienceRestriction>"),
        "AudienceRestriction",
    ),
    (
        "our audience with a space",
        |text| text.replace(&format!("{AUDIENCE}</saml:Audience"), &format!("{AUDIENCE} </saml:Audience")),
        "Audience",
    ),
    ("another recipient", |text| text.replace("Recipient=\"https://writ.", "Recipient=\"https://other."), "Recipient"),
    ("no recipient", |text| cut(text, " Recipient=\"", "oauth/token\""), "Recipient"),
    ("another issuer", |text| text.replace(ENTITY_ID, "https://other.example/saml"), "Issuer"),
    (
        "two issuers",
        |text| text.replace("</saml:Issuer>", "</saml:Issuer><saml:Issuer>https://other.example</saml:Issuer>"),
        "more than one `Issuer`",
    ),
    ("no conditions", |text| cut(text, "<saml:Conditions", "</saml:Conditions>"), "Conditions"),
    (
        "a condition that nobody knows",
        |text| {
            text.replace("</saml:AudienceRestriction>", "</saml:AudienceRestriction><saml:Condition></saml:Condition>")
        },
        "not known",
    ),
    (
        "a proxy restriction",
        |text| {
            text.replace(
                "</saml:AudienceRestriction>",
                "</saml:AudienceRestriction><saml:ProxyRestriction Count=\"0\"></saml:ProxyRestriction>",
            )
        },
        "not known",
    ),
    ("over by its conditions", |text| text.replace(&at(600), &at(0)), "expired"),
    ("over by its delivery", |text| text.replace(&at(300), &at(0)), "expired"),
    ("over by its session", |text| text.replace(&at(3600), &at(0)), "expired"),
    ("no end of its conditions", |text| text.replace(&format!(" NotOnOrAfter=\"{}\"", at(600)), ""), "NotOnOrAfter"),
    ("no end of its delivery", |text| text.replace(&format!(" NotOnOrAfter=\"{}\"", at(300)), ""), "NotOnOrAfter"),
    (
        "not yet",
        |text| text.replace(&format!("NotBefore=\"{}\"", at(-5)), &format!("NotBefore=\"{}\"", at(11))),
        "future",
    ),
    (
        "a beginning of its delivery",
        |text| {
            text.replace(
                "<saml:SubjectConfirmationData ",
                &format!("<saml:SubjectConfirmationData NotBefore=\"{}\" ", at(-5)),
            )
        },
        "NotBefore",
    ),
    (
        "made in the future",
        |text| text.replace(&format!("IssueInstant=\"{}\"", at(-5)), &format!("IssueInstant=\"{}\"", at(11))),
        "future",
    ),
    (
        "made an hour ago",
        |text| text.replace(&format!("IssueInstant=\"{}\"", at(-5)), &format!("IssueInstant=\"{}\"", at(-3601))),
        "older",
    ),
    ("a login in the future", |text| text.replace(&at(-60), &at(11)), "future"),
    ("a time without a zone", |text| text.replace(&at(600), at(600).trim_end_matches('Z')), "not a time"),
    ("a time in another zone", |text| text.replace(&at(600), &at(600).replace('Z', "+00:00")), "not a time"),
    ("a day that is none", |text| text.replace(&at(600), "2027-02-30T00:00:00Z"), "not a time"),
    ("another version", |text| text.replace("Version=\"2.0\"", "Version=\"1.1\""), "Version"),
    ("no login", |text| cut(text, "<saml:AuthnStatement", "</saml:AuthnStatement>"), "AuthnStatement"),
    (
        "two logins",
        |text| {
            text.replace("<saml:AttributeStatement>", "<saml:AuthnStatement AuthnInstant=\"2027-01-15T08:00:00Z\"></saml:AuthnStatement><saml:AttributeStatement>")
        },
        "AuthnStatement",
    ),
    ("a holder of a key", |text| text.replace("cm:bearer", "cm:holder-of-key"), "bearer"),
    (
        "two confirmations",
        |text| {
            text.replace("</saml:SubjectConfirmation>", "</saml:SubjectConfirmation><saml:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"></saml:SubjectConfirmation>")
        },
        "SubjectConfirmation",
    ),
    (
        "no confirmation",
        |text| cut(text, "<saml:SubjectConfirmation ", "</saml:SubjectConfirmation>"),
        "SubjectConfirmation",
    ),
    ("no subject", |text| cut(text, "<saml:Subject>", "</saml:Subject>"), "Subject"),
    (
        "two users",
        |text| text.replace("</saml:NameID>", "</saml:NameID><saml:NameID>bob</saml:NameID>"),
        "more than one `NameID`",
    ),
    ("an encrypted user", |text| text.replace("saml:NameID", "saml:EncryptedID"), "EncryptedID"),
    (
        "a user for one login",
        |text| text.replace("nameid-format:persistent", "nameid-format:transient"),
        "name_id_formats",
    ),
    ("a user in no format", |text| cut(text, " Format=\"", "persistent\""), "name_id_formats"),
    (
        "another provider's user",
        |text| {
            text.replace("<saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\"", "<saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\" NameQualifier=\"https://other.example\"")
        },
        "qualified",
    ),
    (
        "another audience's user",
        |text| {
            text.replace("<saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\"", "<saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\" SPNameQualifier=\"https://other.example\"")
        },
        "qualified",
    ),
    ("an empty user", |text| text.replace(">alice<", "><"), "user"),
    ("a user that deceives", |text| text.replace(">alice<", ">\u{202e}alice<"), "user"),
    ("a user in two lines", |text| text.replace(">alice<", ">alice\nbob<"), "user"),
    ("an element within the user", |text| text.replace(">alice<", ">alice<saml:b></saml:b><"), "NameID"),
    ("groups twice", |text| text.replace("Name=\"uid\"", "Name=\"groups\""), "twice"),
    ("a group that is none", |text| text.replace(">staff<", "><"), "group"),
    ("an element within a group", |text| text.replace(">staff<", "><saml:b></saml:b><"), "AttributeValue"),
    (
        "an attribute that is encrypted",
        |text| {
            text.replace(
                "</saml:AttributeStatement>",
                "<saml:EncryptedAttribute></saml:EncryptedAttribute></saml:AttributeStatement>",
            )
        },
        "not known",
    ),
    (
        "a statement that nobody knows",
        |text| text.replace("</saml:Assertion>", "<saml:Statement></saml:Statement></saml:Assertion>"),
        "not known",
    ),
    ("words between the statements", |text| text.replace("</saml:Subject>", "</saml:Subject>bob"), "text between"),
    ("SAML 1", |text| text.replace("SAML:2.0:assertion", "SAML:1.0:assertion"), "not a SAML 2.0"),
    (
        "the user in another namespace",
        |text| text.replace("<saml:NameID ", "<saml:NameID xmlns:saml=\"urn:other\" "),
        "not known",
    ),
    (
        "an assertion as advice",
        |text| {
            text.replace(
                "</saml:Conditions>",
                "</saml:Conditions><saml:Advice><saml:Assertion ID=\"_a2\"></saml:Assertion></saml:Advice>",
            )
        },
        "2 assertions",
    ),
    (
        "an encrypted assertion",
        |text| {
            text.replace(
                "</saml:Conditions>",
                "</saml:Conditions><saml:Advice><saml:EncryptedAssertion></saml:EncryptedAssertion></saml:Advice>",
            )
        },
        "encrypted",
    ),
];

#[test]
fn what_a_provider_signed_counts_only_if_all_of_it_fits() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    for (name, edit, word) in SAID {
        let text = edit(&assertion());
        assert_ne!(text, assertion(), "{name}");
        let why = reader.refusal(name, idp.sign(&text));
        assert!(why.contains(word), "{name}: {why}");
    }
}
