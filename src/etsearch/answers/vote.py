"""The weighted vote over the answers of completed trajectories."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from etsearch.answers.equivalence import equivalent
from etsearch.errors import ConfigError


class Aggregation(StrEnum):
    """How the step rewards of a trajectory become the weight of its vote. ``last`` is the paper's."""

    LAST = "last"
    MIN = "min"
    PROD = "prod"
    MEAN = "mean"
    MAJORITY = "majority"
    """Every trajectory weighs 1 and needs no rewards: self-consistency."""


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
    """The weight of a trajectory's vote.

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
        case Aggregation.LAST:
            return float(rewards[-1])
        case Aggregation.MIN:
            return float(min(rewards))
        case Aggregation.PROD:
            return math.prod(rewards, start=1.0)
        case Aggregation.MEAN:
            return math.fsum(rewards) / len(rewards)


def vote(answers: Sequence[str | None], weights: Sequence[float]) -> list[Vote]:
    """Groups equivalent answers and adds up their weights; the first vote is the winner's.

    An answer joins the first group whose representative, its first voter's answer, it is equivalent to. Equivalence
    is not quite transitive (``50`` and ``0.5`` are both ``50%``), so that in such cases the order of the voters counts.

    Args:
        answers: one for each trajectory; None does not vote.
        weights: one for each trajectory, finite and at least 0.

    Returns:
        The heaviest first; equal weights by count (so that counts decide where every weight is 0), then first seen.

    Raises:
        ConfigError: lengths that differ, or a weight that is not finite or negative.
    """
    if len(answers) != len(weights):
        raise ConfigError(f"there are {len(answers)} answers but {len(weights)} weights; give one weight an answer")
    _check("weight", weights)
    groups: dict[str, list[int]] = {}
    representative: dict[str, str] = {}
    for index, answer in enumerate(answers):
        if answer is None:
            continue
        if answer not in representative:
            representative[answer] = next((head for head in groups if equivalent(head, answer)), answer)
        groups.setdefault(representative[answer], []).append(index)
    votes = [Vote(head, math.fsum(weights[i] for i in of), len(of), tuple(of)) for head, of in groups.items()]
    return sorted(votes, key=lambda v: (-v.weight, -v.count))


def _check(what: str, values: Sequence[float]) -> None:
    for index, value in enumerate(values):
        if not 0 <= value < math.inf:
            raise ConfigError(f"{what} {index} is {value}; it must be finite and at least 0")
