//! Transactions in every shape.

use testkit::Script;

use crate::case::Case;

const A: &str = "INSERT INTO log VALUES ('a')";
const B: &str = "INSERT INTO log VALUES ('b')";
const LOG: &str = "SELECT * FROM log";
const FAIL: &str = "SELECT 1/0";

/// Statements, each a Query that is answered before the next.
const TALKS: &[(&str, &[&str])] = &[
    ("committed", &["BEGIN", A, LOG, "COMMIT", LOG]),
    ("rolled back", &["BEGIN", A, LOG, "ROLLBACK", LOG]),
    (
        "empty transactions",
        &["BEGIN", "COMMIT", "BEGIN", "ROLLBACK", "START TRANSACTION", "END", "BEGIN WORK", "ABORT"],
    ),
    ("an empty Query in a transaction", &["BEGIN", "", ";", "COMMIT", ""]),
    ("failed transaction", &["BEGIN", A, FAIL, LOG, B, "", "SHOW work_mem", "ROLLBACK", LOG]),
    ("COMMIT of a failed transaction", &["BEGIN", A, FAIL, "COMMIT", LOG]),
    ("failed at once", &["BEGIN", FAIL, LOG, "COMMIT"]),
    ("failed by syntax at once", &["BEGIN", "SELEC 1", LOG, "END"]),
    ("BEGIN in a failed transaction", &["BEGIN", FAIL, "BEGIN", "ROLLBACK"]),
    ("SAVEPOINT in a failed transaction", &["BEGIN", FAIL, "SAVEPOINT a", "ROLLBACK TO a", "ROLLBACK"]),
    ("BEGIN twice", &["BEGIN", "BEGIN", A, "BEGIN", "COMMIT", LOG]),
    ("BEGIN twice, nothing between", &["BEGIN", "BEGIN", "COMMIT"]),
    (
        "BEGIN twice with other options",
        &["BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE", "SHOW transaction_isolation", "COMMIT"],
    ),
    ("COMMIT without BEGIN", &["COMMIT", "SELECT 1", "END"]),
    ("ROLLBACK without BEGIN", &["ROLLBACK", "SELECT 1", "ABORT"]),
    (
        "isolation levels",
        &[
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            "SHOW transaction_isolation",
            "COMMIT",
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            "SHOW transaction_isolation",
            A,
            "ROLLBACK",
            "BEGIN READ ONLY DEFERRABLE",
            LOG,
            "COMMIT",
            "SHOW transaction_isolation",
        ],
    ),
    ("read only", &["BEGIN READ ONLY", LOG, A, "COMMIT", LOG]),
    (
        "SET TRANSACTION",
        &[
            "BEGIN",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SHOW transaction_isolation",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "COMMIT",
            "SET TRANSACTION READ ONLY",
        ],
    ),
    ("SET TRANSACTION too late", &["BEGIN", LOG, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "ROLLBACK"]),
    ("savepoints", &["BEGIN", A, "SAVEPOINT s", B, "ROLLBACK TO s", LOG, "RELEASE s", "COMMIT", LOG]),
    (
        "ROLLBACK TO after an error",
        &["BEGIN", A, "SAVEPOINT s", FAIL, LOG, "ROLLBACK TO s", B, LOG, "COMMIT", LOG],
    ),
    (
        "ROLLBACK TO twice",
        &["BEGIN", "SAVEPOINT s", FAIL, "ROLLBACK TO s", FAIL, "ROLLBACK TO s", A, "COMMIT", LOG],
    ),
    (
        "savepoints in each other",
        &[
            "BEGIN",
            "SAVEPOINT a",
            A,
            "SAVEPOINT b",
            B,
            "SAVEPOINT a",
            FAIL,
            "ROLLBACK TO a",
            "RELEASE a",
            "ROLLBACK TO SAVEPOINT a",
            LOG,
            "COMMIT",
        ],
    ),
    ("unknown savepoint", &["BEGIN", A, "ROLLBACK TO nowhere", LOG, "ROLLBACK TO nowhere", "COMMIT", LOG]),
    ("a savepoint first", &["BEGIN", "SAVEPOINT s", "RELEASE s", "COMMIT"]),
    (
        "AND CHAIN",
        &[
            "BEGIN ISOLATION LEVEL REPEATABLE READ",
            A,
            "COMMIT AND CHAIN",
            "SHOW transaction_isolation",
            B,
            "ROLLBACK AND CHAIN",
            "SHOW transaction_isolation",
            "COMMIT",
            LOG,
        ],
    ),
    ("AND CHAIN at once", &["BEGIN", "COMMIT AND CHAIN", "SELECT 1", "ROLLBACK AND CHAIN", "ROLLBACK"]),
    (
        "AND CHAIN of a failed transaction",
        &["BEGIN", FAIL, "COMMIT AND CHAIN", "SELECT 1", "COMMIT AND NO CHAIN"],
    ),
    ("AND CHAIN without BEGIN", &["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"]),
    (
        "an error at COMMIT",
        &["BEGIN", "INSERT INTO parts (item) VALUES (999)", "COMMIT", "SELECT count(*) FROM parts"],
    ),
    (
        "constraints immediate",
        &["BEGIN", "SET CONSTRAINTS ALL IMMEDIATE", "INSERT INTO parts (item) VALUES (999)", "ROLLBACK"],
    ),
    (
        "BEGIN and more in one Query",
        &["BEGIN; INSERT INTO log VALUES ('a')", LOG, "INSERT INTO log VALUES ('b'); COMMIT", LOG],
    ),
    (
        "BEGIN; COMMIT in one Query",
        &["BEGIN; COMMIT", "BEGIN; SELECT 1; COMMIT", "BEGIN; ROLLBACK; BEGIN", "ROLLBACK; SELECT 1"],
    ),
    (
        "COMMIT; BEGIN in one Query",
        &["BEGIN", A, "COMMIT; BEGIN", B, "ROLLBACK; BEGIN; SELECT 1", "COMMIT", LOG],
    ),
    ("an error in one Query with BEGIN", &["BEGIN; SELECT 1/0", LOG, "ROLLBACK", "BEGIN; SELEC 1", LOG]),
    (
        "prepared transaction",
        &[
            "BEGIN",
            A,
            "PREPARE TRANSACTION 'two'",
            LOG,
            "COMMIT PREPARED 'two'",
            LOG,
            "BEGIN",
            "PREPARE TRANSACTION 'three'",
            "ROLLBACK PREPARED 'three'",
            "ROLLBACK PREPARED 'three'",
        ],
    ),
    (
        "DDL in a transaction",
        &[
            "BEGIN",
            "CREATE TABLE made (n int)",
            "INSERT INTO made VALUES (1)",
            "ROLLBACK",
            "SELECT count(*) FROM made",
        ],
    ),
    ("lower case and comments", &["/* a */ begin -- b", A, "commit/**/;", LOG, "begin;", "end transaction;"]),
    (
        "statements that can't be in a transaction",
        &["BEGIN", "VACUUM", "ROLLBACK", "BEGIN", A, "VACUUM", "COMMIT"],
    ),
    (
        "temporary settings",
        &[
            "BEGIN",
            "SET LOCAL application_name = 'mine'",
            "SHOW application_name",
            "COMMIT",
            "SHOW application_name",
        ],
    ),
    (
        "the clock stands still",
        &[
            "BEGIN",
            "CREATE TEMP TABLE t ON COMMIT DROP AS SELECT now() AS n",
            "SELECT n = now() FROM t",
            "COMMIT",
        ],
    ),
];

