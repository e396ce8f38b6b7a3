"""The solvers by name, and the one door to them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from etsearch.errors import ConfigError
from etsearch.selection import cbc, exhaustive, highs, lagrange
from etsearch.selection.programme import Programme
from etsearch.selection.solution import Solution

DEFAULT_SOLVER: Final = "lagrange"
DEFAULT_TIME_LIMIT_S: Final = 30.0
"""Over ten times what the hardest synthetic programme of 4,096 leaves took (1.8 s); a busy machine needs room."""

SOLVERS: Final[Mapping[str, Callable[[Programme, float], Solution]]] = MappingProxyType(
    {"highs": highs.solve, "cbc": cbc.solve, "lagrange": lagrange.solve, "exhaustive": exhaustive.solve}
)


def solve(programme: Programme, solver: str = DEFAULT_SOLVER, time_limit_s: float = DEFAULT_TIME_LIMIT_S) -> Solution:
    """The leaves to keep.

    The same programme gives the same solution, unless the time limit cuts the work short. Between solutions of
    equal worth the choice is the solver's: arbitrary, but the same every time.

    Args:
        programme: what to select from.
        solver: ``lagrange`` (bound and search, the default), ``highs`` (a general solver, in process), ``cbc`` (the
            paper's, through PuLP; needs the extra ``cbc``) or ``exhaustive`` (at most 20 leaves; for tests).
        time_limit_s: seconds that the solver may take, above 0; ``inf`` for no limit. ``exhaustive`` takes no
            notice of it.

    Returns:
        The solution, optimal or, when the time ran out, the best found, with status ``feasible``.

    Raises:
        ConfigError: an unknown solver, a bad time limit, or too many leaves for ``exhaustive``.
        MissingDependencyError: ``cbc`` without PuLP.
        SolverError: the solver failed, or found no solution within the time limit.
    """
    if solver not in SOLVERS:
        raise ConfigError(f"the solver is {solver!r}; choose one of {', '.join(SOLVERS)}")
    if not time_limit_s > 0.0:
        raise ConfigError(f"time_limit_s is {time_limit_s}; it must be above 0 (inf for no limit)")
    return SOLVERS[solver](programme, time_limit_s)
