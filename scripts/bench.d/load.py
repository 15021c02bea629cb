"""One run against one target: pgbench, or psql for COPY, and what it cost the target's process."""

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import meter
from postgres import DATABASE, USER


@dataclass
class Run:
    """One run. Times of transactions in microseconds; what the proxy has used is for each of them, None without one."""

    tps: float
    latency: float
    p50: float | None
    p99: float | None
    p999: float | None
    cpu: float | None
    switches: float | None
    rss: int | None
    # What `cpu` was made of: seconds of processor time, the share of it in user space, and for how many transactions.
    busy: float | None
    user_share: float | None
    transactions: int
    # Seconds until all clients were logged in.
    logins: float


# A thread of pgbench asks all of its clients' sockets each time: with more of them than this it is what is measured.
CLIENTS_PER_THREAD = 500
# With so many clients what warms up isn't a time but a number of transactions: it may take them seconds to log in.
MANY = 200
# Of pgbench's transactions, as many are in its log.
SAMPLED = 0.1


def run(work, target, clients, seconds, folder, percentiles=False, logins=0.0):
    """One run of a workload; raises if a single transaction failed. `logins`: how long its clients took to log in before.

    What the target uses until all of them are logged in isn't counted, but where logins are what is measured.
    """
    run_one = copies if work.copy else pgbench
    with meter.Meter(target.pid) if target.pid else contextlib.nullcontext() as watch:
        transactions, tps, latency, logins = run_one(work, target, clients, seconds, folder, percentiles, logins)
    used = watch and watch.last(transactions / tps)
    p50, p99, p999 = quantiles(Path(folder)) if percentiles else (None, None, None)
    return Run(
        tps=tps, latency=latency, p50=p50, p99=p99, p999=p999,
        cpu=used and 1e6 * used.busy / transactions,
        switches=used and used.switches / transactions,
        rss=target.pid and meter.resident(target.pid),
        busy=used and used.busy, user_share=used and used.user_share, transactions=transactions, logins=logins,
    )


def warm_up(work, target, clients, folder):
    """A run that isn't counted; how long its clients took to log in."""
    return run(work, target, clients, 1 if clients <= MANY else None, folder).logins


def environment(work):
    mode = "require" if work.tls else "disable"
    return {**os.environ, "PGSSLMODE": mode, "PGGSSENCMODE": "disable", "LC_ALL": "C"}


def pgbench(work, target, clients, seconds, folder, percentiles, logins):
    """Transactions, how many a second, their mean latency, and for how long clients logged in. Without `seconds`, two
    transactions of each client."""
    # pgbench's -T also counts the time in which its clients connect.
    length = ["-t", "2"] if seconds is None else ["-T", str(seconds + math.ceil(1.2 * logins - 0.2))]
    threads = max(min(clients, 2), clients // CLIENTS_PER_THREAD)
    flags = list(work.flags)
    if work.script:
        script = Path(folder) / f"{work.name}.sql"
        script.write_text(work.script)
        flags += ["-f", str(script)]
    command = ["pgbench", "-n", *flags, "-M", work.protocol, "-c", str(clients), "-j", str(threads),
               *length, "-h", target.host(work), "-p", str(target.port), "-U", USER]
    if percentiles:
        command += ["-l", f"--sampling-rate={SAMPLED}", "--log-prefix=latency"]
    done = subprocess.run([*command, DATABASE], cwd=folder, env=environment(work), capture_output=True, text=True)
    if done.returncode != 0 or "aborted" in done.stderr:
        raise RuntimeError(f"pgbench against {target.name}: {last_line(done.stderr)}")
    transactions = number(r"transactions actually processed: (\d+)", done.stdout)
    failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
    if transactions == 0 or (failed and int(failed[1])):
        raise RuntimeError(f"pgbench against {target.name}: {done.stdout.strip()}")
    tps = re.search(r"tps = ([\d.]+) \((?:without|including reconnection)", done.stdout)
    connecting = re.search(r"initial connection time = ([\d.]+) ms", done.stdout)
    return (transactions, float(tps[1]), 1000 * number(r"latency average = ([\d.]+) ms", done.stdout),
            float(connecting[1]) / 1000 if connecting else 0.0)


def copies(work, target, clients, seconds, folder, _percentiles, _logins):
    """The same of COPYs one after the other, each by a psql of its own."""
    assert clients == 1
    command = ["psql", "-XqAt", "-h", target.host(work), "-p", str(target.port), "-U", USER, "-d", DATABASE, "-c"]
    data = Path(folder) / "rows"
    if work.writes and not data.exists():
        data.write_bytes((b"x" * 1000 + b"\n") * 100_000)
    began, done = time.monotonic(), 0
    while done == 0 or time.monotonic() - began < seconds:
        with open(data if work.writes else os.devnull, "rb") as rows:
            ended = subprocess.run([*command, work.copy], env=environment(work), stdin=rows, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        if ended.returncode != 0:
            raise RuntimeError(f"psql against {target.name}: {last_line(ended.stderr)}")
        done += 1
    spent = time.monotonic() - began
    return done, done / spent, 1e6 * spent / done, 0.0


def system_calls(work, target, clients, folder):
    """System calls of the target for each transaction, by name, of a run of its own under strace; None without it."""
    if not target.pid or work.copy or not shutil.which("strace"):
        return None
    report = Path(folder) / "strace"
    tracer = subprocess.Popen(["strace", "-c", "-f", "-o", str(report), "-p", str(target.pid)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        transactions, *_ = pgbench(work, target, clients, 2, folder, False, 0.0)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
    found = {}
    for line in report.read_text().splitlines()[2:]:
        words = line.split()
        if len(words) >= 5 and words[0][0].isdigit() and words[-1] != "total":
            found[words[-1]] = int(words[3]) / transactions
    return found


def number(pattern, text):
    """The number that `pattern` captures in pgbench's report."""
    found = re.search(pattern, text)
    if not found:
        raise RuntimeError(f"pgbench's report has no {pattern!r}:\n{text}")
    return float(found[1])


def last_line(text):
    """Of a tool's standard error: what it died of."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def quantiles(folder):
    """p50, p99 and p99.9 of the latencies in pgbench's sampled logs (third column), which are removed."""
    latencies = []
    for path in folder.glob("latency.*"):
        latencies += [int(line.split()[2]) for line in path.read_text().splitlines()]
        path.unlink()
    if not latencies:
        return None, None, None
    latencies.sort()
    at = lambda per_mille: latencies[min(len(latencies) - 1, len(latencies) * per_mille // 1000)]
    return at(500), at(990), at(999)
