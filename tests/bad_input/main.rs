//! Bad input from clients: it is answered as it should be, nothing panics, nothing of it reaches a server, and everybody
//! else is served afterwards.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

mod after;
mod before;
mod peer;

use peer::Peers;
use pgweir_tests::Cases;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_answered_and_does_no_harm() {
    let peers = Peers::start().await;
    let mut cases = Cases::new();
    before::run(&peers, &mut cases).await;
    after::run(&peers, &mut cases).await;
    cases.run("the log has no panic, no password and no literal", peers.assert_quiet_log()).await;
    cases.run("nothing of it reached a server", peers.assert_nothing_passed()).await;
    cases.finish();
}
