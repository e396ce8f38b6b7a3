"""The solution of least regret within a budget: what is ahead by dynamic programming, the clusters by search.

Clusters apart, the relaxation of `junctions` is a tree knapsack: a unit is kept only if its parent is, and the budget
limits their cost. In preorder it is a walk: a unit is taken, and the walk goes to the next, or dropped, and it goes to
the one after its subtree. With whole costs, the least regret of the rest of the walk is a table over the unit and what
is left of the budget, filled from the last unit to the first (the depth-first dynamic programme of Cho and Shaw, 1997).
Only regrets within a limit are of interest; at each unit, what may be left of the budget so lies in a small window.

The table is a bound for a search that also counts the regrets of junctions: best first, over states of a unit, what is
left, and which open junctions are covered (A*, Hart, Nilsson and Raphael, 1968). States alike have the same future.
"""

import bisect
import heapq
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etsearch.selection.enumeration import TooManyError
from etsearch.selection.junctions import NONE, JunctionRelaxation
from etsearch.selection.units import GROUND

MAX_ENTRIES: Final = 4_000_000
"""Of a table: 32 MB."""
NUM_RANKS: Final = 256
"""States whose bounds differ by less than a part in so many of the limit are of one rank: the furthest comes first."""
STATES_A_LOOK: Final = 256
"""At the clock."""

_Table = list[tuple[int, memoryview]]
"""For each unit the least that may be left of the budget, in grains, and the least regret of what is ahead, from
there on up, one for each grain; the last is for the end of the walk. A view's numbers are Python's, so are fast."""


def least_regret(
    relaxation: JunctionRelaxation, limit: float, margin: float, max_states: int, deadline: float
) -> list[int] | None:
    """The units that a best solution keeps, the ground among them; None if no solution regrets as little as ``limit``.

    Args:
        relaxation: if its costs are not whole, there is too much to look at.
        limit: of the regret.
        margin: solutions whose regrets differ by less than this are equally good; above 0.
        max_states: that may be looked at, 5 to 10 µs each.
        deadline: by ``time.perf_counter``.

    Raises:
        TooManyError: there is more to look at than there is room or time for.
    """
    if relaxation.room < 0.0 or limit < 0.0:
        return None
    if not relaxation.grain:
        raise TooManyError
    _check_time(deadline)
    return _Search(relaxation, limit, margin, max_states, deadline).run()


