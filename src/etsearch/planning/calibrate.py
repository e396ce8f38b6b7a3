"""What a step costs here: an engine and a reward model timed on single batches, and the loop in small searches.

Any generator and reward model can be timed, through their protocols: so many continuations of so many prefixes at once,
and so many trajectories at once. The same batches are put to the simulated engine, which says what each of its steps
computed; see ``engine_table`` for what is made of them.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from etsearch.errors import ConfigError
from etsearch.generators import Generator
from etsearch.loop.parts import Parts
from etsearch.planning.engine_table import CLIENT_RATES, EngineTable, Timed
from etsearch.planning.policy import EnginePolicy, find_policy
from etsearch.planning.scorer import Reading
from etsearch.planning.timing.client import small_search, time_client
from etsearch.planning.timing.reading import Unread, time_reading
from etsearch.planning.timing.together import slows_down, time_beside_lingering, time_together
from etsearch.planning.timing.writing import time_writing
from etsearch.prms import RewardModel
from etsearch.prms.openvino import LENGTH_STEP, MAX_ROWS, ROW_TOKENS, OpenVinoRewardModel
from etsearch.prms.remote import RemoteRewardModel
from etsearch.strategies import STRATEGIES
from etsearch.types import Identity, Problem

_VLLM_LINGERS_S: Final = 1.0
"""Seconds for which the worker processes of vLLM look for work without sleep, by its source (0.32)."""


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
    written = await time_writing(generator, policy, stats.cache_capacity_tokens, pool, chance, rounds, most_s, say)
    parts = Parts(generator, prm, STRATEGIES.create("rebase"))
    states = [await small_search(parts, problem, 32) for problem in problems[:8]]  # steps for the reward model to read
    reading = _reading_of(prm)
    unread = Unread(states)
    read = await time_reading(prm, reading, unread, chance, rounds, say)
    client = await time_client(generator, prm, problems)
    each = ", ".join(f"{1e6 * getattr(client, name):.0f} µs a {name.removesuffix('_s')}" for name in CLIENT_RATES)
    say(f"client: {each}")
    together = await time_together(generator, prm, pool, unread, chance)
    shares = await slows_down(generator, pool, chance)
    slows = "slows" if shares else "does not slow"
    say(f"together: each at {together:.2f} of its pace; a busy client {slows} the engine")
    lingers = _lingers_s(generator.identity), _lingers_s(prm.identity)
    beside = await time_beside_lingering(generator, prm, lingers, pool, unread, chance)
    say(f"an engine that has just become idle leaves the other {beside:.2f} of its pace")
    of = Timed.of(written), Timed.of(read)
    cache = stats.cache_capacity_tokens
    return EngineTable(engine, policy, *of, client, reading, together, shares, *lingers, beside, about or {}, cache)


def _reading_of(prm: RewardModel) -> Reading:
    """How a reward model reads."""
    if isinstance(prm, OpenVinoRewardModel):
        return Reading("packed", MAX_ROWS * ROW_TOKENS, ROW_TOKENS, LENGTH_STEP)
    is_cached = isinstance(prm, RemoteRewardModel) and prm.route.is_cached
    return Reading("cache" if is_cached else "none")


def _lingers_s(identity: Identity) -> float:
    return _VLLM_LINGERS_S if (identity.engine or "").lower().startswith("vllm") else 0.0
