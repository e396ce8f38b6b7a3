"""Beam search over steps."""

from dataclasses import dataclass
from typing import final

import numpy as np

from etsearch.strategies.base import Frontier, Selection
from etsearch.strategies.keeps_best import KeepsBest, by_falling_reward, split_evenly


@final
@dataclass(frozen=True)
class BeamSearch(KeepsBest):
    """Keeps the k best frontier nodes by reward and expands each N / k times.

    A share that is no whole number is larger for the better nodes. With ``shrink`` what is left of the width is shared
    evenly, rather than all of it.

    Attributes:
        keep: k, 1 to 65,536 (4 in the papers' "fixed" variant); None for ceil(sqrt(N)).
        shrink: whether a completed trajectory takes one off the width. Not so in the papers, so that more than N may
            have completed when the search stops.
    """

    def select(self, frontier: Frontier, width: int) -> Selection:
        rewards = frontier.check_rewards()
        parts = self.number_kept(frontier.total_width)
        if self.shrink:
            parts = min(parts, width, len(rewards))
        kept = by_falling_reward(rewards)[:parts]
        widths = np.zeros(len(rewards), dtype=np.int64)
        widths[kept] = split_evenly(width if self.shrink else frontier.total_width, parts)[: len(kept)]
        return Selection(tuple(widths.tolist()))
