"""Select: the frontier as a strategy sees it, clusters included."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from etsearch.diversity import cluster_texts
from etsearch.embedders import Embedder
from etsearch.errors import ConfigError
from etsearch.loop.clock import PhaseClock
from etsearch.loop.expansion import derive_seed
from etsearch.loop.retry import retry
from etsearch.loop.settings import SearchSettings
from etsearch.strategies import Frontier, Strategy
from etsearch.strategies.base import needs_embedder, needs_embeddings
from etsearch.tree import SearchTree


async def build_frontier(
    tree: SearchTree,
    nodes: Sequence[int],
    completed: Sequence[int],
    strategy: Strategy,
    embedder: Embedder | None,
    settings: SearchSettings,
    *,
    depth: int,
    cache_tokens: int | None = None,
    clock: PhaseClock | None = None,
) -> Frontier:
    """All that a strategy may look at, at a depth.

    Args:
        tree: the tree so far.
        nodes: ``[n]`` the open nodes.
        completed: the nodes at which trajectories have ended so far.
        strategy: says whether it needs clusters or embeddings.
        embedder: places steps for them.
        settings: of the search.
        depth: at which it chooses, 1 for the first.
        cache_tokens: what the engine's KV cache can hold; None where it does not tell.
        clock: takes the time of embedding and clustering.

    Raises:
        EmbedderError: steps cannot be placed.
        ConfigError: the strategy needs clusters or embeddings, and there is no embedder.
    """
    clusters = embeddings = None
    if needs_embedder(strategy):
        clock = clock or PhaseClock()
        texts = [tree.continuation(node).text.strip() for node in nodes]
        placed = await _embed(texts, check_embedder(embedder), clock)
        embeddings = placed if needs_embeddings(strategy) else None
        if strategy.needs_clusters:
            with clock.phase("cluster"):
                clusters = cluster_texts(texts, placed, settings.cluster_threshold)
    ids = np.array(nodes, dtype=np.int64)
    return Frontier(
        tree=tree,
        nodes=ids,
        rewards=tree.rewards[ids],
        clusters=clusters,
        completed=np.array(completed, dtype=np.int64),
        total_width=settings.width,
        cache_tokens=cache_tokens,
        embeddings=embeddings,
        seed=derive_seed(settings.seed, f"select at depth {depth}"),
    )


def check_embedder(embedder: Embedder | None) -> Embedder:
    """The embedder of a strategy that needs one. Raises ConfigError if there is none."""
    if embedder is None:
        raise ConfigError("this strategy compares steps; give an embedder, or of ets lambda_d = 0")
    return embedder


async def _embed(texts: Sequence[str], embedder: Embedder, clock: PhaseClock) -> NDArray[np.float32]:
    with clock.phase("embed"):
        return await retry(lambda: embedder.embed(texts))
