"""The solvers by name, and the two doors to them: `solve`, and `price_for`."""

import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from etsearch.errors import ConfigError
from etsearch.selection import cbc, exhaustive, highs, lagrange
from etsearch.selection.price import Priced, least_price
from etsearch.selection.programme import Programme
from etsearch.selection.solution import Solution

DEFAULT_SOLVER: Final = "lagrange"
DEFAULT_TIME_LIMIT_S: Final = 30.0
"""Over a hundred times what the hardest synthetic programme of 4,096 leaves takes; only budgets may need more."""
LEAST_TIME_S: Final = 1e-3
"""What is left to a solver, at least, when a price is looked for and the time is up."""

SOLVERS: Final[Mapping[str, Callable[[Programme, float], Solution]]] = MappingProxyType(
    {"highs": highs.solve, "cbc": cbc.solve, "lagrange": lagrange.solve, "exhaustive": exhaustive.solve}
)


def solve(programme: Programme, solver: str = DEFAULT_SOLVER, time_limit_s: float = DEFAULT_TIME_LIMIT_S) -> Solution:
    """The leaves to keep.

    The same programme gives the same solution, unless the time limit cuts the work short. Between solutions of
    equal worth the choice is the solver's: arbitrary, but the same every time.

    With a budget, the solution is the best that costs no more; a proof of that may take seconds from some hundred
    leaves on, and a good solution is there long before.

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
    return _find_solver(solver, time_limit_s)(programme, time_limit_s)


def price_for(
    programme: Programme,
    target_cost: float,
    solver: str = DEFAULT_SOLVER,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
) -> Priced:
    """The least price ``lambda_b`` at which an optimum costs at most a target, and that optimum.

    The price is exact: at any lower one all optima cost more, and at this one the solution is an optimum, if one of
    several. Where not even the cheapest leaf and its ancestors meet the target, the answer is what all prices from
    the one returned on end with: the best solution among those of the least cost, ``programme.cheapest_cost``.

    A budget (``programme.with_budget``) is another thing: the best solution that costs no more need not be optimal at
    any price, and is often nearer to the target; this one is, and keeps what a price would keep.

    Args:
        programme: what to select from; its own ``lambda_b`` does not count, a budget of its own does.
        target_cost: in units of ``node_cost``.
        solver: as for `solve`.
        time_limit_s: seconds for all steps together, five to ten solutions as a rule; above 0.

    Returns:
        The price, the solution and its cost. The status is ``feasible``, and the price a guess, when time ran out.

    Raises:
        ConfigError: a target that is not a number, or what `solve` refuses.
        MissingDependencyError: ``cbc`` without PuLP.
        SolverError: the solver failed, or found no solution within the time limit.
    """
    if math.isnan(target_cost):
        raise ConfigError("target_cost is nan; it must be a number, in units of node_cost")
    solve_in, deadline = _find_solver(solver, time_limit_s), time.perf_counter() + time_limit_s
    return least_price(programme, target_cost, lambda p: solve_in(p, max(deadline - time.perf_counter(), LEAST_TIME_S)))


def _find_solver(solver: str, time_limit_s: float) -> Callable[[Programme, float], Solution]:
    if solver not in SOLVERS:
        raise ConfigError(f"the solver is {solver!r}; choose one of {', '.join(SOLVERS)}")
    if not time_limit_s > 0.0:
        raise ConfigError(f"time_limit_s is {time_limit_s}; it must be above 0 (inf for no limit)")
    return SOLVERS[solver]
