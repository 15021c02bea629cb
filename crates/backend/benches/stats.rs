//! What the metrics cost: counting a transaction where it runs, and adding up the counters of many pools where somebody asks.

#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use pgweir_backend::{PoolStats, StatsSum};

fn stats(criterion: &mut Criterion) {
    let pool = PoolStats::default();
    criterion.bench_function("count a transaction", |bencher| {
        bencher.iter(|| count(black_box(&pool), black_box(Duration::from_micros(85))));
    });
    let pools: Vec<PoolStats> = (0..1000).map(|_| PoolStats::default()).collect();
    pools.iter().for_each(|pool| count(pool, Duration::from_micros(85)));
    criterion.bench_function("add up 1,000 pools", |bencher| {
        bencher.iter(|| {
            let mut sum = StatsSum::default();
            black_box(&pools).iter().for_each(|pool| sum += pool.sum());
            sum
        });
    });
}

/// What a session counts for a transaction of one read.
fn count(pool: &PoolStats, took: Duration) {
    PoolStats::add(&pool.queries, 1);
    PoolStats::add(&pool.reads, 1);
    PoolStats::add(&pool.transactions, 1);
    PoolStats::add(&pool.received, 70);
    PoolStats::add(&pool.sent, 95);
    PoolStats::add_time(&pool.query_time, took);
    PoolStats::add_time(&pool.transaction_time, took);
}

criterion_group!(benches, stats);
criterion_main!(benches);
