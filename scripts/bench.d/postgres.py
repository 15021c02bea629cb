"""A Postgres primary and its streaming replicas in a folder of their own; fast rather than durable."""

import glob
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import machine
import wire

USER = "bench"
DATABASE = "bench"


def binaries():
    """The folder with initdb and its kind: PG_BIN, the newest of Debian's, or PATH."""
    debian = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]), reverse=True)
    on_path = shutil.which("initdb")
    for folder in [os.environ.get("PG_BIN"), *debian, on_path and os.path.dirname(on_path)]:
        if folder and all(os.access(f"{folder}/{name}", os.X_OK) for name in ("initdb", "postgres", "pg_basebackup")):
            return Path(folder)
    raise SystemExit("error: Postgres' server binaries are missing (scripts/test installs them); or set PG_BIN")


def version():
    """As `postgres --version` says it."""
    return subprocess.run([binaries() / "postgres", "--version"], check=True, capture_output=True, text=True).stdout.strip()


class Node:
    """One server: a data folder, an address of this machine, a process."""

    user = USER

    def __init__(self, folder, name, host="127.0.0.1", port=None):
        self.name = name
        self.host = host
        self.port = port or machine.free_port()
        self.data = folder / name
        self.log = folder / f"{name}.log"
        self.process = None

    def run(self, *command):
        done = subprocess.run([binaries() / command[0], *command[1:]], cwd="/", capture_output=True, text=True,
                              **machine.server_user())
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()}")

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [binaries() / "postgres", "-D", self.data, "-p", str(self.port),
                 "-c", f"listen_addresses={self.host}", "-c", f"unix_socket_directories={self.data}"],
                cwd="/", stdout=log, stderr=log, **machine.server_user())
        try:
            wire.wait_until_it_answers(self.process, self.port, self.user, "postgres", host=self.host)
        except RuntimeError as error:
            raise RuntimeError(f"{self.name} did not start: {error}\n{self.log.read_text()[-2000:]}") from error

    def stop(self):
        if self.process and self.process.poll() is None:
            machine.stop(self.process, signal.SIGINT, kill_after=30)  # fast shutdown

    def ask(self, sql, database="postgres"):
        """The single value that `sql` gives, as text."""
        done = subprocess.run(
            ["psql", "-XAtq", "-h", self.host, "-p", str(self.port), "-U", self.user, "-d", database, "-c", sql],
            check=True, capture_output=True, text=True)
        return done.stdout.strip()


class Cluster:
    """A primary and `replicas` replicas, with pgbench's tables at `scale`."""

    def __init__(self, folder, replicas, scale, max_connections):
        self.primary = Node(folder, "primary")
        # PgBouncer takes several hosts for a database, but only one port.
        port = machine.free_port()
        self.replicas = [Node(folder, f"replica{i + 1}", f"127.0.0.{i + 2}", port) for i in range(replicas)]
        self.scale = scale
        self.max_connections = max_connections

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in [*self.replicas, self.primary]:
            node.stop()

    def _start(self):
        primary = self.primary
        primary.run("initdb", "-D", primary.data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        with open(primary.data / "postgresql.auto.conf", "a") as settings:
            settings.write(
                f"max_connections = {self.max_connections}\nshared_buffers = '256MB'\n"
                "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
                "autovacuum = off\nmax_wal_size = '4GB'\nlogging_collector = off\n"
                "wal_level = replica\nmax_wal_senders = 10\nhot_standby = on\n")
        primary.start()
        primary.ask(f"CREATE DATABASE {DATABASE}")
        subprocess.run(
            ["pgbench", "-i", "-q", "-s", str(self.scale), "-h", "127.0.0.1", "-p", str(primary.port), "-U", USER, DATABASE],
            check=True, capture_output=True)
        primary.ask("CREATE UNLOGGED TABLE copied (row text)", DATABASE)
        for replica in self.replicas:
            replica.run("pg_basebackup", "-D", replica.data, "-h", "127.0.0.1", "-p", str(primary.port), "-U", USER,
                        "-R", "-X", "stream", "-c", "fast", "--no-sync")
            replica.start()
        self.wait_for_replay()

    def wait_for_replay(self, seconds=60):
        """Until every replica has what the primary has now."""
        wanted = self.primary.ask("SELECT pg_current_wal_lsn()")
        deadline = time.monotonic() + seconds
        for replica in self.replicas:
            while replica.ask(f"SELECT coalesce(pg_last_wal_replay_lsn() >= '{wanted}', false)") != "t":
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{replica.name} does not catch up")
                time.sleep(0.1)
