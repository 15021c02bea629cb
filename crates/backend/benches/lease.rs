//! What it costs to take an idle connection of one's own core and to give it back.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

#[path = "../tests/pools/server.rs"]
#[allow(dead_code, reason = "what the tests count")]
mod server;

use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use pgweir_backend::{CorePools, Directory, Remote, Statements, Waiter};
use server::Server;
use tokio::task::LocalSet;

fn leases(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let server = Server::start(8).await;
        let yaml = format!(
            "clusters:\n  pg: {{tls: {{mode: disable}}, nodes: {{n: {{host: 127.0.0.1, port: {}, role: primary}}}}}}\n\
             databases: {{'*': {{cluster: pg}}}}\n",
            server.port
        );
        let config = config::parse_yaml(&yaml, "bench", &|_| None, Path::new("")).unwrap();
        let remote = Remote::new(|_, _| {});
        let core = Rc::new(CorePools::new(0, remote.clone(), Arc::new(Statements::default())));
        let directory = Directory::new(Arc::new(config), 1, remote).unwrap();
        let pool = Rc::clone(&core.group(&directory.group("app", "app").unwrap()).pools[0][0]);
        let mut queued = pool.queue(&Rc::new(Waiter::default()));
        poll_fn(|cx| queued.poll(cx)).await.unwrap().release();
        drop(queued);
        criterion.bench_function("lease and release", |bencher| {
            bencher.iter(|| pool.try_lease().unwrap().release());
        });
    });
}

criterion_group!(benches, leases);
criterion_main!(benches);
