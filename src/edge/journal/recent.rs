//! The records that were written last, so that handing them to the authority need not read them back from disk.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::audit::Head;
use crate::edge::journal::ship::{Batch, Place};

/// About the most bytes of records that are kept. What is written beyond it is read back.
const BYTES_MAX: usize = 8 << 20;

/// Records in order, without gaps.
#[derive(Default)]
pub(super) struct Recent {
    records: VecDeque<Written>,
    bytes: usize,
}

/// A record that was written.
pub(super) struct Written {
    /// Its JSON text.
    pub(super) text: Bytes,
    /// Where the chain ends with it.
    pub(super) head: Head,
    /// The place behind it.
    pub(super) behind: Place,
}

impl Recent {
    /// Keeps a record that was written. Without room the next ones have none either, until all are taken: no gap comes between.
    pub(super) fn push(&mut self, written: Written) {
        let follows = self.records.back().is_none_or(|last| last.head.seq + 1 == written.head.seq);
        let bytes = self.bytes + written.text.len();
        if follows && bytes <= BYTES_MAX {
            self.bytes = bytes;
            self.records.push_back(written);
        }
    }

    /// Takes out the records after `seq`, as many as are asked for, at least one; none where the next one is not here.
    pub(super) fn take(&mut self, seq: u64, records_max: usize, bytes_max: usize) -> (Batch, Option<Place>) {
        while self.records.front().is_some_and(|record| record.head.seq <= seq) {
            self.pop();
        }
        let (mut batch, mut end) = (Batch::default(), None);
        if self.records.front().is_none_or(|record| record.head.seq != seq + 1) {
            return (batch, end);
        }
        while !batch.is_full(records_max, bytes_max) {
            let Some(Written { text, head, behind }) = self.pop() else { break };
            end = Some(behind);
            batch.push(text, head);
        }
        (batch, end)
    }

    fn pop(&mut self) -> Option<Written> {
        let popped = self.records.pop_front()?;
        self.bytes -= popped.text.len();
        Some(popped)
    }
}
