"""What a step costs here: an engine and a reward model timed on single batches, never on searches.

Any generator and reward model can be timed, through their protocols: so many continuations of so many prefixes at once,
and so many trajectories at once. The same batches are put to the simulated engine, which says what each of its steps
computed; see ``engine_table`` for what is made of them.
"""

import asyncio
import math
import random
import statistics
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any, Final, TypeVar

from etsearch.errors import ConfigError
from etsearch.generators import Generator
from etsearch.loop.parts import Parts
from etsearch.loop.search import search
from etsearch.loop.settings import Limits, SearchSettings
from etsearch.loop.state import SearchState
from etsearch.planning.cost import Batch, features
from etsearch.planning.engine import CachedTree, Request, SimulatedEngine
from etsearch.planning.engine_table import CLIENT_RATES, EngineTable, Timed, rates_of
from etsearch.planning.policy import EnginePolicy, find_policy
from etsearch.planning.scorer import Reading, Score, SimulatedScorer
from etsearch.planning.simulate import Client
from etsearch.planning.trace import SearchTrace
from etsearch.prms import RewardModel
from etsearch.prms.openvino import LENGTH_STEP, MAX_ROWS, ROW_TOKENS, OpenVinoRewardModel
from etsearch.prms.remote import RemoteRewardModel
from etsearch.strategies import STRATEGIES
from etsearch.tree import NO_PARENT, ROOT
from etsearch.types import Continuation, GenerateRequest, Identity, Problem, Scores, Step, Trajectory

_R = TypeVar("_R")
_VLLM_LINGERS_S: Final = 1.0
"""Seconds for which the worker processes of vLLM look for work without sleep, by its source (0.32)."""
_LINGERINGS: Final = 8
_SHORT: Final = (8, 8, 60, 4)
_SHORT_READ: Final = 32
"""What takes less than that, alone."""
_AT_ONCE: Final = ((1, 1), (1, 4), (4, 1), (1, 16), (4, 4), (16, 1), (1, 64), (8, 8), (32, 2), (4, 32), (64, 2))
_MANY_AT_ONCE: Final = ((256, 1), (16, 16), (4, 128), (128, 4), (32, 32))
"""What many searches ask for together."""
_BATCHES: Final = (
    *((*at_once, *lengths) for at_once in _AT_ONCE for lengths in ((30, 24), (120, 12), (250, 24))),
    *((*at_once, *lengths) for at_once in _MANY_AT_ONCE for lengths in ((60, 12), (200, 12))),
)
"""Requests at once, continuations of each, tokens of its prefix, and the most tokens of a continuation."""
_SOON_S: Final = 0.3
_SOON_READ_S: Final = 10.0
_MORE_ROUNDS: Final = 3
"""Times as often is timed what takes less than that: a batch that is written, and all that are read."""
_FEWEST: Final = 10
"""Batches without which nothing is fitted."""
_NO_TIME_S: Final = 0.005
"""A reward model that reads 64 trajectories in less is in nobody's way; engine and client take turns then."""
_MOST_TIMES: Final = 20
"""How often the same is done in a row."""
_TRIES: Final = 64
"""Ways of each kind in which something is sought that was not read."""
_MOST_MORE: Final = 8
"""Steps that take the place of a last one at most."""
_LOOPS: Final = 2 * tuple(product(("rebase", "beam", "best_of_n"), (4, 16, 64)))
"""Strategies and widths of the searches in which the client is timed."""
_SHORT_LOOP: Final = Limits(max_depth=6)
"""How long those may be."""
_READ_AT_ONCE: Final = (1, 2, 4, 8, 16, 32, 64, 96, 192, 384)


