//! What is said of a stretch of the log: the one form in which it travels.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::BlockId;
use crate::revocation::entry::{Entry, Target};

/// Every entry of the log with a place after `after` and up to `upto` that still matters.
///
/// Whether it is one entry, a page of many or all of them, and whether others between them were forgotten, makes no
/// difference: who knows the log up to `after` knows it up to `upto` then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// What must be known already.
    pub after: u64,
    /// What is known then.
    pub upto: u64,
    /// The blocks among them, in any order. Their places do not matter: a block is killed for good.
    #[serde(with = "packed")]
    pub blocks: Vec<DeadBlock>,
    /// The other entries, in order.
    pub entries: Vec<Entry>,
}

/// A block that is killed, as small as it can be said: most of a long log is of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadBlock {
    /// The block.
    pub id: BlockId,
    /// For how long that matters.
    pub forget_after: ForgetAfter,
}

/// The last moment at which an entry matters: whole seconds since 1970-01-01T00:00:00Z, rounded up. The largest value (in
/// 2106) stands for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForgetAfter(u32);

impl ForgetAfter {
    /// From seconds since 1970.
    pub const fn from_secs(secs: u32) -> Self {
        Self(secs)
    }

    /// Seconds since 1970.
    pub const fn secs(self) -> u32 {
        self.0
    }

    /// Whether it is over at `now`.
    pub const fn is_over(self, now: Timestamp) -> bool {
        self.0 != u32::MAX && Timestamp::from_secs(self.0 as i64).millis() < now.millis()
    }
}

impl From<Timestamp> for ForgetAfter {
    fn from(time: Timestamp) -> Self {
        let secs = time.millis().saturating_add(999).div_euclid(1000).max(0);
        Self(u32::try_from(secs).unwrap_or(u32::MAX))
    }
}

/// A statement that does not continue what is known, or that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfSequence {
    /// Entries are missing or repeated.
    #[error("what came continues the log at {after}, and it is known up to {known}")]
    NotNext {
        /// What is known.
        known: u64,
        /// What must be known for it.
        after: u64,
    },
    /// It holds entries that it cannot hold, or not in order.
    #[error("what came holds entries that are out of place")]
    Disordered,
}

impl Statement {
    /// That the log is known up to `known`, and nothing more.
    pub const fn nothing(known: u64) -> Self {
        Self { after: known, upto: known, blocks: Vec::new(), entries: Vec::new() }
    }

    /// Of entries in the order of the log, after `after` and up to `upto`.
    pub fn of(after: u64, upto: u64, entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut statement = Self { upto, ..Self::nothing(after) };
        for entry in entries {
            match entry.target {
                Target::Block(id) => {
                    statement.blocks.push(DeadBlock { id, forget_after: entry.forget_after.into() });
                }
                _ => statement.entries.push(entry),
            }
        }
        statement
    }

    /// Whether it can be taken by whoever knows the log up to `known`.
    pub fn continues(&self, known: u64) -> Result<(), OutOfSequence> {
        if self.after != known {
            return Err(OutOfSequence::NotNext { known, after: self.after });
        }
        let mut last = self.after;
        for entry in &self.entries {
            if entry.seq <= last || entry.seq > self.upto || matches!(entry.target, Target::Block(_)) {
                return Err(OutOfSequence::Disordered);
            }
            last = entry.seq;
        }
        let places = self.upto.checked_sub(self.after).ok_or(OutOfSequence::Disordered)?;
        if places < self.len() as u64 { Err(OutOfSequence::Disordered) } else { Ok(()) }
    }

    /// How many entries it holds.
    pub fn len(&self) -> usize {
        self.blocks.len() + self.entries.len()
    }

    /// Whether it kills nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Blocks as base64url, without padding, of 20 bytes each: the id, and seconds as 32 bits, big endian.
mod packed {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{BlockId, DeadBlock, ForgetAfter};

