"""REBASE: the width follows the rewards."""

from dataclasses import dataclass
from typing import final

from etsearch.allocation import Rounding, hands_out_width, share
from etsearch.strategies.base import Frontier, Selection


@final
@dataclass(frozen=True)
class Rebase:
    """Expands every node in proportion to ``softmax(R / T_R)`` (Wu et al., arXiv:2408.00724).

    Attributes:
        balance_temperature: ``T_R``, 1e-9 to 1e9 or inf; 0.2 in the paper.
        rounding: see ``etsearch.allocation.share``; ``round`` is the paper's, ``sequential`` the released code's.
    """

    balance_temperature: float = 0.2
    rounding: Rounding = "sequential"

    needs_rewards = True
    needs_clusters = False

    def __post_init__(self) -> None:
        share([0.0], 1, self.balance_temperature, self.rounding)

    @property
    def completes_at_most_width(self) -> bool:
        return hands_out_width(self.rounding)

    def select(self, frontier: Frontier, width: int) -> Selection:
        rewards = frontier.check_rewards().tolist()
        return Selection(tuple(share(rewards, width, self.balance_temperature, self.rounding)))
