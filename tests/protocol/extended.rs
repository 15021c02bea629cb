//! The extended protocol: statements, portals, Flush, pipelines.

use testkit::Script;

use crate::case::Case;

const A: &str = "INSERT INTO log VALUES ('a')";
const B: &str = "INSERT INTO log VALUES ('b')";
const LOG: &str = "SELECT * FROM log";
const FAIL: &str = "SELECT 1/0";
const ITEM: &str = "SELECT id, name FROM items WHERE id = $1";
const ITEMS: &str = "SELECT id FROM items ORDER BY id";
const INT4: u32 = 23;
const TEXT: u32 = 25;

fn s() -> Script {
    Script::new()
}

/// A pipeline, all of it in one segment.
fn pipeline(name: &'static str, script: Script) -> Case {
    Case::new(name).ask(script).fragmented()
}

/// The same, too long to be sent byte by byte.
fn whole(name: &'static str, script: Script) -> Case {
    Case::new(name).ask(script)
}

pub(crate) fn cases() -> Vec<Case> {
    [unnamed(), named(), portals(), flushes(), pipelines(), errors(), values()]
        .into_iter()
        .flatten()
        .collect()
}

fn unnamed() -> Vec<Case> {
    vec![
        pipeline("unnamed", s().run(ITEM, &[Some("1")]).sync()),
        pipeline(
            "unnamed, no Describe",
            s().parse("", ITEM, &[INT4]).bind("", "", &[Some("2")]).execute("", 0).sync(),
        ),
        pipeline("unnamed, no parameters", s().run(ITEMS, &[]).sync()),
        pipeline("unnamed, empty text", s().run("", &[]).sync().run(" ; -- x", &[]).sync()),
        pipeline(
            "unnamed, writes",
            s().run(A, &[]).sync().run("UPDATE items SET price = $1 RETURNING id", &[Some("1")]).sync(),
        ),
        Case::new("unnamed, used again after Sync")
            .ask(s().parse("", ITEM, &[]).sync())
            .ask(s().describe_statement("").sync())
            .ask(s().bind("", "", &[Some("3")]).execute("", 0).sync())
            .ask(s().bind("", "", &[Some("4")]).execute("", 0).sync())
            .fragmented(),
        Case::new("unnamed, gone after a Query")
            .ask(s().parse("", ITEM, &[]).sync())
            .query("SELECT 1")
            .ask(s().bind("", "", &[Some("3")]).execute("", 0).sync()),
        Case::new("unnamed, gone after an empty Query")
            .ask(s().parse("", ITEM, &[]).sync())
            .query("")
            .ask(s().describe_statement("").sync()),
        Case::new("unnamed, after a parse error of another")
            .ask(s().parse("", ITEM, &[]).sync())
            .ask(s().parse("", "SELEC 1", &[]).sync())
            .ask(s().bind("", "", &[Some("3")]).execute("", 0).sync()),
        Case::new("unnamed, closed")
            .ask(s().parse("", ITEM, &[]).close_statement("").sync())
            .ask(s().bind("", "", &[Some("3")]).execute("", 0).sync()),
        Case::new("unnamed, never parsed")
            .ask(s().describe_statement("").sync())
            .ask(s().bind("", "", &[]).sync()),
        Case::new("unnamed, in a transaction and after it")
            .query("BEGIN")
            .ask(s().parse("", ITEM, &[]).bind("", "", &[Some("1")]).execute("", 0).sync())
            .ask(s().run("COMMIT", &[]).sync())
            .ask(s().bind("", "", &[]).execute("", 0).sync()),
        pipeline("several statements in one Parse", s().parse("", "SELECT 1; SELECT 2", &[]).sync()),
        pipeline(
            "utility statements",
            s().run("SHOW work_mem", &[])
                .run("SET work_mem = '4MB'", &[])
                .sync()
                .run("SHOW work_mem", &[])
                .sync(),
        ),
        pipeline(
            "explain with a parameter",
            s().run("EXPLAIN (COSTS OFF) SELECT * FROM items WHERE id = $1", &[Some("1")]).sync(),
        ),
        pipeline("notice, extended", s().run("SELECT shout($1)", &[Some("hey")]).sync()),
        pipeline(
            "a setting that is reported",
            s().run("SET application_name = 'x'", &[]).sync().run("RESET application_name", &[]).sync(),
        ),
        pipeline("VACUUM, extended", s().run("VACUUM items", &[]).sync()),
        pipeline(
            "VACUUM behind another",
            s().run(A, &[]).run("VACUUM items", &[]).sync().run(LOG, &[]).sync(),
        ),
        pipeline(
            "listen and notify",
            s().run("LISTEN here", &[])
                .sync()
                .run("NOTIFY here, 'x'", &[])
                .sync()
                .run("UNLISTEN *", &[])
                .sync(),
        ),
        pipeline(
            "SQL PREPARE, extended",
            s().run("PREPARE p AS SELECT 1 AS one", &[])
                .sync()
                .run("EXECUTE p", &[])
                .sync()
                .describe_statement("p")
                .bind("", "p", &[])
                .execute("", 0)
                .sync()
                .run("DEALLOCATE p", &[])
                .sync(),
        ),
        pipeline("procedure that commits, extended", s().run("CALL note_twice($1)", &[Some("x")]).sync()),
    ]
}

