//! The cache of shapes: from a shape's text to its facts, bounded in number and in bytes.
//!
//! Evicted by second chance: an entry that was used since the hand last passed it stays once more.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::facts::Facts;

/// How many bytes of shapes are kept for each entry that the cache may have, on average.
const BYTES_PER_SHAPE: usize = 2048;

/// Shapes and their facts.
#[derive(Debug)]
pub(crate) struct Cache {
    index: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    slots: Vec<Slot>,
    hand: usize,
    bytes: usize,
    capacity: usize,
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    text: Box<[u8]>,
    facts: Arc<Facts>,
    used: bool,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            index: HashMap::default(),
            slots: Vec::new(),
            hand: 0,
            bytes: 0,
            capacity,
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The facts of all shapes.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Facts>> {
        self.slots.iter().map(|slot| &slot.facts)
    }

    /// All shapes, with their facts.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&[u8], &Arc<Facts>)> {
        self.slots.iter().map(|slot| (&*slot.text, &slot.facts))
    }

    /// The hash of a shape's text; seeded, so that nobody can make collisions.
    #[inline]
    pub(crate) fn hash(&self, text: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        hasher.finish()
    }

    /// The place of a shape, if it is known: its text is compared, not only its hash.
    #[inline]
    pub(crate) fn find(&mut self, hash: u64, text: &[u8]) -> Option<usize> {
        let place = *self.index.get(&hash)?;
        let slot = self.slots.get_mut(place)?;
        if *slot.text != *text {
            return None;
        }
        slot.used = true;
        Some(place)
    }

    /// The facts at a place that `find` gave.
    #[inline]
    pub(crate) fn facts(&self, place: usize) -> Option<&Arc<Facts>> {
        self.slots.get(place).map(|slot| &slot.facts)
    }

    /// Remembers a shape, in the place of others if need be.
    pub(crate) fn insert(&mut self, hash: u64, text: &[u8], facts: Arc<Facts>) {
        let budget = self.capacity.saturating_mul(BYTES_PER_SHAPE);
        if self.capacity == 0 || text.len() > budget {
            return;
        }
        if let Some(&same) = self.index.get(&hash) {
            self.remove(same);
        }
        while !self.slots.is_empty()
            && (self.slots.len() >= self.capacity || self.bytes + text.len() > budget)
        {
            self.evict();
        }
        self.index.insert(hash, self.slots.len());
        self.bytes += text.len();
        self.slots.push(Slot { hash, text: text.into(), facts, used: false });
    }

    fn evict(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let Some(slot) = self.slots.get_mut(self.hand) else { return };
            if !std::mem::take(&mut slot.used) {
                self.remove(self.hand);
                // What was moved here is the newest: it is passed over this time.
                self.hand += 1;
                return;
            }
            self.hand += 1;
        }
    }

    fn remove(&mut self, place: usize) {
        let slot = self.slots.swap_remove(place);
        self.bytes -= slot.text.len();
        self.index.remove(&slot.hash);
        if let Some(moved) = self.slots.get(place) {
            self.index.insert(moved.hash, place);
        }
    }
}

/// The index's keys are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_capacity_and_keeps_what_is_used() {
        let mut cache = Cache::new(4);
        let facts = Arc::new(Facts::default());
        let hot = cache.hash(b"hot");
        cache.insert(hot, b"hot", Arc::clone(&facts));
        for number in 0..100_u32 {
            assert!(cache.find(hot, b"hot").is_some());
            let text = number.to_be_bytes();
            let hash = cache.hash(&text);
            cache.insert(hash, &text, Arc::clone(&facts));
            assert!(cache.len() <= 4);
        }
    }

    #[test]
    fn the_text_is_compared_not_only_the_hash() {
        let mut cache = Cache::new(4);
        cache.insert(7, b"one", Arc::default());
        assert!(cache.find(7, b"one").is_some());
        assert!(cache.find(7, b"two").is_none());
        cache.insert(7, b"two", Arc::default());
        assert!(cache.find(7, b"one").is_none());
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn its_bytes_are_bounded_too() {
        let mut cache = Cache::new(10);
        for number in 0..50_u8 {
            let text = vec![number; 8000];
            let hash = cache.hash(&text);
            cache.insert(hash, &text, Arc::default());
            assert!(cache.bytes <= 10 * BYTES_PER_SHAPE);
        }
        assert!(cache.len() > 0);
    }
}
