"""The parts that a search runs on."""

from dataclasses import dataclass, replace
from typing import Final

from etsearch.answers import Aggregation
from etsearch.boundary.numbers import shown
from etsearch.embedders import Embedder
from etsearch.errors import ConfigError
from etsearch.generators import Generator
from etsearch.loop.frontier import check_embedder
from etsearch.loop.settings import SearchSettings
from etsearch.prms import RewardModel
from etsearch.strategies import Strategy
from etsearch.strategies.base import needs_embedder

_NEEDED: Final = {
    "generator": ("encode_prompt", "generate", "format", "stats"),
    "reward_model": ("score",),
    "strategy": ("select", "needs_rewards", "needs_clusters"),
    "embedder": ("embed",),
}
"""What each part must have at least, to be told from what is none."""


@dataclass(frozen=True)
class Parts:
    """What a search runs on. Generator, reward model and embedder serve many searches at once.

    Attributes:
        generator: writes the steps.
        reward_model: scores them; may be None for a strategy that needs no rewards under a majority vote.
        strategy: chooses the branches.
        embedder: embeds last steps for a strategy that compares them.
    """

    generator: Generator
    reward_model: RewardModel | None
    strategy: Strategy
    embedder: Embedder | None = None

    def with_strategy(self, strategy: Strategy) -> "Parts":
        """The same with another strategy."""
        return replace(self, strategy=strategy)

    def check(self, settings: SearchSettings) -> None:
        """Raises ConfigError if something is no part, or one is missing that the strategy or the vote needs."""
        for what, needed in _NEEDED.items():
            part = getattr(self, what)
            missing = [name for name in needed if not hasattr(part, name)]
            if missing and (part is not None or what in ("generator", "strategy")):
                told = f"it has no {missing[0]!r}"
                raise ConfigError(f"{shown(part)} is no {what.replace('_', ' ')}: {told}. Give one, or the name of one")
        if self.reward_model is None and not can_go_without_rewards(self.strategy, settings):
            raise ConfigError(
                "this search needs a reward model; only best-of-N with aggregation 'majority' goes without"
            )
        if needs_embedder(self.strategy):
            check_embedder(self.embedder)


def can_go_without_rewards(strategy: Strategy, settings: SearchSettings) -> bool:
    """Whether neither the strategy nor the vote needs a reward."""
    return not strategy.needs_rewards and settings.aggregation is Aggregation.MAJORITY
