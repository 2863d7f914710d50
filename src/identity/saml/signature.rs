//! The signature of an assertion (XML Signature 1.1, as SAML core section 5.4 narrows it): which bytes a provider's key signed.
//!
//! Only the algorithms and the place of the signature are read from the document as it came. What is signed is read from the
//! canonical `SignedInfo` whose signature holds, and the assertion from the canonical bytes whose digest stands there.

use aws_lc_rs::digest::{self, Algorithm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roxmltree::Node;

use super::canonical::canonical;
use super::document::{self, children, one, only, text};
use super::key::{self, SigningKey};
use crate::id::ProviderName;
use crate::identity::Refused;

const SIGNATURE_NS: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
/// The longest signature in bytes: RSA of 8192 bits.
const SIGNATURE_BYTES_MAX: usize = 1024;
const PREFIXES_MAX: usize = 16;
const DIGESTS: [(&str, &Algorithm); 3] = [
    ("http://www.w3.org/2001/04/xmlenc#sha256", &digest::SHA256),
    ("http://www.w3.org/2001/04/xmldsig-more#sha384", &digest::SHA384),
    ("http://www.w3.org/2001/04/xmlenc#sha512", &digest::SHA512),
];

/// What a provider signed: the canonical form of one element with this ID, its signature left out. Only [`signed`] makes one.
pub(super) struct SignedAssertion {
    xml: String,
    id: String,
}

impl SignedAssertion {
    /// The bytes that were signed.
    pub(super) fn xml(&self) -> &str {
        &self.xml
    }

    /// The `ID` that its element must have.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// The bytes of `assertion` that one of `keys` signed.
pub(super) fn signed<'a>(
    assertion: Node<'a, 'a>,
    keys: &[SigningKey],
    provider: &ProviderName,
) -> Result<SignedAssertion, Refused> {
    let signature = signature(assertion)?;
    let info = one(signature, SIGNATURE_NS, "SignedInfo")?;
    let prefixes = exclusive(one(info, SIGNATURE_NS, "CanonicalizationMethod")?)?;
    let info = canonical(info, None, &prefixes)?;
    let value = base64(one(signature, SIGNATURE_NS, "SignatureValue")?)?;

    let document = document::parse(&info)?;
    let stated = SignedInfo::read(document.root_element())?;
    if value.len() > SIGNATURE_BYTES_MAX
        || !keys.iter().any(|key| key.signed(&stated.algorithm, info.as_bytes(), &value))
    {
        return Err(Refused::new(format!(
            "no key of provider `{provider}` signed it: `certificates` of that provider lists the keys that count"
        )));
    }
    let xml = canonical(assertion, Some(signature), &stated.prefixes)?;
    if digest::digest(stated.digest_by, xml.as_bytes()).as_ref() != stated.digest {
        return Err(Refused::new("it was changed after it was signed: its digest is another one"));
    }
    Ok(SignedAssertion { xml, id: stated.id })
}

/// The one signature in an assertion: its child, and of a form in which nothing but an assertion's own signature fits.
fn signature<'a>(assertion: Node<'a, 'a>) -> Result<Node<'a, 'a>, Refused> {
    let named = |node: &Node<'a, 'a>| node.is_element() && node.tag_name().name().eq_ignore_ascii_case("signature");
    let mut found = assertion.descendants().filter(named);
    let signature = match (found.next(), found.next()) {
        (Some(signature), None) => signature,
        (None, _) => {
            return Err(Refused::new(
                "it is not signed: have the provider sign assertions, and not only the response around them",
            ));
        }
        (Some(_), Some(_)) => return Err(Refused::new("there is more than one signature in it")),
    };
    if signature.parent() != Some(assertion) || !signature.has_tag_name((SIGNATURE_NS, "Signature")) {
        return Err(Refused::new("its signature is not a child of it, or is none by its namespace"));
    }
    // `KeyInfo` may be there and is not looked at: which keys count is for the settings to say. No `Object`.
    children(signature)?;
    only(signature, SIGNATURE_NS, &["SignedInfo", "SignatureValue", "KeyInfo"])?;
    Ok(signature)
}

