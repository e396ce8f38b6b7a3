"""The search loop's own thread, in small searches."""

from collections.abc import Sequence
from itertools import product
from typing import Final

from etsearch.generators import Generator
from etsearch.loop.parts import Parts
from etsearch.loop.search import search
from etsearch.loop.settings import Limits, SearchSettings
from etsearch.loop.state import SearchState
from etsearch.planning.engine_table import CLIENT_RATES, rates_of
from etsearch.planning.simulate import Client
from etsearch.planning.timing.batches import timed
from etsearch.planning.trace import SearchTrace
from etsearch.prms import RewardModel
from etsearch.strategies import STRATEGIES
from etsearch.types import Problem

_LOOPS: Final = 2 * tuple(product(("rebase", "beam", "best_of_n"), (4, 16, 64)))
"""Strategies and widths of the searches in which the client is timed."""
_SHORT_LOOP: Final = Limits(max_depth=6)
"""How long those may be."""


async def small_search(
    parts: Parts, problem: Problem, width: int, limits: Limits | None = None, seed: int = 0
) -> SearchState:
    """The state of a search that is over."""
    settings = SearchSettings(width=width, seed=seed, limits=limits or Limits(), early_stop=False)
    return SearchState.of(await search(problem, parts, settings))


async def time_client(generator: Generator, prm: RewardModel, problems: Sequence[Problem]) -> Client:
    """Seconds of its thread that the loop takes in small searches, one at once, what the models' clients take too.

    Beside models at work: between their steps, when nothing of it is in the CPU's caches, it takes about twice as long
    as on models that answer at once.
    """
    rows, seconds = [], []
    for number, (strategy, width) in enumerate(_LOOPS):
        parts = Parts(generator, prm, STRATEGIES.create(strategy))
        _, own_s, state = await timed(
            small_search(parts, problems[number % len(problems)], width, _SHORT_LOOP, 1 + number)
        )
        trace = SearchTrace.of(state, scores_steps=parts.strategy.needs_rewards)
        rows.append(_asked_of(trace))
        seconds.append(max(own_s - trace.select_s * len(trace.depths), 0.1 * own_s))
    return Client(**dict(zip(CLIENT_RATES, rates_of(rows, seconds), strict=True)))


def _asked_of(trace: SearchTrace) -> tuple[int, ...]:
    """What the client deals with in a search, in the order of ``CLIENT_RATES``."""
    requests = [draws for depth in trace.depths for draws in depth]
    num_draws, num_scores = sum(len(r.tokens) for r in requests), sum(len(r.scored) for r in requests)
    return len(requests), num_draws, num_scores, len(trace.depths), 1
