//! A few tables, each by the slot that its name falls into.

/// Slots of one database. Tables that share one share their fate: a write to one is taken for a write to both.
pub(super) const COUNT: u64 = 1 << BITS;
const BITS: u32 = 10;
/// As many as fit beside their number.
const MOST: u64 = 6;
const NUMBER: u32 = 60;
const MASK: u64 = COUNT - 1;

/// The tables that a statement reads, or writes: none, up to six, or any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slots(u64);

impl Slots {
    /// No table.
    pub const NONE: Slots = Slots(0);
    /// It isn't known which, or they are many.
    pub const ANY: Slots = Slots((MOST + 1) << NUMBER);

    /// The slot of a table of this name, whatever its schema. The same on every core.
    #[must_use]
    pub fn of(name: &str) -> Slots {
        // FNV-1a, with its upper bits folded in.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Slots(1 << NUMBER | ((hash ^ hash >> 32) & MASK) << (NUMBER - BITS))
    }

    /// The tables of both.
    #[must_use]
    pub fn and(self, other: Slots) -> Slots {
        if self == other || other == Slots::NONE {
            return self;
        }
        if self == Slots::NONE {
            return other;
        }
        if self == Slots::ANY || other == Slots::ANY {
            return Slots::ANY;
        }
        let mut slots: Vec<u64> = self.iter().chain(other.iter()).collect();
        slots.sort_unstable();
        slots.dedup();
        match u64::try_from(slots.len()) {
            Ok(number @ ..=MOST) => Slots(
                slots.iter().fold(number, |all, slot| all << BITS | slot)
                    << ((MOST - number) * u64::from(BITS)),
            ),
            _ => Slots::ANY,
        }
    }

    /// As one number, to be kept.
    #[inline]
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// What [`Slots::to_bits`] has given.
    #[inline]
    #[must_use]
    pub fn from_bits(bits: u64) -> Slots {
        Slots(bits)
    }

    #[inline]
    fn number(self) -> u64 {
        self.0 >> NUMBER
    }

    /// Each slot; none for `ANY`.
    #[inline]
    pub(super) fn iter(self) -> impl Iterator<Item = u64> {
        let number = if self == Slots::ANY { 0 } else { self.number() };
        (1..=number).map(move |nth| self.0 >> ((MOST - nth) * u64::from(BITS)) & MASK)
    }
}

impl FromIterator<Slots> for Slots {
    fn from_iter<T: IntoIterator<Item = Slots>>(slots: T) -> Slots {
        slots.into_iter().fold(Slots::NONE, Slots::and)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_few_are_kept_and_many_are_any() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let all: Slots = names.into_iter().map(Slots::of).collect();
        let slots: HashSet<u64> = all.iter().collect();
        assert_eq!(slots, names.iter().flat_map(|name| Slots::of(name).iter()).collect());
        assert_eq!(slots.len(), 6, "no two of these share a slot");
        assert_eq!(all.and(Slots::of("c")), all, "each is there once");
        assert_eq!(all.and(Slots::of("g")), Slots::ANY);
        assert_eq!(Slots::NONE.and(Slots::of("a")), Slots::of("a"));
        assert_eq!(Slots::of("a").and(Slots::NONE), Slots::of("a"));
        assert_eq!(Slots::of("a").and(Slots::ANY), Slots::ANY);
        assert_eq!(Slots::from_bits(all.to_bits()), all);
        assert!(Slots::NONE.iter().next().is_none() && Slots::ANY.iter().next().is_none());
    }

    #[test]
    fn names_are_scattered() {
        let slots: HashSet<u64> = (0..500).flat_map(|n| Slots::of(&format!("table_{n}")).iter()).collect();
        assert!(slots.len() > 350, "{}", slots.len());
    }
}
