//! Documents that look odd and count, and those that are no document, or too large a one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use writ::clock::{Clock as _, SystemClock};

use super::mint::{EXCLUSIVE, Idp, Reader, SHA256, assertion, at, between, digest_of, encoded};

#[test]
fn an_assertion_that_is_signed_and_fits_identifies_its_user() {
    let idp = Idp::new();
    let identity = Reader::new(&idp).read(idp.sign(&assertion())).unwrap();
    assert_eq!((identity.provider().as_str(), identity.subject().as_str()), ("idp", "alice"));
    assert_eq!(identity.groups().iter().map(ToString::to_string).collect::<Vec<_>>(), ["staff", "finance"]);
    assert_eq!(identity.session().unwrap().as_str(), "session-1");
    assert_eq!(identity.expires().to_string(), at(300));
    assert!(identity.is_single_use());
}

#[test]
fn every_algorithm_that_counts_is_read_by_keys_of_its_kind() {
    let methods = ["ecdsa-sha256", "ecdsa-sha384", "rsa-sha256", "rsa-sha384", "rsa-sha512"];
    for method in ["ecdsa-sha256", "ecdsa-sha384", "rsa-sha256", "rsa-sha384", "rsa-sha512"] {
        let uri: &'static str = format!("http://www.w3.org/2001/04/xmldsig-more#{method}").leak();
        let idp = Idp::by(uri);
        let reader = Reader::new(&idp);
        reader.read(idp.sign(&assertion())).unwrap_or_else(|refused| panic!("{method}: {refused}"));
        // The same signature under another name is none.
        for other in methods.iter().filter(|other| **other != method) {
            let lies = idp.sign(&assertion()).replace(&format!("#{method}\""), &format!("#{other}\""));
            let why = reader.refusal(other, lies);
            assert!(why.contains("no key"), "{method} as {other}: {why}");
        }
    }
}

#[test]
fn every_digest_that_counts_is_read() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    let text = assertion();
    for (uri, algorithm) in [
        ("http://www.w3.org/2001/04/xmldsig-more#sha384", &aws_lc_rs::digest::SHA384),
        ("http://www.w3.org/2001/04/xmlenc#sha512", &aws_lc_rs::digest::SHA512),
    ] {
        let digest = STANDARD.encode(aws_lc_rs::digest::digest(algorithm, text.as_bytes()));
        let info = |info: String| info.replace(SHA256, uri).replace(&digest_of(&text), &digest);
        reader.read(idp.sign_as(&text, info, |signature| signature)).unwrap();
    }
}

/// What the document may look like, as long as what was signed stays the same.
#[test]
fn the_form_around_what_was_signed_does_not_matter() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    let signed = idp.sign(&assertion());
    let response = |inner: &str| {
        format!(
            "<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" ID=\"_r1\" Version=\"2.0\">\
             <samlp:Status><samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/></samlp:Status>{inner}\
             </samlp:Response>"
        )
    };
    let declared = "xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"";
    for (name, document) in [
        ("a declaration", format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{signed}")),
        ("a response around it", response(&signed)),
        ("the namespace declared by the response", response(&signed.replace(&format!(" {declared}"), "")).replacen("<samlp:Response", &format!("<samlp:Response {declared}"), 1)),
        ("a namespace that nobody uses", signed.replacen("<saml:Assertion", "<saml:Assertion xmlns:unused=\"urn:unused\"", 1)),
        ("attributes in another order", signed.replacen(" ID=\"_a1\"", "", 1).replacen(" Version=", " ID='_a1' Version=", 1)),
        ("an empty element", signed.replace("></saml:SubjectConfirmationData>", "/>")),
        ("a character as a number", signed.replace(">alice<", ">&#97;lice<")),
        ("a signature value in lines", {
            let value = between(&signed, "<ds:SignatureValue>", "</ds:SignatureValue>");
            signed.replace(&value, &format!("\n{}\r\n  {}\n", &value[..20], &value[20..]))
        }),
        ("somebody's certificate in `KeyInfo`", signed.replace("</ds:Signature>", "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>AAAA</ds:X509Certificate></ds:X509Data></ds:KeyInfo></ds:Signature>")),
    ] {
        let identity = reader.read(&document).unwrap_or_else(|refused| panic!("{name}: {refused}\n{document}"));
        assert_eq!((identity.subject().as_str(), identity.groups().len()), ("alice", 2), "{name}");
    }
    reader.read_text(&base64::engine::general_purpose::URL_SAFE.encode(&signed)).unwrap();
}

