//! What goes wrong: clients that vanish, servers that end, networks that break.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

#[path = "failures/clients.rs"]
mod clients;
#[path = "failures/half_open.rs"]
mod half_open;
#[path = "failures/network.rs"]
mod network;
#[path = "failures/servers.rs"]
mod servers;

use pgweir_tests::Cases;
use pgweir_tests::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_vanish_leave_nothing() {
    let world = World::start();
    let mut cases = Cases::new();
    clients::run(&world, &mut cases).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_outlive_their_servers() {
    let world = World::start();
    let mut cases = Cases::new();
    servers::run(&world, &mut cases).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_vanishes_without_a_word_is_noticed() {
    let world = World::start();
    let mut cases = Cases::new();
    half_open::run(&world, &mut cases).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_network_harms_nobody_else() {
    let world = World::start();
    let mut cases = Cases::new();
    network::run(&world, &mut cases).await;
    cases.finish();
}
