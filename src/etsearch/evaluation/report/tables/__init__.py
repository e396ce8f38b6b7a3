"""The tables of a report, a file for each question; every figure is computed from the records."""

from typing import Final

from etsearch.evaluation.report.tables.accuracy import (
    differences_from_baselines,
    disagreements,
    levels,
    overview,
    table_1,
    table_3,
)
from etsearch.evaluation.report.tables.base import Row, Table, code, percent, points, times
from etsearch.evaluation.report.tables.cost import best_of_k, equal_cost, figure_2, relative_costs
from etsearch.evaluation.report.tables.depths import depths
from etsearch.evaluation.report.tables.engine import engine, seconds
from etsearch.evaluation.report.tables.throughput import gains, share_wasted, table_2
from etsearch.evaluation.report.tables.votes import votes

__all__ = [
    "ALL",
    "Row",
    "Table",
    "best_of_k",
    "code",
    "depths",
    "differences_from_baselines",
    "disagreements",
    "engine",
    "equal_cost",
    "figure_2",
    "gains",
    "levels",
    "overview",
    "percent",
    "points",
    "relative_costs",
    "seconds",
    "share_wasted",
    "table_1",
    "table_2",
    "table_3",
    "times",
    "votes",
]

ALL: Final = (
    overview,
    table_1,
    differences_from_baselines,
    equal_cost,
    table_2,
    table_3,
    figure_2,
    votes,
    levels,
    engine,
    seconds,
    depths,
    disagreements,
    gains,
)
"""The tables in the order of a report; one without rows is left out."""
