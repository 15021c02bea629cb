//! A primary is replaced in order: stopped, a replica promoted.

use std::time::Instant;

use testkit::history::Outcome;

use crate::idle::Idle;
use crate::world::{Ending, POOL, WAIT, World};
use crate::writers::{Log, Told, Writers};

const WRITERS: usize = 200;

pub(crate) async fn once(world: &World) {
    world.empty();
    let writers = Writers::start(world.pgweir.client("app", "app"), WRITERS).await;
    let old = replace(world, &writers, 1, Meanwhile::Nothing).await;
    finish(world, writers).await;
    world.rejoin(old);
}

/// The second begins as soon as all write again; the configuration is changed while there is no primary.
pub(crate) async fn twice(world: &World) {
    world.empty();
    let writers = Writers::start(world.pgweir.client("app", "app"), WRITERS).await;
    let began = Instant::now();
    let old = replace(world, &writers, 2, Meanwhile::Nothing).await;
    world.rejoin(old);
    world.cluster.wait_all_caught_up().unwrap();
    replace(world, &writers, 0, Meanwhile::Reload).await;
    assert!(began.elapsed().as_secs() < 30, "the machine is too slow for two in 30 s: {:?}", began.elapsed());
    finish(world, writers).await;
}

/// What happens while there is no primary.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// A configuration is loaded that differs in all pools.
    Reload,
}

/// Replaces the primary in order while all write.
async fn replace(world: &World, writers: &Writers, to: usize, meanwhile: Meanwhile) -> usize {
    writers.confirm(WRITERS).await;
    writers.log.forget();
    let idle = Idle::connect(world).await;
    let (old, gone) = world.end_primary(Ending::Stopped);
    let idle = idle.write(&writers.log);
    if meanwhile == Meanwhile::Reload {
        world.reload_with(&world.setup.clone().pool_size(POOL - 1)).await;
    }
    world.promote(old, to);
    idle.without_error().await;
    writers.all_write().await;
    only_what_was_under_way(&writers.log, gone);
    old
}

/// At most one error for each server connection, each of a transaction that began before the old primary was gone; and
/// each of them definite, or of a statement that commits.
pub(crate) fn only_what_was_under_way(log: &Log, gone: Instant) {
    let told = log.told();
    let wrong = |what: &str, is_wrong: &dyn Fn(&Told) -> bool| {
        let wrong: Vec<_> = told.iter().filter(|told| is_wrong(told)).collect();
        assert!(wrong.is_empty(), "{what}: {wrong:#?} of {told:#?}");
    };
    wrong("begun when the primary was gone", &|told| told.began > gone);
    wrong("a client was lost", &|told| told.lost);
    wrong("indefinite without need", &|told| matches!(told.outcome, Outcome::Unknown(_)) && !told.commits);
    // Who is refused by a server that shuts down, or finds none, waits.
    let lost = |told: &Told| match &told.outcome {
        Outcome::Refused(error) => ["57P01", "40001", "08006"].contains(&error.code.as_str()),
        Outcome::Unknown(_) | Outcome::Ok => true,
    };
    wrong("another error than that its connection was lost", &|told| !lost(told));
    assert!(told.len() <= POOL, "{} errors, of {POOL} that can have been under way: {told:#?}", told.len());
}

async fn finish(world: &World, writers: Writers) {
    let log = writers.finish().await;
    let report = world.verdict(&log.history, None);
    assert!(report.is_clean(), "{report}{:#?}", log.told());
    assert!(report.longest < WAIT, "{report}");
}
