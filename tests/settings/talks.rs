//! Conversations that change settings; each is to be answered as by Postgres.

use testkit::Script;

fn s() -> Script {
    Script::new()
}

/// A turn for each text.
fn queries(texts: &[&str]) -> Vec<Script> {
    texts.iter().map(|text| s().query(text)).collect()
}

/// All of them in one write.
fn at_once(texts: &[&str]) -> Vec<Script> {
    vec![texts.iter().fold(s(), |script, text| script.query(text)), s().query(SEEN)]
}

const SEEN: &str = "select who, current_user, nullif(current_setting('app.tenant', true), ''), '2000-02-03'::timestamptz, \
                    current_setting('application_name'), current_setting('work_mem'), current_setting('app.start'), \
                    current_setting('statement_timeout'), current_setting('transaction_isolation') from s1.here";

pub(crate) fn all() -> Vec<(&'static str, Vec<Script>)> {
    [plain(), transactions(), resets(), spellings(), calls(), in_one_write(), extended(), alone()].concat()
}

fn plain() -> Vec<(&'static str, Vec<Script>)> {
    vec![
        ("what the startup packet said", queries(&[SEEN, SEEN])),
        (
            "SET and RESET",
            queries(&[
                "set search_path to s1",
                "select who from here",
                "reset search_path",
                "select who from here",
                SEEN,
            ]),
        ),
        (
            "a list, quoted names",
            queries(&["set search_path to \"$user\", 's1', s2", "select who from here", "show search_path"]),
        ),
        (
            "SET ROLE",
            queries(&[
                "set role guest",
                SEEN,
                "select secret from owned",
                "reset role",
                SEEN,
                "select secret from owned",
            ]),
        ),
        ("SET ROLE NONE", queries(&["set role guest", SEEN, "set role none", SEEN])),
        (
            "SET SESSION AUTHORIZATION",
            queries(&[
                "set session authorization app",
                SEEN,
                "set session authorization guest",
                SEEN,
                "reset session authorization",
                SEEN,
            ]),
        ),
        (
            "several in one Query",
            queries(&[
                "set role guest; set app.tenant to 'x'; set search_path to s1",
                SEEN,
                "reset all",
                SEEN,
            ]),
        ),
        ("DISCARD ALL", queries(&["set app.tenant to 'x'", "set role guest", "discard all", SEEN])),
        (
            "a value that is refused",
            queries(&[
                "set timezone to 'nowhere'",
                SEEN,
                "set timezone to 'Europe/Rome'",
                SEEN,
                "set timezone to 'nowhere'",
                SEEN,
            ]),
        ),
        (
            "reported settings",
            queries(&[
                "set application_name to 'x y'",
                SEEN,
                "set timezone to 'Europe/Rome'",
                "select 1",
                SEEN,
            ]),
        ),
        (
            "an error of the statement behind the settings",
            queries(&["set app.tenant to 'x'", "select 1/0", SEEN, "select * from nowhere", SEEN]),
        ),
        (
            "an error as the first",
            queries(&["set search_path to s1", "select nothing", "select who from here"]),
        ),
        (
            "strings by another rule",
            queries(&[
                "set standard_conforming_strings to off",
                "select 'a\\'b'",
                SEEN,
                "reset standard_conforming_strings",
                "select 'a\\'",
            ]),
        ),
        (
            "another encoding",
            queries(&[
                "set client_encoding to latin1",
                "select U&'\\00e9'",
                "set names utf8",
                "select U&'\\00e9'",
            ]),
        ),
        (
            "what a transaction takes when it begins",
            queries(&[
                "set default_transaction_isolation to serializable",
                SEEN,
                "begin",
                SEEN,
                "commit",
                "set default_transaction_read_only to on",
                "insert into t values (1)",
                "reset default_transaction_read_only",
                "insert into t values (1)",
            ]),
        ),
        (
            "the time of a statement is that of its transaction",
            queries(&[
                "set app.tenant to 'x'",
                "select now() = statement_timestamp()",
                "select current_query()",
            ]),
        ),
        ("an empty query", queries(&["set app.tenant to 'x'", "", SEEN])),
    ]
}

