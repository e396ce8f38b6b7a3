"""The Lagrangian relaxation of the coverage rows: a bound that a walk through the tree computes.

Over units (see `units`), the programme is to maximise the gains of the kept units plus the *prize* of each covered
cluster. Its coverage row says that a covered cluster has a kept unit, ``z_k ≤ Σ y_u``. Priced by ``p_k`` in
``[0, prize_k]`` instead of kept to, each unit earns the prices of its clusters, and the relaxed optimum is::

    Σ_k (prize_k - p_k) + Σ max(0, worth_u) over the units u under the ground
    worth_u = gain_u + Σ p_k over its clusters + Σ max(0, worth_v) over its children v

No solution is worth more, whatever the prices (weak duality); at the best prices the bound is that of the linear
relaxation, for the kept sets of a tree form an integral polytope (Geoffrion, 1974).

A solution's *regret* is by how much it falls short of the bound. It is a sum of terms, none below 0: ``max(0,
worth_v)`` for a dropped child v of a kept unit, ``max(0, -worth_v)`` for a kept one, ``p_k`` for each unit that
covers k after the first, and ``prize_k - p_k`` if none does. `enumeration` builds on that.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from etsearch.selection.units import GROUND, Units


@dataclass(eq=False)
class Relaxation:
    """The relaxation of one component: units that share no open cluster with those of another.

    Attributes:
        unit: ``[n]`` the unit of ``Units`` at each place. Place 0 is the ground; the others stand in preorder: what
            lies below a place comes directly after it.
        parent: ``[n]`` place of the parent, -1 for the ground.
        gain: ``[n]``.
        covers: ``[n]`` clusters, numbered from 0 within the component.
        members: ``[clusters]`` the places that cover each, in rising order.
        prize: ``[clusters]`` what covering each one adds.
        price: ``[clusters]`` the multipliers, which `ascend` sets.
        worth: ``[n]`` at these prices, the ground's included.
    """

    unit: list[int]
    parent: list[int]
    gain: list[float]
    covers: list[list[int]]
    members: list[list[int]]
    prize: list[float]
    price: list[float] = field(init=False)
    worth: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.price = [0.0] * len(self.prize)
        self.evaluate()

    @classmethod
    def of(cls, units: Units, chosen: list[int]) -> Self:
        """Of the units ``chosen``, whole subtrees under the ground in preorder."""
        place = {unit: number for number, unit in enumerate(chosen, start=1)} | {GROUND: 0}
        number: dict[int, int] = {}
        covers = [[], *([number.setdefault(k, len(number)) for k in units.covers[unit]] for unit in chosen)]
        prize = [units.cluster_gain] * len(number)
        members: list[list[int]] = [[] for _ in prize]
        for where, mine in enumerate(covers):
            for cluster in mine:
                members[cluster].append(where)
        return cls(
            unit=[GROUND, *chosen],
            parent=[-1, *(place[units.parent[unit]] for unit in chosen)],
            gain=[0.0, *(units.gain[unit] for unit in chosen)],
            covers=covers,
            members=members,
            prize=prize,
        )

    @property
    def bound(self) -> float:
        """No solution of the component is worth more, the ground's own gain apart."""
        return sum(self.prize) - sum(self.price) + self.worth[0]

    def evaluate(self) -> None:
        """Computes the worth of all places anew."""
        price, parent = self.price, self.parent
        worth = [
            gain + sum([price[k] for k in covers]) if covers else gain
            for gain, covers in zip(self.gain, self.covers, strict=True)
        ]
        for place in range(len(parent) - 1, 0, -1):
            if worth[place] > 0.0:
                worth[parent[place]] += worth[place]
        self.worth = worth

    def ascend(self) -> None:
        """Raises the price of each cluster once, those with fewest members first, as far as the bound falls.

        From prices of 0 on, the bound falls by as much as a price rises, until the first member would be kept: by
        the least shortfall of its members. This is the dual ascent of Erlenkotter (1978) for plant location.
        """
        for cluster in sorted(range(len(self.prize)), key=lambda k: len(self.members[k])):
            headroom = self.prize[cluster] - self.price[cluster]
            rise = min([headroom, *(self._shortfall_of(place) for place in self.members[cluster])])
            if rise > 0.0:
                self.price[cluster] += rise
                for place in self.members[cluster]:
                    self._add(place, rise)

    def shortfalls(self) -> list[float]:
        """``[n]`` what a place and those above it lack to be worth 0, together: the least regret of keeping it."""
        lacks = [0.0] * len(self.parent)
        for place in range(1, len(lacks)):
            lacks[place] = lacks[self.parent[place]] + max(0.0, -self.worth[place])
        return lacks

    def _shortfall_of(self, place: int) -> float:
        lack, worth, parent = 0.0, self.worth, self.parent
        while place:
            if worth[place] < 0.0:
                lack -= worth[place]
            place = parent[place]
        return lack

    def _add(self, place: int, amount: float) -> None:
        """Raises the worth of a place; what of it is above 0 goes on to its parent."""
        while place >= 0:
            before = self.worth[place]
            self.worth[place] += amount
            amount = min(amount, before + amount)
            if amount <= 0.0:
                return
            place = self.parent[place]


def components(units: Units) -> Iterator[Relaxation]:
    """The relaxations of the components of the units."""
    children: list[list[int]] = [[] for _ in units.parent]
    for unit in range(units.num_units - 1, 0, -1):  # backwards, for the walks below take the last one first
        children[units.parent[unit]].append(unit)
    for group in _groups(units, children[GROUND][::-1]):
        chosen, ahead = [], group[::-1]
        while ahead:
            unit = ahead.pop()
            chosen.append(unit)
            ahead += children[unit]
        yield Relaxation.of(units, chosen)


def _groups(units: Units, tops: list[int]) -> list[list[int]]:
    """The units under the ground, those together whose subtrees share an open cluster, directly or through others."""
    top = list(range(units.num_units))
    leader = {unit: unit for unit in tops}

    def leader_of(unit: int) -> int:
        while leader[unit] != unit:
            leader[unit] = leader[leader[unit]]
            unit = leader[unit]
        return unit

    first: dict[int, int] = {}
    for unit in range(1, units.num_units):
        if units.parent[unit] != GROUND:
            top[unit] = top[units.parent[unit]]
        for cluster in units.covers[unit]:
            leader[leader_of(top[unit])] = leader_of(first.setdefault(cluster, top[unit]))
    groups: dict[int, list[int]] = {}
    for unit in tops:
        groups.setdefault(leader_of(unit), []).append(unit)
    return list(groups.values())
