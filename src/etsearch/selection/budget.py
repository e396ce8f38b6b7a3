"""The best set of leaves within a budget: priced for a bound, and closed by HiGHS on what the bound leaves open.

Let the budget be B of the total cost T, and f(S) what a set S within it is worth. At a price p above ``lambda_b`` it is
worth f(S) - (p - lambda_b) C(S) / T, which is at most the optimum g(p) at that price; so that::

    f(S) ≤ g(p) + (p - lambda_b) B / T

The least price at which an optimum is within the budget (see `price`) gives the lowest of these bounds, and that
optimum, with what the rest of the budget still pays for, is a good solution. Often it is as good as the bound. If not,
much of the rest can be decided by the gap between the two (`undecided_units`); HiGHS decides about what is left, with
the budget as one more row.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from etsearch.selection.price import Priced, least_price
from etsearch.selection.programme import Programme
from etsearch.selection.reduction import fix, reduce
from etsearch.selection.relaxation import components
from etsearch.selection.solution import Solution, Status
from etsearch.selection.units import GROUND, Units

TOLERANCE: Final = 1e-12
"""A difference of objectives that counts as none, as a share of the largest possible one."""
LEAST_STEP: Final = 1e-9
"""Steps of the objective below this are not made use of."""
LARGEST_DENOMINATOR: Final = 1000
"""Of a ``lambda_d`` that is taken for a fraction."""


def find_price(programme: Programme, solve: Callable[[Programme], Solution]) -> Priced:
    """The least price, from ``lambda_b`` on, at which an optimum without a budget costs no more than the budget."""
    assert programme.budget is not None
    return least_price(programme.with_budget(None), programme.budget, solve, lowest=programme.lambda_b)


def gap(programme: Programme, at_price: Priced, worth: float) -> float:
    """How much below the bound of the price a solution worth more than ``worth`` can be; below 0 if there is none."""
    bound = at_price.solution.objective + _surcharge(programme, at_price.price) * programme.most_cost
    if at_price.solution.status is not Status.OPTIMAL:
        return math.inf
    return bound - worth - 0.9 * objective_step(programme) + _tolerance(programme)


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


def undecided_units(programme: Programme, at_price: Priced, worth: float) -> Units:
    """What must be searched for a solution that is worth more than ``worth``.

    At the price, such a solution is worse than the optimum by no more than the `gap`, and so is not lost by a
    reduction with that margin. The relaxation then bounds what it is worth at the price, and it falls short of the
    bound by its regret (see `relaxation`). So it keeps no unit whose shortfall exceeds the gap to that bound, and with
    a unit that it keeps each child whose worth does.
    """
    units = reduce(Units.of(programme), needs_leaf=True, budget=programme.most_cost)
    surcharge = _surcharge(programme, at_price.price)
    margin = gap(programme, at_price, worth)
    if margin < math.inf:
        units = _charge(reduce(_charge(units, surcharge), needs_leaf=True, margin=margin), -surcharge)
    priced_units = _charge(units, surcharge)
    relaxations = list(components(priced_units))
    for relaxation in relaxations:
        relaxation.ascend()
    covered = len(set(programme.cluster[units.leaves[GROUND]].tolist()))
    bound = priced_units.gain[GROUND] + units.cluster_gain * covered + sum(r.bound for r in relaxations)
    most_regret = bound + surcharge * programme.most_cost - worth + _tolerance(programme)
    dropped, joined = set[int](), set[int]()
    for relaxation in relaxations:
        lacks = relaxation.shortfalls()
        dropped.update(unit for unit, lack in zip(relaxation.unit, lacks, strict=True) if lack > most_regret)
        joined.update(unit for unit, own in zip(relaxation.unit, relaxation.worth, strict=True) if own > most_regret)
    units = fix(units, dropped, joined - dropped - {GROUND})
    return reduce(units, needs_leaf=True, budget=programme.most_cost)


def _surcharge(programme: Programme, price: float) -> float:
    """What a price takes from the gain for each unit of cost, beyond ``lambda_b``."""
    return (price - programme.lambda_b) / programme.total_cost


def _charge(units: Units, surcharge: float) -> Units:
    return replace(units, gain=[gain - surcharge * cost for gain, cost in zip(units.gain, units.cost, strict=True)])


def fill(programme: Programme, leaves: list[int]) -> list[int]:
    """These leaves and more, while the budget pays for any: each time the one that adds most for what it costs."""
    units = Units.of(programme)
    kept = units.span(leaves)
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
