//! The offline check of a chain against signed checkpoints: what was changed, removed, added or moved, and where.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::audit::record::{Checkpoint, Head, Record, Source};
use crate::key::PublicKey;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The contents are not those that were hashed.
    #[error("record {seq} was changed: its hash does not match its contents")]
    Changed {
        /// The record.
        seq: u64,
    },
    /// The record before it is another than the one it was chained to.
    #[error("record {seq} does not follow record {}: that one, or this one, was replaced", seq - 1)]
    Unlinked {
        /// The record.
        seq: u64,
    },
    /// Records are not there.
    #[error("records {from} to {to} are missing")]
    Missing {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// It stands behind a record that is not before it: moved, repeated or added.
    #[error("record {seq} stands behind record {after}: it was moved, repeated or added")]
    Misplaced {
        /// The record.
        seq: u64,
        /// The last one in order.
        after: u64,
    },
    /// It belongs to another chain.
    #[error("record {seq} belongs to `{found}`")]
    Foreign {
        /// The record.
        seq: u64,
        /// Whose it is.
        found: Source,
    },
    /// A checkpoint saw another record in this place.
    #[error("a signed checkpoint saw another record {seq} than the one that is there: the chain was written anew")]
    Contradicted {
        /// The record.
        seq: u64,
    },
    /// A checkpoint saw more records than there are.
    #[error("a signed checkpoint saw {seen} records and the chain ends at {end}: the end was cut off")]
    Truncated {
        /// What the checkpoint saw.
        seen: u64,
        /// The last record.
        end: u64,
    },
    /// A checkpoint's signature does not hold.
    #[error("the signature of the checkpoint at {seq} does not hold")]
    Signature {
        /// What the checkpoint says it saw.
        seq: u64,
    },
    /// A checkpoint is signed by a key that is not known as this chain's.
    #[error("the checkpoint at {seq} is signed by `{key}`, which is not a known key of this chain")]
    Untrusted {
        /// What the checkpoint says it saw.
        seq: u64,
        /// Who signed it.
        key: PublicKey,
    },
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whose chain.
    pub source: Source,
    /// How many records were read.
    pub records: u64,
    /// Where the chain ends.
    pub head: Head,
    /// Up to this record, a checkpoint by a known key vouches for the chain. What stands behind it could be cut off, or
    /// written anew by whoever holds the database, unseen.
    pub vouched: u64,
    /// What is wrong, in the order of the records; at most [`Report::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many more findings there were.
    pub findings_left_out: u64,
}

impl Report {
    /// The most findings that a report lists.
    pub const FINDINGS_MAX: usize = 100;

    /// Whether nothing is wrong.
    pub const fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A check in progress: takes the records one by one, in the order in which they are kept.
#[derive(Debug)]
pub struct Checker {
    report: Report,
    /// The hashes that checkpoints saw, by place.
    seen: BTreeMap<u64, Vec<Box<str>>>,
}

impl Checker {
    /// Checks `source`'s chain behind `start` ([`Head::empty`] for a whole chain) against those of `checkpoints` that are
    /// about it. Only the keys in `known` can vouch for it.
    pub fn new(source: Source, start: Head, checkpoints: &[Checkpoint], known: &[PublicKey]) -> Self {
        let about_it = checkpoints.iter().filter(|checkpoint| checkpoint.source == source).collect::<Vec<_>>();
        let report =
            Report { source, records: 0, head: start.clone(), vouched: 0, findings: Vec::new(), findings_left_out: 0 };
        let mut checker = Self { report, seen: BTreeMap::new() };
        for checkpoint in about_it {
            let seq = checkpoint.head.seq;
            if checkpoint.verify().is_err() {
                checker.found(Finding::Signature { seq });
            } else if !known.contains(&checkpoint.key) {
                checker.found(Finding::Untrusted { seq, key: checkpoint.key });
            } else {
                checker.seen.entry(seq).or_default().push(checkpoint.head.hash.clone());
            }
        }
        checker.compare(&start);
        checker
    }

