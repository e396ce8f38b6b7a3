"""The two doors of the library: ``search`` (async) and ``solve`` (sync). Parts may be given by name."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Concatenate, ParamSpec, TypeVar

from anyio.from_thread import start_blocking_portal

from etsearch.embedders import EMBEDDERS, Embedder
from etsearch.generators import GENERATORS, Generator
from etsearch.loop import Parts
from etsearch.loop.events import Listener
from etsearch.loop.result import SearchResult
from etsearch.loop.search import search as search_with
from etsearch.loop.settings import SearchSettings
from etsearch.prms import REWARD_MODELS, RewardModel
from etsearch.sharing import Share
from etsearch.strategies import STRATEGIES, Strategy
from etsearch.types import Problem

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Options(SearchSettings):
    """What ``search`` and ``solve`` take beside the problem: the parts, and every setting of a search.

    Attributes:
        generator: writes the steps; an object or a specification such as ``openvino:PATH``.
        prm: the process reward model, likewise; None only for best-of-N under a majority vote.
        strategy: chooses the branches; an object or a specification such as ``beam(keep=4)`` or ``./mine.py:Mine``.
        embedder: embeds last steps for a strategy that clusters them; an object or a specification.
        on_event: called with every event of the search.
        share: its place among the searches that share the generator's KV cache: ``Market.share()`` of
            ``etsearch.sharing``.
    """

    _: KW_ONLY
    generator: Generator | str = "minimath"
    prm: RewardModel | str | None = "minimath"
    strategy: Strategy | str = "ets"
    embedder: Embedder | str = "lexical"
    on_event: Listener | None = None
    share: Share | None = None

    @property
    def settings(self) -> SearchSettings:
        """The settings alone."""
        return SearchSettings(**{f.name: getattr(self, f.name) for f in fields(SearchSettings)})


def _takes(
    options: Callable[P, Options],
) -> Callable[[Callable[[Problem | str, Options], R]], Callable[Concatenate[Problem | str, P], R]]:
    """Gives a door the options as its own arguments, for an editor and a type checker too."""

    def decorate(door: Callable[[Problem | str, Options], R]) -> Callable[Concatenate[Problem | str, P], R]:
        @functools.wraps(door)
        def call(problem: Problem | str, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return door(problem, options(*args, **kwargs))

        own, theirs = inspect.signature(door), inspect.signature(options)
        problem = own.parameters["problem"]
        call.__signature__ = own.replace(parameters=[problem, *theirs.parameters.values()])  # type: ignore[attr-defined]
        return call

    return decorate


@_takes(Options)
def search(problem: Problem | str, options: Options) -> Coroutine[Any, Any, SearchResult]:
    """Searches for the answer to one problem.

    Args:
        problem: the question, or a Problem.
        options: as arguments of their own: the parts (see ``Options``) and the settings (see ``SearchSettings``).

    Parts given by name are made for this search and closed after it; objects stay open.

    Raises:
        ConfigError: a name, value or text that cannot be used.
        MissingDependencyError: a part whose extra is not installed.
    """
    return _search(problem, options)


async def _search(problem: Problem | str, options: Options) -> SearchResult:
    settings = options.settings
    async with open_parts(options.generator, options.prm, options.strategy, options.embedder) as parts:
        asked = problem if isinstance(problem, Problem) else Problem(problem)
        return await search_with(asked, parts, settings, on_event=options.on_event, share=options.share)


@_takes(Options)
def solve(problem: Problem | str, options: Options) -> SearchResult:
    """``search`` for callers without ``await``; the same arguments.

    Where an event loop already runs, as in a notebook, the search has one of its own in another thread, and the caller
    waits for it; ``await etsearch.search(…)`` does not make it wait.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_search(problem, options))
    with start_blocking_portal() as portal:
        return portal.call(_search, problem, options)


@asynccontextmanager
async def open_parts(
    generator: Generator | str, prm: RewardModel | str | None, strategy: Strategy | str, embedder: Embedder | str
) -> AsyncIterator[Parts]:
    """Makes the parts that are given by name, and closes those at the end; objects stay open."""
    async with AsyncExitStack() as stack:
        strategy = STRATEGIES.create(strategy) if isinstance(strategy, str) else strategy
        if isinstance(generator, str):
            generator = GENERATORS.create(generator)
            stack.push_async_callback(generator.aclose)
        if isinstance(prm, str):
            prm = REWARD_MODELS.create(prm)
            stack.push_async_callback(prm.aclose)
        if isinstance(embedder, str):
            embedder = EMBEDDERS.create(embedder)
            stack.push_async_callback(embedder.aclose)
        yield Parts(generator, prm, strategy, embedder)
