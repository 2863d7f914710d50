//! Exclusive XML Canonicalization 1.0, without comments, of one element of a document that has none.
//!
//! A mistake here refuses what should count and does no other harm: what is read afterwards is what this wrote, and a provider's
//! key must have signed exactly that.

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::Node;

use super::ASSERTION_BYTES_MAX;
use crate::identity::Refused;

/// The longest canonical form in bytes. It can be much longer than the document: a namespace that an element declares is written
/// again at each of its children that use it.
const CANONICAL_BYTES_MAX: usize = 4 * ASSERTION_BYTES_MAX;

/// The canonical form of `apex`, `left_out` and all that it holds left out. `inclusive` are the prefixes that stand wherever they
/// are declared, used or not: the `PrefixList` of `InclusiveNamespaces`, `#default` as the empty prefix.
pub(super) fn canonical<'a>(
    apex: Node<'a, 'a>,
    left_out: Option<Node<'a, 'a>>,
    inclusive: &'a [String],
) -> Result<String, Refused> {
    let mut out = String::with_capacity(apex.range().len());
    Writer { source: apex.document().input_text(), left_out, inclusive }.element(apex, &BTreeMap::new(), &mut out)?;
    Ok(out)
}

struct Writer<'a> {
    source: &'a str,
    left_out: Option<Node<'a, 'a>>,
    inclusive: &'a [String],
}

impl<'a> Writer<'a> {
    /// `written` are the prefixes that the elements around this one have declared, with their namespaces.
    fn element(
        &self,
        node: Node<'a, 'a>,
        written: &BTreeMap<&'a str, &'a str>,
        out: &mut String,
    ) -> Result<(), Refused> {
        // One element adds less than the document is long.
        if out.len() > CANONICAL_BYTES_MAX {
            return Err(Refused::new("its canonical form is longer than 262144 bytes"));
        }
        let tag = self.qualified(node.range().start + 1);
        let mut attributes: Vec<_> = node.attributes().collect();
        attributes.sort_by_key(|attribute| (attribute.namespace().unwrap_or(""), attribute.name()));
        let used = attributes.iter().filter_map(|attribute| self.qualified(attribute.range().start).split_once(':'));
        let mut prefixes: BTreeSet<&str> = used.map(|(prefix, _)| prefix).filter(|prefix| *prefix != "xml").collect();
        prefixes.insert(tag.split_once(':').map_or("", |(prefix, _)| prefix));
        prefixes.extend(self.inclusive.iter().map(String::as_str));

        let mut written = written.clone();
        out.push('<');
        out.push_str(tag);
        for prefix in prefixes {
            let declared = node.lookup_namespace_uri((!prefix.is_empty()).then_some(prefix)).unwrap_or("");
            if written.get(prefix).copied().unwrap_or("") == declared {
                continue;
            }
            let colon = if prefix.is_empty() { "" } else { ":" };
            push_attribute(out, &["xmlns", colon, prefix], declared);
            written.insert(prefix, declared);
        }
        for attribute in attributes {
            push_attribute(out, &[self.qualified(attribute.range().start)], attribute.value());
        }
        out.push('>');
        for child in node.children().filter(|child| Some(*child) != self.left_out) {
            if child.is_element() {
                self.element(child, &written, out)?;
            } else {
                push_text(out, child.text().unwrap_or(""));
            }
        }
        out.push_str("</");
        out.push_str(tag);
        out.push('>');
        Ok(())
    }

    /// The name with its prefix that begins at `start` of the source.
    fn qualified(&self, start: usize) -> &'a str {
        let rest = &self.source[start..];
        let end = rest.find([' ', '\t', '\n', '\r', '=', '/', '>']).unwrap_or(rest.len());
        &rest[..end]
    }
}

fn push_attribute(out: &mut String, name: &[&str], value: &str) {
    out.push(' ');
    out.extend(name.iter().copied());
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_text(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#xD;"),
            c => out.push(c),
        }
    }
}
