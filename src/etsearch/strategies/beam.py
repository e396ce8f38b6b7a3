"""Beam search over steps."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from etsearch.allocation import check_rewards
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
    """Keeps the ``k`` best frontier nodes by reward and shares the width evenly among them.

    With nothing completed yet each survivor is expanded ``N / k`` times, as in the paper; each completed
    trajectory takes one off the width. A share that is no whole number goes to the better nodes first.

    Attributes:
        keep: ``k`` (4 in the papers' "fixed" variant); None for ``ceil(sqrt(N))``.
    """

    keep: int | None = None

    needs_rewards = True
    needs_clusters = False

    def __post_init__(self) -> None:
        number_kept(self.keep, 1)

    def select(self, frontier: Frontier, width: int) -> Selection:
        rewards = check_rewards(frontier.rewards)  # type: ignore[arg-type]
        kept = best_first(rewards)[: min(number_kept(self.keep, frontier.total_width), width)]
        widths = np.zeros(len(rewards), dtype=np.int64)
        widths[kept] = split_evenly(width, len(kept))
        return Selection(tuple(widths.tolist()))
