//! COPY, in both protocols.

use testkit::Script;

use crate::case::Case;

const LOG: &str = "SELECT * FROM log";
const IN: &str = "COPY log FROM STDIN";
const OUT: &str = "COPY (SELECT id, name, note FROM items ORDER BY id) TO STDOUT";

fn s() -> Script {
    Script::new()
}

/// A COPY from the client has been asked for, and the server is ready for data.
fn copying(name: &'static str) -> Case {
    Case::new(name).until(s().query(IN), b'G', 1)
}

/// The same in the extended protocol, without Sync.
fn copying_extended(name: &'static str) -> Case {
    Case::new(name).until(s().run(IN, &[]).flush(), b'G', 1)
}

pub(crate) fn cases() -> Vec<Case> {
    [simple(), extended(), failing()].into_iter().flatten().collect()
}

fn simple() -> Vec<Case> {
    vec![
        Case::new("COPY OUT").query(OUT).query("COPY items TO STDOUT (FORMAT csv, HEADER)").fragmented(),
        Case::new("COPY OUT, binary")
            .query("COPY (SELECT 1::int4, NULL::text) TO STDOUT (FORMAT binary)")
            .fragmented(),
        Case::new("COPY OUT of nothing").query("COPY log TO STDOUT"),
        Case::new("COPY OUT of much")
            .query("COPY (SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i) TO STDOUT"),
        Case::new("COPY OUT that fails midway")
            .query("COPY (SELECT 1 / (5 - i) FROM generate_series(1, 9) i) TO STDOUT")
            .query("SELECT 1")
            .fragmented(),
        Case::new("COPY OUT among others")
            .query("SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3; COPY (SELECT 4) TO STDOUT"),
        Case::new("COPY OUT in a transaction").query("BEGIN").query(OUT).query("COMMIT"),
        copying("COPY IN")
            .ask_for(s().copy_data(b"one\n").copy_data(b"two\nthree\n").copy_done(), 1)
            .query(LOG)
            .fragmented(),
        copying("COPY IN of nothing").ask_for(s().copy_done(), 1).query(LOG),
        copying("COPY IN in odd pieces")
            .ask_for(s().copy_data(b"o").copy_data(b"").copy_data(b"ne\nt").copy_data(b"wo\n").copy_done(), 1)
            .query(LOG),
        copying("COPY IN, ended as of old").ask_for(s().copy_data(b"one\n\\.\n").copy_done(), 1).query(LOG),
        copying("COPY IN, without a last newline")
            .ask_for(s().copy_data(b"one\ntwo").copy_done(), 1)
            .query(LOG),
        Case::new("COPY IN, all in one segment")
            .ask_for(s().query(IN).copy_data(b"one\n").copy_done().query(LOG), 2)
            .fragmented(),
        Case::new("COPY IN of much")
            .until(s().query(IN), b'G', 1)
            .ask_for(
                s().copy_data(&b"a line of some length\n".repeat(50_000)).copy_data(b"end\n").copy_done(),
                1,
            )
            .query("SELECT count(*), min(line), max(line) FROM log"),
        Case::new("COPY IN in a transaction")
            .query("BEGIN")
            .until(s().query(IN), b'G', 1)
            .ask_for(s().copy_data(b"one\n").copy_done(), 1)
            .query(LOG)
            .query("ROLLBACK")
            .query(LOG)
            .fragmented(),
        Case::new("COPY IN twice in one Query")
            .until(s().query("COPY log FROM STDIN; SELECT 1; COPY log FROM STDIN; SELECT 2"), b'G', 1)
            .until(s().copy_data(b"one\n").copy_done(), b'G', 1)
            .ask_for(s().copy_data(b"two\n").copy_done(), 1)
            .query(LOG)
            .fragmented(),
        Case::new("COPY IN, then OUT in one Query")
            .until(s().query("COPY log FROM STDIN; COPY log TO STDOUT"), b'G', 1)
            .ask_for(s().copy_data(b"one\n").copy_done(), 1),
        copying("Sync and Flush in COPY IN are ignored")
            .ask_for(s().copy_data(b"one\n").flush().sync().sync().copy_data(b"two\n").copy_done(), 1)
            .query(LOG),
        Case::new("COPY to a file").query("COPY log TO '/nowhere'"),
        Case::new("COPY of an unknown table")
            .query("COPY no_such_table FROM STDIN")
            .query("COPY no_such_table TO STDOUT"),
    ]
}

