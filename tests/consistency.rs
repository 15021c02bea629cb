//! What reads from replicas must have seen: nobody misses what was acknowledged, and nothing goes back, whatever
//! becomes of the replicas.

#[path = "consistency/sessions.rs"]
mod sessions;
#[path = "consistency/storm.rs"]
mod storm;
#[path = "consistency/tables.rs"]
mod tables;
#[path = "consistency/tokens.rs"]
mod tokens;
#[path = "consistency/world.rs"]
mod world;

use pgweir_tests::Cases;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_misses_what_was_acknowledged() {
    let world = World::start().await.expect("a cluster and pgweir");
    let world = &world;
    let mut cases = Cases::new();
    cases.add("eventual reads miss it, others don't", sessions::each_kind(world).await);
    cases.add("where it is said", sessions::where_it_is_said(world).await);
    cases.add("reads that may not go to the primary", sessions::never_the_primary(world).await);
    cases.add("reads on the primary are bounded", sessions::bounded(world).await);
    cases.add("what was seen is seen again", sessions::never_back(world).await);
    cases.add("an idle transaction elsewhere", sessions::idle_transaction(world).await);
    cases.add("commits that are not waited for", sessions::early_commits(world).await);
    for (name, write, read) in tables::CASES {
        cases.add(name, tables::written_and_read(world, write, read).await);
    }
    cases.add("COPY", tables::copied(world).await);
    cases.add("a pipeline", tables::pipelined(world).await);
    cases.add("a transaction", tables::in_a_transaction(world).await);
    cases.add("a table that wasn't written", tables::not_written(world).await);
    cases.add("tokens", tokens::passed_on(world).await);
    cases.add("tokens that can't be compared", tokens::not_comparable(world).await);
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_faults_nothing_is_stale_and_nothing_goes_back() {
    let world = World::start().await.expect("a cluster and pgweir");
    storm::storm(&world).await.expect("no fault of the test's own");
}
