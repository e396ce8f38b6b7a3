"""Decides what needs no solver: a smaller programme with the same optimum.

The nodes spanned by the leaves become *units*, each kept or not as a whole, under one more unit, the ground, that
is always kept. The gain of a unit is the share of weight of its leaves less ``lambda_b`` times its share of cost;
a covered cluster adds ``lambda_d / clusters``. A leaf is kept exactly when its unit is. Each rule joins units with
their parents or drops them, and keeps at least one optimal solution:

- `_join_chains`: a unit without leaves is kept only for its children; if it has one, the two are one. The
  ground's only child is kept in any case, as long as the ground holds no leaf.
- `_join_paying`: a unit that adds no less than it costs, whatever else is kept, is kept whenever its parent is.
- `_drop_hopeless`: a childless unit that cannot add what it costs, even if all its clusters were uncovered, is
  dropped once the ground holds a leaf (until then it might hold the one that must be kept), or if it holds none.
- `_drop_dominated`: of childless siblings that cover the same single open cluster (or none), the one of the
  largest gain, all below 0, is enough.

With node costs near the paper's, this decides most leaves: at lambda_b 1 a leaf pays for its own node.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from etsearch.selection.programme import NO_PARENT, Programme

GROUND: Final = 0
"""The unit that is always kept; its own parent."""
DROPPED: Final = -1
"""The unit of a leaf that is not kept in the optimum that is looked for."""


@dataclass(frozen=True, eq=False)
class Units:
    """A programme over units.

    Attributes:
        parent: ``[num_units]`` parent of each unit.
        gain: ``[num_units]`` what keeping the unit adds to the objective, clusters apart.
        leaf_unit: ``[num_leaves]`` unit of each leaf of the programme, or `DROPPED`.
        covering_unit: ``[num_pairs]`` with `covered_cluster`: the unit holds a leaf of that cluster. Each pair
            once; clusters that the ground covers are left out, the others are *open*.
        covered_cluster: ``[num_pairs]``.
        num_clusters: of the programme.
        cluster_gain: what covering a cluster adds; with 0 there are no pairs.
    """

    parent: NDArray[np.int64]
    gain: NDArray[np.float64]
    leaf_unit: NDArray[np.int64]
    covering_unit: NDArray[np.int64]
    covered_cluster: NDArray[np.int64]
    num_clusters: int
    cluster_gain: float

    @classmethod
    def of(cls, programme: Programme) -> Self:
        """One unit for each spanned node, and the ground above the roots."""
        nodes = np.flatnonzero(programme.spanned)
        unit = np.zeros(programme.num_nodes, dtype=np.int64)
        unit[nodes] = np.arange(1, nodes.size + 1)
        above = programme.parent[nodes]
        leaf_unit = unit[programme.leaves]
        gain = np.append(0.0, -programme.lambda_b * programme.node_cost[nodes] / programme.total_cost)
        gain[leaf_unit] += programme.weight / programme.total_weight
        has_diversity = programme.lambda_d > 0.0
        return cls(
            parent=np.append(GROUND, np.where(above == NO_PARENT, GROUND, unit[above])),
            gain=gain,
            leaf_unit=leaf_unit,
            covering_unit=leaf_unit if has_diversity else leaf_unit[:0],
            covered_cluster=programme.cluster if has_diversity else programme.cluster[:0],
            num_clusters=programme.num_clusters,
            cluster_gain=programme.lambda_d / programme.num_clusters,
        )

    @property
    def num_units(self) -> int:
        """The ground included."""
        return self.parent.size

    @property
    def holds_leaf(self) -> NDArray[np.bool_]:
        """``[num_units]`` whether the unit holds a leaf."""
        holds = np.zeros(self.num_units, dtype=np.bool_)
        holds[self.leaf_unit[self.leaf_unit != DROPPED]] = True
        return holds

    @property
    def num_children(self) -> NDArray[np.int64]:
        """``[num_units]``."""
        return np.bincount(self.parent[1:], minlength=self.num_units)

    @property
    def potential(self) -> NDArray[np.float64]:
        """``[num_units]`` the most that keeping the unit can add: its gain and all its open clusters."""
        return self.gain + self.cluster_gain * np.bincount(self.covering_unit, minlength=self.num_units)

    @property
    def certain(self) -> NDArray[np.float64]:
        """``[num_units]`` the least that keeping the unit adds: its gain and the clusters that no other covers."""
        num_covering = np.bincount(self.covered_cluster, minlength=self.num_clusters)
        alone = self.covering_unit[num_covering[self.covered_cluster] == 1]
        return self.gain + self.cluster_gain * np.bincount(alone, minlength=self.num_units)

    def kept_leaves(self, kept_units: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """``[num_leaves]`` bools from ``[num_units]`` bools."""
        kept: NDArray[np.bool_] = (self.leaf_unit != DROPPED) & kept_units[self.leaf_unit]
        return kept

    def join(self, joins: NDArray[np.bool_]) -> Self:
        """Makes each of these units (never the ground) one with its parent."""
        target = np.where(joins, self.parent, np.arange(self.num_units))
        while (target[target] != target).any():
            target = target[target]
        return self._renumbered(target)

    def drop(self, drops: NDArray[np.bool_]) -> Self:
        """Takes these units (childless, never the ground) out, and their leaves."""
        return self._renumbered(np.where(drops, DROPPED, np.arange(self.num_units)))

    def _renumbered(self, target: NDArray[np.int64]) -> Self:
        stays = target == np.arange(self.num_units)
        number = np.append(np.cumsum(stays) - 1, DROPPED)  # the last entry serves DROPPED
        new = number[target]
        joined = new != DROPPED
        units = replace(
            self,
            parent=new[self.parent[stays]],
            gain=np.bincount(new[joined], weights=self.gain[joined]).astype(np.float64),
            leaf_unit=np.where(self.leaf_unit == DROPPED, DROPPED, new[self.leaf_unit]),
            covering_unit=new[self.covering_unit],
        )
        return units._open_pairs()  # noqa: SLF001 - of its own class

    def _open_pairs(self) -> Self:
        covered = np.zeros(self.num_clusters, dtype=np.bool_)
        covered[self.covered_cluster[self.covering_unit == GROUND]] = True
        is_open = (self.covering_unit != DROPPED) & ~covered[self.covered_cluster]
        keys = np.unique(self.covering_unit[is_open] * self.num_clusters + self.covered_cluster[is_open])
        return replace(self, covering_unit=keys // self.num_clusters, covered_cluster=keys % self.num_clusters)


def reduced(programme: Programme) -> Units:
    """The programme over units after all rules, until none applies."""
    units = Units.of(programme)
    while True:
        before = units.num_units
        for rule in (_join_chains, _join_paying, _drop_hopeless, _drop_dominated):
            units = rule(units)
        if units.num_units == before:
            return units


def without_solver(units: Units) -> NDArray[np.bool_] | None:
    """The units of an optimum, ``[num_units]`` bools, where they can be told at once; else None.

    Either only the ground is left, or no unit can add what it costs: then one leaf is kept, at the end of the
    best path.
    """
    kept = np.zeros(units.num_units, dtype=np.bool_)
    kept[GROUND] = True
    if units.num_units == 1:
        return kept
    if units.holds_leaf[GROUND] or (units.potential[1:] > 0.0).any():
        return None
    unit = int(np.argmax(np.where(units.holds_leaf, _path_gain(units) + units.potential - units.gain, -np.inf)))
    while unit != GROUND:
        kept[unit] = True
        unit = int(units.parent[unit])
    return kept


def _join_paying(units: Units) -> Units:
    pays = units.certain >= 0.0
    pays[GROUND] = False
    return units.join(pays) if pays.any() else units


def _join_chains(units: Units) -> Units:
    is_bare_link = ~units.holds_leaf & (units.num_children == 1)
    joins = is_bare_link[units.parent]
    joins[GROUND] = False
    return units.join(joins) if joins.any() else units


def _drop_hopeless(units: Units) -> Units:
    can_drop = ~units.holds_leaf | units.holds_leaf[GROUND]
    hopeless = can_drop & (units.num_children == 0) & (units.potential <= 0.0)
    hopeless[GROUND] = False
    return units.drop(hopeless) if hopeless.any() else units


def _drop_dominated(units: Units) -> Units:
    num_open = np.bincount(units.covering_unit, minlength=units.num_units)
    cluster = np.full(units.num_units, -1)
    cluster[units.covering_unit] = units.covered_cluster
    is_rival = (num_open <= 1) & (units.num_children == 0) & units.holds_leaf & (units.gain < 0.0)
    is_rival[GROUND] = False
    rivals = np.flatnonzero(is_rival)
    order = rivals[np.lexsort((-units.gain[rivals], cluster[rivals], units.parent[rivals]))]
    beaten = (units.parent[order[1:]] == units.parent[order[:-1]]) & (cluster[order[1:]] == cluster[order[:-1]])
    drops = np.zeros(units.num_units, dtype=np.bool_)
    drops[order[1:][beaten]] = True
    return units.drop(drops) if drops.any() else units


def _path_gain(units: Units) -> NDArray[np.float64]:
    """``[num_units]`` sum of the gains from below the ground down to each unit."""
    total, ancestor = units.gain.copy(), units.parent
    total[GROUND] = 0.0
    while ancestor.any():  # 1, 2, 4, … generations at a time
        total, ancestor = total + total[ancestor], ancestor[ancestor]
    return total
