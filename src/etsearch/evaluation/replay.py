"""What another strategy would have selected at each depth of recorded trees, without a model.

The frontier of each depth stands in the record, with its rewards and, where they were made, its clusters. The other
strategy is asked about each of them by itself: what would have grown from its own choices is not known. Strategies
that reach back are asked about trees of their kind only, and about all that was open.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from etsearch.embedders import EMBEDDERS, Embedder
from etsearch.errors import ConfigError, RecordError
from etsearch.evaluation.run.folder import Run
from etsearch.evaluation.run.kept import StoredTree
from etsearch.loop.frontier import build_frontier
from etsearch.loop.result import DepthSummary
from etsearch.loop.settings import SearchSettings
from etsearch.loop.state import SearchState
from etsearch.registry import changes, sources
from etsearch.strategies import Frontier, Strategy
from etsearch.strategies.base import reaches_back, select


def open_embedder(run: Run) -> Embedder:
    """The embedder of a run, made anew.

    Raises:
        RecordError: it is in a file that is not what it was, so that its clusters would not be those of the run.
    """
    if changed := changes(run.manifest.sources, sources([(EMBEDDERS, run.recipe.embedder)])):
        raise RecordError(f"{run.path} cannot be replayed: {'; '.join(changed)}")
    return EMBEDDERS.create(run.recipe.embedder)


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


async def replay_tree(
    stored: StoredTree,
    strategy: Strategy,
    settings: SearchSettings,
    embedder: Embedder,
    cache_tokens: int | None = None,
) -> list[ReplayedDepth]:
    """Asks a strategy about every frontier of a recorded tree at which its search chose.

    Args:
        stored: the tree.
        strategy: what is asked.
        settings: those of the search.
        embedder: places steps, for a strategy that compares them.
        cache_tokens: what the engine's KV cache could hold, as the search's record says; None where it does not.

    Raises:
        ConfigError: the strategy needs rewards, and the recorded search had none. Those of best-of-N, which are known
            at the end only, are taken as if they had been known at each depth. Or the tree was grown across depths, and
            the strategy chooses level by level, or the other way round.
    """
    if stored.state.reached_back and not reaches_back(strategy):
        raise ConfigError(
            "this tree was grown by a strategy that chooses across depths; one that goes level by level finds no "
            "frontier in it. Replay trees that were grown level by level, with --of"
        )
    if reaches_back(strategy) and any(any(d.widths) and not all(d.widths) for d in stored.state.depths):
        raise ConfigError(
            "this tree was grown level by level; to a strategy that chooses across depths what was pruned in it would "
            "be under way. Replay trees that such a strategy has grown, with --of"
        )
    replayer = _Replayer(stored.state, strategy, settings, embedder, cache_tokens)
    return [await replayer.depth(summary) for summary in _with_choice(stored.state)]


def _with_choice(state: SearchState) -> Iterator[DepthSummary]:
    """The depths at which the search chose; where its vote was decided it did not, and some steps have no reward."""
    return (summary for summary in state.depths if any(summary.widths))


@dataclass(frozen=True)
class _Replayer:
    """A strategy that is asked about the depths of a recorded search."""

    state: SearchState
    strategy: Strategy
    settings: SearchSettings
    embedder: Embedder
    cache_tokens: int | None

    async def depth(self, summary: DepthSummary) -> ReplayedDepth:
        past = self.state.before(self.state.mark_at(summary.depth))
        frontier = await build_frontier(
            past.tree,
            past.open_nodes if reaches_back(self.strategy) else summary.nodes,
            list(past.ended),
            self.strategy,
            self.embedder,
            self.settings,
            depth=summary.depth,
            cache_tokens=self.cache_tokens,
        )
        if self.strategy.needs_rewards:
            self._check_rewards(frontier)
        start = time.perf_counter()
        widths = select(self.strategy, frontier, summary.remaining_width).widths
        seconds = time.perf_counter() - start
        kept = {node for node, width in zip(frontier.nodes.tolist(), widths, strict=True) if width > 0}
        then = {node for node, width in zip(summary.nodes, summary.widths, strict=True) if width > 0}
        return ReplayedDepth(
            depth=summary.depth,
            num_open=len(frontier.nodes),
            kept=len(kept),
            kept_then=len(then),
            shared=len(kept & then),
            kv_tokens=past.tree.kv_tokens(kept),
            kv_tokens_then=past.tree.kv_tokens(then),
            seconds=seconds,
        )

    @staticmethod
    def _check_rewards(frontier: Frontier) -> None:
        try:
            frontier.check_rewards()
        except ConfigError as error:
            raise ConfigError(
                f"this tree cannot be replayed with a strategy that needs rewards at every depth: {error}. "
                "Replay the trees of searches that had a reward model, with --of"
            ) from None
