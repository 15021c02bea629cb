"""psycopg 3 through pgweir: what its users do. The table `psycopg_items (id, name, data)` is there, and is empty."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import errors, sql
from psycopg.rows import scalar_row

from checks import CLIENTS, PRIMARY, SLEEPS, check, equal, raises, run

HUGE = 200_000_000


def connect(**options):
    # Which server it is and how it is verified: PGHOST, PGSSLMODE and so on.
    return psycopg.connect(channel_binding="require", **options)


def value(connection, query, *parameters, **options):
    return connection.execute(query, parameters or None, **options).fetchone()[0]


@check
def tls():
    with connect() as connection:
        equal(connection.pgconn.ssl_in_use, True)
        equal(connection.pgconn.used_password, True)


@check
def wrong_password():
    error = raises(psycopg.OperationalError, lambda: connect(password="wrong"))
    assert "password authentication failed" in str(error), error


@check
def inserts():
    with connect(autocommit=True) as connection:
        returned = value(connection, "insert into psycopg_items values (1, %s) returning name", "one")
        equal(returned, "one")
        rows = [(n, f"name {n}") for n in range(2, 502)]
        with connection.cursor() as cursor:
            cursor.executemany("insert into psycopg_items values (%s, %s)", rows)
            equal(cursor.rowcount, 500)
            cursor.executemany(
                "insert into psycopg_items values (%s, %s) returning id",
                [(n, None) for n in (601, 602, 603)],
                returning=True,
            )
            ids = [cursor.fetchone()[0]]
            while cursor.nextset():
                ids.append(cursor.fetchone()[0])
            equal(ids, [601, 602, 603])
        equal(value(connection, PRIMARY + "select count(*) from psycopg_items"), 504)


@check
def reads_go_to_the_replica():
    with connect(autocommit=True) as connection:
        for prepare in (False, True):
            cursor = connection.execute("select n from fixed order by n", prepare=prepare)
            equal([n for (n,) in cursor], [1, 2, 3])
            route = connection.execute("show pgweir.route").fetchone()
            equal(route[2], "replica")


@check
def transactions():
    with connect() as connection, connect(autocommit=True) as other:
        count = "select count(*) from psycopg_items where id between 1000 and 1999"
        connection.execute("insert into psycopg_items values (1000, 'a')")
        equal(value(connection, count), 1)
        equal(value(other, PRIMARY + count), 0)
        connection.rollback()
        equal(value(connection, count), 0)
        connection.execute("insert into psycopg_items values (1000, 'b')")
        connection.commit()
        equal(value(other, PRIMARY + count), 1)
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        equal(value(connection, "show transaction_isolation"), "serializable")
        connection.rollback()
        connection.isolation_level = None
        connection.read_only = True
        raises(errors.ReadOnlySqlTransaction, lambda: connection.execute("delete from psycopg_items"))
        connection.rollback()


@check
def savepoints():
    with connect() as connection:
        with connection.transaction():
            connection.execute("insert into psycopg_items values (1100, 'kept')")
            with connection.transaction() as inner:
                connection.execute("insert into psycopg_items values (1101, 'undone')")
                raise psycopg.Rollback(inner)
            try:
                with connection.transaction():
                    connection.execute("insert into psycopg_items values (1100, 'again')")
            except errors.UniqueViolation:
                pass
            connection.execute("insert into psycopg_items values (1102, 'kept')")
        ids = connection.execute("select id from psycopg_items where id between 1100 and 1199 order by id")
        equal([n for (n,) in ids], [1100, 1102])


@check
def prepared_at_once():
    with connect(autocommit=True, prepare_threshold=0) as connection:
        for n in range(50):
            equal(value(connection, "select %s::int + %s::int", n, 1), n + 1)
            equal(value(connection, "select n * %s::int from fixed where n = 2", n), 2 * n)
        with connection.transaction():
            for n in range(1200, 1220):
                connection.execute("insert into psycopg_items values (%s, %s)", (n, "prepared"))
        equal(value(connection, PRIMARY + "select count(*) from psycopg_items where name = %s", "prepared"), 20)


@check
def prepared_by_and_by():
    # The sixth run prepares; a cache of 3 drops what was prepared before (DEALLOCATE or Close).
    with connect(autocommit=True) as connection:
        connection.prepared_max = 3
        for round in range(12):
            for n in range(6):
                equal(value(connection, f"select %s::int + {n}", round), round + n)


@check
def errors_leave_the_connection_usable():
    with connect(autocommit=True) as connection:
        connection.execute("insert into psycopg_items values (1300, 'first')")
        insert = lambda: connection.execute("insert into psycopg_items values (%s, 'second')", (1300,))
        for _ in range(8):  # before it is prepared and after
            error = raises(errors.UniqueViolation, insert)
            equal(error.sqlstate, "23505")
            equal(error.diag.constraint_name, "psycopg_items_pkey")
            equal(value(connection, "select 1"), 1)
        equal(raises(errors.SyntaxError, lambda: connection.execute("selec 1")).diag.statement_position, "1")
        raises(errors.UndefinedTable, lambda: connection.execute("select * from no_such_table"))
        raises(errors.DivisionByZero, lambda: connection.execute("select 1 / %s", (0,)))
        equal(value(connection, "select 2"), 2)
    with connect() as connection:
        raises(errors.UniqueViolation, lambda: connection.execute("insert into psycopg_items values (1300)"))
        raises(errors.InFailedSqlTransaction, lambda: connection.execute("select 1"))
        connection.rollback()
        equal(value(connection, "select 3"), 3)


@check
def cancel():
    with connect(autocommit=True) as connection, connect(autocommit=True) as watcher:
        def cancel_it():
            while value(watcher, SLEEPS.format("psycopg sleeps")) == 0:
                pass
            connection.cancel_safe(timeout=30)

        with ThreadPoolExecutor(1) as executor:
            for sleep in ("select pg_sleep(600)", "select pg_sleep(%s)"):
                cancelled = executor.submit(cancel_it)
                query = PRIMARY + sleep + " -- psycopg sleeps"
                parameters = (600,) if "%s" in sleep else None
                raises(errors.QueryCanceled, lambda: connection.execute(query, parameters))
                cancelled.result()
                equal(value(connection, "select 1"), 1)


@check
def copy_in_and_out():
    with connect() as connection:
        cursor = connection.cursor()
        with cursor.copy("copy psycopg_items (id, name, data) from stdin") as copy:
            for n in range(2000, 7000):
                copy.write_row((n, None if n % 7 == 0 else f"tab\tand \\ {n}", bytes([n % 256])))
        equal(cursor.rowcount, 5000)
        with cursor.copy("copy (select * from psycopg_items where id between 2000 and 6999 order by id) to stdout") as copy:
            copy.set_types(["int4", "text", "bytea"])
            rows = list(copy.rows())
        equal(len(rows), 5000)
        equal(rows[1], (2001, "tab\tand \\ 2001", bytes([2001 % 256])))
        equal(rows[2002 - 2000][0], 2002)
        with cursor.copy("copy psycopg_items (id, name) from stdin (format binary)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((7000, "binary"))
        connection.commit()
        equal(value(connection, "select name from psycopg_items where id = 7000"), "binary")


@check
def copy_that_fails():
    with connect(autocommit=True) as connection:
        cursor = connection.cursor()

        def bad_row():
            with cursor.copy("copy psycopg_items (id, name) from stdin") as copy:
                copy.write_row((7100, "good"))
                copy.write("x\tbad\n")

        def given_up():
            with cursor.copy("copy psycopg_items (id, name) from stdin") as copy:
                copy.write_row((7101, "good"))
                raise KeyError("given up")

        def left_early():
            with cursor.copy("copy (select repeat('x', 1000) from generate_series(1, 100000)) to stdout") as copy:
                copy.read()
                raise KeyError("left early")

        raises(errors.InvalidTextRepresentation, bad_row)
        raises(KeyError, given_up)
        raises(KeyError, left_early)
        equal(value(connection, PRIMARY + "select count(*) from psycopg_items where id in (7100, 7101)"), 0)


@check
def server_side_cursor():
    with connect() as connection:
        with connection.cursor("big", scrollable=True) as cursor:
            cursor.itersize = 100
            cursor.execute("select n, repeat('x', 100) from generate_series(1, %s) n", (5000,))
            equal(cursor.fetchmany(3)[2][0], 3)
            equal(sum(n for n, _ in cursor), sum(range(4, 5001)))
            cursor.scroll(0, mode="absolute")
            equal(cursor.fetchone()[0], 1)


@check
def streamed_rows():
    with connect(autocommit=True) as connection:
        rows = connection.cursor().stream("select n from generate_series(1, 20000) n")
        equal(sum(n for (n,) in rows), 20000 * 20001 // 2)


@check
def pipelines():
    with connect(autocommit=True) as connection:
        with connection.pipeline() as pipeline:
            first = connection.execute("insert into psycopg_items values (1400, %s) returning id", ("p",))
            connection.execute("update psycopg_items set name = 'q' where id = 1400")
            pipeline.sync()
            second = connection.execute(PRIMARY + "select name from psycopg_items where id = 1400")
            pipeline.sync()
            equal((first.fetchone()[0], second.fetchone()[0]), (1400, "q"))
            reads = [connection.execute("select n from fixed where n = %s", (n % 3 + 1,)) for n in range(100)]
            equal([read.fetchone()[0] for read in reads], [n % 3 + 1 for n in range(100)])

        def with_an_error():
            with connection.pipeline():
                connection.execute("insert into psycopg_items values (1401)")
                connection.execute("insert into psycopg_items values (1400)")
                connection.execute("insert into psycopg_items values (1402)")

        raises(errors.UniqueViolation, with_an_error)
        ids = "select count(*) from psycopg_items where id in (1401, 1402)"
        equal(value(connection, PRIMARY + ids), 0)


@check
def idle_clients_hold_nothing():
    # A pipeline ends with a Sync and a Flush, and many more of them than the pool is large stay open.
    connections = [connect(autocommit=True) for _ in range(CLIENTS)]
    for connection in connections:
        with connection.pipeline():
            for number in (1, 2):
                connection.execute(PRIMARY + f"select {number}")
    for connection in connections:
        equal(value(connection, PRIMARY + "select 3"), 3)
        connection.close()


@check
def values():
    data = bytes(range(256)) * 4096  # 1 MiB
    text = "täglich 🐘 ' \" \\ $1 %s\n" * 10_000
    with connect() as connection:
        for binary in (False, True):
            connection.execute("delete from psycopg_items where id = 1500")
            insert = "insert into psycopg_items values (%t, %t, %b)" if binary else "insert into psycopg_items values (%s, %s, %s)"
            connection.execute(insert, (1500, text, data))
            select = "select name, data, null::int, array[1, null, 3], '{\"a\": [1]}'::jsonb, 1.50::numeric from psycopg_items where id = 1500"
            row = connection.execute(select, binary=binary).fetchone()
            equal(row[0] == text and row[1] == data, True)
            equal(row[2:5], (None, [1, None, 3], {"a": [1]}))
            equal(str(row[5]), "1.50")
        connection.execute("insert into psycopg_items values (1501, null, null), (1502, '', '')")
        rows = connection.execute("select name, data from psycopg_items where id in (1501, 1502) order by id")
        equal(rows.fetchall(), [(None, None), ("", b"")])


@check
def huge_value():
    # Streamed: pgweir's memory is looked at by whoever runs this program.
    with connect(autocommit=True) as connection:
        written = connection.execute("insert into psycopg_items (id, name) values (1600, %s)", ("v" * HUGE,))
        equal(written.rowcount, 1)
        length = value(connection, PRIMARY + "select length(name) from psycopg_items where id = 1600")
        equal(length, HUGE)
        connection.execute("delete from psycopg_items where id = 1600")


@check
def composed_sql_and_row_factories():
    with connect(autocommit=True) as connection:
        query = sql.SQL("select max({}) from {}").format(sql.Identifier("n"), sql.Identifier("fixed"))
        with connection.cursor(row_factory=scalar_row) as cursor:
            equal(cursor.execute(query).fetchone(), 3)


@check
def notifications():
    with connect(autocommit=True) as listener, connect() as sender:
        listener.execute("listen psycopg")
        for number in range(3):
            sender.execute("select pg_notify('psycopg', %s)", [str(number)])
        sender.commit()
        heard = [(n.channel, n.payload) for n in listener.notifies(timeout=10, stop_after=3)]
        equal(heard, [("psycopg", str(number)) for number in range(3)])
        listener.execute("notify psycopg, 'own'")
        own = next(listener.notifies(timeout=10, stop_after=1))
        equal((own.payload, own.pid), ("own", listener.info.backend_pid))
        listener.execute("unlisten *")
        sender.execute("notify psycopg, 'late'")
        sender.commit()
        equal(list(listener.notifies(timeout=0.1)), [])


@check
def concurrency():
    def client(number):
        with connect(prepare_threshold=2) as connection:
            for turn in range(15):
                nonce = f"client {number} turn {turn}"
                equal(value(connection, "select %s::text", nonce), nonce)
                connection.execute("update psycopg_items set name = name where id = %s", (number + 1,))
                connection.execute("insert into psycopg_items values (%s, %s)", (10_000 + number * 100 + turn, nonce))
                connection.commit()
        return True

    with ThreadPoolExecutor(CLIENTS) as executor:
        equal(sum(executor.map(client, range(CLIENTS))), CLIENTS)
    with connect() as connection:
        equal(value(connection, "select count(distinct name) from psycopg_items where id >= 10000"), CLIENTS * 15)


run()
