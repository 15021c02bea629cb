"""As much of the wire protocol as a benchmark needs: log in by trust, run a simple query, sit idle."""

import asyncio
import struct
import time


class ServerError(Exception):
    """The other side sent an ErrorResponse."""


def startup_packet(user, database):
    """Protocol 3.0's StartupMessage."""
    body = struct.pack("!i", 196608)
    for text in ("user", user, "database", database):
        body += text.encode() + b"\0"
    body += b"\0"
    return struct.pack("!i", len(body) + 4) + body


async def until_ready(reader):
    """Reads to ReadyForQuery; the DataRow bodies on the way."""
    rows = []
    while True:
        tag, length = struct.unpack("!ci", await reader.readexactly(5))
        body = await reader.readexactly(length - 4)
        if tag == b"E":
            fields = dict((f[:1], f[1:].decode(errors="replace")) for f in body.split(b"\0") if f)
            raise ServerError(fields.get(b"M", "?"))
        if tag == b"D":
            rows.append(body)
        if tag == b"Z":
            return rows


async def connect(port, user, database, host="127.0.0.1"):
    """A logged-in connection, and that it can run a query: (reader, writer)."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(startup_packet(user, database))
        await until_ready(reader)
        await query(reader, writer, "SELECT 1")
    except BaseException:
        writer.close()
        raise
    return reader, writer


async def query(reader, writer, sql):
    """One simple query; its DataRow bodies."""
    text = sql.encode() + b"\0"
    writer.write(b"Q" + struct.pack("!i", len(text) + 4) + text)
    return await until_ready(reader)


def wait_until_it_answers(process, port, user, database, seconds=30, host="127.0.0.1"):
    """Until `process`, which listens there, answers a query; raises what the last attempt met."""

    async def attempt():
        _, writer = await asyncio.wait_for(connect(port, user, database, host), 5)
        writer.close()

    deadline = time.monotonic() + seconds
    while True:
        try:
            return asyncio.run(attempt())
        except (OSError, ServerError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            if process.poll() is not None:
                raise RuntimeError(f"it ended with code {process.returncode}") from error
            if time.monotonic() > deadline:
                raise RuntimeError(f"nobody answers on port {port} after {seconds} s: {error}") from error
            time.sleep(0.1)


async def _hold(port, user, database, count, measure):
    connections = []
    try:
        gate = asyncio.Semaphore(50)  # logins at a time: a login storm is another benchmark

        async def one():
            async with gate:
                connections.append(await connect(port, user, database))

        await asyncio.gather(*(one() for _ in range(count)))
        await asyncio.sleep(1)
        return measure()
    finally:
        for _, writer in connections:
            writer.close()


def with_idle_clients(port, user, database, count, measure):
    """What `measure()` says while `count` clients that have run one query each sit idle."""
    return asyncio.run(_hold(port, user, database, count, measure))