fn transactions() -> Vec<(&'static str, Vec<Script>)> {
    vec![
        (
            "a transaction that sets and commits",
            queries(&["begin", "set app.tenant to 'x'", SEEN, "commit", SEEN]),
        ),
        (
            "a transaction that sets and rolls back",
            queries(&[
                "set app.tenant to 'x'",
                "begin",
                "set app.tenant to 'y'",
                "set timezone to 'Europe/Rome'",
                SEEN,
                "rollback",
                SEEN,
            ]),
        ),
        (
            "SET LOCAL",
            queries(&["set app.tenant to 'x'", "begin", "set local app.tenant to 'y'", SEEN, "commit", SEEN]),
        ),
        (
            "savepoints",
            queries(&[
                "begin",
                "set app.tenant to 'a'",
                "savepoint s",
                "set app.tenant to 'b'",
                SEEN,
                "rollback to s",
                SEEN,
                "set role guest",
                "savepoint u",
                "reset role",
                "release u",
                "commit",
                SEEN,
            ]),
        ),
        (
            "a savepoint behind an error",
            queries(&[
                "begin",
                "set app.tenant to 'a'",
                "savepoint s",
                "set app.tenant to 'b'",
                "select 1/0",
                "rollback to s",
                SEEN,
                "commit",
                SEEN,
            ]),
        ),
        (
            "a transaction that fails",
            queries(&[
                "set role guest",
                "begin",
                "set app.tenant to 'a'",
                "select 1/0",
                "select 2",
                "commit",
                SEEN,
            ]),
        ),
        (
            "COMMIT AND CHAIN, ROLLBACK AND CHAIN",
            queries(&[
                "set role guest",
                "begin",
                "set app.tenant to 'a'",
                "rollback and chain",
                SEEN,
                "set app.tenant to 'b'",
                "commit and chain",
                SEEN,
                "rollback",
                SEEN,
            ]),
        ),
        (
            "an isolation level behind the settings",
            queries(&[
                "set role guest",
                "begin",
                "set transaction isolation level serializable",
                SEEN,
                "commit",
                "begin isolation level repeatable read read only",
                SEEN,
                "commit",
            ]),
        ),
        (
            "a BEGIN that is refused behind settings",
            queries(&["set role guest", "begin isolation level nonsense", SEEN, "rollback", SEEN]),
        ),
        (
            "SET first in a transaction",
            queries(&[
                "set app.tenant to 'a'",
                "begin",
                "set app.tenant to 'b'",
                "rollback",
                SEEN,
                "begin",
                "reset app.tenant",
                "rollback",
                SEEN,
            ]),
        ),
    ]
}

/// Spellings of the SQL standard.
fn spellings() -> Vec<(&'static str, Vec<Script>)> {
    vec![
        (
            "SESSION CHARACTERISTICS",
            queries(&[
                "set session characteristics as transaction isolation level serializable, read only",
                SEEN,
                "insert into t values (1)",
                "set session characteristics as transaction read write",
                SEEN,
                "insert into t values (1)",
            ]),
        ),
        (
            "a time zone by its distance",
            queries(&[
                "set time zone interval '-08:30' hour to minute",
                SEEN,
                "set time zone -7",
                SEEN,
                "set time zone local",
                SEEN,
            ]),
        ),
        (
            "an update of pg_settings",
            queries(&["update pg_settings set setting = '77' where name = 'statement_timeout'", SEEN]),
        ),
    ]
}

