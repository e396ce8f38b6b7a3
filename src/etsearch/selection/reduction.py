"""Decides what needs no search: a smaller programme with the same optimum.

Each rule joins a unit with its parent or drops it, and keeps at least one optimal solution:

- *chains*: a unit without leaves is kept only for its children; if one is left, the two are one. The ground's only
  child is kept in any case, if one leaf must be and the ground holds none.
- *paying*: a unit that adds no less than it costs, whatever else is kept, is kept whenever its parent is: its gain
  and ``cluster_gain`` for each cluster that no other unit covers sum to 0 or more. Under a budget this holds only for
  a unit without cost, for another may need the room.
- *hopeless*: a childless unit that cannot add what it costs, even if all its clusters were uncovered, is dropped,
  unless it might hold the one leaf that must be kept. Room in a budget that it does not take harms nothing.
- *dominated*: of two childless siblings with gains below 0 that cover the same single open cluster (or none), no
  optimum needs both; the one of the smaller gain can give way to the other. Under a budget, only if that one costs no
  more.
- *unaffordable*: a unit whose path costs more than the budget is in no solution.

With node costs near the paper's, this decides most leaves: at ``lambda_b`` 1 a leaf pays for its own node.
"""

from typing import Final

import numpy as np

from etsearch.selection.units import GROUND, Units

DROPPED: Final = -1
"""Where the leaves of a unit go that is not kept in the optimum that is looked for."""
_NO_CLUSTER: Final = -1


def reduce(units: Units, *, needs_leaf: bool, budget: float = np.inf) -> Units:
    """The programme after all rules, until none applies.

    Args:
        units: of the programme.
        needs_leaf: whether a leaf must be kept. If not, keeping none is a solution too.
        budget: that the kept units' cost may not exceed; ``inf`` for none.
    """
    while True:
        working = _Working(units, needs_leaf, budget)
        if not working.sweep():
            return units
        units = working.units()


def fix(units: Units, dropped: set[int], joined: set[int]) -> Units:
    """The programme once it is known of some units that they are kept when their parents are, or never.

    Args:
        units: the programme.
        dropped: whole subtrees, never the ground.
        joined: none of them dropped, never the ground.
    """
    working = _Working(units, needs_leaf=False, budget=np.inf)
    working.fix(dropped, joined)
    return working.units()


