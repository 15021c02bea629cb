//! A database on two shards: what names its key is sent there and answered as there, and nothing else reaches a server.

#[path = "sharding/parameters.rs"]
mod parameters;
#[path = "sharding/placed.rs"]
mod placed;
#[path = "sharding/refusals.rs"]
mod refusals;
#[path = "sharding/told.rs"]
mod told;
#[path = "sharding/tools.rs"]
mod tools;
#[path = "sharding/transactions.rs"]
mod transactions;
#[path = "sharding/whole.rs"]
mod whole;
#[path = "sharding/world.rs"]
mod world;

use pgweir_tests::Cases;

use crate::parameters::{key_is_a_parameter, parameter_says_no_shard, prepared};
use crate::placed::{PLACED, placed};
use crate::refusals::{REFUSED, refused_and_alive};
use crate::told::{defaulted, hints, set_shard};
use crate::tools::{copy, psql};
use crate::transactions::{pipelines, refused_first, second_shard, several_statements, transaction};
use crate::whole::{WHOLE_OR_NOT_AT_ALL, same_bytes, whole_or_not_at_all};
use crate::world::{MARK, World, ensure};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_database() {
    let world = World::start().await.expect("two clusters and pgweir");
    let world = &world;
    let mut cases = Cases::new();
    for (sql, place) in PLACED {
        cases.add(sql, placed(world, sql, place).await);
    }
    for (sql, detail) in REFUSED {
        cases.add(sql, refused_and_alive(world, sql, detail).await);
    }
    for sql in WHOLE_OR_NOT_AT_ALL {
        cases.add(sql, whole_or_not_at_all(world, sql).await);
    }
    cases.add("the key is a parameter", key_is_a_parameter(world).await);
    cases.add("a parameter that says no shard", parameter_says_no_shard(world).await);
    cases.add("a prepared statement is sent where its value says", prepared(world).await);
    cases.add("hints", hints(world).await);
    cases.add("SET pgweir.shard", set_shard(world).await);
    cases.add("one scheme, with a default", defaulted(world).await);
    cases.add("a transaction on one shard", transaction(world).await);
    cases.add("a transaction and a second shard", second_shard(world).await);
    cases.add("a transaction whose first statement is refused", refused_first(world).await);
    cases.add("pipelines", pipelines(world).await);
    cases.add("several statements in one text", several_statements(world).await);
    cases.add("COPY", copy(world).await);
    cases.add("psql's commands", psql(world).await);
    cases.add("the same bytes as from the shard itself", same_bytes(world).await);
    cases.add(
        "what was refused reached nobody",
        (|| {
            // What wasn't refused is in the logs: they would show it.
            ensure(world.logged("-- this reaches one")? == 1, || "the logs don't show statements".into())?;
            ensure(world.logged(MARK.trim())? == 0, || "a refused statement is in a server's log".into())
        })(),
    );
    cases.finish();
}
