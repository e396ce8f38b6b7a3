"""Entropic particle filtering: particle filtering that stays undecided as long as few particles would take all."""

from dataclasses import dataclass
from typing import final

from etsearch.boundary.numbers import MOST_WIDTH, check_number, check_whole
from etsearch.strategies.base import Frontier, Selection
from etsearch.strategies.particle_filter import Resampling, check_resampling, effective_size, odds, resample


@final
@dataclass(frozen=True)
class EntropicParticleFilter:
    r"""Particle filtering whose temperature is raised early while the effective sample size is low (arXiv:2510.05825).

    With :math:`r` the effective size of the shares over their number and :math:`t / T` the depth over the horizon,
    the draws are by :math:`\operatorname{softmax}(w / \tau)` with

    .. math:: \tau = \max\left(1, (1 - t / T) / r\right)

    where :math:`r` is below ``threshold`` and :math:`t / T` below ``early``, else with :math:`\tau = 1`. The paper's
    look-ahead is not in it.

    Attributes:
        horizon: depths that a search is expected to have at most, T, 1 to 65,536.
        threshold: of the effective size, 0 to 1.
        early: the share of the horizon in which the temperature may be raised, 0 to 1.
        resampling: see ``ParticleFilter``.
    """

    horizon: int = 10
    threshold: float = 0.5
    early: float = 0.5
    resampling: Resampling = "multinomial"

    needs_rewards = True
    needs_clusters = False
    completes_at_most_width = True

    def __post_init__(self) -> None:
        check_whole("horizon", self.horizon, 1, MOST_WIDTH)
        check_number("threshold", self.threshold, 0, 1)
        check_number("early", self.early, 0, 1)
        check_resampling(self.resampling)

    def select(self, frontier: Frontier, width: int) -> Selection:
        rewards = frontier.check_rewards()
        shares = odds(rewards)
        size = effective_size(shares)
        passed = float(frontier.tree.depth[frontier.nodes[0]]) / self.horizon
        temperature = 1.0
        if size / len(rewards) < self.threshold and passed < self.early:
            temperature = max(1.0, (1 - passed) * len(rewards) / size)
        widths = resample(odds(rewards, temperature), width, frontier.seed, self.resampling)
        return Selection(widths, {"effective_size": size, "temperature": temperature})
