//! The hash chain: each record names the one before it, so that a change, a gap or a reordering is visible.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::audit::event::Event;
use crate::clock::Timestamp;
use crate::id::{EdgeName, text_form};
use crate::key::{KeyPair, PublicKey};

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
/// The event is kept as the exact JSON text that was hashed, so that a reader never has to re-serialise it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Whose chain.
    pub source: Source,
    /// Its place: 1, 2, 3, without gaps.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// The event as JSON text.
    pub event: Box<serde_json::value::RawValue>,
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
        let _ = (head, source, at, event);
        todo!()
    }

    /// The head of a chain that ends here.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash.clone() }
    }

    /// Checks that this record is unchanged and follows `head`.
    pub fn follows(&self, head: &Head) -> Result<(), ChainError> {
        let _ = head;
        todo!()
    }
}

impl Checkpoint {
    /// Signs that `source`'s chain has `head` at `at`.
    pub fn sign(source: Source, head: Head, at: Timestamp, key: &KeyPair) -> Self {
        let _ = (source, head, at, key);
        todo!()
    }

    /// Checks the signature.
    pub fn verify(&self) -> Result<(), ChainError> {
        todo!()
    }
}
