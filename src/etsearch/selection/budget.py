"""The best set of leaves within a budget: priced for a bound, and closed by HiGHS on what the bound leaves open.

Let the budget be B of the total cost T, and f(S) what a set S within it is worth. At a price p above ``lambda_b`` it is
worth f(S) - (p - lambda_b) C(S) / T, which is at most the optimum g(p) at that price; so that::

    f(S) ≤ g(p) + (p - lambda_b) B / T

The least price at which an optimum is within the budget (see `price`) gives the lowest of these bounds, and that
optimum, with what the rest of the budget still pays for, is a good solution. Often it is as good as the bound. If not,
the relaxation of the coverage rows at that price tells of many units that a better solution keeps with their parents,
or not at all; HiGHS decides about the others, with the budget as one more row.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from etsearch.selection.price import Priced, least_price
from etsearch.selection.programme import Programme
from etsearch.selection.reduction import fixed, reduced
from etsearch.selection.relaxation import components
from etsearch.selection.solution import Solution, Status
from etsearch.selection.units import GROUND, Units

TOLERANCE: Final = 1e-12
"""A difference of objectives that counts as none, as a share of the largest possible one."""
LEAST_STEP: Final = 1e-9
"""Steps of the objective below this are not made use of."""
LARGEST_DENOMINATOR: Final = 1000
"""Of a ``lambda_d`` that is taken for a fraction."""


def priced(programme: Programme, solve: Callable[[Programme], Solution]) -> Priced:
    """The least price, from ``lambda_b`` on, at which an optimum without a budget costs no more than the budget."""
    assert programme.budget is not None
    return least_price(programme.limited(None), programme.budget, solve, lowest=programme.lambda_b)


def is_proven(programme: Programme, at_price: Priced, worth: float) -> bool:
    """Whether the bound of the price says that no solution within the budget is worth more than ``worth``."""
    assert programme.budget is not None
    share = programme.budget / programme.total_cost
    bound = at_price.solution.objective + (at_price.price - programme.lambda_b) * share
    least = max(_tolerance(programme), 0.9 * objective_step(programme))
    return at_price.solution.status is Status.OPTIMAL and bound - worth <= least


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


def undecided(programme: Programme, price: float, worth: float) -> Units:
    """What must be searched for a solution that is worth more than ``worth``.

    At the price, the relaxation bounds what solutions within the budget are worth, and each falls short of the bound
    by its regret at least (see `relaxation`). So one that is worth more has less regret than the gap between the two;
    it keeps no unit whose shortfall exceeds the gap, and with a unit that it keeps each child whose worth does.
    """
    assert programme.budget is not None
    units = reduced(Units.of(programme), needs_leaf=True, budget=programme.most_cost)
    surcharge = (price - programme.lambda_b) / programme.total_cost
    gain = [gain - surcharge * cost for gain, cost in zip(units.gain, units.cost, strict=True)]
    relaxations = list(components(replace(units, gain=gain)))
    for relaxation in relaxations:
        relaxation.ascend()
    of_the_ground = gain[GROUND] + units.cluster_gain * len(set(programme.cluster[units.leaves[GROUND]].tolist()))
    bound = of_the_ground + surcharge * programme.most_cost + sum(relaxation.bound for relaxation in relaxations)
    gap = bound - worth + _tolerance(programme)
    dropped, joined = set[int](), set[int]()
    for relaxation in relaxations:
        lacks = relaxation.shortfalls()
        dropped.update(unit for unit, lack in zip(relaxation.unit, lacks, strict=True) if lack > gap)
        joined.update(unit for unit, gain in zip(relaxation.unit, relaxation.worth, strict=True) if gain > gap)
    units = fixed(units, dropped, joined - dropped - {GROUND})
    return reduced(units, needs_leaf=True, budget=programme.most_cost)


def filled(programme: Programme, leaves: list[int]) -> list[int]:
    """These leaves and more, while the budget pays for any: each time the one that adds most for what it costs."""
    units = Units.of(programme)
    kept = units.spanned(leaves)
    room = programme.most_cost - sum(cost for cost, is_kept in zip(units.cost, kept, strict=True) if is_kept)
    while (best := _best_addition(units, kept, room)) is not None:
        for unit in units.path(best):
            room -= 0.0 if kept[unit] else units.cost[unit]
            kept[unit] = True
    return units.leaves_of(unit for unit, is_kept in enumerate(kept) if is_kept)


def _best_addition(units: Units, kept: list[bool], room: float) -> int | None:
    """Of the units with leaves that the room pays for, with what is missing above them, the best for its cost."""
    covered = {cluster for unit, is_kept in enumerate(kept) if is_kept for cluster in units.covers[unit]}
    cost = [0.0] * units.num_units  # of the unit and of all above it that is not kept
    best, best_ratio = None, 0.0
    for unit in range(1, units.num_units):
        if not kept[unit]:
            cost[unit] = cost[units.parent[unit]] + units.cost[unit]
            if units.leaves[unit] and cost[unit] <= room:
                added = units.gain[unit] + units.cluster_gain * sum(k not in covered for k in units.covers[unit])
                ratio = added / max(cost[unit], LEAST_STEP)
                if ratio > best_ratio:
                    best, best_ratio = unit, ratio
    return best


def _tolerance(programme: Programme) -> float:
    return TOLERANCE * (1.0 + programme.lambda_b + programme.lambda_d)
