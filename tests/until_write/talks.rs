//! Conversations in transactions: what is said, and where it is answered.

use testkit::Script;

use crate::ground::Turn;

const READ: &str = "select v from items order by id";
const WRITE: &str = "insert into items values (6, 'six')";

pub(crate) fn all() -> Vec<(&'static str, Vec<Turn>)> {
    [plain(), savepoints(), settings(), modes(), stays(), failures(), extended(), pipelines(), tables()]
        .concat()
}

/// Simple Querys, each behind the mark of the node that answers it.
fn queries(turns: &[(char, &str)]) -> Vec<Turn> {
    turns.iter().map(|(place, sql)| (Script::new().query(sql), *place)).collect()
}

fn plain() -> Vec<(&'static str, Vec<Turn>)> {
    vec![
        (
            "reads only",
            queries(&[('-', "begin"), ('r', READ), ('r', "select 1"), (' ', "commit"), ('r', READ)]),
        ),
        (
            "reads, then a write, then reads",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', WRITE),
                ('p', READ),
                ('p', "select 1"),
                (' ', "commit"),
                ('r', READ),
            ]),
        ),
        ("a write first", queries(&[(' ', "begin"), ('p', WRITE), ('p', READ), (' ', "commit")])),
        (
            "rolled back on the primary",
            queries(&[(' ', "begin"), ('r', READ), ('p', WRITE), (' ', "rollback"), ('r', READ)]),
        ),
        (
            "rolled back on the replica",
            queries(&[(' ', "begin"), ('r', READ), (' ', "rollback"), ('r', READ)]),
        ),
        (
            "START TRANSACTION",
            queries(&[(' ', "start transaction"), ('r', READ), ('p', WRITE), (' ', "commit")]),
        ),
        (
            "locks",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "select v from items where id = 1 for update"),
                (' ', "end"),
            ]),
        ),
        (
            "a function that may write",
            queries(&[(' ', "begin"), ('r', READ), ('p', "select note('a')"), ('p', READ), (' ', "commit")]),
        ),
        (
            "a function that only reads",
            queries(&[
                (' ', "begin"),
                ('r', "select twice(id) from items order by 1"),
                ('p', WRITE),
                (' ', "commit"),
            ]),
        ),
        (
            "advisory locks",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "select pg_advisory_xact_lock(7)"),
                (' ', "commit"),
            ]),
        ),
        (
            "a transaction's id",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "select txid_current() > 0"),
                ('p', READ),
                (' ', "commit"),
            ]),
        ),
        (
            "AND CHAIN",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "commit and chain"),
                ('p', WRITE),
                ('p', "rollback and chain"),
                ('p', READ),
                (' ', "commit"),
            ]),
        ),
        (
            "BEGIN in a transaction",
            queries(&[(' ', "begin"), ('r', READ), ('p', "begin"), ('p', WRITE), (' ', "commit")]),
        ),
        (
            "SHOW",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "show transaction_isolation"),
                ('p', READ),
                (' ', "commit"),
            ]),
        ),
        (
            "several statements of one text",
            queries(&[
                (' ', "begin"),
                ('r', "select 1; select 2"),
                ('p', "select 3; insert into items values (6, 'six'); select 4"),
                (' ', "select 5; commit; select 6"),
            ]),
        ),
        (
            "a text that ends the transaction and writes",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                (' ', "commit; insert into items values (6, 'six')"),
                ('r', READ),
            ]),
        ),
        (
            "a text that begins a transaction",
            queries(&[('p', "begin; select 1"), ('p', READ), ('p', WRITE), (' ', "commit")]),
        ),
        (
            "COPY to the client",
            queries(&[
                (' ', "begin"),
                ('r', "copy items to stdout"),
                ('p', WRITE),
                ('p', "copy items to stdout"),
                (' ', "end"),
            ]),
        ),
        ("an empty query", queries(&[(' ', "begin"), ('r', ""), ('r', READ), ('p', WRITE), (' ', "commit")])),
    ]
}

