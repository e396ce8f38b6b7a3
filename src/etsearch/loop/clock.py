"""Where the time of a search goes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

PHASES: Final = ("generate", "score", "embed", "cluster", "select", "total")


class PhaseClock:
    """Wall-clock seconds during which each phase had at least one activity under way.

    ``seconds`` are those that were spent before, by phase. Where searches share an engine there is a phase ``wait`` in
    place of ``select``.
    """

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0) | dict(seconds or {})
        self._active: dict[str, int] = {}
        self._since: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if not self._active.get(name):
            self._since[name] = time.perf_counter()
        self._active[name] = self._active.get(name, 0) + 1
        try:
            yield
        finally:
            self._active[name] -= 1
            if not self._active[name]:
                self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - self._since[name]

    def so_far(self) -> dict[str, float]:
        """Seconds by phase up to now, those of what is under way among them."""
        now = time.perf_counter()
        return {k: s + (now - self._since[k] if self._active.get(k) else 0.0) for k, s in self._seconds.items()}
