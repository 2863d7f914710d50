//! How much of a count an edge may hold: the authority's rule.

use serde::{Deserialize, Serialize};

use super::Bucket;

/// What an edge asks of one count. Says how things are to be, not what is to change: asked twice, it is as if asked once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The count.
    pub bucket: Bucket,
    /// Which of the edge's holdings of this count. One that it forgot is never asked for again, and stays used.
    pub holding: u64,
    /// What it holds and may spend while it waits for the answer: it never gets less.
    pub keep: i64,
    /// What it needs to hold, that included.
    pub needed: i64,
    /// What it would like to hold, that included.
    pub wanted: i64,
}

/// The answer to an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allotted {
    /// What this edge holds now, spent or not.
    pub held: i64,
    /// What all edges hold, this one included.
    pub used: i64,
    /// The bound.
    pub max: i64,
}

/// Beyond what it needs, an edge gets at most one part in this many of what is left.
const PART: i64 = 8;

impl Ask {
    /// Whether its amounts can be meant: none negative, and each at least the one before.
    pub const fn is_sound(&self) -> bool {
        0 <= self.keep && self.keep <= self.needed && self.needed <= self.wanted
    }
}

/// What an edge is allotted that holds `held` of the `used` of a count with the bound `max`.
///
/// All edges together hold at most `max`, or what they held before where `max` was lowered since. None of the three is negative.
pub fn allot(ask: &Ask, max: i64, used: i64, held: i64) -> Allotted {
    let others = used.saturating_sub(held).max(0);
    let available = max.saturating_sub(others).max(0);
    let allotted = match available.checked_sub(ask.needed) {
        Some(left) if left >= 0 => ask.needed.saturating_add((left / PART).min(ask.wanted.saturating_sub(ask.needed))),
        _ => available,
    };
    let held = allotted.max(ask.keep);
    Allotted { held, used: others.saturating_add(held), max }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use proptest::prelude::*;

    fn ask(keep: i64, needed: i64, wanted: i64) -> Ask {
        let bucket = Bucket {
            tenant: "t".parse().unwrap(),
            limit: "l".parse().unwrap(),
            counted: "".into(),
            key: "".into(),
            start: Timestamp::from_secs(0),
        };
        Ask { bucket, holding: 0, keep, needed, wanted }
    }

    #[test]
    fn an_edge_gets_what_it_needs_and_a_part_of_what_is_left() {
        let held = |ask: &Ask, used, held| allot(ask, 100, used, held).held;
        assert_eq!(held(&ask(0, 1, 7), 0, 0), 7);
        assert_eq!(held(&ask(0, 1, 50), 0, 0), 13);
        assert_eq!(held(&ask(10, 20, 27), 95, 15), 20, "no part of nothing");
        assert_eq!(held(&ask(10, 20, 27), 98, 10), 12, "all that is left");
        assert_eq!(held(&ask(10, 20, 27), 100, 10), 10);
        assert_eq!(held(&ask(3, 3, 3), 100, 10), 3, "given back");
        assert_eq!(held(&ask(10, 20, 27), 150, 10), 10, "the bound was lowered");
    }

    proptest! {
        #[test]
        fn all_edges_together_never_hold_more_than_the_bound(
            max in 1..=i64::MAX, others in 0..=i64::MAX, held in 0..=i64::MAX, kept in 0..=i64::MAX,
            more in 0..=i64::MAX, most in 0..=i64::MAX,
        ) {
            let held = held.min(max);
            let others = others.min(max - held);
            let keep = kept.min(held);
            let ask = ask(keep, keep.saturating_add(more), keep.saturating_add(more).saturating_add(most));
            prop_assert!(ask.is_sound());
            let allotted = allot(&ask, max, others + held, held);
            prop_assert!(allotted.used <= max && allotted.used - allotted.held == others);
            prop_assert!(allotted.held >= keep && allotted.held <= ask.wanted);
        }
    }
}
