//! What looking at messages costs: a reply scanned head by head, a Bind's names and values, its head written anew.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgweir_wire::frame::{self, MAX_BODY};
use pgweir_wire::frontend::{Bind, BindHead};
use pgweir_wire::{encode, tag};

/// As many DataRows of so many bytes.
fn rows(count: usize, body: usize) -> Vec<u8> {
    let mut reply = Vec::new();
    for _ in 0..count {
        reply.push(tag::DATA_ROW);
        reply.extend_from_slice(&u32::try_from(body + 4).unwrap().to_be_bytes());
        reply.resize(reply.len() + body, b'x');
    }
    reply
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan of 1,000 rows");
    for body in [20, 200] {
        let reply = rows(1000, body);
        group.throughput(Throughput::Elements(1000));
        group.bench_function(format!("{body} bytes each"), |bencher| {
            bencher.iter(|| {
                let (mut at, mut data) = (0, 0);
                while let Some(head) = frame::peek(black_box(&reply[at..]), MAX_BODY).unwrap() {
                    data += usize::from(head.tag == tag::DATA_ROW);
                    at += head.total;
                }
                data
            });
        });
    }
    group.finish();

    let mut bind = Vec::new();
    encode::bind(&mut bind, b"", b"P_0", &[Some(b"4711")]).unwrap();
    let body = frame::body(&bind).to_vec();
    criterion.bench_function("names of a Bind", |bencher| {
        bencher.iter(|| BindHead::parse(black_box(&body), body.len()).unwrap());
    });
    criterion
        .bench_function("a whole Bind", |bencher| bencher.iter(|| Bind::parse(black_box(&body)).unwrap()));
    let mut out = Vec::with_capacity(100);
    criterion.bench_function("a Bind's head with another name", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode::bind_head(&mut out, b"", black_box(b"pgweir_17"), bind.len(), 5).unwrap();
            out.len()
        });
    });
}

criterion_group!(benches, frames);
criterion_main!(benches);
