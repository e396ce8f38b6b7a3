"""What did the engine's cache hold, and where did the time go?"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from etsearch.evaluation.report.results import Results
from etsearch.evaluation.report.tables.base import Table, code, number
from etsearch.loop.clock import PHASES


def engine(results: Results) -> Table:
    """What the engine's cache held beside what the trees predict, and what was found in it."""
    rows, tells_hits = [], False
    for cell in (*results.plain(), *results.timed_cells()):
        told = [r.engine for r in results.cells[cell] if r.engine]
        if not told:
            continue
        keys = ("mean_in_flight", "peak_predicted_tokens", "peak_cache_tokens", "mean_cache_tokens")
        means = [_mean_of(told, key) for key in keys]
        share = means[2] / means[1] if means[1] else float("nan")
        hits, asked = _mean_of(told, "prefix_hit_tokens"), _mean_of(told, "prefix_query_tokens")
        tells_hits = tells_hits or not math.isnan(hits)
        figures = [number(means[0], ".1f"), *(number(m, ",.0f") for m in means[1:]), number(share, ".2f")]
        rows.append((str(cell.width), code(cell.strategy), *figures, number(hits / (asked or 1), ".0%")))
    header: tuple[str, ...] = ("width", "strategy", "in flight", "predicted peak", "measured peak", "measured mean")
    header = (*header, "peak ÷ predicted")
    note = (
        "Tokens, while a search ran, all searches in flight together; means over searches. Predicted: the KV tokens of "
        "the last finished depth of each. Measured: the share of its cache that the engine reports, in blocks."
    )
    if tells_hits:
        header, note = (*header, "prefix found"), f"{note} Prefix found: tokens of prefixes that were in the cache."
    return Table("KV cache: measured and predicted", header, [row[: len(header)] for row in rows], note)


def _mean_of(told: Sequence[Mapping[str, float]], key: str) -> float:
    """The mean of a figure over the searches that have it; NaN where none has."""
    values = [engine[key] for engine in told if key in engine]
    return float(np.mean(values)) if values else math.nan


def seconds(results: Results) -> Table:
    """Where the time of a search went."""
    rows = []
    for cell in results.plain():
        records = results.cells[cell]
        means = [float(np.mean([r.seconds.get(phase, 0.0) for r in records])) for phase in PHASES]
        rows.append((str(cell.width), code(cell.strategy), *(f"{value:.3f}" for value in means)))
    note = (
        "Mean seconds a search during which the phase was under way; generating and scoring overlap, and searches too."
    )
    return Table("Seconds by phase", ("width", "strategy", *PHASES), rows, note)
