"""asyncpg through pgweir: what its users do. The table `asyncpg_items (id, name, data)` and the type
`asyncpg_mood` are there."""

import asyncio
import io
import ssl

import asyncpg

from checks import CLIENTS, PRIMARY, SLEEPS, check, environment, equal, run

# Seconds that a check may take: what it waits for is told then.
LIMIT = 20


def context():
    return ssl.create_default_context(cafile=environment("PGSSLROOTCERT"))


async def connect(**options):
    return await asyncpg.connect(ssl=context(), **options)


def with_connection(function):
    """A check that is given a connection."""

    def synchronous():
        async def body():
            connection = await connect()
            try:
                await function(connection)
            finally:
                await connection.close(timeout=5)

        asyncio.run(asyncio.wait_for(body(), LIMIT))

    synchronous.__name__ = function.__name__
    return check(synchronous)


async def refused(kind, awaitable):
    try:
        await awaitable
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


@with_connection
async def tls(connection):
    equal(connection._transport.get_extra_info("ssl_object").version(), "TLSv1.3")
    await refused(asyncpg.InvalidPasswordError, connect(password="wrong"))


@with_connection
async def inserts(connection):
    equal(await connection.execute("insert into asyncpg_items values (1, 'one')"), "INSERT 0 1")
    returned = await connection.fetchval("insert into asyncpg_items values ($1, $2) returning name", 2, "two")
    equal(returned, "two")
    await connection.executemany(
        "insert into asyncpg_items values ($1, $2)", [(n, f"name {n}") for n in range(3, 503)]
    )
    rows = await connection.fetchmany(
        "insert into asyncpg_items values ($1, $2) returning id", [(n, None) for n in range(600, 605)]
    )
    equal([row["id"] for row in rows], [600, 601, 602, 603, 604])
    equal(await connection.fetchval(PRIMARY + "select count(*) from asyncpg_items"), 507)


@with_connection
async def reads_go_to_the_replica(connection):
    for _ in range(3):
        rows = await connection.fetch("select n from fixed order by n")
        equal([row["n"] for row in rows], [1, 2, 3])
    route = await connection.fetchrow("show pgweir.route")
    equal(route["role"], "replica")


@with_connection
async def transactions(connection):
    other = await connect()
    count = "select count(*) from asyncpg_items where id between 1000 and 1999"
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("insert into asyncpg_items values ($1, 'a')", 1000)
    equal(await connection.fetchval(count), 1)
    equal(await other.fetchval(PRIMARY + count), 0)
    await transaction.rollback()
    equal(await connection.fetchval(PRIMARY + count), 0)
    async with connection.transaction(isolation="serializable"):
        equal(await connection.fetchval("show transaction_isolation"), "serializable")
        await connection.execute("insert into asyncpg_items values ($1, 'b')", 1000)
    equal(await other.fetchval(PRIMARY + count), 1)
    async with connection.transaction(readonly=True):
        await refused(asyncpg.ReadOnlySQLTransactionError, connection.execute("delete from asyncpg_items"))
    await other.close()


@with_connection
async def savepoints(connection):
    async with connection.transaction():
        await connection.execute("insert into asyncpg_items values (1100, 'kept')")
        inner = connection.transaction()
        await inner.start()
        await connection.execute("insert into asyncpg_items values (1101, 'undone')")
        await inner.rollback()
        try:
            async with connection.transaction():
                await connection.execute("insert into asyncpg_items values ($1, 'again')", 1100)
        except asyncpg.UniqueViolationError:
            pass
        await connection.execute("insert into asyncpg_items values (1102, 'kept')")
        rows = await connection.fetch("select id from asyncpg_items where id between 1100 and 1199 order by id")
    equal([row["id"] for row in rows], [1100, 1102])


@with_connection
async def statement_cache(connection):
    # More texts than the cache holds, each several times, and in transactions and out of them.
    small = await connect(statement_cache_size=5)
    for turn in range(6):
        for n in range(10):
            equal(await small.fetchval(f"select $1::int + {n}", turn), turn + n)
            equal(await connection.fetchval(f"select $1::int + {n}", turn), turn + n)
        async with small.transaction():
            equal(await small.fetchval("select $1::int + 1", turn), turn + 1)
    await small.close()
    statement = await connection.prepare("select n, n * $1::int from fixed order by n")
    equal([attribute.type.name for attribute in statement.get_attributes()], ["int4", "int4"])
    for turn in range(20):
        equal([tuple(row) for row in await statement.fetch(turn)], [(1, turn), (2, 2 * turn), (3, 3 * turn)])
    uncached = await connect(statement_cache_size=0)
    for turn in range(5):
        equal(await uncached.fetchval("select $1::int", turn), turn)
    await uncached.close()


@with_connection
async def types(connection):
    # asyncpg looks unknown types up in the catalog, with JIT turned off meanwhile.
    row = await connection.fetchrow("select $1::asyncpg_mood as mood, row(1, 'a')::asyncpg_pair as pair", "fine")
    equal((row["mood"], tuple(row["pair"])), ("fine", (1, "a")))
    await connection.set_type_codec("json", encoder=str, decoder=str, schema="pg_catalog")
    equal(await connection.fetchval("select '[1]'::json"), "[1]")


