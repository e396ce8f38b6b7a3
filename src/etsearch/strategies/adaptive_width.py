"""An adaptive width: few continuations where the frontier agrees, more where it is split."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from etsearch.allocation import Rounding, hands_out_width, share
from etsearch.boundary.numbers import check_number
from etsearch.strategies.base import Frontier, Selection


@final
@dataclass(frozen=True)
class AdaptiveWidth:
    r"""REBASE with as much width as the frontier has directions to follow, and no more than is left.

    The frontier's directions are counted as the effective number of its clusters, the exponential of their entropy
    (Hill, 1973; of meanings: semantic entropy, Kuhn et al., arXiv:2302.09664). With
    :math:`p_k = \sum_{i \in k} \mathrm{softmax}(R / T_R)_i` of cluster :math:`k`, and :math:`n` the width that is left,

    .. math:: n' = \min\left(n, \left\lceil c \, e^{-\sum_k p_k \ln p_k} \right\rceil\right)

    continuations are shared by the rewards. All in one cluster, or one reward far above all others: :math:`c` in all; k
    clusters of equal mass: :math:`c k`. What is held back is not lost: a later depth that is split again may have it.

    Attributes:
        each: ``c``, continuations for each direction, 1 to 65,536.
        balance_temperature: ``T_R``, 1e-9 to 1e9 or inf.
        rounding: see ``etsearch.allocation.share``.
    """

    each: float = 4.0
    balance_temperature: float = 0.2
    rounding: Rounding = "sequential"

    needs_rewards = True
    needs_clusters = True

    def __post_init__(self) -> None:
        share([0.0], 1, self.balance_temperature, self.rounding)
        check_number("each", self.each, 1, 65_536)

    @property
    def completes_at_most_width(self) -> bool:
        return hands_out_width(self.rounding)

    def select(self, frontier: Frontier, width: int) -> Selection:
        rewards = frontier.check_rewards()
        directions = _directions(rewards, frontier.clusters, self.balance_temperature)
        own = min(width, math.ceil(self.each * directions - _SLACK))
        widths = share(rewards.tolist(), own, self.balance_temperature, self.rounding)
        return Selection(tuple(widths), {"directions": directions, "width": float(own)})


_SLACK = 1e-9
"""Two equal clusters are two directions, whatever the last digit of an exponential is."""


def _directions(rewards: NDArray[np.float64], clusters: NDArray[np.int64] | None, temperature: float) -> float:
    """The effective number of clusters, 1 to their number; without clusters each node is one of its own."""
    mass = np.exp((rewards - rewards.max()) / temperature)
    shares = np.bincount(np.arange(len(mass)) if clusters is None else clusters, weights=mass) / mass.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
