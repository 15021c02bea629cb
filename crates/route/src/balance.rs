//! One of several nodes: by load, by turn, at random. (What tells `route.balance`'s words apart.)

use std::time::{Duration, Instant};

use config::Balance;

use crate::readers::Reader;
use crate::view::NodeIndex;

/// Whose turn it is, as the caller keeps it: one for each core and pool.
///
/// Of nodes that have the same load one is chosen again and again while it is warm: what a server has used a moment ago
/// is still in its processor's caches. A pause, or the end of its run, makes it another's turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    pub(crate) number: u32,
    /// A number of its own for what is left to chance, so that turns stay even.
    pub(crate) draws: u32,
    /// Until when the node of this turn is warm, and its run lasts.
    pub(crate) lasts: Option<(Instant, Instant)>,
}

/// A node that nobody chose for so long is not warm any more.
pub(crate) const WARM: Duration = Duration::from_millis(1);
/// The longest run of one node.
pub(crate) const RUN: Duration = Duration::from_millis(100);

impl Turn {
    /// Another number each time.
    fn next(&mut self) -> u32 {
        let number = self.number;
        self.number = number.wrapping_add(1);
        number
    }

    /// The same number while its node is warm.
    fn warm(&mut self, now: Instant) -> u32 {
        let run_ends = match self.lasts {
            Some((warm, run)) if now < warm && now < run => run,
            _ => {
                self.number = self.number.wrapping_add(1);
                now + RUN
            }
        };
        self.lasts = Some((now + WARM, run_ends));
        self.number
    }

    /// Any number below `end`.
    pub(crate) fn draw(&mut self, end: u16) -> u16 {
        self.draws = self.draws.wrapping_add(1);
        let drawn = (u64::from(scatter(self.draws)) * u64::from(end)) >> 32;
        u16::try_from(drawn).unwrap_or(0)
    }
}

/// One of these readers that is usable; `None`: there is none.
#[inline]
pub(crate) fn pick(
    readers: &[Reader],
    balance: Balance,
    usable: impl Fn(&Reader) -> bool,
    cost: impl Fn(NodeIndex) -> u64,
    turn: &mut Turn,
    now: Instant,
) -> Option<NodeIndex> {
    match balance {
        Balance::LeastConnections => least(readers, usable, cost, turn.warm(now)),
        Balance::PeakEwma => least(readers, usable, cost, turn.number).inspect(|_| _ = turn.next()),
        Balance::RoundRobin => by_weight(readers, usable, |total| u64::from(turn.next()) % total),
        Balance::Random => by_weight(readers, usable, |total| u64::from(scatter(turn.next())) % total),
        Balance::Weighted => {
            // The digits of a number in reverse, as a fraction: of any run of them as many as can be fall evenly.
            by_weight(readers, usable, |total| {
                u64::from(turn.next().reverse_bits()).saturating_mul(total) >> 32
            })
        }
    }
}

/// The least cost for its weight; of equals, the first at or after the one whose turn it is.
fn least(
    readers: &[Reader],
    usable: impl Fn(&Reader) -> bool,
    cost: impl Fn(NodeIndex) -> u64,
    turn: u32,
) -> Option<NodeIndex> {
    let first = usize::try_from(turn).unwrap_or(0).checked_rem(readers.len())?;
    let (before, from_first) = readers.split_at(first);
    let mut best: Option<(NodeIndex, u64, u64)> = None;
    for reader in from_first.iter().chain(before) {
        let (cost, pull) = (cost(reader.node), reader.pull);
        let better = best.is_none_or(|(_, best_cost, best_pull)| {
            if pull == best_pull {
                cost < best_cost
            } else {
                cost.saturating_mul(best_pull) < best_cost.saturating_mul(pull)
            }
        });
        if better && usable(reader) {
            if cost == 0 {
                return Some(reader.node); // none is better
            }
            best = Some((reader.node, cost, pull));
        }
    }
    best.map(|(node, ..)| node)
}

/// The usable node on which a number falls when each has as many numbers as its weight; `number` is given how many
/// there are.
fn by_weight(
    readers: &[Reader],
    usable: impl Fn(&Reader) -> bool,
    number: impl FnOnce(u64) -> u64,
) -> Option<NodeIndex> {
    let usable = || readers.iter().filter(|reader| usable(reader));
    let total: u64 = usable().map(|reader| u64::from(reader.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut left = number(total);
    for reader in usable() {
        match left.checked_sub(u64::from(reader.weight)) {
            Some(rest) => left = rest,
            None => return Some(reader.node),
        }
    }
    None
}

/// Neighbouring numbers to far ones: the finalizer of MurmurHash3.
fn scatter(mut number: u32) -> u32 {
    number ^= number >> 16;
    number = number.wrapping_mul(0x85eb_ca6b);
    number ^= number >> 13;
    number = number.wrapping_mul(0xc2b2_ae35);
    number ^ (number >> 16)
}
