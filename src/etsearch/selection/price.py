"""What must a node cost for the optimum to cost no more than so much?

For a set S let A be its shares of weight and diversity and C its share of cost. At the price ``lambda_b`` it is worth
the line ``A - lambda_b * C``; the optimum is the highest line at each price, so that its worth is convex and its cost
falls as the price rises. The least price at which an optimum costs no more than a target is where the highest line of
the sets that do crosses the highest of those that do not.

The search holds a line of each kind and solves where they cross (Eisner and Severance, 1976). A solution above the
crossing takes the place of the line of its kind; if there is none, the crossing is the price: both lines are optimal
there. Each step finds a line not seen before, and of those there are finitely many; five to ten steps are usual.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from etsearch.selection.programme import ROUNDING, Programme
from etsearch.selection.solution import Solution, evaluate


@dataclass(frozen=True, slots=True)
class Priced:
    """A price, and an optimum at that price.

    Attributes:
        price: ``lambda_b``, at least 0.
        solution: optimal at the price; its objective is the programme's at the price.
        cost: of the nodes that it keeps, in units of ``node_cost``.
    """

    price: float
    solution: Solution
    cost: float


@dataclass(frozen=True, slots=True)
class _Line:
    """A set of leaves: its worth without price, and its cost, as a share and in units of ``node_cost``."""

    kept: NDArray[np.bool_]
    worth: float
    share: float
    cost: float

    @classmethod
    def of(cls, programme: Programme, kept: NDArray[np.bool_]) -> Self:
        cost = programme.kept_cost(kept)
        share = cost / programme.total_cost
        return cls(kept, programme.at_price(0.0).objective(kept), share, cost)

    def at(self, price: float) -> float:
        return self.worth - price * self.share


def least_price(programme: Programme, target_cost: float, solve: Callable[[Programme], Solution]) -> Priced:
    """The least price, from 0 on, at which an optimum costs at most ``target_cost``.

    Where not even the cheapest leaf meets the target, it is the cheapest cost that is met.

    Args:
        programme: its own ``lambda_b`` does not count; its budget does.
        target_cost: in units of ``node_cost``.
        solve: finds an optimum.
    """
    target = max(target_cost, programme.cheapest_cost) * (1.0 + ROUNDING)
    solution = solve(programme.at_price(0.0))
    dear = _Line.of(programme, np.array(solution.kept))
    if dear.cost <= target:
        return Priced(0.0, solution, dear.cost)
    cheap = _cheapest_leaf(programme)
    while True:
        price = max(0.0, (dear.worth - cheap.worth) / (dear.share - cheap.share))
        priced = programme.at_price(price)
        solution = solve(priced)
        if solution.objective <= cheap.at(price) + priced.tolerance:
            return Priced(price, evaluate(priced, np.flatnonzero(cheap.kept).tolist(), solution.status), cheap.cost)
        line = _Line.of(programme, np.array(solution.kept))
        if line.cost <= target:
            cheap = line
        else:
            dear = line


def _cheapest_leaf(programme: Programme) -> _Line:
    """Of the leaves whose paths cost least, the one of the largest weight."""
    is_cheapest = programme.path_cost <= programme.cheapest_cost * (1.0 + ROUNDING)
    kept = np.zeros(programme.num_leaves, dtype=np.bool_)
    kept[np.argmax(np.where(is_cheapest, programme.weight, -1.0))] = True
    return _Line.of(programme, kept)
