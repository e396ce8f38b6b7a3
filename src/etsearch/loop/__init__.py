"""The search: expand, score, select, vote. One room with one face, ``run_search``."""

from etsearch.embedders import Embedder
from etsearch.generators import Generator
from etsearch.loop.events import Listener
from etsearch.loop.parts import Parts
from etsearch.loop.result import SearchResult
from etsearch.loop.search import search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.loop.watch import EngineWatch
from etsearch.prms import RewardModel
from etsearch.sharing import Share
from etsearch.strategies import Strategy
from etsearch.types import Problem

__all__ = ["Parts", "run_search"]


async def run_search(
    problem: Problem,
    *,
    generator: Generator,
    reward_model: RewardModel | None,
    strategy: Strategy,
    settings: SearchSettings,
    embedder: Embedder | None = None,
    on_event: Listener | None = None,
    resume: SearchState | None = None,
    watch: EngineWatch | None = None,
    share: Share | None = None,
) -> SearchResult:
    """Searches for the answer to one problem.

    Args:
        problem: the question, and what was said before it; its reference answer is not looked at.
        generator: writes the steps.
        reward_model: scores them; may be None for a strategy that needs no rewards under a majority vote.
        strategy: chooses the branches.
        settings: width, seed, limits and the like.
        embedder: embeds last steps for a strategy that compares them.
        on_event: called with every event, in the loop's own thread; it must return at once.
        resume: a state of this very search, as ``Selected`` gave it, to go on from; it is changed in place.
        watch: what watches the engine, where several searches run on it; by default one of this search's own.
        share: the search's place among those that share the engine's KV cache, such as ``Market.share()``.

    Raises:
        EmbedderError: steps cannot be placed, which the strategy needs.
        UnavailableError: a server stayed away; the error's ``state`` is what can be resumed.
        ConfigError: an empty question, messages before it for a generator that reads one question alone, a part that
            the strategy needs and that is missing, a state to resume whose prompt is another.
    """
    parts = Parts(generator, reward_model, strategy, embedder)
    return await search(problem, parts, settings, on_event=on_event, resume=resume, watch=watch, share=share)
