"""A search that time or tokens cut gives its best answer so far, says so, and spends no more than it may."""

import asyncio
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_lossless import Streams, ragged
from tests.worlds import run

from etsearch import Limits
from etsearch.errors import ConfigError
from etsearch.loop.settings import SearchSettings
from etsearch.types import StopReason

STRATEGIES_HERE = ["best_of_n", "beam", "dvts", "rebase", "ets_kv", "ets", "ets(lambda_b=1.25, inherit=true)"]


def search(strategy, width, seed, *, delay=lambda _: 0.0, early_stop=False, merge=True, **limits):
    generator = Streams(ragged, seed, delay)
    asked = {"generator": generator, "early_stop": early_stop, "merge": merge, "limits": Limits(max_depth=6, **limits)}
    return asyncio.run(run(strategy, width, **asked)), generator


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(STRATEGIES_HERE), st.integers(1, 16), st.integers(0, 10**6), st.integers(1, 700), st.booleans())
def test_no_more_tokens_are_written_than_the_search_may(strategy, width, seed, most, merge):
    result, generator = search(strategy, width, seed, max_generated_tokens=most, merge=merge)
    again, _ = search(strategy, width, seed, max_generated_tokens=most, merge=merge)
    whole, _ = search(strategy, width, seed, merge=merge)
    written = sum(map(len, generator.written))
    assert written == result.usage.generated_tokens + result.usage.dropped_tokens <= most
    assert repr(again.trajectories) == repr(result.trajectories)  # a lost reward is NaN, which equals nothing
    result.tree.check_integrity()
    if result.stop_reason is not StopReason.TOKENS:
        assert result.answer == whole.answer or whole.usage.generated_tokens > most
    if whole.usage.generated_tokens * 3 < most:
        assert repr(result.trajectories) == repr(whole.trajectories)


def test_the_best_answer_so_far_is_that_of_the_trajectories_that_ended():
    whole, _ = search("rebase", 32, 3)
    ended = {t.node: t.answer for t in whole.trajectories}
    shares = [round(whole.usage.generated_tokens * share / 20) for share in range(8, 20)]
    cut = [result for most in shares for result, _ in [search("rebase", 32, 3, max_generated_tokens=most)]]
    partly = [r for r in cut if r.stop_reason is StopReason.TOKENS and r.trajectories]
    assert partly
    for result in partly:
        assert len(result.trajectories) < len(whole.trajectories)
        assert result.answer == result.votes[0].answer
        assert "best answer so far" in result.stop_reason.message
    assert any(all(ended[t.node] == t.answer for t in r.trajectories) for r in partly)


def test_without_any_completed_trajectory_there_is_no_answer():
    result, _ = search("rebase", 8, 1, max_generated_tokens=20)
    assert (result.answer, result.stop_reason) == (None, StopReason.TOKENS)


@pytest.mark.parametrize("strategy", ["rebase", "best_of_n", "ets"])
@pytest.mark.parametrize("early_stop", [False, True])
def test_a_deadline_is_kept_and_what_is_there_by_then_votes(strategy, early_stop):
    def delay(request):
        is_late = len(request.prefix) > 40 and random.Random(str(request.prefix)).random() < 0.7
        return 30.0 if is_late else 0.001

    begun = time.monotonic()
    result, generator = search(strategy, 24, 5, delay=delay, early_stop=early_stop, deadline_s=0.5)
    assert time.monotonic() - begun < 5
    assert result.stop_reason in ((StopReason.DEADLINE, StopReason.DECIDED) if early_stop else (StopReason.DEADLINE,))
    assert result.answer is not None
    result.tree.check_integrity()
    usage = result.usage
    assert usage.num_calls == len(result.tree) - 1 == sum(d.num_sampled for d in result.depths)
    assert usage.generated_tokens + usage.dropped_tokens == sum(map(len, generator.written))
    assert usage.num_cancelled > 0 or result.stop_reason is StopReason.DECIDED


def test_a_deadline_that_is_never_reached_changes_nothing():
    plain, _ = search("ets", 16, 2)
    timed, _ = search("ets", 16, 2, deadline_s=1000.0)
    assert timed.trajectories == plain.trajectories


def test_writing_ahead_does_not_go_with_a_limit_on_tokens():
    with pytest.raises(ConfigError, match="give one of them"):
        SearchSettings(speculate=True, limits=Limits(max_generated_tokens=100))
