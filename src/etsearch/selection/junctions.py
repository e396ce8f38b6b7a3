"""A relaxation for budgets whose only gap is the knapsack's: prizes of clusters pass down the tree to their members.

Over units (see `units`), in preorder. The row of `relaxation` for a cluster, ``z ≤ Σ y_u`` over the units that cover
it, is weak where the tree branches: of a unit that is kept by half, two branches may cover by half each. So coverage
is counted where its branches meet. A *junction* is a unit, or the ground, with members of the cluster in two branches
below it or more (members below members do not count). It is covered, ``t``, only if it is kept, and if a branch is::

    t_a ≤ y_a        t_a ≤ Σ t_b over its branches b        (t_b is y_b for a member; else b is a junction, too)

and z is the t of the topmost, or the y of an only member. With these rows the linear relaxation of the programme
without a budget had an optimum of whole numbers in all cases looked at but few, so that under a budget few units are
fractional: the gap is that of a knapsack.

Both rows of a junction are priced. What *arrives* at it, the prize of its cluster or what the junction above passes,
splits: it *passes* so much to each branch that covers, and so much *stays* with its home, if that is kept. Members
earn what arrives at them. With a price on cost the relaxed optimum is as in `relaxation`, and again a solution's
*regret*, by how much it falls short of the bound, is a sum of terms none below 0::

    max(0, worth_v)      for a dropped child v of a kept unit
    max(0, -worth_v)     for a kept one
    passed_a             for each covered branch of a kept junction after the first
    stays_a              for a kept junction without a covered branch
    price                for each unit of cost of the budget that is not used

Prices are the duals of the linear relaxation (HiGHS). Whatever they are, if ``0 ≤ passed ≤ arriving`` and
``0 ≤ price``, no solution is worth more than the bound. `knapsack` builds on that.
"""

import math
import time
from dataclasses import dataclass, field
from typing import Final

from etsearch.selection import highs
from etsearch.selection.units import GROUND, Units

NONE: Final = -1
NEARLY_ONE: Final = 1.0 - 1e-6


@dataclass(slots=True)
class Junction:
    """Attributes:
    number: its place in ``JunctionRelaxation.junctions``.
    home: the unit where the branches meet, or the ground.
    members: units that cover the cluster, each the topmost in its branch.
    forks: the junctions that are its other branches.
    last: the child of the home in whose subtree the last branch is, in preorder.
    above: the junction of which it is a branch, or `NONE`.
    passed: what each branch earns.
    stays: what the home earns.
    """

    number: int
    home: int
    members: list[int]
    forks: list[int]
    last: int
    above: int = NONE
    passed: float = 0.0
    stays: float = 0.0