/// The catalog is read again behind it: what reads a table goes to the primary for a moment.
fn tables() -> Vec<(&'static str, Vec<Turn>)> {
    vec![(
        "a table and back",
        queries(&[
            (' ', "begin"),
            (' ', READ),
            ('p', "create temp table mine on commit drop as select * from items"),
            ('p', "select count(*) from mine"),
            (' ', "commit"),
            (' ', READ),
        ]),
    )]
}

fn savepoints() -> Vec<(&'static str, Vec<Turn>)> {
    vec![
        (
            "savepoints before the write",
            queries(&[
                (' ', "begin"),
                ('r', "savepoint a"),
                ('r', READ),
                ('r', "savepoint b"),
                ('r', "release b"),
                ('p', WRITE),
                ('p', READ),
                ('p', "rollback to a"),
                ('p', READ),
                ('p', "release a"),
                (' ', "commit"),
            ]),
        ),
        (
            "a savepoint that is gone",
            queries(&[
                (' ', "begin"),
                ('r', "savepoint a"),
                ('r', "savepoint b"),
                ('r', "release a"),
                ('p', WRITE),
                (' ', "rollback to b"),
                (' ', "rollback"),
            ]),
        ),
        (
            "savepoints of one name",
            queries(&[
                (' ', "begin"),
                ('r', "savepoint a"),
                ('r', "set local app.x to '1'"),
                ('r', "savepoint a"),
                ('r', "set local app.x to '2'"),
                ('r', "release a"),
                ('r', "select current_setting('app.x')"),
                ('p', WRITE),
                ('p', "select current_setting('app.x')"),
                ('p', "rollback to a"),
                ('p', "select nullif(current_setting('app.x', true), '')"),
                (' ', "commit"),
            ]),
        ),
        (
            "what was set in a savepoint",
            queries(&[
                (' ', "begin"),
                ('r', "set app.x to 'before'"),
                ('r', "savepoint a"),
                ('r', "set app.x to 'within'"),
                ('r', "rollback to a"),
                ('r', "select current_setting('app.x')"),
                ('p', WRITE),
                ('p', "select current_setting('app.x')"),
                (' ', "commit"),
                (' ', "select current_setting('app.x')"),
            ]),
        ),
        (
            "an error in a savepoint",
            queries(&[
                (' ', "begin"),
                ('r', "savepoint a"),
                ('r', "select 1/0"),
                (' ', "select 1"),
                ('r', "rollback to a"),
                ('r', READ),
                ('p', WRITE),
                (' ', "commit"),
            ]),
        ),
        (
            "more savepoints than are kept",
            std::iter::once((' ', "begin".to_owned()))
                .chain((0..70).map(|n| (' ', format!("savepoint s{n}"))))
                .chain([('p', READ.to_owned()), ('p', WRITE.to_owned())])
                .chain([
                    (' ', "rollback to s3".to_owned()),
                    ('p', READ.to_owned()),
                    (' ', "commit".to_owned()),
                ])
                .map(|(place, sql)| (Script::new().query(&sql), place))
                .collect(),
        ),
        (
            "a hundred savepoints, one after the other",
            std::iter::once((' ', "begin"))
                .chain((0..100).flat_map(|_| [('r', "savepoint s"), ('r', READ), ('r', "release s")]))
                .chain([('p', WRITE), (' ', "commit")])
                .map(|(place, sql)| (Script::new().query(sql), place))
                .collect(),
        ),
    ]
}

