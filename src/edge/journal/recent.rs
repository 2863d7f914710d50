//! The records that were written last, so that handing them to the authority need not read them back from disk.

use std::collections::VecDeque;

use crate::audit::Record;
use crate::edge::journal::ship::Place;

/// About the most bytes of event text that are kept. What is written beyond it is read back.
const BYTES_MAX: usize = 8 << 20;

/// Records in order, without gaps, each with the place behind it.
#[derive(Default)]
pub(super) struct Recent {
    records: VecDeque<(Record, Place)>,
    bytes: usize,
}

impl Recent {
    /// Keeps a record that was written. Without room the next ones have none either, until all are taken: no gap comes between.
    pub(super) fn push(&mut self, record: Record, behind: Place) {
        let follows = self.records.back().is_none_or(|(last, _)| last.seq + 1 == record.seq);
        let bytes = self.bytes + record.event.get().len();
        if follows && bytes <= BYTES_MAX {
            self.bytes = bytes;
            self.records.push_back((record, behind));
        }
    }

    /// Takes out the records after `seq`, as many as are asked for, at least one; none where the next one is not here.
    pub(super) fn take(&mut self, seq: u64, records_max: usize, bytes_max: usize) -> (Vec<Record>, Option<Place>) {
        while self.records.front().is_some_and(|(record, _)| record.seq <= seq) {
            self.pop();
        }
        let (mut taken, mut bytes, mut end) = (Vec::new(), 0, None);
        if self.records.front().is_none_or(|(record, _)| record.seq != seq + 1) {
            return (taken, end);
        }
        while taken.len() < records_max.max(1) && bytes < bytes_max.max(1) {
            let Some((record, behind)) = self.pop() else { break };
            bytes += record.event.get().len();
            end = Some(behind);
            taken.push(record);
        }
        (taken, end)
    }

    fn pop(&mut self) -> Option<(Record, Place)> {
        let popped = self.records.pop_front()?;
        self.bytes -= popped.0.event.get().len();
        Some(popped)
    }
}
