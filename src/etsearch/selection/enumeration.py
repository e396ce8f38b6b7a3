"""The solution of least regret, found by a walk up the tree that holds few partial ones at a time.

The regret of a solution (see `relaxation`) is a sum of terms none of which is below 0, and each belongs to a place of
the tree. Going from the lowest places to the ground, a walk keeps for each place the *partial solutions* of its
subtree that keep it: which clusters they cover that have members elsewhere, and the least regret so far. Two that
cover the same of those clusters have the same futures, so that the better is enough. One whose regret exceeds a limit,
what the path above it lacks included, is part of no solution within the limit. Where prices are good, few are left.
"""

import bisect
import math
from collections.abc import Iterable
from typing import Final

from etsearch.selection.relaxation import Relaxation

FIRST_LIMIT: Final = 0.05
"""Of the largest prize. It doubles until a solution is found; a walk costs less than the next."""

_Partials = dict[int, tuple[float, int]]
"""Partial solutions, each its regret and the places it keeps as bits, by the clusters that they cover, as bits. A
cluster of which no member is left outside is no longer among those."""


class TooManyError(Exception):
    """More partial solutions than there was room for; the programme is one for a general solver."""


def least_regret(relaxation: Relaxation, tolerance: float, max_steps: int) -> list[int]:
    """The places that an optimal solution keeps, the ground not among them.

    Args:
        relaxation: with its prices set.
        tolerance: regret that counts as none; above 0, for sums are rounded.
        max_steps: partial solutions that may be looked at.

    Raises:
        TooManyError: those were not enough.
    """
    limit, steps_left = tolerance, max_steps
    while True:
        walk = _Walk(relaxation, limit, steps_left)
        kept = walk.run()
        if kept is not None:
            return [place for place in range(1, len(relaxation.parent)) if kept >> place & 1]
        limit = max(2.0 * limit, FIRST_LIMIT * max(relaxation.prize))
        steps_left = walk.steps_left


class _Walk:
    def __init__(self, relaxation: Relaxation, limit: float, steps: int) -> None:
        self._relaxation, self._limit, self.steps_left = relaxation, limit, steps
        self._lacks = relaxation.shortfalls()
        self._closes_at: dict[int, list[int]] = {}
        self._closes_after: dict[int, list[int]] = {}
        self._uncovered = [0.0] * len(relaxation.parent)
        """``[n]`` regret for the clusters all of whose members are at the place or below, if none of it is kept."""
        self._find_closings()

    def run(self) -> int | None:
        """The places, as bits, of the solution of least regret within the limit, if there is one."""
        relaxation = self._relaxation
        partials: list[_Partials] = [
            {sum([1 << k for k in covers]): (0.0, 1 << place)} if lack <= self._limit else {}
            for place, (covers, lack) in enumerate(zip(relaxation.covers, self._lacks, strict=True))
        ]
        for place in range(len(partials) - 1, 0, -1):
            parent = relaxation.parent[place]
            if partials[parent]:
                mine = self._close(partials[place], self._closes_at.get(place, ()))
                merged = self._merge(partials[parent], mine, place)
                partials[parent] = self._close(merged, self._closes_after.get(place, ()))
        regret, kept = partials[0].get(0, (math.inf, 0))
        return kept if regret <= self._limit else None

    def _find_closings(self) -> None:
        """Where each cluster has all its members behind it: at a place, or after a place has gone to its parent."""
        relaxation, end = self._relaxation, _ends(self._relaxation.parent)
        for cluster, members in enumerate(relaxation.members):
            below, home = 0, members[0]
            while end[home] <= members[-1]:
                below, home = home, relaxation.parent[home]
            if below:
                self._closes_after.setdefault(below, []).append(cluster)
            else:
                self._closes_at.setdefault(home, []).append(cluster)
            self._uncovered[home] += relaxation.prize[cluster] - relaxation.price[cluster]
        for place in range(len(end) - 1, 0, -1):
            self._uncovered[relaxation.parent[place]] += self._uncovered[place]

    def _merge(self, partials: _Partials, mine: _Partials, place: int) -> _Partials:
        """Those of the place's parent, each with the place dropped and with each of those of the place."""
        worth, limit = self._relaxation.worth[place], self._limit - self._lacks[self._relaxation.parent[place]]
        dropped, kept = max(0.0, worth) + self._uncovered[place], max(0.0, -worth)
        choices = sorted((regret + kept, places, covered) for covered, (regret, places) in mine.items())
        merged: _Partials = {}
        for covered, (regret, places) in partials.items():
            if regret + dropped <= limit:
                _offer(merged, covered, regret + dropped, places)
            count = bisect.bisect(choices, (limit - regret, math.inf))
            self._count(count)
            for more_regret, more_places, more_covered in choices[:count]:
                total = regret + more_regret
                if covered & more_covered:
                    total += self._price_of(covered & more_covered)
                if total <= limit:
                    _offer(merged, covered | more_covered, total, places | more_places)
        return merged

    def _close(self, partials: _Partials, clusters: Iterable[int]) -> _Partials:
        """Those partial solutions once all members of these clusters are behind them: uncovered ones are regretted."""
        for cluster in clusters:
            bit, regretted = 1 << cluster, self._relaxation.prize[cluster] - self._relaxation.price[cluster]
            closed: _Partials = {}
            for covered, (regret, places) in partials.items():
                _offer(closed, covered & ~bit, regret if covered & bit else regret + regretted, places)
            partials = closed
        return partials

    def _count(self, steps: int) -> None:
        self.steps_left -= steps
        if self.steps_left < 0:
            raise TooManyError

    def _price_of(self, clusters: int) -> float:
        total = 0.0
        while clusters:
            lowest = clusters & -clusters
            total += self._relaxation.price[lowest.bit_length() - 1]
            clusters ^= lowest
        return total


def _offer(partials: _Partials, covered: int, regret: float, places: int) -> None:
    """Takes a partial solution in if none that covers the same has less regret."""
    present = partials.get(covered)
    if present is None or regret < present[0]:
        partials[covered] = (regret, places)


def _ends(parent: list[int]) -> list[int]:
    """``[n]`` the place after the last one below each, in preorder."""
    end = list(range(1, len(parent) + 1))
    for place in range(len(parent) - 1, 0, -1):
        end[parent[place]] = max(end[parent[place]], end[place])
    return end