fn settings() -> Vec<(&'static str, Vec<Turn>)> {
    const SEEN: &str =
        "select nullif(current_setting('app.x', true), ''), current_setting('TimeZone'), current_user";
    vec![
        (
            "SET LOCAL",
            queries(&[
                (' ', "begin"),
                ('r', "set local app.x to 'one'"),
                ('r', "set local timezone to 'Asia/Tokyo'"),
                ('r', SEEN),
                ('p', WRITE),
                ('p', SEEN),
                (' ', "commit"),
                (' ', SEEN),
            ]),
        ),
        (
            "SET, committed on the primary",
            queries(&[
                (' ', "begin"),
                ('r', "set app.x to 'one'"),
                ('r', "set timezone to 'Asia/Tokyo'"),
                ('p', WRITE),
                ('p', SEEN),
                (' ', "commit"),
                ('r', SEEN),
                (' ', "set app.x to 'two'"),
            ]),
        ),
        (
            "SET, committed on the replica",
            queries(&[
                (' ', "begin"),
                ('r', "set app.x to 'one'"),
                ('r', SEEN),
                (' ', "commit"),
                ('r', SEEN),
            ]),
        ),
        (
            "SET, rolled back on the primary",
            queries(&[
                (' ', "begin"),
                ('r', "set app.x to 'one'"),
                ('p', WRITE),
                ('p', SEEN),
                (' ', "rollback"),
                ('r', SEEN),
            ]),
        ),
        (
            "SET ROLE",
            queries(&[
                (' ', "begin"),
                ('r', "set local role clerk"),
                ('r', SEEN),
                ('r', READ),
                ('p', "insert into log (what) values ('no')"),
                (' ', "rollback"),
                ('r', SEEN),
            ]),
        ),
        (
            "set_config",
            queries(&[
                (' ', "begin"),
                ('r', "select set_config('app.x', 'one', true)"),
                ('r', SEEN),
                ('p', WRITE),
                ('p', SEEN),
                (' ', "commit"),
                (' ', SEEN),
            ]),
        ),
        (
            "RESET",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "reset timezone"),
                ('p', WRITE),
                (' ', "commit"),
                ('r', SEEN),
            ]),
        ),
        (
            "a value that is refused",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                (' ', "set local work_mem to 'much'"),
                (' ', "rollback"),
                ('r', READ),
            ]),
        ),
        (
            "search_path",
            queries(&[
                (' ', "begin"),
                ('r', "set local search_path to pg_catalog"),
                ('r', "select 1"),
                ('p', "insert into public.items values (6, 'six')"),
                ('p', "show search_path"),
                (' ', "select * from items"),
                (' ', "rollback"),
            ]),
        ),
    ]
}

