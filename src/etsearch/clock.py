"""Where the time of a search goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PHASES: Final = ("generate", "score", "embed", "cluster", "select", "total")


class PhaseClock:
    """Wall-clock seconds during which each phase had at least one activity under way."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
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
                self.seconds[name] += time.perf_counter() - self._since[name]