/// What the startup packet said comes back at once.
fn resets() -> Vec<(&'static str, Vec<Script>)> {
    let name = "set application_name to 'x'";
    vec![
        (
            "RESET of what the startup packet said",
            queries(&[
                name,
                "reset application_name",
                SEEN,
                "set work_mem to '1MB'",
                "reset work_mem",
                SEEN,
                "reset all",
                SEEN,
            ]),
        ),
        (
            "RESET in a transaction",
            queries(&[
                "begin",
                name,
                "reset application_name",
                SEEN,
                "set work_mem to '1MB'",
                SEEN,
                "commit",
                SEEN,
            ]),
        ),
        ("RESET ALL in a transaction", queries(&["begin", name, "reset all", SEEN, "rollback", SEEN, SEEN])),
        (
            "RESET in a transaction that is rolled back",
            queries(&[
                name,
                "begin",
                "reset application_name",
                SEEN,
                "rollback",
                SEEN,
                "begin",
                "reset all",
                "commit",
                SEEN,
            ]),
        ),
        (
            "RESET by the extended protocol in a transaction",
            vec![
                s().query("begin"),
                s().query(name),
                s().run("reset application_name", &[]).sync(),
                s().run(SEEN, &[]).sync(),
                s().query("commit"),
                s().query(SEEN),
            ],
        ),
        (
            "a transaction in one pipeline",
            vec![
                s().run("begin", &[]).run("set app.tenant to 'x'", &[]).run("rollback", &[]).sync(),
                s().query(SEEN),
                s().run("begin", &[]).run("set app.tenant to 'y'", &[]).run("commit", &[]).sync(),
                s().query(SEEN),
            ],
        ),
    ]
}

/// Settings that are set by a function.
fn calls() -> Vec<(&'static str, Vec<Script>)> {
    let tenant = "select set_config('app.tenant', $1, $2)";
    let run = |value, local| s().run(tenant, &[value, local]).sync();
    vec![
        (
            "set_config",
            queries(&[
                "select set_config('app.tenant', 'x', false), 1 as one, set_config('Search_Path', 's1, s2', false)",
                SEEN,
                "select who from here",
                "show search_path",
                "select set_config('app.tenant', 'y', true)",
                SEEN,
                "select set_config('timezone', 'nowhere', false)",
                SEEN,
                "select set_config('search_path', null, false), set_config('timezone', 'Europe/Rome', false)",
                "show search_path",
                SEEN,
                "select set_config('role', 'guest', false)",
                SEEN,
                "select set_config('role', 'none', false)",
                SEEN,
            ]),
        ),
        (
            "set_config by parameters",
            vec![
                run(Some("x"), Some("f")),
                s().query(SEEN),
                run(Some("y"), Some("true")),
                s().query(SEEN),
                run(None, None),
                s().query(SEEN),
                s().run("select set_config($1, $2, false)", &[Some("search_path"), Some("s1")]).sync(),
                s().run("select who from here", &[]).sync(),
                s().parse("p", tenant, &[]).bind("", "p", &[Some("z"), Some("0")]).execute("", 0).sync(),
                s().query(SEEN),
                s().bind("", "p", &[Some("zz"), Some("no")]).execute("", 0).sync(),
                s().query(SEEN),
            ],
        ),
        (
            "set_config in a transaction",
            queries(&[
                "begin",
                "select set_config('app.tenant', 'x', false)",
                "savepoint s",
                "select set_config('app.tenant', 'y', false)",
                "rollback to s",
                SEEN,
                "commit",
                SEEN,
                "begin",
                "select set_config('app.tenant', 'y', false)",
                "rollback",
                SEEN,
            ]),
        ),
        (
            "parts of the date style",
            queries(&[
                "set datestyle to 'German'",
                SEEN,
                "set datestyle to 'MDY'",
                SEEN,
                "set datestyle to sql, dmy",
                SEEN,
            ]),
        ),
    ]
}

fn in_one_write() -> Vec<(&'static str, Vec<Script>)> {
    let set = s().query("set role guest").query("set app.tenant to 'x'");
    let with = |rest: Vec<Script>| [vec![set.clone()], rest].concat();
    vec![
        (
            "an error and what comes behind it",
            with(at_once(&["select 1/0", SEEN, "select secret from owned"])),
        ),
        (
            "a transaction that rolls back and what comes behind it",
            with(at_once(&["begin", SEEN, "rollback", SEEN])),
        ),
        (
            "a transaction that fails and what comes behind it",
            with(at_once(&["begin", "select 1/0", SEEN, "rollback", SEEN])),
        ),
        (
            "one Query that rolls back and goes on",
            with(at_once(&["begin", "select 1", "rollback; select current_user, secret from owned", SEEN])),
        ),
        (
            "one Query that begins and rolls back",
            with(at_once(&["begin; select 1; rollback; select current_user", SEEN])),
        ),
        ("SET and what needs it", with(at_once(&["reset role", SEEN, "set role clerk", SEEN]))),
        (
            "pipelines with a Sync each",
            with(vec![
                s().run("select 1/0", &[])
                    .sync()
                    .run(SEEN, &[])
                    .sync()
                    .run("begin", &[])
                    .sync()
                    .run("rollback", &[])
                    .run(SEEN, &[])
                    .sync(),
            ]),
        ),
    ]
}

