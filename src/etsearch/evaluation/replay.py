"""What another strategy would have selected at each depth of recorded trees, without a model.

The frontier of each depth stands in the record, with its rewards and, where they were made, its clusters. The other
strategy is asked about each of them by itself: what would have grown from its own choices is not known.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from etsearch.allocation import check_rewards
from etsearch.diversity import cluster_texts
from etsearch.embedders import Embedder
from etsearch.errors import ConfigError
from etsearch.evaluation.run.record import StoredTree
from etsearch.loop.result import DepthSummary
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.strategies import Frontier, Strategy


@dataclass(frozen=True, slots=True)
class ReplayedDepth:
    """One depth of a recorded tree under another strategy.

    Attributes:
        depth: which.
        num_open: nodes of the frontier.
        kept, kept_then: nodes that the strategy keeps, and that the recorded one kept.
        shared: nodes that both keep.
        kv_tokens, kv_tokens_then: KV tokens of those survivors, prompt included.
        seconds: that the selection took.
    """

    depth: int
    num_open: int
    kept: int
    kept_then: int
    shared: int
    kv_tokens: int
    kv_tokens_then: int
    seconds: float


async def replay(
    stored: StoredTree, strategy: Strategy, settings: SearchSettings, embedder: Embedder
) -> list[ReplayedDepth]:
    """Asks a strategy about every frontier of a recorded tree at which its search chose.

    Raises:
        ConfigError: the strategy needs rewards, and the recorded search had none. Those of best-of-N, which are known
            at the end only, are taken as if they had been known at each depth.
    """
    state = stored.state
    return [await _depth(state, strategy, settings, embedder, summary) for summary in _with_choice(state)]


def _with_choice(state: SearchState) -> Iterator[DepthSummary]:
    """The depths at which the search chose; where its vote was decided it did not, and some steps have no reward."""
    return (summary for summary in state.depths if any(summary.widths))


async def _depth(
    state: SearchState, strategy: Strategy, settings: SearchSettings, embedder: Embedder, summary: DepthSummary
) -> ReplayedDepth:
    tree = state.tree.head(int(np.searchsorted(state.tree.depth, summary.depth, side="right")))
    nodes = np.array(summary.nodes, dtype=np.int64)
    rewards = tree.rewards[nodes]
    if strategy.needs_rewards:
        try:
            check_rewards(rewards.tolist(), nodes.tolist())
        except ConfigError as error:
            raise ConfigError(
                f"this tree cannot be replayed with a strategy that needs rewards at every depth: {error}. "
                "Replay the trees of searches that had a reward model, with --of"
            ) from None
    clusters = None
    if strategy.needs_clusters:
        texts = [tree.continuation(node).text.strip() for node in summary.nodes]
        clusters = cluster_texts(texts, await embedder.embed(texts), settings.cluster_threshold)
    num_ended = sum(d.num_completed for d in state.depths[: summary.depth])
    completed = list(state.ended)[:num_ended]
    view = Frontier(
        tree=tree,
        nodes=nodes,
        rewards=rewards,
        clusters=clusters,
        completed=np.array(completed, dtype=np.int64),
        total_width=settings.width,
    )
    start = time.perf_counter()
    widths = strategy.select(view, summary.remaining_width).widths
    seconds = time.perf_counter() - start
    kept = {node for node, width in zip(summary.nodes, widths, strict=True) if width > 0}
    then = {node for node, width in zip(summary.nodes, summary.widths, strict=True) if width > 0}
    return ReplayedDepth(
        depth=summary.depth,
        num_open=len(nodes),
        kept=len(kept),
        kept_then=len(then),
        shared=len(kept & then),
        kv_tokens=tree.kv_tokens(kept),
        kv_tokens_then=tree.kv_tokens(then),
        seconds=seconds,
    )
