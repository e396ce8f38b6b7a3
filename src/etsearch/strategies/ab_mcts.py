"""AB-MCTS: wider or deeper, by Thompson sampling down the whole tree."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, final, get_args

import numpy as np
from numpy.typing import NDArray

from etsearch.boundary.numbers import MOST_WIDTH, check_number, check_whole
from etsearch.errors import ConfigError
from etsearch.strategies.base import Frontier, Selection
from etsearch.tree import ROOT, SearchTree

Prior = Literal["gaussian", "beta"]
_CERTAINTY: Final = 1.0
"""``kappa`` and ``nu`` of the Gaussian prior: it weighs as much as one reward."""
_VARIANCE: Final = 0.1
"""``tau^2`` of the Gaussian prior."""
_JEFFREYS: Final = 0.5
"""``a`` and ``b`` of the beta prior."""


@final
@dataclass(frozen=True)
class ABMCTS:
    r"""Adaptive branching Monte Carlo tree search with node aggregation (Inoue et al., arXiv:2503.04412, AB-MCTS-A).

    There a node is a whole answer, and a child of it another one. Here a node is a step, what is begun at it is written
    to its end, and the reward of the last step is the outcome. ``batch`` trajectories are under way at once; for each
    that ends a walk down from the root chooses where the next one is begun. At each node two numbers are drawn: from
    the posterior of GEN, given the outcomes of what was begun there (or came through there first), and of CONT, given
    those of what was begun below. If GEN's is larger the node gets a new child. Else the walk goes on to the child
    whose own posterior, given all outcomes through it, draws the largest number. Posteriors are of outcomes as if
    normal, with prior :math:`m, \kappa = \nu = 1, \tau^2 = 0.1`:

    .. math::
        \kappa' = \kappa + n, \quad \nu' = \nu + n, \quad m' = \frac{\kappa m + \sum r}{\kappa'}, \quad
        \nu' \tau'^2 = \nu \tau^2 + \sum (r - \bar r)^2 + \frac{n \kappa}{\kappa'} (m - \bar r)^2

    of which :math:`\sigma^2 = \nu' \tau'^2 / \chi^2_{\nu'}` and then :math:`\mathcal N(m', \sigma^2 / \kappa')` is
    drawn; or as if each were a share of successes, with Jeffreys' prior: :math:`\mathrm{Beta}(1/2 + \sum r, 1/2 +
    \sum (1 - r))`. Walks of one round are drawn over the same tree, as in the authors' batch mode. Draws of one step
    are one node.

    Attributes:
        batch: trajectories under way at once, 1 to 65,536. All of the width at once is best-of-N.
        prior: ``gaussian`` (the authors' default) or ``beta``.
        prior_mean: ``m`` of the Gaussian prior, 0 to 1: the larger, the more is begun where little has been.
    """

    batch: int = 8
    prior: Prior = "gaussian"
    prior_mean: float = 0.0

    needs_rewards = True
    needs_clusters = False
    completes_at_most_width = True
    reaches_back = True

    def __post_init__(self) -> None:
        check_whole("batch", self.batch, 1, MOST_WIDTH)
        if self.prior not in get_args(Prior):
            raise ConfigError(f"prior is {self.prior!r}; choose one of {', '.join(get_args(Prior))}")
        check_number("prior_mean", self.prior_mean, 0, 1)

    def select(self, frontier: Frontier, width: int) -> Selection:
        has_child = np.bincount(frontier.tree.parent[1:], minlength=len(frontier.tree)) > 0
        is_under_way = ~has_child[frontier.nodes] & (frontier.nodes != ROOT)
        under_way = np.flatnonzero(is_under_way)[:width]
        widths = np.zeros(len(frontier.nodes), dtype=np.int64)
        widths[under_way] = 1
        num_begun = max(0, min(self.batch, width) - len(under_way))
        if num_begun:
            walks = _Walks(frontier, self)
            np.add.at(widths, [walks.places[walks.walk()] for _ in range(num_begun)], 1)
        return Selection(tuple(widths.tolist()), {"begun": float(num_begun)})


class Rewards(NamedTuple):
    """Rewards that were seen, each ``[arms]``: how many, their sum, and the sum of their squares."""

    number: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, rewards: Sequence[Sequence[float]]) -> "Rewards":
        """Those of each arm."""
        sums = [(len(seen), sum(seen), sum(r * r for r in seen)) for seen in rewards]
        return cls(*np.array(sums, dtype=np.float64).T)

    def at(self, arms: Sequence[int]) -> "Rewards":
        """Those of some arms."""
        return Rewards(*(sums[list(arms)] for sums in self))


def normal_posterior(seen: Rewards, prior_mean: float) -> tuple[NDArray[np.float64], ...]:
    """``m'``, ``kappa'``, ``nu'`` and ``tau'^2`` of each arm; see ``ABMCTS``."""
    mean = seen.total / np.maximum(seen.number, 1)
    spread = np.maximum(seen.squares - seen.number * mean**2, 0)
    certainty = _CERTAINTY + seen.number
    place = (_CERTAINTY * prior_mean + seen.total) / certainty
    off = seen.number * _CERTAINTY / certainty * (prior_mean - mean) ** 2
    return place, certainty, certainty, (_CERTAINTY * _VARIANCE + spread + off) / certainty


def draw(seen: Rewards, settings: ABMCTS, chance: np.random.Generator) -> NDArray[np.float64]:
    """``[arms]`` a number from the posterior of each."""
    if settings.prior == "beta":
        return chance.beta(_JEFFREYS + seen.total, _JEFFREYS + np.maximum(seen.number - seen.total, 0))
    place, certainty, freedom, variance = normal_posterior(seen, settings.prior_mean)
    sigma = np.sqrt(freedom * variance / chance.chisquare(freedom))
    return chance.normal(place, sigma / np.sqrt(certainty))


class _Walks:
    """Walks over a tree that stays as it is; a step is named by its original."""

    def __init__(self, frontier: Frontier, settings: ABMCTS) -> None:
        tree, steps = frontier.tree, frontier.tree.originals(frontier.nodes).tolist()
        self._settings, self._chance = settings, np.random.default_rng(frontier.seed)
        self.places = {step: place for place, step in reversed(list(enumerate(steps)))}
        """Where the steps that can get a new child stand in the frontier."""
        self._children: dict[int, list[int]] = {}
        for step in np.flatnonzero(tree.span(steps)).tolist():
            if step != ROOT:
                self._children.setdefault(tree.step_above(step), []).append(step)
        self._begun, self._below, self._through = _outcomes(tree, frontier.completed.tolist())

    def walk(self) -> int:
        """The step that gets a new child."""
        step = ROOT
        while children := self._children.get(step):
            wider, deeper = (self._draw(outcomes, [step])[0] for outcomes in (self._begun, self._below))
            if wider > deeper and step in self.places:
                return step
            step = children[int(np.argmax(self._draw(self._through, children)))]
        return step

    def _draw(self, outcomes: Rewards, steps: Sequence[int]) -> NDArray[np.float64]:
        return draw(outcomes.at(steps), self._settings, self._chance)


def _outcomes(tree: SearchTree, completed: Sequence[int]) -> tuple[Rewards, Rewards, Rewards]:
    """Of each step the outcomes of what was begun there or came through there first, was begun below, and of both.

    A trajectory was begun where its path leaves that of an earlier one: at the parent of the last of its steps that is
    not its parent's first child.
    """
    parent = tree.parent
    _, firsts = np.unique(parent, return_index=True)
    is_first = np.zeros(len(tree), dtype=np.bool_)
    is_first[firsts] = True
    begun, below = np.zeros((2, 3, len(tree)))
    for node in completed:
        reward = tree.reward(node)
        if math.isnan(reward):
            continue
        outcome, sums = np.array([1.0, reward, reward * reward]), begun
        for step in reversed(tree.path(node)):
            sums[:, tree.original(int(parent[step]))] += outcome
            if not is_first[step]:
                sums = below
    through = begun + below
    return Rewards(*begun), Rewards(*below), Rewards(*through)