class _Search:
    """States are tuples: their rank, the unit ahead (negated), the bound of their regret, what is left of the budget,
    the open junctions that are covered, as bits, the regret so far, and the last link of the chain of units kept.
    """

    def __init__(
        self, relaxation: JunctionRelaxation, limit: float, margin: float, max_states: int, deadline: float
    ) -> None:
        self._relaxation, self._limit, self._margin = relaxation, limit, margin
        self._states_left, self._deadline = max_states, deadline
        self._end, self._junctions = relaxation.end, relaxation.junctions
        self._cost = [int(cost) // relaxation.grain for cost in relaxation.units.cost]
        self._price = relaxation.price * relaxation.grain
        self._keeping = [max(0.0, -worth) for worth in relaxation.worth]
        self._dropping = [max(0.0, worth) for worth in relaxation.worth]
        self._rank = max(margin, limit / NUM_RANKS)
        self._ahead = self._table()
        self._sends: list[list[int]] = [[] for _ in relaxation.end]
        for junction in self._junctions:
            for unit in junction.members:
                self._sends[unit].append(junction.number)
        self._closings = self._find_closings()
        self._has_leaf = 1 << len(relaxation.junctions)  # as if a leaf were a junction that must be covered
        self._links: list[tuple[int, int]] = [(GROUND, NONE)]
        self._states: list[tuple[int, int, float, int, int, float, int]] = []

    def run(self) -> list[int] | None:
        best: int | None = None
        seen: dict[tuple[int, int], _Frontier] = {}
        end = self._relaxation.units.num_units
        room = int(self._relaxation.room) // self._relaxation.grain
        self._offer(1, room, self._has_leaf if self._relaxation.units.leaves[GROUND] else 0, 0.0, 0)
        while self._states:
            _, unit, bound, left, covered, regret, link = heapq.heappop(self._states)
            unit = -unit
            if bound > self._limit:
                continue
            if unit == end:
                if covered & self._has_leaf:
                    best, self._limit = link, bound - self._margin
                continue
            frontier = seen.setdefault((unit, covered), _Frontier())
            if not frontier.admits(left, regret + self._price * left):
                continue
            self._count()
            self._take(unit, left, covered, regret, link)
            covered, regret = self._close(unit, covered, regret + self._dropping[unit])
            self._offer(self._end[unit], left, covered, regret, link)
        return None if best is None else self._chain(best)

    def _take(self, unit: int, left: int, covered: int, regret: float, link: int) -> None:
        left -= self._cost[unit]
        if left < 0:
            return
        regret += self._keeping[unit]
        for number in self._sends[unit]:
            if covered >> number & 1:
                regret += self._junctions[number].passed
            covered |= 1 << number
        if self._relaxation.units.leaves[unit]:
            covered |= self._has_leaf
        if self._end[unit] == unit + 1:
            covered, regret = self._close(unit, covered, regret)
        self._links.append((unit, link))
        self._offer(unit + 1, left, covered, regret, len(self._links) - 1)

    def _close(self, unit: int, covered: int, regret: float) -> tuple[int, float]:
        """Once a unit's subtree is behind: the junctions whose last branch that ends, and what they regret."""
        for number in self._closings[unit]:
            junction = self._junctions[number]
            if not covered >> number & 1:
                regret += junction.stays
                continue
            covered ^= 1 << number
            if junction.above != NONE:
                if covered >> junction.above & 1:
                    regret += self._junctions[junction.above].passed
                covered |= 1 << junction.above
        return covered, regret

    def _offer(self, unit: int, left: int, covered: int, regret: float, link: int) -> None:
        least, regrets = self._ahead[unit]
        if 0 <= left - least < len(regrets):
            bound = regret + regrets[left - least]
            if bound <= self._limit:
                heapq.heappush(self._states, (int(bound / self._rank), -unit, bound, left, covered, regret, link))

    def _table(self) -> _Table:
        num_units = self._relaxation.units.num_units
        room = int(self._relaxation.room) // self._relaxation.grain
        most = room if self._price * room <= self._limit else int(self._limit / self._price)
        windows = [_Window(0, np.zeros(0))] * num_units + [
            _Window(0, self._price * np.arange(most + 1, dtype=np.float64))
        ]
        num_entries = 0
        for unit in range(num_units - 1, GROUND, -1):
            kept = windows[unit + 1].shifted(self._cost[unit], room, self._keeping[unit])
            dropped = windows[self._end[unit]].shifted(0, room, self._dropping[unit])
            windows[unit] = kept.lower_of(dropped).up_to(self._limit)
            num_entries += windows[unit].regret.size
            if num_entries > MAX_ENTRIES:
                raise TooManyError
        return [(window.least, window.regret.data) for window in windows]

    def _find_closings(self) -> list[list[int]]:
        """``[num_units]`` the junctions that close once the subtree of a unit is behind, inner ones first."""
        own: list[list[int]] = [[] for _ in self._end]
        for junction in self._junctions:
            own[junction.last].append(junction.number)
        parent, end = self._relaxation.units.parent, self._end
        closings = own[:1]
        for unit in range(1, len(end)):
            goes_on = parent[unit] != GROUND and end[parent[unit]] == end[unit]
            closings.append(own[unit] + closings[parent[unit]] if goes_on else own[unit])
        return closings

    def _count(self) -> None:
        self._states_left -= 1
        if self._states_left < 0:
            raise TooManyError
        if self._states_left % STATES_A_LOOK == 0:
            _check_time(self._deadline)

    def _chain(self, link: int) -> list[int]:
        """The units kept, the ground first."""
        kept = []
        while link != NONE:
            unit, link = self._links[link]
            kept.append(unit)
        return kept[::-1]


def _check_time(deadline: float) -> None:
    if time.perf_counter() > deadline:
        raise TooManyError


class _Frontier:
    """Of states alike but for what is left of the budget and what is lost so far, without prices on cost, the best.

    A state has the future of one with less left, and loses no more by it.
    """

    def __init__(self) -> None:
        self._left: list[int] = []  # rising, and with it what is lost
        self._lost: list[float] = []

    def admits(self, left: int, lost: float) -> bool:
        """Takes a state in, unless one with no less left has lost no more."""
        place = bisect.bisect_left(self._left, left)
        if place < len(self._left) and self._lost[place] <= lost:
            return False
        start = bisect.bisect_left(self._lost, lost, hi=place)
        end = place + (place < len(self._left) and self._left[place] == left)
        self._left[start:end], self._lost[start:end] = [left], [lost]
        return True


@dataclass(frozen=True, slots=True)
class _Window:
    """Regrets for what may be left of the budget, from ``least`` on; elsewhere there is no solution."""

    least: int
    regret: NDArray[np.float64]

    def shifted(self, cost: int, room: int, regret: float) -> "_Window":
        """Before so much is spent and regretted; no more than the room may be left."""
        return _Window(self.least + cost, self.regret[: max(0, room + 1 - self.least - cost)] + regret)

    def lower_of(self, other: "_Window") -> "_Window":
        if not self.regret.size or not other.regret.size:
            return self if self.regret.size else other
        least = min(self.least, other.least)
        size = max(self.least + self.regret.size, other.least + other.regret.size) - least
        regret: NDArray[np.float64] = np.full(size, np.inf)
        regret[self.least - least :][: self.regret.size] = self.regret
        part = regret[other.least - least :][: other.regret.size]
        np.minimum(part, other.regret, out=part)
        return _Window(least, regret)

    def up_to(self, limit: float) -> "_Window":
        within = np.flatnonzero(self.regret <= limit)
        if not within.size:
            return _Window(0, self.regret[:0])
        return _Window(self.least + int(within[0]), self.regret[within[0] : within[-1] + 1])
