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

SAMPLING_S: Final = 0.02
"""Pause between two looks at the engine's figures, at least."""
SAMPLING_SHARE: Final = 0.2
"""Share of the time that looking may take: a server needs many milliseconds to tell its figures."""

_TOTALS: Final = ("prefix_query_tokens", "prefix_hit_tokens", "num_preemptions")


@dataclass(eq=False)
class SearchWatch:
    """The figures of one search as they come in.

    ``predicted_tokens`` is its own KV tokens now, set by the search; ``cache_tokens`` what the engine's cache holds.
    """

    predicted_tokens: int = 0
    cache_tokens: int | None = None
    figures: EngineFigures = field(default_factory=EngineFigures)
    """The figures once the search is over."""
    _totals: dict[str, int] = field(default_factory=dict)
    _num_samples: int = 0
    _num_flights: int = 0
    _sum_tokens: float = 0.0
    _peak_tokens: float = 0.0
    _peak_predicted: int = 0
    _peak_running: int | None = None
    _peak_waiting: int | None = None

    def see(self, stats: EngineStats, peak_use: float | None, predicted: int, in_flight: int) -> None:
        """Takes a sample.

        Args:
            stats: the engine's figures.
            peak_use: the largest share of its cache in use since the last sample, as far as it is known.
            predicted: the KV tokens of all searches in flight, as they predict them.
            in_flight: the number of those searches.
        """
        for now, name in ((stats.num_running, "_peak_running"), (stats.num_waiting, "_peak_waiting")):
            if now is not None:
                setattr(self, name, max(now, getattr(self, name) or 0))
        if stats.cache_use is None or not stats.cache_capacity_tokens:
            return
        self.cache_tokens = stats.cache_capacity_tokens
        tokens = stats.cache_use * stats.cache_capacity_tokens
        self._num_samples += 1
        self._num_flights += in_flight
        self._sum_tokens += tokens
        self._peak_tokens = max(self._peak_tokens, (peak_use or 0.0) * stats.cache_capacity_tokens)
        self._peak_predicted = max(self._peak_predicted, predicted)

    def count(self, name: str, more: int) -> None:
        """Adds to one of the engine's totals."""
        self._totals[name] = self._totals.get(name, 0) + more

    def close(self) -> None:
        """Fixes the figures."""
        samples = self._num_samples
        was_seen = samples > 0 and self._peak_tokens > 0  # else every look fell into a pause
        self.figures = EngineFigures(
            mean_cache_tokens=round(self._sum_tokens / samples, 1) if self._sum_tokens > 0 else None,
            peak_cache_tokens=round(self._peak_tokens, 1) if was_seen else None,
            cache_capacity_tokens=self.cache_tokens if samples else None,
            peak_predicted_tokens=self._peak_predicted if samples else None,
            mean_in_flight=round(self._num_flights / samples, 2) if samples else None,
            peak_running=self._peak_running,
            peak_waiting=self._peak_waiting,
            **self._totals,
        )


class EngineWatch:
    """Samples the figures of one engine for as long as searches are under way on it.

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
        self._sampler: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def search(self) -> AsyncIterator[SearchWatch]:
        """Watches a search; its figures are there when the block is left."""
        await self._sample()
        watch = SearchWatch(cache_tokens=self._cache_tokens)
        self._open.add(watch)
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

    async def _run(self) -> None:
        while True:
            started = time.monotonic()
            await self._sample()
            await asyncio.sleep(max(SAMPLING_S, (time.monotonic() - started) / SAMPLING_SHARE))

    async def _sample(self) -> None:
        async with self._lock:
            since, self._looked_at = self._looked_at, time.monotonic()
            stats = await self._generator.stats()
            peak = self._generator.peak_cache_use(since) if isinstance(self._generator, TellsPeak) else None
            self._take(stats, max(filter(None, (peak, stats.cache_use)), default=None))

    def _take(self, stats: EngineStats, peak_use: float | None) -> None:
        self._on_sample(stats)
        self._cache_tokens = stats.cache_capacity_tokens or self._cache_tokens
        predicted = sum(watch.predicted_tokens for watch in self._open)
        for watch in self._open:
            watch.see(stats, peak_use, predicted, len(self._open))
        for name in _TOTALS:
            total = getattr(stats, name)
            if total is None:
                continue
            last = self._last.get(name)
            self._last[name] = total
            more = 0 if last is None else total - last if total >= last else total
            for watch in self._open:
                watch.count(name, more)
