"""What the engine measures while searches run on it, beside what they predict."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from etsearch.generators.base import Generator, TellsPeak
from etsearch.types import EngineFigures, EngineStats

FIRST_LOOK_S: Final = 0.001
"""Pause before the first look after a search or a depth of it began: its requests are out by then."""
SAMPLING_S: Final = 0.02
"""Pause between two looks at the engine's figures, once they are regular, at least."""
SAMPLING_SHARE: Final = 0.2
"""Share of the time that regular looks may take: a server needs many milliseconds to tell its figures."""

_TOTALS: Final = ("prefix_query_tokens", "prefix_hit_tokens", "num_preemptions")


@dataclass(eq=False)
class SearchWatch:
    """The figures of one search as they come in.

    All are the whole engine's while the search ran: of searches side by side each sees what all of them used.
    ``cache_tokens`` is what the engine's cache holds; ``on_depth`` is called when a depth of the search is over.
    """

    cache_tokens: int | None = None
    on_depth: Callable[["SearchWatch"], None] = lambda _: None
    figures: EngineFigures = field(default_factory=EngineFigures)
    """The figures once the search is over."""
    began_at: float = field(default_factory=time.monotonic)
    """When its depth began that is under way."""
    _predicted_tokens: int = 0
    _totals: dict[str, int] = field(default_factory=dict)
    _seconds: float = 0.0
    _flight_seconds: float = 0.0
    _token_seconds: float = 0.0
    _peak_tokens: float = 0.0
    _peak_predicted: int = 0
    _peak_running: int | None = None
    _peak_waiting: int | None = None

    @property
    def predicted_tokens(self) -> int:
        """The search's own KV tokens, which it sets when a depth is over."""
        return self._predicted_tokens

    @predicted_tokens.setter
    def predicted_tokens(self, tokens: int) -> None:
        self._predicted_tokens = tokens
        self.on_depth(self)

    def predict(self, tokens: int) -> None:
        """Takes the KV tokens of all searches in flight, as they predict them."""
        self._peak_predicted = max(self._peak_predicted, tokens)

    def see(self, stats: EngineStats, peak_use: float | None, in_flight: int, seconds: float) -> None:
        """Takes a sample. Looks are not evenly spaced, so that for a mean each stands for the time since the last.

        Args:
            stats: the engine's figures.
            peak_use: the largest share of its cache in use since the last sample, as far as it is known.
            in_flight: the number of searches in flight.
            seconds: the time since the last sample.
        """
        for now, name in ((stats.num_running, "_peak_running"), (stats.num_waiting, "_peak_waiting")):
            if now is not None:
                setattr(self, name, max(now, getattr(self, name) or 0))
        if stats.cache_use is None or not stats.cache_capacity_tokens:
            return
        self.cache_tokens = stats.cache_capacity_tokens
        tokens = stats.cache_use * stats.cache_capacity_tokens
        self._seconds += seconds
        self._flight_seconds += seconds * in_flight
        self._token_seconds += seconds * tokens
        self._peak_tokens = max(self._peak_tokens, (peak_use or 0.0) * stats.cache_capacity_tokens)

    def count(self, name: str, more: int) -> None:
        """Adds to one of the engine's totals."""
        self._totals[name] = self._totals.get(name, 0) + more

    def close(self) -> None:
        """Fixes the figures. Where every look fell into a pause of the engine, nothing is known of its cache."""
        seconds = self._seconds
        self.figures = EngineFigures(
            mean_cache_tokens=round(self._token_seconds / seconds, 1) if self._token_seconds > 0 else None,
            peak_cache_tokens=round(self._peak_tokens, 1) if self._peak_tokens > 0 else None,
            cache_capacity_tokens=self.cache_tokens if seconds else None,
            peak_predicted_tokens=self._peak_predicted if seconds else None,
            mean_in_flight=round(self._flight_seconds / seconds, 2) if seconds else None,
            peak_running=self._peak_running,
            peak_waiting=self._peak_waiting,
            **self._totals,
        )


