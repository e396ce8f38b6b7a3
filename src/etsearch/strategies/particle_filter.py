"""Particle filtering: each depth draws its survivors at random, by their rewards."""

import random
from dataclasses import dataclass
from typing import Final, Literal, final, get_args

import numpy as np
from numpy.typing import NDArray

from etsearch.errors import ConfigError
from etsearch.strategies.base import Frontier, Selection

Resampling = Literal["multinomial", "systematic"]
_CUT: Final = 1e-7
"""Rewards are cut at this and at 1 less this, as in the released code: odds are finite."""


@final
@dataclass(frozen=True)
class ParticleFilter:
    r"""Draws the width from the frontier with replacement (Puri et al., arXiv:2502.01618, algorithm 1).

    With log weights :math:`w_i = \log R_i / (1 - R_i)` node :math:`i` is drawn with probability
    :math:`\operatorname{softmax}(w)_i`, that is in proportion to its odds of being right. The draws are of the search's
    seed. A trajectory that has ended is neither drawn again nor lost: the width is one less for it, as for every
    strategy here; in the paper it stays among the particles.

    Attributes:
        resampling: ``multinomial`` draws each by itself (the paper); ``systematic`` all by one number, so that a node
            is drawn as often as it is expected to be, rounded up or down.
    """

    resampling: Resampling = "multinomial"

    needs_rewards = True
    needs_clusters = False
    completes_at_most_width = True

    def __post_init__(self) -> None:
        check_resampling(self.resampling)

    def select(self, frontier: Frontier, width: int) -> Selection:
        shares = odds(frontier.check_rewards())
        widths = resample(shares, width, frontier.seed, self.resampling)
        return Selection(widths, {"effective_size": effective_size(shares)})


def check_resampling(resampling: str) -> None:
    """Raises ConfigError if it is none."""
    if resampling not in get_args(Resampling):
        raise ConfigError(f"resampling is {resampling!r}; choose one of {', '.join(get_args(Resampling))}")


def odds(rewards: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """``[n]`` the softmax of the rewards' logits over a temperature, which is 1 in sum."""
    cut = np.clip(rewards, _CUT, 1 - _CUT)
    logits = np.log(cut / (1 - cut)) / temperature
    mass = np.exp(logits - logits.max())
    shares: NDArray[np.float64] = mass / mass.sum()
    return shares


def effective_size(shares: NDArray[np.float64]) -> float:
    """How many equal shares would be as uneven: 1 over the sum of their squares, from 1 to n."""
    return float(1 / np.square(shares).sum())


def resample(shares: NDArray[np.float64], width: int, seed: int, resampling: Resampling) -> tuple[int, ...]:
    """``[n]`` how often each is drawn, ``width`` times in all.

    Args:
        shares: ``[n]`` probabilities, 1 in sum.
        width: draws, at least 0.
        seed: of the draws.
        resampling: see ``ParticleFilter``.
    """
    chance = random.Random(seed)
    if resampling == "multinomial":
        places = np.array([chance.random() for _ in range(width)])
    else:
        places = (np.arange(width) + chance.random()) / width
    ends = np.cumsum(shares)
    drawn = np.searchsorted(ends / ends[-1], places, side="right")
    return tuple(np.bincount(drawn, minlength=len(shares)).tolist())
