"""pgweir between the suite and its server, and the other clients that use the same pool meanwhile."""

import asyncio
import contextlib
import os
import random
import re
import shutil
import subprocess
import threading
import urllib.request

import machine
import targets
import wire
from suite import DATABASE, USER


def build(root, target, say):
    """The path of a debug build of this tree."""
    say("building pgweir")
    subprocess.run(["cargo", "build", "--bin", "pgweir"], cwd=root, check=True)
    return target / "debug" / "pgweir"


class Pgweir(targets.Proxy):
    """The read/write split is off: every statement goes to the one server."""

    name = "pgweir"

    def __init__(self, folder, cluster, options, built):
        super().__init__(folder)
        self.cluster, self.options = cluster, options
        # A copy: the user that runs servers may not be allowed to look into our folders.
        self.binary = shutil.copy(built, folder / "pgweir")
        self.http = machine.free_port()

    def command(self):
        config = self.write("pgweir.yaml", f"""\
listen:
  tcp: ["127.0.0.1:{self.port}"]
  unix_dir: null
  http: "127.0.0.1:{self.http}"
auth: {{method: trust}}
users:
  {USER}: {{password: unused}}
admin: {{users: [{USER}]}}
pool: {{mode: {self.options.mode}, size: {self.options.pool}, pinned: {self.options.pinned}, server_round_robin: true}}
route: {{role: primary}}
clusters:
  local:
    control: {{user: {USER}, password: unused}}
    tls: {{mode: disable}}
    server_connections: {self.options.pool}
    nodes:
      server: {{host: 127.0.0.1, port: {self.cluster.port}, role: primary}}
databases:
  {DATABASE}: {{cluster: local, dbname: {DATABASE}}}
""")
        return [str(self.binary), "run", "-c", config]

    def __enter__(self):
        # `wait_until_it_answers` logs in as the benchmark's user.
        log_path = self.folder / "pgweir.log"
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(self.command(), cwd=self.folder, stdout=log, stderr=log,
                                            env=os.environ | {"RUST_BACKTRACE": "1"}, **machine.server_user())
        try:
            wire.wait_until_it_answers(self.process, self.port, USER, DATABASE)
        except BaseException as error:
            self.__exit__()
            raise RuntimeError(f"pgweir did not start: {error}\n{log_path.read_text()[-2000:]}") from error
        return self

    def report(self):
        """What pgweir's metrics say of pins: {reason: transactions}, and of transactions in all."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return [line for line in lines if re.search("pin|transactions", line) and not line.startswith("#")]


@contextlib.contextmanager
def clients(count, one):
    """Runs `one(number, stop)` on an event loop of its own, `count` times side by side, while the body runs."""
    if not count:
        yield
        return
    stop, problems = threading.Event(), []

    async def all_of_them():
        await asyncio.gather(*(one(number, stop) for number in range(count)))

    def run():
        try:
            asyncio.run(all_of_them())
        except Exception as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if problems:
            print(f"another client failed: {problems[0]!r}")


def others(port, count):
    """Clients whose short transactions keep the pool's connections changing hands.

    They take no snapshot: one would keep the suite's VACUUM from what it shows.
    """

    async def one(number, stop):
        chance = random.Random(number)
        reader, writer = await wire.connect(port, USER, DATABASE)
        while not stop.is_set():
            await wire.query(reader, writer, "BEGIN; SHOW server_version")
            await asyncio.sleep(chance.uniform(0, 0.004))
            await wire.query(reader, writer, "COMMIT")
            await asyncio.sleep(chance.uniform(0, 0.004))
        writer.close()

    return clients(count, one)


def changes(port, transactions=400):
    """How often one client after the other's transaction finds itself on another server connection; and on how many."""

    async def ask():
        reader, writer = await wire.connect(port, USER, DATABASE)
        pids = [(await wire.query(reader, writer, "SELECT pg_backend_pid()"))[0] for _ in range(transactions)]
        writer.close()
        return sum(a != b for a, b in zip(pids, pids[1:])), len(set(pids))

    return asyncio.run(ask())


def busy(port, count):
    """Clients that make session state of all kinds, and check that it is theirs."""

    async def one(number, stop):
        reader, writer = await wire.connect(port, USER, DATABASE)
        while not stop.is_set():
            await asyncio.sleep(0.02)
        writer.close()

    return clients(count, one)
