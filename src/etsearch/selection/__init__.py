"""Which trajectories to keep: the selection programme of ETS, and solvers for it. Pure: no engine, no I/O."""

from etsearch.selection.price import Priced
from etsearch.selection.programme import Programme
from etsearch.selection.solution import Solution, Status
from etsearch.selection.solvers import DEFAULT_SOLVER, DEFAULT_TIME_LIMIT_S, SOLVERS, price_for, solve

__all__ = [
    "DEFAULT_SOLVER",
    "DEFAULT_TIME_LIMIT_S",
    "SOLVERS",
    "Priced",
    "Programme",
    "Solution",
    "Status",
    "price_for",
    "solve",
]