fn extended() -> Vec<(&'static str, Vec<Script>)> {
    let here = "select who from here";
    vec![
        (
            "a pipeline",
            vec![
                s().query("set search_path to s1"),
                s().run(here, &[]).run(SEEN, &[]).sync(),
                s().run("select 1/0", &[]).run(here, &[]).sync(),
                s().run(here, &[]).sync(),
            ],
        ),
        (
            "SET by the extended protocol",
            vec![
                s().run("set app.tenant to 'x'", &[]).sync(),
                s().run(SEEN, &[]).sync(),
                s().run("set app.tenant to 'y'", &[]).run("select 1/0", &[]).sync(),
                s().query(SEEN),
                s().run("set app.tenant to 'z'", &[]).run(SEEN, &[]).sync(),
                s().query(SEEN),
            ],
        ),
        (
            "a prepared statement under two search paths",
            vec![
                s().query("set search_path to s1"),
                s().parse("p", here, &[]).describe_statement("p").bind("", "p", &[]).execute("", 0).sync(),
                s().query("set search_path to s2"),
                s().bind("", "p", &[]).execute("", 0).sync(),
                s().query("set search_path to s1"),
                s().bind("", "p", &[]).execute("", 0).sync(),
            ],
        ),
        (
            "the unnamed statement in two turns",
            vec![
                s().query("set search_path to s1"),
                s().parse("", here, &[]).sync(),
                s().bind("", "", &[]).execute("", 0).sync(),
            ],
        ),
        (
            "a transaction by the extended protocol",
            vec![
                s().query("set role guest"),
                s().run("begin", &[]).run(SEEN, &[]).sync(),
                s().run("rollback", &[]).sync(),
                s().run(SEEN, &[]).sync(),
            ],
        ),
        (
            "a BEGIN by Query and a pipeline",
            vec![
                s().query("set role guest"),
                s().query("begin"),
                s().run(SEEN, &[]).sync(),
                s().run("commit", &[]).sync(),
                s().query(SEEN),
            ],
        ),
        (
            "Describe alone",
            vec![
                s().query("set search_path to s1"),
                s().parse("p", here, &[]).sync(),
                s().describe_statement("p").sync(),
                s().close_statement("p").sync(),
            ],
        ),
    ]
}

fn alone() -> Vec<(&'static str, Vec<Script>)> {
    vec![
        (
            "VACUUM and what else runs alone",
            queries(&[
                "set app.tenant to 'x'",
                "vacuum t",
                "create database third",
                "drop database third",
                SEEN,
            ]),
        ),
        (
            "VACUUM by the extended protocol",
            vec![
                s().query("set app.tenant to 'x'"),
                s().run("vacuum t", &[]).sync(),
                s().run("select 1", &[]).run("vacuum t", &[]).sync(),
            ],
        ),
        (
            "a procedure that commits",
            queries(&[
                "set app.tenant to 'x'",
                "call commits()",
                SEEN,
                "do $$ begin commit; end $$",
                SEEN,
                "begin",
                "call commits()",
                "rollback",
            ]),
        ),
        (
            "COPY",
            vec![
                s().query("set search_path to s1, public"),
                s().query("copy here to stdout"),
                s().query("copy t from stdin").raw(b"d\0\0\0\x067\n").copy_done(),
                s().query("copy t from stdin").copy_fail("no more"),
                s().query("copy nowhere from stdin"),
                s().query(SEEN),
            ],
        ),
        (
            "a function call",
            vec![s().query("set app.tenant to 'x'"), s().function_call(861, &[]), s().query(SEEN)],
        ),
        (
            "commands that need a transaction",
            queries(&[
                "set app.tenant to 'x'",
                "savepoint s",
                "lock table t",
                "set local app.tenant to 'y'",
                "commit",
                "rollback",
                "declare c cursor for select 1",
                SEEN,
            ]),
        ),
    ]
}
