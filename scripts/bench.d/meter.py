"""What a proxy uses while it is under load: looked at every now and then, so that the time in which clients log in can be
left out."""

import bisect
import gzip
import math
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

# Looking takes at most this share of one core's time.
SHARE, PERIOD = 0.01, 0.05


@dataclass(frozen=True)
class Used:
    """Of all threads: seconds of processor time, to the nanosecond; how the kernel splits it, in ticks; context switches."""

    busy: float
    user: float
    system: float
    switches: float

    def __add__(self, other):
        return Used(self.busy + other.busy, self.user + other.user, self.system + other.system, self.switches + other.switches)

    def __sub__(self, other):
        return self + other.times(-1)

    def times(self, factor):
        return Used(self.busy * factor, self.user * factor, self.system * factor, self.switches * factor)

    @property
    def user_share(self):
        return self.user / (self.user + self.system) if self.user + self.system else 0.0


def family(pid):
    """A process and its children, which Pgpool-II has for its clients."""
    try:
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    except FileNotFoundError:
        return [pid]  # a kernel without CONFIG_PROC_CHILDREN


def used(pid):
    """What the process and its children have used until now (clock_getcpuclockid(3); proc(5): stat, fields 14 and 15; the
    status of each thread)."""
    total = Used(0, 0, 0, 0)
    for member in family(pid):
        try:
            total += used_by(member)
        except (OSError, ProcessLookupError):
            continue  # it has ended
    return total


def used_by(pid):
    busy = time.clock_gettime(~pid << 3 | 2)  # what clock_getcpuclockid makes of a process
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    switches = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        try:
            switches += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status.read_text())))
        except OSError:
            continue  # the thread has ended
    return Used(busy, int(fields[11]), int(fields[12]), switches)


def resident(pid):
    """Resident memory in bytes; of several processes, what they share is counted once."""
    members = family(pid)
    if len(members) == 1:
        return kilobytes(f"/proc/{pid}/status", "VmRSS:")
    return sum(kilobytes(f"/proc/{member}/smaps_rollup", "Pss:") for member in members)


def kilobytes(path, name):
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{path} has no {name} the process has ended")


class Meter:
    """`with Meter(pid) as meter: …`; afterwards `meter.last(seconds)`."""

    def __init__(self, pid):
        self.pid = pid
        self.times, self.seen = [], []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._look()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self._look()

    def _look(self):
        self.times.append(time.monotonic())
        self.seen.append(used(self.pid))

    def _watch(self):
        pause = PERIOD
        while not self.ended.wait(pause):
            self._look()
            pause = max(PERIOD, (time.monotonic() - self.times[-1]) / SHARE)

    def last(self, seconds):
        """What was used in the last so many seconds."""
        return self.seen[-1] - self._at(self.times[-1] - seconds)

    def _at(self, moment):
        after = bisect.bisect_left(self.times, moment)
        if after == 0:
            return self.seen[0]
        began, ended = self.times[after - 1], self.times[after]
        share = (moment - began) / (ended - began)
        return self.seen[after - 1] + (self.seen[after] - self.seen[after - 1]).times(share)


def tick_rate():
    """How often a second the kernel looks whether a processor is in user space (CONFIG_HZ); None if it takes the time at each
    change (CONFIG_VIRT_CPU_ACCOUNTING_GEN), or doesn't say."""
    try:
        text = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode()
    except OSError:
        return None
    rate = re.search(r"^CONFIG_HZ=(\d+)$", text, re.MULTILINE)
    return int(rate[1]) if rate and "\nCONFIG_TICK_CPU_ACCOUNTING=y" in text else None


def user_time(runs, rate):
    """User time of runs together, in seconds for each transaction, and twice its standard error: at each of the ticks that fell
    into the time the process was either in user space or not."""
    busy, done = sum(run.busy for run in runs), sum(run.transactions for run in runs)
    share = sum(run.busy * run.user_share for run in runs) / busy
    if rate is None:
        return share * busy / done, None
    ticks = max(1.0, busy * rate)
    return share * busy / done, 2 * math.sqrt(share * (1 - share) / ticks) * busy / done
