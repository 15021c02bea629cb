//! What a routing decision costs whose text is known: read or write, and one of few or many shards.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use pgweir_route::{DatabaseMap, Request, SessionRouting, decide};
use sql::{Analyzer, LexSettings};

fn map(yaml: &str) -> DatabaseMap {
    let config = config::parse_yaml(yaml, "bench", &|_| None, Path::new("")).unwrap();
    DatabaseMap::from_config(&config, &config.databases[0])
}

/// A database of so many shards, `orders` by a list of tenants.
fn shards(count: usize) -> String {
    let (mut names, mut values) = (String::new(), String::new());
    for shard in 0..count {
        write!(names, "s{shard}: {{cluster: c, dbname: d{shard}}}, ").unwrap();
        write!(values, "s{shard}: [{shard}], ").unwrap();
    }
    format!(
        "clusters: {{c: {{nodes: {{n: {{host: h}}}}}}}}\ndatabases:\n  app:\n    shards: {{{names}}}\n    sharding:\n      \
         schemes: {{by_tenant: {{type: list, of: bigint, values: {{{values}}}}}}}\n      \
         tables: {{orders: {{key: tenant, scheme: by_tenant}}}}\n"
    )
}

fn decisions(criterion: &mut Criterion) {
    let plain = "clusters: {c: {nodes: {n: {host: h}}}}\ndatabases: {app: {cluster: c}}\n";
    let read = "SELECT abalance FROM pgbench_accounts WHERE aid = 12345";
    let mut cases = vec![
        ("a read".to_owned(), map(plain), read.to_owned()),
        ("a write".to_owned(), map(plain), "UPDATE t SET n = 1 WHERE id = 7".to_owned()),
    ];
    for count in [3, 30, 300, 1000] {
        let sql = format!("SELECT * FROM orders WHERE tenant = {}", count - 1);
        cases.push((format!("one of {count} shards"), map(&shards(count)), sql));
    }
    let lex = LexSettings::default();
    for (name, map, sql) in cases {
        let mut analyzer = Analyzer::new(100);
        let analysis = analyzer.analyze(sql.as_bytes(), lex);
        let (facts, literals) = (analysis.facts, analysis.literals);
        let sql = sql.as_bytes();
        criterion.bench_function(&name, |bencher| {
            bencher.iter(|| {
                let request = Request { facts, sql, literals, parameters: None, lex, catalogs: &[] };
                decide(black_box(&map), &SessionRouting::default(), &request)
            });
        });
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
