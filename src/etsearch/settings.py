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
    """

    width: int
    seed: int = 0
    aggregation: Aggregation = Aggregation.LAST
    cluster_threshold: float = 0.05
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    patterns: tuple[answers.Pattern, ...] = answers.DEFAULT_PATTERNS
    cut_votes: bool = True

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"width is {self.width}; it must be at least 1")