@with_connection
async def errors_leave_the_connection_usable(connection):
    await connection.execute("insert into asyncpg_items values (1300, 'first')")
    for _ in range(5):
        error = await refused(
            asyncpg.UniqueViolationError, connection.execute("insert into asyncpg_items values ($1)", 1300)
        )
        equal((error.sqlstate, error.constraint_name), ("23505", "asyncpg_items_pkey"))
        equal(await connection.fetchval("select $1::int", 7), 7)
    await refused(asyncpg.PostgresSyntaxError, connection.execute("selec 1"))
    await refused(asyncpg.UndefinedTableError, connection.fetch("select * from no_such_table where n = $1", 1))
    await refused(asyncpg.DivisionByZeroError, connection.fetch("select 1 / $1::int", 0))
    equal(await connection.fetchval("select 2"), 2)


@with_connection
async def cancel(connection):
    watcher = await connect()
    for query, parameters in (("select pg_sleep(600)", ()), ("select pg_sleep($1)", (600.0,))):
        sleep = asyncio.ensure_future(connection.fetch(PRIMARY + query + " -- asyncpg sleeps", *parameters))
        while await watcher.fetchval(SLEEPS.format("asyncpg sleeps")) == 0:
            pass
        sleep.cancel()
        await refused(asyncio.CancelledError, sleep)
        # It is over on the server, too.
        equal(await connection.fetchval("select 1"), 1)
        equal(await watcher.fetchval(SLEEPS.format("asyncpg sleeps")), 0)
    await refused(asyncio.TimeoutError, connection.fetch(PRIMARY + "select pg_sleep(600)", timeout=0.2))
    equal(await connection.fetchval("select 1"), 1)
    await watcher.close()


@with_connection
async def copy_in_and_out(connection):
    records = [(n, None if n % 7 == 0 else f"name\t{n}", bytes([n % 256])) for n in range(2000, 7000)]
    equal(await connection.copy_records_to_table("asyncpg_items", records=records), "COPY 5000")
    text = io.BytesIO()
    query = PRIMARY + "select * from asyncpg_items where id between $1 and $2 order by id"
    async with connection.transaction():
        await connection.copy_from_query(query, 2000, 6999, output=text)
    lines = text.getvalue().decode().splitlines()
    equal((len(lines), lines[1]), (5000, "2001\tname\\t2001\t\\\\x" + f"{2001 % 256:02x}"))
    text.seek(0)
    await connection.execute("delete from asyncpg_items where id between 2000 and 6999")
    equal(await connection.copy_to_table("asyncpg_items", source=text), "COPY 5000")
    await refused(
        asyncpg.BadCopyFileFormatError, connection.copy_to_table("asyncpg_items", source=io.BytesIO(b"1\t2\t3\t4\n"))
    )
    equal(await connection.fetchval("select 1"), 1)


@with_connection
async def server_side_cursor(connection):
    async with connection.transaction():
        total = 0
        async for row in connection.cursor("select n from generate_series(1, $1::int) n", 3000, prefetch=70):
            total += row["n"]
        equal(total, 3000 * 3001 // 2)
        cursor = await connection.cursor("select n from generate_series(1, 100) n")
        await cursor.forward(10)
        equal([row["n"] for row in await cursor.fetch(3)], [11, 12, 13])
        equal((await cursor.fetchrow())["n"], 14)


@with_connection
async def values(connection):
    data, text = bytes(range(256)) * 4096, "täglich 🐘 ' \" \\ $1\n" * 10_000
    async with connection.transaction():
        await connection.execute("insert into asyncpg_items values ($1, $2, $3)", 1500, text, data)
        row = await connection.fetchrow("select name, data from asyncpg_items where id = 1500")
        equal(row["name"] == text and row["data"] == data, True)
        await connection.execute("insert into asyncpg_items values ($1, $2, $3)", 1501, None, b"")
        equal(tuple(await connection.fetchrow("select name, data from asyncpg_items where id = 1501")), (None, b""))
        equal(await connection.fetchval("select $1::int[]", [1, None, 3]), [1, None, 3])
    big = await connection.fetchval("select repeat('x', $1)", 30_000_000)
    equal(len(big), 30_000_000)


@with_connection
async def notifications(connection):
    heard = asyncio.Queue()

    def listener(_, pid, channel, payload):
        heard.put_nowait((pid, channel, payload))

    await connection.add_listener("asyncpg", listener)
    await connection.execute("notify asyncpg, 'own'")
    equal(await heard.get(), (connection.get_server_pid(), "asyncpg", "own"))
    async with connection.transaction():
        await connection.execute("select pg_notify('asyncpg', 'in a transaction')")
        equal(heard.empty(), True)
    equal((await heard.get())[2], "in a transaction")
    await connection.remove_listener("asyncpg", listener)
    await connection.execute("notify asyncpg, 'late'")
    equal(heard.empty(), True)


@check
def concurrency():
    async def client(pool, number):
        for turn in range(15):
            nonce = f"client {number} turn {turn}"
            # Each acquire ends with asyncpg's reset of the session.
            async with pool.acquire() as connection:
                equal(await connection.fetchval("select $1::text", nonce), nonce)
                async with connection.transaction():
                    await connection.execute("update asyncpg_items set name = name where id = $1", number + 1)
                    await connection.execute(
                        "insert into asyncpg_items values ($1, $2)", 10_000 + number * 100 + turn, nonce
                    )

    async def body():
        async with asyncpg.create_pool(ssl=context(), min_size=CLIENTS, max_size=CLIENTS) as pool:
            await asyncio.gather(*(client(pool, number) for number in range(CLIENTS)))
            names = await pool.fetchval(PRIMARY + "select count(distinct name) from asyncpg_items where id >= 10000")
            equal(names, CLIENTS * 15)

    asyncio.run(asyncio.wait_for(body(), LIMIT))


run()