/// What a signature states, read from the bytes that were signed.
struct SignedInfo {
    algorithm: String,
    id: String,
    prefixes: Vec<String>,
    digest_by: &'static Algorithm,
    digest: Vec<u8>,
}

impl SignedInfo {
    fn read<'a>(info: Node<'a, 'a>) -> Result<Self, Refused> {
        only(info, SIGNATURE_NS, &["CanonicalizationMethod", "SignatureMethod", "Reference"])?;
        exclusive(one(info, SIGNATURE_NS, "CanonicalizationMethod")?)?;
        let method = one(info, SIGNATURE_NS, "SignatureMethod")?;
        let algorithm = algorithm(method);
        if !key::is_known(algorithm) || !children(method)?.is_empty() {
            return Err(Refused::new("its `SignatureMethod` is not RSA or ECDSA with SHA-256, SHA-384 or SHA-512"));
        }
        let reference = one(info, SIGNATURE_NS, "Reference")?;
        only(reference, SIGNATURE_NS, &["Transforms", "DigestMethod", "DigestValue"])?;
        let id = reference.attribute("URI").and_then(|uri| uri.strip_prefix('#')).filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Refused::new("its signature does not refer to the assertion by its `ID`"))?;
        let digest_by = algorithm_of_digest(one(reference, SIGNATURE_NS, "DigestMethod")?)?;
        Ok(Self {
            algorithm: algorithm.into(),
            id: id.into(),
            prefixes: transforms(one(reference, SIGNATURE_NS, "Transforms")?)?,
            digest_by,
            digest: base64(one(reference, SIGNATURE_NS, "DigestValue")?)?,
        })
    }
}

/// The only transforms that count, which together give the canonical element without its signature.
fn transforms<'a>(node: Node<'a, 'a>) -> Result<Vec<String>, Refused> {
    only(node, SIGNATURE_NS, &["Transform"])?;
    match children(node)?[..] {
        [first, second] if algorithm(first) == ENVELOPED && children(first)?.is_empty() => exclusive(second),
        _ => Err(Refused::new(
            "its signature has other transforms than `enveloped-signature` and then exclusive canonicalization without comments",
        )),
    }
}

/// Checks that a node names exclusive canonicalization without comments: its `PrefixList`.
fn exclusive<'a>(node: Node<'a, 'a>) -> Result<Vec<String>, Refused> {
    if algorithm(node) != EXCLUSIVE {
        return Err(Refused::new("its signature is not by exclusive canonicalization without comments"));
    }
    only(node, EXCLUSIVE, &["InclusiveNamespaces"])?;
    let Some(list) = document::optional(node, EXCLUSIVE, "InclusiveNamespaces")? else { return Ok(Vec::new()) };
    let prefixes: Vec<String> = list
        .attribute("PrefixList")
        .unwrap_or("")
        .split_ascii_whitespace()
        .filter(|prefix| *prefix != "xml")
        .map(|prefix| if prefix == "#default" { String::new() } else { prefix.to_owned() })
        .collect();
    if prefixes.len() > PREFIXES_MAX {
        return Err(Refused::new("its signature names more than 16 prefixes in a `PrefixList`"));
    }
    Ok(prefixes)
}

fn algorithm<'a>(node: Node<'a, 'a>) -> &'a str {
    node.attribute("Algorithm").unwrap_or("")
}

fn algorithm_of_digest(node: Node<'_, '_>) -> Result<&'static Algorithm, Refused> {
    let named = node.attribute("Algorithm").unwrap_or("");
    let known = DIGESTS.iter().find(|(uri, _)| *uri == named).filter(|_| !node.has_children());
    let (_, algorithm) = known.ok_or_else(|| Refused::new("its `DigestMethod` is not SHA-256, SHA-384 or SHA-512"))?;
    Ok(algorithm)
}

/// Base64 in lines, strict otherwise.
fn base64<'a>(node: Node<'a, 'a>) -> Result<Vec<u8>, Refused> {
    let packed: String = text(node)?.split([' ', '\t', '\r', '\n']).collect();
    STANDARD.decode(packed).map_err(|_| Refused::new(format!("its `{}` is not base64", document::name(node))))
}
