"""How many problems an hour, and what does each setting gain?"""

import math

from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.statistics import mean
from etsearch.evaluation.report.tables.base import Row, Table, code, number, points, times


def table_2(results: Results) -> Table:
    """Throughput by problems in flight, the best of each strategy (Table 2 of the ETS paper)."""
    timed = results.timed_cells()
    flights = sorted({cell.in_flight for cell in timed})
    groups: dict[tuple[int, str], dict[int, Cell]] = {}
    for cell in timed:
        groups.setdefault((cell.width, cell.strategy), {})[cell.in_flight] = cell

    per_hour = results.problems_per_hour
    best = {key: max(of, key=lambda n: per_hour(of[n])) for key, of in groups.items()}
    rebase = next((s for _, s in groups if results.names.get(s) == "rebase"), None)
    rows = []
    for (width, strategy), of in groups.items():
        rates = [f"{per_hour(of[n]):,.0f}" if n in of else "–" for n in flights]
        top = of[best[width, strategy]]
        against, reduction = "–", "–"
        if rebase and (width, rebase) in groups:
            other = groups[width, rebase][best[width, rebase]]
            against = f"{results.speedup(top, other):.2f}×"
            reduction = f"{results.reduction(top, other).value:.2f}×"
        accuracy = f"{100 * results.accuracy(top).value:.1f}"
        rows.append((str(width), code(strategy), *rates, against, reduction, accuracy))
    header = ("width", "strategy", *(f"{n} in flight" for n in flights), "best against REBASE's", "KV reduction", "%")
    note = "Problems an hour. The last column is the accuracy at the best setting."
    return Table("Table 2: throughput by problems in flight", header, rows, note)


def gains(results: Results) -> Table:
    """Every timed cell beside the first of its width and number in flight, problem by problem."""
    rows = [_gain_row(results, cell, _first(results, cell)) for cell in results.timed_cells()]
    header = (
        "width",
        "strategy",
        "problems",
        "%",
        "points",
        "KV tokens",
        "KV reduction",
        "while written",
        "requests",
        "scores",
        "wasted",
        "engine peak",
        "s",
        "problems an hour",
        "throughput",
    )
    note = (
        "Against the first row of a width, on the same problems: points of accuracy, how many times fewer KV tokens, "
        "the same while a depth is being written, and problems an hour. Means a search: KV tokens, requests to the "
        "generator, trajectories scored, seconds. Wasted: share of the generated tokens that was written ahead and not "
        "used. Engine peak: tokens that the engine's cache held at most, all searches "
        "in flight together. Intervals are 95 %, over problems."
    )
    return Table("Gains", header, rows, note)


def _first(results: Results, cell: Cell) -> Cell:
    """The first cell of the same width and number in flight."""
    return next(c for c in results.timed_cells() if (c.width, c.in_flight) == (cell.width, cell.in_flight))


def share_wasted(results: Results, cell: Cell) -> float:
    """The share of the generated tokens that was written ahead and never used; NaN where no record tells it."""
    unused, written = (results.cost(cell, name) for name in ("wasted_tokens", "generated_tokens"))
    if not unused:
        return math.nan
    total = sum(written[problem] for problem in unused)
    return sum(unused.values()) / total if total else 0.0


def _gain_row(results: Results, cell: Cell, first: Cell) -> Row:
    against = ["–", "–", "–", "–"]
    if cell != first:
        against = [
            points(results.gain(cell, first)),
            times(results.reduction(cell, first)),
            number(results.reduction(cell, first, "kv_tokens_written").value, ".2f", "×"),
            f"{results.speedup(cell, first):.2f}×",
        ]
    peaks = [r.engine["peak_cache_tokens"] for r in results.cells[cell] if "peak_cache_tokens" in r.engine]
    costs = [results.cost(cell, name) for name in ("kv_tokens", "num_requests", "num_scores")]
    means = [number(mean(cost).value, ",.0f") for cost in costs]
    return (
        str(cell.width),
        code(cell.strategy),
        str(len(results.cells[cell])),
        f"{100 * results.accuracy(cell).value:.1f}",
        against[0],
        means[0],
        *against[1:3],
        *means[1:],
        number(share_wasted(results, cell), ".1%"),
        f"{max(peaks):,.0f}" if peaks else "–",
        f"{mean(results.values(cell, lambda r: r.seconds['total'])).value:.2f}",
        f"{results.problems_per_hour(cell):,.0f}",
        against[3],
    )
