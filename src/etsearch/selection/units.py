"""The selection programme over units: nodes of the tree that are kept, or not, as a whole."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from etsearch.selection.programme import NO_PARENT, Programme

GROUND: Final = 0
"""The unit that is always kept; its own parent."""


@dataclass(frozen=True, eq=False)
class Units:
    """A programme over units.

    A unit is kept only if its parent is; the ground always is. A leaf is kept exactly when its unit is. Lists, not
    arrays: what the first reductions leave is small, and is walked through unit by unit.

    Attributes:
        parent: ``[num_units]`` parent of each unit, which comes before it; the ground, unit 0, is its own.
        gain: ``[num_units]`` what keeping the unit adds to the objective, clusters apart: the share of weight of its
            leaves less ``lambda_b`` times its share of cost.
        cost: ``[num_units]`` cost of its nodes, in units of ``Programme.node_cost``.
        covers: ``[num_units]`` the *open* clusters among those of its leaves, each once: those that the ground does
            not cover. With ``lambda_d = 0`` there are none.
        leaves: ``[num_units]`` its leaves, as places in ``Programme.leaves``.
        num_clusters: of the programme.
        cluster_gain: what covering a cluster adds.
    """

    parent: list[int]
    gain: list[float]
    cost: list[float]
    covers: list[list[int]]
    leaves: list[list[int]]
    num_clusters: int
    cluster_gain: float

    @classmethod
    def of(cls, programme: Programme) -> Self:
        """One unit for each set of spanned nodes that are told at once to be kept together, and the ground above them.

        A node that is no leaf is kept only for its children; if it has one, both are kept or none. So it is with the
        ground and its only child, for one leaf must be kept. A leaf that pays for its own node goes with its parent;
        under a budget only one without cost, for others may need the room.
        """
        nodes = _topological(programme)
        number = np.zeros(programme.num_nodes, dtype=np.int64)
        number[nodes] = np.arange(1, nodes.size + 1)
        above = programme.parent[nodes]
        parent = np.append(GROUND, np.where(above == NO_PARENT, GROUND, number[above]))
        of_leaf = number[programme.leaves]
        is_leaf = np.zeros(parent.size, dtype=np.bool_)
        is_leaf[of_leaf] = True
        cost = np.append(0.0, programme.node_cost[nodes])
        gain = -programme.lambda_b / programme.total_cost * cost
        gain[of_leaf] += programme.weight / programme.total_weight
        pays = is_leaf & (gain >= 0.0) & ((programme.budget is None) | (cost == 0.0))
        unit, heads = _join(parent, _bare_links(parent, is_leaf)[parent] | pays)
        covers, leaves = _contents(programme, unit[of_leaf].tolist(), heads.size)
        return cls(
            parent=unit[parent[heads]].tolist(),
            gain=np.bincount(unit, weights=gain).tolist(),
            cost=np.bincount(unit, weights=cost).tolist(),
            covers=covers,
            leaves=leaves,
            num_clusters=programme.num_clusters,
            cluster_gain=programme.lambda_d / programme.num_clusters,
        )

    @property
    def num_units(self) -> int:
        """The ground included."""
        return len(self.parent)

    def potential(self, unit: int) -> float:
        """The most that keeping the unit can add, units below it apart: its gain and all its open clusters."""
        return self.gain[unit] + self.cluster_gain * len(self.covers[unit])

    def most_under(self) -> list[float]:
        """``[num_units]`` no less than what the unit and those below it can add, once the unit is kept."""
        most = [self.potential(unit) for unit in range(self.num_units)]
        for unit in range(self.num_units - 1, GROUND, -1):
            most[self.parent[unit]] += max(0.0, most[unit])
        return most

    def path(self, unit: int) -> list[int]:
        """The unit and all above it, the ground last."""
        path = [unit]
        while path[-1] != GROUND:
            path.append(self.parent[path[-1]])
        return path

    def path_cost(self) -> list[float]:
        """``[num_units]`` cost of the unit and all above it."""
        return self._down_the_paths(self.cost)

    def path_gain(self) -> list[float]:
        """``[num_units]`` gain of the unit and all above it."""
        return self._down_the_paths(self.gain)

    def only(self, chosen: list[int]) -> Self:
        """The programme over the units chosen, each after its parent; the first is the ground."""
        number = {unit: place for place, unit in enumerate(chosen)}
        return replace(
            self,
            parent=[number.get(self.parent[unit], GROUND) for unit in chosen],
            gain=[self.gain[unit] for unit in chosen],
            cost=[self.cost[unit] for unit in chosen],
            covers=[self.covers[unit] for unit in chosen],
            leaves=[self.leaves[unit] for unit in chosen],
        )

    def in_preorder(self) -> Self:
        """The same programme, with what lies below a unit directly after it."""
        children: list[list[int]] = [[] for _ in self.parent]
        for unit in range(self.num_units - 1, GROUND, -1):  # backwards, for the walk below takes the last one first
            children[self.parent[unit]].append(unit)
        chosen, ahead = [], [GROUND]
        while ahead:
            chosen.append(ahead.pop())
            ahead += children[chosen[-1]]
        return self.only(chosen)

    def under(self, top: int) -> Self:
        """The programme of the subtree of a unit, which becomes the ground: it is kept, and all else is not."""
        chosen, is_inside = [top], [False] * self.num_units
        is_inside[top] = True
        for unit in range(top + 1, self.num_units):
            if is_inside[self.parent[unit]]:
                is_inside[unit] = True
                chosen.append(unit)
        units, covered = self.only(chosen), set(self.covers[top])
        return replace(units, covers=[[k for k in covers if k not in covered] for covers in units.covers])

    def span(self, leaves: Iterable[int]) -> list[bool]:
        """``[num_units]`` whether the unit holds one of these leaves or lies above one that does. The ground does."""
        chosen = set(leaves)
        spanned = [not chosen.isdisjoint(held) for held in self.leaves]
        for unit in range(self.num_units - 1, GROUND, -1):
            if spanned[unit]:
                spanned[self.parent[unit]] = True
        spanned[GROUND] = True
        return spanned

    def leaves_of(self, units: Iterable[int]) -> list[int]:
        """The leaves that these units hold."""
        return [leaf for unit in units for leaf in self.leaves[unit]]

    def _down_the_paths(self, values: list[float]) -> list[float]:
        totals = values[:]
        for unit in range(1, self.num_units):
            totals[unit] += totals[self.parent[unit]]
        return totals


def _topological(programme: Programme) -> NDArray[np.int64]:
    """The spanned nodes, parents before their children."""
    nodes = np.flatnonzero(programme.spanned)
    if (programme.parent[nodes] < nodes).all():
        return nodes
    steps = np.append((programme.parent != NO_PARENT).astype(np.int64), 0)
    ancestor = np.append(
        np.where(programme.parent == NO_PARENT, programme.num_nodes, programme.parent), programme.num_nodes
    )
    while (ancestor != programme.num_nodes).any():  # 1, 2, 4, … generations at a time
        steps, ancestor = steps + steps[ancestor], ancestor[ancestor]
    return nodes[np.argsort(steps[nodes], kind="stable")]


def _bare_links(parent: NDArray[np.int64], is_leaf: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """``[num_nodes]`` whether the node is no leaf and has one child."""
    num_children = np.bincount(parent[1:], minlength=parent.size)
    links: NDArray[np.bool_] = ~is_leaf & (num_children == 1)
    return links


def _join(parent: NDArray[np.int64], follows: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Makes each node that follows its parent one with it: ``[num_nodes]`` units, and the topmost node of each."""
    follows[GROUND] = False
    top = np.where(follows, parent, np.arange(parent.size))
    while follows[top].any():
        top = top[top]
    return (np.cumsum(~follows) - 1)[top], np.flatnonzero(~follows)


def _contents(programme: Programme, leaf_unit: list[int], num_units: int) -> tuple[list[list[int]], list[list[int]]]:
    """The open clusters and the leaves of each unit, by the unit of each leaf."""
    covers: list[list[int]] = [[] for _ in range(num_units)]
    leaves: list[list[int]] = [[] for _ in range(num_units)]
    for leaf, (unit, cluster) in enumerate(zip(leaf_unit, programme.cluster.tolist(), strict=True)):
        leaves[unit].append(leaf)
        if programme.lambda_d and cluster not in covers[unit]:
            covers[unit].append(cluster)
    covered = set(covers[GROUND])
    return [[k for k in open_ if k not in covered] for open_ in covers] if covered else covers, leaves
