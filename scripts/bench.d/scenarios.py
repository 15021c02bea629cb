"""The scenarios: which targets, in which order, and what is asked of each."""

import contextlib
import sys
import time
from dataclasses import dataclass, replace

import load
import meter
import targets
import wire
from postgres import DATABASE, USER
from workloads import WORKLOADS

# More server connections than this nobody is given.
MOST_SERVERS = 2000
# More clients than this Pgpool-II isn't asked to serve: three servers' connections and a process for each.
MOST_PROCESSES = 200


@dataclass
class Plan:
    """What a call of scripts/bench asked for."""

    clients: list
    rounds: int
    seconds: float
    only: set
    pool: int
    idle: int
    percentiles: bool
    system_calls: bool
    pgweir: object  # path of the binary


def say(text):
    """Progress; the report alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def make_targets(plan, folder, cluster, work, clients):
    """The targets of a workload. Where PgBouncer is in session mode it has a server for each client."""
    mode, pool = ("session", max(clients, plan.pool)) if work.session_mode else ("transaction", plan.pool)
    made = {
        "direct": lambda: targets.Direct(cluster),
        "pgbouncer": lambda: targets.PgBouncer(folder, cluster, work, mode, pool),
        "pgbouncer-replicas": lambda: targets.PgBouncer(folder, cluster, work, mode, pool, to_replicas=True),
        "haproxy": lambda: targets.HaProxy(folder, cluster),
        "pgpool": lambda: targets.PgpoolII(folder, cluster, work, clients),
        "pgweir": lambda: targets.Pgweir(folder, cluster, work, -(-plan.pool // len(cluster.replicas)), plan.pgweir),
        "pgweir-wide": lambda: targets.Pgweir(folder, cluster, work, plan.pool, plan.pgweir, "pgweir, wide"),
    }
    without = set()
    if work.tls:
        without |= {"direct", "haproxy"}
    if work.unix:
        without |= {"haproxy"}
    if clients > MOST_PROCESSES:
        without |= {"pgpool"}
    if work.writes:
        without |= {"pgbouncer-replicas"}
    if clients > MOST_SERVERS:
        # What has a server connection for each client.
        without |= {"direct", "haproxy"} | ({"pgbouncer", "pgbouncer-replicas"} if work.session_mode else set())
    return [make() for name, make in made.items() if name in plan.only - without]


def interleaved(plan, chosen, measure):
    """`measure(target)` for each target in turn, `plan.rounds` times: target → results, or why it failed."""
    results = {target: [] for target in chosen}
    with contextlib.ExitStack() as running:
        for target in chosen:
            attempt(results, target, lambda target=target: running.enter_context(target))
        for turn in range(plan.rounds):
            for target in chosen:
                if isinstance(results[target], str):
                    continue
                value = attempt(results, target, lambda target=target: measure(target))
                if value is not None:
                    results[target].append(value)
                    say(f"  round {turn + 1} of {plan.rounds}, {target.name}: {describe(value)}")
    return results


def attempt(results, target, action):
    """`action()`; if it fails, the target's results say why, and the others go on."""
    try:
        return action()
    except (RuntimeError, OSError, wire.ServerError, EOFError) as error:
        say(f"  {target.name} FAILED: {error}")
        results[target] = str(error)
        return None


def describe(value):
    if isinstance(value, load.Run):
        cpu = "" if value.cpu is None else f", {value.cpu:.1f} µs CPU/tx"
        return f"{value.tps:,.0f} tps{cpu}"
    before, after, clients = value
    return f"{(after - before) / clients:,.0f} bytes for each of {clients} idle clients"


def measure_all(plan, folder, cluster, work, clients):
    """A workload with so many clients."""
    logins, target_calls = {}, {}

    def measure(target):
        if work.name == "copy-in":
            cluster.primary.ask("TRUNCATE copied", DATABASE)
        if target not in logins:
            logins[target] = load.warm_up(work, target, clients, folder)
        value = load.run(work, target, clients, plan.seconds, folder, plan.percentiles and not work.copy, logins[target])
        logins[target] = max(logins[target], value.logins)
        if plan.system_calls and target not in target_calls:
            target_calls[target] = load.system_calls(work, target, clients, folder)
        return value

    return interleaved(plan, make_targets(plan, folder, cluster, work, clients), measure), target_calls


def idle(plan, folder, cluster, tls):
    """Resident memory before and with so many idle clients: once, as it hardly differs from time to time. Only of proxies
    that have fewer server connections than clients."""
    work = next(work for work in WORKLOADS if work.name == ("tls" if tls else "simple"))
    results = {}
    for target in make_targets(replace(plan, only=plan.only & {"pgbouncer", "pgweir"}), folder, cluster, work, plan.idle):
        results[target] = []
        value = attempt(results, target, lambda target=target: measure_idle(target, plan.idle, tls))
        if value is not None:
            results[target].append(value)
            say(f"  {target.name}: {describe(value)}")
    return results


def measure_idle(target, clients, tls):
    with target:
        before = meter.resident(target.pid)
        began = time.monotonic()
        with wire.idle_clients(target.port, USER, DATABASE, clients, tls):
            say(f"  {target.name}: {clients} clients in {time.monotonic() - began:.0f} s")
            time.sleep(1)
            return before, meter.resident(target.pid), clients
