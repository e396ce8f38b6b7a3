"""How an engine, a reward model and the loop are in each other's way."""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final

from etsearch.generators import Generator
from etsearch.planning.timing.batches import timed
from etsearch.planning.timing.reading import Unread, read_all
from etsearch.planning.timing.writing import requests_of, write_all
from etsearch.prms import RewardModel
from etsearch.types import Trajectory

_LINGERINGS: Final = 8
_SHORT: Final = (8, 8, 60, 4)
_SHORT_READ: Final = 32
"""What takes less than that, alone."""
_NO_TIME_S: Final = 0.005
"""A reward model that reads 64 trajectories in less is in nobody's way; engine and client take turns then."""
_MOST_TIMES: Final = 20
"""How often the same is done in a row."""
_SLOWED: Final = 1.15
"""Times as long as alone: less is noise."""


async def time_together(
    generator: Generator,
    prm: RewardModel,
    pool: Sequence[int],
    unread: Unread,
    chance: random.Random,
) -> float:
    """The pace of each of the two while both are at work."""
    places = unread.any(64, chance)

    def to_read(times: int) -> list[list[Trajectory]]:
        return [unread.give(places, chance) for _ in range(times)]

    def write(times: int) -> Awaitable[None]:
        return _write_often(generator, pool, chance, times)

    async def read(batches: list[list[Trajectory]]) -> None:
        for trajectories in batches:
            await read_all(prm, trajectories)

    async def both(writes: int, batches: list[list[Trajectory]]) -> None:
        await asyncio.gather(write(writes), read(batches))

    once_written, once_read = (await timed(write(1)))[0], (await timed(read(to_read(1))))[0]
    if once_read < _NO_TIME_S:
        return 0.5
    writes, reads = (min(_MOST_TIMES, max(1, round(1.0 / once))) for once in (once_written, once_read))
    found = []
    for _ in range(5):
        alone = (await timed(write(writes)))[0] + (await timed(read(to_read(reads))))[0]
        found.append(alone / (2 * (await timed(both(writes, to_read(reads))))[0]))
    return _pace(found)


def _pace(found: Sequence[float]) -> float:
    """What ``Machine`` takes of them."""
    return min(1.0, max(0.1, statistics.median(found)))


async def time_beside_lingering(
    generator: Generator,
    prm: RewardModel,
    lingers: tuple[float, float],
    pool: Sequence[int],
    unread: Unread,
    chance: random.Random,
) -> float:
    """The pace of the engine while the reward model looks for work; the other way round if only the engine does so."""
    longest = max(lingers)
    if not longest:
        return 1.0

    async def write(batch: tuple[int, int, int, int]) -> float:
        return (await timed(write_all(generator, requests_of(pool, batch, chance))))[0]

    async def read(count: int) -> float:
        return (await timed(read_all(prm, unread.give(unread.any(count, chance), chance))))[0]

    if lingers[1]:
        slowed, wakes = partial(write, _SHORT), partial(read, 4)
    else:
        slowed, wakes = partial(read, _SHORT_READ), partial(write, (1, 1, 60, 2))
    paces = []
    for _ in range(_LINGERINGS):
        await asyncio.sleep(1.5 * longest)
        alone = await slowed()
        await asyncio.sleep(1.5 * longest)
        await wakes()
        beside = await slowed()
        # What is left when the other falls asleep goes on at its pace alone.
        paces.append(alone / beside if beside < longest else 1 - (beside - alone) / longest)
    return _pace(paces)


async def _write_often(generator: Generator, pool: Sequence[int], chance: random.Random, times: int) -> None:
    for _ in range(times):
        await write_all(generator, requests_of(pool, (8, 8, 120, 16), chance))


async def slows_down(generator: Generator, pool: Sequence[int], chance: random.Random) -> bool:
    """Whether a busy client slows the engine, as where they share a CPU."""
    paces = []
    for _ in range(3):
        alone = (await timed(_write_often(generator, pool, chance, 3)))[0]
        began, task = time.perf_counter(), asyncio.ensure_future(_write_often(generator, pool, chance, 3))
        while not task.done():
            sum(range(2000))
            await asyncio.sleep(0)
        await task
        paces.append((time.perf_counter() - began) / alone)
    return statistics.median(paces) > _SLOWED
