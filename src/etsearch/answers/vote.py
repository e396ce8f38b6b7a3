"""The weighted vote over the answers of completed trajectories."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from etsearch.answers.equivalence import equivalent
from etsearch.errors import ConfigError


class Aggregation(StrEnum):
    """How the trajectories come to one answer: how the step rewards of each become the weight of its vote, or no vote.

    ``last`` is the paper's.
    """

    LAST = "last"
    MIN = "min"
    PROD = "prod"
    MEAN = "mean"
    MAJORITY = "majority"
    """Every trajectory weighs 1 and needs no rewards: self-consistency."""
    BEST_REWARD = "best_reward"
    """No vote: the trajectory whose last step has the best reward is the answer, whether or not it states one."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What one answer received.

    Attributes:
        answer: as the first of its voters wrote it.
        weight: sum of its voters' weights, at least 0.
        count: number of its voters, at least 1.
        voters: their positions among the answers, in that order.
    """

    answer: str
    weight: float
    count: int
    voters: tuple[int, ...] = ()


def weight(rewards: Sequence[float], aggregation: Aggregation) -> float:
    """The weight of a trajectory's vote; under ``best_reward``, where none votes, what it is compared by.

    Args:
        rewards: of its steps, first to last, in [0, 1]; at least one, except for ``majority``.
        aggregation: how they become one number.

    Raises:
        ConfigError: no rewards, or one that is not finite or negative.
    """
    if aggregation is Aggregation.MAJORITY:
        return 1.0
    if not rewards:
        raise ConfigError(f"a trajectory without rewards has no {aggregation} weight; score it, or use 'majority'")
    _check("reward", rewards)
    match aggregation:
        case Aggregation.LAST | Aggregation.BEST_REWARD:
            return float(rewards[-1])
        case Aggregation.MIN:
            return float(min(rewards))
        case Aggregation.PROD:
            return math.prod(rewards, start=1.0)
        case Aggregation.MEAN:
            return math.fsum(rewards) / len(rewards)


class Tally:
    """Groups equivalent answers as they come, and adds up their weights.

    An answer joins the first group whose representative, its first voter's answer, it is equivalent to. Equivalence
    is not quite transitive (``50`` and ``0.5`` are both ``50%``), so that in such cases the order of the voters counts.
    """

    def __init__(self) -> None:
        self._voters: dict[str, list[int]] = {}
        self._representative: dict[str, str] = {}
        self._weights: list[float] = []
        self._sums: dict[str, float] = {}

    def add(self, answer: str | None, weight: float) -> None:
        """The next voter; one whose answer is None does not vote.

        Raises:
            ConfigError: a weight that is not finite or negative.
        """
        _check("weight", [weight], len(self._weights))
        index = len(self._weights)
        self._weights.append(weight)
        if answer is None:
            return
        if answer not in self._representative:
            first = next((head for head in self._voters if equivalent(head, answer)), answer)
            self._representative[answer] = first
        head = self._representative[answer]
        self._voters.setdefault(head, []).append(index)
        self._sums[head] = self._sums.get(head, 0.0) + weight

    @property
    def lead(self) -> float:
        """By how much the heaviest answer is ahead of the next, or of none; 0 without voters. Plain sums of floats."""
        first, second = heapq.nlargest(2, (*self._sums.values(), 0.0, 0.0))
        return first - second

    def votes(self) -> list[Vote]:
        """The heaviest first; equal weights by count (which decides where every weight is 0), then first seen."""
        weights = self._weights
        votes = [Vote(head, math.fsum(weights[i] for i in of), len(of), tuple(of)) for head, of in self._voters.items()]
        return sorted(votes, key=lambda v: (-v.weight, -v.count))


def vote(answers: Sequence[str | None], weights: Sequence[float]) -> list[Vote]:
    """The votes for a list of answers, the winner's first; see ``Tally``.

    Args:
        answers: one for each trajectory; None does not vote.
        weights: one for each trajectory, finite and at least 0.

    Raises:
        ConfigError: lengths that differ, or a weight that is not finite or negative.
    """
    if len(answers) != len(weights):
        raise ConfigError(f"there are {len(answers)} answers but {len(weights)} weights; give one weight an answer")
    tally = Tally()
    for answer, weight_of in zip(answers, weights, strict=True):
        tally.add(answer, weight_of)
    return tally.votes()


def _check(what: str, values: Sequence[float], first: int = 0) -> None:
    for index, value in enumerate(values, first):
        if not 0 <= value < math.inf:
            raise ConfigError(f"{what} {index} is {value}; it must be finite and at least 0")
