"""asyncpg in its default settings (the cache of prepared statements on): what a session keeps, by 20 clients."""

import asyncio
import sys

import asyncpg

from clients import CLIENTS, SHARED_LOCK, TURNS, URL, Alone, equal, tell, zone

INSERT = "insert into items values ('asyncpg', $1, $2, $3)"
NOTES = "select array_agg(note order by n) from items where driver = 'asyncpg' and client = $1"


async def patiently(action):
    """A place among the sessions that are tied to a connection is waited for, as an application would."""
    while True:
        try:
            return await action()
        except asyncpg.TooManyConnectionsError:
            await asyncio.sleep(0.03)


async def transactions(connection, number):
    await connection.execute("delete from items where driver = 'asyncpg' and client = $1", number)
    for turn in range(TURNS):
        async with connection.transaction():
            await connection.execute(INSERT, number, turn, f"kept {turn}")
        try:
            async with connection.transaction():
                await connection.execute(INSERT, number, 100 + turn, "undone")
                await connection.execute(INSERT, number, turn, "again")
        except asyncpg.UniqueViolationError:
            pass
        async with connection.transaction(isolation="repeatable_read"):
            equal(await connection.fetchval(NOTES, number), [f"kept {n}" for n in range(turn + 1)])


async def savepoints(connection, number):
    async with connection.transaction():
        await connection.execute("delete from items where driver = 'asyncpg' and client = $1", number)
        for turn in range(TURNS):
            await connection.execute(INSERT, number, 2 * turn, f"kept {turn}")
            inner = connection.transaction()
            await inner.start()
            await connection.execute(INSERT, number, 2 * turn + 1, "undone")
            await inner.rollback()
            try:
                async with connection.transaction():
                    await connection.execute(INSERT, number, 2 * turn, "again")
            except asyncpg.UniqueViolationError:
                pass
        equal(await connection.fetchval(NOTES, number), [f"kept {n}" for n in range(TURNS)])


async def prepared(connection, number):
    statement = await connection.prepare("select $1::int * 1000 + n from fixed where n = $2")
    for turn in range(3 * TURNS):
        equal(await statement.fetchval(turn, 2), turn * 1000 + 2)
        equal(await connection.fetchval("select $1::text", f"{number}/{turn}"), f"{number}/{turn}")
        if turn % 5 == 4:
            try:
                async with connection.transaction():
                    equal(await connection.fetchval("select $1::int + 1", turn), turn + 1)
                    await connection.fetchval("select 1 / $1::int", 0)
            except asyncpg.DivisionByZeroError:
                pass
            equal(await connection.fetchval("select $1::int + 1", number), number + 1)
    names = "select count(*) from pg_prepared_statements where name like '\\_\\_asyncpg%'"
    assert await connection.fetchval(names) >= 4


async def settings(connection, number):
    await connection.execute(f"set app.client = 'client {number}'")
    await connection.execute("select set_config('TimeZone', $1, false)", zone(number))
    await connection.execute(f"set statement_timeout = {100_001 + number}")
    for turn in range(TURNS):
        equal(await connection.fetchval("select current_setting('app.client')"), f"client {number}")
        equal(await connection.fetchval("show TimeZone"), zone(number))
        equal(connection.get_settings().TimeZone, zone(number))
        undone = connection.transaction()
        await undone.start()
        await connection.execute("set app.client = 'undone'")
        await connection.execute("set local statement_timeout = 0")
        equal(await connection.fetchval("show app.client"), "undone")
        await undone.rollback()
        equal(await connection.fetchval("show statement_timeout"), f"{100_001 + number}ms")
    # What asyncpg's pool runs when a connection is given back.
    await connection.reset()
    equal(await connection.fetchval("select coalesce(current_setting('app.client', true), '')"), "")


async def listen(connection, number):
    own, everyones, all_there = [], set(), asyncio.Event()

    def heard(_connection, _pid, channel, payload):
        if channel == "asyncpg_all":
            everyones.add(int(payload))
        else:
            own.append(payload)
        if own and len(everyones) == CLIENTS:
            all_there.set()

    await connection.add_listener(f"asyncpg_{number}", heard)
    await connection.add_listener("asyncpg_all", heard)
    await listening.wait()
    await connection.execute(f"notify asyncpg_{(number + 1) % CLIENTS}, 'from {number}'")
    await connection.execute("select pg_notify('asyncpg_all', $1)", str(number))
    # Nothing but waiting: notifications reach a client that is idle.
    await all_there.wait()
    equal((own, everyones), ([f"from {(number - 1) % CLIENTS}"], set(range(CLIENTS))))
    await connection.remove_listener(f"asyncpg_{number}", heard)
    await connection.remove_listener("asyncpg_all", heard)


async def advisory_locks(connection, number):
    for _ in range(2):
        await patiently(lambda: connection.fetchval("select pg_advisory_lock($1)", SHARED_LOCK))
        with Alone():
            equal(await connection.fetchval("select pg_try_advisory_lock($1)", SHARED_LOCK), True)
            equal(await connection.fetchval("select pg_advisory_unlock($1)", SHARED_LOCK), True)
            if number == 0:
                other = await asyncpg.connect(URL)
                equal(await other.fetchval("select pg_try_advisory_xact_lock($1)", SHARED_LOCK), False)
                await other.close()
        equal(await connection.fetchval("select pg_advisory_unlock($1)", SHARED_LOCK), True)


async def temp_tables(connection, number):
    await patiently(lambda: connection.execute("create temp table mine (n int, who text)"))
    await connection.executemany("insert into mine values ($1, $2)", [(n, f"client {number}") for n in range(TURNS)])
    for _ in range(TURNS):
        rows = await connection.fetch("select who, count(*) from mine group by who")
        equal([tuple(row) for row in rows], [(f"client {number}", TURNS)])
    await connection.execute("drop table mine")
    equal(await connection.fetchval("select to_regclass('mine')"), None)


async def server_side_cursors(connection, number):
    async with connection.transaction():
        total = 0
        query = "select n + $1::int as n from generate_series(1, 500) n"
        async for row in connection.cursor(query, number, prefetch=70):
            total += row["n"]
        equal(total, 500 * 501 // 2 + 500 * number)
        cursor = await connection.cursor(query, number)
        await cursor.forward(10)
        equal([row["n"] for row in await cursor.fetch(2)], [number + 11, number + 12])


async def main():
    global listening
    listening = Barrier()
    connections = await asyncio.gather(*(asyncpg.connect(URL) for _ in range(CLIENTS)))
    failed = False
    for phase in (
        transactions, savepoints, prepared, settings, listen, advisory_locks, temp_tables, server_side_cursors
    ):
        clients = (asyncio.wait_for(phase(connection, n), 20) for n, connection in enumerate(connections))
        outcomes = await asyncio.gather(*clients, return_exceptions=True)
        outcomes = [outcome for outcome in outcomes if outcome is not None]
        tell(phase.__name__, outcomes)
        failed = failed or bool(outcomes)
    await asyncio.gather(*(connection.close(timeout=5) for connection in connections))
    sys.exit(1 if failed else 0)


class Barrier:
    """asyncio's own comes with Python 3.11 only."""

    def __init__(self):
        self.missing, self.complete = CLIENTS, asyncio.Event()

    async def wait(self):
        self.missing -= 1
        if self.missing == 0:
            self.complete.set()
        await self.complete.wait()


asyncio.run(main())