async def time_engine(
    generator: Generator,
    prm: RewardModel,
    problems: Sequence[Problem],
    *,
    engine: str,
    policy: EnginePolicy | None = None,
    rounds: int = 3,
    most_s: float = 10.0,
    about: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> EngineTable:
    """Times both, some minutes.

    Args:
        generator: writes.
        prm: scores.
        problems: questions that both can read, ten or so.
        engine: whose scheduling it is, see ``find_policy``.
        policy: how its server was started, where it schedules otherwise than ``find_policy`` says; how many tokens a
            block of its cache has is asked of the engine itself.
        rounds: how often each batch is timed, small ones three times as often; the median counts.
        most_s: seconds of a batch at most; where one takes longer, larger ones are left out.
        about: what is said of it in the table.
        say: told what is done.

    Raises:
        ConfigError: no such engine, no problem.
    """
    if not problems:
        raise ConfigError("there is no problem to time the models with; give some that they can read")
    policy = policy or find_policy(engine)
    stats = await generator.stats()
    if stats.block_tokens is not None:
        policy = replace(policy, block_tokens=stats.block_tokens)
    say(
        f"the engine: blocks of {policy.block_tokens} tokens, at most {policy.max_sequences:,} sequences and "
        f"{policy.step_tokens:,} tokens a step"
    )
    pool = [i for problem in problems for i in await generator.encode_prompt(problem.question)]
    chance = random.Random(0)
    written = await _time_writing(generator, policy, stats.cache_capacity_tokens, pool, chance, rounds, most_s, say)
    parts = Parts(generator, prm, STRATEGIES.create("rebase"))
    states = [await _small_search(parts, problem, 32) for problem in problems[:8]]  # steps for the reward model to read
    reading = _reading_of(prm)
    unread = _Unread(states)
    read = await _time_reading(prm, reading, states, unread, chance, rounds, say)
    client = await _time_client(generator, prm, problems)
    each = ", ".join(f"{1e6 * getattr(client, name):.0f} µs a {name.removesuffix('_s')}" for name in CLIENT_RATES)
    say(f"client: {each}")
    together = await _time_together(generator, prm, pool, states, unread, chance)
    shares = await _slows_down(generator, pool, chance)
    slows = "slows" if shares else "does not slow"
    say(f"together: each at {together:.2f} of its pace; a busy client {slows} the engine")
    lingers = _lingers_s(generator.identity), _lingers_s(prm.identity)
    beside = await _time_beside_lingering(generator, prm, lingers, pool, unread, chance)
    say(f"an engine that has just become idle leaves the other {beside:.2f} of its pace")
    of = Timed.of(written), Timed.of(read)
    return EngineTable(engine, policy, *of, client, reading, together, shares, *lingers, beside, about or {})


def _reading_of(prm: RewardModel) -> Reading:
    """How a reward model reads."""
    if isinstance(prm, OpenVinoRewardModel):
        return Reading("packed", MAX_ROWS * ROW_TOKENS, ROW_TOKENS, LENGTH_STEP)
    is_cached = isinstance(prm, RemoteRewardModel) and prm.route.is_cached
    return Reading("cache" if is_cached else "none")


def _lingers_s(identity: Identity) -> float:
    return _VLLM_LINGERS_S if (identity.engine or "").lower().startswith("vllm") else 0.0


def _requests(pool: Sequence[int], batch: tuple[int, int, int, int], chance: random.Random) -> list[GenerateRequest]:
    num_requests, count, prefix, tokens = batch
    return [
        GenerateRequest(tuple(chance.choices(pool, k=prefix)), count, tokens, (), chance.getrandbits(31))
        for _ in range(num_requests)
    ]


async def _timed(work: Awaitable[_R]) -> tuple[float, float, _R]:
    """Seconds that passed, those of them that this thread was at work, and what came of it."""
    began, own = time.perf_counter(), time.thread_time()
    found = await work
    return time.perf_counter() - began, time.thread_time() - own, found


async def _write(generator: Generator, requests: Sequence[GenerateRequest]) -> list[list[Continuation]]:
    return list(await asyncio.gather(*map(generator.generate, requests)))


async def _time_writing(
    generator: Generator,
    policy: EnginePolicy,
    cache_tokens: int | None,
    pool: Sequence[int],
    chance: random.Random,
    rounds: int,
    most_s: float,
    say: Callable[[str], None],
) -> list[dict[str, float]]:
    once: dict[tuple[int, int, int, int], float] = {}
    await _write(generator, _requests(pool, (8, 8, 60, 16), chance))  # warm
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
    rounds_of = {batch: rounds * (_MORE_ROUNDS if seconds < _SOON_S else 1) for batch, seconds in once.items()}
    order = [batch for batch, count in rounds_of.items() for _ in range(count)]
    chance.shuffle(order)  # a machine's pace changes within seconds: no kind of batch has a bad moment to itself
    rows: dict[tuple[int, int, int, int], list[list[dict[str, float]]]] = {batch: [] for batch in once}
    began = time.perf_counter()
    for batch in order:
        rows[batch].append(await _time_one_writing(generator, policy, pool, batch, chance))
    say(f"writing: {len(order)} batches, each twice, in {time.perf_counter() - began:.0f} s")
    return [_median(of_kind) for pairs in rows.values() for of_kind in zip(*pairs, strict=True)]


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
    requests = _requests(pool, batch, chance)
    again = [replace(request, seed=chance.getrandbits(31)) for request in requests]
    timed = [await _timed(_write(generator, asked)) for asked in (requests, again)]
    lengths = [[[max(1, len(c.token_ids)) for c in of_request] for of_request in written] for *_, written in timed]
    steps = _steps(policy, batch[2], lengths)
    return [{**sums, **_without_own(*seconds)} for sums, (*seconds, _) in zip(steps, timed, strict=True)]


def _without_own(seconds: float, own_s: float) -> dict[str, float]:
    """What a batch took, without the thread of whoever asked, which is the client's."""
    return {"seconds": max(seconds - own_s, 1e-6)}


def _median(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The round of the median pace; what came differs from round to round."""
    return sorted(rows, key=lambda row: row["seconds"] / max(1.0, row["step"]))[len(rows) // 2]


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
        found.append(_summed(engine))
    return found


def _children(prefix: int, tokens: Sequence[int]) -> SearchTrace:
    """Steps of so many tokens after one prefix."""
    parents, ends = (ROOT,) * len(tokens), (prefix + length for length in tokens)
    return SearchTrace("timed", (NO_PARENT, *parents), (prefix, *tokens), (prefix, *ends), (), 0)


def _summed(worker: SimulatedEngine | SimulatedScorer) -> dict[str, float]:
    sums = dict.fromkeys(features(Batch()), 0.0)
    while not worker.is_idle:
        begun = worker.begin()
        batch = begun if isinstance(begun, Batch) else begun[0]
        for name, value in features(batch).items():
            sums[name] += value
        worker.end()
    return sums


async def _small_search(parts: Parts, problem: Problem, width: int, limits: Limits | None = None) -> SearchState:
    settings = SearchSettings(width=width, limits=limits or Limits(), early_stop=False)
    return SearchState.of(await search(problem, parts, settings))


class _Unread:
    """Trajectories that no reward model has read: a reward that was given is kept, and costs nothing again.

    Each is that of a step of a tree with another last step of as many tokens, or nearly; where all of those were read,
    with other steps above it too, and in the end with more than one in the last one's place.
    """

    def __init__(self, states: Sequence[SearchState]) -> None:
        self._states = states
        places = self._places = [(s, node) for s, state in enumerate(states) for node in _originals(state)]
        last = {}
        for s, node in places:
            step = states[s].tree.trajectory(node).steps[-1]
            last[step.text] = (int(states[s].tree.tokens[node]), step)
        pool = sorted(last.values(), key=lambda pair: pair[0])
        self._tokens, self._pool = [tokens for tokens, _ in pool], [step for _, step in pool]
        self._given: set[tuple[str, ...]] = set()
        for s, node in places:
            trajectory = states[s].tree.trajectory(node)
            self._given.add((trajectory.question, *(step.text for step in trajectory.steps)))

    def any(self, count: int, chance: random.Random) -> list[tuple[int, int]]:
        """Places to ask for."""
        return chance.sample(self._places, count)

    def give(self, asked: Sequence[tuple[int, int]], chance: random.Random) -> list[Trajectory]:
        """As many as these, each the number of its state and of its node."""
        return [self._one(*place, chance) for place in asked]

    def _one(self, s: int, node: int, chance: random.Random) -> Trajectory:
        tree = self._states[s].tree
        question, path = tree.question, tree.path(node)
        steps = tree.trajectory(node).steps
        lengths = [int(tree.tokens[step]) for step in path]
        for number in range(_TRIES * (len(steps) + _MOST_MORE)):
            swapped, spread = min(len(steps), 1 + number // _TRIES), number % _TRIES
            new = [*steps[:-swapped], *(self._like(length, spread, chance) for length in lengths[-swapped:])]
            for _ in range(number // _TRIES - len(steps) + 1):
                more = self._like(0, spread, chance)
                new[-1] = replace(new[-1], text=new[-1].text + more.text, token_ids=new[-1].token_ids + more.token_ids)
            key = (question, *(step.text for step in new))
            if key not in self._given:
                self._given.add(key)
                return Trajectory(question, tuple(new))
        raise ConfigError(
            "the trees are too small to time the reward model on; give more problems, or ones that take more steps"
        )

    def _like(self, tokens: int, spread: int, chance: random.Random) -> Step:
        """Any step of so many tokens, or of a few that are next to them."""
        left, right = bisect_left(self._tokens, tokens), bisect_right(self._tokens, tokens)
        return chance.choice(self._pool[max(0, left - spread) : right + spread + (left == right)] or self._pool[-1:])


async def _time_reading(
    prm: RewardModel,
    reading: Reading,
    states: Sequence[SearchState],
    unread: _Unread,
    chance: random.Random,
    rounds: int,
    say: Callable[[str], None],
) -> list[dict[str, float]]:
    async def all_of_them() -> list[dict[str, float]]:
        rows = []
        for count, spread in product(_READ_AT_ONCE, (False, True)):
            asked = _to_read(states, count, chance, spread=spread)
            rows.append(await _time_one_reading(prm, reading, states, unread.give(asked, chance), asked))
        return rows

    seconds = sum(row["seconds"] for row in await all_of_them())  # for what is prepared once
    each = [await all_of_them() for _ in range(rounds * (_MORE_ROUNDS if seconds < _SOON_READ_S else 1))]
    say(f"reading: {len(each)} rounds of {len(each[0])} batches, {seconds:.1f} s each")
    return [_median(of_kind) for of_kind in zip(*each, strict=True)]


async def _time_one_reading(
    prm: RewardModel,
    reading: Reading,
    states: Sequence[SearchState],
    trajectories: Sequence[Trajectory],
    asked: Sequence[tuple[int, int]],
) -> dict[str, float]:
    """Trajectories as long as those of these steps, each the number of its state and of its node."""
    seconds, own_s, _ = await _timed(_read(prm, trajectories))
    scorer, traces = SimulatedScorer(reading), {s: SearchTrace.of(states[s]) for s, _ in asked}
    for s, node in asked:
        scorer.submit(Score(traces[s], node, None))
    return {**_summed(scorer), **_without_own(seconds, own_s)}


def _to_read(
    states: Sequence[SearchState], count: int, chance: random.Random, *, spread: bool
) -> list[tuple[int, int]]:
    """Steps of one depth of one tree, or any of all trees."""
    if spread:
        places = [(s, node) for s, state in enumerate(states) for node in _originals(state)]
        return chance.sample(places, min(count, len(places)))
    s = chance.randrange(len(states))
    depth = states[s].tree.depth
    own = _originals(states[s])
    deep = chance.choice(sorted({int(depth[node]) for node in own}))
    nodes = sorted(own, key=lambda node: abs(int(depth[node]) - deep))[:count]
    return [(s, node) for node in nodes]


def _originals(state: SearchState) -> list[int]:
    return [node for node in range(1, len(state.tree)) if state.tree.original(node) == node]


async def _read(prm: RewardModel, trajectories: Sequence[Trajectory]) -> list[Scores]:
    jobs = (prm.score(trajectory, len(trajectory.steps) - 1) for trajectory in trajectories)
    return list(await asyncio.gather(*jobs))


async def _time_client(generator: Generator, prm: RewardModel, problems: Sequence[Problem]) -> Client:
    """Seconds of its thread that the loop takes in small searches, one at once, what the models' clients take too.

    Beside models at work: between their steps, when nothing of it is in the CPU's caches, it takes about twice as long
    as on models that answer at once.
    """
    rows, seconds = [], []
    for number, (strategy, width) in enumerate(_LOOPS):
        parts = Parts(generator, prm, STRATEGIES.create(strategy))
        _, own_s, state = await _timed(_small_search(parts, problems[number % len(problems)], width, _SHORT_LOOP))
        trace = SearchTrace.of(state, scores_steps=parts.strategy.needs_rewards)
        rows.append(_asked_of(trace))
        seconds.append(max(own_s - trace.select_s * len(trace.depths), 1e-6))
    return Client(**dict(zip(CLIENT_RATES, rates_of(rows, seconds), strict=True)))


def _asked_of(trace: SearchTrace) -> tuple[int, ...]:
    """What the client deals with in a search, in the order of ``CLIENT_RATES``."""
    requests = [draws for depth in trace.depths for draws in depth]
    num_draws, num_scores = sum(len(r.tokens) for r in requests), sum(len(r.scored) for r in requests)
    return len(requests), num_draws, num_scores, len(trace.depths), 1


async def _time_together(
    generator: Generator,
    prm: RewardModel,
    pool: Sequence[int],
    states: Sequence[SearchState],
    unread: _Unread,
    chance: random.Random,
) -> float:
    """The pace of each of the two while both are at work."""
    places = _to_read(states, 64, chance, spread=True)

    def to_read(times: int) -> list[list[Trajectory]]:
        return [unread.give(places, chance) for _ in range(times)]

    def write(times: int) -> Awaitable[None]:
        return _write_often(generator, pool, chance, times)

    async def read(batches: list[list[Trajectory]]) -> None:
        for trajectories in batches:
            await _read(prm, trajectories)

    async def both(writes: int, batches: list[list[Trajectory]]) -> None:
        await asyncio.gather(write(writes), read(batches))

    once_written, once_read = (await _timed(write(1)))[0], (await _timed(read(to_read(1))))[0]
    if once_read < _NO_TIME_S:
        return 0.5
    writes, reads = (min(_MOST_TIMES, max(1, round(1.0 / once))) for once in (once_written, once_read))
    found = []
    for _ in range(5):
        alone = (await _timed(write(writes)))[0] + (await _timed(read(to_read(reads))))[0]
        found.append(alone / (2 * (await _timed(both(writes, to_read(reads))))[0]))
    return _pace(found)


def _pace(found: Sequence[float]) -> float:
    """What ``Machine`` takes of them."""
    return min(1.0, max(0.1, statistics.median(found)))


async def _time_beside_lingering(
    generator: Generator,
    prm: RewardModel,
    lingers: tuple[float, float],
    pool: Sequence[int],
    unread: _Unread,
    chance: random.Random,
) -> float:
    """The pace of the engine while the reward model looks for work; the other way round if only the engine does so."""
    longest = max(lingers)
    if not longest:
        return 1.0

    async def write(batch: tuple[int, int, int, int]) -> float:
        return (await _timed(_write(generator, _requests(pool, batch, chance))))[0]

    async def read(count: int) -> float:
        return (await _timed(_read(prm, unread.give(unread.any(count, chance), chance))))[0]

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
        await _write(generator, _requests(pool, (8, 8, 120, 16), chance))


async def _slows_down(generator: Generator, pool: Sequence[int], chance: random.Random) -> bool:
    """Whether a busy client slows the engine, as where they share a CPU."""
    paces = []
    for _ in range(3):
        alone = (await _timed(_write_often(generator, pool, chance, 3)))[0]
        began, task = time.perf_counter(), asyncio.ensure_future(_write_often(generator, pool, chance, 3))
        while not task.done():
            sum(range(2000))
            await asyncio.sleep(0)
        await task
        paces.append((time.perf_counter() - began) / alone)
    return statistics.median(paces) > _SLOWED


_SLOWED: Final = 1.15
"""Times as long as alone: less is noise."""
