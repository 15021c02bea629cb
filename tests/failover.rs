//! Primaries that are replaced, come back, fork or hang: where statements go then, and what their clients are told.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

#[path = "failover/hang.rs"]
mod hang;
#[path = "failover/misplaced.rs"]
mod misplaced;
#[path = "failover/patroni.rs"]
mod patroni;
#[path = "failover/replaced.rs"]
mod replaced;
#[path = "failover/replica.rs"]
mod replica;
#[path = "failover/world.rs"]
mod world;

use pgweir_tests::Cases;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_replaced() {
    let world = World::start(2);
    let mut cases = Cases::new();
    cases.run("and what is taken for it is a standby", misplaced::is_sent_on(&world)).await;
    cases.run("a session that wants to write nothing", misplaced::own_wish(&world)).await;
    cases.run("in order, and sessions go on", replaced::in_order(&world)).await;
    cases.run("while the old one stays up", replaced::forked(&world)).await;
    cases.run("and the old one is back before anybody has noticed", replaced::back_too_early(&world)).await;
    cases.run("as Patroni says", patroni::names_the_leader(&world)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_hangs_or_a_replica_is_killed() {
    let world = World::start(2);
    let mut cases = Cases::new();
    cases.run("a replica is killed under load", replica::killed_under_load(&world)).await;
    cases.run("a replica is stopped under load", replica::stopped_under_load(&world)).await;
    cases.run("a replica hangs with reads under way", hang::replica(&world)).await;
    cases.run("the primary hangs with all kinds of work under way", hang::primary(&world)).await;
    cases.finish();
}
