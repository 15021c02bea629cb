//! A session's settings over shared connections: they are its own, they hold before anything runs, and what a server
//! refuses keeps the statement from running.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod ground;
mod refused;
mod talks;

use ground::Ground;
use pgweir_tests::Cases;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sessions_settings_are_its_own() {
    let ground = Ground::prepare().await;
    let mut cases = Cases::new();
    for (name, talk) in talks::all() {
        cases.run(name, ground.same(talk)).await;
    }
    cases.run("a role that was dropped", refused::dropped_role(&ground)).await;
    cases.run("row-level security under a role that was revoked", refused::revoked_role(&ground)).await;
    cases.run("a refused transaction", refused::transaction(&ground)).await;
    cases.run("a refused pipeline", refused::pipeline(&ground)).await;
    cases.run("what comes behind a refused statement in one write", refused::behind(&ground)).await;
    cases.run("a client that vanishes behind its settings", refused::vanished(&ground)).await;
    cases.run("a read that a replica refuses", ground::replayed_on_the_primary(&ground)).await;
    cases.run("pgweir.role in a transaction", ground::own_settings(&ground)).await;
    cases.run("two sessions in turns are told nothing", ground::told_nothing(&ground)).await;
    cases.run("sixteen sessions with settings of their own", ground::crowd(&ground)).await;
    cases.finish();
}
