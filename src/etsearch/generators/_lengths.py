"""How long sequences lately became, so that room is kept for what a request is likely to write."""

from collections import Counter, deque
from typing import Final

KEPT_LENGTHS: Final = 4096
"""Sequences that are remembered, of one set of stop strings."""
FEWEST_LENGTHS: Final = 64
"""With fewer than these nothing is known."""
QUANTILE: Final = 0.95
"""The share of sequences that is no longer than what is kept for each."""


class Lengths:
    """Tokens of the sequences that ended lately, by the stop strings that could end them.

    Args:
        fewest: sequences that must have been seen before anything is told; 1 at least.
    """

    def __init__(self, fewest: float = FEWEST_LENGTHS) -> None:
        self._fewest = fewest
        self._seen: dict[tuple[str, ...], _Seen] = {}

    def add(self, stop: tuple[str, ...], num_tokens: int) -> None:
        self._seen.setdefault(stop, _Seen()).add(num_tokens)

    def likely(self, stop: tuple[str, ...], max_tokens: int) -> int:
        """Tokens that a sequence hardly exceeds: the limit itself while too few were seen."""
        seen = self._seen.get(stop)
        return max_tokens if seen is None or len(seen) < self._fewest else min(max_tokens, seen.quantile())


class _Seen:
    def __init__(self) -> None:
        self._latest: deque[int] = deque()
        self._counts: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, num_tokens: int) -> None:
        self._latest.append(num_tokens)
        self._counts[num_tokens] += 1
        if len(self._latest) > KEPT_LENGTHS:
            oldest = self._latest.popleft()
            self._counts[oldest] -= 1
            if not self._counts[oldest]:
                del self._counts[oldest]

    def quantile(self) -> int:
        num_left = QUANTILE * len(self._latest)
        for length in sorted(self._counts):
            num_left -= self._counts[length]
            if num_left <= 0:
                break
        return length