fn named() -> Vec<Case> {
    vec![
        Case::new("named")
            .ask(s().parse("item", ITEM, &[]).describe_statement("item").sync())
            .ask(s().bind("", "item", &[Some("1")]).describe_portal("").execute("", 0).sync())
            .ask(s().bind("", "item", &[Some("2")]).execute("", 0).sync())
            .fragmented(),
        Case::new("named, after other work")
            .ask(s().parse("item", ITEM, &[]).sync())
            .query("SELECT 1")
            .query(A)
            .ask(s().bind("", "item", &[Some("2")]).execute("", 0).sync()),
        Case::new("named, the same text under two names")
            .ask(s().parse("one", ITEM, &[]).parse("two", ITEM, &[]).sync())
            .ask(
                s().bind("", "one", &[Some("1")])
                    .execute("", 0)
                    .bind("", "two", &[Some("2")])
                    .execute("", 0)
                    .sync(),
            )
            .ask(s().close_statement("one").bind("", "two", &[Some("3")]).execute("", 0).sync())
            .ask(s().bind("", "one", &[Some("1")]).execute("", 0).sync()),
        Case::new("named, the same text with other types")
            .ask(s().parse("one", "SELECT $1", &[INT4]).describe_statement("one").sync())
            .ask(s().parse("two", "SELECT $1", &[TEXT]).describe_statement("two").sync())
            .ask(
                s().bind("", "one", &[Some("1")])
                    .execute("", 0)
                    .bind("", "two", &[Some("x")])
                    .execute("", 0)
                    .sync(),
            ),
        Case::new("duplicate name")
            .ask(s().parse("item", ITEM, &[]).sync())
            .ask(s().parse("item", LOG, &[]).sync())
            .ask(s().bind("", "item", &[Some("2")]).execute("", 0).sync())
            .fragmented(),
        Case::new("duplicate name in one pipeline")
            .ask(
                s().parse("item", ITEM, &[])
                    .parse("item", ITEM, &[])
                    .bind("", "item", &[Some("2")])
                    .execute("", 0)
                    .sync(),
            )
            .ask(s().bind("", "item", &[Some("2")]).execute("", 0).sync()),
        Case::new("duplicate name in a transaction")
            .query("BEGIN")
            .query(A)
            .ask(s().parse("item", ITEM, &[]).sync())
            .ask(s().parse("item", ITEM, &[]).sync())
            .query(LOG)
            .query("ROLLBACK")
            .ask(s().bind("", "item", &[Some("2")]).execute("", 0).sync())
            .query(LOG)
            .fragmented(),
        Case::new("duplicate name in a transaction, ROLLBACK TO")
            .query("BEGIN")
            .query(A)
            .query("SAVEPOINT s")
            .ask(s().parse("item", ITEM, &[]).parse("item", ITEM, &[]).sync())
            .query("ROLLBACK TO s")
            .query(LOG)
            .query("COMMIT")
            .query(LOG),
        Case::new("duplicate name first in a transaction")
            .ask(s().parse("item", ITEM, &[]).sync())
            .query("BEGIN")
            .ask(s().parse("item", ITEM, &[]).sync())
            .query("SELECT 1")
            .query("COMMIT"),
        Case::new("a name freed and given again")
            .ask(
                s().parse("item", ITEM, &[])
                    .close_statement("item")
                    .parse("item", LOG, &[])
                    .describe_statement("item")
                    .sync(),
            )
            .ask(s().bind("", "item", &[]).execute("", 0).sync())
            .fragmented(),
        Case::new("a name whose Parse failed is free")
            .ask(s().parse("item", "SELEC 1", &[]).sync())
            .ask(s().parse("item", "SELECT * FROM no_such_table", &[]).sync())
            .ask(s().parse("item", ITEM, &[]).sync())
            .ask(s().bind("", "item", &[Some("1")]).execute("", 0).sync()),
        Case::new("a name whose Parse was skipped is free")
            .ask(s().parse("", "SELEC 1", &[]).parse("item", ITEM, &[]).sync())
            .ask(s().bind("", "item", &[Some("1")]).execute("", 0).sync())
            .ask(s().parse("item", LOG, &[]).bind("", "item", &[]).execute("", 0).sync()),
        Case::new("a Close that was skipped")
            .ask(s().parse("item", ITEM, &[]).sync())
            .ask(s().parse("", "SELEC 1", &[]).close_statement("item").sync())
            .ask(s().bind("", "item", &[Some("1")]).execute("", 0).sync()),
        Case::new("Parse survives ROLLBACK")
            .query("BEGIN")
            .ask(s().parse("item", ITEM, &[]).sync())
            .query("ROLLBACK")
            .ask(s().bind("", "item", &[Some("1")]).execute("", 0).sync()),
        Case::new("Close of unknown names").ask(
            s().close_statement("nobody").close_portal("nobody").close_statement("").close_portal("").sync(),
        ),
        Case::new("Describe of unknown names")
            .ask(s().describe_statement("nobody").sync())
            .ask(s().describe_portal("nobody").sync())
            .ask(s().describe_portal("").sync()),
        Case::new("unknown names in a transaction")
            .query("BEGIN")
            .query(A)
            .ask(s().bind("", "nobody", &[]).execute("", 0).sync())
            .query(LOG)
            .query("ROLLBACK")
            .query("BEGIN")
            .query("SAVEPOINT s")
            .ask(s().describe_statement("nobody").sync())
            .query("ROLLBACK TO s")
            .ask(s().execute("nobody", 0).sync())
            .query("COMMIT"),
        Case::new("DEALLOCATE of a protocol-level statement")
            .ask(s().parse("item", ITEM, &[]).sync())
            .query("DEALLOCATE item")
            .ask(s().bind("", "item", &[Some("1")]).execute("", 0).sync())
            .query("DEALLOCATE item")
            .ask(s().parse("Mixed Case", ITEM, &[]).sync())
            .query("DEALLOCATE \"Mixed Case\"")
            .ask(s().describe_statement("Mixed Case").sync()),
        Case::new("DEALLOCATE ALL of protocol-level statements")
            .ask(s().parse("item", ITEM, &[]).parse("log", LOG, &[]).sync())
            .query("DEALLOCATE ALL")
            .ask(s().bind("", "item", &[Some("1")]).execute("", 0).sync())
            .ask(s().parse("item", LOG, &[]).bind("", "item", &[]).execute("", 0).sync()),
        Case::new("DEALLOCATE in a transaction")
            .ask(s().parse("item", ITEM, &[]).sync())
            .query("BEGIN")
            .query(A)
            .query("DEALLOCATE item")
            .ask(s().bind("", "item", &[Some("1")]).execute("", 0).sync())
            .query("ROLLBACK"),
        Case::new("DISCARD ALL and protocol-level statements")
            .ask(s().parse("item", ITEM, &[]).sync())
            .query("DISCARD ALL")
            .ask(s().bind("", "item", &[Some("1")]).execute("", 0).sync())
            .ask(s().parse("item", ITEM, &[]).sync()),
        Case::new("a named text that changes its result")
            .query("CREATE TABLE made (a int)")
            .query("INSERT INTO made VALUES (1)")
            .ask(s().parse("made", "SELECT count(*) FROM made", &[]).sync())
            .ask(s().bind("", "made", &[]).execute("", 0).sync())
            .query("DROP TABLE made")
            .ask(s().bind("", "made", &[]).execute("", 0).sync()),
        Case::new("a cached plan that must not change its result")
            .query("CREATE TABLE made (a int)")
            .ask(s().parse("made", "SELECT * FROM made", &[]).sync())
            .query("ALTER TABLE made ADD b int")
            .ask(s().bind("", "made", &[]).execute("", 0).sync()),
        Case::new("a long name").ask(s().parse(&"n".repeat(1000), ITEM, &[]).sync()).ask(
            s().bind(&"p".repeat(500), &"n".repeat(1000), &[Some("1")]).execute(&"p".repeat(500), 0).sync(),
        ),
        Case::new("names of another alphabet")
            .ask(
                s().parse("größe", ITEM, &[])
                    .bind("tür", "größe", &[Some("1")])
                    .describe_portal("tür")
                    .execute("tür", 0)
                    .close_portal("tür")
                    .sync(),
            )
            .ask(s().parse("größe", ITEM, &[]).sync()),
        Case::new("many statements")
            .ask(
                (0..300)
                    .fold(s(), |script, i| script.parse(&format!("s{i}"), &format!("SELECT {i}::int4"), &[]))
                    .sync(),
            )
            .ask(
                (0..300).fold(s(), |script, i| script.bind("", &format!("s{i}"), &[]).execute("", 0)).sync(),
            ),
    ]
}