fn s() -> Script {
    Script::new()
}

pub(crate) fn cases() -> Vec<Case> {
    let talk = |(name, statements): &(&'static str, &[&str])| {
        statements.iter().fold(Case::new(name), |case, sql| case.query(sql)).fragmented()
    };
    let mut cases: Vec<_> = TALKS.iter().map(talk).collect();
    cases.extend([
        Case::new("extended BEGIN and COMMIT")
            .ask(s().run("BEGIN", &[]).sync())
            .ask(s().run(A, &[]).sync())
            .ask(s().run(LOG, &[]).sync())
            .ask(s().run("COMMIT", &[]).sync())
            .query(LOG)
            .fragmented(),
        Case::new("extended BEGIN, simple rest")
            .ask(s().run("BEGIN", &[]).sync())
            .query(A)
            .query("ROLLBACK")
            .query(LOG),
        Case::new("simple BEGIN, extended rest")
            .query("BEGIN")
            .ask(s().run(A, &[]).sync())
            .ask(s().run("COMMIT", &[]).sync())
            .query(LOG),
        Case::new("simple BEGIN, an extended error first")
            .query("BEGIN")
            .ask(s().run(FAIL, &[]).sync())
            .ask(s().run(LOG, &[]).sync())
            .ask(s().run("ROLLBACK", &[]).sync()),
        Case::new("simple BEGIN, Sync alone")
            .query("BEGIN")
            .ask(s().sync())
            .query(A)
            .ask(s().sync())
            .query("COMMIT")
            .ask(s().sync()),
        Case::new("extended failed transaction")
            .ask(s().run("BEGIN", &[]).run(A, &[]).run(FAIL, &[]).run(LOG, &[]).sync())
            .ask(s().run(LOG, &[]).sync())
            .ask(s().parse("", LOG, &[]).sync())
            .ask(s().run("ROLLBACK", &[]).sync())
            .query(LOG)
            .fragmented(),
        Case::new("extended BEGIN to COMMIT in one pipeline")
            .ask(s().run("BEGIN", &[]).run(A, &[]).run("COMMIT", &[]).run(LOG, &[]).sync())
            .query(LOG)
            .fragmented(),
        Case::new("BEGIN after others in a pipeline is in their transaction")
            .ask(s().run(A, &[]).run("BEGIN", &[]).run(B, &[]).sync())
            .query("ROLLBACK")
            .query(LOG),
        Case::new("COMMIT in a pipeline without BEGIN")
            .ask(s().run(A, &[]).run("COMMIT", &[]).run(FAIL, &[]).sync())
            .query(LOG),
        Case::new("AND CHAIN, extended")
            .ask(s().run("BEGIN", &[]).sync())
            .ask(s().run("COMMIT AND CHAIN", &[]).sync())
            .ask(s().run(A, &[]).sync())
            .query("ROLLBACK")
            .query(LOG),
        Case::new("savepoints, extended")
            .ask(s().run("BEGIN", &[]).run("SAVEPOINT s", &[]).run(FAIL, &[]).sync())
            .ask(s().run("ROLLBACK TO s", &[]).run(A, &[]).run("COMMIT", &[]).sync())
            .query(LOG),
        Case::new("Terminate in a transaction").query("BEGIN").query(A).send(s().terminate()).vanishes(),
        Case::new("Terminate in a failed transaction")
            .query("BEGIN")
            .query(FAIL)
            .send(s().terminate())
            .vanishes(),
        Case::new("gone in a transaction").query("BEGIN").query(A).vanishes(),
        Case::new("Terminate in a deferred transaction").query("BEGIN").ends_with(s().terminate()),
        Case::new("COMMIT and goodbye in one segment")
            .query("BEGIN")
            .query(A)
            .ends_with(s().query("COMMIT").terminate()),
        Case::new("failed before anything was sent, extended ROLLBACK")
            .query("BEGIN")
            .ask(s().message(b'Q', b"no terminator"))
            .ask(s().sync())
            .ask(s().run(LOG, &[]).sync())
            .ask(s().run("ROLLBACK", &[]).sync())
            .query(LOG),
        Case::new("failed before anything was sent, extended")
            .query("BEGIN")
            .ask(s().message(b'B', b"").sync())
            .ask(s().parse("item", LOG, &[]).sync())
            .ask(s().run("COMMIT", &[]).sync())
            .query(LOG),
        Case::new("Terminate behind a write").ends_with(s().query(A).query(LOG).terminate()),
    ]);
    cases
}
