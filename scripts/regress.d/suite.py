"""The regression suite: its order, its environment, and one psql for each file, as pg_regress starts it."""

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import extended
import machine
import postgres

USER = "postgres"
DATABASE = "regression"
# A file that takes longer has met something that waits for ever.
SECONDS_PER_FILE = 300

# pg_regress creates its database like this.
CREATE_DATABASE = [
    f"CREATE DATABASE {DATABASE} TEMPLATE = template0",
    *(f"ALTER DATABASE {DATABASE} SET {name} TO '{value}'" for name, value in (
        ("lc_messages", "C"), ("lc_monetary", "C"), ("lc_numeric", "C"), ("lc_time", "C"),
        ("bytea_output", "hex"), ("timezone_abbreviations", "Default"))),
]

# What many files use and few name: the parts of the schedule that set the stage.
STAGE = ("test_setup", "create_function_c", "create_misc", "create_operator", "create_procedure", "create_index",
         "create_view", "create_aggregate", "create_am", "rangetypes", "point", "polygon", "circle", "geometry",
         "create_index_spgist", "hash_index", "brin")


class Cluster(postgres.Node):
    """A fresh server with the database `regression`."""

    user = USER

    def __init__(self, folder):
        super().__init__(folder, "server")

    def __enter__(self):
        shutil.rmtree(self.data, ignore_errors=True)
        self.run("initdb", "-D", self.data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        with open(self.data / "postgresql.auto.conf", "a") as settings:
            settings.write(
                "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_prepared_transactions = 2\n"
                "fsync = off\nlogging_collector = off\nlog_line_prefix = '%m [%p] %q%a '\n")
        try:
            self.start()
            for statement in CREATE_DATABASE:
                self.ask(statement)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()


class Suite:
    """The files to run, in the schedule's order."""

    def __init__(self, folder, found, wanted, protocol):
        self.protocol = protocol
        self.tests = order(found.tree / "parallel_schedule", wanted)
        # Servers read and write files here, so it belongs to their user.
        self.work = folder / "suite"
        for part in ("sql", "expected", "data"):
            shutil.copytree(found.tree / part, self.work / part)
        self.libraries = self.work / "lib"
        self.libraries.mkdir()
        for library in (found.library, *(modules() / name for name in ("refint.so", "autoinc.so"))):
            if library.exists():
                shutil.copy(library, self.libraries)
        self.psql = shutil.copy(found.psql, self.work / "psql")
        for path in [self.work, *self.work.rglob("*")]:
            machine.give_to_server_user(path)

    def all(self, port, keep, others):
        """Runs every file against `port` and leaves the result files in `keep`; the seconds that it took."""
        results = self.work / "results"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir()
        machine.give_to_server_user(results)
        begun = time.monotonic()
        with relay(port, self.protocol) as reached:
            for test in self.tests:
                others.before(test)
                self.one(test, reached, results)
        keep.mkdir()
        for test in self.tests:
            shutil.copy(results / f"{test}.out", keep)
        return time.monotonic() - begun

    def one(self, test, port, results):
        with open(self.work / "sql" / f"{test}.sql", "rb") as script, open(results / f"{test}.out", "wb") as out:
            process = subprocess.Popen(
                [self.psql, "-X", "-a", "-q", "-d", DATABASE, "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"],
                cwd=self.work, env=self.environment(test, port), stdin=script, stdout=out, stderr=out,
                **machine.server_user())
            try:
                process.wait(SECONDS_PER_FILE)
            except subprocess.TimeoutExpired:
                out.write(f"\n(ended after {SECONDS_PER_FILE} s)\n".encode())
            finally:
                machine.stop(process)

    def environment(self, test, port):
        """As pg_regress' initialize_environment() makes it."""
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("PG", "LC_")) and name not in ("LANG", "LANGUAGE")}
        return kept | {
            "PGAPPNAME": f"pg_regress/{test}", "PG_ABS_SRCDIR": str(self.work), "PG_ABS_BUILDDIR": str(self.work),
            "PG_LIBDIR": str(self.libraries), "PG_DLSUFFIX": ".so", "LC_MESSAGES": "C",
            "PGTZ": "America/Los_Angeles", "PGDATESTYLE": "Postgres, MDY",
            "PGOPTIONS": "-c intervalstyle=postgres_verbose",
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": USER,
            "PGSSLMODE": "disable", "PGGSSENCMODE": "disable",
        }


@contextlib.contextmanager
def relay(port, protocol):
    """The port to which psql's simple queries are to be sent, so that `protocol` is spoken at `port`."""
    if protocol == "simple":
        yield port
        return
    with extended.Relay(port, kept=protocol == "prepared") as between:
        yield between.port


def order(schedule, wanted):
    """The tests of a schedule; with `wanted` only those, and what sets the stage for them."""
    found = [name for line in schedule.read_text().splitlines() if line.startswith("test:") for name in line.split()[1:]]
    unknown = set(wanted) - set(found)
    if unknown:
        raise SystemExit(f"error: no such test: {', '.join(sorted(unknown))}")
    return [name for name in found if not wanted or name in wanted or name in STAGE]


def modules():
    """Where the server's own libraries are."""
    config = postgres.binaries() / "pg_config"
    if not config.exists():
        return Path("/nonexistent")
    return Path(subprocess.run([config, "--pkglibdir"], check=True, capture_output=True, text=True).stdout.strip())