fn portals() -> Vec<Case> {
    vec![
        pipeline(
            "row limit",
            s().parse("", ITEMS, &[]).bind("", "", &[]).execute("", 3).execute("", 3).execute("", 0).sync(),
        ),
        pipeline(
            "row limit that is reached exactly",
            s().parse("", ITEMS, &[])
                .bind("", "", &[])
                .execute("", 10)
                .execute("", 10)
                .execute("", 10)
                .sync(),
        ),
        pipeline(
            "row limit over the end",
            s().parse("", ITEMS, &[]).bind("", "", &[]).execute("", 11).execute("", 1).sync(),
        ),
        pipeline(
            "row limit and INSERT",
            s().parse("", "INSERT INTO log SELECT 'x' FROM generate_series(1, 3) RETURNING line", &[])
                .bind("", "", &[])
                .execute("", 2)
                .execute("", 2)
                .sync()
                .query(LOG),
        ),
        Case::new("a portal ends with its transaction")
            .ask(s().parse("", ITEMS, &[]).bind("p", "", &[]).execute("p", 3).sync())
            .ask(s().execute("p", 3).sync())
            .fragmented(),
        Case::new("portals live through a transaction")
            .query("BEGIN")
            .ask(s().parse("items", ITEMS, &[]).bind("one", "items", &[]).execute("one", 3).sync())
            .ask(s().bind("two", "items", &[]).execute("two", 2).sync())
            .ask(s().execute("one", 3).execute("two", 2).sync())
            .ask(s().describe_portal("one").close_portal("two").sync())
            .ask(s().execute("two", 2).sync())
            .query("ROLLBACK")
            .ask(s().execute("one", 2).sync())
            .fragmented(),
        Case::new("several portals in a pipeline")
            .ask(
                s().parse("items", ITEMS, &[])
                    .bind("one", "items", &[])
                    .bind("two", "items", &[])
                    .execute("one", 2)
                    .execute("two", 1)
                    .execute("one", 2)
                    .close_portal("one")
                    .execute("two", 0)
                    .sync(),
            )
            .fragmented(),
        Case::new("duplicate portal")
            .ask(
                s().parse("items", ITEMS, &[])
                    .bind("one", "items", &[])
                    .bind("one", "items", &[])
                    .execute("one", 2)
                    .sync(),
            )
            .ask(s().bind("", "items", &[]).bind("", "items", &[]).execute("", 2).sync()),
        Case::new("a portal of a statement that is closed").ask(
            s().parse("items", ITEMS, &[])
                .bind("one", "items", &[])
                .close_statement("items")
                .execute("one", 2)
                .sync(),
        ),
        Case::new("a portal is a cursor")
            .query("BEGIN")
            .ask(s().parse("items", ITEMS, &[]).bind("one", "items", &[]).execute("one", 2).sync())
            .query("FETCH 2 FROM one")
            .query("SELECT name, statement FROM pg_cursors ORDER BY name")
            .query("CLOSE one")
            .ask(s().execute("one", 2).sync())
            .query("ROLLBACK"),
        Case::new("a cursor is a portal")
            .query("BEGIN")
            .query("DECLARE c CURSOR FOR SELECT id FROM items ORDER BY id")
            .ask(s().describe_portal("c").execute("c", 2).execute("c", 1).close_portal("c").sync())
            .query("FETCH 1 FROM c")
            .query("ROLLBACK"),
        Case::new("the unnamed portal ends with a Query")
            .query("BEGIN")
            .ask(s().parse("items", ITEMS, &[]).bind("", "items", &[]).execute("", 2).sync())
            .query("SELECT 1")
            .ask(s().execute("", 2).sync())
            .query("ROLLBACK"),
        Case::new("Execute twice")
            .ask(s().parse("", A, &[]).bind("", "", &[]).execute("", 0).execute("", 0).sync())
            .query(LOG),
    ]
}

