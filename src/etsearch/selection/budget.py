"""The best set of leaves within a budget: a bound and a good solution, and a search of what is between them.

The relaxation of `junctions` bounds what any set is worth within the budget. What it keeps as a whole, with what the
rest of the budget still pays for (`_fill`), is a good solution, in most cases the best. To be better, a solution must
regret less than the gap between the two. A unit whose shortfall exceeds that is in none of those, and one whose worth
does is in each that keeps its parent. What is left is relaxed anew, and `knapsack` finds the best solution within the
gap, or that there is none: this is exact, for whole costs. If they are not whole, or if there is too much to look at,
HiGHS decides about what is left.

Before that the *core* is searched by itself (Balas and Zemel, 1980), where it is small: the units that are open within
a quarter of the gap. What is best of it is in most cases best of all, and the gap shrinks to what its proof needs.
"""

import contextlib
import math
import time
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from etsearch.errors import SolverError
from etsearch.selection import highs
from etsearch.selection.enumeration import TooManyError
from etsearch.selection.junctions import JunctionRelaxation
from etsearch.selection.knapsack import least_regret
from etsearch.selection.programme import Programme
from etsearch.selection.reduction import fix, reduce
from etsearch.selection.solution import Solution, Status, evaluate
from etsearch.selection.units import GROUND, Units

LEAST_STEP: Final = 1e-9
"""Steps of the objective below this are not made use of."""
LARGEST_DENOMINATOR: Final = 1000
"""Of a ``lambda_d`` that is taken for a fraction."""
CORE_SHARE: Final = 0.25
"""Of the gap: the units that are open within it are the core."""
MUCH_LESS: Final = 0.5
"""Share of the open units that the core may have, to be searched by itself."""
ATTEMPTS: Final = ((False, 3_000), (True, 50_000))
"""Whether prices are interior ones, and how many states are looked at before the next attempt is made: 20 and 350 ms.
What is easy is easier at a vertex, for fewer units are open there; what is hard is easier in the midst."""
LEAST_TIME_S: Final = 1e-3
"""What HiGHS is given at least: it begins with a solution."""


def solve(programme: Programme, deadline: float) -> Solution:
    """An optimum within the budget, or the best solution found by the deadline, marked as such.

    Args:
        programme: with a budget.
        deadline: by ``time.perf_counter``.
    """
    units = reduce(Units.of(programme), needs_leaf=True, budget=programme.most_cost).in_preorder()
    relaxation = JunctionRelaxation(units, programme.most_cost, deadline)
    found = evaluate(programme, _fill(relaxation), Status.OPTIMAL)
    margin = max(programme.tolerance, 0.9 * objective_step(programme))
    bound = relaxation.bound + _worth_of_ground(programme, units)
    gap = bound - found.objective - margin
    if gap < 0.0:
        return found
    if relaxation.num_open(CORE_SHARE * gap) <= MUCH_LESS * relaxation.num_open(gap):
        core_gap, core = CORE_SHARE * gap, _left(programme, relaxation, CORE_SHARE * gap)
        with contextlib.suppress(TooManyError):
            found = _better(programme, core, found, margin, deadline)
        gap = bound - found.objective - margin
        if gap <= core_gap:
            return found
    left = _left(programme, relaxation, gap)
    try:
        return _better(programme, left, found, margin, deadline)
    except TooManyError:
        return _by_highs(programme, left, found, deadline)


def _better(programme: Programme, units: Units, found: Solution, margin: float, deadline: float) -> Solution:
    """The best solution of these units, or the one that is found if they have no better one. Raises TooManyError."""
    for is_interior, max_states in ATTEMPTS:
        relaxation = JunctionRelaxation(units, programme.most_cost, deadline, is_interior)
        limit = relaxation.bound + _worth_of_ground(programme, units) - found.objective - margin
        try:
            kept = least_regret(relaxation, limit, margin, max_states, deadline)
        except TooManyError:
            continue
        return found if kept is None else evaluate(programme, units.leaves_of(kept), Status.OPTIMAL)
    raise TooManyError


