"""Figures of many searches: intervals, paired differences, pass@k, votes of fewer trajectories.

A problem is what is drawn anew in the bootstrap; the seeds of a problem go with it, for they are not independent of one
another. All intervals are 95 % percentile intervals.
"""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from etsearch.evaluation.run.record import SearchRecord

RESAMPLES: Final = 4000
"""Bootstrap samples of an interval."""
DRAWS: Final = 16
"""Random subsets of a search's trajectories, of each size, in ``vote_curve``."""
_LEVEL: Final = (2.5, 97.5)

VoteKind = Literal["weighted", "majority"]
Values = dict[str, float]
"""A figure by problem, averaged over seeds."""
_Figure = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_OfRecord = Callable[[SearchRecord], float]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % bootstrap interval, over ``num_problems`` problems."""

    value: float
    low: float
    high: float
    num_problems: int


def mean(values: Values) -> Interval:
    """The mean over problems."""
    return _interval(np.array(list(values.values()))[:, None], lambda means: means[:, 0])


def difference(a: Values, b: Values) -> Interval:
    """The mean of ``a - b`` over the problems that both have: a paired comparison."""
    return _interval(_pairs(a, b), lambda means: means[:, 0] - means[:, 1])


def ratio(a: Values, b: Values) -> Interval:
    """The mean of ``a`` over the mean of ``b``, over the problems that both have."""
    return _interval(_pairs(a, b), lambda means: means[:, 0] / means[:, 1])


def _pairs(a: Values, b: Values) -> NDArray[np.float64]:
    return np.array([[a[problem], b[problem]] for problem in a if problem in b]).reshape(-1, 2)


def _interval(columns: NDArray[np.float64], figure: _Figure) -> Interval:
    """``figure`` takes means ``[n, columns]``."""
    count = len(columns)
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(0)
    # Drawing problems with replacement is drawing how often each of them counts.
    weights = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.nanpercentile(figure(weights @ columns), _LEVEL)
        value = figure(columns.mean(axis=0, keepdims=True))[0]
    # Where all problems agree, the last digits of a mean may lie on either side of it.
    return Interval(float(value), min(float(low), float(value)), max(float(high), float(value)), count)


def by_problem(records: Sequence[SearchRecord], figure: _OfRecord) -> Values:
    """A figure of searches, averaged over the searches of each problem."""
    found: dict[str, list[float]] = {}
    for record in records:
        found.setdefault(record.problem, []).append(figure(record))
    return {problem: float(np.mean(values)) for problem, values in found.items()}


def num_trajectories(record: SearchRecord) -> int:
    """Trajectories that ended, those that do not vote among them."""
    return max(sum(depth.num_completed for depth in record.depths), len(record.trajectories))


def pass_at(record: SearchRecord, k: int, grader: str) -> float:
    """Probability that ``k`` trajectories drawn from those of a search hold a right one (Chen et al., 2021).

    ``1 - C(n - c, k) / C(n, k)`` for ``c`` right ones of ``n``; with ``k`` above ``n``, whether there is any.
    """
    right = set(record.right_answers.get(grader, ()))
    n, c = num_trajectories(record), sum(answer in right for answer, _, _ in record.trajectories)
    k = min(k, n)
    if n == 0 or c == 0:
        return 0.0
    if n - c < k:
        return 1.0
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def vote_curve(record: SearchRecord, sizes: Sequence[int], kind: VoteKind, grader: str) -> list[float]:
    """Probability that the vote of ``k`` trajectories drawn from those of a search is right, for each size ``k``.

    For best-of-N this is best-of-k. Subsets are drawn at random, the same in every call; of equal votes the answer of
    more trajectories wins, then chance: the order of the whole search's votes would favour what more votes said.
    """
    n = num_trajectories(record)
    if not record.trajectories:
        return [0.0] * len(sizes)
    groups, weights = np.full(n, -1), np.zeros(n)
    for place, (answer, weight, _) in enumerate(record.trajectories):
        groups[place], weights[place] = answer, 1.0 if kind == "majority" else weight
    weights /= max(weights.max(), 1e-300)
    count = len(record.answers)
    is_right = np.zeros(count + 1, dtype=np.bool_)
    is_right[list(record.right_answers.get(grader, ()))] = True
    rng = np.random.default_rng(zlib.crc32(record.key.file.encode()))
    orders = rng.permuted(np.tile(np.arange(n), (DRAWS, 1)), axis=1)
    votes = groups[orders][:, :, None] == np.arange(count)
    heard = np.cumsum(votes, axis=1)
    # A vote counts a little for its number, so that equal weights are decided by it, and chance a little less.
    scores = np.cumsum(votes * weights[orders][:, :, None], axis=1) + 1e-9 * heard
    scores = np.where(heard > 0, scores + 1e-10 * rng.random((DRAWS, 1, count)), -1.0)
    winners = np.where(heard.any(axis=2), scores.argmax(axis=2), count)
    return [float(is_right[winners[:, min(k, n) - 1]].mean()) for k in sizes]


def sizes_to(width: int) -> list[int]:
    """1, 2, 4 … and the width itself."""
    return [*(2**i for i in range(width.bit_length()) if 2**i < width), width]
