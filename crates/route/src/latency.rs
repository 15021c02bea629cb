//! Peak EWMA: what a node's answers took of late, quick to believe that it has become slow, slow to forget it.
//!
//! After "Peak EWMA" of Twitter's Finagle: the estimate follows a slower answer at once and quicker ones by a moving
//! average that weighs by time; what is compared is the estimate times the requests under way and this one. Two things
//! differ, since queries are not RPCs of one kind. One slow answer counts four times the estimate at most: a report of
//! a minute among selects of a millisecond doesn't keep a node idle for minutes, and a node that has become slow is
//! believed to be so after a few answers. And the average is by halves, 2^(-t/h), which takes a shift and no exponential.

use std::time::{Duration, Instant};

/// After so many nanoseconds a half is forgotten: 2^30, about a second.
const HALF_LIFE_BITS: u32 = 30;
/// No single answer counts more than this many times the estimate.
const STEP: u64 = 4;
/// Nor is any jump too small to get away from a very small estimate: a millisecond, in nanoseconds.
const FIRST_STEP: u64 = 1_000_000;
/// What a node is taken for that has a request under way and has answered none yet: a second, in nanoseconds.
const UNKNOWN: u64 = 1_000_000_000;

/// The estimate for one node: what an answer will take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latency {
    /// In nanoseconds; zero: not known, or all but forgotten.
    estimate: u64,
    /// When it held.
    at: Option<Instant>,
}

impl Latency {
    /// An answer took so long.
    pub fn observe(&mut self, took: Duration, now: Instant) {
        let took = nanos(took);
        let old = self.estimate;
        self.estimate = match self.at {
            None => took,
            Some(_) if took >= old => took.min((old * STEP).max(old + FIRST_STEP)),
            Some(at) => took + halved(old - took, nanos(now.saturating_duration_since(at))),
        };
        self.at = Some(now);
    }

    /// What is to be compared: the estimate times the requests under way and one more. An estimate without news
    /// fades, so that a node which was slow is tried again.
    pub fn cost(&self, under_way: u32, now: Instant) -> u64 {
        let estimate = match self.at {
            Some(at) => halved(self.estimate, nanos(now.saturating_duration_since(at))),
            None => 0,
        };
        let estimate = if estimate == 0 && under_way > 0 { UNKNOWN } else { estimate };
        estimate.saturating_mul(u64::from(under_way) + 1)
    }
}

/// What is left of a value after a time: half for each half-life, in straight lines between those.
fn halved(value: u64, time: u64) -> u64 {
    let halves = u32::try_from(time >> HALF_LIFE_BITS).unwrap_or(u32::MAX);
    let Some(value) = value.checked_shr(halves) else { return 0 };
    // A millionth of the half-life is fine enough, and doesn't overflow for values up to hours.
    let part = (time & ((1 << HALF_LIFE_BITS) - 1)) >> (HALF_LIFE_BITS - 20);
    value - (value.saturating_mul(part) >> 21)
}

fn nanos(time: Duration) -> u64 {
    // A day is more than any answer counts for.
    time.as_secs().min(86_400) * 1_000_000_000 + u64::from(time.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const HALF_LIFE: Duration = Duration::from_nanos(1 << HALF_LIFE_BITS);

    fn estimate(latency: &Latency, now: Instant) -> u64 {
        latency.cost(0, now)
    }

    #[test]
    fn it_halves_in_its_half_life() {
        for (time, left) in [(0, 1_000_000), (1 << 29, 750_000), (1 << 30, 500_000), (3 << 30, 125_000)] {
            assert_eq!(halved(1_000_000, time), left);
        }
        assert_eq!(halved(u64::MAX, u64::MAX), 0);
        assert_eq!(halved(1, 60 << 30), 0);
        let hour = nanos(Duration::from_secs(3600));
        assert!(halved(hour, 1 << 29).abs_diff(hour / 4 * 3) < hour / 1000, "no overflow");
    }

    #[test]
    fn slower_answers_are_believed_quickly_and_quicker_ones_slowly() {
        let (mut latency, mut now) = (Latency::default(), Instant::now());
        latency.observe(MS, now);
        assert_eq!(estimate(&latency, now), nanos(MS));
        latency.observe(3 * MS, now);
        assert_eq!(estimate(&latency, now), nanos(3 * MS), "a peak at once");
        latency.observe(MS, now);
        assert_eq!(estimate(&latency, now), nanos(3 * MS), "and no time has passed");
        now += HALF_LIFE;
        latency.observe(MS, now);
        assert_eq!(estimate(&latency, now), nanos(2 * MS), "half of the way back");
    }

    #[test]
    fn one_slow_answer_is_not_a_slow_node_and_many_are() {
        let (mut latency, now) = (Latency::default(), Instant::now());
        latency.observe(MS, now);
        latency.observe(60_000 * MS, now);
        assert_eq!(estimate(&latency, now), nanos(4 * MS));
        for _ in 0..9 {
            latency.observe(60_000 * MS, now);
        }
        assert_eq!(estimate(&latency, now), nanos(60_000 * MS));
        let mut quick = Latency::default();
        quick.observe(Duration::ZERO, now);
        quick.observe(10 * MS, now);
        assert_eq!(estimate(&quick, now), FIRST_STEP, "it can get away from nothing");
    }

    #[test]
    fn cost_grows_with_what_is_under_way_and_fades_without_news() {
        let (mut latency, now) = (Latency::default(), Instant::now());
        assert_eq!(latency.cost(0, now), 0, "a node that was never asked is tried first");
        assert_eq!(latency.cost(1, now), 2 * UNKNOWN, "but not by everybody at once");
        latency.observe(10 * MS, now);
        assert_eq!(latency.cost(4, now), nanos(50 * MS));
        assert_eq!(latency.cost(0, now + 4 * HALF_LIFE), nanos(10 * MS) / 16);
        assert_eq!(latency.cost(0, now + 100 * HALF_LIFE), 0);
        assert_eq!(latency.cost(0, now - MS), nanos(10 * MS), "a clock that stands back is no time");
    }
}
