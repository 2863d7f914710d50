//! Whether the canonical form is the one of others: xmlsec1 signs documents that are as awkward as they come, and each is read.
//! A difference in one byte is a digest that does not fit.

use std::fs;
use std::process::Command;

use super::mint::{Reader, assertion, placed, signature_of, signed_info};

const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const LIST: &str = "http://www.w3.org/2001/10/xml-exc-c14n#\"><ec:InclusiveNamespaces \
                    xmlns:ec=\"http://www.w3.org/2001/10/xml-exc-c14n#\" PrefixList=\"xs #default nobody\"/></ds:";

/// What a canonical form must get right, in a place that is signed and not read.
const AWKWARD: &[(&str, &str)] = &[
    ("nothing", ""),
    ("attributes in another order", "<a z='1' b='2' xml:lang='en' a='3'/>"),
    ("attributes by namespace", "<a xmlns:y='urn:a' xmlns:x='urn:b' x:a='1' y:a='2' a='3' y:b='4'/>"),
    ("two prefixes for one namespace", "<a xmlns:y='urn:a' xmlns:x='urn:a' x:a='1' y:b='2'/>"),
    ("a default namespace", "<a xmlns='urn:a'><b/><c xmlns=''><d xmlns='urn:a'/></c></a>"),
    ("a default namespace that is nobody's", "<a><b xmlns=''/></a>"),
    (
        "a prefix for another namespace within",
        "<p:a xmlns:p='urn:a'><p:b xmlns:p='urn:b'><p:c xmlns:p='urn:a'/></p:b></p:a>",
    ),
    ("the same prefix again", "<p:a xmlns:p='urn:a'><p:b xmlns:p='urn:a'/></p:a>"),
    ("a prefix that only a child uses", "<a xmlns:p='urn:a'><p:b/><p:b><p:c p:d=''/></p:b></a>"),
    ("a prefix of the list", "<a><xs:b/><b xmlns:xs='urn:other'><c/></b></a>"),
    ("a prefix that only a value uses", "<a xmlns:t='urn:t' type='t:b'/>"),
    ("spaces in a tag", "<a   b = '1'\n\tc=\"2\"   ></a  >"),
    ("quotes and signs in a value", "<a b='\"&quot;&apos;&amp;&lt;&gt;>' c=\"'\"/>"),
    ("lines and tabs in a value", "<a b='1\n2\t3 4' c='&#10;&#9;&#13;&#x20;'/>"),
    ("signs in a text", "<a>&amp;&lt;&gt;&quot;&apos;\"'> ]]&gt;</a>"),
    ("lines in a text", "<a>1\r\n2\r3\n4&#13;5&#10;\t </a>"),
    ("characters of all sizes", "<a b='\u{e9}\u{6f22}\u{1f980}'>\u{e9}\u{6f22}\u{1f980}&#233;&#x1F980;</a>"),
    ("spaces of `xml:space`", "<a xml:space='preserve'>  <b/>  </a>"),
    ("names of all kinds", "<\u{e9}t\u{e9}.a-b_c x.y-z='1'/>"),
];

#[test]
fn what_xmlsec1_signs_is_read_whatever_its_form() {
    let dir = tempfile::tempdir().unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let (key, template) = (dir.path().join("key.pem"), dir.path().join("template.xml"));
    fs::write(&key, pair.serialize_pem()).unwrap();
    let reader = Reader::with(&pair.public_key_pem(), "");
    for (name, awkward) in AWKWARD {
        let advice = format!("</saml:Conditions><saml:Advice>{awkward}</saml:Advice>");
        let text = assertion().replace("</saml:Conditions>", &advice);
        let info = signed_info(RSA_SHA256, "_a1", "");
        let with_list = info.replace("http://www.w3.org/2001/10/xml-exc-c14n#\"></ds:", LIST);
        for info in [info, with_list] {
            let signed = placed(&text, &signature_of(&info, ""));
            // Declared where it is not used.
            let outside = "<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" xmlns:xs=\"http://www.w3.org/2001/XMLSchema\" xmlns=\"urn:default\">";
            fs::write(&template, format!("{outside}{signed}</samlp:Response>")).unwrap();
            let mut command = Command::new("xmlsec1");
            command.args(["--sign", "--id-attr:ID", "urn:oasis:names:tc:SAML:2.0:assertion:Assertion"]);
            command.arg("--privkey-pem").arg(&key).arg(&template);
            let output = command.output().unwrap();
            let document = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            let identity = reader.read(&document).unwrap_or_else(|refused| panic!("{name}: {refused}\n{document}"));
            assert_eq!(identity.subject().as_str(), "alice", "{name}");
        }
    }
}