    /// Takes the next record.
    pub fn push(&mut self, record: &Record) {
        self.report.records += 1;
        let (seq, end) = (record.seq, self.report.head.seq);
        if record.source != self.report.source {
            return self.found(Finding::Foreign { seq, found: record.source.clone() });
        }
        if record.is_whole().is_err() {
            self.found(Finding::Changed { seq });
        }
        if seq <= end {
            return self.found(Finding::Misplaced { seq, after: end });
        }
        if seq - end > 1 {
            self.found(Finding::Missing { from: end + 1, to: seq - 1 });
        } else if record.previous != self.report.head.hash {
            self.found(Finding::Unlinked { seq });
        }
        // On with what it says of itself: one change is one finding, not one for every record behind it.
        self.report.head = record.head();
        self.compare(&record.head());
    }

    /// Ends the check.
    pub fn finish(mut self) -> Report {
        let end = self.report.head.seq;
        if let Some((seen, _)) = self.seen.split_off(&end.saturating_add(1)).pop_last() {
            self.found(Finding::Truncated { seen, end });
        }
        self.report
    }

    fn compare(&mut self, head: &Head) {
        let Some(hashes) = self.seen.get(&head.seq) else { return };
        if hashes.iter().any(|hash| *hash != head.hash) {
            self.found(Finding::Contradicted { seq: head.seq });
        } else {
            self.report.vouched = head.seq;
        }
    }

