"""A relay beside psql that turns its simple queries into the extended protocol, so that the suite covers that too.

`extended`: an unnamed statement for each. `prepared`: a named one, kept for each text, as drivers do that prepare what is
run again. What only the simple protocol has stays simple: several statements in one Query, and COPY.
"""

import asyncio
import re
import struct
import threading

ONE_STATEMENT_ONLY = re.compile(rb"\s*(--[^\n]*\n\s*)*copy\b", re.I)
QUOTED = re.compile(rb"['\"$]|--|/\*|atomic", re.I)


class Relay:
    """Listens on `port` while the body of the `with` runs."""

    def __init__(self, target, kept):
        self.target, self.kept, self.port = target, kept, None
        self._ready, self._loop = threading.Event(), None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), daemon=True)

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _live(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        listener.close()

    async def _client(self, client_in, client_out):
        server_in, server_out = await asyncio.open_connection("127.0.0.1", self.target)
        talk = Talk(self.kept)
        try:
            startup = await client_in.readexactly(4)
            server_out.write(startup + await client_in.readexactly(struct.unpack("!i", startup)[0] - 4))
            await asyncio.gather(pump(client_in, server_out, talk.from_client), pump(server_in, client_out, talk.from_server))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one of them has hung up
        finally:
            client_out.close()
            server_out.close()


async def pump(source, sink, turn):
    """Frames from one side to the other, each as `turn` makes it; ends the other side with its own."""
    try:
        while True:
            head = await source.readexactly(5)
            tag, length = struct.unpack("!ci", head)
            sink.write(turn(tag, await source.readexactly(length - 4)))
            await sink.drain()
    finally:
        sink.close()


def frame(tag, body):
    return tag + struct.pack("!i", len(body) + 4) + body


class Talk:
    """What one client has under way: psql sends a request once the last is answered."""

    def __init__(self, kept):
        self.kept, self.names, self.turned, self.parsing = kept, {}, False, None

    def from_client(self, tag, body):
        if tag != b"Q" or ONE_STATEMENT_ONLY.match(body) or self.is_several(body):
            return frame(tag, body)
        self.turned, self.parsing = True, None
        parse, name = b"", b""
        if self.kept:
            name = self.names.get(body, b"")
            if not name:
                name = b"kept_%d" % len(self.names)
                self.parsing = (body, name)
        if not self.kept or self.parsing:
            parse = frame(b"P", name + b"\0" + body + b"\0\0")
        bind = frame(b"B", b"\0" + name + b"\0" + b"\0\0" * 3)
        return parse + bind + frame(b"D", b"P\0") + frame(b"E", b"\0\0\0\0\0") + frame(b"S", b"")

    @staticmethod
    def is_several(body):
        return b";" in body[:-1].rstrip().rstrip(b";") and not QUOTED.search(body)

    def from_server(self, tag, body):
        if not self.turned:
            return frame(tag, body)
        if tag == b"1" and self.parsing:
            self.names[self.parsing[0]] = self.parsing[1]
        if tag == b"E" and b"C26000\0" in body:
            self.names.clear()  # DISCARD ALL or DEALLOCATE ALL: so they are gone
        if tag == b"Z":
            self.turned = False
        return b"" if tag in (b"1", b"2", b"n") else frame(tag, body)
