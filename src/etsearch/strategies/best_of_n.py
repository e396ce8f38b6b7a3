"""Best-of-N: independent trajectories."""

from dataclasses import dataclass
from typing import final

from etsearch.strategies.base import Frontier, Selection


@final
@dataclass(frozen=True)
class BestOfN:
    """N independent trajectories, scored once each when they end.

    The answer is the weighted vote; with ``etsearch.answers.Aggregation`` replaced by a plain majority
    (``aggregation="majority"`` of the search) this is self-consistency.
    """

    needs_rewards = False
    needs_clusters = False
    completes_at_most_width = True

    def select(self, frontier: Frontier, width: int) -> Selection:  # noqa: ARG002 - every branch goes on
        return Selection((1,) * len(frontier.nodes))
