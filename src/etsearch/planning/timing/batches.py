"""What is common to whatever is timed: its seconds, and what the simulated engine computes for it."""

import time
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from etsearch.planning.cost import Batch, features
from etsearch.planning.engine import SimulatedEngine
from etsearch.planning.scorer import SimulatedScorer

_R = TypeVar("_R")
MORE_ROUNDS: Final = 3
"""Times as often is timed what takes little time."""


async def timed(work: Awaitable[_R]) -> tuple[float, float, _R]:
    """Seconds that passed, those of them that this thread was at work, and what came of it."""
    began, own = time.perf_counter(), time.thread_time()
    found = await work
    return time.perf_counter() - began, time.thread_time() - own, found


def without_own(seconds: float, own_s: float) -> dict[str, float]:
    """What a batch took, without the thread of whoever asked, which is the client's."""
    return {"seconds": max(seconds - own_s, 1e-6)}


def median(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The round of the median pace; what came differs from round to round."""
    return sorted(rows, key=lambda row: row["seconds"] / max(1.0, row["step"]))[len(rows) // 2]


def summed(worker: SimulatedEngine | SimulatedScorer) -> dict[str, float]:
    sums = dict.fromkeys(features(Batch()), 0.0)
    while not worker.is_idle:
        begun = worker.begin()
        batch = begun if isinstance(begun, Batch) else begun[0]
        for name, value in features(batch).items():
            sums[name] += value
        worker.end()
    return sums
