"""Measured runs to tables: medians, spread, and ratios against PgBouncer."""

import statistics

import meter

INTRODUCTION = """\
# Performance

Written by `scripts/bench`; run it again rather than editing this page. pgbench, Postgres (a primary and two streaming
replicas, not durable: `fsync = off`), and the proxies share one machine, so throughput says how little the proxy takes
from the others. Rounds are interleaved (A B C A B C); each figure is the median of the rounds, the range beside it is
their smallest and largest. CPU is the proxy's own time, user and system, divided by the transactions of the run; the time until
all clients are logged in is left out, but where logins are what is measured. Ratios are against PgBouncer in the same scenario. Clients log in without a password, over TCP on 127.0.0.1 and
without TLS where nothing else is said. Latencies are of one in ten transactions; context switches are the proxy's.

{ticks}

Server connections are what a pooler is to save, so each proxy has as many: PgBouncer all of them to the primary, pgweir half
of them to each of two replicas. That isn't the same to Postgres: two servers on one machine have two buffer caches and more
processes than one has, so PgBouncer is measured over the two replicas too, as one sets it up by hand for what only reads.
"Wide" is pgweir with as many connections as PgBouncer to each replica, twice as many in all. Pgpool-II has a process and a
connection to every server for each client, and PgBouncer 1.18 keeps prepared statements in session mode only, with a server
connection for each client: there both do without what pooling is for. The CPU of Pgpool-II is that of all its processes.

With TLS both proxies speak TLS 1.3 with pgbench and psql, by the same cipher (TLS_AES_256_GCM_SHA384), with the same key and
certificate (P-256); the way to the servers is plain. "Idle" is what the resident size grows by, for each client.
"""

TICKS = """\
Processor time is exact as a whole, but the kernel splits it into user and system by looking {rate} times a second which of them
it is: user time is that of all rounds together, with twice its standard error behind it."""
EXACT = "User and system time are as the kernel has them."


def median(values):
    """The median of what is there; None when nothing is."""
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def number(value, digits=0):
    """As people read it; a dash for nothing."""
    if value is None:
        return "–"
    digits = max(digits, 2 if value < 10 and digits == 0 else digits)
    return f"{value:,.{digits}f}"


def ratio(value, reference):
    """`value` as a multiple of `reference`."""
    return "–" if not value or not reference else f"{value / reference:.2f}×"


def spread(values):
    """Smallest and largest."""
    return f"{number(min(values))}–{number(max(values))}"


def cell(text):
    """Text that can't break a table's row."""
    return " ".join(str(text).split()).replace("|", "\\|")


def facts_table(facts):
    """`(name, value)` pairs as a table."""
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {cell(value)} |" for name, value in facts)])


def introduction(rate):
    """What is before the figures; `rate` as `meter.tick_rate` gives it."""
    return INTRODUCTION.format(ticks=TICKS.format(rate=rate) if rate else EXACT)


def load_table(results, rate):
    """`results`: target → runs, or the text of what failed. The first name that begins with PgBouncer is the reference."""
    head = ["target", "tps", "range", "vs PgBouncer", "latency, ms", "p50, ms", "p99, ms", "p99.9, ms", "CPU/tx, µs", "user",
            "system", "vs PgBouncer", "switches/tx", "RSS, MiB"]
    reference = next((runs for target, runs in results.items()
                      if target.name.startswith("PgBouncer") and not isinstance(runs, str)), [])
    reference_tps = median([run.tps for run in reference])
    reference_cpu = median([run.cpu for run in reference])
    rows = []
    for target, runs in results.items():
        name = f"{target.name} ({target.note})"
        if isinstance(runs, str):
            rows.append([name, f"failed: {first_line(runs)}"] + ["–"] * (len(head) - 2))
            continue
        tps, cpu = median([run.tps for run in runs]), median([run.cpu for run in runs])
        rows.append([
            name, number(tps), spread([run.tps for run in runs]), ratio(tps, reference_tps),
            number(median([run.latency for run in runs]) / 1000, 2),
            number(thousandth(median([run.p50 for run in runs])), 2),
            number(thousandth(median([run.p99 for run in runs])), 2),
            number(thousandth(median([run.p999 for run in runs])), 2),
            number(cpu, 1), *split(runs, cpu, rate), ratio(cpu, reference_cpu),
            number(median([run.switches for run in runs]), 2),
            number(mebibytes(median([run.rss for run in runs])), 1),
        ])
    return table(head, rows)


def split(runs, cpu, rate):
    """Two cells: user and system time of a transaction."""
    if cpu is None:
        return "–", "–"
    user, error = meter.user_time(runs, rate)
    around = "" if error is None else f" ±{1e6 * error:.1f}"
    return f"{1e6 * user:.1f}{around}", number(max(0.0, cpu - 1e6 * user), 1)


def calls_line(calls):
    """`calls`: target → system calls for each transaction, by name. Those that matter, in one line for each target."""
    lines = []
    for target, found in calls.items():
        if found:
            often = sorted(((count, name) for name, count in found.items() if count >= 0.01), reverse=True)
            lines.append(f"System calls for each transaction, {target.name}: {sum(found.values()):.2f} ("
                         + ", ".join(f"{name} {count:.2f}" for count, name in often[:6]) + ").")
    return "\n\n".join(lines)


def idle_table(results):
    """`results`: target → list of (bytes before, bytes with the clients, clients), or the text of what failed."""
    rows = []
    for target, runs in results.items():
        if isinstance(runs, str):
            rows.append([target.name, f"failed: {first_line(runs)}", "–", "–"])
            continue
        each = median([(after - before) / clients for before, after, clients in runs])
        rows.append([target.name, number(mebibytes(median([run[0] for run in runs])), 1),
                     number(mebibytes(median([run[1] for run in runs])), 1), number(each)])
    return table(["target", "RSS before, MiB", "RSS with them, MiB", "bytes for each client"], rows)


def section(heading, body):
    return f"## {heading}\n\n{body}\n"


def with_sections(page, sections, note):
    """The page with these sections in the place of those with the same headings, or behind all; `note` below each table."""
    before, *there = page.split("\n## ")
    kept = {each.split("\n", 1)[0]: each for each in there}
    for heading, table in sections:
        kept[heading] = section(heading, f"{table}\n\n{note}").removeprefix("## ")
    return "\n## ".join([before, *kept.values()])


def first_line(text):
    """Of a failure: the rest, a log, was shown when it happened."""
    return text.split("\n", 1)[0]


def table(head, rows):
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def mebibytes(value):
    return None if value is None else value / 2**20


def thousandth(value):
    return None if value is None else value / 1000