fn extended() -> Vec<Case> {
    vec![
        Case::new("COPY OUT, extended").ask(s().run(OUT, &[]).sync()).fragmented(),
        Case::new("COPY OUT in a pipeline")
            .ask(s().run("SELECT 1", &[]).run(OUT, &[]).run("SELECT 2", &[]).sync())
            .fragmented(),
        Case::new("COPY OUT of a named statement")
            .ask(
                s().parse("out", OUT, &[])
                    .describe_statement("out")
                    .bind("", "out", &[])
                    .execute("", 0)
                    .sync(),
            )
            .ask(s().bind("", "out", &[]).execute("", 0).sync()),
        copying_extended("COPY IN, extended")
            .ask_for(s().copy_data(b"one\n").copy_done().sync(), 1)
            .query(LOG)
            .fragmented(),
        copying_extended("COPY IN, extended, with another statement behind it")
            .ask_for(s().copy_data(b"one\n").copy_done().run(LOG, &[]).sync(), 1)
            .query(LOG),
        copying_extended("COPY IN, extended, Sync later")
            .until(s().copy_data(b"one\n").copy_done().flush(), b'C', 1)
            .ask(s().sync())
            .query(LOG),
        Case::new("COPY IN, extended, its Sync sent early is ignored")
            .until(s().run(IN, &[]).sync(), b'G', 1)
            .until(s().copy_data(b"one\n").copy_done().flush(), b'C', 1)
            .ask(s().sync())
            .query(LOG)
            .fragmented(),
        Case::new("COPY IN, extended, Sync early and late in one segment")
            .ask_for(s().run(IN, &[]).sync().copy_data(b"one\n").copy_done().sync(), 1)
            .query(LOG)
            .fragmented(),
        Case::new("COPY IN, extended, in a transaction")
            .query("BEGIN")
            .until(s().run(IN, &[]).sync(), b'G', 1)
            .ask_for(s().copy_data(b"one\n").copy_done().sync(), 1)
            .query("COMMIT")
            .query(LOG),
        Case::new("COPY IN, extended, in one pipeline with others")
            .ask_for(
                s().run("SELECT 1", &[]).run(IN, &[]).copy_data(b"one\n").copy_done().run(LOG, &[]).sync(),
                1,
            )
            .fragmented(),
        Case::new("COPY IN of a named statement")
            .ask(s().parse("in", IN, &[]).sync())
            .until(s().bind("", "in", &[]).execute("", 0).flush(), b'G', 1)
            .ask_for(s().copy_data(b"one\n").copy_done().sync(), 1)
            .query(LOG),
    ]
}