fn modes() -> Vec<(&'static str, Vec<Turn>)> {
    const LEVEL: &str = "select current_setting('transaction_isolation')";
    vec![
        (
            "REPEATABLE READ",
            queries(&[
                (' ', "begin isolation level repeatable read"),
                ('p', READ),
                ('p', WRITE),
                (' ', "commit"),
            ]),
        ),
        (
            "SERIALIZABLE",
            queries(&[
                (' ', "begin isolation level serializable"),
                ('p', READ),
                ('p', WRITE),
                (' ', "commit"),
            ]),
        ),
        (
            "READ COMMITTED, said",
            queries(&[
                (' ', "begin isolation level read committed"),
                ('r', READ),
                ('p', WRITE),
                ('p', LEVEL),
                (' ', "end"),
            ]),
        ),
        ("READ WRITE", queries(&[(' ', "begin read write"), ('p', READ), ('p', WRITE), (' ', "commit")])),
        (
            "READ ONLY",
            queries(&[(' ', "begin read only"), ('r', READ), ('r', WRITE), (' ', "rollback"), ('r', READ)]),
        ),
        (
            "READ ONLY, REPEATABLE READ",
            queries(&[
                (' ', "begin isolation level repeatable read, read only"),
                ('r', READ),
                ('r', LEVEL),
                (' ', WRITE),
                (' ', "rollback"),
            ]),
        ),
        (
            "READ ONLY, SERIALIZABLE, DEFERRABLE",
            queries(&[
                (' ', "begin isolation level serializable, read only, deferrable"),
                ('p', READ),
                (' ', WRITE),
                (' ', "rollback"),
            ]),
        ),
        (
            "SET TRANSACTION ISOLATION LEVEL first",
            queries(&[
                (' ', "begin"),
                ('p', "set transaction isolation level repeatable read"),
                ('p', LEVEL),
                ('p', READ),
                ('p', WRITE),
                (' ', "commit"),
            ]),
        ),
        (
            "SET TRANSACTION ISOLATION LEVEL behind SET LOCAL",
            queries(&[
                (' ', "begin"),
                ('r', "set local app.x to '1'"),
                ('p', "set transaction isolation level serializable"),
                ('p', LEVEL),
                ('p', "select current_setting('app.x')"),
                (' ', "commit"),
            ]),
        ),
        (
            "SET TRANSACTION ISOLATION LEVEL too late",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                (' ', "set transaction isolation level serializable"),
                (' ', "rollback"),
            ]),
        ),
        (
            "SET TRANSACTION READ ONLY first",
            queries(&[
                (' ', "begin"),
                ('r', "set transaction read only"),
                ('r', READ),
                (' ', WRITE),
                (' ', "rollback"),
            ]),
        ),
        (
            "SET TRANSACTION READ ONLY behind a read",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('r', "set transaction read only"),
                (' ', WRITE),
                (' ', "rollback"),
            ]),
        ),
        (
            "SET TRANSACTION READ WRITE",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "set transaction read write"),
                ('p', WRITE),
                (' ', "commit"),
            ]),
        ),
        (
            "SET TRANSACTION READ WRITE in front",
            queries(&[
                (' ', "begin read only"),
                ('p', "set transaction read write"),
                ('p', WRITE),
                (' ', "commit"),
            ]),
        ),
        (
            "SET transaction_isolation",
            queries(&[
                (' ', "begin"),
                ('p', "set transaction_isolation to 'serializable'"),
                ('p', LEVEL),
                (' ', "end"),
            ]),
        ),
        (
            "SESSION CHARACTERISTICS",
            queries(&[
                (' ', "set session characteristics as transaction isolation level repeatable read"),
                (' ', "begin"),
                ('p', READ),
                ('p', LEVEL),
                ('p', WRITE),
                (' ', "commit"),
                ('r', READ),
                (' ', "set session characteristics as transaction read only"),
                (' ', "begin"),
                ('r', LEVEL),
                ('r', READ),
                (' ', "insert into items values (7, 'seven')"),
                (' ', "rollback"),
                (' ', "insert into items values (8, 'eight')"),
                (' ', "begin read write"),
                ('p', "insert into items values (9, 'nine')"),
                (' ', "commit"),
                (' ', "set session characteristics as transaction isolation level serializable"),
                ('p', READ),
                (' ', "begin"),
                ('p', READ),
                (' ', "commit"),
                (' ', "reset default_transaction_isolation"),
                (' ', "reset default_transaction_read_only"),
                (' ', "begin"),
                ('r', LEVEL),
                ('p', "insert into items values (7, 'seven')"),
                (' ', "commit"),
            ]),
        ),
        (
            "defaults that are set in a transaction hold for the next",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('r', "set default_transaction_isolation to 'repeatable read'"),
                ('r', LEVEL),
                (' ', "commit"),
                (' ', "begin"),
                ('p', LEVEL),
                (' ', "commit"),
            ]),
        ),
        (
            "constraints",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "set constraints all deferred"),
                ('p', WRITE),
                (' ', "commit"),
            ]),
        ),
    ]
}