class EngineWatch:
    """Samples the figures of one engine for as long as searches are under way on it.

    A look is taken before and after each search, and regularly meanwhile. When a search begins, or goes on from a depth
    that was shorter than the regular pause, looks follow soon and then ever more slowly, while its requests are out: so
    the shortest search is seen too, and long ones cost no more than regular looks.

    An engine that starts anew counts from 0 again; what it counted before stays counted.

    Args:
        generator: the engine.
        on_sample: called with every sample.
    """

    def __init__(self, generator: Generator, on_sample: Callable[[EngineStats], None] = lambda _: None) -> None:
        self._generator, self._on_sample = generator, on_sample
        self._open: set[SearchWatch] = set()
        self._last: dict[str, int] = {}
        self._cache_tokens: int | None = None
        self._looked_at = time.monotonic()
        self._lock = asyncio.Lock()
        self._news = asyncio.Event()
        self._regular_s = SAMPLING_S
        self._sampler: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a search is watched."""
        return bool(self._open)

    @asynccontextmanager
    async def search(self) -> AsyncIterator[SearchWatch]:
        """Watches a search; its figures are there when the block is left."""
        await self._sample()
        watch = SearchWatch(self._cache_tokens, self._begin_depth)
        self._open.add(watch)
        self._news.set()
        if self._sampler is None:
            self._sampler = asyncio.create_task(self._run())
        try:
            yield watch
            await self._sample()
        finally:
            self._open.discard(watch)
            watch.close()
            if not self._open:
                sampler, self._sampler = self._sampler, None
                sampler.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sampler

    def _begin_depth(self, watch: SearchWatch) -> None:
        """A search goes on to its next depth."""
        predicted = sum(one.predicted_tokens for one in self._open)
        for one in self._open:
            one.predict(predicted)
        before, watch.began_at = watch.began_at, time.monotonic()
        if watch.began_at - before < self._regular_s:
            self._news.set()

    async def _run(self) -> None:
        pause = 0.0
        while True:
            if await self._is_told(pause):
                pause = FIRST_LOOK_S
                await asyncio.sleep(pause)
            started = time.monotonic()
            await self._sample()
            self._regular_s = max(SAMPLING_S, (time.monotonic() - started) / SAMPLING_SHARE)
            pause = min(4 * pause, self._regular_s)

    async def _is_told(self, pause: float) -> bool:
        """Waits out the pause, or until a search has news."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):  # not wait_for, which before Python 3.12 could lose a cancellation
                await self._news.wait()
        has_news = self._news.is_set()
        self._news.clear()
        return has_news

    async def _sample(self) -> None:
        async with self._lock:
            since, self._looked_at = self._looked_at, time.monotonic()
            stats = await self._generator.stats()
            peak = self._generator.peak_cache_use(since) if isinstance(self._generator, TellsPeak) else None
            self._take(stats, max(filter(None, (peak, stats.cache_use)), default=None), self._looked_at - since)

    def _take(self, stats: EngineStats, peak_use: float | None, seconds: float) -> None:
        self._on_sample(stats)
        self._cache_tokens = stats.cache_capacity_tokens or self._cache_tokens
        for watch in self._open:
            watch.see(stats, peak_use, len(self._open), seconds)
        for name in _TOTALS:
            total = getattr(stats, name)
            if total is None:
                continue
            last = self._last.get(name)
            self._last[name] = total
            more = 0 if last is None else total - last if total >= last else total
            for watch in self._open:
                watch.count(name, more)


_TOGETHER: Final[dict[tuple[int, int], EngineWatch]] = {}
"""By event loop and engine, as long as a search is under way."""


@asynccontextmanager
async def watch_together(generator: Generator) -> AsyncIterator[SearchWatch]:
    """Watches a search; all that run side by side on an engine share its looks, for which a server takes long."""
    key = id(asyncio.get_running_loop()), id(generator)
    watch = _TOGETHER.setdefault(key, EngineWatch(generator))
    try:
        async with watch.search() as watched:
            yield watched
    finally:
        if not watch.is_open:
            _TOGETHER.pop(key, None)
