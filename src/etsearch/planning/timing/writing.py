"""Batches that a generator writes: so many requests at once, so many continuations of each."""

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from etsearch.errors import ConfigError
from etsearch.generators import Generator
from etsearch.planning.engine import SimulatedEngine
from etsearch.planning.policy import EnginePolicy
from etsearch.planning.requests import CachedTree, Request
from etsearch.planning.timing.batches import MORE_ROUNDS, median, summed, timed, without_own
from etsearch.planning.trace import SearchTrace
from etsearch.tree import NO_PARENT, ROOT
from etsearch.types import Continuation, GenerateRequest

_AT_ONCE: Final = ((1, 1), (1, 4), (4, 1), (1, 16), (4, 4), (16, 1), (1, 64), (8, 8), (32, 2), (4, 32), (64, 2))
_MANY_AT_ONCE: Final = ((256, 1), (16, 16), (4, 128), (128, 4), (32, 32))
"""What many searches ask for together."""
_BATCHES: Final = (
    *((*at_once, *lengths) for at_once in _AT_ONCE for lengths in ((30, 24), (120, 12), (250, 24))),
    *((*at_once, *lengths) for at_once in _MANY_AT_ONCE for lengths in ((60, 12), (200, 12))),
)
"""Requests at once, continuations of each, tokens of its prefix, and the most tokens of a continuation."""
_SOON_S: Final = 0.3
"""Seconds of a batch that is timed more often."""
_FEWEST: Final = 10
"""Batches without which nothing is fitted."""


def requests_of(pool: Sequence[int], batch: tuple[int, int, int, int], chance: random.Random) -> list[GenerateRequest]:
    """Requests with prefixes of any tokens of the pool."""
    num_requests, count, prefix, tokens = batch
    return [
        GenerateRequest(tuple(chance.choices(pool, k=prefix)), count, tokens, (), chance.getrandbits(31))
        for _ in range(num_requests)
    ]


async def write_all(generator: Generator, requests: Sequence[GenerateRequest]) -> list[list[Continuation]]:
    """What comes of requests that are put at once."""
    return list(await asyncio.gather(*map(generator.generate, requests)))


async def time_writing(
    generator: Generator,
    policy: EnginePolicy,
    cache_tokens: int | None,
    pool: Sequence[int],
    chance: random.Random,
    rounds: int,
    most_s: float,
    say: Callable[[str], None],
) -> list[dict[str, float]]:
    """The rows of all batches that the cache holds, see ``Timed``: each with new prefixes, and with known ones.

    Raises:
        ConfigError: too few of them take less than ``most_s`` seconds.
    """
    once: dict[tuple[int, int, int, int], float] = {}
    await write_all(generator, requests_of(pool, (8, 8, 60, 16), chance))  # warm
    batches = [batch for batch in _BATCHES if cache_tokens is None or _most_tokens(policy, batch) <= cache_tokens]
    for batch in sorted(batches, key=lambda batch: (math.prod(batch[:2]) * batch[3], batch)):
        row, _ = await _time_one_writing(generator, policy, pool, batch, chance)  # for what is prepared once
        if row["seconds"] > most_s:
            say(f"writing: {len(batches) - len(once)} larger batches would take more than {most_s:g} s each")
            break
        once[batch] = row["seconds"]
    if len(once) < _FEWEST:
        raise ConfigError(
            f"only {len(once)} batches fit the engine's cache and take less than {most_s:g} s each; give it a larger "
            "cache, or more time for one"
        )
    rounds_of = {batch: rounds * (MORE_ROUNDS if seconds < _SOON_S else 1) for batch, seconds in once.items()}
    order = [batch for batch, count in rounds_of.items() for _ in range(count)]
    chance.shuffle(order)  # a machine's pace changes within seconds: no kind of batch has a bad moment to itself
    rows: dict[tuple[int, int, int, int], list[list[dict[str, float]]]] = {batch: [] for batch in once}
    began = time.perf_counter()
    for batch in order:
        rows[batch].append(await _time_one_writing(generator, policy, pool, batch, chance))
    say(f"writing: {len(order)} batches, each twice, in {time.perf_counter() - began:.0f} s")
    return [median(of_kind) for pairs in rows.values() for of_kind in zip(*pairs, strict=True)]


def _most_tokens(policy: EnginePolicy, batch: tuple[int, int, int, int]) -> int:
    """What the blocks hold that a batch takes: prefixes are shared, and what fills none of their blocks is not."""
    num_requests, count, prefix, tokens = batch
    size = policy.block_tokens
    return num_requests * (prefix // size + count * -(-(prefix % size + tokens + 1) // size)) * size


async def _time_one_writing(
    generator: Generator,
    policy: EnginePolicy,
    pool: Sequence[int],
    batch: tuple[int, int, int, int],
    chance: random.Random,
) -> list[dict[str, float]]:
    """A batch of prefixes that are new, and the same once more, when the engine has read them."""
    requests = requests_of(pool, batch, chance)
    again = [replace(request, seed=chance.getrandbits(31)) for request in requests]
    times = [await timed(write_all(generator, asked)) for asked in (requests, again)]
    lengths = [[[max(1, len(c.token_ids)) for c in of_request] for of_request in written] for *_, written in times]
    steps = _steps(policy, batch[2], lengths)
    return [{**sums, **without_own(*seconds)} for sums, (*seconds, _) in zip(steps, times, strict=True)]


def _steps(policy: EnginePolicy, prefix: int, lengths: Sequence[Sequence[Sequence[int]]]) -> list[dict[str, float]]:
    """What the simulated engine's steps compute for continuations of the same prefixes time after time, summed up."""
    engine, found = SimulatedEngine(policy, 1 << 24), []
    trees = [
        CachedTree.of(_children(prefix, [n for of_request in times for n in of_request]), policy.block_tokens)
        for times in zip(*lengths, strict=True)
    ]
    num_written = [0] * len(trees)
    for of_requests in lengths:
        for place, (tree, tokens) in enumerate(zip(trees, of_requests, strict=True)):
            first = num_written[place] + 1
            engine.submit(Request(tree, ROOT, tuple(tokens), tuple(range(first, first + len(tokens)))))
            num_written[place] += len(tokens)
        found.append(summed(engine))
    return found


def _children(prefix: int, tokens: Sequence[int]) -> SearchTrace:
    """Steps of so many tokens after one prefix."""
    parents, ends = (ROOT,) * len(tokens), (prefix + length for length in tokens)
    return SearchTrace("timed", (NO_PARENT, *parents), (prefix, *tokens), (prefix, *ends), (), 0)