def objective_step(programme: Programme) -> float:
    """A number of which every objective is a multiple, so that a better one is better by that; 0 if none is known.

    With no price on cost, whole weights that sum to W, and ``lambda_d = p / q``, the objective of a set of weight w
    that covers k of K clusters is ``w / W + p k / (q K) = (w q K + k p W) / (W q K)``.
    """
    weights = programme.weight.astype(np.int64)
    factor = Fraction(programme.lambda_d).limit_denominator(LARGEST_DENOMINATOR)
    is_whole = programme.total_weight < 2**31 and bool((weights == programme.weight).all())
    if programme.lambda_b or not is_whole or float(factor) != programme.lambda_d:
        return 0.0
    total, clusters = int(weights.sum()), programme.num_clusters * factor.denominator
    step = math.gcd(math.gcd(*weights.tolist()) * clusters, factor.numerator * total) / (total * clusters)
    return step if step >= LEAST_STEP else 0.0


def _left(programme: Programme, relaxation: JunctionRelaxation, limit: float) -> Units:
    units = fix(relaxation.units, *relaxation.decided(limit))
    return reduce(units, needs_leaf=True, budget=programme.most_cost).in_preorder()


def _by_highs(programme: Programme, units: Units, found: Solution, deadline: float) -> Solution:
    """The best solution, given a good one, and what is left to decide about those that are better."""
    if units.cost[GROUND] > programme.most_cost or (units.num_units == 1 and not units.leaves[GROUND]):
        return found  # none is better
    kept, status = [GROUND], Status.OPTIMAL
    if units.num_units > 1:
        try:
            kept, status = highs.best_units(
                units,
                highs.scale_of(programme),
                max(deadline - time.perf_counter(), LEAST_TIME_S),
                needs_leaf=True,
                budget=programme.most_cost,
                start=units.span(np.flatnonzero(found.kept).tolist()),
                step=objective_step(programme),
            )
        except SolverError:
            if time.perf_counter() < deadline:
                raise
            return replace(found, status=Status.FEASIBLE)
    other = evaluate(programme, units.leaves_of(kept), status)
    return other if other.objective >= found.objective else replace(found, status=status)


def _fill(relaxation: JunctionRelaxation) -> list[int]:
    """What the relaxation keeps as a whole, and more, each time what adds most for its cost, while the budget lasts.

    Where no leaf is worth its cost, it is the one that loses least.
    """
    units = relaxation.units
    kept = [unit == GROUND for unit in range(units.num_units)]
    room = relaxation.budget - units.cost[GROUND]
    for unit in relaxation.rounded():
        if not kept[unit] and kept[units.parent[unit]] and units.cost[unit] <= room:
            kept[unit] = True
            room -= units.cost[unit]
    while (best := _best_addition(units, kept, room)) is not None:
        for unit in units.path(best):
            room -= 0.0 if kept[unit] else units.cost[unit]
            kept[unit] = True
    return units.leaves_of(unit for unit, is_kept in enumerate(kept) if is_kept)


def _best_addition(units: Units, kept: list[bool], room: float) -> int | None:
    """Of the units with leaves that the room pays for, with what is missing above them, the best for its cost."""
    kept_units = [unit for unit, is_kept in enumerate(kept) if is_kept]
    covered = {cluster for unit in kept_units for cluster in units.covers[unit]}
    cost, gain = [0.0] * units.num_units, [0.0] * units.num_units  # of the unit and of all above it that is not kept
    has_leaf = any(units.leaves[unit] for unit in kept_units)
    best, best_ratio = None, 0.0 if has_leaf else -math.inf
    for unit in range(1, units.num_units):
        if not kept[unit]:
            cost[unit] = cost[units.parent[unit]] + units.cost[unit]
            gain[unit] = gain[units.parent[unit]] + units.gain[unit]
            if units.leaves[unit] and cost[unit] <= room:
                added = gain[unit] + units.cluster_gain * sum(k not in covered for k in units.covers[unit])
                ratio = added / max(cost[unit], LEAST_STEP) if has_leaf else added
                if ratio > best_ratio:
                    best, best_ratio = unit, ratio
    return best


def _worth_of_ground(programme: Programme, units: Units) -> float:
    return units.gain[GROUND] + units.cluster_gain * len(set(programme.cluster[units.leaves[GROUND]].tolist()))
