//! An XML document, read within limits, and how to look into one without missing anything. Believes nothing.

use std::collections::HashSet;

use roxmltree::{Document, Node, ParsingOptions};

use crate::identity::Refused;

/// The most elements inside each other.
const DEPTH_MAX: usize = 32;
/// The most attributes, namespace declarations among them, of an element and all those around it: what an element costs to read
/// grows with the square of it.
const ATTRIBUTES_MAX: usize = 64;
/// The most elements and texts.
const NODES_MAX: u32 = 8192;
pub(super) const ASSERTION_NS: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const PROTOCOL_NS: &str = "urn:oasis:names:tc:SAML:2.0:protocol";

/// Reads a document. It has no comments, processing instructions, `CDATA`, document type and entities.
pub(super) fn parse(text: &str) -> Result<Document<'_>, Refused> {
    measure(body(text)?)?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::NodesLimitReached => Refused::new("it has more than 8192 elements and texts"),
        error => {
            Refused::new(format!("it is not well-formed XML with namespaces, see its line and column {}", error.pos()))
        }
    })
}

/// What follows the XML declaration, if there is one. The declaration may say `UTF-8`, which the text is, and nothing else.
fn body(text: &str) -> Result<&str, Refused> {
    let Some(rest) = text.strip_prefix("<?xml ") else { return Ok(text) };
    let (declaration, body) = rest.split_once("?>").ok_or_else(|| Refused::new("its XML declaration does not end"))?;
    let encoding = declaration.split_once("encoding").map(|(_, value)| {
        value.trim_start().trim_start_matches('=').trim_start().trim_start_matches(['"', '\'']).to_ascii_lowercase()
    });
    if encoding.is_some_and(|encoding| !encoding.starts_with("utf-8")) {
        return Err(Refused::new("its XML declaration says another encoding than UTF-8"));
    }
    Ok(body)
}

/// Refuses what costs more to read than it may, and what must not be there. Looks at tags only, and stops at the first that is not
/// one, as the parser does.
fn measure(body: &str) -> Result<(), Refused> {
    if !body.trim_ascii_start().starts_with('<') {
        return Err(Refused::new("it does not begin with an element"));
    }
    // Outside of markup no `<` can stand in XML.
    if body.contains("<!") {
        return Err(Refused::new("it has a comment, `CDATA` or a document type: none of them may stand in it"));
    }
    if body.contains("<?") {
        return Err(Refused::new("it has a processing instruction: none may stand in it"));
    }
    let mut open: Vec<usize> = Vec::new();
    let mut rest = body;
    while let Some((_, tag)) = rest.split_once('<') {
        let (length, attributes) = tag_length(tag).ok_or_else(|| Refused::new("a tag of it does not end"))?;
        if tag.starts_with('/') {
            open.pop();
        } else {
            let around = open.last().copied().unwrap_or(0) + attributes;
            if around > ATTRIBUTES_MAX || open.len() >= DEPTH_MAX {
                return Err(Refused::new(
                    "it has more than 32 elements inside each other, or more than 64 attributes on them",
                ));
            }
            if !tag[..length].ends_with('/') {
                open.push(around);
            }
        }
        rest = &tag[length..];
    }
    Ok(())
}

/// The length of a tag up to its `>`, and its attributes.
fn tag_length(tag: &str) -> Option<(usize, usize)> {
    let (mut quote, mut attributes) = (None, 0);
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (_, b'<') => return None,
            (None, b'>') => return Some((at, attributes)),
            (None, b'=') => attributes += 1,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// The one assertion of a document: its root, or a child of the `Response` that is its root.
pub(super) fn assertion<'a>(document: &'a Document<'a>) -> Result<Node<'a, 'a>, Refused> {
    let mut assertions = Vec::new();
    let mut ids = HashSet::new();
    for node in document.descendants().filter(Node::is_element) {
        match node.tag_name().name() {
            "EncryptedAssertion" => {
                return Err(Refused::new("it is encrypted: have the provider sign assertions and not encrypt them"));
            }
            // Of whatever namespace and version: two of them are one too many.
            name if name.eq_ignore_ascii_case("assertion") => assertions.push(node),
            _ => {}
        }
        let id = |name: &str| name.eq_ignore_ascii_case("id") || name.eq_ignore_ascii_case("assertionid");
        for attribute in node.attributes().filter(|attribute| id(attribute.name())) {
            if !ids.insert(attribute.value()) {
                return Err(Refused::new("an `ID` stands in it twice"));
            }
        }
    }
    let [assertion] = assertions[..] else {
        return Err(Refused::new(format!("it holds {} assertions: there must be exactly one", assertions.len())));
    };
    let root = document.root_element();
    let in_place =
        assertion == root || (root.has_tag_name((PROTOCOL_NS, "Response")) && assertion.parent() == Some(root));
    if in_place && assertion.has_tag_name((ASSERTION_NS, "Assertion")) {
        Ok(assertion)
    } else {
        Err(Refused::new("it is not a SAML 2.0 `Assertion`, nor a `Response` with one as its child"))
    }
}

/// The child elements of an element that holds nothing else.
pub(super) fn children<'a>(node: Node<'a, 'a>) -> Result<Vec<Node<'a, 'a>>, Refused> {
    let blank = |text: &str| text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    if node.children().any(|child| child.is_text() && !child.text().is_some_and(blank)) {
        return Err(Refused::new(format!("its `{}` holds text between its elements", name(node))));
    }
    Ok(node.children().filter(Node::is_element).collect())
}

/// The text of an element that holds nothing else, as it stands, spaces included.
pub(super) fn text<'a>(node: Node<'a, 'a>) -> Result<&'a str, Refused> {
    let mut children = node.children();
    match (children.next(), children.next()) {
        (None, _) => Ok(""),
        (Some(child), None) if child.is_text() => Ok(child.text().unwrap_or("")),
        _ => Err(Refused::new(format!("its `{}` holds other things than one text", name(node)))),
    }
}

/// The only child of that name, if there is one.
pub(super) fn optional<'a>(node: Node<'a, 'a>, ns: &str, child: &str) -> Result<Option<Node<'a, 'a>>, Refused> {
    let mut found = children(node)?.into_iter().filter(|node| node.has_tag_name((ns, child)));
    match (found.next(), found.next()) {
        (found, None) => Ok(found),
        (_, Some(_)) => Err(Refused::new(format!("its `{}` has more than one `{child}`", name(node)))),
    }
}

/// The only child of that name.
pub(super) fn one<'a>(node: Node<'a, 'a>, ns: &str, child: &str) -> Result<Node<'a, 'a>, Refused> {
    optional(node, ns, child)?.ok_or_else(|| Refused::new(format!("its `{}` has no `{child}`", name(node))))
}

/// Refuses an element with other children than those of `allowed`.
pub(super) fn only(node: Node<'_, '_>, ns: &str, allowed: &[&str]) -> Result<(), Refused> {
    let strange = |child: &Node<'_, '_>| !allowed.iter().any(|allowed| child.has_tag_name((ns, *allowed)));
    match node.children().filter(Node::is_element).find(strange) {
        None => Ok(()),
        Some(child) => {
            Err(Refused::new(format!("its `{}` has a `{}`, which is not known here", name(node), name(child))))
        }
    }
}

/// The name of an element for people, cut where it is long.
pub(super) fn name(node: Node<'_, '_>) -> String {
    crate::id::shown(node.tag_name().name())
}
