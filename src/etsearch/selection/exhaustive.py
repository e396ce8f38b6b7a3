"""The oracle of the tests: tries every set of leaves."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from etsearch.errors import ConfigError
from etsearch.selection.programme import NO_PARENT, Programme
from etsearch.selection.solution import Solution, Status, evaluate

MAX_LEAVES: Final = 20
"""2^20 sets take about a second."""


def solve(programme: Programme, time_limit_s: float) -> Solution:  # noqa: ARG001 - the interface of a solver
    """The best of all non-empty sets of leaves, the first of equals; takes no notice of the time limit.

    Raises:
        ConfigError: more than 20 leaves.
    """
    if programme.num_leaves > MAX_LEAVES:
        raise ConfigError(
            f"the exhaustive solver was given {programme.num_leaves} leaves; it tries every set of at most "
            f"{MAX_LEAVES}; use 'lagrange'"
        )
    sets = np.arange(1, 1 << programme.num_leaves, dtype=np.int64)  # bit i: leaf i is kept
    best = int(sets[np.argmax(_objectives(programme, sets))])
    kept = [leaf for leaf in range(programme.num_leaves) if best >> leaf & 1]
    return evaluate(programme, kept, Status.OPTIMAL)


def _objectives(programme: Programme, sets: NDArray[np.int64]) -> NDArray[np.float64]:
    """``[sets]`` what each set is worth; ``-inf`` above the budget."""
    values, costs = np.zeros(sets.size), np.zeros(sets.size)
    for leaf, weight in enumerate(programme.weight.tolist()):
        values += weight / programme.total_weight * ((sets >> leaf) & 1)
    for node, below in enumerate(_leaves_below(programme)):
        cost = float(programme.node_cost[node])
        if below and cost:
            costs += cost * ((sets & below) != 0)
    values -= programme.lambda_b / programme.total_cost * costs
    for label in range(programme.num_clusters):
        members = sum(1 << leaf for leaf in np.flatnonzero(programme.cluster == label).tolist())
        values += programme.lambda_d / programme.num_clusters * ((sets & members) != 0)
    return np.where(costs <= programme.most_cost, values, -np.inf)


def _leaves_below(programme: Programme) -> list[int]:
    """For each node, the set of leaves at or below it, as bits."""
    below = [0] * programme.num_nodes
    for leaf, node in enumerate(programme.leaves.tolist()):
        while node != NO_PARENT:
            below[node] |= 1 << leaf
            node = int(programme.parent[node])  # noqa: PLW2901 - a walk to the root
    return below
