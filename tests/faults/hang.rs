//! A primary that hangs: it answers nothing and closes nothing.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use crate::idle::Idle;
use crate::split::nothing_written_at;
use crate::switchover::only_what_was_under_way;
use crate::world::{WAIT, World};
use crate::writers::Writers;

const WRITERS: usize = 60;
/// `health` in the tests' setup finds it in at most two time-outs and a pause before each; this is some times more.
const BOUND: Duration = Duration::from_secs(8);

/// It is found, and goes on as if nothing had been.
pub(crate) async fn found_and_back(world: &World) {
    world.empty();
    let writers = Writers::start(world.pgweir.client("app", "app"), WRITERS).await;
    writers.confirm(WRITERS).await;
    let idle = Idle::connect(world).await;
    let primary = world.cluster.primary().index();
    block_in_place(|| world.cluster.pause(primary).unwrap());
    world.until_state(primary, "down").await;
    let found = Instant::now();
    let idle = idle.write(&writers.log);
    block_in_place(|| world.cluster.resume(primary).unwrap());
    idle.without_error().await;
    writers.all_write().await;
    only_what_was_under_way(&writers.log, found);
    let log = writers.finish().await;
    let report = world.verdict(&log.history, None);
    assert!(report.is_clean() && report.longest < WAIT, "{report}");
}

/// It is found, replaced, and wakes up later, as a primary that it isn't any more.
pub(crate) async fn found_and_replaced(world: &World) {
    world.empty();
    let writers = Writers::start(world.pgweir.client("app", "app"), WRITERS).await;
    writers.confirm(WRITERS).await;
    let idle = Idle::connect(world).await;
    let old = world.cluster.primary().index();
    let began = Instant::now();
    block_in_place(|| world.cluster.pause(old).unwrap());
    world.until_state(old, "down").await;
    let found = Instant::now();
    assert!(found - began < BOUND, "found after {:?}", found - began);
    let idle = idle.write(&writers.log);
    world.promote(old, world.most_advanced());
    idle.without_error().await;
    writers.all_write().await;
    only_what_was_under_way(&writers.log, found);
    writers.log.forget();

    let awake = Instant::now();
    block_in_place(|| world.cluster.resume(old).unwrap());
    writers.all_write().await;
    let log = writers.finish().await;
    nothing_written_at(world.port(old), &log, awake);
    assert!(log.told().is_empty(), "{:#?}", log.told());
    let report = world.verdict(&log.history, None);
    assert!(report.is_clean() && report.longest < WAIT, "{report}");
}