fn failing() -> Vec<Case> {
    vec![
        Case::new("COPY IN of bad data")
            .until(s().query("COPY items FROM STDIN"), b'G', 1)
            .ask_for(s().copy_data(b"11\tnew\t1\t\\N\nnot a number\tx\t1\tx\n").copy_done(), 1)
            .query("SELECT count(*) FROM items")
            .fragmented(),
        Case::new("COPY IN of bad data, more is on its way")
            .until(s().query("COPY items FROM STDIN"), b'G', 1)
            .ask_for(
                s().copy_data(b"bad\n").copy_data(&b"worse\n".repeat(50_000)).copy_data(b"x").copy_done(),
                1,
            )
            .query("SELECT count(*) FROM items"),
        Case::new("COPY IN of bad data, more comes later")
            .until(s().query("COPY items FROM STDIN"), b'G', 1)
            .ask_for(s().copy_data(b"bad\n"), 1)
            .send(s().copy_data(b"worse\n"))
            .send(s().copy_data(b"still\n").copy_done())
            .query("SELECT count(*) FROM items")
            .fragmented(),
        Case::new("COPY IN of bad data in a transaction")
            .query("BEGIN")
            .until(s().query("COPY items FROM STDIN"), b'G', 1)
            .ask_for(s().copy_data(b"bad\n").copy_done(), 1)
            .query("SELECT 1")
            .query("ROLLBACK"),
        Case::new("COPY IN of bad data, more comes later in a transaction")
            .query("BEGIN")
            .query("SAVEPOINT s")
            .until(s().query("COPY items FROM STDIN"), b'G', 1)
            .ask_for(s().copy_data(b"bad\n"), 1)
            .send(s().copy_data(b"worse\n"))
            .send(s().copy_done())
            .query("ROLLBACK TO s")
            .query("COMMIT"),
        Case::new("COPY IN that breaks a constraint")
            .until(s().query("COPY items FROM STDIN"), b'G', 1)
            .ask_for(s().copy_data(b"1\tagain\t1\t\\N\n").copy_done(), 1),
        copying("CopyFail")
            .ask_for(s().copy_data(b"one\n").copy_fail("changed my mind"), 1)
            .query(LOG)
            .fragmented(),
        Case::new("CopyFail in a transaction")
            .query("BEGIN")
            .until(s().query(IN), b'G', 1)
            .ask_for(s().copy_data(b"one\n").copy_fail("no"), 1)
            .query(LOG)
            .query("ROLLBACK"),
        copying_extended("CopyFail, extended")
            .ask_for(s().copy_data(b"one\n").copy_fail("no").sync(), 1)
            .query(LOG)
            .fragmented(),
        copying_extended("CopyFail, extended, Sync later")
            .until(s().copy_fail("no"), b'E', 1)
            .send(s().run(LOG, &[]))
            .ask(s().sync())
            .query(LOG),
        Case::new("COPY IN of bad data, extended")
            .until(s().run("COPY items FROM STDIN", &[]).flush(), b'G', 1)
            .ask_for(s().copy_data(b"bad\n").copy_done().sync(), 1)
            .query("SELECT count(*) FROM items")
            .fragmented(),
        Case::new("COPY IN of bad data, extended, more comes later")
            .until(s().run("COPY items FROM STDIN", &[]).flush(), b'G', 1)
            .until(s().copy_data(b"bad\n"), b'E', 1)
            .send(s().copy_data(b"worse\n"))
            .send(s().copy_done().run(LOG, &[]))
            .ask(s().sync())
            .query("SELECT 1"),
        Case::new("COPY IN of bad data in a pipeline with others").ask_for(
            s().run("COPY items FROM STDIN", &[])
                .copy_data(b"bad\n")
                .copy_done()
                .run(LOG, &[])
                .sync()
                .run(LOG, &[])
                .sync(),
            2,
        ),
        Case::new("COPY IN of bad data, extended, its Sync sent early")
            .until(s().run("COPY items FROM STDIN", &[]).sync(), b'G', 1)
            .until(s().copy_data(b"bad\n").copy_done(), b'E', 1)
            .ask(s().sync())
            .query("SELECT 1"),
        copying("Query during COPY IN").ends_with(s().copy_data(b"one\n").query("SELECT 1")),
        Case::new("Query during COPY IN in a transaction")
            .query("BEGIN")
            .until(s().query(IN), b'G', 1)
            .ends_with(s().query("SELECT 1")),
        copying("Parse during COPY IN").ends_with(s().parse("", "SELECT 1", &[]).sync()),
        copying("Bind during COPY IN").ends_with(s().bind("", "", &[]).sync()),
        copying_extended("Query during COPY IN, extended").ends_with(s().query("SELECT 1")),
        copying("FunctionCall during COPY IN").ends_with(s().function_call(1574, &[])),
        copying("Terminate during COPY IN").send(s().copy_data(b"one\n").terminate()).vanishes(),
        copying("gone during COPY IN").send(s().copy_data(b"one\n")).vanishes(),
        Case::new("COPY messages outside of a COPY are ignored")
            .ask(s().copy_data(b"x").copy_done().copy_fail("y").query("SELECT 1"))
            .ask(s().copy_data(b"x").sync())
            .query("BEGIN")
            .ask(s().copy_data(b"x").copy_done().copy_fail("y").query("SELECT 1"))
            .query("COMMIT")
            .fragmented(),
        Case::new("COPY messages in the middle of a pipeline").ask(
            s().parse("", "SELECT 1", &[])
                .copy_data(b"x")
                .bind("", "", &[])
                .copy_done()
                .execute("", 0)
                .copy_fail("y")
                .sync(),
        ),
        Case::new("COPY messages behind an error")
            .ask(s().run("SELECT 1/0", &[]).copy_data(b"x").copy_done().sync())
            .query("SELECT 1"),
    ]
}
