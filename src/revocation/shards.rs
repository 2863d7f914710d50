//! The memory of a revocation set: many small tables, so that neither growing nor forgetting ever stops all of it for long.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};

use crate::clock::Timestamp;
use crate::id::BlockId;
use crate::revocation::statement::{DeadBlock, ForgetAfter};

/// Blocks by id, and all else by a fingerprint of its name.
#[derive(Debug)]
pub(super) struct Shards {
    /// A power of two of them.
    shards: Box<[Shard]>,
    hashers: Hashers,
    /// How many names of each kind are known: a kind that nobody revoked costs nothing.
    kinds: [usize; KINDS],
    /// Where forgetting goes on.
    cursor: usize,
}

#[derive(Debug, Default)]
struct Shard {
    // The standard hasher is keyed: ids and names are chosen by holders, who must not be able to make them collide.
    blocks: HashMap<BlockId, ForgetAfter>,
    names: HashMap<Fingerprint, Epoch>,
}

/// Two keyed hashes of a name. Were two names ever to share one, the second would be refused, never let through.
type Fingerprint = (u64, u64);

#[derive(Debug)]
struct Hashers {
    first: RandomState,
    second: RandomState,
    /// Random and odd. Enough to spread ids over the tables, each of which hashes them again; no more is at stake than
    /// how large one of them grows.
    spread: [u64; 2],
}

/// What is known of a name.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    seq: u64,
    forget_after: ForgetAfter,
    kind: Kind,
}

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Holder,
    Subject,
    Session,
    Agent,
    Acting,
    Grant,
    Service,
    Credential,
    Tenant,
    Everything,
}

const KINDS: usize = Kind::Everything as usize + 1;

/// A name by its parts, wherever they stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a>(pub(super) Kind, pub(super) [&'a [u8]; 3]);

impl Shards {
    /// `count` tables, a power of two.
    pub(super) fn new(count: usize) -> Self {
        debug_assert!(count.is_power_of_two());
        Self {
            shards: (0..count).map(|_| Shard::default()).collect(),
            hashers: Hashers::new(),
            kinds: [0; KINDS],
            cursor: 0,
        }
    }

    /// How many entries are held.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.blocks.len() + shard.names.len()).sum()
    }

    pub(super) fn has_block(&self, id: &BlockId) -> bool {
        self.shards[self.place(self.hashers.block(id))].blocks.contains_key(id)
    }

    /// The latest entry for a name.
    pub(super) fn seq_of(&self, name: Name<'_>) -> Option<u64> {
        if self.kinds[name.0 as usize] == 0 {
            return None;
        }
        let fingerprint = self.hashers.fingerprint(name);
        self.shards[self.place(fingerprint.0)].names.get(&fingerprint).map(|epoch| epoch.seq)
    }

    pub(super) fn add_block(&mut self, block: DeadBlock) {
        let place = self.place(self.hashers.block(&block.id));
        let known = self.shards[place].blocks.entry(block.id).or_insert(block.forget_after);
        *known = block.forget_after.max(*known);
    }

    pub(super) fn add_name(&mut self, name: Name<'_>, seq: u64, forget_after: ForgetAfter) {
        let fingerprint = self.hashers.fingerprint(name);
        let place = self.place(fingerprint.0);
        let kinds = &mut self.kinds[name.0 as usize];
        let known = self.shards[place].names.entry(fingerprint).or_insert_with(|| {
            *kinds += 1;
            Epoch { seq, forget_after, kind: name.0 }
        });
        known.seq = seq.max(known.seq);
        known.forget_after = forget_after.max(known.forget_after);
    }

    /// Looks through the next `count` tables, and drops what is over.
    pub(super) fn forget(&mut self, now: Timestamp, count: usize) {
        for _ in 0..count.min(self.shards.len()) {
            self.cursor = (self.cursor + 1) % self.shards.len();
            let shard = &mut self.shards[self.cursor];
            shard.blocks.retain(|_, forget_after| !forget_after.is_over(now));
            shard.names.retain(|_, epoch| {
                let stays = !epoch.forget_after.is_over(now);
                self.kinds[epoch.kind as usize] -= usize::from(!stays);
                stays
            });
            give_back(&mut shard.blocks);
            give_back(&mut shard.names);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.shards.len()
    }

    fn place(&self, hash: u64) -> usize {
        usize::try_from(hash >> 48).unwrap_or(0) & (self.shards.len() - 1)
    }
}

impl Hashers {
    fn new() -> Self {
        let (first, second) = (RandomState::new(), RandomState::new());
        let spread = [first.hash_one(0) | 1, second.hash_one(0) | 1];
        Self { first, second, spread }
    }

    fn block(&self, id: &BlockId) -> u64 {
        let (halves, _) = id.as_bytes().as_chunks::<8>();
        let spread = halves.iter().zip(self.spread).map(|(half, by)| u64::from_be_bytes(*half).wrapping_mul(by));
        spread.fold(0, u64::wrapping_add)
    }

    fn fingerprint(&self, Name(kind, parts): Name<'_>) -> Fingerprint {
        // Each part is hashed with its length: no two names run into each other.
        let under = |state: &RandomState| state.hash_one((kind as u8, parts));
        (under(&self.first), under(&self.second))
    }
}

/// Gives memory back once most of a table is empty.
fn give_back<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.len() < table.capacity() / 4 {
        table.shrink_to(2 * table.len());
    }
}