@dataclass(eq=False)
class JunctionRelaxation:
    """The relaxation of a programme with a budget.

    Attributes:
        units: in preorder.
        budget: that their cost may not exceed, the ground's included.
        deadline: by ``time.perf_counter``; after it no price is looked for: all are 0.
        is_interior: whether prices are in the midst of those that are as good. Then whatever is not optimal regrets
            something, but no unit is kept as a whole.
        end: ``[num_units]`` the unit after the last one below each.
        junctions: of all clusters, inner ones before those above them.
        grain: the largest number of which all costs are multiples; 0 if they are not whole.
        room: what the ground leaves of the budget, in whole grains if there are any.
        price: of a unit of cost.
        value: ``[num_units]`` of the linear relaxation, from 0 (dropped) to 1.
        worth: ``[num_units]`` at these prices, with that of those below; the ground's is the bound.
        bound: no solution is worth more, the ground's own gain and clusters apart.
    """

    units: Units
    budget: float
    deadline: float
    is_interior: bool = False
    end: list[int] = field(init=False)
    junctions: list[Junction] = field(init=False, default_factory=list)
    grain: int = field(init=False)
    room: float = field(init=False)
    price: float = field(init=False, default=0.0)
    value: list[float] = field(init=False)
    worth: list[float] = field(init=False)
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        self.end = _ends(self.units.parent)
        self.grain, self.room = _grain(self.units.cost[1:]), self.budget - self.units.cost[GROUND]
        if self.grain:
            self.room = float(self.room // self.grain * self.grain)
        self._gain = self.units.gain[:]
        for members in highs.covering(self.units).values():
            self._find_junctions(members)
        wanted = [0.0] * len(self.junctions)
        self.value = [1.0] + [0.0] * (self.units.num_units - 1)
        if self.units.num_units > 1 and self.room > 0.0 and time.perf_counter() < self.deadline:
            self.price, wanted = self._relax()
        self._split(wanted)
        self._evaluate()

    def decided(self, limit: float) -> tuple[set[int], set[int]]:
        """The units that no solution within a limit of regret keeps, and those kept by all that keep their parents."""
        lacks = [0.0] * self.units.num_units  # of those above, too
        dropped, joined = set[int](), set[int]()
        for unit in range(1, self.units.num_units):
            lacks[unit] = lacks[self.units.parent[unit]] + max(0.0, -self.worth[unit])
            if lacks[unit] > limit:
                dropped.add(unit)
            elif self.worth[unit] > limit:
                joined.add(unit)
        return dropped, joined

    def num_open(self, limit: float) -> int:
        """How many units are neither, the ground apart."""
        return self.units.num_units - 1 - sum(map(len, self.decided(limit)))

    def rounded(self) -> list[int]:
        """The units that the linear relaxation keeps as a whole."""
        return [unit for unit, value in enumerate(self.value) if value > NEARLY_ONE]

    def _find_junctions(self, members: list[int]) -> None:
        """Those of one cluster. Where its branches do not meet, its only member has all of the prize."""
        parent, (spine, topmost) = self.units.parent, _spine(self.units.parent, members)
        branches: dict[int, list[tuple[int, _Carrier]]] = {}
        for unit in reversed(spine):  # what is below comes first
            carrier = unit if unit in topmost else self._meet(unit, branches[unit])
            branches.setdefault(parent[unit], []).append((unit, carrier))
        top = self._meet(GROUND, branches[GROUND])
        if isinstance(top, int):
            self._gain[top] += self.units.cluster_gain

    def _meet(self, home: int, branches: list[tuple[int, "_Carrier"]]) -> "_Carrier":
        """The only branch there is, or a new junction of those that there are."""
        if len(branches) == 1:
            return branches[0][1]
        carriers, number = [carrier for _, carrier in branches], len(self.junctions)
        forks = [carrier for carrier in carriers if isinstance(carrier, Junction)]
        for fork in forks:
            fork.above = number
        members = [carrier for carrier in carriers if isinstance(carrier, int)]
        last = max(child for child, _ in branches)
        self.junctions.append(Junction(number, home, members, [fork.number for fork in forks], last))
        return self.junctions[-1]

    def _relax(self) -> tuple[float, list[float]]:
        """The price of cost, and for each junction what its branches are to earn: duals of the linear relaxation.

        Its columns: the units but the ground, then the junctions.
        """
        first = self.units.num_units - 1
        rows, row_of = highs.tree_rows(self.units), []
        for junction in self.junctions:
            row_of.append(len(rows))
            column = first + junction.number
            branches = [*(unit - 1 for unit in junction.members), *(first + fork for fork in junction.forks)]
            rows.append(highs.at_most_sum(column, branches))
            if junction.home != GROUND:
                rows.append(highs.at_most_sum(column, [junction.home - 1]))
        rows.append(highs.budget_row(self.units, self.room))
        prize = [self.units.cluster_gain if junction.above == NONE else 0.0 for junction in self.junctions]
        time_left_s = max(self.deadline - time.perf_counter(), 0.0)
        values, duals = highs.linear_optimum(self._gain[1:] + prize, rows, time_left_s, is_interior=self.is_interior)
        self.value[1:] = values[:first]
        prices = [_positive(dual) for dual in duals]
        return prices[-1] * highs.BUDGET_SCALE / self.room, [prices[row] for row in row_of]

    def _split(self, wanted: list[float]) -> None:
        """Each junction passes what is wanted, as far as it arrives."""
        for junction in reversed(self.junctions):  # those above come first
            is_topmost = junction.above == NONE
            arriving = self.units.cluster_gain if is_topmost else self.junctions[junction.above].passed
            junction.passed = min(wanted[junction.number], arriving)
            junction.stays = arriving - junction.passed

    def _evaluate(self) -> None:
        """Computes the worth of all units, and the bound."""
        parent = self.units.parent
        worth = [gain - self.price * cost for gain, cost in zip(self._gain, self.units.cost, strict=True)]
        worth[GROUND] = self.price * self.room
        for junction in self.junctions:
            worth[junction.home] += junction.stays
            for unit in junction.members:
                worth[unit] += junction.passed
        for unit in range(self.units.num_units - 1, GROUND, -1):
            if worth[unit] > 0.0:
                worth[parent[unit]] += worth[unit]
        self.worth, self.bound = worth, worth[GROUND]


_Carrier = int | Junction
"""What says whether a branch is covered: a member, or the junction at which it forks on."""


def _spine(parent: list[int], members: list[int]) -> tuple[list[int], set[int]]:
    """In preorder the members that have none above them, with all units above but the ground; and which are members."""
    above: set[int] = set()
    for member in members:
        unit = member
        while unit != GROUND and unit not in above:
            above.add(unit)
            unit = parent[unit]
    spine, hidden, is_member = list[int](), set[int](), set(members)
    for unit in sorted(above):
        if parent[unit] in is_member or parent[unit] in hidden:
            hidden.add(unit)
        else:
            spine.append(unit)
    return spine, is_member - hidden


def _positive(dual: float) -> float:
    """A dual as a price: 0 in place of one that is below it, or no number."""
    return dual if 0.0 < dual < math.inf else 0.0


def _grain(costs: list[float]) -> int:
    return (math.gcd(*map(int, costs)) or 1) if all(cost == int(cost) for cost in costs) else 0


def _ends(parent: list[int]) -> list[int]:
    end = list(range(1, len(parent) + 1))
    for unit in range(len(parent) - 1, GROUND, -1):
        end[parent[unit]] = max(end[parent[unit]], end[unit])
    return end
