"""What a strategy is: a pure function from a frontier to expansion widths."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from etsearch.allocation import check_rewards
from etsearch.errors import ConfigError
from etsearch.tree import ROOT, SearchTree


@dataclass(frozen=True)
class Frontier:
    """All that a strategy may look at.

    Attributes:
        tree: the tree so far; read only.
        nodes: ``[n]`` ids of the open nodes at this depth (the set A of the ETS paper), n at least 1; for a strategy
            that reaches back all open nodes of the tree, the root first.
        rewards: ``[n]`` their rewards in [0, 1], the root's NaN; NaN throughout for a strategy that needs none.
        clusters: ``[n]`` labels 0 … k-1 of their last steps; None unless the strategy asks for them.
        embeddings: ``[n, d]`` of their last steps, no row of zeros; None unless the strategy asks for them.
        seed: of this depth of this search, at least 0; a strategy that draws at random draws by it alone.
        completed: ids of the nodes at which trajectories have ended so far, at any depth.
        total_width: the width N that the search began with.
        cache_tokens: what the engine's KV cache can hold; None where it does not tell.
        price: what a KV token costs, at least 0, in units of the search's worth (see ``etsearch.sharing``); 0 where
            there is room for all, or no market.
        block_tokens: tokens in a block of the cache, in whole ones of which a sequence has its room; 1 where unknown.
    """

    tree: SearchTree
    nodes: NDArray[np.int64]
    rewards: NDArray[np.float64]
    clusters: NDArray[np.int64] | None
    completed: NDArray[np.int64]
    total_width: int
    cache_tokens: int | None = None
    price: float = 0.0
    block_tokens: int = 1
    embeddings: NDArray[np.float32] | None = None
    seed: int = 0

    def check_rewards(self) -> NDArray[np.float64]:
        """``rewards``; a ConfigError names the first node, but for the root, whose reward is NaN or outside [0, 1]."""
        steps = self.nodes != ROOT
        if steps.all():
            return check_rewards(self.rewards.tolist(), self.nodes.tolist())
        if steps.any():
            check_rewards(self.rewards[steps].tolist(), self.nodes[steps].tolist())
        return self.rewards


@dataclass(frozen=True)
class Selection:
    """What a strategy decides.

    Attributes:
        widths: ``[n]`` continuations to sample from each node of the frontier; 0 prunes it.
        figures: numbers worth recording (objective of the programme, seconds of the solver …).
    """

    widths: tuple[int, ...]
    figures: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def num_kept(self) -> int:
        return sum(width > 0 for width in self.widths)


class Strategy(Protocol):
    """Chooses the branches to keep and shares the width among them. Pure: no I/O, no state between calls."""

    @property
    def needs_rewards(self) -> bool:
        """Whether every depth must be scored before ``select``; if not, trajectories are scored as they end."""
        ...

    @property
    def needs_clusters(self) -> bool:
        """Whether ``Frontier.clusters`` must be given."""
        ...

    def select(self, frontier: Frontier, width: int) -> Selection:
        """Expansion widths for the frontier.

        Args:
            frontier: at least one open node.
            width: what is left of the total width, at least 1: N less one for each completed trajectory.
        """
        ...


@runtime_checkable
class SharesByReward(Protocol):
    """What a strategy may say beside: it shares the width by ``softmax(R / T_R)``, and by which ``T_R``."""

    @property
    def balance_temperature(self) -> float:
        """``T_R``, above 0."""
        ...


@runtime_checkable
class ReadsEmbeddings(Protocol):
    """What a strategy may say beside: it looks at ``Frontier.embeddings`` itself."""

    @property
    def needs_embeddings(self) -> bool:
        """Whether they must be given."""
        ...


@runtime_checkable
class KeepsToWidth(Protocol):
    """What a strategy may say beside: whether its widths at a depth never add up to more than the width that is left.

    Searches by a strategy that does not say so are not stopped early but in their last depth.
    """

    @property
    def completes_at_most_width(self) -> bool:
        """Whether it never completes more trajectories than the width it is given."""
        ...


@runtime_checkable
class ReachesBack(Protocol):
    """What a strategy may say beside: it chooses across depths, among all open nodes of the tree.

    ``Frontier.nodes`` then holds the root and every step at which no trajectory has ended, expanded before or not; a
    node that could not be expanded has ended, the root too. A node that is chosen again gets new children beside those
    that it has. What the loop calls a depth is a round. The strategy is asked before the first round too, when only the
    root is there, and is to give it at least 1. The root has neither reward nor text.
    """

    @property
    def reaches_back(self) -> bool:
        """Whether it does."""
        ...


@runtime_checkable
class BuysWidth(Protocol):
    """What a strategy may say beside: it heeds the price of a KV token, and how wide it is at one.

    Its ``select`` gives back width and branches as ``Frontier.price`` rises. All other strategies hold what they hold.
    """

    def width_at(self, price: float, step_tokens: float, width: int) -> int:
        """The total width at a price of a KV token, 1 to ``width``; it never rises with the price.

        Args:
            price: at least 0; at 0 the answer is ``width``.
            step_tokens: KV tokens that a continuation is expected to hold of its own, above 0.
            width: the total width that the search was asked for.
        """
        ...


def needs_embedder(strategy: Strategy) -> bool:
    """Whether a strategy looks at clusters or embeddings of steps."""
    return strategy.needs_clusters or needs_embeddings(strategy)


def needs_embeddings(strategy: Strategy) -> bool:
    """Whether a strategy looks at the embeddings of steps themselves."""
    return isinstance(strategy, ReadsEmbeddings) and bool(strategy.needs_embeddings)


def completes_at_most_width(strategy: Strategy) -> bool:
    """Whether a strategy says that it never completes more trajectories than the width it is given."""
    return isinstance(strategy, KeepsToWidth) and bool(strategy.completes_at_most_width)


def reaches_back(strategy: Strategy) -> bool:
    """Whether a strategy chooses among all open nodes of the tree."""
    return isinstance(strategy, ReachesBack) and bool(strategy.reaches_back)


def select(strategy: Strategy, frontier: Frontier, width: int) -> Selection:
    """What a strategy keeps of a frontier. Raises ConfigError if it gives no width for each node, or a negative one."""
    selection = strategy.select(frontier, width)
    if len(selection.widths) != len(frontier.nodes) or min(selection.widths) < 0:
        raise ConfigError(
            f"{type(strategy).__name__}.select gave widths {selection.widths} for {len(frontier.nodes)} nodes; "
            "it must give one for each, none negative"
        )
    return selection
