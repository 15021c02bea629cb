"""Measured runs as a picture: CPU per transaction and throughput, each as a multiple of PgBouncer's."""

import statistics
from html import escape

COLOURS = {"pgweir": "#1f77b4", "pgweir, wide": "#7fb2dd", "HAProxy": "#9a9a9a", "direct": "#d0d0d0"}
ROW, LABEL, WIDTH, TOP = 16, 190, 330, 60


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
