//! Which round the tables of one database need, since they were written: shared by all cores, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::slots::{self, Slots};

/// For each slot the round that a read of its tables needs. A table that was never written needs what all need.
#[derive(Debug)]
pub struct Written {
    slots: Box<[AtomicU64]>,
    /// What was written isn't known: every read needs this.
    all: AtomicU64,
    /// The most of any: what a read needs of which the tables aren't known.
    latest: AtomicU64,
}

impl Default for Written {
    /// Nothing was written that is known of; what was before that is covered by the first round.
    fn default() -> Self {
        let slots = (0..slots::COUNT).map(|_| AtomicU64::new(0)).collect();
        Self { slots, all: AtomicU64::new(1), latest: AtomicU64::new(1) }
    }
}

impl Written {
    /// The round that a read of these tables needs.
    #[inline]
    #[must_use]
    pub fn need(&self, read: Slots) -> u64 {
        if read == Slots::ANY {
            return self.latest.load(Ordering::Relaxed);
        }
        let all = self.all.load(Ordering::Relaxed);
        read.iter()
            .filter_map(|slot| self.slot(slot))
            .map(|slot| slot.load(Ordering::Relaxed))
            .fold(all, u64::max)
    }

    /// These tables were written, and the writer is about to be told: from now on they need this round.
    pub fn mark(&self, wrote: Slots, round: u64) {
        if wrote == Slots::NONE {
            return;
        }
        raise(&self.latest, round);
        if wrote == Slots::ANY {
            raise(&self.all, round);
        }
        wrote.iter().filter_map(|slot| self.slot(slot)).for_each(|slot| raise(slot, round));
    }

    fn slot(&self, slot: u64) -> Option<&AtomicU64> {
        self.slots.get(usize::try_from(slot).ok()?)
    }
}

/// Many writes need the same round: only the first of them writes here.
fn raise(to: &AtomicU64, round: u64) {
    if to.load(Ordering::Relaxed) < round {
        to.fetch_max(round, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_needs_what_its_tables_need() {
        let written = Written::default();
        let (a, b) = (Slots::of("a"), Slots::of("b"));
        assert_eq!([Slots::NONE, a, Slots::ANY].map(|slots| written.need(slots)), [1; 3]);
        written.mark(a, 7);
        written.mark(Slots::NONE, 9);
        assert_eq!(
            [Slots::NONE, a, b, a.and(b), Slots::ANY].map(|slots| written.need(slots)),
            [1, 7, 1, 7, 7]
        );
        written.mark(b, 9);
        written.mark(Slots::ANY, 8);
        written.mark(a, 3);
        assert_eq!([Slots::NONE, a, b, Slots::ANY].map(|slots| written.need(slots)), [8, 8, 9, 9]);
    }
}
