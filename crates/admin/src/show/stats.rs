//! SHOW STATS and its kin: counters by database, and averages over the last minute.
//!
//! `total_received` are bytes from clients, `total_sent` bytes to them. Times are in microseconds.

use std::sync::Arc;

use backend::StatsSum;

use crate::averages::Rates;
use crate::snapshot::Snapshot;
use crate::value::{Column, Row, numeric, text};

pub(crate) const STATS: &[Column] = &[
    text("database"),
    numeric("total_xact_count"),
    numeric("total_query_count"),
    numeric("total_received"),
    numeric("total_sent"),
    numeric("total_xact_time"),
    numeric("total_query_time"),
    numeric("total_wait_time"),
    numeric("avg_xact_count"),
    numeric("avg_query_count"),
    numeric("avg_recv"),
    numeric("avg_sent"),
    numeric("avg_xact_time"),
    numeric("avg_query_time"),
    numeric("avg_wait_time"),
];

/// Of STATS_TOTALS and STATS_AVERAGES.
pub(crate) const PART: &[Column] = &[
    text("database"),
    numeric("xact_count"),
    numeric("query_count"),
    numeric("bytes_received"),
    numeric("bytes_sent"),
    numeric("xact_time"),
    numeric("query_time"),
    numeric("wait_time"),
];

pub(crate) const TOTALS: &[Column] = &[text("name"), numeric("value")];

pub(crate) fn stats(snapshot: &Snapshot) -> Vec<Row> {
    let row = |(database, sum, rates): (Arc<str>, StatsSum, Rates)| {
        let numbers = sums(&sum).into_iter().chain(averages(&rates)).map(Into::into);
        std::iter::once((&database).into()).chain(numbers).collect()
    };
    each(snapshot).into_iter().map(row).collect()
}

pub(crate) fn stats_totals(snapshot: &Snapshot) -> Vec<Row> {
    part(snapshot, |sum, _| sums(sum))
}

pub(crate) fn stats_averages(snapshot: &Snapshot) -> Vec<Row> {
    part(snapshot, |_, rates| averages(rates))
}

/// All databases together, a row for each number of SHOW STATS.
pub(crate) fn totals(snapshot: &Snapshot) -> Vec<Row> {
    let add = |all: StatsSum, sum: &StatsSum| {
        let mut all = all;
        all += *sum;
        all
    };
    let now = snapshot.by_database().values().fold(StatsSum::default(), add);
    let before = snapshot.before.as_deref();
    let then = before.map(|sample| sample.sums.values().fold(StatsSum::default(), add)).unwrap_or_default();
    let rates = rates(snapshot, &then, &now);
    let numbers = sums(&now).into_iter().chain(averages(&rates));
    STATS[1..].iter().zip(numbers).map(|(column, number)| vec![column.name.into(), number.into()]).collect()
}

fn part(snapshot: &Snapshot, numbers: fn(&StatsSum, &Rates) -> [u64; 7]) -> Vec<Row> {
    let row = |(database, sum, rates): (Arc<str>, StatsSum, Rates)| {
        std::iter::once((&database).into()).chain(numbers(&sum, &rates).map(Into::into)).collect()
    };
    each(snapshot).into_iter().map(row).collect()
}

fn each(snapshot: &Snapshot) -> Vec<(Arc<str>, StatsSum, Rates)> {
    let with_rates = |(database, sum): (Arc<str>, StatsSum)| {
        let then = snapshot.before.as_ref().and_then(|sample| sample.sums.get(&database).copied());
        let rates = rates(snapshot, &then.unwrap_or_default(), &sum);
        (database, sum, rates)
    };
    snapshot.by_database().into_iter().map(with_rates).collect()
}

fn rates(snapshot: &Snapshot, before: &StatsSum, now: &StatsSum) -> Rates {
    let since = snapshot.before.as_ref().map_or(snapshot.uptime, |sample| snapshot.at - sample.at);
    Rates::between(before, now, since)
}

fn sums(sum: &StatsSum) -> [u64; 7] {
    [
        sum.transactions,
        sum.queries,
        sum.received,
        sum.sent,
        sum.transaction_time,
        sum.query_time,
        sum.wait_time,
    ]
}

fn averages(rates: &Rates) -> [u64; 7] {
    [
        rates.transactions,
        rates.queries,
        rates.received,
        rates.sent,
        rates.transaction_time,
        rates.query_time,
        rates.wait_time,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::averages::{ByDatabase, Sample};
    use crate::show::testing::{named, snapshot};
    use crate::snapshot::PoolName;
    use std::time::Duration;

    fn busy() -> Snapshot {
        let mut snapshot = snapshot();
        for (database, node, transactions) in [("app", "us-1", 500), ("app", "us-2", 100), ("b", "us-1", 7)] {
            let (cluster, node) = ("us".to_owned(), node.to_owned());
            let name = PoolName { database: database.into(), user: "u".into(), cluster, node };
            let sum = StatsSum { transactions, query_time: transactions, ..StatsSum::default() };
            snapshot.counters.insert(name, sum);
        }
        let then = StatsSum { transactions: 300, ..StatsSum::default() };
        let sums = ByDatabase::from([("app".into(), then)]);
        let at = snapshot.at;
        snapshot.at += Duration::from_secs(10);
        snapshot.before = Some(Arc::new(Sample { at, sums }));
        snapshot
    }

    #[test]
    fn counters_are_added_up_over_users_and_nodes() {
        let rows = stats(&busy());
        let app = named(STATS, &rows[0]);
        assert_eq!((app("database"), app("total_xact_count"), app("avg_xact_count")), ("app", "600", "30"));
        let b = named(STATS, &rows[1]);
        assert_eq!((b("database"), b("total_xact_count"), b("total_query_time")), ("b", "7", "7"));
        let totals_of_app = stats_totals(&busy()).swap_remove(0);
        assert_eq!(named(PART, &totals_of_app)("xact_count"), "600");
        let averages_of_app = stats_averages(&busy()).swap_remove(0);
        assert_eq!(named(PART, &averages_of_app)("xact_count"), "30");
    }

    #[test]
    fn totals_are_of_all_databases() {
        let rows = totals(&busy());
        assert_eq!(rows.len(), STATS.len() - 1);
        let of = |name: &'static str| rows.iter().find(|row| row[0] == name.into()).unwrap()[1].clone();
        assert_eq!((of("total_xact_count"), of("avg_xact_count")), (607_u64.into(), 30_u64.into()));
    }
}