    pub(super) fn serialize<S: Serializer>(blocks: &[DeadBlock], serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(blocks.len() * 20);
        for block in blocks {
            bytes.extend_from_slice(block.id.as_bytes());
            bytes.extend_from_slice(&block.forget_after.secs().to_be_bytes());
        }
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DeadBlock>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&*text).map_err(|_| D::Error::custom("`blocks` is not base64url"))?;
        let (blocks, rest) = bytes.as_chunks::<20>();
        if !rest.is_empty() {
            return Err(D::Error::custom("`blocks` is not made of 20 bytes each"));
        }
        Ok(blocks.iter().map(block).collect())
    }

    fn block(bytes: &[u8; 20]) -> DeadBlock {
        let [id @ .., a, b, c, d] = *bytes;
        DeadBlock {
            id: BlockId::from_bytes(id),
            forget_after: ForgetAfter::from_secs(u32::from_be_bytes([a, b, c, d])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(seq: u64, target: Target) -> Entry {
        Entry { seq, target, at: Timestamp::from_secs(0), forget_after: Timestamp::from_secs(9) }
    }

    #[test]
    fn an_entry_is_never_forgotten_too_early() {
        let after = |ms| ForgetAfter::from(Timestamp::from_millis(ms));
        assert_eq!((after(1000).secs(), after(1001).secs(), after(-5).secs()), (1, 2, 0));
        assert!(!after(1001).is_over(Timestamp::from_millis(2000)));
        assert!(after(1001).is_over(Timestamp::from_millis(2001)));
        for far in [Entry::FOREVER.millis(), i64::MAX, i64::from(u32::MAX) * 1000 - 5] {
            assert!(!after(far).is_over(Timestamp::from_millis(i64::MAX)), "{far}");
        }
    }

    #[test]
    fn a_statement_continues_only_what_it_was_made_for_and_holds_only_what_it_can() {
        let whole = Statement::of(3, 9, [entry(4, Target::Everything), entry(9, Target::Everything)]);
        assert_eq!(whole.continues(3), Ok(()));
        for known in [0, 2, 4, 9, u64::MAX] {
            assert_eq!(whole.continues(known), Err(OutOfSequence::NotNext { known, after: 3 }));
        }
        let block = DeadBlock { id: BlockId::from_bytes([1; 16]), forget_after: ForgetAfter::from_secs(9) };
        for (after, upto, blocks, seqs) in [
            (3, 2, 0, vec![]),
            (3, 9, 0, vec![3]),
            (3, 9, 0, vec![10]),
            (3, 9, 0, vec![5, 4]),
            (3, 9, 0, vec![5, 5]),
            (3, 4, 1, vec![4]),
            (3, 3, 1, vec![]),
        ] {
            let entries = seqs.into_iter().map(|seq| entry(seq, Target::Everything)).collect();
            let wrong = Statement { after, upto, blocks: vec![block; blocks], entries };
            assert_eq!(wrong.continues(3), Err(OutOfSequence::Disordered), "{wrong:?}");
        }
        let block = vec![entry(4, Target::Block(block.id))];
        assert!(Statement { after: 3, upto: 4, blocks: vec![], entries: block }.continues(3).is_err());
    }

    proptest! {
        #[test]
        fn blocks_survive_being_packed(blocks: Vec<([u8; 16], u32)>) {
            let blocks = blocks.into_iter().map(|(id, secs)| DeadBlock {
                id: BlockId::from_bytes(id),
                forget_after: ForgetAfter::from_secs(secs),
            });
            let statement = Statement { after: 1, upto: 99, blocks: blocks.collect(), entries: vec![] };
            let text = serde_json::to_string(&statement).unwrap();
            prop_assert_eq!(serde_json::from_str::<Statement>(&text).unwrap(), statement);
            prop_assert!(serde_json::from_str::<Statement>(&text.replace("\"blocks\":\"", "\"blocks\":\"AAAA")).is_err());
        }
    }
}
