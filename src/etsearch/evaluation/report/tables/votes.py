"""What would fewer trajectories have voted?"""

from collections.abc import Sequence

import numpy as np

from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.statistics import VoteKind, pass_at, sizes_to, vote_curve
from etsearch.evaluation.report.tables.base import Table, code
from etsearch.evaluation.run.record import SearchRecord


def votes(results: Results) -> Table:
    """Pass@k, majority and weighted vote of 1, 2, 4 … N trajectories, of each strategy at its largest width."""
    rows = []
    largest = {
        strategy: max(c.width for c in results.plain() if c.strategy == strategy) for strategy in results.strategies()
    }
    sizes = sizes_to(max(largest.values(), default=1))
    for strategy, width in largest.items():
        records = results.cells[Cell(strategy, width)]
        curves = _curves(records, sizes_to(width), results.grader)
        for kind, curve in curves.items():
            cells = [f"{100 * value:.1f}" for value in curve]
            rows.append((code(strategy), kind, *cells, *("–" for _ in sizes[len(cells) :])))
    note = (
        "Trajectories are drawn from those of the same searches. For a tree search these are not those of a narrower "
        "search: they grew together."
    )
    return Table("Votes of fewer trajectories, %", ("strategy", "vote", *map(str, sizes)), rows, note)


def _curves(records: Sequence[SearchRecord], sizes: Sequence[int], grader: str) -> dict[str, list[float]]:
    kinds: tuple[VoteKind, ...] = ("majority", "weighted")
    curves: dict[str, list[float]] = {
        kind: np.mean([vote_curve(r, sizes, kind, grader) for r in records], axis=0).tolist() for kind in kinds
    }
    return {"pass@k": [float(np.mean([pass_at(r, k, grader) for r in records])) for k in sizes], **curves}
