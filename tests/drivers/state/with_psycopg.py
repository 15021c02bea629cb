"""psycopg 3 in its default settings (a statement is prepared the sixth time): what a session keeps, by 20 clients."""

import threading

import psycopg
from psycopg import errors

from clients import CLIENTS, SHARED_LOCK, TURNS, URL, Alone, equal, patiently, run_threads, zone


def connect(_number):
    return psycopg.connect(URL, autocommit=True)


def sqlstate(error):
    return getattr(error, "sqlstate", None)


def value(connection, query, *parameters):
    return connection.execute(query, parameters or None).fetchone()[0]


def tied(connection, query, *parameters):
    return patiently(lambda: value(connection, query, *parameters), sqlstate)


listening = threading.Barrier(CLIENTS, timeout=20)

INSERT = "insert into items values ('psycopg', %s, %s, %s)"
NOTES = "select array_agg(note order by n) from items where driver = 'psycopg' and client = %s"


def transactions(connection, number):
    connection.execute("delete from items where driver = 'psycopg' and client = %s", (number,))
    for turn in range(TURNS):
        with connection.transaction():
            connection.execute(INSERT, (number, turn, f"kept {turn}"))
        try:
            with connection.transaction():
                connection.execute(INSERT, (number, 100 + turn, "undone"))
                connection.execute(INSERT, (number, turn, "again"))
        except errors.UniqueViolation:
            pass
        with connection.transaction():
            equal(value(connection, NOTES, number), [f"kept {n}" for n in range(turn + 1)])


def savepoints(connection, number):
    with connection.transaction():
        connection.execute("delete from items where driver = 'psycopg' and client = %s", (number,))
        for turn in range(TURNS):
            connection.execute(INSERT, (number, 2 * turn, f"kept {turn}"))
            with connection.transaction() as inner:
                connection.execute(INSERT, (number, 2 * turn + 1, "undone"))
                raise psycopg.Rollback(inner)
            try:
                with connection.transaction():
                    connection.execute(INSERT, (number, 2 * turn, "again"))
            except errors.UniqueViolation:
                pass
        equal(value(connection, NOTES, number), [f"kept {n}" for n in range(TURNS)])


def prepared(connection, number):
    # The sixth run of a text prepares it; after a rollback psycopg has none any more, and begins again.
    for turn in range(TURNS):
        equal(value(connection, "select %s::int + n from fixed where n = %s", turn, 2), turn + 2)
    equal(value(connection, "select count(*) from pg_prepared_statements where name like '\\_pg3\\_%'"), 1)
    for turn in range(3 * TURNS):
        equal(value(connection, "select %s::int * 1000 + n from fixed where n = %s", turn, 2), turn * 1000 + 2)
        equal(value(connection, "select %s::text", f"{number}/{turn}"), f"{number}/{turn}")
        if turn % 5 == 4:
            try:
                with connection.transaction():
                    equal(value(connection, "select %s::int + 1", turn), turn + 1)
                    connection.execute("select 1 / %s::int", (0,))
            except errors.DivisionByZero:
                pass
            equal(value(connection, "select %s::int + 1", number), number + 1)


def settings(connection, number):
    connection.execute(f"set app.client = 'client {number}'")
    connection.execute("select set_config('TimeZone', %s, false)", (zone(number),))
    connection.execute(f"set statement_timeout = {100_001 + number}")
    for turn in range(TURNS):
        equal(value(connection, "select current_setting('app.client')"), f"client {number}")
        equal(value(connection, "show TimeZone"), zone(number))
        equal(connection.info.parameter_status("TimeZone"), zone(number))
        with connection.transaction() as undone:
            connection.execute("set app.client = 'undone'")
            connection.execute("set local statement_timeout = 0")
            equal(value(connection, "show app.client"), "undone")
            raise psycopg.Rollback(undone)
        equal(value(connection, "show statement_timeout"), f"{100_001 + number}ms")
    connection.execute("reset all")
    equal(value(connection, "select coalesce(current_setting('app.client', true), '')"), "")


def listen(connection, number):
    connection.execute(f"listen psycopg_{number}")
    connection.execute("listen psycopg_all")
    listening.wait()
    connection.execute(f"notify psycopg_{(number + 1) % CLIENTS}, 'from {number}'")
    connection.execute("select pg_notify('psycopg_all', %s)", (str(number),))
    own, everyones = [], set()
    for notification in connection.notifies(timeout=20):
        if notification.channel == "psycopg_all":
            everyones.add(int(notification.payload))
        else:
            own.append(notification.payload)
        if own and len(everyones) == CLIENTS:
            break
    equal((own, everyones), ([f"from {(number - 1) % CLIENTS}"], set(range(CLIENTS))))
    connection.execute("unlisten *")


def advisory_locks(connection, number):
    for _ in range(2):
        tied(connection, "select pg_advisory_lock(%s)::text", SHARED_LOCK)
        with Alone():
            equal(value(connection, "select pg_try_advisory_lock(%s)", SHARED_LOCK), True)
            equal(value(connection, "select pg_advisory_unlock(%s)", SHARED_LOCK), True)
            if number == 0:
                with connect(number) as other:
                    equal(value(other, "select pg_try_advisory_xact_lock(%s)", SHARED_LOCK), False)
        equal(value(connection, "select pg_advisory_unlock(%s)", SHARED_LOCK), True)


def temp_tables(connection, number):
    patiently(lambda: connection.execute("create temp table mine (n int, who text)"), sqlstate)
    for turn in range(TURNS):
        connection.execute("insert into mine values (%s, %s)", (turn, f"client {number}"))
    with connection.transaction():
        rows = connection.execute("select who, count(*) from mine group by who").fetchall()
        equal(rows, [(f"client {number}", TURNS)])
    connection.execute("drop table mine")
    equal(value(connection, "select to_regclass('mine')"), None)


def server_side_cursors(connection, number):
    query = "select n + %s::int from generate_series(1, 500) n"
    with connection.transaction():
        with connection.cursor(name="rows") as cursor:
            cursor.itersize = 70
            cursor.execute(query, (number,))
            equal(sum(n for (n,) in cursor), 500 * 501 // 2 + 500 * number)
    # Outside a transaction it must outlive each FETCH: WITH HOLD.
    cursor = psycopg.ServerCursor(connection, "held", withhold=True)
    patiently(lambda: cursor.execute(query, (number,)), sqlstate)
    equal(cursor.fetchmany(3), [(number + 1,), (number + 2,), (number + 3,)])
    cursor.scroll(10)
    equal(cursor.fetchone(), (number + 14,))
    cursor.close()


PHASES = [transactions, savepoints, prepared, settings, listen, advisory_locks, temp_tables, server_side_cursors]
run_threads(connect, lambda connection: connection.close(), PHASES)
