"""Figures of many searches, against values worked out by hand."""

import itertools
import math

import numpy as np
import pytest

from etsearch.evaluation.report.statistics import (
    by_problem,
    difference,
    mean,
    num_trajectories,
    pass_at,
    ratio,
    sizes_to,
    vote_curve,
)
from etsearch.evaluation.run.record import DepthFigures, SearchRecord


def depth_figures(total):
    counts = dict.fromkeys(("num_open", "num_kept", "remaining_width"), 0)
    return DepthFigures(num_sampled=total, num_completed=total, num_clusters=None, kv={"kv_tokens": 1}, **counts)


def record(votes, right=(0,), *, lost=0, problem="p", seed=0):
    """A search whose trajectories voted for these answers with these weights; ``lost`` more did not vote."""
    total = len(votes) + lost
    return SearchRecord(
        problem=problem,
        strategy="s",
        width=max(total, 1),
        seed=seed,
        gold="0",
        answers=tuple(str(a) for a in range(max((a for a, _ in votes), default=-1) + 1)),
        right_answers={"corrected": tuple(right)},
        right={"corrected": 0 in right},
        trajectories=tuple((a, w, 10) for a, w in votes),
        depths=(depth_figures(total),),
    )


def test_mean_and_its_interval():
    values = {str(i): float(i < 30) for i in range(40)}
    found = mean(values)
    assert found.value == 0.75
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 40)
    assert found.low == pytest.approx(0.75 - spread, abs=0.02)
    assert found.high == pytest.approx(0.75 + spread, abs=0.02)
    assert found == mean(values), "the same figures give the same interval"
    assert math.isnan(mean({}).value)


def test_a_paired_difference_is_sharper_than_two_intervals():
    rng = np.random.default_rng(1)
    hard = rng.random(200)
    a = {str(i): float(h < 0.6) for i, h in enumerate(hard)}
    b = {str(i): float(h < 0.55) for i, h in enumerate(hard)}
    found = difference(a, b)
    assert found.value == pytest.approx(np.mean(list(a.values())) - np.mean(list(b.values())))
    assert found.low >= 0, "b is never right where a is wrong"
    assert found.high - found.low < (mean(a).high - mean(a).low) / 2


def test_only_shared_problems_are_compared():
    assert difference({"x": 1.0, "y": 0.0}, {"y": 1.0, "z": 1.0}).num_problems == 1
    assert difference({"x": 1.0, "y": 0.0}, {"y": 1.0}).value == -1.0
    assert ratio({"x": 6.0, "y": 2.0}, {"x": 3.0, "y": 1.0, "z": 50.0}).value == 2.0


def test_seeds_of_a_problem_are_averaged():
    records = [record([(0, 1)], problem="a"), record([(0, 1)], (), problem="a", seed=1), record([(0, 1)], problem="b")]
    assert by_problem(records, lambda r: float(r.right["corrected"])) == {"a": 0.5, "b": 1.0}


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(k):
    one = record([(0, 0.5), (1, 0.9), (1, 0.2)], lost=2)
    is_right = [True, False, False, False, False]
    subsets = list(itertools.combinations(is_right, k))
    assert pass_at(one, k, "corrected") == pytest.approx(sum(any(s) for s in subsets) / len(subsets))
    assert num_trajectories(one) == 5


def test_pass_at_the_ends():
    assert pass_at(record([(0, 1)], ()), 1, "corrected") == 0.0
    assert pass_at(record([(0, 1), (0, 1)]), 1, "corrected") == pytest.approx(1.0)
    assert pass_at(record([(1, 1), (0, 1)], (0,)), 9, "corrected") == pytest.approx(1.0)
    assert pass_at(record([], ()), 4, "corrected") == 0.0


def test_the_vote_of_all_is_the_vote():
    right = record([(0, 0.9), (0, 0.8), (1, 0.99)])
    assert vote_curve(right, [3], "weighted", "corrected") == [1.0]
    assert vote_curve(right, [3, 99], "majority", "corrected") == [1.0, 1.0]
    wrong = record([(0, 0.4), (0, 0.4), (1, 0.99)], (0,))
    assert vote_curve(wrong, [3], "majority", "corrected") == [1.0]
    assert vote_curve(wrong, [3], "weighted", "corrected") == [0.0], "0.99 outweighs 0.8"


def test_small_weights_weigh_too():
    tiny = record([(0, 4e-7), (1, 1e-8), (1, 1e-8)])
    assert vote_curve(tiny, [3], "weighted", "corrected") == [1.0]
    assert vote_curve(tiny, [3], "majority", "corrected") == [0.0]


@pytest.mark.parametrize("count", [3, 103, 206])
def test_an_interval_holds_its_value(count):
    found = mean({str(i): 1.0 for i in range(count)})
    assert found.low <= found.value <= found.high


def test_the_vote_of_one_is_one_of_them():
    votes = [(0, 0.9)] * 6 + [(1, 0.3)] * 26
    one = vote_curve(record(votes), [1], "weighted", "corrected")[0]
    assert 0.0 <= one <= 0.5
    assert vote_curve(record([], lost=4), [1, 4], "weighted", "corrected") == [0.0, 0.0]


def test_equal_votes_are_decided_by_chance_not_by_the_order_of_the_whole_vote():
    # Of two trajectories that disagree, a majority knows nothing: over many searches it is right half of the time.
    for right in ((0,), (1,)):
        searches = [record([(0, 0.5), (1, 0.5)], right, problem=str(i)) for i in range(100)]
        found = np.mean([vote_curve(search, [2], "majority", "corrected")[0] for search in searches])
        assert found == pytest.approx(0.5, abs=0.05)


def test_sizes():
    assert sizes_to(16) == [1, 2, 4, 8, 16]
    assert sizes_to(12) == [1, 2, 4, 8, 12]
    assert sizes_to(1) == [1]