/// What stays where it is.
fn stays() -> Vec<(&'static str, Vec<Turn>)> {
    vec![
        (
            "a cursor",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "declare c cursor for select v from items order by id"),
                ('p', "fetch 2 from c"),
                ('p', WRITE),
                ('p', "fetch 2 from c"),
                (' ', "commit"),
            ]),
        ),
        (
            "a cursor first",
            queries(&[
                (' ', "begin"),
                ('p', "declare c cursor for select v from items order by id"),
                ('p', "fetch 2 from c"),
                (' ', "commit"),
            ]),
        ),
        (
            "a named portal",
            vec![
                (Script::new().query("begin"), ' '),
                (Script::new().query(READ), 'r'),
                (Script::new().parse("s", READ, &[]).bind("c", "s", &[]).execute("c", 2).sync(), 'p'),
                (Script::new().query(WRITE), 'p'),
                (Script::new().execute("c", 2).sync(), ' '),
                (Script::new().execute("c", 0).sync(), ' '),
                (Script::new().query("commit"), ' '),
            ],
        ),
        (
            "rows one by one from the unnamed portal",
            vec![
                (Script::new().query("begin"), ' '),
                (Script::new().parse("", READ, &[]).bind("", "", &[]).execute("", 2).sync(), 'r'),
                (Script::new().execute("", 2).sync(), ' '),
                (Script::new().execute("", 0).sync(), ' '),
                (Script::new().query(WRITE), 'p'),
                (Script::new().query("commit"), ' '),
            ],
        ),
    ]
}

fn failures() -> Vec<(&'static str, Vec<Turn>)> {
    vec![
        (
            "an error on the replica",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                (' ', "select 1/0"),
                (' ', WRITE),
                (' ', READ),
                (' ', "commit"),
                ('r', READ),
            ]),
        ),
        (
            "an error in the first statement",
            queries(&[(' ', "begin"), (' ', "select nothing"), (' ', WRITE), (' ', "rollback"), ('r', READ)]),
        ),
        (
            "an error on the primary",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                (' ', "insert into items values (1, 'one')"),
                (' ', READ),
                (' ', "rollback"),
            ]),
        ),
        (
            "a failed transaction that is ended and goes on in one text",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                (' ', "select 1/0"),
                (' ', "commit; insert into log (what) values ('on')"),
            ]),
        ),
        (
            "a failed transaction that goes back and writes in one text",
            queries(&[
                (' ', "begin"),
                ('r', "savepoint a"),
                ('r', READ),
                (' ', "select 1/0"),
                ('p', "rollback to a; insert into log (what) values ('on')"),
                (' ', "commit"),
            ]),
        ),
        (
            "a hidden write",
            queries(&[
                (' ', "begin"),
                ('r', READ),
                ('p', "select taken from ticket"),
                ('p', WRITE),
                (' ', "commit"),
            ]),
        ),
        (
            "a hidden write first",
            queries(&[(' ', "begin"), ('p', "select taken, 1 from ticket"), ('p', WRITE), (' ', "commit")]),
        ),
        (
            "an unlogged table",
            queries(&[(' ', "begin"), ('r', READ), ('p', "select count(*) from scratch"), (' ', "commit")]),
        ),
    ]
}

/// One statement with parameters, up to its Sync.
fn run(sql: &str, values: &[&str]) -> Script {
    let values: Vec<_> = values.iter().map(|value| Some(*value)).collect();
    Script::new().run(sql, &values).sync()
}

