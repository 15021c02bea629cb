//! Read or write, and which node: each statement is followed to the server that answered it.

#[path = "routing/hidden.rs"]
mod hidden;
#[path = "routing/roles.rs"]
mod roles;
#[path = "routing/sessions.rs"]
mod sessions;
#[path = "routing/spread.rs"]
mod spread;
#[path = "routing/statements.rs"]
mod statements;
#[path = "routing/transactions.rs"]
mod transactions;
#[path = "routing/world.rs"]
mod world;

use pgweir_tests::{Cases, eventually};
use testkit::{Mode, Pgweir, Script, first_error, rows, tags};

use crate::hidden::{
    hidden_write, hidden_write_extended, hidden_write_in_a_pipeline, hidden_write_prepared, unlogged_table,
};
use crate::roles::{
    database_roles, listener_role, observing, set_role, set_role_extended, set_wrongly, startup_role,
};
use crate::sessions::{hints, settings_hold_on_each_node, tied_to_the_primary};
use crate::spread::{reads_are_spread, reads_come_from, reads_on_primary, round_robin};
use crate::statements::{STATEMENTS, statement};
use crate::transactions::{
    begin_holds_no_server, begin_keeps_its_options, error_after_begin, pipelines, read_only_transactions,
    transactions_stay,
};
use crate::world::{World, ensure, refused};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_statement_goes_where_it_should() {
    let world = World::start().await.expect("a cluster and pgweir");
    let world = &world;
    let mut cases = Cases::new();
    for (sql, role, reason) in STATEMENTS {
        cases.add(sql, statement(world, sql, role, reason).await);
    }
    cases.add("reads are spread over the replicas", reads_are_spread(world).await);
    cases.add("a hidden write", hidden_write(world).await);
    cases.add("a hidden write, extended", hidden_write_extended(world).await);
    cases.add("a hidden write, in a pipeline", hidden_write_in_a_pipeline(world).await);
    cases.add("a hidden write, prepared", hidden_write_prepared(world).await);
    cases.add("an unlogged table", unlogged_table(world).await);
    cases.add("pipelines", pipelines(world).await);
    cases.add("transactions stay where they began", transactions_stay(world).await);
    cases.add("READ ONLY transactions", read_only_transactions(world).await);
    cases.add("BEGIN holds no server", begin_holds_no_server(world).await);
    cases.add("BEGIN keeps its options", begin_keeps_its_options(world).await);
    cases.add("an error in the first statement after BEGIN", error_after_begin(world).await);
    cases.add("what ties a session to the primary", tied_to_the_primary(world).await);
    cases.add("a session's settings hold on each node", settings_hold_on_each_node(world).await);
    cases.add("hints", hints(world).await);
    cases.add("SET pgweir.role", set_role(world).await);
    cases.add("SET pgweir.role, extended", set_role_extended(world).await);
    cases.add("what is set wrongly", set_wrongly(world).await);
    cases.add("the startup packet's role", startup_role(world).await);
    cases.add("a listener's role", listener_role(world).await);
    cases.add("route.role of a database", database_roles(world).await);
    cases.add("observing", observing(world).await);
    cases.add("reads_on_primary: always", reads_on_primary(world).await);
    cases.add("round robin", round_robin(world).await);
    cases.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_and_go() {
    let mut world = World::start().await.expect("a cluster and pgweir");
    let mut cases = Cases::new();
    let mut idle = world.client().await.expect("a client");
    cases.same("an idle client", idle.value("SELECT count(*) FROM t").await.ok(), Some("10".to_owned()));
    cases.add(
        "a replica is killed",
        async {
            world.cluster.kill(1)?;
            reads_come_from(&world, "the other replica", &["us-3"]).await
        }
        .await,
    );
    cases.add(
        "the other one too",
        async {
            world.cluster.stop(2, Mode::Fast)?;
            reads_come_from(&world, "the primary", &["us-1"]).await?;
            let mut never = world.of("never_primary").await?;
            refused(&mut never, "SELECT 1", "57P03").await
        }
        .await,
    );
    cases.add(
        "replicas come back",
        async {
            world.cluster.start(1)?;
            reads_come_from(&world, "the first", &["us-2"]).await?;
            world.cluster.start(2)?;
            reads_come_from(&world, "both", &["us-2", "us-3"]).await
        }
        .await,
    );
    cases.add(
        "the primary is killed, a replica promoted",
        async {
            world.cluster.wait_all_caught_up()?;
            world.cluster.kill(0)?;
            world.cluster.promote(1)?;
            let insert = "INSERT INTO log (what) VALUES ('after') RETURNING inet_server_port()";
            let mut client = world.client().await?;
            let mut frames = client.query(insert).await?;
            // While its end isn't known yet, what was sent to the old primary fails.
            if first_error(&frames).is_some() {
                frames = eventually(
                    "a write",
                    async || match world.client().await {
                        Ok(mut client) => client.query(insert).await.unwrap_or_default(),
                        Err(_) => Vec::new(),
                    },
                    |frames| tags(frames) == "TDCZ",
                )
                .await?;
            }
            let node = world.node(&rows(&frames)[0][0].clone().unwrap_or_default());
            ensure(node == "us-2", || format!("written on {node}"))
        }
        .await,
    );
    cases.add(
        "who was idle sees no error",
        async {
            let node = world
                .answered(&mut idle, "INSERT INTO log (what) VALUES ('idle') RETURNING inet_server_port()")
                .await?;
            ensure(node == "us-2", || format!("written on {node}"))
        }
        .await,
    );
    cases.add(
        "the last replica follows the new primary",
        async {
            world.cluster.follow(2, 1)?;
            reads_come_from(&world, "the replica", &["us-3"]).await
        }
        .await,
    );
    cases.add(
        "a node is down at the start",
        async {
            world.pgweir.kill();
            world.pgweir = Pgweir::start(&world.setup).await?;
            let mut client = world.client().await?;
            let node = world
                .answered(&mut client, "INSERT INTO log (what) VALUES ('anew') RETURNING inet_server_port()")
                .await?;
            ensure(node == "us-2", || format!("written on {node}"))?;
            reads_come_from(&world, "the replica", &["us-3"]).await
        }
        .await,
    );
    cases.add(
        "the old primary comes back as a replica",
        async {
            world.cluster.follow(0, 1)?;
            reads_come_from(&world, "both replicas", &["us-1", "us-3"]).await?;
            let mut client = world.client().await?;
            let node = world.answered(&mut client, "DELETE FROM log RETURNING inet_server_port()").await?;
            ensure(node == "us-2", || format!("written on {node}"))
        }
        .await,
    );
    cases.add(
        "a switchover is a pause",
        async {
            let mut clients = vec![world.client().await?, world.client().await?];
            for client in &mut clients {
                client.rows("SELECT 1 FROM t FOR UPDATE").await?;
            }
            world.cluster.wait_all_caught_up()?;
            world.cluster.stop(1, Mode::Fast)?;
            // There is no primary now: what writes waits, one in a transaction and one alone.
            clients[0]
                .send(
                    Script::new()
                        .query("INSERT INTO log (what) VALUES ('waited') RETURNING inet_server_port()")
                        .bytes(),
                )
                .await?;
            clients[1].rows("BEGIN").await?;
            clients[1]
                .send(
                    Script::new()
                        .run("INSERT INTO log (what) VALUES ('waited') RETURNING inet_server_port()", &[])
                        .sync()
                        .bytes(),
                )
                .await?;
            let mut reader = world.client().await?;
            let node = world.answered(&mut reader, "SELECT inet_server_port()").await?;
            ensure(node != "us-2", || format!("read from {node}, which is down"))?;
            world.cluster.promote(0)?;
            for client in &mut clients {
                let frames = client.read_until_ready().await?;
                ensure(first_error(&frames).is_none(), || format!("{frames:?}"))?;
                let node = world.node(&rows(&frames)[0][0].clone().unwrap_or_default());
                ensure(node == "us-1", || format!("written on {node}"))?;
            }
            clients[1].rows("COMMIT").await?;
            let kept = world.cluster.psql(0, "app", "SELECT count(*) FROM log WHERE what = 'waited'")?;
            ensure(kept == "2", || format!("{kept} of 2 writes are there"))
        }
        .await,
    );
    cases.finish();
}
