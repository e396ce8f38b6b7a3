"""What every strategy must do; see ``etsearch.strategies.Strategy``."""

import asyncio
import random
from collections.abc import Iterator

import numpy as np

from etsearch.embedders import LexicalEmbedder
from etsearch.generators import GENERATORS
from etsearch.loop import Parts
from etsearch.loop.events import Event, Selected
from etsearch.loop.result import SearchResult
from etsearch.loop.search import search
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.prms import REWARD_MODELS
from etsearch.strategies import Frontier, Strategy
from etsearch.strategies.base import completes_at_most_width, reaches_back
from etsearch.testing.case import CASE
from etsearch.tree import ROOT, SearchTree
from etsearch.types import Continuation, FinishReason

NUM_FRONTIERS = 24


def frontiers(strategy: Strategy) -> Iterator[tuple[Frontier, int]]:
    """Frontiers of many kinds, each with what is left of its width; always the same ones.

    They hold the last steps of a tree; for a strategy that reaches back all but some that have ended.
    """
    for number in range(NUM_FRONTIERS):
        rng = random.Random(number)
        tree, level = SearchTree("q", [1, 2, 3], merges=number % 2 == 0), [ROOT]
        for _ in range(rng.randint(1, 4)):
            children = rng.randint(1, 4)
            level = [_grow(tree, rng.choice(level), rng) for _ in range(len(level) * children)][:24]
        completed: list[int] = []
        if reaches_back(strategy):
            completed = [node for node in level if rng.random() < 0.4]
            level = [node for node in range(len(tree)) if node not in completed]
        nodes = np.array(level, dtype=np.int64)
        width = rng.randint(1, 32)
        clusters = np.array([rng.randrange(3) for _ in level])
        _, clusters = np.unique(clusters, return_inverse=True)
        yield (
            Frontier(
                tree=tree,
                nodes=nodes,
                rewards=tree.rewards[nodes],
                clusters=clusters.astype(np.int64),
                completed=np.array(completed, dtype=np.int64),
                total_width=width + rng.randint(0, 4),
                cache_tokens=rng.choice((None, 4096)),
                seed=number,
                embeddings=np.array([[rng.gauss(0, 1) for _ in range(4)] for _ in level], dtype=np.float32),
            ),
            width,
        )


def _grow(tree: SearchTree, parent: int, rng: random.Random) -> int:
    ids = tuple(rng.randrange(5) for _ in range(rng.randint(1, 6)))
    node = tree.add(parent, Continuation(ids, f"step {ids}", FinishReason.STEP, -1.0))
    tree.set_reward(node, rng.choice((0.0, 0.25, 0.5, rng.random(), 1.0)))
    return node


def says_what_it_needs(strategy: Strategy) -> None:
    """Whether rewards and clusters must be there."""
    assert isinstance(strategy.needs_rewards, bool)
    assert isinstance(strategy.needs_clusters, bool)


def gives_each_node_a_width(strategy: Strategy) -> None:
    """One width for each node, none negative, whole numbers, and something to at least one."""
    for frontier, width in frontiers(strategy):
        widths = strategy.select(frontier, width).widths
        assert len(widths) == len(frontier.nodes)
        assert all(isinstance(w, int) and w >= 0 for w in widths), widths
        assert sum(widths) > 0


def keeps_to_the_width_if_it_says_so(strategy: Strategy) -> None:
    """``completes_at_most_width`` is a promise: widths never add up to more than is left (best-of-N: than is open)."""
    if not completes_at_most_width(strategy):
        return
    for frontier, width in frontiers(strategy):
        if strategy.needs_rewards:
            assert sum(strategy.select(frontier, width).widths) <= max(width, frontier.total_width)


def is_pure(strategy: Strategy) -> None:
    """The same frontier gives the same widths, and is left as it was."""
    for (frontier, width), (twin, _) in zip(frontiers(strategy), frontiers(strategy), strict=True):
        first, again = strategy.select(frontier, width), strategy.select(frontier, width)
        assert first.widths == again.widths == strategy.select(twin, width).widths
        assert np.array_equal(frontier.nodes, twin.nodes)
        assert np.array_equal(frontier.rewards, twin.rewards, equal_nan=True)
        assert len(frontier.tree) == len(twin.tree)


def _search(strategy: Strategy, resume: SearchState | None = None) -> tuple[SearchResult, list[SearchState]]:
    """A search of the scripted world, and its state after every depth."""
    states: list[SearchState] = []

    def listen(event: Event) -> None:
        if isinstance(event, Selected):
            states.append(SearchState.from_dict(event.state.to_dict()))

    parts = Parts(GENERATORS.create("scripted"), REWARD_MODELS.create("scripted"), strategy, LexicalEmbedder())
    settings = SearchSettings(16, seed=1, early_stop=False)
    result = asyncio.run(search(CASE.problem, parts, settings, on_event=listen, resume=resume))
    return result, states


def solves_a_problem(strategy: Strategy) -> None:
    """A whole search ends by itself, with votes."""
    result, _ = _search(strategy)
    assert result.votes
    assert not result.failures
    assert result.usage.kv_tokens > 0


def goes_on_from_any_depth(strategy: Strategy) -> None:
    """A search that is resumed, early or late, grows the tree of one that never stopped."""
    straight, states = _search(strategy)
    for state in (states[0], states[len(states) // 2]):
        resumed, _ = _search(strategy, state)
        assert resumed.answer == straight.answer
        assert resumed.tree.parent.tolist() == straight.tree.parent.tolist()
        assert resumed.usage.kv == straight.usage.kv


STRATEGY_CHECKS = (
    says_what_it_needs,
    gives_each_node_a_width,
    keeps_to_the_width_if_it_says_so,
    is_pure,
    solves_a_problem,
    goes_on_from_any_depth,
)
