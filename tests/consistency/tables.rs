//! Tables that are written by way of others, or read so: while no replica replays, each write is seen by the next read.

use pgweir_tests::Outcome;
use testkit::{Script, first_error, rows};

use crate::world::{World, ensure};

/// Name, a write, and a read that must see it.
pub(crate) const CASES: [(&str, &str, &str); 19] = [
    ("an update", "UPDATE t SET v = v + 1 WHERE id = 9", "SELECT v FROM t WHERE id = 9"),
    ("through a view", "UPDATE t SET v = v + 1 WHERE id = 9", "TABLE sums"),
    (
        "a CTE that writes",
        "WITH x AS (INSERT INTO log VALUES ('c') RETURNING 1) TABLE x",
        "SELECT count(*) FROM log",
    ),
    ("a partition, by its parent", "INSERT INTO parts_low VALUES (1)", "SELECT count(*) FROM parts"),
    ("a parent, by its partition", "INSERT INTO parts VALUES (150)", "SELECT count(*) FROM parts_high"),
    ("a child, by its parent", "INSERT INTO child VALUES (1)", "SELECT count(*) FROM parent"),
    ("a child, by a view of its parent", "INSERT INTO child VALUES (1)", "SELECT count(*) FROM plain"),
    ("a view that can be written", "INSERT INTO plain VALUES (1)", "SELECT count(*) FROM ONLY parent"),
    (
        "a foreign key that cascades",
        "DELETE FROM orders WHERE id = (SELECT min(id) FROM orders)",
        "SELECT count(*) FROM lines",
    ),
    ("a trigger", "INSERT INTO audited VALUES (1)", "SELECT count(*) FROM log"),
    ("a function that writes", "SELECT note('x')", "SELECT count(*) FROM log"),
    ("a function that reads", "INSERT INTO log VALUES ('x')", "SELECT noted()"),
    ("a procedure", "CALL enter('x')", "TABLE logs"),
    ("DO", "DO $$ BEGIN INSERT INTO log VALUES ('do'); END $$", "SELECT count(*) FROM log"),
    ("several statements", "INSERT INTO log VALUES ('1'); UPDATE t SET v = v + 1", "SELECT sum(v) FROM t"),
    ("SQL's PREPARE", "PREPARE p AS UPDATE t SET v = v + 1; EXECUTE p; DEALLOCATE p", "SELECT sum(v) FROM t"),
    (
        "a two-phase commit",
        "BEGIN; INSERT INTO log VALUES ('2'); PREPARE TRANSACTION 'x'; COMMIT PREPARED 'x'",
        "SELECT count(*) FROM log",
    ),
    ("TRUNCATE", "TRUNCATE audited", "SELECT count(*) FROM audited"),
    ("a new table", "CREATE TABLE IF NOT EXISTS new AS SELECT 1 AS n", "SELECT count(*) FROM new"),
];

/// Each statement of `write` by itself, and what the read says through pgweir and on the primary.
pub(crate) async fn written_and_read(world: &World, write: &str, read: &str) -> Outcome {
    let (mut writer, mut reader) = (world.client().await?, world.client().await?);
    // Its statement is known, and its connection.
    world.until_seen(&mut reader, read).await?;
    world.halt()?;
    let statements: Vec<&str> =
        if write.starts_with("DO") || write.starts_with("INSERT INTO log VALUES ('1')") {
            vec![write]
        } else {
            write.split("; ").collect()
        };
    for statement in statements {
        let error = first_error(&writer.query(statement).await?);
        ensure(error.is_none(), || format!("{statement}: {error:?}"))?;
    }
    world.same_as_primary(&mut reader, read).await?;
    world.go_on()
}

pub(crate) async fn copied(world: &World) -> Outcome {
    const READ: &str = "SELECT count(*) FROM log";
    let (mut writer, mut reader) = (world.client().await?, world.client().await?);
    world.halt()?;
    let copy = Script::new().query("COPY log FROM STDIN").copy_data(b"a\nb\n").copy_done();
    let error = first_error(&writer.run(&copy).await?);
    ensure(error.is_none(), || format!("{error:?}"))?;
    world.same_as_primary(&mut reader, READ).await?;
    world.go_on()
}

pub(crate) async fn pipelined(world: &World) -> Outcome {
    let (mut writer, mut reader) = (world.client().await?, world.client().await?);
    world.halt()?;
    let both = Script::new()
        .run("INSERT INTO log VALUES ($1)", &[Some("p")])
        .sync()
        .run("UPDATE t SET v = v + $1 WHERE id = 10", &[Some("1")])
        .sync();
    let error = first_error(&writer.run(&both).await?);
    ensure(error.is_none(), || format!("{error:?}"))?;
    for read in ["SELECT count(*) FROM log", "SELECT v FROM t WHERE id = 10"] {
        world.same_as_primary(&mut reader, read).await?;
        let extended = rows(&reader.run(&Script::new().run(read, &[]).sync()).await?);
        let direct = world.directly(read)?;
        ensure(extended == [[Some(direct.clone())]], || format!("{read}: {extended:?}, not {direct}"))?;
    }
    world.go_on()
}

/// All of a transaction is seen once it is committed, and none of it before.
pub(crate) async fn in_a_transaction(world: &World) -> Outcome {
    let (mut writer, mut reader) = (world.client().await?, world.client().await?);
    let reads = ["SELECT count(*) FROM log", "SELECT v FROM t WHERE id = 11", "SELECT count(*) FROM parts"];
    let mut before = Vec::new();
    for read in reads {
        world.until_on_replica(&mut reader, read).await?;
        before.push(reader.value(read).await?);
    }
    world.halt()?;
    for statement in ["BEGIN", "INSERT INTO log VALUES ('t')", "UPDATE t SET v = v + 1 WHERE id = 11"] {
        writer.query(statement).await?;
    }
    for (read, before) in reads.into_iter().zip(&before) {
        let found = reader.value(read).await?;
        ensure(found == *before && world.on_replica(&mut reader).await?, || format!("{read}: {found}"))?;
    }
    for statement in ["INSERT INTO parts VALUES (2)", "COMMIT"] {
        writer.query(statement).await?;
    }
    for read in reads {
        world.same_as_primary(&mut reader, read).await?;
    }
    world.go_on()
}

/// What was written elsewhere keeps no read from a replica.
pub(crate) async fn not_written(world: &World) -> Outcome {
    const READ: &str = "SELECT count(*) FROM fixed";
    let (mut writer, mut reader) = (world.client().await?, world.client().await?);
    world.until_on_replica(&mut reader, READ).await?;
    world.halt()?;
    for n in 1..=20 {
        writer.query(&format!("UPDATE t SET v = {n} WHERE id = 12")).await?;
        reader.query(READ).await?;
        ensure(world.on_replica(&mut reader).await?, || "it went to the primary".into())?;
    }
    world.go_on()
}

impl World {
    async fn until_seen(&self, client: &mut testkit::Client, read: &str) -> Outcome {
        client.query(read).await?;
        Ok(())
    }

    fn directly(&self, read: &str) -> Result<String, Box<dyn std::error::Error>> {
        let primary = self.cluster.primary().index();
        Ok(self.cluster.psql_as(primary, "app", "app", read)?.trim().to_owned())
    }

    async fn same_as_primary(&self, client: &mut testkit::Client, read: &str) -> Outcome {
        let (found, direct) = (client.value(read).await?, self.directly(read)?);
        let route = self.route(client).await?;
        ensure(found == direct, || format!("{read}: {found}, not {direct}; {route:?}"))
    }
}