fn flushes() -> Vec<Case> {
    vec![
        Case::new("Flush after each message")
            .until(s().parse("item", ITEM, &[]).flush(), b'1', 1)
            .until(s().describe_statement("item").flush(), b'T', 1)
            .until(s().bind("", "item", &[Some("1")]).flush(), b'2', 1)
            .until(s().describe_portal("").flush(), b'T', 1)
            .until(s().execute("", 0).flush(), b'C', 1)
            .until(s().close_portal("").flush(), b'3', 1)
            .ask(s().sync())
            .fragmented(),
        Case::new("Flush and row limits")
            .until(s().parse("", ITEMS, &[]).bind("", "", &[]).execute("", 2).flush(), b's', 1)
            .until(s().execute("", 2).flush(), b's', 1)
            .until(s().execute("", 0).flush(), b'C', 1)
            .ask(s().sync())
            .fragmented(),
        Case::new("Flush after an error")
            .until(s().parse("", FAIL, &[]).bind("", "", &[]).execute("", 0).flush(), b'E', 1)
            .send(s().flush().parse("", "SELECT 1", &[]).flush())
            .ask(s().sync())
            .query("SELECT 2")
            .fragmented(),
        Case::new("Flush after a name that is known")
            .ask(s().parse("item", ITEM, &[]).sync())
            .until(s().parse("again", ITEM, &[]).flush(), b'1', 1)
            .until(s().describe_statement("again").flush(), b'T', 1)
            .until(s().close_statement("again").flush(), b'3', 1)
            .ask(s().sync()),
        Case::new("Flush after a duplicate name")
            .ask(s().parse("item", ITEM, &[]).sync())
            .until(s().parse("item", LOG, &[]).flush(), b'E', 1)
            .send(s().bind("", "item", &[Some("1")]).flush())
            .ask(s().sync())
            .query("SELECT 1"),
        Case::new("Flush in a transaction")
            .query("BEGIN")
            .until(s().run(A, &[]).flush(), b'C', 1)
            .until(s().run(LOG, &[]).flush(), b'C', 1)
            .ask(s().sync())
            .query("ROLLBACK")
            .query(LOG),
        Case::new("Flush alone")
            .send(s().flush().flush())
            .ask(s().flush().sync())
            .query("SELECT 1")
            .send(s().flush())
            .query("SELECT 2"),
        Case::new("Flush before Query").until(s().run(A, &[]).flush(), b'C', 1).query(LOG).ask(s().sync()),
        Case::new("a deferred error at Sync")
            .until(s().run("INSERT INTO parts (item) VALUES (999)", &[]).flush(), b'C', 1)
            .ask(s().sync())
            .query("SELECT count(*) FROM parts"),
    ]
}

