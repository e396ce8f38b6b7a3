"""What does each strategy cost, and what is it worth at equal cost?"""

from collections.abc import Callable
from typing import Final

import numpy as np

from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.statistics import Values, by_problem, difference, ratio, vote_curve
from etsearch.evaluation.report.tables.base import Table, code, points
from etsearch.evaluation.run.record import SearchRecord


def figure_2(results: Results) -> Table:
    """FLOPs, model calls, KV size and runtime, each relative to beam search (Figure 2 of the ETS paper)."""
    rows = [
        (str(cell.width), code(cell.strategy), *(f"{value:.2f}" for value in relative_costs(results, cell)))
        for cell in results.plain()
        if Cell(results.label_of("beam") or "", cell.width) in results.cells
    ]
    both = results.parameters("generator"), results.parameters("reward model")
    known = "generator and PRM" if all(both) else "generator" if both[0] else "generated tokens; parameters unknown"
    beam = results.label_of("beam") or "beam"
    note = (
        f"Relative to {code(beam)} at the same width. FLOPs: {known}. Runtime: mean seconds "
        "of a search while others of the run were in flight."
    )
    header = ("width", "strategy", "FLOPs", "model calls", "KV size", "runtime")
    return Table("Figure 2: costs relative to beam search", header, rows, note)


def relative_costs(results: Results, cell: Cell) -> tuple[float, float, float, float]:
    """FLOPs, model calls, KV size and runtime of a cell over those of beam search, at its width and on its problems."""
    base = Cell(results.label_of("beam") or "", cell.width)
    figures: list[Callable[[Cell], Values]] = [
        results.flops,
        lambda c: results.cost(c, "num_calls"),
        lambda c: results.cost(c, "kv_tokens"),
        lambda c: results.values(c, lambda r: r.seconds["total"]),
    ]
    first, second, third, fourth = (ratio(f(cell), f(base)).value for f in figures)
    return first, second, third, fourth


EQUAL_COSTS: Final = ("generated_tokens", "kv_tokens")


def equal_cost(results: Results) -> Table:
    """Every strategy against best-of-N at equal width, at equal tokens and at equal KV."""
    label = results.label_of("best_of_n")
    rows = []
    for cell in results.plain() if label else ():
        row = [str(cell.width), code(cell.strategy), f"{100 * results.accuracy(cell).value:.1f}"]
        other = Cell(label or "", cell.width)
        row.append(points(results.gain(cell, other)) if other in results.cells and other != cell else "–")
        for cost in EQUAL_COSTS:
            size, values = best_of_k(results, label or "", cell, cost)
            is_possible = values and cell.strategy != label
            row += [f"{size:.0f}", points(difference(results.right(cell), values))] if is_possible else ["–", "–"]
        rows.append(tuple(row))
    header = (
        "width",
        "strategy",
        "%",
        "less best-of-N",
        "k at equal tokens",
        "less best-of-k",
        "k at equal KV",
        "less best-of-k",
    )
    note = (
        "Best-of-k costs what the strategy costs, as interpolated between the recorded widths: k trajectories, drawn "
        "from those of the widest best-of-N, weighted vote. '–' where k would lie beyond. Paired, in points."
    )
    return Table("Search against best-of-N at equal cost", header, rows, note)


def best_of_k(results: Results, label: str, cell: Cell, cost: str) -> tuple[float, Values]:
    """How many independent trajectories cost as much as a cell's searches, and how often their vote is right.

    The cost of best-of-k is interpolated between the recorded widths, from nothing at 0; none beyond the widest.
    """
    shared = set(results.right(cell))
    known = {0: 0.0}
    for c in results.plain():
        if c.strategy == label:
            costs = [v for problem, v in results.cost(c, cost).items() if problem in shared]
            if costs:
                known[c.width] = float(np.mean(costs))
    both = {r.problem for c in results.plain() if c.strategy == label for r in results.cells[c]} & shared
    costs = [v for problem, v in results.cost(cell, cost).items() if problem in both]
    if not costs or np.mean(costs) > max(known.values()):
        return float("nan"), {}
    size = float(np.interp(np.mean(costs), list(known.values()), list(known)))
    if size < 1:
        return size, {}
    widest = results.cells[Cell(label, max(known))]
    low = int(size)
    share = size - low

    def right(record: SearchRecord) -> float:
        below, above = vote_curve(record, (low, low + 1), "weighted", results.grader)
        return (1 - share) * below + share * above

    return size, by_problem([r for r in widest if r.problem in shared], right)