#[test]
fn a_list_of_prefixes_that_count_though_nobody_uses_them_is_followed() {
    let idp = Idp::new();
    let text = assertion()
        .replacen("<saml:Assertion ", "<saml:Assertion xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" ", 1)
        .replacen(
            "xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"",
            "xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" xmlns:xs=\"http://www.w3.org/2001/XMLSchema\"",
            1,
        );
    let list = format!(
        "<ec:InclusiveNamespaces xmlns:ec=\"{EXCLUSIVE}\" PrefixList=\"xs #default\"></ec:InclusiveNamespaces>"
    );
    let info = |info: String| {
        info.replace("</ds:Transform></ds:Transforms>", &format!("{list}</ds:Transform></ds:Transforms>"))
    };
    let signed = idp.sign_as(&text, info, |signature| signature);
    Reader::new(&idp).read(&signed).unwrap();
    let why = Reader::new(&idp).refusal("the namespace is another", signed.replace("/XMLSchema\"", "/Other\""));
    assert!(why.contains("changed"), "{why}");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    let signed = idp.sign(&assertion());
    let utf16 = |bytes: fn(u16) -> [u8; 2], mark: &[u8]| {
        mark.iter().copied().chain(signed.encode_utf16().flat_map(bytes)).collect::<Vec<u8>>()
    };
    for (name, bytes) in [
        ("UTF-16, little end first", utf16(u16::to_le_bytes, &[0xff, 0xfe])),
        ("UTF-16, big end first", utf16(u16::to_be_bytes, &[0xfe, 0xff])),
        ("UTF-16 without a mark", utf16(u16::to_le_bytes, &[])),
        ("Latin-1", signed.replace("alice", "alic\u{e9}").chars().map(|c| c as u8).collect()),
        (
            "an overlong slash",
            signed
                .replace("alice", "alice\u{1}")
                .bytes()
                .flat_map(|byte| if byte == 1 { vec![0xc0, 0xaf] } else { vec![byte] })
                .collect(),
        ),
    ] {
        // As UTF-8, every second letter of UTF-16 is a zero: its tags are none.
        let why = reader.refusal(name, bytes);
        assert!(["UTF-8", "well-formed", "begin", "32"].iter().any(|word| why.contains(word)), "{name}: {why}");
    }
    let text = encoded(&signed);
    for (name, text, word) in [
        ("a space", format!("{} {}", &text[..9], &text[9..]), "base64url"),
        ("a line", format!("{}\n{}", &text[..9], &text[9..]), "base64url"),
        ("the other alphabet", STANDARD.encode(signed.replace(">alice<", ">al\u{3fff}\u{3fff}ice<")), "base64url"),
        ("no base64", signed.clone(), "base64url"),
        ("too much padding", format!("{text}===="), "base64url"),
        ("nothing", String::new(), "begin"),
    ] {
        let why = reader.read_text(&text).unwrap_err().to_string();
        assert!(why.contains(word), "{name}: {why}");
    }
    for cut in 1..=8 {
        assert!(reader.read_text(&text[..text.len() - cut]).is_err(), "{cut} cut off");
    }
}

#[test]
fn what_is_huge_is_refused_at_once() {
    let idp = Idp::new();
    let reader = Reader::new(&idp);
    let groups = |count: usize| {
        let more = "<saml:AttributeValue>another-group</saml:AttributeValue>".repeat(count);
        idp.sign(&assertion().replacen("<saml:AttributeValue>staff", &format!("{more}<saml:AttributeValue>staff"), 1))
    };
    assert_eq!(reader.read(groups(500)).unwrap().groups().len(), 502);
    let nested = |open: &str, times: usize| format!("{}{}", open.repeat(times), "</a>".repeat(times));
    let many = |attribute: &dyn Fn(usize) -> String, times: usize| {
        format!("<a {}/>", (0..times).map(attribute).collect::<Vec<_>>().join(" "))
    };
    let around = (0..62).map(|n| format!("xmlns:a{n}=\"urn:a\"")).collect::<Vec<_>>().join(" ");
    // In the part that has to be read before anybody knows who signed it.
    let signing = |attributes: &str, inside: &str, times: usize| {
        idp.sign(&assertion())
            .replace("<ds:SignedInfo ", &format!("<ds:SignedInfo {attributes} "))
            .replace("</ds:SignedInfo>", &format!("{}</ds:SignedInfo>", inside.repeat(times)))
    };
    let declared: String = (0..1500).map(|n| format!("<a xmlns:a{n}=\"urn:a\">")).collect();
    for (name, document, word) in [
        ("longer than the limit", groups(1200), "65536"),
        ("10 MB", format!("<a>{}</a>", "a".repeat(10 << 20)), "65536"),
        ("deep", nested("<a>", 9000), "32"),
        ("deep, and a namespace at each step", format!("{declared}{}", "</a>".repeat(1500)), "32"),
        ("wide", many(&|n| format!("a{n}=\"\""), 7000), "64"),
        ("many namespaces", many(&|n| format!("xmlns:a{n}=\"urn:a\""), 3000), "64"),
        ("many elements", format!("<a>{}</a>", "<a/>".repeat(16_000)), "8192"),
        ("many tags that do not end", "<".repeat(60_000), "does not end"),
        // Within the limits, and as dear as they allow.
        ("namespaces on namespaces", format!("<a {around}>{}</a>", "<a xmlns:q=\"r\"/>".repeat(3500)), "0 assertions"),
        (
            "a long namespace at each of many",
            signing(&format!("xmlns:p=\"{}\"", "n".repeat(30_000)), "<p:a/>", 5000),
            "262144",
        ),
    ] {
        let begun = SystemClock.monotonic();
        let why = reader.refusal(name, document);
        assert!(why.contains(word), "{name}: {why}");
        let took = SystemClock.monotonic().since(begun);
        // Milliseconds, on a machine that does nothing else.
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
    }
}
