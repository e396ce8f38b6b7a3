"""The parts that a search runs on."""

from dataclasses import dataclass, replace

from etsearch.answers import Aggregation
from etsearch.embedders import Embedder
from etsearch.errors import ConfigError
from etsearch.generators import Generator
from etsearch.loop.frontier import check_embedder
from etsearch.loop.settings import SearchSettings
from etsearch.prms import RewardModel
from etsearch.strategies import Strategy


@dataclass(frozen=True)
class Parts:
    """What a search runs on. Generator, reward model and embedder serve many searches at once.

    Attributes:
        generator: writes the steps.
        reward_model: scores them; may be None for a strategy that needs no rewards under a majority vote.
        strategy: chooses the branches.
        embedder: embeds last steps for a strategy that needs clusters.
    """

    generator: Generator
    reward_model: RewardModel | None
    strategy: Strategy
    embedder: Embedder | None = None

    def with_strategy(self, strategy: Strategy) -> "Parts":
        """The same with another strategy."""
        return replace(self, strategy=strategy)

    def check(self, settings: SearchSettings) -> None:
        """Raises ConfigError if a part is missing that the strategy or the vote needs."""
        if self.reward_model is None and not can_go_without_rewards(self.strategy, settings):
            raise ConfigError(
                "this search needs a reward model; only best-of-N with aggregation 'majority' goes without"
            )
        if self.strategy.needs_clusters:
            check_embedder(self.embedder)


def can_go_without_rewards(strategy: Strategy, settings: SearchSettings) -> bool:
    """Whether neither the strategy nor the vote needs a reward."""
    return not strategy.needs_rewards and settings.aggregation is Aggregation.MAJORITY
