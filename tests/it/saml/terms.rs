//! What the settings of a provider change.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use writ::id::TenantName;
use writ::identity::saml::SamlProviders;
use writ::token::claims::ClaimValue;

use super::mint::{Idp, Reader, assertion, at, pem, terms};
use crate::support::authority::START;

fn read(more: &str, text: &str) -> Result<writ::identity::VerifiedIdentity, String> {
    let idp = Idp::new();
    Reader::with(&idp.public_pem(), more).read(idp.sign(text)).map_err(|refused| refused.to_string())
}

#[test]
fn the_user_stands_where_the_settings_say() {
    let by_attribute = read("user_attribute = \"uid\"", &assertion()).unwrap();
    assert_eq!(by_attribute.subject().as_str(), "alice.liddell");
    let two = assertion().replace(
        ">alice.liddell</saml:AttributeValue>",
        ">alice</saml:AttributeValue><saml:AttributeValue>bob</saml:AttributeValue>",
    );
    for (text, word) in [(two, "exactly one value"), (assertion().replace("\"uid\"", "\"mail\""), "exactly one value")]
    {
        let why = read("user_attribute = \"uid\"", &text).unwrap_err();
        assert!(why.contains(word), "{why}");
    }
    let unspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";
    let formats = format!("name_id_formats = [\"{unspecified}\"]");
    assert!(read(&formats, &assertion()).unwrap_err().contains("name_id_formats"));
    read(&formats, &assertion().replace("urn:oasis:names:tc:SAML:2.0:nameid-format:persistent", unspecified)).unwrap();
    read(&formats, &assertion().replace(" Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\"", ""))
        .unwrap();
    // Qualified by those it belongs to.
    let qualified = "<saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\" NameQualifier=\"https://idp.example/saml\" SPNameQualifier=\"https://writ.example\"";
    let plain = "<saml:NameID Format=\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\"";
    read("", &assertion().replace(plain, qualified)).unwrap();
}

#[test]
fn a_prefix_stands_before_users_and_sessions_and_not_before_groups() {
    let identity = read("user_prefix = \"saml:\"", &assertion()).unwrap();
    assert_eq!((identity.subject().as_str(), identity.session().unwrap().as_str()), ("saml:alice", "saml:session-1"));
    assert_eq!(identity.groups()[0].as_str(), "staff");
}

#[test]
fn groups_are_those_of_the_named_attribute_or_none() {
    assert_eq!(read("groups_attribute = \"uid\"", &assertion()).unwrap().groups().len(), 1);
    assert_eq!(read("groups_attribute = \"memberOf\"", &assertion()).unwrap().groups().len(), 0);
}