fn extended() -> Vec<(&'static str, Vec<Turn>)> {
    let by_id = "select v from items where id = $1";
    let insert = "insert into items values ($1, $2)";
    let seen = "select nullif(current_setting('app.x', true), '')";
    vec![
        (
            "extended, BEGIN by Query",
            vec![
                (Script::new().query("begin"), ' '),
                (run(by_id, &["2"]), 'r'),
                (run(insert, &["6", "six"]), 'p'),
                (run(by_id, &["6"]), 'p'),
                (Script::new().query("commit"), ' '),
            ],
        ),
        (
            "extended, all of it",
            vec![
                (run("begin", &[]), ' '),
                (run(by_id, &["2"]), 'r'),
                (run("savepoint a", &[]), 'r'),
                (run("set local app.x to 'one'", &[]), 'r'),
                (run("select set_config('app.y', $1, true)", &["why"]), 'r'),
                (run(insert, &["6", "six"]), 'p'),
                (run("select current_setting('app.x'), current_setting('app.y')", &[]), 'p'),
                (run("rollback to a", &[]), 'p'),
                (run(seen, &[]), 'p'),
                (run(by_id, &["6"]), 'p'),
                (run("commit", &[]), ' '),
            ],
        ),
        (
            "prepared statements",
            vec![
                (Script::new().parse("r", by_id, &[]).parse("w", insert, &[]).sync(), ' '),
                (Script::new().query("begin"), ' '),
                (Script::new().bind("", "r", &[Some("1")]).describe_portal("").execute("", 0).sync(), 'r'),
                (Script::new().describe_statement("r").sync(), ' '),
                (Script::new().bind("", "w", &[Some("6"), Some("six")]).execute("", 0).sync(), 'p'),
                (Script::new().bind("", "r", &[Some("6")]).execute("", 0).sync(), 'p'),
                (Script::new().query("commit"), ' '),
                (Script::new().bind("", "r", &[Some("6")]).execute("", 0).sync(), 'r'),
                (Script::new().close_statement("r").close_statement("w").sync(), ' '),
            ],
        ),
        (
            "prepared in the transaction",
            vec![
                (Script::new().query("begin"), ' '),
                (Script::new().parse("r", by_id, &[]).describe_statement("r").sync(), 'r'),
                (Script::new().bind("", "r", &[Some("1")]).execute("", 0).sync(), 'r'),
                (Script::new().query(WRITE), 'p'),
                (Script::new().bind("", "r", &[Some("6")]).execute("", 0).sync(), 'p'),
                (Script::new().query("commit"), ' '),
            ],
        ),
        (
            "the unnamed statement across the move",
            vec![
                (Script::new().query("begin"), ' '),
                (Script::new().parse("", by_id, &[]).bind("", "", &[Some("1")]).execute("", 0).sync(), 'r'),
                (run(insert, &["6", "six"]), ' '),
                (Script::new().bind("", "", &[Some("7"), Some("seven")]).execute("", 0).sync(), 'p'),
                (Script::new().query("commit"), ' '),
            ],
        ),
        (
            "SQL's PREPARE and EXECUTE",
            queries(&[
                (' ', "prepare r as select v from items where id = $1"),
                (' ', "prepare w as insert into items values ($1, 'sql')"),
                (' ', "begin"),
                ('r', "execute r(1)"),
                ('p', "execute w(6)"),
                ('p', "execute r(6)"),
                (' ', "commit"),
                (' ', "deallocate all"),
            ]),
        ),
        (
            "an error, extended",
            vec![
                (Script::new().query("begin"), ' '),
                (run(by_id, &["1"]), 'r'),
                (run(by_id, &["one"]), ' '),
                (run(insert, &["6", "six"]), ' '),
                (Script::new().query("rollback"), ' '),
                (run(by_id, &["1"]), 'r'),
            ],
        ),
        (
            "what can't be read",
            vec![
                (Script::new().query("begin"), ' '),
                (run(by_id, &["1"]), 'r'),
                (run("selec 1", &[]), ' '),
                (Script::new().query("rollback"), ' '),
            ],
        ),
    ]
}

