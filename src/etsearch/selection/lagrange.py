"""The default solver: a Lagrangian bound, a search within its gap, and HiGHS for what that leaves open."""

import time
from typing import Final

from etsearch.errors import SolverError
from etsearch.selection import highs
from etsearch.selection.enumeration import TooManyError, least_regret
from etsearch.selection.programme import Programme
from etsearch.selection.reduction import best_path, reduced, without_search
from etsearch.selection.relaxation import Relaxation, components
from etsearch.selection.solution import Solution, Status, evaluated
from etsearch.selection.units import GROUND, Units

TOLERANCE: Final = 1e-12
"""Regret that counts as none, as a share of the largest possible objective."""
MAX_STEPS: Final = 4000
"""Partial solutions looked at in one component before it is left to HiGHS, which takes as long for a small one."""


def solve(programme: Programme, time_limit_s: float) -> Solution:
    """An optimum of the programme, or the best solution found within the time limit, marked as such.

    What the reduction leaves falls into components that share nothing. In each, prices for the clusters give a bound
    (`relaxation`), and a search looks through the solutions within a small distance of it (`enumeration`). Of a
    component with too many of those HiGHS finds the optimum. No part of it is random.

    Args:
        programme: to solve.
        time_limit_s: seconds, above 0. Only HiGHS' work can take long; a solution is found in any case.
    """
    start = time.perf_counter()
    units = reduced(Units.of(programme))
    kept, status = without_search(units), Status.OPTIMAL
    if kept is None:
        kept, status = _searched(units, programme, start + time_limit_s)
    return evaluated(programme, units.kept_leaves(kept, programme.num_leaves), status)


def _searched(units: Units, programme: Programme, deadline: float) -> tuple[list[int], Status]:
    """The units to keep, component by component, and how good they are."""
    largest = 1.0 + programme.lambda_b + programme.lambda_d
    leaf_prize = 2.0 * largest if units.needs_leaf else 0.0
    kept, left = [GROUND], []
    for relaxation in components(units, leaf_prize):
        try:
            kept += _optimum(relaxation, TOLERANCE * largest, deadline)
        except TooManyError:
            left += relaxation.unit[1:]
    if not left:
        return kept, Status.OPTIMAL
    left = [GROUND, *sorted(left)]
    rest, status = _by_highs(units.only(left), highs.scale_of(programme), deadline)
    return kept + [left[unit] for unit in rest], status


def _optimum(relaxation: Relaxation, tolerance: float, deadline: float) -> list[int]:
    """The units that an optimum of a component keeps. Raises TooManyError if it is better left to HiGHS."""
    if time.perf_counter() > deadline:
        raise TooManyError
    relaxation.ascend()
    return [relaxation.unit[place] for place in least_regret(relaxation, tolerance, MAX_STEPS)]


def _by_highs(units: Units, scale: float, deadline: float) -> tuple[list[int], Status]:
    """The units to keep; if no time is left for HiGHS to find any, the ground or, if a leaf must be kept, one path."""
    time_left_s = deadline - time.perf_counter()
    if time_left_s > 0.0:
        try:
            return highs.best_units(units, scale, time_left_s)
        except SolverError:
            if time.perf_counter() < deadline:
                raise
    return (best_path(units) if units.needs_leaf else [GROUND]), Status.FEASIBLE
