//! Any change of a document that counts: it is refused, or it says what its provider signed. Nothing else ever comes out.

use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::mint::{Idp, Reader, assertion};

/// A provider, its two assertions, and the authority that believes it.
fn setting() -> &'static (Reader, [String; 2]) {
    static SETTING: OnceLock<(Reader, [String; 2])> = OnceLock::new();
    SETTING.get_or_init(|| {
        let idp = Idp::new();
        let bob = assertion().replace(">alice<", ">bob<").replace("_a1", "_b1").replace(">finance<", ">sales<");
        (Reader::new(&idp), [idp.sign(&assertion()), idp.sign(&bob)])
    })
}

/// What may come out: one of the two identities, whole.
fn only_what_was_signed(document: &[u8]) -> Result<(), TestCaseError> {
    let (reader, _) = setting();
    if let Ok(identity) = reader.read(document) {
        let groups: Vec<&str> = identity.groups().iter().map(writ::id::Group::as_str).collect();
        let session = identity.session().map(writ::id::Subject::as_str);
        let said = (identity.subject().as_str(), &groups[..], session, identity.expires().to_string());
        let end = super::mint::at(300);
        let alice = ("alice", &["staff", "finance"][..], Some("session-1"), end.clone());
        let bob = ("bob", &["staff", "sales"][..], Some("session-1"), end);
        prop_assert!(said == alice || said == bob, "{said:?} from {}", String::from_utf8_lossy(document));
    }
    Ok(())
}

/// The places where an element begins and ends, each with its tags.
fn elements(text: &str) -> Vec<(usize, usize)> {
    let mut open = Vec::new();
    let mut found = Vec::new();
    for (at, _) in text.match_indices('<') {
        let end = at + text[at..].find('>').unwrap() + 1;
        if text[at..].starts_with("</") {
            found.push((open.pop().unwrap(), end));
        } else if !text[at..end].ends_with("/>") {
            open.push(at);
        }
    }
    found
}

const PIECES: &[&str] = &[
    "<!---->",
    "<![CDATA[x]]>",
    "<?x y?>",
    "&#97;",
    "&amp;",
    "&lt;",
    "\u{0}",
    "\u{feff}",
    "\r\n",
    " ",
    "<saml:NameID>admin</saml:NameID>",
    "<saml:AttributeValue>admins</saml:AttributeValue>",
    " xmlns=\"urn:x\"",
    " xmlns:saml=\"urn:x\"",
    " ID=\"_b1\"",
    " xml:id=\"_a1\"",
    "</saml:Issuer>",
    "<ds:Object/>",
    "#_b1",
    "saml:Assertion",
    "x",
    "/>",
    ">",
    "<",
    "\"",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn bytes_that_are_flipped(which in 0..2usize, flips in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4)) {
        let mut bytes = setting().1[which].clone().into_bytes();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        only_what_was_signed(&bytes)?;
    }

    #[test]
    fn pieces_that_are_put_in(which in 0..2usize, pieces in proptest::collection::vec((any::<Index>(), proptest::sample::select(PIECES), 0..12usize), 1..4)) {
        let mut text = setting().1[which].clone();
        for (at, piece, cut) in pieces {
            let at = at.index(text.len());
            let end = (at + cut).min(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, piece);
            }
        }
        only_what_was_signed(text.as_bytes())?;
    }

    #[test]
    fn elements_that_are_moved_copied_and_exchanged(moves in proptest::collection::vec((0..2usize, any::<Index>(), any::<Index>(), any::<bool>(), any::<bool>()), 1..4), wrapped: bool) {
        let [alice, bob] = &setting().1;
        let mut text = alice.clone();
        for (from_bob, from, to, inside, replaces) in moves {
            let source = if from_bob == 1 { bob.clone() } else { text.clone() };
            let taken = elements(&source);
            let (begin, end) = taken[from.index(taken.len())];
            let targets = elements(&text);
            let (to_begin, to_end) = targets[to.index(targets.len())];
            // Within the target, before its end tag; or before it; or in its place.
            let place = if inside { to_begin + text[to_begin..to_end].rfind("</").unwrap() } else { to_begin };
            let until = if replaces && !inside { to_end } else { place };
            text.replace_range(place..until, &source[begin..end]);
            if text.len() > 60_000 {
                break;
            }
        }
        if wrapped {
            text = format!("<samlp:Response xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\">{text}</samlp:Response>");
        }
        only_what_was_signed(text.as_bytes())?;
    }

    #[test]
    fn any_bytes(bytes: Vec<u8>, text in "\\PC*") {
        prop_assert!(setting().0.read(bytes).is_err());
        prop_assert!(setting().0.read(&text).is_err());
        prop_assert!(setting().0.read_text(&text).is_err());
    }
}
