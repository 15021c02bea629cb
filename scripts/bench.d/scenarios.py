"""The scenarios: which targets, in which order, and what is asked of each."""

import contextlib
import sys
from dataclasses import dataclass, replace

import load
import machine
import targets
import wire
from postgres import DATABASE, USER


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
    pgweir: object  # path of the binary


def say(text):
    """Progress; the report alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def make_targets(plan, folder, cluster, protocol, clients):
    """PgBouncer 1.18 has no prepared statements in transaction mode: session mode then, a server for each client."""
    mode, pool = ("transaction", plan.pool) if protocol == "simple" else ("session", max(clients, plan.pool))
    made = {
        "direct": lambda: targets.Direct(cluster),
        "pgbouncer": lambda: targets.PgBouncer(folder, cluster, mode, pool),
        "pgbouncer-replicas": lambda: targets.PgBouncer(folder, cluster, mode, pool, to_replicas=True),
        "haproxy": lambda: targets.HaProxy(folder, cluster),
        "pgweir": lambda: targets.Pgweir(folder, cluster, -(-plan.pool // len(cluster.replicas)), plan.pgweir),
        "pgweir-wide": lambda: targets.Pgweir(folder, cluster, plan.pool, plan.pgweir, "pgweir, wide"),
    }
    return [make() for name, make in made.items() if name in plan.only]


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


def select(plan, folder, cluster, protocol, clients):
    """`pgbench -S`."""
    chosen = make_targets(plan, folder, cluster, protocol, clients)

    def measure(target):
        if target not in warm:
            load.pgbench(target, clients, 1, protocol, folder)
            warm.add(target)
        return load.pgbench(target, clients, plan.seconds, protocol, folder, plan.percentiles)

    warm = set()
    return interleaved(plan, chosen, measure)


def idle(plan, folder, cluster):
    """Resident memory before and with so many idle clients; each round against a fresh process."""
    results = {}
    for turn in range(plan.rounds):
        once = replace(plan, only=plan.only - {"pgbouncer-replicas", "pgweir-wide"})
        for target in make_targets(once, folder, cluster, "simple", plan.idle):
            if target.name in ("direct", "HAProxy"):
                continue  # no pool: a server connection for each idle client
            key = next((known for known in results if known.name == target.name), target)
            if isinstance(results.setdefault(key, []), str):
                continue
            value = attempt(results, key, lambda target=target: measure_idle(target, plan.idle))
            if value is not None:
                results[key].append(value)
                say(f"  round {turn + 1} of {plan.rounds}, {target.name}: {describe(value)}")
    return results


def measure_idle(target, clients):
    with target:
        before = machine.rss(target.pid)
        after = wire.with_idle_clients(target.port, USER, DATABASE, clients, lambda: machine.rss(target.pid))
        return before, after, clients
