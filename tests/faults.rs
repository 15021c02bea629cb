//! The day a primary changes, and what else goes wrong with servers: every answer that a client got is compared with
//! what is in the table afterwards.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

#[path = "faults/crash.rs"]
mod crash;
#[path = "faults/hang.rs"]
mod hang;
#[path = "faults/idle.rs"]
mod idle;
#[path = "faults/lag.rs"]
mod lag;
#[path = "faults/lost_reply.rs"]
mod lost_reply;
#[path = "faults/readers.rs"]
mod readers;
#[path = "faults/replicas.rs"]
mod replicas;
#[path = "faults/split.rs"]
mod split;
#[path = "faults/switchover.rs"]
mod switchover;
#[path = "faults/world.rs"]
mod world;
#[path = "faults/writers.rs"]
mod writers;

use pgweir_tests::Cases;
use tokio::sync::Mutex;

use crate::world::{Replication, World};

/// One cluster at a time: the machine is to be free for what is looked at.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_switchover_is_a_pause() {
    let _turn = TURN.lock().await;
    let world = World::start(Replication::Synchronous).await;
    let mut cases = Cases::new();
    cases.run("once", switchover::once(&world)).await;
    cases.run("twice in 30 seconds", switchover::twice(&world)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_crashes() {
    let _turn = TURN.lock().await;
    let mut cases = Cases::new();
    let world = World::start(Replication::Synchronous).await;
    cases.run("synchronous replication loses nothing", crash::synchronous(&world)).await;
    drop(world);
    let world = World::start(Replication::Asynchronous).await;
    cases.run("asynchronous replication loses the end, and no more", crash::asynchronous(&world)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost() {
    let _turn = TURN.lock().await;
    let mut cases = Cases::new();
    let world = World::start(Replication::Asynchronous).await;
    lost_reply::each(&world, &mut cases).await;
    cases.run("under load", lost_reply::under_load(&world)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_end_or_cancel() {
    let _turn = TURN.lock().await;
    let mut cases = Cases::new();
    let world = World::start(Replication::Asynchronous).await;
    cases.run("a recovery conflict before a row", replicas::conflict_before_a_row(&world)).await;
    cases.run("a recovery conflict behind a row", replicas::conflict_behind_a_row(&world)).await;
    cases.run("a recovery conflict in a transaction", replicas::conflict_in_a_transaction(&world)).await;
    cases.run("a replica is killed under load", replicas::killed(&world)).await;
    cases.run("all replicas are killed under load", replicas::all_killed(&world)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hangs() {
    let _turn = TURN.lock().await;
    let mut cases = Cases::new();
    let world = World::start(Replication::Synchronous).await;
    cases.run("found and back", hang::found_and_back(&world)).await;
    cases.run("found, replaced, awake", hang::found_and_replaced(&world)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_primaries() {
    let _turn = TURN.lock().await;
    let mut cases = Cases::new();
    let world = World::start(Replication::Asynchronous).await;
    cases.run("both stay up", split::both_stay_up(&world)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_lag() {
    let _turn = TURN.lock().await;
    let mut cases = Cases::new();
    let world = World::start(Replication::Asynchronous).await;
    cases.run("replay is paused", lag::replay_is_paused(&world)).await;
    cases.run("a lagging replica is promoted", lag::a_lagging_replica_is_promoted(&world)).await;
    cases.finish();
}
