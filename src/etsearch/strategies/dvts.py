"""Diverse verifier tree search: several independent greedy beams."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from etsearch.strategies.base import Frontier, Selection
from etsearch.strategies.keeps_best import KeepsBest, by_falling_reward, split_evenly
from etsearch.tree import ROOT


@final
@dataclass(frozen=True)
class DVTS(KeepsBest):
    """Splits the first steps into k subtrees and runs a beam of one inside each (Beeching et al., 2024).

    Subtree j holds an even share, ``N / k``, of the first steps, in the order of their writing; below, its best
    open node by reward gets the subtree's whole width.

    Attributes:
        keep: k, 1 to 65,536 (4 in the ETS paper's "fixed" variant); None for ceil(sqrt(N)).
        shrink: whether a completed trajectory takes one off its own subtree's width. Not so in the papers, see
            ``BeamSearch``.
    """

    def select(self, frontier: Frontier, width: int) -> Selection:  # noqa: ARG002 - each subtree has its own
        rewards = frontier.check_rewards()
        shares = split_evenly(frontier.total_width, self.number_kept(frontier.total_width))
        subtree = _subtree(frontier, frontier.nodes, shares)
        completed = frontier.completed if self.shrink else frontier.completed[:0]
        spent = np.bincount(_subtree(frontier, completed, shares), minlength=len(shares))
        widths = np.zeros(len(rewards), dtype=np.int64)
        served: set[int] = set()
        for position in by_falling_reward(rewards).tolist():
            tree = int(subtree[position])
            if tree not in served:
                served.add(tree)
                widths[position] = max(0, shares[tree] - int(spent[tree]))
        return Selection(tuple(widths.tolist()))


def _subtree(frontier: Frontier, nodes: NDArray[np.int64], shares: list[int]) -> NDArray[np.int64]:
    """Which subtree each node belongs to, by the place of its first step among all first steps ``[n]``."""
    first_steps = frontier.tree.children(ROOT)
    place = np.searchsorted(first_steps, frontier.tree.ancestor_at(nodes, 1))
    return np.searchsorted(np.cumsum(shares), place, side="right")
