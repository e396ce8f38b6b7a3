"""Select: the frontier as a strategy sees it, clusters included."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from etsearch.diversity import cluster_texts
from etsearch.embedders import Embedder
from etsearch.errors import ConfigError
from etsearch.loop.clock import PhaseClock
from etsearch.loop.retry import retry
from etsearch.loop.settings import SearchSettings
from etsearch.strategies import Frontier, Strategy
from etsearch.tree import SearchTree


async def build_frontier(
    tree: SearchTree,
    nodes: Sequence[int],
    completed: Sequence[int],
    strategy: Strategy,
    embedder: Embedder | None,
    settings: SearchSettings,
    *,
    cache_tokens: int | None = None,
    clock: PhaseClock | None = None,
) -> Frontier:
    """All that a strategy may look at, at a depth.

    Args:
        tree: the tree so far.
        nodes: ``[n]`` the open nodes.
        completed: the nodes at which trajectories have ended so far.
        strategy: says whether it needs clusters.
        embedder: places steps for them.
        settings: of the search.
        cache_tokens: what the engine's KV cache can hold; None where it does not tell.
        clock: takes the time of embedding and clustering.

    Raises:
        EmbedderError: steps cannot be placed.
        ConfigError: the strategy needs clusters, and there is no embedder.
    """
    clusters = None
    if strategy.needs_clusters:
        texts = [tree.continuation(node).text.strip() for node in nodes]
        clusters = await _clusters(texts, check_embedder(embedder), settings.cluster_threshold, clock or PhaseClock())
    ids = np.array(nodes, dtype=np.int64)
    return Frontier(
        tree=tree,
        nodes=ids,
        rewards=tree.rewards[ids],
        clusters=clusters,
        completed=np.array(completed, dtype=np.int64),
        total_width=settings.width,
        cache_tokens=cache_tokens,
    )


def check_embedder(embedder: Embedder | None) -> Embedder:
    """The embedder of a strategy that needs clusters. Raises ConfigError if there is none."""
    if embedder is None:
        raise ConfigError("this strategy needs clusters; give an embedder, or lambda_d = 0")
    return embedder


async def _clusters(texts: Sequence[str], embedder: Embedder, threshold: float, clock: PhaseClock) -> NDArray[np.int64]:
    with clock.phase("embed"):
        embeddings = await retry(lambda: embedder.embed(texts))
    with clock.phase("cluster"):
        return cluster_texts(texts, embeddings, threshold)
