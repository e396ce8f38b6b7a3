"""How searches of one engine are let in: the market, and what others do. Each hands out shares."""

import asyncio
import time
from collections import deque

from etsearch.sharing import Market

STEP_S = 0.5
"""How often additive increase, multiplicative decrease looks at the cache."""


class Everything:
    """Whoever comes is let in."""

    def share(self):
        return _Share(self)

    def observe(self, stats):
        pass

    async def enter(self):
        pass

    def leave(self):
        pass


class _Share:
    """A place in a policy that admits whole searches and prices nothing."""

    def __init__(self, policy):
        self._policy, self._is_in = policy, False

    def observe(self, stats):
        self._policy.observe(stats)

    async def begin(self, strategy, held_tokens, width, depth):
        del strategy, held_tokens, depth
        await self._policy.enter()
        self._is_in = True
        return width

    async def select(self, strategy, frontier, width):
        return strategy.select(frontier, width)

    def leave(self):
        if self._is_in:
            self._is_in = False
            self._policy.leave()


class Fixed(Everything):
    """So many at once, first come, first served."""

    def __init__(self, most):
        self.most, self._num_in, self._waiting = most, 0, deque()

    async def enter(self):
        if self._num_in >= self.window:
            come = asyncio.get_running_loop().create_future()
            self._waiting.append(come)
            try:
                await come  # whoever leaves counts us in
            except asyncio.CancelledError:
                if come.done() and not come.cancelled():
                    self.leave()
                raise
        else:
            self._num_in += 1

    @property
    def window(self):
        return self.most

    def leave(self):
        self._num_in -= 1
        self._let_in()

    def _let_in(self):
        while self._waiting and self._num_in < self.window:
            come = self._waiting.popleft()
            if not come.done():
                self._num_in += 1
                come.set_result(None)


class AdditiveIncrease(Fixed):
    """Concur's rule (arXiv:2601.22705): the window grows by one while the cache has room, and halves when it is full.

    Args:
        high: share of the cache in use above which the window is halved.
        low: share below which it grows.
    """

    def __init__(self, low=0.5, high=0.8):
        super().__init__(1)
        self._window, self._low, self._high = 2.0, low, high
        self._looked_at, self._peak = time.monotonic(), 0.0

    @property
    def window(self):
        return int(self._window)

    def observe(self, stats):
        self._peak = max(self._peak, stats.cache_use or 0.0)
        now = time.monotonic()
        if now - self._looked_at < STEP_S:
            return
        peak, self._peak, self._looked_at = self._peak, 0.0, now
        if peak > self._high:
            self._window = max(1.0, self._window / 2)
        elif peak < self._low:
            self._window += 1.0
        self._let_in()


def market(**settings):
    """The market, with a share for each search."""
    return Market(**settings)