fn pipelines() -> Vec<(&'static str, Vec<Turn>)> {
    let by_id = "select v from items where id = $1";
    let one = [Some("1")];
    let insert = "insert into items values ($1, 'p')";
    vec![
        (
            "BEGIN in a pipeline",
            vec![
                (Script::new().run("begin", &[]).run(by_id, &one).sync(), 'r'),
                (run(by_id, &["2"]), 'r'),
                (run(insert, &["6"]), 'p'),
                (run("commit", &[]), ' '),
            ],
        ),
        (
            "BEGIN and a write in a pipeline",
            vec![
                (Script::new().run("begin", &[]).run(by_id, &one).run(insert, &[Some("6")]).sync(), 'p'),
                (run("commit", &[]), ' '),
            ],
        ),
        (
            "a whole transaction in a pipeline",
            vec![
                (Script::new().run("begin", &[]).run(by_id, &one).run("commit", &[]).sync(), 'r'),
                (
                    Script::new()
                        .run("begin", &[])
                        .run(by_id, &one)
                        .run("commit", &[])
                        .run("begin", &[])
                        .sync(),
                    'r',
                ),
                (Script::new().run("set local app.x to 'one'", &[]).run(by_id, &one).sync(), 'r'),
                (Script::new().run(by_id, &one).run(insert, &[Some("6")]).sync(), 'p'),
                (run("select current_setting('app.x')", &[]), 'p'),
                (run("rollback", &[]), ' '),
            ],
        ),
        (
            "a pipeline that fails behind a savepoint",
            vec![
                (Script::new().query("begin"), ' '),
                (Script::new().run("savepoint a", &[]).run("select 1/0", &[]).run(by_id, &one).sync(), ' '),
                (run("rollback to a", &[]), 'r'),
                (run(insert, &["6"]), 'p'),
                (run("rollback to b", &[]), ' '),
                (run("rollback to a", &[]), 'p'),
                (run(by_id, &["6"]), 'p'),
                (run("commit", &[]), ' '),
            ],
        ),
        (
            "a savepoint in a pipeline",
            vec![
                (Script::new().query("begin"), ' '),
                (Script::new().run("savepoint a", &[]).run("select 1", &[]).run(by_id, &one).sync(), 'r'),
                (run(insert, &["6"]), 'p'),
                (run("rollback to a", &[]), 'p'),
                (run("commit", &[]), ' '),
            ],
        ),
        (
            "a pipeline with several savepoints fails",
            vec![
                (Script::new().query("begin"), ' '),
                (run(by_id, &["1"]), 'r'),
                (
                    Script::new()
                        .run("savepoint a", &[])
                        .run("select 1/0", &[])
                        .run("savepoint b", &[])
                        .sync(),
                    ' ',
                ),
                (run("rollback to a", &[]), 'p'),
                (run(insert, &["6"]), 'p'),
                (run("commit", &[]), ' '),
            ],
        ),
        (
            "a hidden write behind BEGIN in a pipeline",
            vec![
                (Script::new().run("begin", &[]).run("select taken, 2 from ticket", &[]).sync(), 'p'),
                (run(insert, &["6"]), 'p'),
                (run("commit", &[]), ' '),
            ],
        ),
        (
            "several Syncs in one write",
            vec![
                (
                    Script::new()
                        .query("begin")
                        .run(by_id, &one)
                        .sync()
                        .run(by_id, &one)
                        .sync()
                        .run(insert, &[Some("6")])
                        .sync()
                        .query(READ)
                        .query("commit"),
                    ' ',
                ),
                (
                    Script::new()
                        .query("begin")
                        .query(READ)
                        .query("select 1/0")
                        .query(WRITE)
                        .query("commit")
                        .query(READ),
                    'r',
                ),
            ],
        ),
        (
            "a pipeline that goes on behind Flush",
            vec![
                (Script::new().query("begin"), ' '),
                (run(by_id, &["1"]), 'r'),
                (Script::new().run(by_id, &one).flush().run(insert, &[Some("6")]).sync(), 'p'),
                (run("commit", &[]), ' '),
            ],
        ),
        (
            "Sync alone, and closing",
            vec![
                (Script::new().query("begin"), ' '),
                (run(by_id, &["1"]), 'r'),
                (Script::new().sync(), ' '),
                (Script::new().close_portal("").close_statement("nothing").sync(), ' '),
                (run(by_id, &["1"]), 'r'),
                (run(insert, &["6"]), 'p'),
                (run("commit", &[]), ' '),
            ],
        ),
    ]
}
