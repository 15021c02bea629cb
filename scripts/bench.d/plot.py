"""Measured runs as a picture: CPU per transaction and throughput, each as a multiple of PgBouncer's; and how a figure grows."""

import math
import statistics
from html import escape

COLOURS = {"pgweir": "#1f77b4", "pgweir, wide": "#7fb2dd", "HAProxy": "#9a9a9a", "direct": "#d0d0d0"}
ROW, LABEL, WIDTH, TOP = 16, 190, 330, 60
LINES = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f")


def bars(figures):
    """`figures`: (name, target → runs). An SVG: a group of bars for each, to the left the CPU, to the right the throughput."""
    groups = [(name, relative(results)) for name, results in figures]
    groups = [(name, rows) for name, rows in groups if rows]
    height = TOP + sum(ROW * (len(rows) + 1) for _, rows in groups)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL + 2 * WIDTH + 40}" height="{height}" '
             'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    panels = [(LABEL, "CPU per transaction, PgBouncer = 1 (less is better)"),
              (LABEL + WIDTH + 20, "throughput, PgBouncer = 1 (more is better)")]
    for left, title in panels:
        parts.append(f'<text x="{left}" y="18" font-weight="bold">{escape(title)}</text>')
        for tick in (0.5, 1, 1.5, 2):
            x = left + position(tick)
            parts.append(f'<line x1="{x}" y1="30" x2="{x}" y2="{height}" stroke="{"#444" if tick == 1 else "#ddd"}"/>')
            parts.append(f'<text x="{x}" y="44" text-anchor="middle" fill="#666">{tick}</text>')
    y = TOP
    for name, rows in groups:
        parts.append(f'<text x="4" y="{y + 11}" font-weight="bold">{escape(name)}</text>')
        y += ROW
        for target, cpu, tps in rows:
            parts.append(f'<text x="16" y="{y + 11}">{escape(target)}</text>')
            for (left, _), value in zip(panels, (cpu, tps)):
                if value:
                    colour = COLOURS.get(target, "#c9a36a")
                    parts.append(f'<rect x="{left}" y="{y + 2}" width="{position(value):.0f}" height="{ROW - 4}" fill="{colour}"/>')
                    parts.append(f'<text x="{left + position(value) + 3:.0f}" y="{y + 12}">{value:.2f}</text>')
            y += ROW
    return "\n".join([*parts, "</svg>", ""])


def position(value):
    """Pixels from the left of a panel; what is more than 2.2 ends there."""
    return min(value, 2.2) * (WIDTH - 40) / 2.2


def relative(results):
    """(target, CPU, throughput) against the first PgBouncer, which isn't listed itself."""
    good = {target: runs for target, runs in results.items() if runs and not isinstance(runs, str)}
    reference = next((target for target in good if target.name.startswith("PgBouncer")), None)
    if reference is None:
        return []
    cpu, tps = middle(good[reference], "cpu"), middle(good[reference], "tps")
    rows = []
    for target, runs in good.items():
        if target is not reference:
            own = middle(runs, "cpu")
            rows.append((target.name, own and cpu and own / cpu, middle(runs, "tps") / tps))
    return rows


def middle(runs, what):
    values = [getattr(run, what) for run in runs if getattr(run, what) is not None]
    return statistics.median(values) if values else None


def lines(found):
    """`found`: what → (number, figure), …. An SVG: each figure as a multiple of the first of its line, over the number, both on
    logarithmic scales."""
    left, top, width, height, most = 50, 20, 480, 260, 8
    decades = max(1, math.ceil(math.log10(max(number for points in found.values() for number, _ in points))))
    across = lambda number: left + width * math.log10(number) / decades
    down = lambda multiple: top + height * (1 - math.log2(min(max(multiple, 0.5), most) / 0.5) / math.log2(most / 0.5))
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 160}" height="{top + height + 40}" '
             'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for decade in range(decades + 1):
        x = across(10**decade)
        parts.append(f'<line x1="{x}" y1="{top}" x2="{x}" y2="{top + height}" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="{top + height + 16}" text-anchor="middle" fill="#666">{10**decade:,}</text>')
    for multiple in (0.5, 1, 2, 4, 8):
        y = down(multiple)
        parts.append(f'<line x1="{left}" y1="{y}" x2="{left + width}" y2="{y}" stroke="{"#444" if multiple == 1 else "#ddd"}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end" fill="#666">{multiple}×</text>')
    for (what, points), colour, turn in zip(found.items(), LINES, range(len(LINES))):
        places = " ".join(f"{across(number):.0f},{down(figure / points[0][1]):.0f}" for number, figure in points)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + width + 12}" y="{top + 14 + 16 * turn}" fill="{colour}">{escape(what)}</text>')
    return "\n".join([*parts, "</svg>", ""])
