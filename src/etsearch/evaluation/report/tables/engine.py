"""What did the engine's cache hold, and where did the time go?"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from etsearch.evaluation.report.results import Cell, Results
from etsearch.evaluation.report.tables.base import Row, Table, code, number
from etsearch.loop.clock import PHASES

Told = Mapping[str, float]
"""What the engine measured while a search ran: the figures of ``EngineFigures`` that there are."""


_CACHE: Row = ("in flight", "predicted peak", "measured peak", "measured mean", "peak ÷ predicted")
_NOTE = (
    "Tokens, while a search ran, all searches in flight together; means over the cell's searches. Predicted: the KV "
    "tokens of the last finished depth of each. Measured: the share of its cache that the engine reports, in blocks."
)


def engine(results: Results) -> Table:
    """What the engine's cache held beside what the trees predict, what was found in it, and what it threw out."""
    cells = [(cell, [r.engine for r in results.cells[cell] if r.engine]) for cell in _cells(results)]
    cells = [(cell, told) for cell, told in cells if told]
    everything = [one for _, told in cells for one in told]
    header, note = ("width", "strategy", *_CACHE), f"{_NOTE}{_untold(everything)}"
    extra: list[Callable[[Sequence[Told]], str]] = []
    if any("prefix_hit_tokens" in one for one in everything):
        header, note = (*header, "prefix found"), f"{note} Prefix found: tokens of prefixes that were in the cache."
        extra.append(_share_found)
    if any("num_preemptions" in one for one in everything):
        header, note = (*header, "preemptions"), f"{note} Preemptions: sequences that lost their place in the cache."
        extra.append(_preemptions)
    rows = [(str(c.width), code(c.strategy), *_cache(told), *(cell(told) for cell in extra)) for c, told in cells]
    return Table("KV cache: measured and predicted", header, rows, note)


def _cells(results: Results) -> Sequence[Cell]:
    return (*results.plain(), *results.timed_cells())


def _is_seen(one: Told) -> bool:
    """Whether the engine measured its cache while this search ran; a 0, in older records, is of a look at a pause."""
    return one.get("peak_cache_tokens", 0) > 0


def _untold(told: Sequence[Told]) -> str:
    """Why searches have no measured peak, where some have none."""
    has_none = [one for one in told if not _is_seen(one)]
    unseen = sum("cache_capacity_tokens" in one for one in has_none)
    reasons = {
        "no look at the engine fell into its work": unseen,
        "the engine did not tell": len(has_none) - unseen,
    }
    said = "; ".join(f"{count:,} of {len(told):,} searches, since {why}" for why, count in reasons.items() if count)
    return f" Not measured, and in no mean: {said}." if said else ""


def _cache(told: Sequence[Told]) -> Row:
    """The figures of the cache; measured and predicted are compared over the searches that have both."""
    seen = [one for one in told if _is_seen(one)]
    measured, predicted = _mean_of(seen, "peak_cache_tokens"), _mean_of(seen, "peak_predicted_tokens")
    return (
        number(_mean_of(told, "mean_in_flight"), ".1f"),
        number(_mean_of(told, "peak_predicted_tokens"), ",.0f"),
        number(measured, ",.0f"),
        number(_mean_of(seen, "mean_cache_tokens"), ",.0f"),
        number(measured / predicted if predicted else math.nan, ".2f"),
    )


def _share_found(told: Sequence[Told]) -> str:
    return number(_mean_of(told, "prefix_hit_tokens") / (_mean_of(told, "prefix_query_tokens") or 1), ".0%")


def _preemptions(told: Sequence[Told]) -> str:
    return number(_mean_of(told, "num_preemptions"), ",.1f")


def _mean_of(told: Sequence[Told], key: str) -> float:
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
