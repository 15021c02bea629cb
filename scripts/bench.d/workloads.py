"""What the clients do: pgbench's own scripts and ours, each with the protocol and the way in that it is to be run by."""

from dataclasses import dataclass

COLUMNS = ", ".join(f"g + {i} AS c{i}" for i in range(20))
# 100 MB: a hundred thousand rows of a kilobyte.
BULK = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
PIPELINE = "\n".join(["\\set aid random(1, 100000 * :scale)", "\\startpipeline",
                      *["SELECT abalance FROM pgbench_accounts WHERE aid = :aid;"] * 10, "\\endpipeline"])


@dataclass(frozen=True)
class Workload:
    """One scenario. `script` is pgbench's text (None: `flags` name one of its own); `copy` a COPY that psql runs."""

    name: str
    title: str
    flags: tuple = ()
    script: str | None = None
    protocol: str = "simple"
    clients: tuple | None = None  # None: those that scripts/bench was asked for
    tls: bool = False
    unix: bool = False
    copy: str | None = None
    writes: bool = False

    @property
    def session_mode(self):
        """PgBouncer 1.18 keeps prepared statements in session mode only."""
        return self.protocol == "prepared"


WORKLOADS = [
    Workload("simple", "`pgbench -S`, simple", ("-S",)),
    Workload("prepared", "`pgbench -S`, prepared", ("-S",), protocol="prepared"),
    Workload("select1", "`SELECT 1`", script="SELECT 1;", clients=(50,)),
    Workload("tpcb", "`tpcb-like`", ("-b", "tpcb-like"), clients=(50,), writes=True),
    Workload("pipeline", "pipelines of 10", script=PIPELINE, protocol="extended", clients=(50,)),
    Workload("wide", "1,000 rows of 20 columns", script=f"SELECT {COLUMNS} FROM generate_series(1, 1000) g;", clients=(10,)),
    Workload("bulk", "100 MB in one result", script=BULK + ";", clients=(1,)),
    Workload("copy-out", "COPY of 100 MB out", copy=f"COPY ({BULK}) TO STDOUT", clients=(1,)),
    Workload("copy-in", "COPY of 100 MB in", copy="COPY copied FROM STDIN", clients=(1,), writes=True),
    Workload("tls", "`pgbench -S` over TLS", ("-S",), clients=(50,), tls=True),
    Workload("bulk-tls", "100 MB in one result over TLS", script=BULK + ";", clients=(1,), tls=True),
    Workload("copy-out-tls", "COPY of 100 MB out over TLS", copy=f"COPY ({BULK}) TO STDOUT", clients=(1,), tls=True),
    Workload("copy-in-tls", "COPY of 100 MB in over TLS", copy="COPY copied FROM STDIN", clients=(1,), writes=True, tls=True),
    Workload("unix", "`pgbench -S` over Unix sockets, to the servers too", ("-S",), clients=(50,), unix=True),
    Workload("logins", "`pgbench -S -C`: a login for each transaction", ("-S", "-C"), clients=(10,)),
]
NAMES = [work.name for work in WORKLOADS]
