//! The kinds of session state that there are.

use crate::kind::Kind;

const WORK_MEM: &[&str] = &["SHOW work_mem"];
/// (Once set, then unset, it is an empty text for good on that connection, and NULL on others.)
const TENANT: &[&str] = &["SELECT nullif(current_setting('app.tenant', true), '')"];
const ZONE: &[&str] = &["SELECT timestamptz '2026-01-01 00:00+00'", "SHOW TimeZone"];
const WHO: &[&str] = &["SELECT current_user, session_user, current_setting('role')"];
const TABLES: &[&str] = &["SELECT to_regclass('pg_temp.mine') IS NULL, count(*) FROM pg_class \
    WHERE relnamespace = pg_my_temp_schema()"];
const CURSORS: &[&str] = &["SELECT name, is_holdable FROM pg_cursors WHERE name <> ''"];
const LOCKS: &[&str] = &["SELECT classid, objid, mode FROM pg_locks WHERE locktype = 'advisory' \
    AND pid = pg_backend_pid() ORDER BY 1, 2, 3"];

pub(crate) fn kinds() -> Vec<Kind> {
    [settings(), functions_that_set(), identities(), statements(), channels(), pinning(), transactional()]
        .concat()
}

fn settings() -> Vec<Kind> {
    let new = Kind::new;
    vec![
        new("SET TimeZone").main().make("SET TimeZone = 'Asia/Tokyo'").look(ZONE),
        new("SET TIME ZONE, an interval").make("SET TIME ZONE INTERVAL '-03:30' HOUR TO MINUTE").look(ZONE),
        new("SET TIME ZONE, a number").make("SET TIME ZONE 5.5").look(ZONE),
        new("SET DateStyle")
            .make("SET DateStyle TO German, DMY")
            .look(&["SELECT date '2026-02-01'", "SHOW DateStyle"]),
        new("SET application_name").make("SET application_name = 'mine'").look(&["SHOW application_name"]),
        new("SET work_mem").main().make("SET work_mem = '5MB'").look(WORK_MEM),
        new("SET SESSION work_mem, a number").make("SET SESSION work_mem TO 5120").look(WORK_MEM),
        new("SET work_mem TO DEFAULT")
            .before(&["SET work_mem = '5MB'"])
            .make("SET work_mem TO DEFAULT")
            .look(WORK_MEM),
        new("SET twice").make("SET work_mem = '5MB'").make("SET work_mem = '6MB'").look(WORK_MEM),
        new("SET and SET LOCAL")
            .make("SET work_mem = '5MB'")
            .make("SET LOCAL work_mem = '6MB'")
            .look(WORK_MEM),
        new("SET LOCAL and SET")
            .make("SET LOCAL work_mem = '6MB'")
            .make("SET work_mem = '5MB'")
            .look(WORK_MEM),
        new("SET statement_timeout").make("SET statement_timeout = '77s'").look(&["SHOW statement_timeout"]),
        new("SET search_path")
            .make("SET search_path = s1, public")
            .look(&["SHOW search_path", "SELECT to_regclass('here')"])
            .attempt(&["SELECT who FROM here"]),
        new("SET search_path, empty")
            .make("SET search_path = ''")
            .look(&["SELECT current_schemas(true), to_regclass('t')"]),
        new("SET a setting of one's own").main().make("SET app.tenant = '42'").look(TENANT),
        new("SET an odd value of a setting of one's own")
            .make("SET app.tenant = E'it''s \\\\ \"q\" \\n; RESET ALL'")
            .look(TENANT),
        new("SET client_encoding")
            .make("SET client_encoding = 'LATIN1'")
            .look(&["SHOW client_encoding", "SELECT chr(233)"]),
        new("SET NAMES").make("SET NAMES 'LATIN1'").look(&["SHOW client_encoding", "SELECT chr(233)"]),
        new("SET standard_conforming_strings")
            .make("SET standard_conforming_strings = off")
            .before(&["SET escape_string_warning = off"])
            .look(&["SELECT length('a\\\\b')"]),
        new("SET SESSION CHARACTERISTICS, isolation")
            .make("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            .look(&["SHOW default_transaction_isolation"])
            .attempt(&["SHOW transaction_isolation"]),
        new("SET SESSION CHARACTERISTICS, read only")
            .make("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            .look(&["SHOW default_transaction_read_only"])
            .attempt(&["INSERT INTO t VALUES (1)"]),
        new("SET default_transaction_read_only")
            .make("SET default_transaction_read_only = on")
            .look(&["SHOW default_transaction_read_only"])
            .attempt(&["INSERT INTO t VALUES (1)"]),
        new("SET XML OPTION").make("SET XML OPTION DOCUMENT").look(&["SHOW xmloption"]),
        new("SET plan_cache_mode, enable_seqscan")
            .make("SET plan_cache_mode = force_generic_plan")
            .make("SET enable_seqscan = off")
            .look(&["SELECT current_setting('plan_cache_mode'), current_setting('enable_seqscan')"]),
        new("SET with an error")
            .make("SET work_mem = '5MB'")
            .before(&["SET work_mem = 'nonsense'"])
            .look(WORK_MEM),
        new("RESET after a startup parameter")
            .startup(&[("application_name", "begun")])
            .make("SET application_name = 'x'")
            .make("RESET application_name")
            .look(&["SHOW application_name"]),
        new("RESET").before(&["SET work_mem = '5MB'"]).make("RESET work_mem").look(WORK_MEM),
        new("RESET a setting of one's own")
            .before(&["SET app.tenant = '42'"])
            .make("RESET app.tenant")
            .look(TENANT),
        new("RESET ALL")
            .main()
            .before(&["SET work_mem = '5MB'", "SET TimeZone = 'Asia/Tokyo'", "SET app.tenant = '42'"])
            .make("RESET ALL")
            .look(&[
                "SHOW work_mem",
                "SHOW TimeZone",
                "SELECT nullif(current_setting('app.tenant', true), '')",
            ]),
        new("startup parameters")
            .startup(&[("TimeZone", "Asia/Tokyo"), ("application_name", "begun")])
            .make("SET TimeZone = 'Europe/Paris'")
            .make("RESET TimeZone")
            .look(&["SHOW TimeZone", "SHOW application_name"]),
        new("startup options")
            .main()
            .startup(&[("options", "-c work_mem=3MB -c search_path=s1,public --app.tenant=9")])
            .make("SET work_mem = '5MB'")
            .look(&[
                "SHOW work_mem",
                "SELECT nullif(current_setting('app.tenant', true), '')",
                "SELECT to_regclass('here')",
            ]),
        new("startup and RESET ALL")
            .startup(&[("options", "-c work_mem=3MB"), ("DateStyle", "German, DMY")])
            .before(&["SET work_mem = '5MB'", "SET DateStyle = 'SQL, MDY'"])
            .make("RESET ALL")
            .look(&["SHOW work_mem", "SELECT date '2026-02-01'"]),
        new("DISCARD ALL")
            .main()
            .startup(&[("options", "-c work_mem=3MB")])
            .before(&["SET work_mem = '5MB'", "SET app.tenant = '42'", "PREPARE p AS SELECT 1"])
            .make("DISCARD ALL")
            .look(&["SHOW work_mem", "SELECT nullif(current_setting('app.tenant', true), '')"])
            .attempt(&["EXECUTE p"])
            .plain_only(),
    ]
}

fn functions_that_set() -> Vec<Kind> {
    let new = Kind::new;
    vec![
        new("set_config").main().make("SELECT set_config('work_mem', '5MB', false)").look(WORK_MEM),
        new("set_config, local").make("SELECT set_config('work_mem', '5MB', true)").look(WORK_MEM),
        new("set_config of one's own").make("SELECT set_config('app.tenant', '42', false)").look(TENANT),
        new("set_config of one's own, local").make("SELECT set_config('app.tenant', '42', true)").look(TENANT),
        new("set_config with parameters").main()
            .make_with("SELECT set_config($1, $2, $3::bool)", &["app.tenant", "42", "false"])
            .look(TENANT),
        new("set_config with parameters, local")
            .make_with("SELECT set_config($1, $2, $3::bool)", &["app.tenant", "42", "true"])
            .look(TENANT),
        new("set_config with a parameter for its value")
            .make_with("SELECT set_config('work_mem', $1, false)", &["5MB"])
            .look(WORK_MEM),
        new("set_config of rows")
            .make("SELECT n, set_config('app.tenant', 'v' || n, false) FROM generate_series(1, 3) n")
            .look(TENANT),
        new("set_config among others")
            .make("SELECT 1, set_config('work_mem', '5MB', false), set_config('app.tenant', '7', false), now() IS NULL")
            .look(&["SHOW work_mem", "SELECT nullif(current_setting('app.tenant', true), '')"]),
        new("set_config in a CTE")
            .make("WITH c AS (SELECT set_config('app.tenant', '42', false) AS v) SELECT v FROM c")
            .look(TENANT),
        new("set_config in a CTE that isn't run")
            .make("WITH c AS (SELECT set_config('app.tenant', '42', false) AS v) SELECT v FROM c WHERE false")
            .look(TENANT),
        new("set_config in INSERT")
            .make("INSERT INTO t SELECT 1 WHERE set_config('app.tenant', '42', false) = '42'")
            .look(TENANT),
        new("set_config in CASE")
            .make("SELECT CASE WHEN n > 1 THEN set_config('work_mem', n || 'MB', false) END FROM generate_series(1, 3) n")
            .look(WORK_MEM),
        new("UPDATE pg_settings").make("UPDATE pg_settings SET setting = '5120' WHERE name = 'work_mem'").look(WORK_MEM),
        new("a function with SET").make("SELECT with_set()").look(WORK_MEM),
        new("SET LOCAL").main().make("SET LOCAL work_mem = '5MB'").look(WORK_MEM),
        new("SET LOCAL TimeZone").make("SET LOCAL TimeZone = 'Asia/Tokyo'").look(ZONE),
        new("SET LOCAL search_path").make("SET LOCAL search_path = s1").look(&["SELECT to_regclass('here')"]),
    ]
}

fn identities() -> Vec<Kind> {
    let new = Kind::new;
    let who = |kind: Kind| {
        kind.look(WHO).attempt(&["SELECT count(*) FROM clerks_only", "SELECT count(*) FROM by_user"])
    };
    vec![
        who(new("SET ROLE").main().make("SET ROLE clerk")),
        who(new("SET LOCAL ROLE").make("SET LOCAL ROLE clerk")),
        who(new("SET ROLE NONE").before(&["SET ROLE clerk"]).make("SET ROLE NONE")),
        who(new("RESET ROLE").before(&["SET ROLE clerk"]).make("RESET ROLE")),
        who(new("set_config of role").make("SELECT set_config('role', 'clerk', false)")),
        who(new("startup role").startup(&[("role", "clerk")]).make("SET work_mem = '5MB'")),
        who(new("SET ROLE, then RESET ALL").make("SET ROLE clerk").make("RESET ALL")),
        who(new("SET ROLE, then DISCARD ALL").before(&["SET ROLE clerk"]).make("DISCARD ALL")),
        who(new("SET SESSION AUTHORIZATION").main().boss().make("SET SESSION AUTHORIZATION app")),
        who(new("SET SESSION AUTHORIZATION and ROLE")
            .boss()
            .make("SET SESSION AUTHORIZATION app")
            .make("SET ROLE clerk")),
        who(new("RESET SESSION AUTHORIZATION")
            .boss()
            .before(&["SET SESSION AUTHORIZATION app"])
            .make("RESET SESSION AUTHORIZATION")),
        new("a superuser's setting")
            .boss()
            .make("SET log_min_duration_statement = 77")
            .look(&["SHOW log_min_duration_statement"]),
        new("a superuser's setting, then a role without it")
            .boss()
            .make("SET lc_messages = 'C'")
            .make("SET session_replication_role = replica")
            .make("SET ROLE app")
            .look(&["SELECT current_setting('session_replication_role'), current_user"]),
    ]
}

fn statements() -> Vec<Kind> {
    let new = Kind::new;
    let of_p = |kind: Kind| kind.attempt(&["EXECUTE p (1)"]).outlives_rollback();
    vec![
        of_p(new("PREPARE").main().make("PREPARE p (int) AS SELECT $1 + 1")),
        of_p(new("PREPARE and EXECUTE").make("PREPARE p (int) AS SELECT $1 + 1").make("EXECUTE p (5)")),
        of_p(
            new("PREPARE a taken name")
                .before(&["PREPARE p (int) AS SELECT 0"])
                .make("PREPARE p (int) AS SELECT 1"),
        ),
        of_p(new("DEALLOCATE").before(&["PREPARE p (int) AS SELECT $1 + 1"]).make("DEALLOCATE p")),
        of_p(new("DEALLOCATE ALL").before(&["PREPARE p (int) AS SELECT $1 + 1"]).make("DEALLOCATE ALL")),
        new("PREPARE under another search_path")
            .before(&["SET search_path = s1, public", "PREPARE p AS SELECT who FROM here"])
            .make("SET search_path = s2, public")
            .attempt(&["EXECUTE p", "SELECT who FROM here"]),
        new("DISCARD PLANS").before(&["SET work_mem = '5MB'"]).make("DISCARD PLANS").look(WORK_MEM),
    ]
}

fn channels() -> Vec<Kind> {
    let new = Kind::new;
    let heard: &[&str] =
        &["NOTIFY news, 'heard'", "NOTIFY other, 'not heard'", "SELECT pg_listening_channels()"];
    vec![
        new("LISTEN").main().make("LISTEN news").attempt(heard),
        new("LISTEN twice").make("LISTEN news").make("LISTEN news").attempt(heard),
        new("UNLISTEN").before(&["LISTEN news"]).make("UNLISTEN news").attempt(heard),
        new("UNLISTEN *").before(&["LISTEN news", "LISTEN other"]).make("UNLISTEN *").attempt(heard),
        new("LISTEN and UNLISTEN")
            .make("LISTEN news")
            .make("UNLISTEN news")
            .make("LISTEN other")
            .attempt(heard),
        new("LISTEN, then DISCARD ALL").before(&["LISTEN news"]).make("DISCARD ALL").attempt(heard),
        new("LISTEN and pg_notify")
            .make("LISTEN news")
            .make("SELECT pg_notify('news', 'by function')")
            .attempt(heard),
    ]
}

fn pinning() -> Vec<Kind> {
    let new = Kind::new;
    let read: &[&str] = &["SELECT * FROM mine"];
    let drop: &[&str] = &["DROP TABLE IF EXISTS pg_temp.mine"];
    let table = |kind: Kind| kind.look(TABLES).attempt(read).pins_until("temporary_table", drop);
    let fetch: &[&str] = &["FETCH 1 FROM c"];
    let unlock: &[&str] = &["SELECT pg_advisory_unlock_all()"];
    let lock = |kind: Kind| kind.look(LOCKS).outlives_rollback().pins_until("advisory_lock", unlock);
    vec![
        table(
            new("a temporary table")
                .main()
                .make("CREATE TEMP TABLE mine (n int)")
                .make("INSERT INTO mine VALUES (7)"),
        ),
        table(new("a temporary table from a query").make("CREATE TEMPORARY TABLE mine AS SELECT 7 AS n")),
        table(new("SELECT INTO TEMP").make("SELECT 7 AS n INTO TEMP mine")).plain_only(),
        table(new("a table in pg_temp").make("CREATE TABLE pg_temp.mine (n int)")),
        table(
            new("a table by search_path")
                .before(&["SET search_path = pg_temp, public"])
                .make("CREATE TABLE mine (n int)"),
        ),
        table(
            new("ON COMMIT DELETE ROWS")
                .make("CREATE TEMP TABLE mine ON COMMIT DELETE ROWS AS SELECT 7 AS n"),
        ),
        table(new("a temporary view").make("CREATE TEMP VIEW mine AS SELECT 7 AS n"))
            .ends(&["DROP VIEW IF EXISTS pg_temp.mine"]),
        table(new("a temporary sequence").make("CREATE TEMP SEQUENCE mine"))
            .ends(&["DROP SEQUENCE IF EXISTS pg_temp.mine"]),
        table(
            new("a temporary table, dropped").make("CREATE TEMP TABLE mine (n int)").make("DROP TABLE mine"),
        ),
        table(
            new("a temporary table, DISCARD TEMP")
                .before(&["CREATE TEMP TABLE mine (n int)"])
                .make("DISCARD TEMP"),
        ),
        table(
            new("a temporary function")
                .make("CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 7'"),
        )
        .attempt(&["SELECT to_regproc('pg_temp.mine') IS NULL"])
        .ends(&["DROP FUNCTION IF EXISTS pg_temp.mine"]),
        new("ON COMMIT DROP").main().make("CREATE TEMP TABLE mine (n int) ON COMMIT DROP").look(TABLES),
        new("a cursor WITH HOLD")
            .main()
            .make("DECLARE c CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 100) n")
            .look(CURSORS)
            .attempt(fetch)
            .pins_until("hold_cursor", &["CLOSE ALL"]),
        new("a cursor WITH HOLD, closed")
            .make("DECLARE c CURSOR WITH HOLD FOR SELECT n FROM generate_series(1, 100) n")
            .make("CLOSE c")
            .look(CURSORS)
            .attempt(fetch)
            .pins_until("hold_cursor", &["CLOSE ALL"]),
        lock(new("an advisory lock").main().make("SELECT pg_advisory_lock(7)")),
        lock(new("an advisory lock, if there is one").make("SELECT pg_try_advisory_lock_shared(7, 8)")),
        lock(new("an advisory lock, twice").make("SELECT pg_advisory_lock(7), pg_advisory_lock(7)")),
        lock(
            new("an advisory lock, given back")
                .make("SELECT pg_advisory_lock(7)")
                .make("SELECT pg_advisory_unlock(7)"),
        ),
        new("an advisory lock of the transaction").main().make("SELECT pg_advisory_xact_lock(7)").look(LOCKS),
        new("setseed")
            .main()
            .make("SELECT setseed(0.5)")
            .attempt(&["SELECT random()"])
            .outlives_rollback()
            .needed()
            .pins("setseed"),
        new("SET SEED")
            .make("SET SEED TO 0.5")
            .attempt(&["SELECT random()"])
            .outlives_rollback()
            .needed()
            .pins("setseed"),
        new("set_config of seed")
            .make("SELECT set_config('seed', '0.5', false)")
            .attempt(&["SELECT random()"])
            .outlives_rollback()
            .needed()
            .pins("setseed"),
        new("set_config of seed, with parameters")
            .make_with("SELECT set_config($1, $2, false)", &["seed", "0.5"])
            .attempt(&["SELECT random()"])
            .outlives_rollback()
            .needed()
            .pins("setseed")
            .plain_only(),
        new("LOAD")
            .boss()
            .make("LOAD 'auto_explain'")
            .look(&["SELECT current_setting('auto_explain.log_min_duration', true)"])
            .outlives_rollback()
            .pins("load"),
    ]
}

fn transactional() -> Vec<Kind> {
    let new = Kind::new;
    vec![
        new("a cursor")
            .main()
            .make("DECLARE c CURSOR FOR SELECT n FROM generate_series(1, 100) n")
            .look(CURSORS)
            .in_a_block(),
        new("a cursor, read")
            .make("DECLARE c CURSOR FOR SELECT n FROM generate_series(1, 100) n")
            .make("FETCH 3 FROM c")
            .look(CURSORS)
            .in_a_block()
            .plain_only(),
        new("SET CONSTRAINTS")
            .main()
            .make("SET CONSTRAINTS ALL DEFERRED")
            .make("INSERT INTO parts VALUES (99)")
            .in_a_block()
            .look(&["SELECT 'still here'"]),
        new("SET CONSTRAINTS IMMEDIATE")
            .make("SET CONSTRAINTS ALL IMMEDIATE")
            .look(&["SELECT 'still here'"])
            .in_a_block(),
        new("SET TRANSACTION")
            .make("SET TRANSACTION READ ONLY")
            .look(&["SHOW transaction_read_only"])
            .in_a_block(),
        new("SET TRANSACTION, isolation")
            .make("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            .look(&["SHOW transaction_isolation"])
            .in_a_block()
            .plain_only(),
        new("currval")
            .main()
            .make("SELECT nextval('tickets') > 0")
            .attempt(&["SELECT currval('tickets') > 0"])
            .outlives_rollback()
            .or("55000"),
        new("lastval")
            .make("SELECT nextval('tickets') > 0")
            .attempt(&["SELECT lastval() > 0"])
            .outlives_rollback()
            .or("55000"),
        new("lastval of a serial column")
            .make("INSERT INTO numbered DEFAULT VALUES")
            .attempt(&["SELECT lastval() > 0"])
            .outlives_rollback()
            .or("55000"),
        new("DISCARD SEQUENCES")
            .before(&["SELECT nextval('tickets') > 0"])
            .make("DISCARD SEQUENCES")
            .attempt(&["SELECT lastval() > 0"])
            .or("55000"),
    ]
}
