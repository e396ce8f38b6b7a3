"""The default solver: a Lagrangian bound, a search within its gap, and HiGHS for what that leaves open."""

import heapq
import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from etsearch.errors import SolverError
from etsearch.selection import budget, highs
from etsearch.selection.enumeration import TooManyError, least_regret
from etsearch.selection.programme import Programme
from etsearch.selection.reduction import reduce
from etsearch.selection.relaxation import Relaxation, components
from etsearch.selection.solution import Solution, Status, evaluate
from etsearch.selection.units import GROUND, Units

MAX_STEPS: Final = 2000
"""Partial solutions looked at in one component before it is left to HiGHS, which takes as long for a small one."""


def solve(programme: Programme, time_limit_s: float) -> Solution:
    """An optimum of the programme, or the best solution found within the time limit, marked as such.

    The best set of leaves is looked for among all, the empty one included. What the reduction leaves falls into
    components that share nothing. In each, prices for the clusters give a bound (`relaxation`), and a search looks
    through the solutions within a small distance of it (`enumeration`). Of a component with too many of those HiGHS
    finds the optimum. Only where no leaf is worth its path (a large ``lambda_b``) is it the empty set; see
    `_Search.best_with_leaf`. For a budget see `budget`. No part of this is random.

    Args:
        programme: to solve.
        time_limit_s: seconds, above 0. Only HiGHS' work can take long; a solution is found in any case.
    """
    deadline = time.perf_counter() + time_limit_s
    return (
        _within_budget(programme, deadline)
        if programme.budget is not None
        else _solve_without_budget(programme, deadline)
    )


def _solve_without_budget(programme: Programme, deadline: float) -> Solution:
    search, units = _Search(programme, deadline), Units.of(programme)
    kept = search.best(units) or search.best_with_leaf(units)
    return evaluate(programme, kept, search.status)


def _within_budget(programme: Programme, deadline: float) -> Solution:
    unlimited = _solve_without_budget(programme.with_budget(None), deadline)
    if programme.kept_cost(np.array(unlimited.kept)) <= programme.most_cost:
        return unlimited
    return budget.solve(programme, deadline)


@dataclass
class _Search:
    """Attributes:
    programme: that is being solved.
    deadline: by ``time.perf_counter``.
    status: of what was found so far.
    """

    programme: Programme
    deadline: float
    status: Status = field(default=Status.OPTIMAL, init=False)

    def best(self, units: Units) -> list[int]:
        """The leaves of the best set of all, the empty one included."""
        units = reduce(units, needs_leaf=False)
        kept, left = [GROUND], []
        for relaxation in components(units):
            try:
                kept += self._optimum(relaxation)
            except TooManyError:
                left += relaxation.unit[1:]
        if left:
            left = [GROUND, *sorted(left)]
            kept += [left[unit] for unit in self._by_highs(units.only(left))]
        return units.leaves_of(kept)

    def best_with_leaf(self, units: Units) -> list[int]:
        """The leaves of the best set but the empty one, where the empty one is the best of all.

        Such a set lies under one child of the ground. For the worth of two together is no more than the sum of their
        worths beyond the ground, since what they share counts once and clusters count once; and none is above 0. So
        the children are looked at one by one, each as the ground of its subtree: the best set there, or, if that is
        the empty one, those of *its* children. The most promising come first, until no other can be better than the
        best path found.
        """
        above, most = units.path_gain(), units.most_under()
        bound = [above[unit] - units.gain[unit] + most[unit] for unit in range(units.num_units)]
        best = self._best_leaf(units, above)
        worth = self._worth(best)
        children: list[list[int]] = [[] for _ in units.parent]
        for unit in range(1, units.num_units):
            children[units.parent[unit]].append(unit)
        ahead = [(-bound[unit], unit) for unit in children[GROUND]]
        heapq.heapify(ahead)
        while ahead and -ahead[0][0] > worth + self.programme.tolerance:
            _, unit = heapq.heappop(ahead)
            kept = self.best(units.under(unit))
            if not kept:
                for child in children[unit]:
                    heapq.heappush(ahead, (-bound[child], child))
            elif self._worth(kept) > worth:
                best, worth = kept, self._worth(kept)
        return best

    def _best_leaf(self, units: Units, above: list[float]) -> list[int]:
        """The leaves of a unit that is worth the most with those above it: a first guess."""
        with_leaves = [unit for unit in range(1, units.num_units) if units.leaves[unit]]
        return units.leaves[max(with_leaves, key=lambda u: above[u] + units.cluster_gain * len(units.covers[u]))]

    def _worth(self, leaves: list[int]) -> float:
        return self.programme.objective(self.programme.mask(leaves))

    def _optimum(self, relaxation: Relaxation) -> list[int]:
        """The units that an optimum of a component keeps. Raises TooManyError if it is better left to HiGHS."""
        if time.perf_counter() > self.deadline:
            raise TooManyError
        relaxation.ascend()
        return [relaxation.unit[place] for place in least_regret(relaxation, self.programme.tolerance, MAX_STEPS)]

    def _by_highs(self, units: Units) -> list[int]:
        """The units to keep; only the ground if no time is left for HiGHS to find any."""
        time_left_s = self.deadline - time.perf_counter()
        if time_left_s > 0.0:
            try:
                scale = highs.scale_of(self.programme)
                kept, status = highs.best_units(units, scale, time_left_s, needs_leaf=False)
            except SolverError:
                if time.perf_counter() < self.deadline:
                    raise
            else:
                self.status = status if self.status is Status.OPTIMAL else self.status
                return kept
        self.status = Status.FEASIBLE
        return [GROUND]
