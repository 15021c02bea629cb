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
#[path = "consistency/until_write.rs"]
mod until_write;
#[path = "consistency/untold.rs"]
mod untold;
#[path = "consistency/ways.rs"]
mod ways;
#[path = "consistency/world.rs"]
mod world;

use pgweir_tests::Cases;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_misses_what_was_acknowledged() {
    let world = World::start().await.expect("a cluster and pgweir");
    let world = &world;
    let mut cases = Cases::new();
    cases.check("eventual reads miss it, others don't", sessions::each_kind(world)).await;
    cases.check("where it is said", sessions::where_it_is_said(world)).await;
    cases.check("reads that may not go to the primary", sessions::never_the_primary(world)).await;
    cases.check("reads on the primary are bounded", sessions::bounded(world)).await;
    cases.check("what was seen is seen again", sessions::never_back(world)).await;
    cases.check("an idle transaction elsewhere", sessions::idle_transaction(world)).await;
    cases.check("commits that are not waited for", sessions::early_commits(world)).await;
    for (name, write, read) in tables::CASES {
        cases.check(name, tables::written_and_read(world, write, read)).await;
    }
    cases.check("COPY", tables::copied(world)).await;
    cases.check("a pipeline", tables::pipelined(world)).await;
    cases.check("a transaction", tables::in_a_transaction(world)).await;
    cases.check("a table that wasn't written", tables::not_written(world)).await;
    cases.check("tokens", tokens::passed_on(world)).await;
    cases.check("tokens that can't be compared", tokens::not_comparable(world)).await;
    cases.check("until write: written meanwhile", until_write::written_meanwhile(world)).await;
    cases.check("until write: a moment behind", until_write::a_moment_behind(world)).await;
    cases.check("until write: a token", until_write::a_token_within(world)).await;
    cases.check("until write: the one ahead is lost", until_write::the_one_ahead_is_lost(world)).await;
    cases.check("until write: both are lost", until_write::both_are_lost(world)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_in_passing_is_read() {
    let world = World::start().await.expect("a cluster and pgweir");
    let ways = ways::Ways::of(&world).await.expect("more tables");
    let ways = &ways;
    let mut cases = Cases::new();
    for (name, write, read) in ways::WRITES {
        cases.check(name, ways::written(ways, write, read)).await;
    }
    for (name, read) in ways::READS {
        cases.check(name, ways::read(ways, read)).await;
    }
    cases.check("a notification", ways::notified(ways)).await;
    cases.check("two phases", ways::two_phases(ways)).await;
    cases.check("pipelines", ways::pipelines(ways)).await;
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_faults_nothing_is_stale_and_nothing_goes_back() {
    let world = World::start().await.expect("a cluster and pgweir");
    storm::storm(&world).await.expect("no fault of the test's own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_positions_are_not_told_time_must_do() {
    let world = untold::start().await.expect("a cluster and pgweir");
    let world = &world;
    let mut cases = Cases::new();
    cases.check("all refuse", untold::all_refuse(world)).await;
    cases.check("the right is given", untold::the_right_is_given(world)).await;
    cases.check("the primary refuses", untold::the_primary_refuses(world)).await;
    cases.check("one replica refuses, and then both", untold::one_refuses(world)).await;
    cases.finish();
}
