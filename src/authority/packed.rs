//! A long log in little memory: what still matters of it, in its order, in pages as they are sent.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::id::BlockId;
use crate::revocation::{DeadBlock, Entry, ForgetAfter, Statement, Target};
use crate::wire::ENTRIES_MAX;

/// The log up to a place.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pages: VecDeque<Page>,
    known: u64,
    /// Where forgetting goes on.
    cursor: usize,
}

/// A stretch of the log, from after the page before it.
#[derive(Debug)]
struct Page {
    /// Every entry of the page is after it.
    after: u64,
    upto: u64,
    blocks: Vec<Block>,
    entries: Vec<Entry>,
}

/// A block's entry in 24 bytes.
#[derive(Clone, Copy, Debug)]
struct Block {
    id: BlockId,
    forget_after: ForgetAfter,
    /// Its place, counted from `after` of its page.
    place: u32,
}

impl Page {
    fn len(&self) -> usize {
        self.blocks.len() + self.entries.len()
    }

    fn place(&self, seq: u64) -> Option<u32> {
        seq.checked_sub(self.after)?.try_into().ok()
    }
}

impl Packed {
    pub(super) const fn known(&self) -> u64 {
        self.known
    }

    /// Adds the entries after what is known: all that matter up to `upto`. Those that are known already change nothing.
    pub(super) fn append(&mut self, entries: Vec<Entry>, upto: u64) {
        for entry in entries {
            if entry.seq > self.known {
                self.push(entry);
            }
        }
        if upto > self.known {
            self.known = upto;
            if let Some(last) = self.pages.back_mut() {
                last.upto = upto;
            }
        }
    }

    fn push(&mut self, entry: Entry) {
        let full = |page: &Page| page.len() >= ENTRIES_MAX || page.place(entry.seq).is_none();
        if self.pages.back().is_none_or(full) {
            if let Some(last) = self.pages.back_mut() {
                last.blocks.shrink_to_fit();
            }
            let after = entry.seq.saturating_sub(1);
            self.pages.push_back(Page { after, upto: after, blocks: Vec::new(), entries: Vec::new() });
        }
        let Some(page) = self.pages.back_mut() else { return };
        self.known = entry.seq;
        page.upto = entry.seq;
        match (entry.target, page.place(entry.seq)) {
            (Target::Block(id), Some(place)) => {
                page.blocks.push(Block { id, forget_after: entry.forget_after.into(), place });
            }
            (target, _) => page.entries.push(Entry { target, ..entry }),
        }
    }

    /// What comes after `after`, and one page of it at most.
    pub(super) fn page(&self, after: u64) -> Statement {
        let first = self.pages.partition_point(|page| page.upto <= after);
        let Some(page) = self.pages.get(first) else {
            return Statement { upto: self.known.max(after), ..Statement::nothing(after) };
        };
        let from = page.blocks.partition_point(|block| page.after + u64::from(block.place) <= after);
        let blocks = page.blocks[from..].iter();
        let from = page.entries.partition_point(|entry| entry.seq <= after);
        // Up to where the next page begins to say something: what lies between them matters no more.
        let upto = self.pages.get(first + 1).map_or(self.known, |next| next.after.max(page.upto));
        Statement {
            after,
            upto,
            blocks: blocks.map(|block| DeadBlock { id: block.id, forget_after: block.forget_after }).collect(),
            entries: page.entries[from..].to_vec(),
        }
    }

    /// Drops from the next page what is over, and joins it with the one after it where both fit into one.
    pub(super) fn forget_some(&mut self, now: Timestamp) {
        if self.cursor >= self.pages.len() {
            self.cursor = 0;
        }
        let Some(page) = self.pages.get_mut(self.cursor) else { return };
        let before = page.len();
        page.blocks.retain(|block| !block.forget_after.is_over(now));
        page.entries.retain(|entry| entry.forget_after >= now);
        if page.len() < before {
            page.blocks.shrink_to_fit();
            page.entries.shrink_to_fit();
        }
        self.join_with_next(self.cursor);
        self.cursor += 1;
    }