    fn found(&mut self, finding: Finding) {
        if self.report.findings.len() < Report::FINDINGS_MAX {
            self.report.findings.push(finding);
        } else {
            self.report.findings_left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::{Actor, Change, Event};
    use crate::clock::Timestamp;
    use crate::key::KeyPair;
    use proptest::prelude::*;

    fn edge() -> Source {
        Source::Edge("edge-1".parse().unwrap())
    }

    fn event(n: u64) -> Event {
        Event::Change(Change {
            actor: Actor::Authority,
            action: "test".into(),
            object: n.to_string().into(),
            tenant: None,
            detail: serde_json::Map::new(),
        })
    }

    fn chain(events: impl IntoIterator<Item = u64>) -> Vec<Record> {
        let mut head = Head::empty();
        let follow = |n| {
            let record = Record::after(&head, edge(), Timestamp::from_millis(7), &event(n));
            head = record.head();
            record
        };
        events.into_iter().map(follow).collect()
    }

    fn signer() -> KeyPair {
        KeyPair::from_seed(&[1; 32])
    }

    fn checkpoint(record: &Record) -> Checkpoint {
        Checkpoint::sign(edge(), record.head(), Timestamp::from_millis(8), &signer())
    }

    fn check(records: &[Record], checkpoints: &[Checkpoint]) -> Report {
        let mut checker = Checker::new(edge(), Head::empty(), checkpoints, &[signer().public()]);
        records.iter().for_each(|record| checker.push(record));
        checker.finish()
    }

    #[test]
    fn an_untouched_chain_is_sound_and_vouched_for_up_to_its_last_checkpoint() {
        let records = chain(0..10);
        let report = check(&records, &[checkpoint(&records[3]), checkpoint(&records[6])]);
        assert!(report.is_sound(), "{report:?}");
        assert_eq!((report.records, report.vouched, report.head), (10, 7, records[9].head()));
        let mut later = Checker::new(edge(), records[6].head(), &[checkpoint(&records[6])], &[signer().public()]);
        records[7..].iter().for_each(|record| later.push(record));
        let report = later.finish();
        assert!(report.is_sound() && report.vouched == 7, "{report:?}");
    }

    #[test]
    fn each_kind_of_tampering_is_found_in_its_place() {
        let records = chain(0..6);
        let last = [checkpoint(&records[5])];
        let with = |change: &dyn Fn(&mut Vec<Record>)| {
            let mut changed = records.clone();
            change(&mut changed);
            check(&changed, &last).findings
        };
        assert_eq!(with(&|r| r[2].at = Timestamp::from_millis(0)), [Finding::Changed { seq: 3 }]);
        assert_eq!(with(&|r| drop(r.remove(2))), [Finding::Missing { from: 3, to: 3 }]);
        assert_eq!(with(&|r| drop(r.drain(..2))), [Finding::Missing { from: 1, to: 2 }]);
        assert_eq!(with(&|r| r.insert(3, r[2].clone())), [Finding::Misplaced { seq: 3, after: 3 }]);
        assert_eq!(
            with(&|r| r.swap(2, 3)),
            [Finding::Missing { from: 3, to: 3 }, Finding::Misplaced { seq: 3, after: 4 }]
        );
        assert_eq!(with(&|r| r.truncate(4)), [Finding::Truncated { seen: 6, end: 4 }]);
        assert_eq!(with(&Vec::clear), [Finding::Truncated { seen: 6, end: 0 }]);
        let replace = |r: &mut Vec<Record>| {
            r[2] = Record::after(&r[1].head(), edge(), Timestamp::from_millis(7), &event(99));
        };
        assert_eq!(with(&replace), [Finding::Unlinked { seq: 4 }]);
        let foreign = |r: &mut Vec<Record>| {
            r.insert(0, Record::after(&Head::empty(), Source::Authority, Timestamp::from_millis(7), &event(0)));
        };
        assert_eq!(with(&foreign), [Finding::Foreign { seq: 1, found: Source::Authority }]);
    }

    #[test]
    fn a_chain_that_was_written_anew_is_contradicted_by_its_checkpoint() {
        let (records, anew) = (chain(0..5), chain([0, 1, 9, 3, 4]));
        let report = check(&anew, &[checkpoint(&records[1]), checkpoint(&records[4])]);
        assert_eq!(report.findings, [Finding::Contradicted { seq: 5 }]);
        assert_eq!(report.vouched, 2);
    }

    #[test]
    fn a_checkpoint_that_is_forged_or_by_an_unknown_key_vouches_for_nothing() {
        let records = chain(0..3);
        let stranger = KeyPair::from_seed(&[2; 32]);
        let unknown = Checkpoint::sign(edge(), records[2].head(), Timestamp::from_millis(8), &stranger);
        let report = check(&records, std::slice::from_ref(&unknown));
        assert_eq!((report.findings, report.vouched), (vec![Finding::Untrusted { seq: 3, key: stranger.public() }], 0));
        let forged = Checkpoint { key: signer().public(), ..unknown };
        let report = check(&records, &[forged]);
        assert_eq!((report.findings, report.vouched), (vec![Finding::Signature { seq: 3 }], 0));
    }

    #[test]
    fn a_chain_of_rubbish_gives_a_bounded_report() {
        let records = chain(0..3);
        let rubbish: Vec<_> = std::iter::repeat_n(records[0].clone(), 500).collect();
        let report = check(&rubbish, &[]);
        assert_eq!((report.findings.len(), report.findings_left_out), (Report::FINDINGS_MAX, 399));
    }

    proptest! {
        #[test]
        fn any_changed_byte_of_any_record_is_found(
            length in 1_u64..8, place: prop::sample::Index, byte: prop::sample::Index, xor in 1_u8..=255,
        ) {
            let mut records = chain(0..length);
            let last = checkpoint(records.last().unwrap());
            let i = place.index(records.len());
            let mut text = serde_json::to_vec(&records[i]).unwrap();
            let at = byte.index(text.len());
            text[at] ^= xor;
            if let Ok(changed) = serde_json::from_slice(&text) {
                records[i] = changed;
                prop_assert!(!check(&records, &[last]).is_sound());
            }
        }

        #[test]
        fn any_record_that_was_removed_moved_or_repeated_is_found(
            length in 2_u64..12, from: prop::sample::Index, to: prop::sample::Index,
        ) {
            let records = chain(0..length);
            let last = [checkpoint(records.last().unwrap())];
            let (from, to) = (from.index(records.len()), to.index(records.len()));
            let mut removed = records.clone();
            let record = removed.remove(from);
            prop_assert!(!check(&removed, &last).is_sound());
            if from != to {
                let mut moved = removed.clone();
                moved.insert(to, record.clone());
                prop_assert!(!check(&moved, &last).is_sound());
            }
            let mut repeated = records;
            repeated.insert(to, record);
            prop_assert!(!check(&repeated, &last).is_sound());
        }
    }
}
