"""Beam search over steps."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from etsearch.errors import ConfigError
from etsearch.strategies.base import Frontier, Selection


def number_kept(keep: int | None, width: int) -> int:
    """The ``k`` of beam search and DVTS: fixed, or ``ceil(sqrt(N))``; never more than the width."""
    if keep is not None and keep < 1:
        raise ConfigError(f"keep is {keep}; it must be at least 1, or None for ceil(sqrt(width))")
    return min(width, keep if keep is not None else math.ceil(math.sqrt(width)))


def split_evenly(width: int, parts: int) -> list[int]:
    """A width in ``parts`` whole shares that differ by at most one, the larger ones first."""
    return [width // parts + (i < width % parts) for i in range(parts)]


def best_first(rewards: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positions in falling order of reward; equal rewards keep their order."""
    return np.argsort(-rewards, kind="stable")


@final
@dataclass(frozen=True)
class BeamSearch:
    """Keeps the ``k`` best frontier nodes by reward and expands each ``N / k`` times.

    A share that is no whole number is larger for the better nodes. As in the papers the width does not shrink when
    trajectories complete, so that more than N may have when the search stops; ``shrink`` takes one off it for each, as
    REBASE and ETS do.

    Attributes:
        keep: ``k`` (4 in the papers' "fixed" variant); None for ``ceil(sqrt(N))``.
        shrink: whether what is left of the width is shared evenly, rather than all of it.
    """

    keep: int | None = None
    shrink: bool = False

    needs_rewards = True
    needs_clusters = False

    def __post_init__(self) -> None:
        number_kept(self.keep, 1)

    @property
    def completes_at_most_width(self) -> bool:
        return self.shrink

    def select(self, frontier: Frontier, width: int) -> Selection:
        rewards = frontier.checked_rewards()
        parts = number_kept(self.keep, frontier.total_width)
        if self.shrink:
            parts = min(parts, width, len(rewards))
        kept = best_first(rewards)[:parts]
        widths = np.zeros(len(rewards), dtype=np.int64)
        widths[kept] = split_evenly(width if self.shrink else frontier.total_width, parts)[: len(kept)]
        return Selection(tuple(widths.tolist()))
