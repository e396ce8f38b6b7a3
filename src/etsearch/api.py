"""The two doors of the library: ``search`` (async) and ``solve`` (sync). Parts may be given by name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from etsearch.answers import DEFAULT_PATTERNS, Aggregation, Pattern
from etsearch.embedders import EMBEDDERS, Embedder
from etsearch.errors import ConfigError
from etsearch.generators import GENERATORS, Generator
from etsearch.loop import run_search
from etsearch.loop.events import Listener
from etsearch.loop.result import SearchResult
from etsearch.loop.settings import Limits, SearchSettings
from etsearch.prms import REWARD_MODELS, RewardModel
from etsearch.strategies import STRATEGIES, Strategy
from etsearch.types import Problem, Sampling


async def search(
    problem: Problem | str,
    *,
    generator: Generator | str = "minimath",
    prm: RewardModel | str | None = "minimath",
    strategy: Strategy | str = "ets",
    width: int = 16,
    embedder: Embedder | str = "lexical",
    seed: int = 0,
    aggregation: Aggregation | str = Aggregation.LAST,
    cluster_threshold: float = 0.05,
    sampling: Sampling | None = None,
    limits: Limits | None = None,
    patterns: tuple[Pattern, ...] = DEFAULT_PATTERNS,
    cut_votes: bool = True,
    merge: bool = True,
    early_stop: bool = True,
    speculate: bool = False,
    on_event: Listener | None = None,
) -> SearchResult:
    """Searches for the answer to one problem.

    Args:
        problem: the question, or a Problem.
        generator: writes the steps; an object or a specification such as ``openvino:PATH``.
        prm: the process reward model, likewise; None only for best-of-N under a majority vote.
        strategy: chooses the branches; an object or a specification such as ``beam(keep=4)``.
        width: ``N``, continuations sampled at each depth, at least 1.
        embedder: embeds last steps for a strategy that clusters them.
        seed: of all randomness of this search.
        aggregation: weight of a trajectory's vote from its rewards: last, min, prod, mean, or majority (1 each).
        cluster_threshold: cosine distance at which clusters are cut, in (0, 2].
        sampling: how the generator samples; temperature 1 by default.
        limits: depth and token limits.
        patterns: how answers are stated.
        cut_votes: whether a trajectory that a limit cut votes, if it states an answer.
        merge: whether draws of one step are one step to the engine and the reward model.
        early_stop: whether to stop as soon as no vote that may still come can change the answer.
        speculate: whether idle places in the engine's batch write ahead; see ``SearchSettings`` for all three.
        on_event: called with every event of the search.

    Parts given by name are made for this search and closed after it; objects stay open.

    Raises:
        ConfigError: a name, value or text that cannot be used.
        MissingDependencyError: a part whose extra is not installed.
    """
    settings = SearchSettings(
        width=width,
        seed=seed,
        aggregation=aggregation_named(aggregation),
        cluster_threshold=cluster_threshold,
        sampling=sampling or Sampling(),
        limits=limits or Limits(),
        patterns=patterns,
        cut_votes=cut_votes,
        merge=merge,
        early_stop=early_stop,
        speculate=speculate,
    )
    chosen = STRATEGIES.create(strategy) if isinstance(strategy, str) else strategy
    async with opened(generator, prm, embedder) as (writer, judge, placer):
        return await run_search(
            problem if isinstance(problem, Problem) else Problem(problem),
            generator=writer,
            reward_model=judge,
            strategy=chosen,
            settings=settings,
            embedder=placer,
            on_event=on_event,
        )


def solve(problem: Problem | str, **settings: Any) -> SearchResult:
    """``search`` for callers without an event loop; the same arguments."""
    return asyncio.run(search(problem, **settings))


def aggregation_named(name: str) -> Aggregation:
    """The aggregation of this name. Raises ConfigError, which lists them."""
    try:
        return Aggregation(name)
    except ValueError:
        raise ConfigError(f"there is no aggregation {str(name)!r}; choose one of {', '.join(Aggregation)}") from None


@asynccontextmanager
async def opened(
    generator: Generator | str, prm: RewardModel | str | None, embedder: Embedder | str
) -> AsyncIterator[tuple[Generator, RewardModel | None, Embedder]]:
    """Makes the parts that are given by name, and closes those at the end."""
    async with AsyncExitStack() as stack:
        if isinstance(generator, str):
            generator = GENERATORS.create(generator)
            stack.push_async_callback(generator.aclose)
        if isinstance(prm, str):
            prm = REWARD_MODELS.create(prm)
            stack.push_async_callback(prm.aclose)
        if isinstance(embedder, str):
            embedder = EMBEDDERS.create(embedder)
            stack.push_async_callback(embedder.aclose)
        yield generator, prm, embedder