#[test]
fn attributes_that_the_settings_name_are_said_to_policies_each_of_its_kind() {
    let attribute = |name: &str, values: &[&str]| {
        let values: String =
            values.iter().map(|value| format!("<saml:AttributeValue>{value}</saml:AttributeValue>")).collect();
        let more = format!("<saml:Attribute Name=\"{name}\">{values}</saml:Attribute></saml:AttributeStatement>");
        assertion().replace("</saml:AttributeStatement>", &more)
    };
    let said = |kind: &str, values: &[&str]| -> Result<Vec<(String, ClaimValue)>, String> {
        let identity = read(&format!("policy_claims = {{ x = \"{kind}\" }}"), &attribute("x", values))?;
        Ok(identity.claims().iter().map(|claim| (claim.name.as_str().to_owned(), claim.value.clone())).collect())
    };
    let provider = ("provider".to_owned(), ClaimValue::String("idp".into()));
    for (kind, values, value) in [
        ("string", &["mfa"][..], ClaimValue::String("mfa".into())),
        ("strings", &["otp", "mfa", "otp"], ClaimValue::Strings(vec!["mfa".into(), "otp".into()])),
        ("boolean", &["true"], ClaimValue::Boolean(true)),
        ("boolean", &["false"], ClaimValue::Boolean(false)),
        ("integer", &["-3"], ClaimValue::Integer(-3)),
    ] {
        assert_eq!(said(kind, values).unwrap(), [provider.clone(), ("x".to_owned(), value)], "{kind}");
    }
    for (kind, values) in [
        ("string", &["a", "b"][..]),
        ("boolean", &["1"]),
        ("boolean", &["true", "false"]),
        ("integer", &["+3"]),
        ("integer", &["03"]),
        ("integer", &["9223372036854775808"]),
    ] {
        let why = said(kind, values).unwrap_err();
        assert!(why.contains("claim `x`") && why.contains("`policy_claims`"), "{kind}: {why}");
    }
    // What it does not say, or says under a name that nobody asked for, is not there.
    assert_eq!(said("strings", &[]).unwrap(), std::slice::from_ref(&provider));
    let twice = attribute("x", &["true"]).replace("Name=\"groups\"", "Name=\"x\"");
    assert!(read("policy_claims = { x = \"boolean\" }", &twice).unwrap_err().contains("twice"));
    assert_eq!(read("", &attribute("x", &["mfa"])).unwrap().claims().len(), 1);
    let many: Vec<String> = (0..16).map(|n| format!("method-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(said("strings", &many).unwrap_err().contains("more than 16"));
}

#[test]
fn a_session_index_that_comes_again_names_no_session() {
    assert_eq!(read("session_index_unique = false", &assertion()).unwrap().session(), None);
    assert_eq!(read("", &assertion().replace(" SessionIndex=\"session-1\"", "")).unwrap().session(), None);
    assert!(read("", &assertion().replace("\"session-1\"", "\"\"")).unwrap_err().contains("SessionIndex"));
}

#[test]
fn ages_and_clocks_are_as_the_settings_allow() {
    assert!(read("assertion_age_max_s = 5", &assertion()).is_ok());
    assert!(read("assertion_age_max_s = 4", &assertion()).unwrap_err().contains("older than 4 s"));
    assert!(read("login_age_max_s = 60", &assertion()).is_ok());
    assert!(read("login_age_max_s = 59", &assertion()).unwrap_err().contains("log in again"));
    let ahead = assertion().replace(&format!("IssueInstant=\"{}\"", at(-5)), &format!("IssueInstant=\"{}\"", at(10)));
    assert!(read("", &ahead).is_ok());
    assert!(read("clock_skew_s = 9", &ahead).unwrap_err().contains("clock_skew_s"));
    // No allowance for what ends.
    let idp = Idp::new();
    let signed = idp.sign(&assertion());
    assert!(Reader::new(&idp).later(299).read(&signed).is_ok());
    assert!(Reader::new(&idp).later(300).refusal("over", &signed).contains("expired"));
}

#[test]
fn the_first_end_is_the_end() {
    let ends = |from: i64, to: i64| read("", &assertion().replace(&at(from), &at(to))).unwrap().expires().to_string();
    assert_eq!(ends(3600, 100), at(100));
    assert_eq!(ends(600, 200), at(200));
    assert_eq!(ends(300, 6000), at(600));
    let fraction = assertion().replace(&at(300), &at(250).replace('Z', ".999Z"));
    assert_eq!(read("", &fraction).unwrap().expires().to_string(), at(250));
}

#[test]
fn an_assertion_counts_once_unless_the_settings_and_the_assertion_say_otherwise() {
    let once = assertion()
        .replace("</saml:AudienceRestriction>", "</saml:AudienceRestriction><saml:OneTimeUse></saml:OneTimeUse>");
    assert!(read("", &assertion()).unwrap().is_single_use());
    assert!(!read("single_use = false", &assertion()).unwrap().is_single_use());
    assert!(read("single_use = false", &once).unwrap().is_single_use());
}

/// It is the assertion that counts once, in whatever document it comes.
#[test]
fn the_same_assertion_has_one_digest_in_every_document() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    let digest = |document: String| *reader.read(document).unwrap().digest();
    let first = digest(idp.sign(&assertion()));
    // ECDSA is randomised: another signature, and here another form.
    assert_eq!(first, digest(idp.sign(&assertion()).replace(" Version=", "  Version=")));
    assert_ne!(first, digest(idp.sign(&assertion().replace("_a1", "_a2"))));
}

#[test]
fn each_provider_is_believed_for_its_own_tenant_and_its_own_issuer() {
    let (one, two) = (Idp::new(), Idp::new());
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, idp: &Idp| {
        let path = dir.path().join(name);
        std::fs::write(&path, idp.public_pem()).unwrap();
        path.display().to_string()
    };
    let first = terms(&file("one", &one), "");
    let mut second = terms(&file("two", &two), "tenant = \"other\"");
    second.name = "idp-2".parse().unwrap();
    let mut third = terms(&file("three", &two), "user_prefix = \"three:\"");
    third.entity_id = "https://three.example".into();
    let providers = SamlProviders::open(&[first, second, third]).unwrap();
    let reads = |tenant: &str, idp: &Idp, text: &str| {
        let tenant: TenantName = tenant.parse().unwrap();
        providers.verify(&tenant, &super::mint::encoded(idp.sign(text)), START).map(|user| user.subject().to_string())
    };
    let of_third = assertion().replace("https://idp.example/saml", "https://three.example");
    assert_eq!(reads("default", &one, &assertion()).unwrap(), "alice");
    assert_eq!(reads("other", &two, &assertion()).unwrap(), "alice");
    assert_eq!(reads("default", &two, &of_third).unwrap(), "three:alice");
    assert!(reads("default", &two, &assertion()).is_err());
    assert!(reads("other", &one, &assertion()).is_err());
    assert!(reads("default", &one, &of_third).is_err());
    assert!(reads("other", &two, &of_third).unwrap_err().to_string().contains("tenant"));
    assert!(providers.speak_for(&"other".parse().unwrap()) && !providers.speak_for(&"third".parse().unwrap()));
}

#[test]
fn a_file_of_keys_holds_certificates_or_public_keys_and_nothing_secret() {
    let dir = tempfile::tempdir().unwrap();
    let open = |text: &str| {
        let path = dir.path().join("idp.pem");
        std::fs::write(&path, text).unwrap();
        SamlProviders::open(&[terms(&path.display().to_string(), "")]).map(drop).map_err(|error| error.to_string())
    };
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let key = pair.to_pkcs8v1().unwrap();
    let certified = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["idp.example".into()]).unwrap().self_signed(&certified).unwrap();
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert_eq!(open(&certificate.pem()), Ok(()));
    assert_eq!(open(&format!("of the provider\n{}{}", certificate.pem(), Idp::new().public_pem())), Ok(()));
    let cut = pem("CERTIFICATE", &certificate.der()[..100]);
    for (text, word) in [
        ("", "no certificate"),
        ("not PEM", "no certificate"),
        (&*pem("PRIVATE KEY", key.as_ref()), "private key"),
        (&format!("{}{}", certificate.pem(), certified.serialize_pem()), "private key"),
        (&pem("CERTIFICATE", b"x"), "2048"),
        (&cut, "2048"),
        (&ed25519.public_key_pem(), "2048"),
    ] {
        let error = open(text).unwrap_err();
        assert!(error.contains("idp.pem") && error.contains(word), "{error}");
    }
    let missing = terms("/nowhere/idp.pem", "");
    assert!(SamlProviders::open(&[missing]).unwrap_err().to_string().contains("/nowhere/idp.pem"));
}

#[test]
fn a_certificate_counts_by_its_key_whatever_else_it_says() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["idp.example".into()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let certificate = params.self_signed(&pair).unwrap();
    let idp = Idp::with_pkcs8(&pair.serialize_der());
    let signed = idp.sign(&assertion());
    Reader::with(&certificate.pem(), "").read(&signed).unwrap();
}
