"""What beam search and DVTS have in common: a few nodes go on, the best by reward, and share the width evenly."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from etsearch.boundary.numbers import MOST_WIDTH, check_whole
from etsearch.strategies.base import Frontier, Selection


@dataclass(frozen=True)
class KeepsBest(ABC):
    """A strategy that keeps ``k`` nodes, and splits a width evenly among them.

    Attributes:
        keep: k, 1 to 65,536 (4 in the papers' "fixed" variant); None for ceil(sqrt(N)).
        shrink: whether a completed trajectory takes one off the width, as in REBASE and ETS. Not so in the papers, so
            that more than N may have completed when the search stops.
    """

    keep: int | None = None
    shrink: bool = False

    needs_rewards = True
    needs_clusters = False

    def __post_init__(self) -> None:
        if self.keep is not None:  # else ceil(sqrt(width))
            check_whole("keep", self.keep, 1, MOST_WIDTH)

    @abstractmethod
    def select(self, frontier: Frontier, width: int) -> Selection:
        """See ``Strategy``."""

    @property
    def completes_at_most_width(self) -> bool:
        return self.shrink

    def number_kept(self, width: int) -> int:
        """``k`` at a width: fixed, or ``ceil(sqrt(N))``; never more than the width."""
        return min(width, self.keep if self.keep is not None else math.ceil(math.sqrt(width)))


def split_evenly(width: int, parts: int) -> list[int]:
    """A width in ``parts`` whole shares that differ by at most one, the larger ones first."""
    return [width // parts + (i < width % parts) for i in range(parts)]


def by_falling_reward(rewards: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions in falling order of reward; equal rewards keep their order."""
    return np.argsort(-rewards, kind="stable")
