//! How often a shape went where, kept with its facts: a few counters for each shape, plain loads and stores.

use std::sync::atomic::{AtomicU64, Ordering};

/// Different keys that a shape may have; the last place takes all that are left over.
const PLACES: usize = 6;
/// A key and a count share a word: 24 bits and 40.
const COUNT_BITS: u32 = 40;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// The key of what found no place of its own.
const OTHER: u64 = (1 << 24) - 1;

/// Counters by keys that somebody else gives a meaning to. Written by one core alone. It is no part of what facts say:
/// all are equal.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; PLACES]);

impl Tally {
    /// Counts one more of this key, below 2^24 - 2.
    #[inline]
    pub fn count(&self, key: u32) {
        let key = u64::from(key) + 1; // a place that is 0 is free
        for place in &self.0[..PLACES - 1] {
            let now = place.load(Ordering::Relaxed);
            if now >> COUNT_BITS == key {
                if now & COUNT != COUNT {
                    place.store(now + 1, Ordering::Relaxed);
                }
                return;
            }
            if now == 0 {
                place.store(key << COUNT_BITS | 1, Ordering::Relaxed);
                return;
            }
        }
        let now = self.0[PLACES - 1].load(Ordering::Relaxed) & COUNT;
        self.0[PLACES - 1].store(OTHER << COUNT_BITS | (now + 1).min(COUNT), Ordering::Relaxed);
    }

    /// The counts by their keys; `None`: of several other keys.
    pub fn counts(&self) -> impl Iterator<Item = (Option<u32>, u64)> {
        let words = self.0.iter().map(|place| place.load(Ordering::Relaxed)).filter(|word| *word != 0);
        words.map(|word| {
            let key = word >> COUNT_BITS;
            let key = if key == OTHER { None } else { u32::try_from(key - 1).ok() };
            (key, word & COUNT)
        })
    }
}

impl Clone for Tally {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Tally {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Tally {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_count_and_the_last_ones_share_one() {
        let tally = Tally::default();
        for key in [0, 7, 0, 70_000, 3, 4, 5, 0, 6, 5] {
            tally.count(key);
        }
        let counts: Vec<_> = tally.counts().collect();
        assert_eq!(
            counts,
            [(Some(0), 3), (Some(7), 1), (Some(70_000), 1), (Some(3), 1), (Some(4), 1), (None, 3)]
        );
    }
}
