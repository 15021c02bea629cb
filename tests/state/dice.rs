//! Chance that repeats: the same seed gives the same throws (xorshift).

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64, lane: usize) -> Dice {
        let seed = seed.wrapping_add(u64::try_from(lane).unwrap_or_default());
        // Seeds that are near each other are to give throws that aren't.
        let mut dice = Dice((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed >> 31)).max(1));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or_default() % bound
    }
}
