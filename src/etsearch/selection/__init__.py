"""Which trajectories to keep: the selection programme of ETS, and solvers for it. Pure: no engine, no I/O."""

from etsearch.selection.programme import Programme
from etsearch.selection.solution import Solution, Status
from etsearch.selection.solvers import SOLVERS, solve

__all__ = ["SOLVERS", "Programme", "Solution", "Status", "solve"]
