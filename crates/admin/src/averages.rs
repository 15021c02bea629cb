//! The home of the averages: sums of the last minute, from which rates are made when somebody asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backend::StatsSum;

/// Sums by database.
pub type ByDatabase = BTreeMap<Arc<str>, StatsSum>;

/// The sums at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// By database; one that isn't in it had counted nothing.
    pub sums: ByDatabase,
}

/// Samples of the last minute.
#[derive(Debug)]
pub(crate) struct Averages(Mutex<VecDeque<Arc<Sample>>>);

/// Rates of one database, as SHOW STATS has them: counts and bytes for each second, times in microseconds for each
/// transaction or query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) transactions: u64,
    pub(crate) queries: u64,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) transaction_time: u64,
    pub(crate) query_time: u64,
    pub(crate) wait_time: u64,
}

impl Averages {
    /// Between two samples.
    pub(crate) const STEP: Duration = Duration::from_secs(5);
    /// What is averaged over.
    const PERIOD: Duration = Duration::from_secs(60);

    /// Nothing was counted before `at`.
    pub(crate) fn beginning(at: Instant) -> Self {
        Self(Mutex::new(VecDeque::from([Arc::new(Sample { at, sums: ByDatabase::new() })])))
    }

    /// Adds a sample, and forgets those that no average reaches back to.
    pub(crate) fn note(&self, at: Instant, sums: ByDatabase) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(Arc::new(Sample { at, sums }));
        while samples.get(1).is_some_and(|next| at.saturating_duration_since(next.at) >= Self::PERIOD) {
            samples.pop_front();
        }
    }

    /// The sample that averages at `now` reach back to: of a minute ago, or the first.
    pub(crate) fn before(&self, now: Instant) -> Option<Arc<Sample>> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old =
            samples.iter().rev().find(|sample| now.saturating_duration_since(sample.at) >= Self::PERIOD);
        old.or_else(|| samples.front()).cloned()
    }
}

impl Rates {
    /// What happened between two sums in this time.
    pub(crate) fn between(before: &StatsSum, after: &StatsSum, time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let more = |after: u64, before: u64| after.saturating_sub(before);
        let a_second = |count: u64| divide(u128::from(count) * 1_000_000, u128::from(micros));
        let each = |time: u64, count: u64| time.checked_div(count).unwrap_or(0);
        let transactions = more(after.transactions, before.transactions);
        let queries = more(after.queries, before.queries);
        Self {
            transactions: a_second(transactions),
            queries: a_second(queries),
            received: a_second(more(after.received, before.received)),
            sent: a_second(more(after.sent, before.sent)),
            transaction_time: each(more(after.transaction_time, before.transaction_time), transactions),
            query_time: each(more(after.query_time, before.query_time), queries),
            wait_time: each(more(after.wait_time, before.wait_time), transactions),
        }
    }
}

fn divide(a: u128, b: u128) -> u64 {
    u64::try_from(a / b).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(transactions: u64) -> ByDatabase {
        let sum = StatsSum { transactions, transaction_time: transactions * 30, ..StatsSum::default() };
        BTreeMap::from([(Arc::from("app"), sum)])
    }

    #[test]
    fn averages_reach_back_a_minute_and_no_further() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let averages = Averages::beginning(start);
        assert_eq!(averages.before(at(3)).unwrap().at, start);
        for step in 1..=40 {
            averages.note(at(step * 5), sums(step));
        }
        assert_eq!(averages.before(at(200)).unwrap().at, at(140));
        assert_eq!(averages.before(at(203)).unwrap().at, at(140));
        let kept = averages.0.lock().unwrap().len();
        assert!(kept <= 14, "{kept}");
    }

    #[test]
    fn rates_are_for_each_second_and_for_each_transaction() {
        let before =
            StatsSum { transactions: 100, queries: 200, transaction_time: 1000, ..StatsSum::default() };
        let after = StatsSum {
            transactions: 300,
            queries: 200,
            received: 500,
            transaction_time: 9000,
            query_time: 77,
            wait_time: 400,
            ..before
        };
        let rates = Rates::between(&before, &after, Duration::from_secs(10));
        let expected =
            Rates { transactions: 20, received: 50, transaction_time: 40, wait_time: 2, ..Rates::default() };
        assert_eq!(rates, expected);
        assert_eq!(Rates::between(&after, &before, Duration::ZERO), Rates::default());
    }
}
