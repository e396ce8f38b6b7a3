"""How long searches are: the depths and steps of those that were seen."""

from collections import deque
from typing import Final

from etsearch.boundary.numbers import MOST_TOKENS, check_number

KEPT: Final = 1024
"""Searches, and depths, that are remembered."""
FIRST_STEP_TOKENS: Final = 32.0
"""What a step is expected to have before any was seen."""


class Lengths:
    """Depths of the searches that ended lately, and tokens of the steps that were written."""

    def __init__(self, step_tokens: float = FIRST_STEP_TOKENS) -> None:
        check_number("step_tokens", step_tokens, 0, MOST_TOKENS, above=True)
        self._first_step_tokens = step_tokens
        self._depths: deque[int] = deque(maxlen=KEPT)
        self._steps: deque[float] = deque(maxlen=KEPT)

    def note_depth(self, mean_step_tokens: float) -> None:
        """A depth was written."""
        self._steps.append(mean_step_tokens)

    def note_end(self, depth: int) -> None:
        """A search ended after so many depths."""
        self._depths.append(depth)

    @property
    def step_tokens(self) -> float:
        """Tokens that a step of a search that has none yet is expected to have."""
        return sum(self._steps) / len(self._steps) if self._steps else self._first_step_tokens

    def remaining_depths(self, depth: int) -> float:
        """Depths that a search still has before it, on average, of those that came further than this; 1 at least."""
        longer = [seen - depth for seen in self._depths if seen > depth]
        return sum(longer) / len(longer) if longer else 1.0
