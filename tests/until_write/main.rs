//! `route.transactions: replica_until_write`: transactions read on a replica until they write, and are answered as by one
//! server.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod ground;
mod losses;
mod moves;
mod talks;

use ground::Ground;
use pgweir_tests::Cases;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_reads_on_a_replica_until_it_writes() {
    let mut ground = Ground::prepare().await;
    let mut cases = Cases::new();
    for (name, talk) in talks::all() {
        cases.run(name, ground.same(talk)).await;
    }
    ground.settled().await;
    cases.run("who says so", moves::said_by(&ground)).await;
    cases.run("what it leaves on the replica", moves::leaves_nothing(&ground)).await;
    cases.run("a role's own isolation level", moves::isolation_of_a_role(&ground)).await;
    cases.run("a hidden write is learned", moves::hidden_write(&ground)).await;
    cases.run("a session that listens", moves::listening(&ground)).await;
    cases.run("SHOW ROUTES", moves::shown(&ground)).await;
    cases.run("a replica that is lost", losses::replica_is_lost(&mut ground)).await;
    cases.finish();
}
