//! What a text costs whose shape is known: lexing, hashing, lookup.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pgweir_sql::{Analyzer, LexSettings};

const POINT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;";
const LONGER: &[u8] = b"SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id \
    WHERE c.region = 'DE' AND o.created_at > '2020-01-01' AND o.state IN ('open', 'paid') \
    ORDER BY o.created_at DESC LIMIT 50";
const UPDATE: &[u8] = b"UPDATE pgbench_accounts SET abalance = abalance + -2512 WHERE aid = 4711;";

fn shapes(criterion: &mut Criterion) {
    let settings = LexSettings::default();
    for (name, sql) in [("point select", POINT), ("three-line select", LONGER), ("update", UPDATE)] {
        let mut analyzer = Analyzer::new(1000);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| analyzer.analyze(black_box(sql), settings).literals.len());
        });
        let mut fresh = Analyzer::new(0);
        criterion.bench_function(&format!("{name}, new shape"), |bencher| {
            bencher.iter(|| fresh.analyze(black_box(sql), settings).literals.len());
        });
    }
}

criterion_group!(benches, shapes);
criterion_main!(benches);