class _Working:
    """Units while the rules are at work on them. ``target[unit]`` is where a unit has gone: itself, until it has."""

    def __init__(self, units: Units, needs_leaf: bool, budget: float) -> None:
        self._given, self._budget = units, budget
        self._needs_leaf = needs_leaf
        self._gain, self._cost = units.gain[:], units.cost[:]
        self._covers = units.covers[:]
        self._leaves = [leaves[:] for leaves in units.leaves]
        self._path_cost = units.path_cost() if budget < np.inf else []
        self._target = list(range(units.num_units))
        self._num_children = [0] * units.num_units
        self._child_sum = [0] * units.num_units  # of the ids of the children: an only child's is its own
        for unit in range(1, units.num_units):
            self._num_children[units.parent[unit]] += 1
            self._child_sum[units.parent[unit]] += unit
        self._num_covering = [0] * units.num_clusters
        for covers in units.covers:
            for cluster in covers:
                self._num_covering[cluster] += 1
        self._is_covered = [False] * units.num_clusters  # by the ground
        self._rivals: dict[tuple[int, int], int] = {}

    def sweep(self) -> bool:
        """Applies the rules to every unit, children before their parents; whether any applied."""
        target, num_children, leaves = self._target, self._num_children, self._leaves
        for unit in range(self._given.num_units - 1, 0, -1):
            if target[unit] == unit:
                if num_children[unit] == 1 and not leaves[unit]:
                    self._join(self._child_sum[unit], unit)
                self._settle(unit)
        if self._needs_leaf and num_children[GROUND] == 1 and not leaves[GROUND]:
            self._join(self._child_sum[GROUND], GROUND)
        return target != list(range(self._given.num_units))

    def fix(self, dropped: set[int], joined: set[int]) -> None:
        """Drops these units and joins those with their parents."""
        for unit in range(self._given.num_units - 1, 0, -1):
            if unit in dropped:
                self._drop(unit)
            elif unit in joined:
                self._join(unit, self._given.parent[unit])

    def units(self) -> Units:
        """What is left, numbered anew."""
        stays: list[int] = []
        number = self._target[:]
        for unit, target in enumerate(self._target):  # a target comes before what goes there
            if target == unit:
                number[unit] = len(stays)
                stays.append(unit)
            elif target != DROPPED:
                number[unit] = number[target]
        covers = [[k for k in self._covers[unit] if not self._is_covered[k]] for unit in stays]
        return Units(
            parent=[number[self._given.parent[unit]] for unit in stays],
            gain=[self._gain[unit] for unit in stays],
            cost=[self._cost[unit] for unit in stays],
            covers=covers,
            leaves=[self._leaves[unit] for unit in stays],
            num_clusters=self._given.num_clusters,
            cluster_gain=self._given.cluster_gain,
        )

    def _settle(self, unit: int) -> None:
        """Joins the unit with its parent, drops it, or leaves it open."""
        certain = potential = self._gain[unit]
        for cluster in self._covers[unit]:
            if not self._is_covered[cluster]:
                potential += self._given.cluster_gain
                if self._num_covering[cluster] == 1:
                    certain += self._given.cluster_gain
        if self._pays(unit, certain):
            self._join(unit, self._given.parent[unit])
        elif self._num_children[unit] == 0:
            if self._is_hopeless(unit, potential) or self._is_unaffordable(unit):
                self._drop(unit)
            elif self._leaves[unit] and self._gain[unit] < 0.0:
                self._compare(unit)

    def _pays(self, unit: int, certain: float) -> bool:
        return certain >= 0.0 and (self._budget == np.inf or self._cost[unit] == 0.0)

    def _is_hopeless(self, unit: int, potential: float) -> bool:
        if self._needs_leaf and self._leaves[unit] and not self._leaves[GROUND]:
            return False
        return potential <= 0.0

    def _is_unaffordable(self, unit: int) -> bool:
        return self._budget < np.inf and self._path_cost[unit] > self._budget

    def _compare(self, unit: int) -> None:
        """Drops the unit or the rival that it has among the siblings seen so far, if one dominates the other."""
        open_clusters = [k for k in self._covers[unit] if not self._is_covered[k]]
        if len(open_clusters) > 1:
            return
        key = (self._given.parent[unit], open_clusters[0] if open_clusters else _NO_CLUSTER)
        rival = self._rivals.setdefault(key, unit)
        if rival == unit:
            return
        better, worse = (unit, rival) if self._gain[unit] > self._gain[rival] else (rival, unit)
        if self._budget == np.inf or self._cost[better] <= self._cost[worse]:
            self._rivals[key] = better
            self._drop(worse)

    def _join(self, unit: int, into: int) -> None:
        """Makes a unit one with its parent ``into``."""
        self._target[unit] = into
        self._gain[into] += self._gain[unit]
        self._cost[into] += self._cost[unit]
        self._leaves[into] += self._leaves[unit]
        self._num_children[into] += self._num_children[unit] - 1
        self._child_sum[into] += self._child_sum[unit] - unit
        if into == GROUND:
            for cluster in self._covers[unit]:
                self._is_covered[cluster] = True
        elif self._covers[unit]:
            self._covers[into] = self._covers[into][:]
            for cluster in self._covers[unit]:
                if cluster in self._covers[into]:
                    self._num_covering[cluster] -= 1
                else:
                    self._covers[into].append(cluster)

    def _drop(self, unit: int) -> None:
        """Takes a childless unit out, and its leaves."""
        parent = self._given.parent[unit]
        self._target[unit] = DROPPED
        self._num_children[parent] -= 1
        self._child_sum[parent] -= unit
        for cluster in self._covers[unit]:
            self._num_covering[cluster] -= 1
