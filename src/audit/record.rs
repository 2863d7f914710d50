//! The hash chain: each record names the one before it, so that a change, a gap or a reordering is visible.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::audit::event::Event;
use crate::audit::text::{number, string};
use crate::clock::Timestamp;
use crate::id::{EdgeName, Hex, text_form};
use crate::key::{KeyPair, PublicKey, sha256};

/// Who writes a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The authority's own changes. Written `authority`.
    Authority,
    /// One edge's journal. Written `edge:<name>`.
    Edge(EdgeName),
}

/// A text that is not a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an audit source: use `authority` or `edge:<name>`")]
pub struct InvalidSource;

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authority => f.write_str("authority"),
            Self::Edge(name) => write!(f, "edge:{name}"),
        }
    }
}

impl Source {
    /// The text form, without a formatter: it stands in every record twice.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Authority => out.extend_from_slice(b"authority"),
            Self::Edge(name) => {
                out.extend_from_slice(b"edge:");
                out.extend_from_slice(name.as_str().as_bytes());
            }
        }
    }
}

impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "authority" => Ok(Self::Authority),
            Some(("edge", name)) => name.parse().map(Self::Edge).map_err(|_| InvalidSource),
            _ => Err(InvalidSource),
        }
    }
}

text_form!(Source);

/// One record of a chain.
///
/// The event is kept as the exact JSON text that was hashed, so that a reader never has to re-serialise it. A store keeps
/// it as text, and no internally tagged or flattened type may hold a record: both would write the event anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Whose chain.
    pub source: Source,
    /// Its place: 1, 2, 3, without gaps.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The event as JSON text.
    pub event: Box<RawValue>,
    /// The hash of the record before it, in hexadecimal; 64 zeros for the first.
    pub previous: Box<str>,
    /// The hash of this record, in hexadecimal.
    pub hash: Box<str>,
}

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last record's place; 0 for an empty chain.
    pub seq: u64,
    /// The last record's hash in hexadecimal; 64 zeros for an empty chain.
    pub hash: Box<str>,
}

/// A signed statement that a chain had this head at this time: makes truncation visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Whose chain.
    pub source: Source,
    /// Its head.
    pub head: Head,
    /// When it was signed.
    pub at: Timestamp,
    /// Who signed: the edge for its own chain, the authority for its own.
    pub key: PublicKey,
    /// Ed25519 over the canonical text of the rest, in hexadecimal.
    pub signature: Box<str>,
}

/// Where a chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A record's hash is not that of its contents.
    #[error("record {0} was changed: its hash does not match its contents")]
    Changed(u64),
    /// A record is whole, but its event is not one that this version knows.
    #[error("the event of record {0} cannot be read: it was written by a newer writ")]
    Unreadable(u64),
    /// A record does not follow the one before it.
    #[error("record {0} does not follow the record before it: records were removed, added or reordered")]
    Broken(u64),
    /// A checkpoint names a head that the chain does not have.
    #[error("a signed checkpoint saw {0} records, and the chain does not have them as they were")]
    Truncated(u64),
    /// A checkpoint's signature does not hold.
    #[error("the signature of the checkpoint at {0} does not hold")]
    Signature(u64),
}

impl Head {
    /// The head of an empty chain.
    pub fn empty() -> Self {
        Self { seq: 0, hash: "0".repeat(64).into() }
    }
}

impl Record {
    /// The record that follows `head`.
    pub fn after(head: &Head, source: Source, at: Timestamp, event: &Event) -> Self {
        Self::of_text(head, source, at, event.text())
    }

    /// The record of an event's [text](Event::text) that follows `head`.
    pub fn of_text(head: &Head, source: Source, at: Timestamp, event: Box<RawValue>) -> Self {
        let seq = head.seq.saturating_add(1);
        let hash = hashed(&source, seq, at, &head.hash, event.get().as_bytes());
        Self { source, seq, at, event, previous: head.hash.clone(), hash }
    }

