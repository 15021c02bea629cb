//! Two primaries: a replica is promoted, the old one stays up.

use std::time::Instant;

use testkit::history::{Losses, Outcome, Place};
use tokio::task::block_in_place;

use crate::world::{WAIT, World};
use crate::writers::{Log, Writers, insert};

const WRITERS: usize = 60;

/// What is written on the old one until the new one is found is lost, above the position of the promotion; then nothing
/// is written there any more, not even by a transaction that was open there.
pub(crate) async fn both_stay_up(world: &World) {
    let old = world.cluster.primary().index();
    // The third node has no more than the one that will be promoted, so that it can follow it.
    block_in_place(|| world.cluster.follow(2, 1).unwrap());
    let begin = world.position(old, "select pg_current_wal_insert_lsn()");
    let writers = Writers::start(world.pgweir.client("app", "app"), WRITERS).await;
    writers.confirm(WRITERS).await;
    let mut open = world.pgweir.client("app", "app").connect().await.unwrap();
    open.rows("begin").await.unwrap();
    let token = writers.log.history.begin(usize::MAX, 1);
    open.rows(&insert(token, 0, 1)).await.unwrap();

    world.promote(old, 1);
    let (old_port, new_port) = (world.port(old), world.port(1));
    let moved = async || {
        writers.log.history.snapshot().iter().any(|operation| {
            operation.place.is_some_and(|place| place.port == new_port) && operation.ended.is_some()
        })
    };
    pgweir_tests::eventually("the new one is written to", moved, |moved| *moved).await.unwrap();
    let found = Instant::now();
    writers.all_write().await;
    let answer = open.query("commit").await;
    let outcome = Outcome::of(&answer);
    assert_ne!(outcome, Outcome::Ok, "a transaction that was open on the old primary: {answer:?}");
    writers.log.history.end(token, outcome);
    let log = writers.finish().await;
    nothing_written_at(old_port, &log, found);

    let promoted = block_in_place(|| world.cluster.switch_point(1).unwrap().unwrap());
    let commits = block_in_place(|| world.cluster.commits(old, 1, begin).unwrap());
    let losses = Losses::new().of(old_port, commits, promoted);
    let report = world.verdict(&log.history, Some(&losses));
    assert!(report.is_clean() && report.longest < WAIT, "{report}");
}

/// No transaction that began from then on wrote there, and none of them is there.
pub(crate) fn nothing_written_at(port: u16, log: &Log, from: Instant) {
    let history = log.history.snapshot();
    let there = |place: Option<Place>| place.is_some_and(|place| place.port == port);
    let wrong: Vec<_> =
        history.iter().filter(|operation| operation.began >= from && there(operation.place)).collect();
    assert!(wrong.is_empty(), "written at the old primary: {wrong:#?}");
}