fn pipelines() -> Vec<Case> {
    vec![
        pipeline("several Syncs", s().run(A, &[]).sync().run(B, &[]).sync().run(LOG, &[]).sync()),
        pipeline("Sync alone", s().sync()),
        pipeline("Sync many times", s().sync().sync().sync().run(LOG, &[]).sync().sync().sync()),
        pipeline(
            "several statements, one Sync",
            s().run(A, &[]).run(LOG, &[]).run(B, &[]).run(LOG, &[]).sync(),
        ),
        pipeline(
            "an error in the middle",
            s().run(A, &[]).sync().run(FAIL, &[]).run(B, &[]).sync().run(LOG, &[]).sync(),
        ),
        pipeline(
            "an error in the middle undoes what came before it",
            s().run(A, &[]).run(FAIL, &[]).run(B, &[]).sync().run(LOG, &[]).sync(),
        ),
        pipeline(
            "an error in each part",
            s().run(FAIL, &[])
                .sync()
                .run(FAIL, &[])
                .sync()
                .parse("", "SELEC 1", &[])
                .sync()
                .run(LOG, &[])
                .sync(),
        ),
        pipeline(
            "an unknown name in the middle",
            s().run(A, &[]).sync().bind("", "nobody", &[]).execute("", 0).sync().run(LOG, &[]).sync(),
        ),
        pipeline(
            "a duplicate name in the middle",
            s().parse("a", A, &[])
                .sync()
                .run(B, &[])
                .parse("a", A, &[])
                .run(B, &[])
                .sync()
                .run(LOG, &[])
                .sync(),
        ),
        pipeline(
            "reads and writes",
            s().run(LOG, &[]).run(A, &[]).sync().run(LOG, &[]).sync().run(B, &[]).run(LOG, &[]).sync(),
        ),
        pipeline("Query behind Sync", s().run(A, &[]).sync().query(LOG).run(B, &[]).sync().query(LOG)),
        pipeline("Query in a pipeline without Sync", s().run(A, &[]).query(LOG).sync()),
        Case::new("Query after an error without Sync is skipped")
            .ask_for(s().run(FAIL, &[]).query(LOG).run(A, &[]).sync(), 1)
            .query(LOG)
            .fragmented(),
        Case::new("Query after an error that was heard is skipped")
            .until(s().run(FAIL, &[]).flush(), b'E', 1)
            .send(s().query(A))
            .send(s().function_call(871, &[Some("x")]).run(A, &[]))
            .ask_for(s().sync(), 1)
            .query(LOG),
        pipeline(
            "Query after Parse alone",
            s().parse("item", ITEM, &[]).query(LOG).bind("", "item", &[Some("1")]).execute("", 0).sync(),
        ),
        pipeline(
            "named and unnamed in turn",
            s().parse("a", A, &[])
                .parse("", LOG, &[])
                .bind("", "a", &[])
                .execute("", 0)
                .bind("", "", &[])
                .execute("", 0)
                .bind("", "a", &[])
                .execute("", 0)
                .bind("", "", &[])
                .execute("", 0)
                .sync(),
        ),
        pipeline(
            "transactions in a pipeline",
            s().run("BEGIN", &[])
                .sync()
                .run(A, &[])
                .sync()
                .run(FAIL, &[])
                .sync()
                .run(LOG, &[])
                .sync()
                .run("ROLLBACK", &[])
                .sync()
                .run(LOG, &[])
                .sync(),
        ),
        pipeline(
            "simple transactions and pipelines",
            s().query("BEGIN").run(A, &[]).sync().run(LOG, &[]).sync().query("COMMIT").run(LOG, &[]).sync(),
        ),
        whole(
            "a long pipeline",
            (0..500)
                .fold(s(), |script, i| {
                    let script = script
                        .parse("", "SELECT $1::int4", &[])
                        .bind("", "", &[Some(&i.to_string())])
                        .execute("", 0);
                    if i % 7 == 0 { script.sync() } else { script }
                })
                .sync(),
        ),
        whole(
            "a pipeline longer than 64 kB",
            (0..40)
                .fold(s(), |script, _| {
                    script
                        .parse("", "INSERT INTO log SELECT length($1::text)", &[])
                        .bind("", "", &[Some(&"x".repeat(5000))])
                        .execute("", 0)
                })
                .sync()
                .run(LOG, &[])
                .sync(),
        ),
        Case::new("a pipeline in pieces")
            .send(s().parse("item", ITEM, &[]))
            .send(s().bind("", "item", &[Some("1")]))
            .send(s().execute("", 0))
            .ask(s().sync()),
    ]
}

