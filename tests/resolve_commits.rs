//! A COMMIT whose answer is lost, with `failover.resolve_commits`: the client is told what became of it where that can be
//! proved, and never anything else than what became of it.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

#[path = "resolve_commits/cut.rs"]
mod cut;
#[path = "resolve_commits/replaced.rs"]
mod replaced;
#[path = "resolve_commits/world.rs"]
mod world;

use pgweir_tests::Cases;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_is_cut() {
    let world = World::start(0).await;
    let mut cases = Cases::new();
    cut::run(&world, &mut cases).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_lost() {
    let world = World::start(1).await;
    let mut cases = Cases::new();
    replaced::run(&world, &mut cases).await;
    cases.finish();
}
