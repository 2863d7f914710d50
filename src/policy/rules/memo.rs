//! What was worked out before, by all that it depends on. Bounded: what is kept is forgotten after as much again was kept, and
//! worked out anew.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::{PoisonError, RwLock};

pub(super) struct Memo<K, V> {
    half: usize,
    generations: RwLock<Generations<K, V>>,
}

struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    /// Keeps at most `count_max`.
    pub(super) fn new(count_max: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { half: count_max / 2, generations: RwLock::new(generations) }
    }

    pub(super) fn find(&self, key: &K) -> Option<V> {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.young.get(key).or_else(|| generations.old.get(key)).cloned()
    }

    pub(super) fn keep(&self, key: K, value: V) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        generations.young.insert(key, value);
        if generations.young.len() >= self.half {
            let young = mem::take(&mut generations.young);
            let forgotten = mem::replace(&mut generations.old, young);
            drop(generations);
            // Without the lock: it may be much.
            drop(forgotten);
        }
    }
}

#[cfg(test)]
impl<K, V> Memo<K, V> {
    pub(super) fn count(&self) -> usize {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.young.len() + generations.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_no_more_than_it_may_and_what_came_last() {
        let memo = Memo::new(8);
        for n in 0..1000_u32 {
            memo.keep(n, n);
            assert!(memo.count() <= 8);
            assert!((n.saturating_sub(3)..=n).all(|known| memo.find(&known) == Some(known)));
        }
        assert_eq!(memo.find(&0), None);
    }
}
