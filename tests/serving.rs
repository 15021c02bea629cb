//! Serving as a whole: reload, shutdown, and the limits that clients meet.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

#[path = "serving/limits.rs"]
mod limits;
#[path = "serving/reload.rs"]
mod reload;
#[path = "serving/shutdown.rs"]
mod shutdown;

use pgweir_tests::Cases;
use pgweir_tests::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_reloads_and_stops_without_harm_and_keeps_its_limits() {
    let world = World::start();
    let mut cases = Cases::new();
    reload::run(&world, &mut cases).await;
    shutdown::run(&world, &mut cases).await;
    limits::run(&world, &mut cases).await;
    cases.finish();
}