fn errors() -> Vec<Case> {
    vec![
        pipeline(
            "error in Parse",
            s().parse("", "SELECT FORM items", &[]).bind("", "", &[]).execute("", 0).sync(),
        ),
        pipeline(
            "error in Bind",
            s().parse("", ITEM, &[INT4]).bind("", "", &[Some("x")]).execute("", 0).sync(),
        ),
        pipeline("error in Execute", s().run(FAIL, &[]).sync()),
        pipeline(
            "error in Bind of a named statement",
            s().parse("item", ITEM, &[INT4]).bind("", "item", &[Some("x")]).execute("", 0).sync(),
        ),
        pipeline("too few parameters", s().parse("", ITEM, &[]).bind("", "", &[]).execute("", 0).sync()),
        pipeline(
            "too many parameters",
            s().parse("", ITEM, &[]).bind("", "", &[Some("1"), Some("2")]).execute("", 0).sync(),
        ),
        pipeline(
            "too few parameters of a named statement",
            s().parse("item", ITEM, &[]).bind("", "item", &[]).execute("", 0).sync(),
        ),
        pipeline(
            "too many result formats",
            s().parse("", ITEM, &[]).bind_as("", "", &[], &[Some(b"1")], &[0, 0, 0]).execute("", 0).sync(),
        ),
        pipeline(
            "a wrong format count",
            s().parse("", "SELECT $1::int4, $2::int4, $3::int4", &[])
                .bind_as("", "", &[0, 1], &[Some(b"1"), Some(b"2"), Some(b"3")], &[])
                .execute("", 0)
                .sync(),
        ),
        pipeline(
            "an unknown format",
            s().parse("", ITEM, &[INT4]).bind_as("", "", &[7], &[Some(b"1")], &[]).execute("", 0).sync(),
        ),
        pipeline(
            "an unknown format of results",
            s().parse("", ITEM, &[INT4]).bind_as("", "", &[], &[Some(b"1")], &[9]).execute("", 0).sync(),
        ),
        pipeline(
            "a binary value of the wrong length",
            s().parse("", ITEM, &[INT4]).bind_as("", "", &[1], &[Some(b"123")], &[]).execute("", 0).sync(),
        ),
        pipeline("an unknown type", s().parse("", "SELECT $1", &[999_999]).sync()),
        pipeline(
            "types that can't be found out",
            s().parse("", "SELECT $1 + $2", &[]).describe_statement("").sync(),
        ),
        pipeline(
            "a parameter with a gap",
            s().parse("", "SELECT $2::int", &[]).describe_statement("").sync(),
        ),
        pipeline(
            "rows then an error",
            s().run("SELECT 1 / (5 - i) FROM generate_series(1, 9) i", &[]).sync(),
        ),
        pipeline("an error of its own", s().run("SELECT fail($1)", &[Some("x")]).sync()),
        Case::new("errors of all messages in a transaction")
            .query("BEGIN")
            .query(A)
            .query("SAVEPOINT s")
            .ask(s().parse("", "SELEC 1", &[]).sync())
            .query("ROLLBACK TO s")
            .ask(s().parse("", ITEM, &[INT4]).bind("", "", &[Some("x")]).sync())
            .query("ROLLBACK TO s")
            .ask(s().run(FAIL, &[]).sync())
            .query("ROLLBACK TO s")
            .query("COMMIT")
            .query(LOG),
    ]
}

