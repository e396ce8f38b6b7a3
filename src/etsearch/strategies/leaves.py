"""The leaves of the ETS programme: every draw by itself (paper), or all draws of a step as one."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from etsearch.strategies.base import Frontier
from etsearch.tree import SearchTree

Leaves = Literal["draws", "steps"]


@dataclass(frozen=True, slots=True, eq=False)
class LeafDraws:
    """Which draws the leaves of a programme stand for.

    Attributes:
        parent: ``[nodes]`` the tree that the leaves hang in: that of draws, or that of steps.
        node: ``[leaves]`` node of each leaf, in rising order where leaves are steps.
        first: ``[leaves]`` position in the frontier of the first draw of each.
        leaf: ``[n]`` leaf of each node of the frontier.
        count: ``[leaves]`` draws of each.
    """

    parent: NDArray[np.int64]
    node: NDArray[np.int64]
    first: NDArray[np.int64]
    leaf: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, frontier: Frontier, leaves: Leaves) -> "LeafDraws":
        """The leaves of a frontier."""
        tree: SearchTree = frontier.tree
        if leaves == "draws":
            each = np.arange(len(frontier.nodes))
            return cls(tree.parent, frontier.nodes, each, each, np.ones(len(each), dtype=np.int64))
        node, first, leaf, count = np.unique(tree.originals(frontier.nodes), True, True, True)
        return cls(tree.above, node, first, leaf, count)

    def draws(self, kept: "tuple[bool, ...]") -> NDArray[np.intp]:
        """Positions in the frontier of the draws of the leaves that are kept."""
        return np.flatnonzero(np.array(kept)[self.leaf])
