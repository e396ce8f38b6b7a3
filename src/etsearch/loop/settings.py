"""What a search is asked for, beside its problem and its parts."""

from dataclasses import dataclass, field

from etsearch import answers
from etsearch.answers import Aggregation
from etsearch.errors import ConfigError
from etsearch.types import Sampling


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a search is cut. The defaults are those of the ETS paper.

    Attributes:
        max_depth: steps of a trajectory.
        max_step_tokens: tokens of a step.
        max_tokens: tokens of a trajectory, the prompt not counted.
    """

    max_depth: int = 25
    max_step_tokens: int = 256
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        for name in ("max_depth", "max_step_tokens", "max_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What a search needs beside its problem and its parts.

    Attributes:
        width: ``N``, continuations sampled at each depth, at least 1.
        seed: of all randomness of the search; every expansion derives its own.
        aggregation: how the rewards of a trajectory become the weight of its vote.
        cluster_threshold: cosine distance at which clusters are cut, in (0, 2]; 0.05 in the paper.
        patterns: how answers are stated; see ``etsearch.answers``.
        cut_votes: whether a trajectory that a limit cut votes, if it states an answer; in the released code of ETS
            it never does.
        merge: whether draws of one step are one step to the engine and the reward model. Changes no distribution:
            continuations of one prefix are independent of one another, so that one request for a + b of them is worth
            two for a and b, and a reward is a function of its trajectory. Every draw keeps its own share of the width,
            its place in a cluster and its vote, so that strategies see what they would see without.
        early_stop: whether to stop as soon as no vote that may still come can change the answer; see
            ``etsearch.loop.voting.RunningVote`` for why the answer is that of the whole search.
        speculate: whether idle places in the engine's batch write the next steps of the best branches scored so far,
            while the last of a depth are still under way. Changes no distribution; a search alone is done sooner, for
            tokens that may be wasted. With it the same seed does not give the same search.
    """

    width: int
    seed: int = 0
    aggregation: Aggregation = Aggregation.LAST
    cluster_threshold: float = 0.05
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    patterns: tuple[answers.Pattern, ...] = answers.DEFAULT_PATTERNS
    cut_votes: bool = True
    merge: bool = True
    early_stop: bool = True
    speculate: bool = False

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"width is {self.width}; it must be at least 1")
