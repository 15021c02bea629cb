"""As much of the wire protocol as a benchmark needs: log in by trust, run a simple query, sit idle; over TLS too."""

import asyncio
import contextlib
import socket
import ssl
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


@contextlib.contextmanager
def idle_clients(port, user, database, count, tls=False):
    """While `count` clients sit idle that have run one query each. Plain sockets: 10,000 of asyncio's with TLS would take
    gigabytes. They come one after the other; a login storm is another benchmark."""
    held = []
    try:
        context = any_certificate() if tls else None
        for _ in range(count):
            held.append(idle_client(port, user, database, context))
        yield
    finally:
        for client in held:
            client.close()


def idle_client(port, user, database, context):
    client = socket.create_connection(("127.0.0.1", port), timeout=30)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if context:
            client.sendall(struct.pack("!ii", 8, 80877103))  # SSLRequest
            if client.recv(1) != b"S":
                raise ServerError("it has no TLS")
            client = context.wrap_socket(client)
        client.sendall(startup_packet(user, database))
        read_until_ready(client)
        text = b"SELECT 1\0"
        client.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
        read_until_ready(client)
        return client
    except BaseException:
        client.close()
        raise


def read_until_ready(client):
    """What came up to a ReadyForQuery, which is the last thing that a server sends for a while."""
    got = b""
    while True:
        more = client.recv(4096)
        if not more:
            raise EOFError(f"the connection was closed after {got!r}")
        got += more
        at = 0
        while at + 5 <= len(got):
            tag, length = struct.unpack_from("!ci", got, at)
            if tag == b"E":
                raise ServerError(got[at:].decode(errors="replace"))
            at += 1 + length
            if tag == b"Z" and at <= len(got):
                return got


def any_certificate():
    """A TLS client that asks for no certificate that it knows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
