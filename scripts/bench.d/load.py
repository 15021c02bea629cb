"""pgbench: one run against one target, and what it cost the target's process."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import machine
from postgres import DATABASE, USER


@dataclass
class Run:
    """One run. Times of transactions in microseconds; `cpu_*` is the proxy's time per transaction, None without one."""

    tps: float
    latency: float
    p50: float | None
    p99: float | None
    cpu_user: float | None
    cpu_system: float | None
    rss: int | None

    @property
    def cpu(self):
        return None if self.cpu_user is None else self.cpu_user + self.cpu_system


# pgbench's -T also counts the time in which its clients connect: as many of them each second, at least.
LOGINS_PER_SECOND = 250


def pgbench(target, clients, seconds, protocol, folder, percentiles=False):
    """`pgbench -S` with so many clients; raises if a single transaction failed."""
    seconds += clients // LOGINS_PER_SECOND
    command = ["pgbench", "-n", "-S", "-M", protocol, "-c", str(clients), "-j", str(min(clients, 2)),
               "-T", str(seconds), "-h", "127.0.0.1", "-p", str(target.port), "-U", USER]
    if percentiles:
        command += ["-l", "--sampling-rate=0.1", "--log-prefix=latency"]
    environment = {**os.environ, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable", "LC_ALL": "C"}
    before = target.pid and machine.cpu(target.pid)
    done = subprocess.run([*command, DATABASE], cwd=folder, env=environment, capture_output=True, text=True)
    used = target.pid and machine.cpu(target.pid) - before
    if done.returncode != 0 or "aborted" in done.stderr:
        raise RuntimeError(f"pgbench against {target.name}: {last_line(done.stderr)}")
    transactions = number(r"transactions actually processed: (\d+)", done.stdout)
    failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
    if transactions == 0 or (failed and int(failed[1])):
        raise RuntimeError(f"pgbench against {target.name}: {done.stdout.strip()}")
    p50, p99 = quantiles(Path(folder)) if percentiles else (None, None)
    return Run(
        tps=number(r"tps = ([\d.]+) \(without", done.stdout),
        latency=1000 * number(r"latency average = ([\d.]+) ms", done.stdout),
        p50=p50, p99=p99,
        cpu_user=used and 1e6 * used.user / transactions,
        cpu_system=used and 1e6 * used.system / transactions,
        rss=target.pid and machine.rss(target.pid),
    )


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
    """Median and 99th percentile of the latencies in pgbench's sampled logs (third column), which are removed."""
    latencies = []
    for path in folder.glob("latency.*"):
        latencies += [int(line.split()[2]) for line in path.read_text().splitlines()]
        path.unlink()
    if not latencies:
        return None, None
    latencies.sort()
    return latencies[len(latencies) // 2], latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)]