fn values() -> Vec<Case> {
    let many = |count: usize| {
        let sum: Vec<_> = (1..=count).map(|i| format!("${i}::int4")).collect();
        // A flat list, so that the server's parser needs no stack for it.
        let text = format!("SELECT count(*), sum(v) FROM unnest(ARRAY[{}]) v", sum.join(","));
        s().parse("", &text, &[]).bind("", "", &vec![Some("1"); count]).execute("", 0).sync()
    };
    vec![
        pipeline("binary parameter and result", s().parse("", ITEM, &[INT4])
            .bind_as("", "", &[1], &[Some(&3_i32.to_be_bytes())], &[1]).describe_portal("").execute("", 0).sync()),
        pipeline("mixed formats", s().parse("", "SELECT $1::int4, $2::text, $3::bytea", &[])
            .bind_as("", "", &[1, 0, 1], &[Some(&3_i32.to_be_bytes()), Some(b"x"), Some(&[0, 1, 255])], &[0, 1, 1]).execute("", 0).sync()),
        pipeline("binary of a named statement", s().parse("b", "SELECT $1::bytea, $2::float8", &[])
            .bind_as("p", "b", &[1], &[Some(&[0, 0, 7]), Some(&1.5_f64.to_be_bytes())], &[1]).describe_portal("p").execute("p", 0).sync()),
        pipeline("NULL and empty", s().run("SELECT $1::text IS NULL, $2::text = '', $1::text, $2::text", &[None, Some("")]).sync()),
        pipeline("all types in binary", s().parse("", "SELECT now() IS NULL, 1::int2, 2::int8, 1.5::numeric, 'x'::name, '{1,2}'::int[], NULL::uuid, 'ok'::mood", &[])
            .bind_as("", "", &[], &[], &[1]).describe_portal("").execute("", 0).sync()),
        Case::new("many parameters").ask(many(1000)),
        Case::new("65,535 parameters").ask(many(65_535)),
        Case::new("a large parameter").ask(s().run("SELECT length($1), md5($1)", &[Some(&"v".repeat(3 << 20))]).sync()),
        Case::new("a large parameter of a named statement")
            .ask(s().parse("big", "SELECT length($1), md5($1)", &[]).bind("", "big", &[Some(&"v".repeat(3 << 20))]).execute("", 0).sync())
            .ask(s().bind("", "big", &[Some(&"w".repeat(1 << 20))]).execute("", 0).sync()),
        Case::new("a large parameter in a transaction")
            .query("BEGIN")
            .ask(s().parse("big", "INSERT INTO log VALUES ($1)", &[]).bind("", "big", &[Some(&"v".repeat(1 << 20))]).execute("", 0).sync())
            .query("SELECT length(line) FROM log")
            .query("ROLLBACK"),
        Case::new("a large result").ask(s().run("SELECT repeat('x', 1 << 20) FROM generate_series(1, 3)", &[]).sync()),
        Case::new("a large result in portions")
            .ask(s().parse("", "SELECT repeat('x', 100000) FROM generate_series(1, 10)", &[]).bind("", "", &[]).execute("", 4).execute("", 4).execute("", 4).sync()),
        Case::new("many columns, extended").ask(s().run(&format!("SELECT {}", vec!["1"; 1600].join(",")), &[]).sync()),
    ]
}
