"""Anytime: a search that time or tokens cut gives the best answer that it has so far."""

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from etsearch.loop.growth import Growth
from etsearch.loop.settings import Limits
from etsearch.loop.state import SearchState
from etsearch.types import StopReason

T = TypeVar("T")

UNLIMITED: Final = 1 << 62
"""Tokens of a step that nothing limits."""


class Allowance:
    """The time and the tokens that a search has, and what of them is left.

    Time counts from here on; tokens are those of the whole search, what was written before it was resumed among them.

    Args:
        limits: of the search.
        state: of the search, which counts the tokens.
    """

    def __init__(self, limits: Limits, state: SearchState) -> None:
        self._state, self._most_tokens = state, limits.max_generated_tokens
        self._until = None if limits.deadline_s is None else time.monotonic() + limits.deadline_s
        self.is_used_up: StopReason | None = None
        """Why the search has to stop; None as long as it need not."""

    def tokens_per_step(self, growth: Growth, last_step_tokens: float) -> int:
        """The most tokens that each continuation of a depth may have.

        ``is_used_up`` is set if that is less than the steps of the last depth had on average.
        """
        if self._until is not None and time.monotonic() >= self._until:
            self.is_used_up = StopReason.DEADLINE
        if self._most_tokens is None:
            return UNLIMITED
        counts = self._state.counts
        left = self._most_tokens - counts["generated_tokens"] - counts["dropped_tokens"]
        tokens = left // max(growth.width, 1)
        if tokens < max(last_step_tokens, 1):
            self.is_used_up = self.is_used_up or StopReason.TOKENS
        return tokens

    async def within(self, waiting: Coroutine[Any, Any, T]) -> T | None:
        """What is waited for; None if the time is over before, and then ``is_used_up`` says so."""
        try:
            async with asyncio.timeout(None if self._until is None else self._until - time.monotonic()):
                return await waiting
        except TimeoutError:
            self.is_used_up = StopReason.DEADLINE
            return None

    @contextmanager
    def watch(self, growth: Growth) -> Iterator[None]:
        """Cuts the depth that is written in the block when the time is over: what is there by then stays."""
        if self._until is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(max(0.0, self._until - time.monotonic()), self._cut, growth)
        try:
            yield
        finally:
            timer.cancel()
        if self.is_used_up:
            growth.drop_unsettled()

    def _cut(self, growth: Growth) -> None:
        self.is_used_up = StopReason.DEADLINE
        growth.stop()