    fn join_with_next(&mut self, at: usize) {
        let (Some(page), Some(next)) = (self.pages.get(at), self.pages.get(at + 1)) else { return };
        // Half full at most, so that what is joined is not soon too long again.
        if page.len() + next.len() > ENTRIES_MAX / 2 || page.place(next.upto).is_none() {
            return;
        }
        let Some(next) = self.pages.remove(at + 1) else { return };
        let Some(page) = self.pages.get_mut(at) else { return };
        let later = next.blocks.iter().filter_map(|block| {
            let place = page.place(next.after + u64::from(block.place))?;
            Some(Block { place, ..*block })
        });
        let later: Vec<Block> = later.collect();
        page.blocks.extend(later);
        page.entries.extend(next.entries);
        page.upto = next.upto;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(seq: u64, forget_after: i64) -> Entry {
        let target = if seq.is_multiple_of(3) { Target::Everything } else { Target::Block(id(seq)) };
        Entry { seq, target, at: Timestamp::from_secs(0), forget_after: Timestamp::from_secs(forget_after) }
    }

    fn id(seq: u64) -> BlockId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&seq.to_be_bytes());
        BlockId::from_bytes(id)
    }

    /// All that a reader learns who begins at `known`, and where it ends.
    fn told(packed: &Packed, mut known: u64) -> (Vec<Entry>, u64) {
        let mut all = Vec::new();
        loop {
            let page = packed.page(known);
            page.continues(known).unwrap();
            assert!(page.len() <= ENTRIES_MAX);
            if page.upto == known {
                assert!(page.is_empty());
                return (all, known);
            }
            known = page.upto;
            let blocks = page.blocks.iter().map(|block| {
                let seq = u64::from_be_bytes(block.id.as_bytes()[..8].try_into().unwrap());
                entry(seq, block.forget_after.secs().into())
            });
            all.extend(blocks);
            all.extend(page.entries);
        }
    }

    #[test]
    fn a_long_log_comes_in_pages() {
        let mut packed = Packed::default();
        let count = 3 * ENTRIES_MAX as u64 + 5;
        packed.append((1..=count).map(|seq| entry(seq, 9)).collect(), count);
        assert_eq!(packed.pages.len(), 4);
        for known in [0, 1, ENTRIES_MAX as u64, count - 1] {
            let (mut all, upto) = told(&packed, known);
            all.sort_by_key(|entry| entry.seq);
            assert!(all.iter().map(|entry| entry.seq).eq(known + 1..=count));
            assert_eq!(upto, count);
        }
    }

    #[test]
    fn what_is_forgotten_takes_no_page() {
        let mut packed = Packed::default();
        let count = 8 * ENTRIES_MAX as u64;
        packed.append((1..=count).map(|seq| entry(seq, if seq % 1000 == 0 { 9 } else { 1 })).collect(), count);
        for _ in 0..100 {
            packed.forget_some(Timestamp::from_secs(2));
        }
        assert_eq!(packed.pages.len(), 1);
        assert_eq!(packed.page(0).upto, count);
        assert_eq!(packed.page(0).len() as u64, count / 1000);
    }

    proptest! {
        /// However the log came, with gaps or without, and whatever was forgotten: a reader who begins anywhere learns
        /// every entry after that place which still matters, in order, and ends at the head.
        #[test]
        fn a_reader_misses_nothing(
            batches in proptest::collection::vec(proptest::collection::vec((1u64..4, 1i64..6), 0..6), 0..6),
            gaps in proptest::collection::vec(0u64..3, 6),
            forgets in proptest::collection::vec(0usize..4, 6),
            begin in 0u64..80,
        ) {
            let (mut packed, mut all, mut head, mut now) = (Packed::default(), Vec::new(), 0, 0);
            for ((batch, gap), forgets) in batches.into_iter().zip(gaps).zip(forgets) {
                let entries: Vec<Entry> = batch.into_iter().map(|(step, secs)| {
                    head += step;
                    entry(head, secs)
                }).collect();
                head += gap;
                all.extend(entries.clone());
                packed.append(entries, head);
                for _ in 0..forgets {
                    now += 1;
                    packed.forget_some(Timestamp::from_secs(now / 2));
                }
            }
            let begin = begin.min(head);
            let (told, upto) = told(&packed, begin);
            prop_assert_eq!(upto, head);
            for entry in all.iter().filter(|entry| entry.seq > begin && entry.forget_after.secs() >= now / 2) {
                prop_assert!(told.contains(entry), "{entry:?} of {told:?}");
            }
            prop_assert!(told.iter().all(|entry| all.contains(entry) && entry.seq > begin));
        }
    }
}
