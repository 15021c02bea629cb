"""One client's latency by way of two proxies, in pairs of runs close to each other: what differs from pair to pair is the
machine's, and drops out of their ratio."""

import contextlib
import math
import statistics

import load
import report
import scenarios
from workloads import WORKLOADS

WORKS = ("simple", "prepared")


def measure(plan, folder, cluster, pairs):
    """Workload → list of (PgBouncer's mean latency, pgweir's), in µs."""
    found = {}
    for work in [work for work in WORKLOADS if work.name in WORKS]:
        chosen = [target for target in scenarios.make_targets(plan, folder, cluster, work, 1)
                  if target.name in ("pgweir", "PgBouncer", "PgBouncer, session mode")]
        with contextlib.ExitStack() as running:
            for target in chosen:
                running.enter_context(target)
                load.run(work, target, 1, 1, folder)
            found[work] = []
            for turn in range(pairs):
                order = chosen if turn % 2 == 0 else chosen[::-1]
                # Not pgbench's latency, which has three digits.
                latencies = {target.name: 1e6 / load.run(work, target, 1, plan.seconds, folder).tps for target in order}
                pair = tuple(latencies[target.name] for target in chosen)
                found[work].append(pair)
                scenarios.say(f"  pair {turn + 1} of {pairs}, {work.name}: {pair[0]:.1f} and {pair[1]:.1f} µs, {pair[1] / pair[0]:.3f}×")
    return found


def table(found):
    rows = []
    for work, pairs in found.items():
        middle, low, high = interval([math.log(ours / theirs) for theirs, ours in pairs])
        rows.append([work.title, str(len(pairs)), *(report.number(statistics.median(each) / 1000, 4) for each in zip(*pairs)),
                     f"{math.exp(middle):.3f}×", f"{math.exp(low):.3f}–{math.exp(high):.3f}"])
    return report.table(["1 client", "pairs", "PgBouncer, ms", "pgweir, ms", "ratio", "95 % confidence interval"], rows)


def interval(values):
    """Their mean, and where the true one is with a confidence of 95 %, by Student's distribution."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def student(freedom):
    """The 97.5 % point of Student's distribution (Abramowitz and Stegun 26.7.5; to a thousandth from 5 degrees on)."""
    z = statistics.NormalDist().inv_cdf(0.975)
    terms = [z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384]
    return sum(term / freedom**power for power, term in enumerate(terms))