    /// Appends to `out` the JSON text of the record that follows `head`, and answers where the chain then ends: what
    /// serde writes of [`Record::after`], without a record being made.
    pub fn write_after(head: &Head, source: &Source, at: Timestamp, event: &[u8], out: &mut Vec<u8>) -> Head {
        let seq = head.seq.saturating_add(1);
        let hash = hashed(source, seq, at, &head.hash, event);
        out.extend_from_slice(br#"{"source":""#);
        source.write(out);
        out.extend_from_slice(br#"","seq":"#);
        number(out, seq);
        out.extend_from_slice(br#","at":"#);
        number(out, at.millis());
        out.extend_from_slice(br#","event":"#);
        out.extend_from_slice(event);
        out.extend_from_slice(br#","previous":"#);
        string(out, &head.hash);
        out.extend_from_slice(br#","hash":""#);
        out.extend_from_slice(hash.as_bytes());
        out.extend_from_slice(br#""}"#);
        Head { seq, hash }
    }

    /// The head of a chain that ends here.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash.clone() }
    }

    /// Checks that this record is unchanged and follows `head`.
    pub fn follows(&self, head: &Head) -> Result<(), ChainError> {
        self.is_whole()?;
        if Some(self.seq) != head.seq.checked_add(1) || self.previous != head.hash {
            return Err(ChainError::Broken(self.seq));
        }
        Ok(())
    }

    /// Checks that the hash is that of the contents. Says nothing about the record before it.
    pub fn is_whole(&self) -> Result<(), ChainError> {
        // The form of `previous` first: with a line break in it, two records would have one hashed text.
        let whole = is_hash(&self.previous)
            && *hashed(&self.source, self.seq, self.at, &self.previous, self.event.get().as_bytes()) == *self.hash;
        if whole { Ok(()) } else { Err(ChainError::Changed(self.seq)) }
    }

    /// The event, read from its text.
    pub fn read(&self) -> Result<Event, ChainError> {
        serde_json::from_str(self.event.get()).map_err(|_| ChainError::Unreadable(self.seq))
    }
}

/// The hash of a record in hexadecimal: SHA-256 over six lines, of which only the last may hold a line break.
fn hashed(source: &Source, seq: u64, at: Timestamp, previous: &str, event: &[u8]) -> Box<str> {
    let mut text = Vec::with_capacity(256 + event.len());
    text.extend_from_slice(b"writ audit record v1\n");
    source.write(&mut text);
    text.push(b'\n');
    number(&mut text, seq);
    text.push(b'\n');
    number(&mut text, at.millis());
    text.push(b'\n');
    text.extend_from_slice(previous.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(event);
    Hex(&sha256(&text)).to_string().into()
}

/// 64 lower-case hexadecimal digits.
fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Checkpoint {
    /// Signs that `source`'s chain has `head` at `at`.
    pub fn sign(source: Source, head: Head, at: Timestamp, key: &KeyPair) -> Self {
        let signature = hex::encode(key.sign(stated(&source, &head, at, &key.public()).as_bytes())).into();
        Self { source, head, at, key: key.public(), signature }
    }

    /// Checks the signature. Whether the key is the source's own is the caller's to know.
    pub fn verify(&self) -> Result<(), ChainError> {
        let mut signature = [0; 64];
        let decoded = hex::decode_to_slice(&*self.signature, &mut signature).is_ok();
        let text = stated(&self.source, &self.head, self.at, &self.key);
        // One text form of the signature: the decoder would take upper case too.
        let canonical = !self.signature.bytes().any(|byte| byte.is_ascii_uppercase());
        if decoded && canonical && is_hash(&self.head.hash) && self.key.verifies(text.as_bytes(), &signature) {
            return Ok(());
        }
        Err(ChainError::Signature(self.head.seq))
    }
}

/// What a checkpoint's signature is over.
fn stated(source: &Source, head: &Head, at: Timestamp, key: &PublicKey) -> String {
    format!("writ audit checkpoint v1\n{source}\n{}\n{}\n{}\n{key}", head.seq, head.hash, at.millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::{Actor, Change};
    use proptest::prelude::*;

    fn change(object: &str) -> Event {
        Event::Change(Change {
            actor: Actor::Operator("root".parse().unwrap()),
            action: "agent.register".into(),
            object: object.into(),
            tenant: None,
            detail: serde_json::Map::new(),
        })
    }

    fn record(object: &str) -> Record {
        Record::after(&Head::empty(), Source::Authority, Timestamp::from_millis(1_795_000_000_123), &change(object))
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint::sign(
            Source::Edge("edge-1".parse().unwrap()),
            record("a").head(),
            Timestamp::from_millis(7),
            &KeyPair::from_seed(&[3; 32]),
        )
    }

    #[test]
    fn the_hashed_text_is_the_one_of_the_specification() {
        let text = format!(
            "writ audit record v1\nauthority\n1\n1795000000123\n{}\n{}",
            "0".repeat(64),
            r#"{"type":"change","actor":{"kind":"operator","name":"root"},"action":"agent.register","object":"a"}"#
        );
        assert_eq!(*record("a").hash, *hex::encode(sha256(text.as_bytes())));
        assert_eq!(&*record("a").hash, "8dad5dbce32ca3050a0a220dcc2b60464a4b08084c31f9ba9fed5a91e677e3e3");
    }

    #[test]
    fn the_example_of_the_specification_holds() {
        let page = include_str!("../../spec/audit.md");
        let example: Vec<&str> = page.lines().filter(|line| line.starts_with("{\"source\"")).collect();
        let mut head = Head::empty();
        for line in &example[..2] {
            let record: Record = serde_json::from_str(line).unwrap();
            record.follows(&head).unwrap();
            record.read().unwrap();
            head = record.head();
        }
        let signed = Checkpoint::sign(
            Source::Authority,
            head,
            Timestamp::from_secs(1_795_000_002),
            &KeyPair::from_seed(&[3; 32]),
        );
        assert_eq!(serde_json::to_string(&signed).unwrap(), example[2]);
    }

    #[test]
    fn the_hash_survives_a_trip_through_json() {
        let text = serde_json::to_string(&record("\"\\ \u{202e} ä\n")).unwrap();
        let again: Record = serde_json::from_str(&text).unwrap();
        again.follows(&Head::empty()).unwrap();
        assert_eq!(again.read().unwrap(), change("\"\\ \u{202e} ä\n"));
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }

    #[test]
    fn a_record_follows_only_the_one_before_it() {
        let first = record("a");
        let second = Record::after(&first.head(), Source::Authority, Timestamp::from_millis(0), &change("b"));
        second.follows(&first.head()).unwrap();
        assert_eq!(second.follows(&Head::empty()), Err(ChainError::Broken(2)));
        assert_eq!(second.follows(&record("other").head()), Err(ChainError::Broken(2)));
        assert_eq!(first.follows(&first.head()), Err(ChainError::Broken(1)));
        let end = Head { seq: u64::MAX, ..Head::empty() };
        assert!(Record::after(&end, Source::Authority, Timestamp::from_millis(0), &change("b")).follows(&end).is_err());
    }

    #[test]
    fn a_line_moved_between_the_previous_hash_and_the_event_is_a_change() {
        let honest = record("a");
        let (previous, event) = (honest.previous.to_string(), honest.event.get().to_owned());
        // Both write the same six or seven lines, and only one of them is a record.
        let moved = Record {
            previous: format!("{previous}\n1").into(),
            event: RawValue::from_string(event.clone()).unwrap(),
            hash: hashed(&honest.source, 1, honest.at, &format!("{previous}\n1"), event.as_bytes()),
            ..honest
        };
        assert_eq!(moved.is_whole(), Err(ChainError::Changed(1)));
    }

    #[test]
    fn a_checkpoint_holds_for_what_was_signed_and_nothing_else() {
        let signed = checkpoint();
        signed.verify().unwrap();
        let other_key = KeyPair::from_seed(&[4; 32]).public();
        for changed in [
            Checkpoint { source: Source::Authority, ..signed.clone() },
            Checkpoint { head: Head { seq: 2, ..signed.head.clone() }, ..signed.clone() },
            Checkpoint { head: Head { hash: Head::empty().hash, ..signed.head.clone() }, ..signed.clone() },
            Checkpoint { at: Timestamp::from_millis(8), ..signed.clone() },
            Checkpoint { key: other_key, ..signed.clone() },
            Checkpoint { signature: signed.signature.to_uppercase().into(), ..signed.clone() },
            Checkpoint { signature: "".into(), ..signed.clone() },
        ] {
            assert!(matches!(changed.verify(), Err(ChainError::Signature(_))), "{changed:?}");
        }
    }

    proptest! {
        #[test]
        fn a_record_is_written_in_one_way(object: String, seq in 0..u64::MAX, hash in "[0-9a-f]{64}|.{0,9}", at: i64) {
            let (head, at) = (Head { seq, hash: hash.into() }, Timestamp::from_millis(at));
            for source in [Source::Authority, Source::Edge("edge-1".parse().unwrap())] {
                let record = Record::after(&head, source.clone(), at, &change(&object));
                let mut line = Vec::new();
                let end = Record::write_after(&head, &source, at, &change(&object).json(), &mut line);
                prop_assert_eq!(String::from_utf8(line).unwrap(), serde_json::to_string(&record).unwrap());
                prop_assert_eq!(end, record.head());
            }
        }

        #[test]
        fn any_changed_byte_of_a_record_is_found(object: String, place: prop::sample::Index, xor in 1_u8..=255) {
            let honest = record(&object);
            let mut bytes = serde_json::to_vec(&honest).unwrap();
            let at = place.index(bytes.len());
            bytes[at] ^= xor;
            // Either it is no record any more, or it does not follow: there is no third.
            if let Ok(changed) = serde_json::from_slice::<Record>(&bytes) {
                prop_assert!(changed.follows(&Head::empty()).is_err(), "{}", String::from_utf8_lossy(&bytes));
            }
        }

        #[test]
        fn any_changed_byte_of_a_checkpoint_is_found(place: prop::sample::Index, xor in 1_u8..=255) {
            let mut bytes = serde_json::to_vec(&checkpoint()).unwrap();
            let at = place.index(bytes.len());
            bytes[at] ^= xor;
            if let Ok(changed) = serde_json::from_slice::<Checkpoint>(&bytes) {
                prop_assert!(changed.verify().is_err(), "{}", String::from_utf8_lossy(&bytes));
            }
        }

        #[test]
        fn sources_round_trip(name in "[a-z0-9][a-z0-9._-]{0,63}") {
            let source = Source::Edge(name.parse().unwrap());
            prop_assert_eq!(source.to_string().parse::<Source>().unwrap(), source);
        }
    }
}
