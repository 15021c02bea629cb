"""Other clients that use the same server, or the same pool, while the suite runs."""

import asyncio
import contextlib
import random
import threading

import wire
from suite import DATABASE, USER


# An event trigger lists what temporary tables anybody makes; VACUUM takes no page for one that all see while somebody
# makes one; ANALYZE of all tables fails where one goes meanwhile.
DISCREET = ("event_trigger", "test_setup", "create_index", "maintain_every")
SECONDS_TO_DROP = 60


class Wrong(Exception):
    """A client saw what isn't its own."""


class Company:
    """Clients on an event loop of their own for as long as the body of the `with` runs; `wrong` is what they met."""

    def __init__(self, port, passing, busy):
        self.port, self.wrong, self.refused = port, [], 0
        self._stop = threading.Event()
        self._discreet = False
        self._none_temporary = threading.Event()
        self._none_temporary.set()
        self._lives = [self._passing(number) for number in range(passing)] + [self._busy(number) for number in range(busy)]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def before(self, test):
        """What is to run next: where temporary tables of others show by themselves, nobody makes any."""
        self._discreet = test in DISCREET
        if self._discreet:
            self._none_temporary.wait(SECONDS_TO_DROP)

    async def _live(self):
        self._temporary = asyncio.Semaphore(1)
        for outcome in await asyncio.gather(*self._lives, return_exceptions=True):
            if outcome is not None:
                self.wrong.append(repr(outcome))

    async def _passing(self, number):
        """Short transactions, so that connections change hands.

        They keep no snapshot, which would keep the suite's VACUUM from what it shows, and can have called no nextval, after
        which a session has its own connection back.
        """
        chance = random.Random(number)
        reader, writer = await wire.connect(self.port, USER, DATABASE)
        while not self._stop.is_set():
            await wire.query(reader, writer, "BEGIN; SELECT 1")
            await asyncio.sleep(chance.uniform(0, 0.004))
            await wire.query(reader, writer, "COMMIT")
            await asyncio.sleep(chance.uniform(0, 0.004))
        writer.close()

    async def _busy(self, number):
        """Session state of several kinds, and whether it is still its own a few transactions later."""
        chance = random.Random(number)
        reader, writer = await wire.connect(self.port, USER, DATABASE)

        async def ask(sql, expected=None):
            rows = await wire.query(reader, writer, sql)
            found = [row[6:].decode() for row in rows]
            if expected is not None and found != [expected]:
                raise Wrong(f"client {number}: {sql}: {found}, expected {expected}")
            await asyncio.sleep(chance.uniform(0, 0.02))

        async def settings(value):
            await ask(f"SET work_mem = '{2 * value + 65}kB'")
            await ask(f"SET busy.client = '{number}-{value}'")
            await ask("SET ROLE pg_monitor")
            await ask("SHOW work_mem", f"{2 * value + 65}kB")
            await ask("SELECT current_setting('busy.client') || current_user", f"{number}-{value}pg_monitor")
            await ask("RESET ROLE")
            await ask("RESET work_mem")

        async def statements(value):
            await ask(f"PREPARE busy_statement (int) AS SELECT {value} + $1")
            await ask("EXECUTE busy_statement(1)", str(value + 1))
            await ask("EXECUTE busy_statement(2)", str(value + 2))
            await ask("DEALLOCATE busy_statement")

        async def temporary(value):
            # One at a time: they are tied to a connection of a small pool.
            async with self._temporary:
                self._none_temporary.clear()
                try:
                    if self._discreet:
                        return
                    await ask(f"CREATE TEMP TABLE busy_table AS SELECT {value} AS v")
                    await ask("SELECT v FROM pg_temp.busy_table", str(value))
                    await ask("DROP TABLE pg_temp.busy_table")
                finally:
                    self._none_temporary.set()

        while not self._stop.is_set():
            try:
                await chance.choice((settings, statements, temporary))(chance.randrange(10_000))
            except wire.ServerError:
                # The suite's event triggers and locks concern everybody.
                self.refused += 1
                await wire.until_ready(reader)
                for sql in ("DEALLOCATE ALL", "RESET ROLE", "DROP TABLE IF EXISTS pg_temp.busy_table"):
                    with contextlib.suppress(wire.ServerError):
                        await ask(sql)
                        continue
                    await wire.until_ready(reader)
        writer.close()


def changes(port, transactions=400):
    """How often a client's transaction ran on another connection than its last; and on how many in all."""

    async def ask():
        reader, writer = await wire.connect(port, USER, DATABASE)
        pids = [(await wire.query(reader, writer, "SELECT pg_backend_pid()"))[0] for _ in range(transactions)]
        writer.close()
        return sum(a != b for a, b in zip(pids, pids[1:])), len(set(pids))

    return asyncio.run(ask())
